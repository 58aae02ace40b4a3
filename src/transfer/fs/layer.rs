//! The receiver's only access to the disk: every file-system call that it makes.
//!
//! Paths are relative to the output directory and never leave it. [`crate::transfer::fs::disk::DiskLayer`] is the
//! real disk; the tests have one in memory, which fails, dies and forgets unsynced data on request.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::transfer::error::LocalError;
use crate::transfer::fs::owner::OwnerKey;

/// The kind of a node. Links are not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A link, a device or anything else.
    Other,
}

/// Metadata of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// What it is.
    pub kind: NodeKind,
    /// Bytes in it.
    pub len: u64,
    /// Permission bits, if the system has them.
    pub mode: u16,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// The number of its file system; 0 if unknown.
    pub device: u64,
    /// Its number there, if it is a file that has other names.
    pub shared: Option<u64>,
}

/// Free space on a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Free bytes, if known.
    pub bytes: Option<u64>,
    /// How many files, directories and links can still be made, if there is such a limit.
    pub nodes: Option<u64>,
    /// Bytes in a block. Even the smallest file or directory takes one.
    pub block: u64,
    /// Most bytes in a file, if the file system or a limit of the process is known to set one.
    pub largest: Option<u64>,
}

impl Room {
    /// Block size of the usual file systems, for disks that do not tell theirs.
    pub(crate) const USUAL_BLOCK: u64 = 4096;
}

impl Default for Room {
    fn default() -> Self {
        Room {
            bytes: None,
            nodes: None,
            block: Room::USUAL_BLOCK,
            largest: None,
        }
    }
}

/// Identity and owner of an open file or directory (never of a path).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its number on its file system (inode, file id); 0 if that changes with every mount.
    pub inode: u64,
    /// The number of its file system, which may be another after a restart; 0 if unknown.
    pub device: u64,
    /// When it was created, nanoseconds since 1970; 0 if unknown.
    pub born: i64,
    /// The user who owns it; 0 if the system has no owners.
    pub owner: u32,
    /// Permission bits, if the system has them.
    pub mode: u16,
}

/// The file-system calls of a receiver.
#[expect(clippy::missing_errors_doc, reason = "every call fails as the system's does")]
pub trait Layer: Send {
    /// An open file, or an open directory from [`Layer::open_dir`].
    type File: Send;

    /// The key that marks this user's own directories.
    fn key(&self) -> &OwnerKey;
    /// Opens the directory at `dir` and keeps it open. Does not follow a link. From now on every path below
    /// `dir` is looked up in it, also after [`Layer::rename_noreplace`] and even if somebody else puts
    /// something in its place.
    fn hold(&self, dir: &Path) -> io::Result<Stat>;
    /// Closes a directory that was held.
    fn release(&self, dir: &Path);
    /// Identity and owner of an open file or directory.
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    /// Creates a file for reading and writing. It must not exist, and it is private to the user until it is
    /// finished.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing regular file for reading and writing. Refuses a link.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing regular file for reading. Refuses a link.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a directory, for [`Layer::sync`], [`Layer::set_mode`] and [`Layer::set_modified`].
    fn open_dir(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `out` from `offset`.
    fn read_at(&self, file: &Self::File, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Length of an open file.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Cuts or extends a file.
    fn set_len(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Reserves room for `len` bytes, if the file system can.
    fn allocate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Turns a range into a hole, which reads as zeros, and extends the file if necessary. False if the file
    /// system has no holes.
    fn punch(&self, file: &Self::File, offset: u64, len: u64) -> io::Result<bool>;
    /// The first written range (not a hole) from `from` on, as far as the file system tells. `None` if only
    /// holes follow.
    fn written(&self, file: &Self::File, from: u64) -> io::Result<Option<Range<u64>>>;
    /// Sets permission bits.
    fn set_mode(&self, file: &Self::File, mode: u16) -> io::Result<()>;
    /// Sets an extended attribute of a file or directory.
    fn set_attribute(&self, file: &Self::File, name: &[u8], value: &[u8]) -> io::Result<()>;
    /// Sets the modification time (nanoseconds since 1970).
    fn set_modified(&self, file: &Self::File, mtime: i64) -> io::Result<()>;
    /// Sets the modification time (nanoseconds since 1970) of what lies at `path`. For a link it sets the
    /// link's own time if the system can, and never that of its target.
    fn set_time(&self, path: &Path, mtime: i64) -> io::Result<()>;
    /// Waits until the file, or the entries of the directory, are on the medium, if the system has such a
    /// call.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Whether one call can sync this whole file system ([`Layer::sync_all`]).
    fn has_sync_all(&self) -> bool;
    /// Waits until everything on this file system is on the medium.
    fn sync_all(&self) -> io::Result<()>;
    /// Asks the system to write the unwritten part of a file, and to drop from memory what is already on the
    /// medium: the whole file, or the part before `end`. The call does not wait, and may do nothing.
    fn let_go(&self, _file: &Self::File, _end: Option<u64>) {}
    /// Takes a lock that ends with the process. False if another process holds it.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;
    /// Renames. Fails with `AlreadyExists` if something is at `to`.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file. Replaces a file at `to`.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory. It is private to the user until it is finished.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives the file at `from` (not a link) another name.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates a symbolic link to `target`, which need not exist.
    fn symlink(&self, target: &[u8], path: &Path) -> io::Result<()>;
    /// The target of a link.
    fn read_link(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;
    /// What lies at `path`; `None` if nothing is there.
    fn info(&self, path: &Path) -> io::Result<Option<NodeInfo>>;
    /// Makes a file or directory of ours writable, so that it, or its entries, can be changed or moved. May
    /// do nothing if the disk keeps no permissions or somebody else owns it; the next call then returns the
    /// error.
    fn unlock(&self, path: &Path);
    /// Checks that the entries of a directory can be changed, or that a file or link can be replaced, as far as the
    /// system can tell without a change. Passes if [`Layer::unlock`] helps.
    fn check_changeable(&self, path: &Path, kind: NodeKind) -> io::Result<()>;
    /// The free space for this user on the file system of a directory.
    fn room(&self, dir: &Path) -> Room;
    /// Where the output directory is now. `None` if somebody has moved or replaced it and the system does not tell.
    fn root_now(&self) -> Option<PathBuf> {
        Some(self.root().to_owned())
    }
    /// The output directory, for messages.
    fn root(&self) -> &Path;
}

/// Adds to a system's error what failed and where.
pub(crate) trait Doing<T> {
    /// The error for "could not {action} PATH". `path` lies in the output directory; empty means that directory.
    fn doing(self, layer: &impl Layer, action: &'static str, path: impl AsRef<Path>)
    -> Result<T, LocalError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(
        self,
        layer: &impl Layer,
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> Result<T, LocalError> {
        self.map_err(|error| match path.as_ref().as_os_str().is_empty() {
            true => LocalError::new(action, layer.root(), error),
            false => LocalError::new(action, layer.root().join(path), error),
        })
    }
}

/// Bytes read at once while a file is copied.
pub(crate) const PIECE: usize = 1 << 20;

/// Reads the first `len` bytes of a file in pieces. Calls `take` with the offset and the bytes of each piece.
pub(crate) fn read_pieces<L: Layer>(
    layer: &L,
    file: &L::File,
    len: u64,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut buffer, mut at) = (vec![0; PIECE], 0);
    while at < len {
        let piece = &mut buffer[..(len - at).min(PIECE as u64) as usize];
        layer.read_at(file, at, piece)?;
        take(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Removes whatever lies at `path`. A directory is removed with all its contents.
pub(crate) fn remove_all<L: Layer>(layer: &L, path: &Path) -> io::Result<()> {
    match layer.info(path)?.map(|found| found.kind) {
        None => Ok(()),
        Some(NodeKind::Dir) => {
            // A finished file or directory may be read-only by now.
            layer.unlock(path);
            for name in layer.list(path)? {
                remove_all(layer, &path.join(name))?;
            }
            layer.remove_dir(path)
        }
        Some(_) => layer.remove_file(path),
    }
}
