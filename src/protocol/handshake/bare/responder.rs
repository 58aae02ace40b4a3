//! The receiver's end.

use super::super::compare::{Commitment, NONCE_LEN, Nonce, words};
use super::super::noise::{self, split_payload};
use super::super::rng::SeedRng;
use super::super::{HandshakeError, Hello, Local, SessionKeys, Words, packet};
use super::{
    BareHeader, Cookie, Cookies, ECHO_LEN, HEADER, HELLO_LEN, MAC_LEN, MESSAGE_4_LEN, NOISE_1, build,
    message_4_mac, raw_split,
};
use crate::protocol::{Path, Role};

/// The receiver's end: it keeps nothing of who has not revealed what it committed to, and takes one who has.
pub(crate) struct BareResponder {
    local: Local,
    cookies: Cookies,
    confirmed: Option<Confirmed>,
}

/// What outlives the handshake: the answer to copies of the message 3 that was taken. It holds no key of the
/// session.
#[derive(Clone)]
pub(crate) struct Confirmed {
    message_3: blake3::Hash,
    message_4: [u8; MESSAGE_4_LEN],
    cookies: Cookies,
}

impl Confirmed {
    /// Message 4, if this is a copy of the message 3 that was taken, and its sender receives where it sends from.
    pub(crate) fn answer(&self, path: Path, datagram: &[u8]) -> Option<&[u8]> {
        let header = BareHeader::decode(datagram)?;
        (header.cookie == self.cookies.of(path) && identity(datagram) == self.message_3)
            .then_some(self.message_4.as_slice())
    }
}

/// What makes a message 3 this one, under whatever cookie it comes.
fn identity(message_3: &[u8]) -> blake3::Hash {
    blake3::hash(message_3.get(HEADER..).unwrap_or_default())
}

impl BareResponder {
    /// Awaits a sender's hello.
    pub(crate) fn new(local: Local) -> Self {
        let cookies = Cookies::new(SeedRng::new(&local.seed, "p2pcopy 1 bare cookies").array());
        BareResponder {
            local,
            cookies,
            confirmed: None,
        }
    }

    /// The cookie of who receives at the other end of `path`.
    pub(crate) fn cookie(&self, path: Path) -> Cookie {
        self.cookies.of(path)
    }

    /// What the receiver sends to open its NAT, and answers whoever has not shown yet that it receives there.
    pub(crate) fn hello(&self, path: Path) -> Vec<u8> {
        let mut out = BareHeader::encode(packet::HELLO, Role::Receiver, &self.cookie(path));
        out.resize(HELLO_LEN, 0);
        out
    }

    fn begin(
        &self,
        noise_1: &[u8],
    ) -> Result<(snow::HandshakeState, Nonce, Commitment, Vec<u8>), HandshakeError> {
        // All that is random here depends on message 1, so no two sessions share an ephemeral key or a nonce,
        // and the whole state can be built again from message 1 alone.
        let mut rng = SeedRng::new(
            &blake3::keyed_hash(&self.local.seed, noise_1).into(),
            "p2pcopy 1 bare answer",
        );
        let mut state = build(&self.local, &rng.seed(), Role::Receiver)?;
        let nonce = Nonce::new(rng.array());
        let commitment = noise::read(&mut state, noise_1)?
            .try_into()
            .map_err(|_| HandshakeError::Malformed)?;
        let hello = self.local.hello.encode();
        let promise = nonce.commit(self.local.keypair.public(), &hello);
        let noise_2 = noise::write(&mut state, &[promise.0.as_slice(), &hello].concat())?;
        Ok((state, nonce, Commitment(commitment), noise_2))
    }

    /// Answers a sender's hello with message 2; the same to the same hello, always. The caller has checked the
    /// cookie and has a budget for the work. `None` if a session has already been taken.
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

    /// What is said to copies of the message 3 that was taken, once there is one.
    pub(crate) fn confirmed(&self) -> Option<&Confirmed> {
        self.confirmed.as_ref()
    }

    /// Reads message 3: the keys, and message 4 to send back. The first that authenticates and reveals what was
    /// committed is taken; the caller has checked the cookie and has a budget for the work.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] or `Malformed`: drop and count it. `Replayed`: one has been taken. Others end the
    /// handshake.
    pub(crate) fn read_message_3(
        &mut self,
        datagram: &[u8],
    ) -> Result<(SessionKeys, Vec<u8>), HandshakeError> {
        if self.confirmed.is_some() {
            return Err(HandshakeError::Replayed);
        }
        let header = BareHeader::decode(datagram).ok_or(HandshakeError::Malformed)?;
        if datagram[0] != packet::BARE_3 || header.role != Role::Sender {
            return Err(HandshakeError::Malformed);
        }
        let (noise_1, noise_3) = datagram[HEADER..].split_at(NOISE_1);
        let (mut state, nonce, commitment, _) = self.begin(noise_1)?;
        let payload = noise::read(&mut state, noise_3)?;
        let (their_nonce, encoded_hello) = split_payload(&payload)?;
        let their_nonce = Nonce::new(their_nonce);
        let author = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(HandshakeError::Noise)?;
        if their_nonce.commit(&author, encoded_hello) != commitment {
            return Err(HandshakeError::Forged);
        }
        let theirs = Hello::decode(encoded_hello)?;
        let six = words(state.get_handshake_hash(), &their_nonce, &nonce);
        let split = raw_split(&mut state);
        let mac = message_4_mac((&split.0, &split.1), nonce.bytes());
        let mut message_4 = [packet::BARE_4; MESSAGE_4_LEN];
        message_4[1..=NONCE_LEN].copy_from_slice(nonce.bytes());
        message_4[1 + NONCE_LEN..].copy_from_slice(&mac.as_bytes()[..MAC_LEN]);
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
