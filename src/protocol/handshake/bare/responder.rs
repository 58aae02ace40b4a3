//! The receiver's end.

use super::super::compare::{NONCE_LEN, Nonce, commitment, six_words};
use super::super::noise::{self, split_payload};
use super::super::rng::SeedRng;
use super::super::{HandshakeError, Hello, Local, SessionKeys, Words, packet};
use super::{
    BareHeader, Cookie, Cookies, ECHO_LEN, HEADER, HELLO_LEN, MESSAGE_4_LEN, NOISE_1, PATTERN, PROLOGUE,
    message_4_mac, raw_split,
};
use crate::protocol::mac::shortened;
use crate::protocol::{Path, Role};

/// The receiver's end. It keeps no state for a sender that has not revealed its nonce, and accepts one sender
/// that has.
pub(crate) struct BareResponder {
    local: Local,
    cookies: Cookies,
    confirmed: Option<Confirmed>,
}

/// What outlives the handshake: the answer to copies of the accepted message 3. It holds no key of the
/// session.
#[derive(Clone)]
pub(crate) struct Confirmed {
    message_3: blake3::Hash,
    message_4: [u8; MESSAGE_4_LEN],
    cookies: Cookies,
}

impl Confirmed {
    /// Returns message 4 if this is a copy of the accepted message 3 and its sender receives at the address
    /// it sends from.
    pub(crate) fn answer(&self, path: Path, datagram: &[u8]) -> Option<&[u8]> {
        let header = BareHeader::decode(datagram)?;
        (header.cookie == self.cookies.of(path) && identity(datagram) == self.message_3)
            .then_some(self.message_4.as_slice())
    }
}

/// Identifies a message 3, whatever cookie it carries.
fn identity(message_3: &[u8]) -> blake3::Hash {
    blake3::hash(message_3.get(HEADER..).unwrap_or_default())
}

impl BareResponder {
    /// A receiver that waits for a sender's hello.
    pub(crate) fn new(local: Local) -> Self {
        let cookies = Cookies::new(SeedRng::new(&local.seed, "p2pcopy 1 bare cookies").array());
        BareResponder {
            local,
            cookies,
            confirmed: None,
        }
    }

    /// The cookie of a peer at the other end of `path`.
    pub(crate) fn cookie(&self, path: Path) -> Cookie {
        self.cookies.of(path)
    }

    /// The hello that opens the receiver's NAT. It is also the answer to a sender without the right cookie.
    pub(crate) fn hello(&self, path: Path) -> Vec<u8> {
        let mut out = BareHeader::encode(packet::HELLO, Role::Receiver, &self.cookie(path));
        out.resize(HELLO_LEN, 0);
        out
    }

    fn begin(
        &self,
        noise_1: &[u8],
    ) -> Result<(snow::HandshakeState, Nonce, [u8; NONCE_LEN], Vec<u8>), HandshakeError> {
        // All random values depend on message 1. So no two sessions share an ephemeral key or a nonce, and
        // the whole state can be built again from message 1 alone.
        let mut rng = SeedRng::new(
            &blake3::keyed_hash(&self.local.seed, noise_1).into(),
            "p2pcopy 1 bare answer",
        );
        let mut state = noise::build(PATTERN, PROLOGUE, &self.local, &rng.seed(), None, Role::Receiver)?;
        let nonce = Nonce::new(rng.array());
        let theirs = noise::read(&mut state, noise_1)?
            .try_into()
            .map_err(|_| HandshakeError::Forged)?;
        let hello = self.local.hello.encode();
        let promise = commitment(&nonce, self.local.keypair.public(), &hello);
        let noise_2 = noise::write(&mut state, &[promise.as_slice(), &hello].concat())?;
        Ok((state, nonce, theirs, noise_2))
    }

    /// Answers a sender's hello with message 2. The same hello always gets the same answer. The caller must
    /// have checked the cookie and must limit the work. `None` if a session was already accepted.
    pub(crate) fn read_hello(&self, path: Path, datagram: &[u8]) -> Option<Vec<u8>> {
        let header = BareHeader::decode(datagram)?;
        if datagram[0] != packet::HELLO || header.role != Role::Sender || self.confirmed.is_some() {
            return None;
        }
        let noise_1 = &datagram[HEADER..HEADER + NOISE_1];
        let (_, _, _, noise_2) = self.begin(noise_1).ok()?;
        let mut out = BareHeader::encode(packet::BARE_2, Role::Receiver, &self.cookie(path));
        out.extend_from_slice(&noise_1[..ECHO_LEN]);
        out.extend_from_slice(&noise_2);
        Some(out)
    }

    /// The answer to copies of the accepted message 3, once there is one.
    pub(crate) fn confirmed(&self) -> Option<&Confirmed> {
        self.confirmed.as_ref()
    }

    /// Reads message 3. Returns the keys and message 4, which must be sent back. It accepts the first one
    /// that authenticates and reveals the committed nonce. The caller must have checked the cookie and must
    /// limit the work.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`]: drop and count it. `Replayed`: another one was accepted.
    /// Others end the handshake.
    pub(crate) fn read_message_3(
        &mut self,
        datagram: &[u8],
    ) -> Result<(SessionKeys, Vec<u8>), HandshakeError> {
        if self.confirmed.is_some() {
            return Err(HandshakeError::Replayed);
        }
        let header = BareHeader::decode(datagram).ok_or(HandshakeError::Forged)?;
        if datagram[0] != packet::BARE_3 || header.role != Role::Sender {
            return Err(HandshakeError::Forged);
        }
        let (noise_1, noise_3) = datagram[HEADER..].split_at(NOISE_1);
        let (mut state, nonce, promised, _) = self.begin(noise_1)?;
        let payload = noise::read(&mut state, noise_3)?;
        let (their_nonce, encoded_hello) = split_payload(&payload)?;
        let author = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(HandshakeError::Noise)?;
        if commitment(&their_nonce, &author, encoded_hello) != promised {
            return Err(HandshakeError::Forged);
        }
        let theirs = Hello::decode(encoded_hello)?;
        let six = six_words(state.get_handshake_hash(), &their_nonce, &nonce);
        let split = raw_split(&mut state);
        let mac = message_4_mac((&split.0, &split.1), &nonce);
        let mut message_4 = [packet::BARE_4; MESSAGE_4_LEN];
        message_4[1..=NONCE_LEN].copy_from_slice(nonce.as_slice());
        message_4[1 + NONCE_LEN..].copy_from_slice(&shortened(mac));
        let keys = SessionKeys::from_split(
            Role::Receiver,
            (*split.0, *split.1),
            (&self.local.hello, &theirs),
            Words::Known(six),
        )?;
        self.confirmed = Some(Confirmed {
            message_3: identity(datagram),
            message_4,
            cookies: self.cookies.clone(),
        });
        Ok((keys, message_4.to_vec()))
    }
}
