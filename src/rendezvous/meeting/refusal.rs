//! Why a meeting came to nothing, in words for the user.

use crate::rendezvous::address::AddressError;

/// Why a code came to nothing, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody waits there.
    #[error(
        "nobody waits with this code: it was mistyped, used before, or is too old; ask for the one shown now"
    )]
    Nobody,
    /// Both send, or both receive.
    #[error("the other side does the same as you: one must be sender, the other receiver")]
    SameRole,
    /// The peer left.
    #[error("the other side has left: ask for a new code")]
    Gone,
    /// The words differ.
    #[error("the words of the code were wrong, so it is of no use any more")]
    WrongWords,
    /// Too many codes were spoilt.
    #[error("one code after the other came to nothing: somebody guesses the words, or the server lies")]
    Guessed,
    /// Too old.
    #[error("the code is too old")]
    Expired,
    /// Limits.
    #[error("the server takes no more from your network for {0} s: wait, or swap addresses without --server")]
    TooMany(u16),
    /// The server's word.
    #[error("the server wants its word: give --server HOST/WORD, as the server's owner told you")]
    WrongToken,
    /// What the peer sent is no address for us.
    #[error("{0}")]
    Address(AddressError),
}

impl Refusal {
    /// One thing to do when nothing will come of a meeting.
    pub(crate) const fn next_step(self) -> &'static str {
        match self {
            Refusal::Guessed => "run both sides without --server and swap the addresses they print",
            _ => "run the same command again with the code that the other side shows now",
        }
    }
}
