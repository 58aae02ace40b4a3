//! Noise XX between bare `ip:port` addresses. Nothing vouches for the keys, so the users compare six words.
//!
//! Each end commits to everything it adds to the words before it sees what the other adds: the sender in
//! message 1, the receiver in message 2. The nonces follow in messages 3 and 4, and a receiver accepts one
//! message 3 in a run. So an attacker in the middle must fix its own part of both screens' words before it
//! learns either of them (see [`super::compare`]).
//!
//! The receiver keeps no state for a hello. It answers a datagram without the right cookie with the cookie of
//! the address it came from, which costs one hash. Only somebody who receives at that address can send the
//! cookie back, and only then the receiver computes keys. Message 3 contains message 1, so that the receiver
//! can build the state again.
//!
//! ```text
//! sender                                                  receiver
//!   hello:     cookie or 0, [e, commitment]           ->
//!          <- hello:     cookie
//!   hello:     cookie, [e, commitment]                ->
//!          <- message 2: cookie, echo, [e, ee, s, es, commitment, hello]
//!   message 3: cookie, message 1, [s, se, nonce, hello] ->  has keys and words
//!          <- message 4: nonce, MAC
//!   has keys and words
//! ```

mod initiator;
mod responder;

use zeroize::Zeroizing;

pub(crate) use self::initiator::BareInitiator;
pub(crate) use self::responder::{BareResponder, Confirmed};
use super::compare::NONCE_LEN;
use super::{Hello, PROTOCOL_VERSION, packet};
use crate::protocol::mac::{MAC_LEN, Mac, mac};
use crate::protocol::{Path, Role};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"p2pcopy 1 bare";

const COOKIE_LEN: usize = MAC_LEN;
/// Type, version, role, a zero, and the cookie: the header of all messages except message 4.
const HEADER: usize = 4 + COOKIE_LEN;
/// Noise message 1: ephemeral key, commitment.
const NOISE_1: usize = 32 + NONCE_LEN;
/// Noise messages 2 and 3 end alike: encrypted static key; nonce or commitment and hello, with a tag.
const NOISE_3: usize = 32 + 16 + NONCE_LEN + Hello::LEN + 16;
/// Message 2 repeats this many bytes of message 1. A forger that has not seen message 1 costs the sender no
/// computation.
const ECHO_LEN: usize = 16;

/// Bytes of a hello and of a message 3 on the wire. No answer of either end is longer.
pub(crate) const HELLO_LEN: usize = HEADER + NOISE_1 + NOISE_3;
/// Message 2's bytes on the wire.
pub(crate) const MESSAGE_2_LEN: usize = HEADER + ECHO_LEN + 32 + NOISE_3;
/// Message 4's bytes on the wire.
pub(crate) const MESSAGE_4_LEN: usize = 1 + NONCE_LEN + MAC_LEN;

const _: () = assert!(MESSAGE_2_LEN <= HELLO_LEN && MESSAGE_4_LEN <= HELLO_LEN);

/// Shows that a sender receives at the address it sends from.
pub(crate) type Cookie = Mac;

/// The fields of a hello, a message 2 or a message 3 that can be read without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BareHeader {
    /// The role that the sender of this datagram claims.
    pub role: Role,
    pub cookie: Cookie,
}

impl BareHeader {
    /// Reads the clear header of a datagram of bare mode.
    pub(crate) fn decode(datagram: &[u8]) -> Option<BareHeader> {
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let &[kind, _, role, 0, ref cookie @ ..] = header else {
            return None;
        };
        let len = match kind {
            packet::HELLO | packet::BARE_3 => HELLO_LEN,
            packet::BARE_2 => MESSAGE_2_LEN,
            _ => return None,
        };
        let role = match role {
            0 => Role::Sender,
            1 => Role::Receiver,
            _ => return None,
        };
        (datagram.len() == len).then_some(BareHeader {
            role,
            cookie: *cookie,
        })
    }

    fn encode(kind: u8, role: Role, cookie: &Cookie) -> Vec<u8> {
        let mut out = Vec::with_capacity(HELLO_LEN);
        out.extend_from_slice(&[kind, PROTOCOL_VERSION, role as u8, 0]);
        out.extend_from_slice(cookie);
        out
    }
}

/// The cookies of one run: one for each address, computed without a table.
#[derive(Clone)]
pub(crate) struct Cookies(Zeroizing<[u8; 32]>);

impl Cookies {
    fn new(key: [u8; 32]) -> Self {
        Cookies(Zeroizing::new(key))
    }

    /// The cookie of a peer at the other end of `path`.
    pub(crate) fn of(&self, path: Path) -> Cookie {
        mac(&self.0, &path.to_bytes())
    }
}

/// Both halves of the raw split of a finished handshake.
fn raw_split(state: &mut snow::HandshakeState) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let split = state.dangerously_get_raw_split();
    (Zeroizing::new(split.0), Zeroizing::new(split.1))
}

/// Authenticates the nonce of message 4: only a holder of the session's keys can compute it.
fn message_4_mac(split: (&[u8; 32], &[u8; 32]), nonce: &[u8; NONCE_LEN]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 bare message 4");
    hasher.update(split.0).update(split.1);
    let key = Zeroizing::new(*hasher.finalize().as_bytes());
    blake3::keyed_hash(&key, nonce)
}

#[cfg(test)]
mod tests;
