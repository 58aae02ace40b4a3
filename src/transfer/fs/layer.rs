//! The receiver's door to the disk: every file-system call it makes, and nothing else.
//!
//! Paths are relative to the output directory and never leave it. [`crate::transfer::fs::disk::DiskLayer`] is the real one;
//! [`crate::transfer::fs::memory::MemoryLayer`] fails, dies and forgets what was not synced wherever a test tells it to.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::transfer::fs::owner::OwnerKey;

/// What lies at a path. Links are not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A link, a device, anything else.
    Other,
}

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// What it is.
    pub kind: NodeKind,
    /// Bytes in it.
    pub len: u64,
    /// Permission bits, where there are such.
    pub mode: u16,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
}

/// What is free on a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes, where that can be known.
    pub bytes: Option<u64>,
    /// Files, directories and links that can still be made, where there is such a limit.
    pub nodes: Option<u64>,
    /// Bytes in a block: what the least file or directory takes.
    pub block: u64,
    /// Bytes that a file can have, where the file system or a limit of the process is known to allow no more.
    pub largest: Option<u64>,
}

impl Room {
    /// Block of the usual file systems, where it is not known.
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

/// By what something on the disk is known, and whose it is. Of an open file or directory, never of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its number on its file system (inode, file id); 0 where that changes with every mount.
    pub inode: u64,
    /// When it was made, nanoseconds since 1970; 0 where that is not known.
    pub born: i64,
    /// The user it belongs to; 0 where there are no such.
    pub owner: u32,
    /// Permission bits, where there are such.
    pub mode: u16,
}

/// The file-system calls of a receiver.
#[expect(clippy::missing_errors_doc, reason = "every call fails as the system's does")]
pub trait Layer: Send {
    /// An open file, or for [`Layer::open_dir`] a directory.
    type File: Send;

    /// The key by which this user's own directories are known.
    fn key(&self) -> &OwnerKey;
    /// Opens the directory at `dir`, not through a link, and keeps it open: from now on every path below `dir` is
    /// looked up in it, also after [`Layer::rename_noreplace`], whatever somebody else puts in its place.
    fn hold(&self, dir: &Path) -> io::Result<Stat>;
    /// Lets go of a directory that was held.
    fn release(&self, dir: &Path);
    /// By what an open file is known, and whose it is.
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    /// Creates a file that must not exist, for reading and writing, private to the user until it is finished.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing regular file for reading and writing; a link is refused.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing regular file for reading; a link is refused.
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
    /// Reserves room for `len` bytes, where the file system can.
    fn allocate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Makes a hole of a stretch, which then reads as zeros, and the file long enough. False where the file system has no
    /// holes.
    fn punch(&self, file: &Self::File, offset: u64, len: u64) -> io::Result<bool>;
    /// The first stretch from `from` on that is no hole, as far as the file system tells; `None` if only holes follow.
    fn written(&self, file: &Self::File, from: u64) -> io::Result<Option<Range<u64>>>;
    /// Sets permission bits.
    fn set_mode(&self, file: &Self::File, mode: u16) -> io::Result<()>;
    /// Sets an extended attribute of a file or directory.
    fn set_attribute(&self, file: &Self::File, name: &[u8], value: &[u8]) -> io::Result<()>;
    /// Sets the modification time (nanoseconds since 1970).
    fn set_modified(&self, file: &Self::File, mtime: i64) -> io::Result<()>;
    /// Sets the modification time (nanoseconds since 1970) of what lies at `path`; of a link itself, where the system
    /// can, never of what it points to.
    fn set_time(&self, path: &Path, mtime: i64) -> io::Result<()>;
    /// Waits until the file, or the directory's entries, are on the medium, where there is such a call.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Whether one call makes everything on this file system wait for the medium ([`Layer::sync_all`]).
    fn has_sync_all(&self) -> bool;
    /// Waits until everything on this file system is on the medium.
    fn sync_all(&self) -> io::Result<()>;
    /// Has the system start to write what of a file is only in memory, and forget what is on the medium: all of it, or
    /// up to `end`. It waits for neither and may do nothing.
    fn let_go(&self, _file: &Self::File, _end: Option<u64>) {}
    /// Takes a lock that dies with the process. False if another holds it.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;
    /// Renames; fails with `AlreadyExists` if there is something at `to`.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file, replacing a file at `to`.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory, private to the user until it is finished.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives the file at `from`, which is no link, one more name.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates a link that points to `target`, whatever that is.
    fn symlink(&self, target: &[u8], path: &Path) -> io::Result<()>;
    /// Where a link points.
    fn read_link(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;
    /// What lies at `path`; `None` if nothing does.
    fn info(&self, path: &Path) -> io::Result<Option<NodeInfo>>;
    /// Makes a file or directory of ours writable again, so that it, or its entries, can be changed or moved. Where
    /// the disk keeps no permissions, or it is not ours, that may do nothing: what is tried next shows it.
    fn unlock(&self, path: &Path);
    /// What is free for this user.
    fn room(&self) -> Room;
    /// The output directory, for messages.
    fn root(&self) -> &Path;
}

/// Bytes that are read at once of a file that is copied.
pub(crate) const PIECE: usize = 1 << 20;

/// Reads the first `len` bytes of a file, piece by piece; `take` gets each and where it begins.
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

/// Removes whatever lies at `path`, directories with all that is in them.
pub(crate) fn remove_all<L: Layer>(layer: &L, path: &Path) -> io::Result<()> {
    match layer.info(path)? {
        None => Ok(()),
        Some(NodeInfo {
            kind: NodeKind::Dir, ..
        }) => {
            // What was finished may be read-only by now.
            layer.unlock(path);
            for name in layer.list(path)? {
                remove_all(layer, &path.join(name))?;
            }
            layer.remove_dir(path)
        }
        Some(_) => layer.remove_file(path),
    }
}
