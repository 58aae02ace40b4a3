//! What does not arrive of what was listed.

use std::io;
use std::path::{Path, PathBuf};

use crate::system::is_shortage;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::EntryIndex;

/// Something that was listed and does not arrive, or not all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Its place in the list.
    pub entry: EntryIndex,
    /// Where it lies.
    pub path: PathBuf,
    /// Why.
    pub why: Absence,
}

/// Why something does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absence {
    /// This user may not read it.
    Unreadable,
    /// It was there when the list was made.
    Gone,
    /// It is another than it was when the list was made.
    Changed,
    /// The disk does not give it.
    Broken(io::ErrorKind),
    /// It gives nothing until something happens, and nobody knows when.
    Waits,
    /// It does not say how much is in it, and that is more than is read ahead.
    Endless,
}

impl Absence {
    /// Why a file cannot be sent after this error. `None` for one that says nothing of the file.
    pub(super) fn of(error: &TransferError) -> Option<Absence> {
        Some(match error {
            TransferError::SourceChanged(_) => Absence::Changed,
            TransferError::Local(LocalError::Endless(_)) => Absence::Endless,
            TransferError::Local(LocalError::Io { error, .. }) => match error.kind() {
                io::ErrorKind::PermissionDenied => Absence::Unreadable,
                io::ErrorKind::NotFound => Absence::Gone,
                io::ErrorKind::WouldBlock => Absence::Waits,
                kind if !is_shortage(error) => Absence::Broken(kind),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// What it means where nothing else was to be sent.
    pub(super) fn told(self, path: &Path) -> LocalError {
        let kind = match self {
            Absence::Unreadable => io::ErrorKind::PermissionDenied,
            Absence::Gone | Absence::Changed => io::ErrorKind::NotFound,
            Absence::Broken(kind) => kind,
            Absence::Waits => io::ErrorKind::WouldBlock,
            Absence::Endless => return LocalError::Endless(path.to_owned()),
        };
        LocalError::new("read", path, kind.into())
    }
}
