//! What the users compare, so that nobody in the middle can make both screens show the same six words.
//!
//! Each end adds a nonce. The sender commits to its nonce before it sees the receiver's, and the receiver takes one
//! handshake in a run. So an attacker has to fix its own nonce before it learns what either screen will show: one
//! guess in 2^48 in each run, however much it computes and however many datagrams it sends.

use zeroize::Zeroizing;

use super::PublicKey;
use super::words::WORDS;

/// Bytes of a nonce and of a commitment.
pub(crate) const NONCE_LEN: usize = 32;

/// Six words of [`WORDS`].
pub(crate) type SixWords = [&'static str; 6];

/// What one end adds to the words.
#[derive(Clone)]
pub(super) struct Nonce(Zeroizing<[u8; NONCE_LEN]>);

impl Nonce {
    pub(super) fn new(bytes: [u8; NONCE_LEN]) -> Self {
        Nonce(Zeroizing::new(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }

    /// Binds its author to this nonce, key and hello without showing the nonce. With the nonce alone, key and hello
    /// could still be chosen until the words fit.
    pub(super) fn commit(&self, author: &PublicKey, hello: &[u8]) -> Commitment {
        Commitment(commitment(self.bytes(), author, hello))
    }
}

/// What binds the author of a hello, who has this static key, to a nonce.
pub fn commitment(nonce: &[u8; NONCE_LEN], author: &PublicKey, hello: &[u8]) -> [u8; NONCE_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 commitment");
    hasher.update(nonce).update(author).update(hello);
    hasher.finalize().into()
}

/// A promise to reveal one nonce and no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Commitment(pub(super) [u8; NONCE_LEN]);

/// The words of a handshake with this hash and these nonces.
pub fn six_words(handshake_hash: &[u8], sender: &[u8; NONCE_LEN], receiver: &[u8; NONCE_LEN]) -> SixWords {
    let mut hasher = blake3::Hasher::new_derive_key("p2pcopy 1 six words");
    hasher.update(handshake_hash).update(sender).update(receiver);
    let mut six = [0; 6];
    hasher.finalize_xof().fill(&mut six);
    six.map(|byte| WORDS[usize::from(byte)])
}

pub(super) fn words(handshake_hash: &[u8], sender: &Nonce, receiver: &Nonce) -> SixWords {
    six_words(handshake_hash, sender.bytes(), receiver.bytes())
}

/// Why the users compare words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nobody vouched for the peer's key: a bare address was pasted.
    Bare,
    /// One of the two users asked for it.
    Asked,
}

/// How an end comes to the words.
#[derive(Clone)]
pub enum Words {
    /// It has them.
    Known(SixWords),
    /// It has them; the peer has them once this nonce has been sent to it, sealed.
    ToReveal([u8; NONCE_LEN], SixWords),
    /// It has them once the peer's nonce has come, sealed.
    Awaited(Awaited),
}

/// What a receiver keeps until the sender's nonce comes.
#[derive(Clone)]
pub struct Awaited {
    pub(super) commitment: Commitment,
    pub(super) author: PublicKey,
    pub(super) hello: Vec<u8>,
    pub(super) handshake_hash: Vec<u8>,
    pub(super) own: Nonce,
}

impl Awaited {
    /// The words, if this nonce is the one the sender has promised.
    pub(crate) fn reveal(&self, nonce: [u8; NONCE_LEN]) -> Option<SixWords> {
        let nonce = Nonce::new(nonce);
        (nonce.commit(&self.author, &self.hello) == self.commitment)
            .then(|| words(&self.handshake_hash, &nonce, &self.own))
    }
}

/// What the users are to compare before anything else happens, and why.
#[derive(Clone)]
pub struct Comparison {
    /// Who wants it.
    pub reason: Reason,
    /// The words, or how to come to them.
    pub words: Words,
}
