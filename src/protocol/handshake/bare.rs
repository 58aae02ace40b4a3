//! Noise XX between bare `ip:port` addresses: nobody vouched for the keys, so six words must.
//!
//! The initiator commits, in message 1, to everything it will reveal in message 3: its nonce, its static key
//! and its hello. So whoever sits in the middle must fix its half of a session before it learns the other half,
//! and the six words, taken from the handshake hash and both nonces, cannot be steered to match: one guess in
//! 2^48. (Committing to the nonce alone would leave the static key and the payload of message 3 to be ground
//! until the words fit.)
//!
//! ```text
//! sender                                              receiver
//!   0x44 version, role, pad, [e, commitment]  ->
//!        <- 0x42 [e, ee, s, es, nonce, hello]
//!   0x43 [s, se, nonce, hello]                ->      has keys
//!        <- 0x40 probe under a key of the session
//!   has keys
//! ```

use std::collections::VecDeque;

use super::kk::{read, write};
use super::rng::{SeedRng, SeededResolver};
use super::words::six_words;
use super::{HandshakeError, Hello, Local, PROTOCOL_VERSION, Probe, ProbeKey, SessionKeys, packet};
use crate::protocol::Role;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"p2pcopy 1 bare";

/// Hellos are padded to this, so that message 2 is never larger than what it answers.
pub const HELLO_LEN: usize = 180;
const HELLO_HEADER: usize = 4;
const NOISE_1: usize = 32 + 32;

/// Distinct hellos remembered at once. Anybody who can forge the peer's IP can add one; the oldest goes.
const MAX_INITIATORS: usize = 16;

/// What can be told of a hello without any key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelloHeader {
    /// Its author's protocol version.
    pub version: u8,
    /// Which end its author says it is.
    pub role: Role,
}

/// Reads the clear header of a bare hello.
pub fn hello_header(datagram: &[u8]) -> Option<HelloHeader> {
    let &[packet::HELLO, version, role, 0, ..] = datagram else {
        return None;
    };
    let role = match role {
        0 => Role::Sender,
        1 => Role::Receiver,
        _ => return None,
    };
    (datagram.len() == HELLO_LEN).then_some(HelloHeader { version, role })
}

fn hello(role: Role) -> Vec<u8> {
    let mut out = vec![0; HELLO_LEN];
    out[0] = packet::HELLO;
    out[1] = PROTOCOL_VERSION;
    out[2] = match role {
        Role::Sender => 0,
        Role::Receiver => 1,
    };
    out
}

fn build(local: &Local, seed: &[u8; 32], role: Role) -> Result<snow::HandshakeState, HandshakeError> {
    let attempt = || {
        let builder = snow::Builder::with_resolver(PATTERN.parse()?, SeededResolver::boxed(seed))
            .prologue(PROLOGUE)?
            .local_private_key(local.keypair.secret())?;
        match role {
            Role::Sender => builder.build_initiator(),
            Role::Receiver => builder.build_responder(),
        }
    };
    attempt().map_err(|_: snow::Error| HandshakeError::Noise)
}

fn commitment(nonce: &[u8; 32], static_key: &[u8], hello: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 commitment");
    hasher.update(nonce).update(static_key).update(hello);
    hasher.finalize().into()
}

fn revealed(payload: &[u8]) -> Result<([u8; 32], &[u8]), HandshakeError> {
    let (nonce, hello) = payload
        .split_first_chunk::<32>()
        .ok_or(HandshakeError::Malformed)?;
    Ok((*nonce, hello))
}

fn finish(
    state: &mut snow::HandshakeState,
    role: Role,
    hellos: (&Hello, &Hello),
    nonces: (&[u8; 32], &[u8; 32]),
) -> Result<(SessionKeys, ProbeKey), HandshakeError> {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 six words");
    hasher
        .update(state.get_handshake_hash())
        .update(nonces.0)
        .update(nonces.1);
    let mut six = [0; 6];
    hasher.finalize_xof().fill(&mut six);
    let split = state.dangerously_get_raw_split();
    let probe_key = ProbeKey::from_secret(&[split.0, split.1].concat());
    Ok((
        SessionKeys::from_split(role, split, hellos, Some(six_words(six)))?,
        probe_key,
    ))
}

/// The sender's end.
pub struct BareInitiator {
    state: snow::HandshakeState,
    local: Local,
    nonce: [u8; 32],
    hello: Vec<u8>,
    done: Option<(Vec<u8>, ProbeKey)>,
}

impl BareInitiator {
    /// Commits.
    ///
    /// # Errors
    /// [`HandshakeError::Noise`] never happens unless the library is broken.
    pub fn new(local: Local) -> Result<Self, HandshakeError> {
        let nonce = SeedRng::new(&local.seed, "p2pcopy 1 bare nonce").array();
        let mut state = build(&local, &local.seed, Role::Sender)?;
        let commitment = commitment(&nonce, local.keypair.public(), &local.hello.encode());
        let noise = write(&mut state, packet::HELLO, &commitment)?;
        let mut datagram = hello(Role::Sender);
        datagram[HELLO_HEADER..HELLO_HEADER + NOISE_1].copy_from_slice(&noise[1..]);
        Ok(BareInitiator {
            state,
            local,
            nonce,
            hello: datagram,
            done: None,
        })
    }

    /// The datagram to send until message 2 arrives.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Message 3, once message 2 has arrived: to be sent until the receiver confirms.
    pub fn message_3(&self) -> Option<&[u8]> {
        self.done.as_ref().map(|(m, _)| m.as_slice())
    }

    /// Reads message 2; the keys may be used once [`BareInitiator::is_confirmation`] has seen the peer's word.
    /// A datagram that fails leaves everything as it was.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`], `Malformed` or `Replayed`: drop and count it. Others end the handshake.
    pub fn read_message_2(&mut self, datagram: &[u8]) -> Result<SessionKeys, HandshakeError> {
        if self.done.is_some() {
            return Err(HandshakeError::Replayed);
        }
        let payload = read(&mut self.state, packet::MESSAGE_2, datagram)?;
        let (their_nonce, theirs) = revealed(&payload)?;
        let theirs = Hello::decode(theirs)?;
        let reveal = [self.nonce.as_slice(), &self.local.hello.encode()].concat();
        let message_3 = write(&mut self.state, packet::MESSAGE_3, &reveal)?;
        let (keys, probe_key) = finish(
            &mut self.state,
            Role::Sender,
            (&self.local.hello, &theirs),
            (&self.nonce, &their_nonce),
        )?;
        self.done = Some((message_3, probe_key));
        Ok(keys)
    }

    /// Whether this datagram proves that the receiver holds the keys too.
    pub fn is_confirmation(&self, datagram: &[u8]) -> bool {
        self.done.as_ref().is_some_and(|(_, key)| {
            Probe::decode(datagram, key).is_some_and(|p| p.role == Role::Receiver && p.heard)
        })
    }
}

/// The receiver's end. It outlives the handshake: copies of earlier messages may arrive late.
pub struct BareResponder {
    local: Local,
    known: VecDeque<Known>,
    /// The message 3 that was accepted, and what we say to its copies.
    confirmed: Option<(blake3::Hash, [u8; Probe::LEN])>,
}

struct Known {
    noise_1: [u8; NOISE_1],
    message_2: Vec<u8>,
}

impl BareResponder {
    /// Awaits a sender's hello.
    pub fn new(local: Local) -> Self {
        BareResponder {
            local,
            known: VecDeque::new(),
            confirmed: None,
        }
    }

    /// What the receiver sends to open its NAT and to say that it is there.
    pub fn hello() -> Vec<u8> {
        hello(Role::Receiver)
    }

    fn answer(
        &self,
        noise_1: &[u8; NOISE_1],
    ) -> Result<(snow::HandshakeState, [u8; 32], Vec<u8>), HandshakeError> {
        // All that is random here depends on message 1, so no two sessions share an ephemeral key or a nonce,
        // and the whole state can be built again from message 1 alone.
        let mut rng = SeedRng::new(
            &blake3::keyed_hash(&self.local.seed, noise_1).into(),
            "p2pcopy 1 bare answer",
        );
        let mut state = build(&self.local, &rng.seed(), Role::Receiver)?;
        let nonce = rng.array();
        let mut commitment = [0; NOISE_1];
        state
            .read_message(noise_1, &mut commitment)
            .map_err(|_| HandshakeError::Forged)?;
        let reveal = [nonce.as_slice(), &self.local.hello.encode()].concat();
        let message_2 = write(&mut state, packet::MESSAGE_2, &reveal)?;
        Ok((state, nonce, message_2))
    }

    /// Answers a sender's hello with message 2; the same answer to the same hello, always. `None` if it is not
    /// one, or if a session has already been confirmed with another.
    pub fn read_hello(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let header = hello_header(datagram)?;
        if header.role != Role::Sender {
            return None;
        }
        let noise_1: [u8; NOISE_1] = datagram
            .get(HELLO_HEADER..HELLO_HEADER + NOISE_1)
            .and_then(|n| n.try_into().ok())?;
        if let Some(known) = self.known.iter().find(|k| k.noise_1 == noise_1) {
            return Some(known.message_2.clone());
        }
        if self.confirmed.is_some() {
            return None;
        }
        let (_, _, message_2) = self.answer(&noise_1).ok()?;
        if self.known.len() == MAX_INITIATORS {
            self.known.pop_front();
        }
        self.known.push_back(Known {
            noise_1,
            message_2: message_2.clone(),
        });
        Some(message_2)
    }

    /// Reads message 3. Yields the keys the first time, and always the confirmation to send back.
    ///
    /// # Errors
    /// [`HandshakeError::Forged`] or `Malformed`: drop and count it. Others end the handshake.
    pub fn read_message_3(
        &mut self,
        datagram: &[u8],
    ) -> Result<(Option<SessionKeys>, [u8; Probe::LEN]), HandshakeError> {
        let id = blake3::hash(datagram);
        if let Some((accepted, confirmation)) = &self.confirmed {
            return if *accepted == id {
                Ok((None, *confirmation))
            } else {
                Err(HandshakeError::Forged)
            };
        }
        // Trying message 3 may spoil a state for the next try, so each try builds its own.
        let (mut state, nonce, payload, noise_1) = self
            .known
            .iter()
            .rev()
            .find_map(|known| {
                let (mut state, nonce, _) = self.answer(&known.noise_1).ok()?;
                let payload = read(&mut state, packet::MESSAGE_3, datagram).ok()?;
                Some((state, nonce, payload, known.noise_1))
            })
            .ok_or(HandshakeError::Forged)?;
        let (their_nonce, their_hello) = revealed(&payload)?;
        let their_key = state.get_remote_static().ok_or(HandshakeError::Noise)?;
        if commitment(&their_nonce, their_key, their_hello) != noise_1[32..] {
            return Err(HandshakeError::Forged);
        }
        let theirs = Hello::decode(their_hello)?;
        let (keys, probe_key) = finish(
            &mut state,
            Role::Receiver,
            (&self.local.hello, &theirs),
            (&their_nonce, &nonce),
        )?;
        let confirmation = Probe {
            role: Role::Receiver,
            heard: true,
            slot: 0,
            unix_nanos: self.local.hello.unix_nanos,
            random: [0; 8],
        }
        .encode(&probe_key);
        self.confirmed = Some((id, confirmation));
        Ok((Some(keys), confirmation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::StaticKeypair;

    fn local(n: u8) -> Local {
        Local {
            keypair: StaticKeypair::from_seed(&[n; 32]),
            hello: Hello {
                oldest: 1,
                newest: 1,
                hardware_aes: true,
                cid: u32::from(n),
                unix_nanos: 1000,
            },
            not_before: 0,
            seed: [n ^ 0x80; 32],
        }
    }

    #[test]
    fn both_ends_show_the_same_six_words_and_hold_the_same_keys() {
        let (mut i, mut r) = (
            BareInitiator::new(local(1)).unwrap(),
            BareResponder::new(local(2)),
        );
        let m2 = r.read_hello(i.hello()).unwrap();
        assert!(m2.len() <= HELLO_LEN, "an answer never amplifies: {}", m2.len());
        let s = i.read_message_2(&m2).unwrap();
        let m3 = i.message_3().unwrap().to_vec();
        let (keys, confirmation) = r.read_message_3(&m3).unwrap();
        let keys = keys.unwrap();
        assert_eq!((s.send, s.receive), (keys.receive, keys.send));
        assert!(s.sas.is_some());
        assert_eq!(s.sas, keys.sas);
        assert!(i.is_confirmation(&confirmation));
        let (none, again) = r.read_message_3(&m3).unwrap();
        assert!(none.is_none() && again == confirmation);
    }

    #[test]
    fn someone_in_the_middle_makes_the_words_differ() {
        let (mut i, mut r) = (
            BareInitiator::new(local(1)).unwrap(),
            BareResponder::new(local(2)),
        );
        let (mut mi, mut mr) = (
            BareInitiator::new(local(3)).unwrap(),
            BareResponder::new(local(4)),
        );
        let s = i.read_message_2(&mr.read_hello(i.hello()).unwrap()).unwrap();
        mi.read_message_2(&r.read_hello(mi.hello()).unwrap()).unwrap();
        let (keys, _) = r.read_message_3(mi.message_3().unwrap()).unwrap();
        assert_ne!(s.sas, keys.unwrap().sas);
    }

    #[test]
    fn message_3_must_reveal_what_was_committed() {
        let mut cheat = local(1);
        let mut i = BareInitiator::new(cheat.clone()).unwrap();
        let mut r = BareResponder::new(local(2));
        let m2 = r.read_hello(i.hello()).unwrap();
        cheat.hello.cid = 99;
        i.local = cheat;
        i.read_message_2(&m2).unwrap();
        assert_eq!(
            r.read_message_3(i.message_3().unwrap()).err(),
            Some(HandshakeError::Forged)
        );
    }

    #[test]
    fn damaged_messages_change_nothing() {
        let (mut i, mut r) = (
            BareInitiator::new(local(1)).unwrap(),
            BareResponder::new(local(2)),
        );
        let m2 = r.read_hello(i.hello()).unwrap();
        for bit in 0..m2.len() * 8 {
            let mut bad = m2.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(i.read_message_2(&bad).is_err(), "bit {bit}");
        }
        i.read_message_2(&m2).unwrap();
        let m3 = i.message_3().unwrap().to_vec();
        for bit in 0..m3.len() * 8 {
            let mut bad = m3.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(r.read_message_3(&bad).is_err(), "bit {bit}");
        }
        assert!(r.read_message_3(&m3).is_ok());
    }
}
