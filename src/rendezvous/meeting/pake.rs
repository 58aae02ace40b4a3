//! Makes a strong key from two words: SPAKE2 (crate `spake2`), with the key confirmation that the crate
//! lacks.
//!
//! An attacker who plays the other end has one guess at the words, and a wrong guess is noticed. The
//! confirmation is a keyed hash, which is checked before anything is decrypted. An AEAD alone does not commit
//! to its key, so one crafted message could try many guesses at once (Len, Grubbs, Ristenpart: "Partitioning
//! Oracle Attacks", 2021).

use std::fmt;

use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroize;

use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::mac::shortened;
use crate::protocol::seal::{Cipher, Opener, Sealer};
use crate::protocol::wire::{HEADER_LEN, Header, TAG_LEN};
use crate::rendezvous::meeting::wire::Ticket;

/// Bytes of a PAKE message.
pub(crate) const MESSAGE_LEN: usize = 33;
/// Bytes of the key confirmation.
const CONFIRMATION_LEN: usize = 32;

/// The two ends of a code, by their numbers in a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The end that shows the code.
    Owner = 0,
    /// The end where the code was typed.
    Joiner = 1,
}

impl End {
    /// The other end.
    pub(crate) const fn peer(self) -> End {
        match self {
            End::Owner => End::Joiner,
            End::Joiner => End::Owner,
        }
    }

    const fn confirmation(self) -> &'static str {
        match self {
            End::Owner => "p2pcopy 1 code owner confirms",
            End::Joiner => "p2pcopy 1 code joiner confirms",
        }
    }

    const fn sealing(self) -> &'static str {
        match self {
            End::Owner => "p2pcopy 1 code owner seals",
            End::Joiner => "p2pcopy 1 code joiner seals",
        }
    }
}

/// The words on the two sides differ, or somebody who does not know them answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WrongWords;

/// One end of an exchange that has not been answered. It accepts one message only, so it allows one guess.
pub(crate) struct Exchange {
    state: Spake2<Ed25519Group>,
    message: Vec<u8>,
}

impl Exchange {
    /// `secret` is what both people know; `seed` must serve nothing else.
    pub(crate) fn new(end: End, secret: &[u8], seed: &[u8; 32]) -> Self {
        let (owner, joiner) = (
            Identity::new(b"p2pcopy 1 owner"),
            Identity::new(b"p2pcopy 1 joiner"),
        );
        let rng = SeedRng::new(seed, "p2pcopy 1 code exchange");
        let password = Password::new(secret);
        let (state, message) = match end {
            End::Owner => Spake2::start_a_with_rng(&password, &owner, &joiner, rng),
            End::Joiner => Spake2::start_b_with_rng(&password, &owner, &joiner, rng),
        };
        Exchange { state, message }
    }

    /// Begins an exchange while neither end knows which end it is. The server tells that together with the
    /// other end's message.
    pub(crate) fn either(secret: &[u8], seed: &[u8; 32]) -> Self {
        let rng = SeedRng::new(seed, "p2pcopy 1 name exchange");
        let (state, message) =
            Spake2::start_symmetric_with_rng(&Password::new(secret), &Identity::new(b"p2pcopy 1 name"), rng);
        Exchange { state, message }
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Takes the peer's message; `end` is ours.
    ///
    /// # Errors
    ///
    /// If the other end cannot have made this message.
    pub(crate) fn finish(self, end: End, theirs: &[u8]) -> Result<CodeKeys, WrongWords> {
        let mut secret = self.state.finish(theirs).map_err(|_| WrongWords)?;
        let keys = CodeKeys::new(end, blake3::derive_key("p2pcopy 1 code", &secret));
        secret.zeroize();
        Ok(keys)
    }
}

/// What both ends have after the exchange, if the words were the same.
pub(crate) struct CodeKeys {
    end: End,
    key: [u8; 32],
}

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKeys of the {:?}", self.end)
    }
}

impl Drop for CodeKeys {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl CodeKeys {
    /// Keys from the result of the exchange.
    pub(crate) const fn new(end: End, key: [u8; 32]) -> Self {
        CodeKeys { end, key }
    }

    /// The ticket by which a relay recognizes the two ends. Nobody else can compute it.
    pub(crate) fn ticket(&self) -> Ticket {
        shortened(blake3::derive_key("p2pcopy 1 relay ticket", &self.key).into())
    }

    /// Our confirmation, and `text` sealed. Must be called once: a second text would reuse the nonce.
    pub(crate) fn seal(&self, text: &str) -> Vec<u8> {
        let mut packet = vec![0; HEADER_LEN];
        packet.extend_from_slice(text.as_bytes());
        packet.resize(packet.len() + TAG_LEN, 0);
        let secret = blake3::derive_key(self.end.sealing(), &self.key);
        Sealer::new(Cipher::ChaCha20Poly1305, secret.into(), 0).seal(&mut packet);
        let mut out = blake3::derive_key(self.end.confirmation(), &self.key).to_vec();
        out.extend_from_slice(&packet);
        out
    }

    /// Checks the peer's confirmation, and opens its text.
    ///
    /// # Errors
    /// If the peer does not have our key.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<String, WrongWords> {
        let (confirmation, packet) = sealed.split_first_chunk::<CONFIRMATION_LEN>().ok_or(WrongWords)?;
        let expected = blake3::derive_key(self.end.peer().confirmation(), &self.key);
        // blake3::Hash compares in constant time.
        if blake3::Hash::from(*confirmation) != blake3::Hash::from(expected) {
            return Err(WrongWords);
        }
        let mut packet = packet.to_vec();
        let header = Header::decode(&packet).ok_or(WrongWords)?;
        let secret = blake3::derive_key(self.end.peer().sealing(), &self.key);
        let mut opener = Opener::new(Cipher::ChaCha20Poly1305, secret.into());
        let text = opener.open(&header, &mut packet).ok_or(WrongWords)?;
        String::from_utf8(text.to_vec()).map_err(|_| WrongWords)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(owner: &str, joiner: &str) -> [CodeKeys; 2] {
        let a = Exchange::new(End::Owner, owner.as_bytes(), &[1; 32]);
        let b = Exchange::new(End::Joiner, joiner.as_bytes(), &[2; 32]);
        let (to_b, to_a) = (a.message().to_vec(), b.message().to_vec());
        assert_eq!((to_a.len(), to_b.len()), (MESSAGE_LEN, MESSAGE_LEN));
        [
            a.finish(End::Owner, &to_a).expect("well formed"),
            b.finish(End::Joiner, &to_b).expect("well formed"),
        ]
    }

    #[test]
    fn ends_that_do_not_know_which_they_are_agree_too_and_an_echo_opens_nothing() {
        let begin = |secret: &str, seed| Exchange::either(secret.as_bytes(), &[seed; 32]);
        let (a, b) = (begin("a secret of two", 1), begin("a secret of two", 2));
        let (to_b, to_a) = (a.message().to_vec(), b.message().to_vec());
        assert_eq!(to_a.len(), MESSAGE_LEN);
        let (a, b) = (a.finish(End::Owner, &to_a), b.finish(End::Joiner, &to_b));
        let (a, b) = (a.expect("well formed"), b.expect("well formed"));
        assert_eq!(b.open(&a.seal("from a")).as_deref(), Ok("from a"));
        assert_eq!(a.open(&a.seal("from a")), Err(WrongWords));
        let (a, b) = (begin("a secret of two", 1), begin("another secret", 2));
        let (to_b, to_a) = (a.message().to_vec(), b.message().to_vec());
        let (a, b) = (a.finish(End::Owner, &to_a), b.finish(End::Joiner, &to_b));
        let (a, b) = (a.expect("well formed"), b.expect("well formed"));
        assert_eq!(b.open(&a.seal("from a")), Err(WrongWords));
        let alone = begin("a secret of two", 1);
        let echo = alone.message().to_vec();
        let keys = alone.finish(End::Owner, &echo).expect("well formed");
        assert_eq!(keys.open(&keys.seal("mine")), Err(WrongWords));
    }

    #[test]
    fn the_same_words_give_one_key_and_other_words_none() {
        let [a, b] = exchange("guitar-harbor", "guitar-harbor");
        assert_eq!(b.open(&a.seal("from a")).as_deref(), Ok("from a"));
        assert_eq!(a.open(&b.seal("from b")).as_deref(), Ok("from b"));
        let [a, b] = exchange("guitar-harbor", "guitar-hammer");
        assert_eq!(b.open(&a.seal("from a")), Err(WrongWords));
        assert_eq!(a.open(&b.seal("from b")), Err(WrongWords));
    }

    #[test]
    fn an_echo_is_no_answer() {
        let a = Exchange::new(End::Owner, b"guitar-harbor", &[1; 32]);
        let echo = a.message().to_vec();
        assert!(a.finish(End::Owner, &echo).is_err());
        let [a, _b] = exchange("guitar-harbor", "guitar-harbor");
        assert_eq!(a.open(&a.seal("mine")), Err(WrongWords));
    }

    #[test]
    fn whatever_is_changed_on_the_way_is_refused() {
        let [a, b] = exchange("guitar-harbor", "guitar-harbor");
        let sealed = a.seal("203.0.113.7:4300");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            // The header's phase bit is for readers of traces and decides nothing, but it is authenticated,
            // too.
            assert_eq!(b.open(&changed), Err(WrongWords), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(b.open(&sealed[..len]), Err(WrongWords), "{len} bytes");
        }
    }
}
