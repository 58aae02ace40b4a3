//! The real disk. A directory descriptor confines every access to the output directory (cap-std).

mod holes;
mod new_root;
mod portable;
mod stat;
mod walk;
#[cfg(windows)]
mod windows;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

#[cfg(not(unix))]
pub(crate) use self::portable::is_read_only;
use self::portable::readable;
pub(crate) use self::portable::{read_exact_at, unix_nanos};
use crate::system::{self, mark_received, patiently};
use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind, Room, Stat};
use crate::transfer::fs::owner::OwnerKey;
use crate::transfer::names;

/// Nanoseconds in a second.
#[cfg(unix)]
const NANOS: i64 = 1_000_000_000;

/// Gives access to the output directory, and to nothing outside it.
#[derive(Debug)]
pub struct DiskLayer {
    dir: Arc<Dir>,
    root: PathBuf,
    key: OwnerKey,
    /// Directories that are used through their descriptor, and no longer through a path.
    held: RefCell<Vec<(PathBuf, Arc<Dir>)>>,
    /// The directory of the last file: small files of one directory come one after another. Dropped whenever
    /// a directory could move.
    last_parent: RefCell<Option<(PathBuf, Arc<Dir>)>>,
}

impl DiskLayer {
    /// Confines itself to `root`, which must exist. `key` is the user's key.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn new(root: &Path, key: OwnerKey) -> io::Result<DiskLayer> {
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(DiskLayer::of(dir, root, key))
    }

    fn of(dir: Dir, root: &Path, key: OwnerKey) -> DiskLayer {
        DiskLayer {
            dir: Arc::new(dir),
            root: root.to_owned(),
            key,
            held: RefCell::new(Vec::new()),
            last_parent: RefCell::new(None),
        }
    }

    #[cfg(unix)]
    fn open_as(&self, path: &Path, access: Access) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags};
        let (dir, name) = self.parent(path)?;
        let how = match access {
            Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            Access::Write => OFlags::RDWR,
            Access::Read => OFlags::RDONLY,
        };
        // One component, and not a link, so it cannot lead out of its directory. NONBLOCK: it could be a
        // pipe.
        let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*dir, name, flags, Mode::RUSR | Mode::WUSR) {
            // The name is not valid text, and this file system requires text.
            Err(rustix::io::Errno::ILSEQ) => return Err(io::ErrorKind::InvalidFilename.into()),
            other => File::from(other?),
        };
        if access == Access::Create || file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Create,
    Write,
    Read,
}

/// A program that is being started shares this one's open files, and their locks, until it runs. So a lock
/// that another process holds is tried this many times, with this pause.
#[cfg(unix)]
const LOCK_ATTEMPTS: u32 = 10;
#[cfg(unix)]
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

impl Layer for DiskLayer {
    type File = File;

    fn key(&self) -> &OwnerKey {
        &self.key
    }

    fn hold(&self, path: &Path) -> io::Result<Stat> {
        self.release(path);
        let (parent, name) = self.parent(path)?;
        let dir = parent.open_dir_nofollow(name)?;
        let stat = stat::of_dir(&dir)?;
        self.held.borrow_mut().push((path.to_owned(), Arc::new(dir)));
        Ok(stat)
    }

    fn release(&self, path: &Path) {
        self.forget_parent();
        self.held.borrow_mut().retain(|(held, _)| held != path);
    }

    fn stat(&self, file: &File) -> io::Result<Stat> {
        stat::of_file(file)
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        self.open_as(path, Access::Create)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.open_as(path, Access::Write)
    }

    fn open_read(&self, path: &Path) -> io::Result<File> {
        self.open_as(path, Access::Read)
    }

    fn open_dir(&self, path: &Path) -> io::Result<File> {
        #[cfg(windows)]
        if !path.as_os_str().is_empty() {
            return self.open_dir_to_date(path);
        }
        readable(&*self.dir_at(path)?)
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        system::write_all_at(file, offset, bytes)
    }

    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact_at(file, out, offset)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        holes::allocate(file, len)
    }

    fn punch(&self, file: &File, offset: u64, len: u64) -> io::Result<bool> {
        holes::punch(file, offset, len)
    }

    fn written(&self, file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
        holes::written(file, from)
    }

    fn set_mode(&self, file: &File, mode: u16) -> io::Result<()> {
        if cfg!(any(windows, target_vendor = "apple")) && file.metadata()?.is_file() {
            mark_received(file);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let found = file.metadata()?;
            // A directory inherits this bit from its parent. It sets the group of everything created inside.
            let inherited = if found.is_dir() {
                found.permissions().mode() & 0o2000
            } else {
                0
            };
            file.set_permissions(PermissionsExt::from_mode(u32::from(mode) | inherited))?;
        }
        #[cfg(not(unix))]
        if mode & 0o200 == 0 && file.metadata()?.is_file() {
            let mut permissions = file.metadata()?.permissions();
            permissions.set_readonly(true);
            file.set_permissions(permissions)?;
        }
        Ok(())
    }

    fn set_attribute(&self, file: &File, name: &[u8], value: &[u8]) -> io::Result<()> {
        system::set_attribute(file, name, value)
    }

    fn set_modified(&self, file: &File, mtime: i64) -> io::Result<()> {
        system::set_modified(file, mtime)
    }

    fn set_time(&self, path: &Path, mtime: i64) -> io::Result<()> {
        #[cfg(unix)]
        {
            use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW};
            let (dir, name) = self.parent(path)?;
            let times = Timestamps {
                // Access time is set as well, for the reason given in `set_modified`.
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_NOW,
                },
                last_modification: Timespec {
                    tv_sec: mtime.div_euclid(NANOS),
                    // The field has 32 bits on some systems. The value is always less than a second.
                    tv_nsec: mtime.rem_euclid(NANOS) as _,
                },
            };
            Ok(rustix::fs::utimensat(
                &*dir,
                name,
                &times,
                AtFlags::SYMLINK_NOFOLLOW,
            )?)
        }
        #[cfg(windows)]
        return self.set_time_of(path, mtime);
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        // Windows cannot sync a directory, and on NTFS there is no need to.
        if cfg!(windows) && file.metadata()?.is_dir() {
            return Ok(());
        }
        match file.sync_all() {
            // Some network file systems can sync files but not directories, or neither.
            Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => Ok(()),
            other => other,
        }
    }

    fn has_sync_all(&self) -> bool {
        cfg!(target_os = "linux")
    }

    fn sync_all(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return Ok(rustix::fs::syncfs(readable(&self.dir)?)?);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }

    fn let_go(&self, file: &File, end: Option<u64>) {
        system::let_go(file, end);
    }

    fn try_lock(&self, file: &File) -> io::Result<bool> {
        #[cfg(unix)]
        for attempt in 0.. {
            match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) if attempt == LOCK_ATTEMPTS => return Ok(false),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                // Some network file systems have no locks. Two receivers in one directory are rare enough.
                Ok(()) | Err(_) => break,
            }
        }
        #[cfg(windows)]
        return Ok(system::try_lock(file).unwrap_or(true));
        #[cfg(not(windows))]
        Ok(true)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_held(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        self.forget_parent();
        // Windows does not replace a read-only file.
        #[cfg(windows)]
        if to_dir
            .symlink_metadata(to_name)
            .is_ok_and(|found| found.permissions().readonly())
        {
            self.unlock(to);
        }
        patiently(|| from_dir.rename(from_name, &to_dir, to_name))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        patiently(|| dir.remove_file(name))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        self.release(path);
        patiently(|| dir.remove_dir(name))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        #[cfg(unix)]
        {
            let mut builder = cap_std::fs::DirBuilder::new();
            cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
            dir.create_dir_with(name, &builder)
        }
        #[cfg(not(unix))]
        dir.create_dir(name)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        from_dir.hard_link(from_name, &to_dir, to_name)
    }

    fn symlink(&self, target: &[u8], path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        {
            let (dir, name) = self.parent(path)?;
            dir.symlink_contents(names::os_from_bytes(target), name)
        }
        #[cfg(not(unix))]
        return {
            let _ = (names::os_from_bytes(target), path);
            Err(io::ErrorKind::Unsupported.into())
        };
    }

    fn read_link(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (dir, name) = self.parent(path)?;
        dir.read_link_contents(name)
            .map(|target| names::bytes_from_os(target.as_os_str()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.dir_at(path)?
            .entries()?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn info(&self, path: &Path) -> io::Result<Option<NodeInfo>> {
        let found = self
            .parent(path)
            .and_then(|(dir, name)| dir.symlink_metadata(name));
        match found {
            Ok(found) => {
                let kind = match found.file_type() {
                    t if t.is_file() => NodeKind::File,
                    t if t.is_dir() => NodeKind::Dir,
                    _ => NodeKind::Other,
                };
                Ok(Some(NodeInfo {
                    kind,
                    len: found.len(),
                    #[cfg(unix)]
                    mode: (cap_std::fs::MetadataExt::mode(&found) & 0o777) as u16,
                    #[cfg(not(unix))]
                    mode: if is_read_only(&found) { 0o500 } else { 0o700 },
                    mtime: found.modified().map_or(0, |time| unix_nanos(time.into_std())),
                    device: stat::device(&found),
                    shared: stat::shared(&found),
                }))
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn unlock(&self, path: &Path) {
        self.make_writable(path);
    }

    fn check_changeable(&self, path: &Path, kind: NodeKind) -> io::Result<()> {
        #[cfg(unix)]
        return self.check_access(path, kind);
        #[cfg(windows)]
        if kind == NodeKind::Dir {
            return system::check_writable(&self.root.join(path));
        }
        #[cfg(not(unix))]
        {
            let _ = (path, kind);
            Ok(())
        }
    }

    fn room(&self, dir: &Path) -> Room {
        #[cfg(unix)]
        return self
            .dir_at(dir)
            .map_or_else(|_| Room::default(), |dir| stat::room(&dir));
        #[cfg(windows)]
        return Room {
            bytes: system::free_space(&self.root.join(dir)),
            ..Room::default()
        };
    }

    fn root_now(&self) -> Option<PathBuf> {
        self.place_now()
    }

    fn root(&self) -> &Path {
        &self.root
    }
}
