//! Why a meeting failed, in words for the user.

use crate::rendezvous::address::AddressError;

/// Why a code failed, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody waits at this number.
    #[error(
        "nobody waits with this code: it was mistyped, used before, or is too old; ask for the one shown now"
    )]
    Nobody,
    /// Nobody waits under the name.
    #[error("nobody waits under that name now: with --as NAME as well you wait until they come")]
    NobodyNamed,
    /// Somebody else waits under our name.
    #[error(
        "somebody else waits under your name: choose another with --as, or wait half a minute if it was you"
    )]
    NameTaken,
    /// The errands do not fit: both send, or both receive, or only one chats.
    #[error(
        "the other side does not do what goes with yours: a sender needs a receiver, a chat another chat"
    )]
    SameRole,
    /// The peer left.
    #[error("the other side has left: ask for a new code")]
    Gone,
    /// The words differ.
    #[error("the words of the code were wrong, so it is of no use any more")]
    WrongWords,
    /// Too many codes were used up.
    #[error("one code after the other came to nothing: somebody guesses the words, or the server lies")]
    Guessed,
    /// The secrets of a meeting by name differ.
    #[error("the other side has another secret: give both the same --secret-file, or neither")]
    WrongSecret,
    /// The code has expired.
    #[error("the code is too old")]
    Expired,
    /// There were too many requests from this network.
    #[error("the server takes no more from your network for {0} s: wait, or swap addresses without --server")]
    TooMany(u16),
    /// The server's token is missing or wrong.
    #[error("the server wants its word: give --server HOST/WORD, as the server's owner told you")]
    WrongToken,
    /// The peer sent an address that we cannot use.
    #[error("{0}")]
    Address(AddressError),
}

impl Refusal {
    /// What the user can do next if a meeting failed.
    pub(crate) const fn next_step(self) -> &'static str {
        match self {
            Refusal::Guessed => "run both sides without --server and swap the addresses they print",
            Refusal::NobodyNamed | Refusal::NameTaken | Refusal::WrongSecret => {
                "run the same command again once that is so"
            }
            _ => "run the same command again with the code that the other side shows now",
        }
    }
}
