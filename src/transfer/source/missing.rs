//! Listed files and directories that do not arrive.

use std::io;
use std::path::{Path, PathBuf};

use crate::system::is_shortage;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::EntryIndex;

/// A listed entry that does not arrive, or only in part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Its number in the list.
    pub entry: EntryIndex,
    /// Its path.
    pub path: PathBuf,
    /// The reason.
    pub why: Absence,
}

/// What an [`io::Error`] says, in a form that can be copied and compared. Many errors have a number and no kind of their
/// own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SystemError {
    kind: io::ErrorKind,
    number: Option<i32>,
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        SystemError {
            kind: error.kind(),
            number: error.raw_os_error(),
        }
    }
}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> Self {
        error
            .number
            .map_or(error.kind.into(), io::Error::from_raw_os_error)
    }
}

/// Why an entry does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Absence {
    /// This user may not read it.
    Unreadable,
    /// It was removed after the list was made.
    Gone,
    /// It was changed after the list was made.
    Changed,
    /// Something else took its place after the list was made.
    Replaced,
    /// The system returns this error for it.
    Refused(SystemError),
    /// It gives no bytes now, and nobody knows when it will.
    Waits,
    /// It does not report its size, and holds more than is read in advance.
    Endless,
}

impl Absence {
    /// Why a file cannot be sent after this error. `None` if the error says nothing about the file.
    pub(super) fn of(error: &TransferError) -> Option<Absence> {
        Some(match error {
            TransferError::SourceChanged(_) => Absence::Changed,
            TransferError::SourceReplaced(_) => Absence::Replaced,
            TransferError::Local(LocalError::Removed(_)) => Absence::Gone,
            TransferError::Local(LocalError::Endless(_)) => Absence::Endless,
            TransferError::Local(LocalError::Io { error, .. }) => match error.kind() {
                io::ErrorKind::PermissionDenied => Absence::Unreadable,
                io::ErrorKind::NotFound => Absence::Gone,
                io::ErrorKind::WouldBlock => Absence::Waits,
                _ if is_shortage(error) => return None,
                _ => Absence::Refused(error.into()),
            },
            _ => return None,
        })
    }

    /// The error to return if nothing else was to be sent.
    pub(super) fn told(self, path: &Path) -> LocalError {
        let error = match self {
            Absence::Unreadable => io::ErrorKind::PermissionDenied.into(),
            Absence::Gone | Absence::Changed | Absence::Replaced => {
                return LocalError::Removed(path.to_owned());
            }
            Absence::Refused(error) => error.into(),
            Absence::Waits => io::ErrorKind::WouldBlock.into(),
            Absence::Endless => return LocalError::Endless(path.to_owned()),
        };
        LocalError::new("read", path, error)
    }
}
