//! Noise KK between two full addresses: both static keys are known, one round trip.
//!
//! Message 1 is sent many times, as the sender's probe, with the same ephemeral key each time; the responder
//! answers every copy with the same message 2. The sender has keys at message 2; the receiver has them at
//! message 1, but knows that the sender lives only when the first sealed packet opens.

use std::collections::VecDeque;

use super::rng::{SeedRng, SeededResolver};
use super::{HandshakeError, Hello, Local, PublicKey, SessionKeys, packet};
use crate::protocol::Role;

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_BLAKE2s";

/// Distinct message 1s answered at once. The peer has one per handshake; more can only come from that peer,
/// so this bounds what a misbehaving one costs.
const MAX_INITIATORS: usize = 4;

/// Bytes of message 1 on the wire: type, ephemeral key, hello, tag.
pub const MESSAGE_1_LEN: usize = 1 + 32 + Hello::LEN + 16;

fn build(
    local: &Local,
    seed: &[u8; 32],
    peer: &PublicKey,
    prologue: &[u8],
    role: Role,
) -> Result<snow::HandshakeState, HandshakeError> {
    let attempt = || {
        let builder = snow::Builder::with_resolver(PATTERN.parse()?, SeededResolver::boxed(seed))
            .prologue(prologue)?
            .local_private_key(local.keypair.secret())?
            .remote_public_key(peer)?;
        match role {
            Role::Sender => builder.build_initiator(),
            Role::Receiver => builder.build_responder(),
        }
    };
    attempt().map_err(|_: snow::Error| HandshakeError::Noise)
}

pub(super) fn write(
    state: &mut snow::HandshakeState,
    kind: u8,
    payload: &[u8],
) -> Result<Vec<u8>, HandshakeError> {
    let mut out = vec![0; packet::MAX];
    out[0] = kind;
    let n = state
        .write_message(payload, &mut out[1..])
        .map_err(|_| HandshakeError::Noise)?;
    out.truncate(1 + n);
    Ok(out)
}

pub(super) fn read(
    state: &mut snow::HandshakeState,
    kind: u8,
    datagram: &[u8],
) -> Result<Vec<u8>, HandshakeError> {
    let Some((&first, message)) = datagram.split_first() else {
        return Err(HandshakeError::Malformed);
    };
    if first != kind || datagram.len() > packet::MAX {
        return Err(HandshakeError::Malformed);
    }
    let mut payload = vec![0; packet::MAX];
    let n = state
        .read_message(message, &mut payload)
        .map_err(|_| HandshakeError::Forged)?;
    payload.truncate(n);
    Ok(payload)
}

/// The sender's end.
pub struct Initiator {
    state: snow::HandshakeState,
    message_1: Vec<u8>,
    hello: Hello,
}

impl Initiator {
    /// Prepares message 1 for the holder of `peer`.
    ///
    /// # Errors
    /// [`HandshakeError::Noise`] never happens unless the library is broken.
    pub fn new(local: &Local, peer: &PublicKey, prologue: &[u8]) -> Result<Self, HandshakeError> {
        let mut state = build(local, &local.seed, peer, prologue, Role::Sender)?;
        let message_1 = write(&mut state, packet::MESSAGE_1, &local.hello.encode())?;
        Ok(Initiator {
            state,
            message_1,
            hello: local.hello,
        })
    }

    /// The datagram to send, again and again.
    pub fn message_1(&self) -> &[u8] {
        &self.message_1
    }

    /// Reads the answer. A datagram that fails leaves everything as it was.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] or `Malformed`: drop and count it. Others end the handshake.
    pub fn read_message_2(&mut self, datagram: &[u8]) -> Result<SessionKeys, HandshakeError> {
        let payload = read(&mut self.state, packet::MESSAGE_2, datagram)?;
        let theirs = Hello::decode(&payload)?;
        let split = self.state.dangerously_get_raw_split();
        SessionKeys::from_split(Role::Sender, split, (&self.hello, &theirs), None)
    }
}

/// The receiver's end. It outlives the handshake: copies of message 1 may arrive late.
pub struct Responder {
    local: Local,
    peer: PublicKey,
    prologue: Vec<u8>,
    answered: VecDeque<Answered>,
}

struct Answered {
    message_1: blake3::Hash,
    message_2: Vec<u8>,
}

/// What a responder makes of a message 1.
pub struct Reply {
    /// The datagram to send back, to wherever message 1 came from.
    pub message_2: Vec<u8>,
    /// The keys, the first time this message 1 arrives.
    pub keys: Option<SessionKeys>,
}

impl Responder {
    /// Awaits message 1 from the holder of `peer`.
    pub fn new(local: Local, peer: PublicKey, prologue: Vec<u8>) -> Self {
        Responder {
            local,
            peer,
            prologue,
            answered: VecDeque::new(),
        }
    }

    /// Answers message 1; the same answer to the same message, always.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`], `Malformed` or `Replayed`: drop and count it. Others end the handshake.
    pub fn read_message_1(&mut self, datagram: &[u8]) -> Result<Reply, HandshakeError> {
        if let Some(message_2) = self.known_answer(datagram) {
            return Ok(Reply {
                message_2,
                keys: None,
            });
        }
        let id = blake3::hash(datagram);
        // The ephemeral key depends on message 1, so no two handshakes ever share one.
        let seed = SeedRng::new(
            &blake3::keyed_hash(&self.local.seed, datagram).into(),
            "p2pcopy 1 answer",
        )
        .seed();
        let mut state = build(&self.local, &seed, &self.peer, &self.prologue, Role::Receiver)?;
        let theirs = Hello::decode(&read(&mut state, packet::MESSAGE_1, datagram)?)?;
        if theirs.unix_nanos < self.local.not_before {
            return Err(HandshakeError::Replayed);
        }
        if self.answered.len() == MAX_INITIATORS {
            return Err(HandshakeError::Replayed);
        }
        let message_2 = write(&mut state, packet::MESSAGE_2, &self.local.hello.encode())?;
        let split = state.dangerously_get_raw_split();
        let keys = SessionKeys::from_split(Role::Receiver, split, (&self.local.hello, &theirs), None)?;
        self.answered.push_back(Answered {
            message_1: id,
            message_2: message_2.clone(),
        });
        Ok(Reply {
            message_2,
            keys: Some(keys),
        })
    }

    /// The answer already given to this datagram, if it is a copy of one.
    pub fn known_answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let id = blake3::hash(datagram);
        self.answered
            .iter()
            .find(|a| a.message_1 == id)
            .map(|a| a.message_2.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cipher;
    use super::*;
    use crate::protocol::handshake::StaticKeypair;

    pub(crate) fn local(n: u8, aes: bool) -> Local {
        Local {
            keypair: StaticKeypair::from_seed(&[n; 32]),
            hello: Hello {
                oldest: 1,
                newest: 1,
                hardware_aes: aes,
                cid: u32::from(n),
                unix_nanos: 1000,
            },
            not_before: 0,
            seed: [n ^ 0x80; 32],
        }
    }

    fn ends(aes: (bool, bool)) -> (Initiator, Responder) {
        let (a, b) = (local(1, aes.0), local(2, aes.1));
        let (ka, kb) = (*a.keypair.public(), *b.keypair.public());
        (
            Initiator::new(&a, &kb, b"p").unwrap(),
            Responder::new(b, ka, b"p".to_vec()),
        )
    }

    #[test]
    fn both_ends_hold_each_others_keys_and_ids() {
        for (aes, cipher) in [
            ((true, true), Cipher::Aes256Gcm),
            ((true, false), Cipher::ChaCha20Poly1305),
        ] {
            let (mut i, mut r) = ends(aes);
            let reply = r.read_message_1(i.message_1()).unwrap();
            let (s, r) = (i.read_message_2(&reply.message_2).unwrap(), reply.keys.unwrap());
            assert_eq!((s.send, s.receive), (r.receive, r.send));
            assert_ne!(s.send, s.receive);
            assert_eq!((s.cipher, r.cipher), (cipher, cipher));
            assert_eq!(
                (s.local_cid, s.remote_cid, r.local_cid, r.remote_cid),
                (1, 2, 2, 1)
            );
            assert_eq!(s.sas, None);
        }
    }

    #[test]
    fn the_same_message_1_gets_the_same_answer_and_keys_only_once() {
        let (i, mut r) = ends((true, true));
        let first = r.read_message_1(i.message_1()).unwrap();
        let again = r.read_message_1(i.message_1()).unwrap();
        assert_eq!(first.message_2, again.message_2);
        assert!(first.keys.is_some() && again.keys.is_none());
        assert_eq!(i.message_1().len(), MESSAGE_1_LEN);
        assert!(
            first.message_2.len() <= MESSAGE_1_LEN,
            "an answer never amplifies"
        );
    }

    #[test]
    fn damaged_messages_change_nothing() {
        let (mut i, mut r) = ends((true, true));
        let m1 = i.message_1().to_vec();
        for bit in 0..m1.len() * 8 {
            let mut bad = m1.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // X25519 ignores the top bit of a point, but Noise hashes it.
            assert!(r.read_message_1(&bad).is_err(), "bit {bit}");
        }
        for n in 0..m1.len() {
            assert!(r.read_message_1(&m1[..n]).is_err());
        }
        let m2 = r.read_message_1(&m1).unwrap().message_2;
        for bit in 0..m2.len() * 8 {
            let mut bad = m2.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(i.read_message_2(&bad).is_err(), "bit {bit}");
        }
        for n in 0..m2.len() {
            assert!(i.read_message_2(&m2[..n]).is_err());
        }
        assert!(i.read_message_2(&m2).is_ok());
    }

    #[test]
    fn another_prologue_or_key_is_a_stranger() {
        let (i, _) = ends((true, true));
        let (a, b) = (local(1, true), local(2, true));
        let mut other = Responder::new(b.clone(), *a.keypair.public(), b"q".to_vec());
        assert_eq!(
            other.read_message_1(i.message_1()).err(),
            Some(HandshakeError::Forged)
        );
        let mut other = Responder::new(b, *local(3, true).keypair.public(), b"p".to_vec());
        assert_eq!(
            other.read_message_1(i.message_1()).err(),
            Some(HandshakeError::Forged)
        );
    }

    #[test]
    fn a_message_1_of_an_earlier_handshake_is_refused() {
        let (i, mut r) = ends((true, true));
        r.local.not_before = 1001;
        assert_eq!(
            r.read_message_1(i.message_1()).err(),
            Some(HandshakeError::Replayed)
        );
    }
}
