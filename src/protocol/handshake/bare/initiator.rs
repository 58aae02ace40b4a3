//! The sender's end.

use zeroize::Zeroizing;

use super::super::compare::{NONCE_LEN, Nonce, SixWords, commitment, six_words};
use super::super::noise::{self, split_payload};
use super::super::rng::SeedRng;
use super::super::{HandshakeError, Hello, Local, PublicKey, SessionKeys, Words, packet};
use super::{
    BareHeader, COOKIE_LEN, Cookie, ECHO_LEN, HEADER, HELLO_LEN, MESSAGE_4_LEN, NOISE_1, PATTERN, PROLOGUE,
    message_4_mac, raw_split,
};
use crate::protocol::Role;
use crate::protocol::mac::{equal, shortened};

/// The sender's end. It takes part in one handshake in a run.
pub(crate) struct BareInitiator {
    local: Local,
    nonce: Nonce,
    noise_1: [u8; NOISE_1],
    progress: Progress,
}

enum Progress {
    /// Message 2 has not come yet.
    Committed(Box<snow::HandshakeState>),
    /// The receiver has committed; its nonce is still to come.
    Bound(Box<Bound>),
    /// The first peer that answered broke the exchange off.
    Broken,
}

struct Bound {
    noise_3: Vec<u8>,
    split: (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>),
    handshake_hash: Vec<u8>,
    commitment: [u8; NONCE_LEN],
    author: PublicKey,
    /// The hello in its wire form, for the commitment.
    encoded_hello: Vec<u8>,
    hello: Hello,
}

impl BareInitiator {
    /// Makes message 1 with our commitment.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Noise`] never happens unless the library is broken.
    pub(crate) fn new(local: Local) -> Result<Self, HandshakeError> {
        let nonce = Nonce::new(SeedRng::new(&local.seed, "p2pcopy 1 bare nonce").array());
        let mut state = noise::build(PATTERN, PROLOGUE, &local, &local.seed, None, Role::Sender)?;
        let commitment = commitment(&nonce, local.keypair.public(), &local.hello.encode());
        let noise_1 = noise::write(&mut state, &commitment)?
            .try_into()
            .map_err(|_| HandshakeError::Noise)?;
        Ok(BareInitiator {
            local,
            nonce,
            noise_1,
            progress: Progress::Committed(Box::new(state)),
        })
    }

    /// The datagram to send with this cookie, or with zeros if none has come: the hello until message 2
    /// arrives, then message 3 until message 4 arrives.
    pub(crate) fn datagram(&self, cookie: &Cookie) -> Vec<u8> {
        let kind = match self.progress {
            Progress::Bound(_) => packet::BARE_3,
            Progress::Committed(_) | Progress::Broken => packet::HELLO,
        };
        let mut out = BareHeader::encode(kind, Role::Sender, cookie);
        out.extend_from_slice(&self.noise_1);
        if let Progress::Bound(bound) = &self.progress {
            out.extend_from_slice(&bound.noise_3);
        }
        out.resize(HELLO_LEN, 0);
        out
    }

    /// [`datagram`](Self::datagram) without a cookie.
    pub(crate) fn first_datagram(&self) -> Vec<u8> {
        self.datagram(&[0; COOKIE_LEN])
    }

    /// Whether a message 2 comes from somebody who has received our hello.
    pub(crate) fn is_echo(&self, message_2: &[u8]) -> bool {
        message_2.get(HEADER..HEADER + ECHO_LEN) == Some(&self.noise_1[..ECHO_LEN])
    }

    /// Reads message 2. A datagram that does not authenticate changes nothing.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] or `Replayed`: drop and count it. Others end the handshake.
    pub(crate) fn read_message_2(&mut self, datagram: &[u8]) -> Result<(), HandshakeError> {
        let header = BareHeader::decode(datagram).ok_or(HandshakeError::Forged)?;
        if datagram[0] != packet::BARE_2 || header.role != Role::Receiver || !self.is_echo(datagram) {
            return Err(HandshakeError::Forged);
        }
        let Progress::Committed(state) = &mut self.progress else {
            return Err(HandshakeError::Replayed);
        };
        let payload = noise::read(state, &datagram[HEADER + ECHO_LEN..])?;
        // The Noise state has changed, so a failure from here on is final.
        let Progress::Committed(mut state) = std::mem::replace(&mut self.progress, Progress::Broken) else {
            return Err(HandshakeError::Replayed);
        };
        let (commitment, encoded_hello) = split_payload(&payload)?;
        let hello = Hello::decode(encoded_hello)?;
        self.local.hello.common_version(&hello)?;
        let author = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(HandshakeError::Noise)?;
        let reveal = [self.nonce.as_slice(), &self.local.hello.encode()].concat();
        let noise_3 = noise::write(&mut state, &reveal)?;
        self.progress = Progress::Bound(Box::new(Bound {
            noise_3,
            split: raw_split(&mut state),
            handshake_hash: state.get_handshake_hash().to_vec(),
            commitment,
            author,
            encoded_hello: encoded_hello.to_vec(),
            hello,
        }));
        Ok(())
    }

    /// Reads message 4. Returns the keys if the message comes from the receiver that committed and reveals
    /// its nonce. Changes nothing.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`]: drop and count it. Others end the handshake.
    pub(crate) fn read_message_4(&self, datagram: &[u8]) -> Result<SessionKeys, HandshakeError> {
        let Progress::Bound(bound) = &self.progress else {
            return Err(HandshakeError::Forged);
        };
        let six = bound.read(&self.nonce, datagram).ok_or(HandshakeError::Forged)?;
        SessionKeys::from_split(
            Role::Sender,
            (*bound.split.0, *bound.split.1),
            (&self.local.hello, &bound.hello),
            Words::Known(six),
        )
    }
}

impl Bound {
    fn read(&self, own: &Nonce, datagram: &[u8]) -> Option<SixWords> {
        let datagram: &[u8; MESSAGE_4_LEN] = datagram.try_into().ok()?;
        let (&kind, rest) = datagram.split_first()?;
        let (nonce, mac) = rest.split_first_chunk()?;
        let good = message_4_mac((&self.split.0, &self.split.1), nonce);
        let holds_keys = equal(mac.first_chunk()?, &shortened(good));
        let as_promised = commitment(nonce, &self.author, &self.encoded_hello) == self.commitment;
        (kind == packet::BARE_4 && holds_keys && as_promised)
            .then(|| six_words(&self.handshake_hash, own, nonce))
    }
}

#[cfg(test)]
impl BareInitiator {
    pub(super) fn cheat_with_another_hello(&mut self) {
        self.local.hello.cid ^= 99;
    }

    pub(super) fn split(&self) -> ([u8; 32], [u8; 32]) {
        match &self.progress {
            Progress::Bound(bound) => (*bound.split.0, *bound.split.1),
            _ => panic!("not bound"),
        }
    }
}
