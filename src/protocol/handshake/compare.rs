//! The words that the users compare. Nobody in the middle can make both screens show the same six words.
//!
//! Each end adds a nonce. The sender commits to its nonce before it sees the receiver's, and the receiver
//! accepts one handshake in a run. So an attacker must fix its own nonce before it learns what either screen
//! will show. It has one guess in 2^48 in each run, however much it computes and however many datagrams it
//! sends.

use zeroize::Zeroizing;

use super::PublicKey;
use super::words::WORDS;

/// Bytes of a nonce and of a commitment.
pub(crate) const NONCE_LEN: usize = 32;

/// Six words of [`WORDS`].
pub(crate) type SixWords = [&'static str; 6];

/// The part that one end adds to the words.
pub(super) type Nonce = Zeroizing<[u8; NONCE_LEN]>;

/// Commits the author to this nonce, key and hello without revealing the nonce. If only the nonce were
/// committed, an attacker could try keys and hellos until the words fit.
pub(crate) fn commitment(nonce: &[u8; NONCE_LEN], author: &PublicKey, hello: &[u8]) -> [u8; NONCE_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 commitment");
    hasher.update(nonce).update(author).update(hello);
    hasher.finalize().into()
}

/// The words of a handshake with this hash and these nonces.
pub(crate) fn six_words(
    handshake_hash: &[u8],
    sender: &[u8; NONCE_LEN],
    receiver: &[u8; NONCE_LEN],
) -> SixWords {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 six words");
    hasher.update(handshake_hash).update(sender).update(receiver);
    let mut six = [0; 6];
    hasher.finalize_xof().fill(&mut six);
    six.map(|byte| WORDS[usize::from(byte)])
}

/// Why the users compare words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// Nothing vouches for the peer's key: a bare address was pasted.
    Bare,
    /// One of the two users asked for the comparison.
    Asked,
}

/// How an end gets the words.
#[derive(Clone)]
pub enum Words {
    /// This end has the words.
    Known(SixWords),
    /// This end has the words. The peer gets them when this nonce is sent to it, sealed.
    ToReveal([u8; NONCE_LEN], SixWords),
    /// This end gets the words when the peer's nonce arrives, sealed.
    Awaited(Awaited),
}

/// What a receiver keeps until the sender's nonce arrives.
#[derive(Clone)]
pub(crate) struct Awaited {
    pub(super) commitment: [u8; NONCE_LEN],
    pub(super) author: PublicKey,
    pub(super) hello: Vec<u8>,
    pub(super) handshake_hash: Vec<u8>,
    pub(super) own: Nonce,
}

impl Awaited {
    /// The words, if this is the nonce that the sender committed to.
    pub(crate) fn reveal(&self, nonce: [u8; NONCE_LEN]) -> Option<SixWords> {
        (commitment(&nonce, &self.author, &self.hello) == self.commitment)
            .then(|| six_words(&self.handshake_hash, &nonce, &self.own))
    }
}

/// What the users must compare first, and why.
#[derive(Clone)]
pub struct Comparison {
    pub reason: Reason,
    /// The words, or how to get them.
    pub words: Words,
}
