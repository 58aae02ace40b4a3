//! Noise KK between two full addresses: both static keys are known, and the handshake takes one round trip.
//!
//! The sender sends message 1 many times, as its probe, with the same ephemeral key each time. The responder
//! answers every copy with the same message 2. The sender has the keys when message 2 arrives, the receiver
//! when message 1 arrives. But the receiver knows that the sender is alive only when the first sealed packet
//! authenticates.
//!
//! Message 1 also carries the sender's commitment to a nonce, and message 2 carries the receiver's nonce. If
//! one of the users wants to compare words, the sender reveals its nonce in its first sealed bytes (see
//! [`super::compare`]).
//!
//! Both messages end with a MAC under the probe key. So a forged message costs a hash and no key exchange.

use super::compare::{Awaited, NONCE_LEN, Nonce, commitment, six_words};
use super::noise::{self, split_payload};
use super::rng::SeedRng;
use super::{HandshakeError, Hello, Local, ProbeKey, PublicKey, SessionKeys, Words, packet};
use crate::protocol::Role;
use crate::protocol::mac::MAC_LEN;

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_BLAKE2s";

/// Bytes of message 1 on the wire: type, ephemeral key, commitment, hello, tag, MAC.
pub(crate) const MESSAGE_1_LEN: usize = 1 + 32 + NONCE_LEN + Hello::LEN + 16 + MAC_LEN;

fn write(
    state: &mut snow::HandshakeState,
    kind: u8,
    payload: &[u8],
    key: &ProbeKey,
) -> Result<Vec<u8>, HandshakeError> {
    let mut out = vec![kind];
    out.extend_from_slice(&noise::write(state, payload)?);
    key.sign(&mut out);
    Ok(out)
}

fn read(
    state: &mut snow::HandshakeState,
    kind: u8,
    datagram: &[u8],
    key: &ProbeKey,
) -> Result<Vec<u8>, HandshakeError> {
    if datagram.first() != Some(&kind) || datagram.len() > packet::MAX {
        return Err(HandshakeError::Forged);
    }
    let message = key
        .signed(datagram)
        .and_then(|signed| signed.get(1..))
        .ok_or(HandshakeError::Forged)?;
    noise::read(state, message)
}

/// The sender's end.
pub(crate) struct Initiator {
    state: snow::HandshakeState,
    message_1: Vec<u8>,
    nonce: Nonce,
    hello: Hello,
    key: ProbeKey,
}

impl Initiator {
    /// Prepares message 1 for the holder of `peer`. `key` is the probe key of the two ends.
    ///
    /// # Errors
    /// [`HandshakeError::Noise`] never happens unless the library is broken.
    pub(crate) fn new(
        local: &Local,
        peer: &PublicKey,
        prologue: &[u8],
        key: ProbeKey,
    ) -> Result<Self, HandshakeError> {
        let nonce = Nonce::new(SeedRng::new(&local.seed, "p2pcopy 1 nonce").array());
        let mut state = noise::build(PATTERN, prologue, local, &local.seed, Some(peer), Role::Sender)?;
        let hello = local.hello.encode();
        let commitment = commitment(&nonce, local.keypair.public(), &hello);
        let payload = [commitment.as_slice(), &hello].concat();
        let message_1 = write(&mut state, packet::MESSAGE_1, &payload, &key)?;
        Ok(Initiator {
            state,
            message_1,
            nonce,
            hello: local.hello,
            key,
        })
    }

    /// The datagram to send repeatedly.
    pub(crate) fn message_1(&self) -> &[u8] {
        &self.message_1
    }

    /// Reads the answer. A datagram that fails changes nothing.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`]: drop and count it. Others end the handshake.
    pub(crate) fn read_message_2(&mut self, datagram: &[u8]) -> Result<SessionKeys, HandshakeError> {
        let payload = read(&mut self.state, packet::MESSAGE_2, datagram, &self.key)?;
        let (their_nonce, theirs) = split_payload(&payload)?;
        let theirs = Hello::decode(theirs)?;
        let six = six_words(self.state.get_handshake_hash(), &self.nonce, &their_nonce);
        let split = self.state.dangerously_get_raw_split();
        SessionKeys::from_split(
            Role::Sender,
            split,
            (&self.hello, &theirs),
            Words::ToReveal(*self.nonce, six),
        )
    }
}

/// The receiver's end.
pub(crate) struct Responder {
    local: Local,
    peer: PublicKey,
    prologue: Vec<u8>,
    key: ProbeKey,
    answered: Option<Answered>,
}

/// The only message 1 that a run accepts, and the answer to its copies. It holds no key.
pub(crate) struct Answered {
    message_1: blake3::Hash,
    message_2: Vec<u8>,
}

impl Answered {
    /// The answer, if the datagram is a copy of the accepted message 1.
    pub(crate) fn answer(&self, datagram: &[u8]) -> Option<&[u8]> {
        (blake3::hash(datagram) == self.message_1).then_some(&self.message_2)
    }
}

/// A responder's result for a message 1.
pub(crate) struct Reply {
    /// The datagram to send back to where message 1 came from.
    pub message_2: Vec<u8>,
    /// The keys, when this message 1 arrives for the first time.
    pub keys: Option<SessionKeys>,
}

impl Responder {
    /// A responder that waits for message 1 from the holder of `peer`. `key` is the probe key of the two
    /// ends.
    pub(crate) fn new(local: Local, peer: PublicKey, prologue: Vec<u8>, key: ProbeKey) -> Self {
        Responder {
            local,
            peer,
            prologue,
            key,
            answered: None,
        }
    }

    /// Answers message 1. The same message always gets the same answer. Only the first message 1 that
    /// authenticates is accepted. Otherwise an attacker could see the words of several handshakes and choose
    /// one.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] or `Replayed`: drop and count it. Others end the handshake.
    pub(crate) fn read_message_1(&mut self, datagram: &[u8]) -> Result<Reply, HandshakeError> {
        if let Some(answered) = &self.answered {
            let message_2 = answered
                .answer(datagram)
                .ok_or(HandshakeError::Replayed)?
                .to_vec();
            return Ok(Reply {
                message_2,
                keys: None,
            });
        }
        // The ephemeral key depends on message 1, so no two handshakes share one.
        let mut rng = SeedRng::new(
            &blake3::keyed_hash(&self.local.seed, datagram).into(),
            "p2pcopy 1 answer",
        );
        let (seed, peer) = (rng.seed(), Some(&self.peer));
        let mut state = noise::build(PATTERN, &self.prologue, &self.local, &seed, peer, Role::Receiver)?;
        let payload = read(&mut state, packet::MESSAGE_1, datagram, &self.key)?;
        let (commitment, hello) = split_payload(&payload)?;
        let theirs = Hello::decode(hello)?;
        let own = Nonce::new(rng.array());
        let answer = [own.as_slice(), &self.local.hello.encode()].concat();
        let message_2 = write(&mut state, packet::MESSAGE_2, &answer, &self.key)?;
        let awaited = Awaited {
            commitment,
            author: self.peer,
            hello: hello.to_vec(),
            handshake_hash: state.get_handshake_hash().to_vec(),
            own,
        };
        let keys = SessionKeys::from_split(
            Role::Receiver,
            state.dangerously_get_raw_split(),
            (&self.local.hello, &theirs),
            Words::Awaited(awaited),
        )?;
        self.answered = Some(Answered {
            message_1: blake3::hash(datagram),
            message_2: message_2.clone(),
        });
        Ok(Reply {
            message_2,
            keys: Some(keys),
        })
    }

    /// What outlives the handshake: the answer to late copies of message 1.
    pub(crate) fn into_answered(self) -> Option<Answered> {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cipher;
    use super::*;
    use crate::protocol::handshake::StaticKeypair;
    use crate::protocol::handshake::rng::Seed;

    pub(crate) fn local(n: u8, aes: bool) -> Local {
        Local {
            keypair: StaticKeypair::from_seed(&[n; 32]),
            hello: Hello {
                oldest: 1,
                newest: 1,
                hardware_aes: aes,
                verify: false,
                cid: u32::from(n),
            },
            seed: Seed::new([n ^ 0x80; 32]),
        }
    }

    fn initiator(local: &Local, peer: &Local, prologue: &[u8]) -> Initiator {
        let peer = peer.keypair.public();
        let key = ProbeKey::new(&local.keypair, peer, prologue).unwrap();
        Initiator::new(local, peer, prologue, key).unwrap()
    }

    fn responder(local: &Local, peer: &Local, prologue: &[u8]) -> Responder {
        let peer = *peer.keypair.public();
        let key = ProbeKey::new(&local.keypair, &peer, prologue).unwrap();
        Responder::new(local.clone(), peer, prologue.to_vec(), key)
    }

    fn ends(aes: (bool, bool)) -> (Initiator, Responder) {
        let (a, b) = (local(1, aes.0), local(2, aes.1));
        (initiator(&a, &b, b"p"), responder(&b, &a, b"p"))
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
            assert!(s.comparison.is_none() && r.comparison.is_none());
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
        let mut other = responder(&b, &a, b"q");
        assert_eq!(
            other.read_message_1(i.message_1()).err(),
            Some(HandshakeError::Forged)
        );
        let mut other = responder(&b, &local(3, true), b"p");
        assert_eq!(
            other.read_message_1(i.message_1()).err(),
            Some(HandshakeError::Forged)
        );
    }

    fn words_of(keys: &SessionKeys) -> &Words {
        let comparison = keys.comparison.as_ref().expect("a comparison");
        assert_eq!(comparison.reason, super::super::Reason::Asked);
        &comparison.words
    }

    #[test]
    fn whoever_asks_both_ends_get_the_same_words_from_the_nonce_that_was_promised() {
        for (sender, receiver) in [(true, false), (false, true), (true, true)] {
            let (mut a, mut b) = (local(1, true), local(2, true));
            (a.hello.verify, b.hello.verify) = (sender, receiver);
            let mut i = initiator(&a, &b, b"p");
            let reply = responder(&b, &a, b"p").read_message_1(i.message_1()).unwrap();
            let (s, r) = (i.read_message_2(&reply.message_2).unwrap(), reply.keys.unwrap());
            let (Words::ToReveal(nonce, six), Words::Awaited(awaited)) = (words_of(&s), words_of(&r)) else {
                panic!("the sender reveals");
            };
            assert_eq!(awaited.reveal(*nonce), Some(*six));
            for bit in 0..nonce.len() * 8 {
                let mut other = *nonce;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(awaited.reveal(other), None, "bit {bit}");
            }
        }
    }

    /// Both keys were replaced in the users' chat, so an attacker meets each end with keys of its own.
    #[test]
    fn whoever_swapped_both_keys_makes_the_words_differ() {
        let [mut a, b, m] = [1, 2, 3].map(|n| local(n, true));
        a.hello.verify = true;
        let mut mi = Local {
            seed: Seed::new([9; 32]),
            ..m.clone()
        };
        mi.hello.verify = true;
        let mut i = initiator(&a, &m, b"p");
        let mut mi = initiator(&mi, &b, b"q");
        let to_a = responder(&m, &a, b"p").read_message_1(i.message_1()).unwrap();
        let s = i.read_message_2(&to_a.message_2).unwrap();
        let from_b = responder(&b, &m, b"q").read_message_1(mi.message_1()).unwrap();
        let between = mi.read_message_2(&from_b.message_2).unwrap();
        let (Words::ToReveal(_, at_a), Words::ToReveal(nonce, _)) = (words_of(&s), words_of(&between)) else {
            panic!("senders reveal");
        };
        let r = from_b.keys.unwrap();
        let Words::Awaited(awaited) = words_of(&r) else {
            panic!("a receiver awaits");
        };
        assert_ne!(awaited.reveal(*nonce).as_ref(), Some(at_a));
    }

    /// Otherwise an attacker in the middle could take many samples of the receiver's words and choose one.
    #[test]
    fn one_message_1_is_taken_and_no_other_ever_gets_an_answer() {
        let (i, mut r) = ends((true, true));
        r.read_message_1(i.message_1()).unwrap();
        let (mut other, b) = (local(1, true), local(2, true));
        other.seed = Seed::new([77; 32]);
        let second = initiator(&other, &b, b"p");
        assert_eq!(
            r.read_message_1(second.message_1()).err(),
            Some(HandshakeError::Replayed)
        );
        assert!(r.into_answered().unwrap().answer(second.message_1()).is_none());
    }
}
