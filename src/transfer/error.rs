//! Errors of files and of the conversation about them, split by whose fault they are.

use std::io;
use std::path::PathBuf;

use crate::protocol::codec::Truncated;
use crate::transfer::BlockIndex;
use crate::transfer::breach::Breach;

/// The limits that every list has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ListBound {
    /// Number of files and directories.
    #[error("more entries than a list may have")]
    Entries,
    /// Depth of directories in directories.
    #[error("directories nest too deep")]
    Depth,
    /// Length of one name.
    #[error("a name is too long")]
    Name,
    /// Length of a link's target.
    #[error("the target of a link is too long")]
    Target,
    /// Length of all names and targets together.
    #[error("all names together are too long")]
    Names,
    /// Length of the content space.
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
    /// A field holds a value that the protocol does not allow.
    #[error("bad {0}")]
    Value(&'static str),
    /// A count or length is above its limit, or above what was announced before.
    #[error("too much {0}")]
    TooMuch(&'static str),
    /// The user's message is longer than this program shows.
    #[error("a message of more than 1 MiB")]
    LongText,
    /// The list is above a limit that every list has.
    #[error(transparent)]
    Bound(#[from] ListBound),
    /// A name that could leave the output directory.
    #[error("unsafe name in the list of files: {0}")]
    Name(&'static str),
}

impl From<Truncated> for Malformed {
    fn from(Truncated(what): Truncated) -> Self {
        Malformed::Truncated(what)
    }
}

/// What an interrupted transfer left on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    /// The name of its directory in the output directory.
    pub name: PathBuf,
    /// Bytes in that directory.
    pub bytes: u64,
}

/// A problem with this machine's files. `app` words it for people and says what they can do about it.
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
    /// The file system can hold fewer new files and directories than the transfer needs.
    #[error("{path} has room for {free} more files and directories, and {needed} are needed")]
    TooFewNodes {
        /// The output directory.
        path: PathBuf,
        /// How many can be made.
        free: u64,
        /// How many the transfer still has to make.
        needed: u64,
        /// What interrupted transfers keep there.
        leftovers: Vec<Leftover>,
    },
    /// A file is larger than this file system allows.
    #[error("{path} has {size} bytes, and files can have {limit} there")]
    TooLarge {
        /// The path it would have had.
        path: PathBuf,
        /// The size of the file, in bytes.
        size: u64,
        /// The largest size this file system allows, in bytes.
        limit: u64,
    },
    /// This file system takes two names of the transfer for the same name.
    #[error("{} and {} are one name on this file system", .0.display(), .1.display())]
    Collision(PathBuf, PathBuf),
    /// Two paths to send end in the same name.
    #[error("{0} and {1} have the same name")]
    SameName(PathBuf, PathBuf),
    /// A file of this machine that no list can hold.
    #[error("{} cannot be sent: {why}", .path.display())]
    Unlistable {
        /// The path that was to be sent.
        path: PathBuf,
        /// The rule that it breaks.
        why: Malformed,
    },
    /// An offered file has the name of a file that this run writes.
    #[error("{} is offered, and is where this run writes its trace", .0.display())]
    Reserved(PathBuf),
    /// A pipe, a device or another special file.
    #[error("{} is neither a file nor a directory", .0.display())]
    NotSendable(PathBuf),
    /// A file that does not report its size and holds too much to be read in advance.
    #[error("{} does not say how much is in it, and that is too much to be read before it is sent", .0.display())]
    Endless(PathBuf),
    /// `--exclude` matches every path to send.
    #[error("--exclude leaves out everything that was to be sent")]
    AllExcluded,
    /// A file to send, or the directory that is received into, is no longer at its path.
    #[error("{} has been moved, removed or replaced since this run began", .0.display())]
    Removed(PathBuf),
    /// Another run uses the same directory.
    #[error("another run is receiving into {0}")]
    Busy(PathBuf),
    /// The program that reads our output has closed it.
    #[error("the program that reads the output has closed it")]
    OutputClosed,
    /// The system refused a write to standard output.
    #[error("could not write standard output: {0}")]
    Output(io::Error),
    /// The key that marks this user's own directories cannot be trusted.
    #[error("the key {} cannot be used: {fault}", path.display())]
    Key {
        /// The path of the key.
        path: PathBuf,
        /// The reason.
        fault: KeyFault,
    },
    /// The system refused an operation on a file.
    #[error("could not {action} {}: {error}", path.display())]
    Io {
        /// The operation, for "could not {action} PATH".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// What is wrong with the user's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum KeyFault {
    /// It cannot be opened or read, or is a link.
    #[error("it cannot be read, or is a link")]
    Unreadable,
    /// It is no file of the right length.
    #[error("it is not a key")]
    NotAKey,
    /// It belongs to another user. Windows tells that by the access control list.
    #[error("it belongs to another user")]
    #[cfg(unix)]
    NotOurs,
    /// Its permissions let others read or change it.
    #[error("others may read or change it")]
    Open,
}

impl LocalError {
    /// Makes [`LocalError::Io`].
    pub(crate) fn new(action: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        LocalError::Io { action, path, error }
    }
}

/// Why a transfer ended without success.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The peer sent bytes that do not follow the protocol.
    #[error("the other side sent something this version does not understand ({0})")]
    Malformed(#[from] Malformed),
    /// The peer sent well-formed messages that break a rule of the conversation.
    #[error("the other side broke the protocol: {0}")]
    PeerMisbehaved(#[from] Breach),
    /// A problem with this machine's files.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A file changed while it was sent.
    #[error("{0} changed while it was sent; run the same commands again to send what changed")]
    SourceChanged(PathBuf),
    /// Something else took the place of a file before it was sent.
    #[error("{0} was replaced while it was sent; run the same commands again to send what is there now")]
    SourceReplaced(PathBuf),
    /// A block did not match its hash twice.
    #[error("a part of the content arrived damaged twice (block {})", .0.get())]
    Verification(BlockIndex),
    /// The peer offers several files, and the output is a pipe, where nobody could tell them apart.
    #[error("standard output takes one file or one stream, and several files or directories are offered")]
    NotOneStream,
    /// The peer offers nothing but links that lead outside of what it sends.
    #[error("it offers only links that lead out of what it sends, which are taken with --links alone")]
    OnlyOutsideLinks,
}
