//! What can go wrong with files and with the conversation about them, split by whose fault it is.

use std::io;
use std::path::PathBuf;

use crate::protocol::codec::Truncated;
use crate::transfer::BlockIndex;
use crate::transfer::breach::Breach;

/// A bound of every list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListBound {
    /// Of files and directories.
    #[error("more entries than a list may have")]
    Entries,
    /// Of directories in directories.
    #[error("directories nest too deep")]
    Depth,
    /// What its length can say.
    #[error("a name is too long")]
    Name,
    /// Of the target of a link.
    #[error("the target of a link is too long")]
    Target,
    /// Of all names and targets together.
    #[error("all names together are too long")]
    Names,
    /// Of the content space.
    #[error("all files together are too long")]
    Content,
}

/// Bytes from the peer that do not follow the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The bytes ended inside a field.
    #[error("truncated {0}")]
    Truncated(&'static str),
    /// Bytes follow where the message should have ended.
    #[error("bytes left over after {0}")]
    Trailing(&'static str),
    /// A field holds a value it may not have.
    #[error("bad {0}")]
    Value(&'static str),
    /// A count or length beyond its cap, or beyond what was claimed before.
    #[error("too much {0}")]
    TooMuch(&'static str),
    /// A message of the user's that is longer than is shown.
    #[error("a message of more than 1 MiB")]
    LongText,
    /// More than any list may hold.
    #[error(transparent)]
    Bound(#[from] ListBound),
    /// Two names, shown as they were sent, that are one once they are safe to create.
    #[error("{0} and {1} become one name")]
    OneName(String, String),
    /// A name that could leave the output directory.
    #[error("unsafe name in the list of files: {0}")]
    Name(&'static str),
}

impl From<Truncated> for Malformed {
    fn from(Truncated(what): Truncated) -> Self {
        Malformed::Truncated(what)
    }
}

/// What an interrupted transfer keeps on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    /// The directory's name in the output directory.
    pub name: PathBuf,
    /// Bytes in it.
    pub bytes: u64,
}

/// A problem with this machine's files: what happened. What people read of it, and what they
/// can do about it, is worded in `app`.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Less free space than the transfer needs.
    #[error("{path} has {free} bytes free and {needed} are needed")]
    TooLittleSpace {
        /// The output directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes still to be written.
        needed: u64,
        /// What interrupted transfers keep there.
        leftovers: Vec<Leftover>,
    },
    /// Fewer files and directories can be made than the transfer has.
    #[error("{path} has room for {free} more files and directories, and {needed} are needed")]
    TooFewNodes {
        /// The output directory.
        path: PathBuf,
        /// How many can be made.
        free: u64,
        /// How many there are to make.
        needed: u64,
        /// What interrupted transfers keep there.
        leftovers: Vec<Leftover>,
    },
    /// A file that is larger than files can be there.
    #[error("{path} has {size} bytes, and files can have {limit} there")]
    TooLarge {
        /// Where it was to be.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// Most bytes.
        limit: u64,
    },
    /// Two names of the transfer are one on this file system.
    #[error("{} and {} are one name on this file system", .0.display(), .1.display())]
    Collision(PathBuf, PathBuf),
    /// Two names of the transfer, shown as they were sent, are one once they are safe to create.
    #[error(
        "{0} and {1} would have one name here, as characters that can mislead a reader or a program become _"
    )]
    OneName(String, String),
    /// Two paths to send end in one name.
    #[error("{0} and {1} have the same name")]
    SameName(PathBuf, PathBuf),
    /// Something of this machine's that no list can hold.
    #[error("{} cannot be sent: {why}", .path.display())]
    Unlistable {
        /// What was to be added.
        path: PathBuf,
        /// Which rule is in the way.
        why: Malformed,
    },
    /// What is offered has the name of a file that this run writes.
    #[error("{} is offered, and is where this run writes its trace", .0.display())]
    Reserved(PathBuf),
    /// A pipe, a device or the like.
    #[error("{} is neither a file nor a directory", .0.display())]
    NotSendable(PathBuf),
    /// A file that says nothing of its size and has much in it.
    #[error("{} does not say how much is in it, and that is too much to be read before it is sent", .0.display())]
    Endless(PathBuf),
    /// Every path to send matches a pattern of `--exclude`.
    #[error("--exclude leaves out everything that was to be sent")]
    AllExcluded,
    /// Something of ours is used by another run.
    #[error("another run is receiving into {0}")]
    Busy(PathBuf),
    /// Whoever read our output has gone.
    #[error("the program that reads the output has closed it")]
    OutputClosed,
    /// The key by which this user's own directories are known cannot be trusted.
    #[error("the key {} cannot be used: {fault}", path.display())]
    Key {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        fault: KeyFault,
    },
    /// What the system said no to.
    #[error("could not {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What is wrong with the user's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be opened or read, or is a link.
    #[error("it cannot be read, or is a link")]
    Unreadable,
    /// It is no file of the right length.
    #[error("it is not a key")]
    NotAKey,
    /// It belongs to another user.
    #[error("it belongs to another user")]
    NotOurs,
    /// Its permissions let others read or change it.
    #[error("others may read or change it")]
    Open,
}

impl LocalError {
    /// The system's error on a file.
    pub(crate) fn new(action: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        LocalError::Io { action, path, error }
    }
}

/// Why a transfer ended without success.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The peer sent bytes that are not the protocol.
    #[error("the other side sent something this version does not understand ({0})")]
    Malformed(#[source] Malformed),
    /// The peer sent well-formed messages that make no sense.
    #[error("the other side broke the protocol: {0}")]
    PeerMisbehaved(#[from] Breach),
    /// This machine's files.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A file changed while it was sent.
    #[error("{0} changed while it was sent; run the same commands again to send what changed")]
    SourceChanged(PathBuf),
    /// A block did not match its hash, twice.
    #[error("block {} did not match its hash twice; run the same commands again", .0.get())]
    Verification(BlockIndex),
    /// Several files are offered and the output is a pipe, in which nobody could tell them apart.
    #[error("standard output takes one file or one stream, and several files or directories are offered")]
    NotOneStream,
    /// All that is offered are links that lead elsewhere.
    #[error("it offers only links that lead out of what it sends, which are taken with --links alone")]
    OnlyOutsideLinks,
}

impl From<Malformed> for TransferError {
    fn from(error: Malformed) -> Self {
        match error {
            // No fault of the peer's: its disk has both.
            Malformed::OneName(one, other) => LocalError::OneName(one, other).into(),
            error => TransferError::Malformed(error),
        }
    }
}
