//! The sender's only access to the disk.
//!
//! The path that the user typed may contain links. Everything below it is opened name by name, each name
//! relative to its open directory, and no link is followed there. That also covers a link that replaces a
//! file or directory between the scan and the reading. Nothing that is opened here can block.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

pub(crate) use self::system::{open_file, open_typed};
use crate::system::numbers_nodes_anew;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::{EntryIndex, Manifest};
use crate::transfer::names;
use crate::transfer::source::identity::Identity;

/// Directories held open at once. Trees are rarely deeper; in a deeper tree some directories are opened
/// again.
const HELD_DIRECTORIES: usize = 32;

/// A path that the user typed.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// Its entry in the list.
    pub(crate) index: EntryIndex,
    /// The path as typed.
    pub(crate) path: PathBuf,
    /// Its own name on this disk. The list may give it another one.
    pub(crate) name: PathBuf,
    /// The identity it had when it was listed.
    pub(crate) identity: Identity,
}

/// The list that is sent, and the place of its top-level entries on the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location<'a> {
    pub(crate) list: &'a Manifest,
    /// One for each top-level entry, in the order of the list.
    pub(crate) roots: &'a [Root],
}

impl Location<'_> {
    fn root(&self, top: EntryIndex) -> Option<&Root> {
        let at = self.roots.binary_search_by_key(&top, |root| root.index).ok()?;
        self.roots.get(at)
    }

    /// The path of entry `index`, for messages.
    pub(crate) fn path(&self, index: EntryIndex) -> PathBuf {
        self.below(index, |root| &root.path)
    }

    /// The same path, beginning with the root's own name.
    pub(crate) fn own_path(&self, index: EntryIndex) -> PathBuf {
        self.below(index, |root| &root.name)
    }

    fn below(&self, index: EntryIndex, base: impl Fn(&Root) -> &PathBuf) -> PathBuf {
        let mut path = self
            .root(self.list.top_of(index))
            .map(|root| base(root).clone())
            .unwrap_or_default();
        path.extend(self.list.path(index).components().skip(1));
        path
    }
}

/// Why something below a root could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It is not what the scan saw: a link, a pipe or another file has replaced it.
    Replaced,
    /// The system returned an error.
    System(io::Error),
}

impl OpenError {
    /// The error of the transfer, after `action` failed on `path`.
    pub(super) fn told(self, action: &'static str, path: PathBuf) -> TransferError {
        match self {
            OpenError::Replaced => TransferError::SourceReplaced(path),
            OpenError::System(e) if e.kind() == io::ErrorKind::NotFound => LocalError::Removed(path).into(),
            OpenError::System(e) => LocalError::new(action, path, e).into(),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::System(error)
    }
}

/// Opens entries of a list. Neighbours cost little: a limited number of directories above the last entry
/// stays open.
#[derive(Default, Debug)]
pub(crate) struct Opener {
    /// The last directories on the path to the last entry, each the parent of the next.
    held: Vec<(EntryIndex, Dir)>,
}

impl Opener {
    /// The number of open directories.
    #[cfg(all(test, unix))]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Opens directory `index`.
    pub(crate) fn directory(&mut self, location: Location<'_>, index: EntryIndex) -> Result<&Dir, OpenError> {
        let mut missing = Vec::new();
        let mut at = Some(index);
        let known = loop {
            let Some(i) = at else { break 0 };
            if let Some(held) = self.held.iter().position(|(held, _)| *held == i) {
                break held + 1;
            }
            missing.push(i);
            at = location.list.entry(i).parent;
        };
        self.held.truncate(known);
        for i in missing.into_iter().rev() {
            let dir = match self.held.last() {
                Some((_, parent)) => {
                    system::open_dir(parent, &names::os_from_bytes(location.list.entry(i).name))?
                }
                None => open_root(location.root(i).ok_or(OpenError::Replaced)?)?,
            };
            if self.held.len() == HELD_DIRECTORIES {
                self.held.remove(0);
            }
            self.held.push((i, dir));
        }
        self.held.last().map(|(_, dir)| dir).ok_or(OpenError::Replaced)
    }

    /// Opens file `index` for reading. The caller must check that it is the file that was listed.
    pub(crate) fn file(&mut self, location: Location<'_>, index: EntryIndex) -> Result<File, OpenError> {
        let entry = location.list.entry(index);
        let file = match entry.parent {
            Some(parent) => {
                let dir = self.directory(location, parent)?;
                open_file(dir, &names::os_from_bytes(entry.name))?
            }
            None => open_typed(&location.root(index).ok_or(OpenError::Replaced)?.path)?,
        };
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(OpenError::Replaced)
        }
    }

    /// The metadata of what is at the path of entry `index` now.
    pub(crate) fn metadata(
        &mut self,
        location: Location<'_>,
        index: EntryIndex,
    ) -> Result<Metadata, OpenError> {
        let entry = location.list.entry(index);
        Ok(match entry.parent {
            Some(parent) => {
                let dir = self.directory(location, parent)?;
                dir.symlink_metadata(names::os_from_bytes(entry.name))?
            }
            None => typed_metadata(&location.root(index).ok_or(OpenError::Replaced)?.path)?,
        })
    }
}

/// Whether this user may read a file that was just listed. Asks the system only if owner and permission bits
/// do not answer it. If something else forbids it, that shows when the file is opened.
#[cfg(unix)]
pub(crate) fn may_read(dir: &Dir, name: &std::ffi::OsStr, metadata: &Metadata) -> bool {
    use cap_std::fs::MetadataExt;
    use rustix::fs::{Access, AtFlags, accessat};
    let user = rustix::process::geteuid();
    let is_own = metadata.uid() == user.as_raw() && metadata.mode() & 0o400 != 0;
    is_own
        || user.is_root()
        || accessat(dir, name, Access::READ_OK, AtFlags::EACCESS) != Err(rustix::io::Errno::ACCESS)
}

#[cfg(not(unix))]
pub(crate) fn may_read(_: &Dir, _: &std::ffi::OsStr, _: &Metadata) -> bool {
    true
}

/// The metadata of a path that the user typed. Links are followed.
pub(crate) fn typed_metadata(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path).map(Metadata::from_just_metadata)
}

/// Opens a root that is a directory, if it is still the one that was listed.
fn open_root(root: &Root) -> Result<Dir, OpenError> {
    let dir = Dir::open_ambient_dir(&root.path, ambient_authority())?;
    // On file systems that renumber their inodes nothing tells one directory from another.
    let is_same = Identity::of(&dir.dir_metadata()?).is_node_of(&root.identity);
    if is_same || numbers_nodes_anew(&dir) {
        Ok(dir)
    } else {
        Err(OpenError::Replaced)
    }
}

#[cfg(unix)]
mod system {
    use std::ffi::OsStr;

    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::Errno;

    use super::{Dir, File, OpenError, Path, io};

    /// These two flags change nothing for a regular file. They keep a pipe from blocking and a terminal from
    /// becoming ours.
    const HARMLESS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

    pub(crate) fn open_dir(parent: &Dir, name: &OsStr) -> Result<Dir, OpenError> {
        let fd = open(parent, name, OFlags::DIRECTORY)?;
        Ok(Dir::from_std_file(fd))
    }

    /// Opens a file that was found in an open directory.
    pub(crate) fn open_file(parent: &Dir, name: &OsStr) -> Result<File, OpenError> {
        open(parent, name, HARMLESS)
    }

    fn open(parent: &Dir, name: &OsStr, how: OFlags) -> Result<File, OpenError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
        match openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            // A link (MLINK on FreeBSD), not a directory any more, or a socket.
            Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR | Errno::NXIO) => Err(OpenError::Replaced),
            Err(error) => Err(OpenError::System(error.into())),
        }
    }

    /// Opens a file that the user named.
    pub(crate) fn open_typed(path: &Path) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(HARMLESS.bits() as i32)
            .open(path)
    }
}

/// On other systems cap-std keeps every access inside the parent directory, whatever replaces a name. A link
/// (on Windows: a reparse point that stands for another path) is refused before that.
#[cfg(not(unix))]
mod system {
    use std::ffi::OsStr;

    use super::{Dir, File, OpenError, Path, io};
    use crate::system::open_patiently;

    pub(crate) fn open_dir(parent: &Dir, name: &OsStr) -> Result<Dir, OpenError> {
        if parent.symlink_metadata(name)?.is_dir() {
            Ok(parent.open_dir(name)?)
        } else {
            Err(OpenError::Replaced)
        }
    }

    /// Opens a file that was found in an open directory.
    pub(crate) fn open_file(parent: &Dir, name: &OsStr) -> Result<File, OpenError> {
        if parent.symlink_metadata(name)?.is_file() {
            Ok(open_patiently(|| parent.open(name))?.into_std())
        } else {
            Err(OpenError::Replaced)
        }
    }

    /// Opens a file that the user named.
    pub(crate) fn open_typed(path: &Path) -> io::Result<File> {
        open_patiently(|| std::fs::OpenOptions::new().read(true).open(path))
    }
}
