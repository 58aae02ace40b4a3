//! Why a meeting failed, in words for the user.

use crate::rendezvous::address::AddressError;

/// Why a code failed, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nobody waits at this number.
    #[error(
        "nobody waits with this code: it was mistyped, used before, or is too old; ask for the one shown now"
    )]
    Nobody,
    /// Nobody waits under the name.
    #[error("nobody waits under that name now")]
    NobodyNamed,
    /// Somebody else waits under our name.
    #[error(
        "somebody else waits under your name: choose another with --as, or wait half a minute if it was you"
    )]
    NameTaken,
    /// The errands do not fit: both send, or both receive, or only one chats.
    #[error("the two sides do not go together: a sender needs a receiver, and a chat another chat")]
    SameRole,
    /// The peer left.
    #[error("the other side has left")]
    Gone,
    #[error("the words of the code were wrong, so it is of no use any more")]
    WrongWords,
    /// Too many codes were used up.
    #[error("one code after the other came to nothing: somebody guesses the words, or the server lies")]
    Guessed,
    /// The secrets of a meeting by name differ.
    #[error("the other side has another secret: give both the same --secret-file, or neither")]
    WrongSecret,
    #[error("the code is too old")]
    Expired,
    /// There were too many requests from this network.
    #[error(
        "the server takes no more from your network for {0} s: too much was asked for, or tried out, from there"
    )]
    TooMany(u16),
    /// The server's token is missing or wrong.
    #[error(
        "the server serves only those who know its token, and --server HOST/TOKEN has none or a wrong one"
    )]
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
            Refusal::NobodyNamed => {
                "run the same command again once they are there, or with --as NAME as well to wait for them"
            }
            Refusal::NameTaken => "run the same command again with another name, or a little later",
            Refusal::WrongSecret => "run the same command again on both sides once they have",
            Refusal::SameRole => {
                "run p2pcopy sender on one side and p2pcopy receiver on the other, or chat on both"
            }
            Refusal::TooMany(_) => {
                "run the same command again then, or both sides without --server, and swap the addresses they print"
            }
            Refusal::WrongToken => "ask the server's owner for its token",
            Refusal::Nobody
            | Refusal::Gone
            | Refusal::WrongWords
            | Refusal::Expired
            | Refusal::Address(_) => "run the same command again with the code that the other side shows now",
        }
    }
}
