//! Facts about a directory: its room, whether files can be created in it, and its identity. The identity recognises
//! it later and does not match a copy of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
#[cfg(target_os = "linux")]
use rustix::fs::StatxAttributes;

use crate::transfer::fs::disk::DiskLayer;
use crate::transfer::fs::layer::Stat;
#[cfg(unix)]
use crate::transfer::fs::layer::{NodeKind, Room};

/// Types of file systems that give inodes new numbers with every mount, statfs(2): FAT and exFAT.
#[cfg(target_os = "linux")]
const UNNUMBERED: [rustix::fs::FsWord; 2] = [MSDOS_MAGIC, 0x2011_bab0];

/// The type of FAT: statfs(2).
#[cfg(target_os = "linux")]
const MSDOS_MAGIC: rustix::fs::FsWord = 0x4d44;

/// Largest value that is accepted as a block size: exFAT's largest usual cluster. Network file systems report
/// the size of their requests instead.
#[cfg(unix)]
const LARGEST_BLOCK: u64 = 128 * 1024;

/// The permission bit of a directory in which only its owner and those of its entries may replace them (`/tmp`).
#[cfg(unix)]
const STICKY: u32 = 0o1000;

/// The number of a file that has other names. Windows tells this only of open files.
pub(crate) fn shared(found: &Metadata) -> Option<u64> {
    #[cfg(unix)]
    {
        use cap_std::fs::MetadataExt;
        (found.is_file() && found.nlink() > 1).then(|| found.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        None
    }
}

/// The number of the file system. Windows tells it only of open files.
pub(crate) fn device(found: &Metadata) -> u64 {
    #[cfg(unix)]
    return cap_std::fs::MetadataExt::dev(found);
    #[cfg(not(unix))]
    {
        let _ = found;
        0
    }
}

/// Free space on the file system of `dir`.
#[cfg(unix)]
pub(crate) fn room(dir: &Dir) -> Room {
    let Ok(found) = rustix::fs::fstatvfs(dir) else {
        return Room::default();
    };
    Room {
        bytes: Some(found.f_bavail.saturating_mul(found.f_frsize)),
        // File systems that make inodes as needed (btrfs) report a count of zero.
        nodes: (found.f_files > 0).then_some(found.f_favail),
        block: if (1..=LARGEST_BLOCK).contains(&found.f_frsize) {
            found.f_frsize
        } else {
            Room::USUAL_BLOCK
        },
        largest: largest(dir),
    }
}

/// Most bytes in a file on the file system of `dir`: the limit of `ulimit -f`, and FAT's 32-bit length.
#[cfg(unix)]
fn largest(dir: &Dir) -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    #[cfg(target_os = "linux")]
    if rustix::fs::fstatfs(dir).is_ok_and(|found| found.f_type == MSDOS_MAGIC) {
        return Some(limit.unwrap_or(u64::MAX).min(u64::from(u32::MAX)));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = dir;
    limit
}

impl DiskLayer {
    /// Where this directory is now.
    pub(super) fn place_now(&self) -> Option<PathBuf> {
        use cap_fs_ext::MetadataExt;
        let node = |dir: &Dir| dir.dir_metadata().ok().map(|found| (found.dev(), found.ino()));
        let is_at = |path: &Path| {
            Dir::open_ambient_dir(path, ambient_authority())
                .is_ok_and(|found| node(&found) == node(&self.dir))
        };
        if is_at(&self.root) {
            return Some(self.root.clone());
        }
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let link = format!("/proc/self/fd/{}", self.dir.as_raw_fd());
            std::fs::read_link(link).ok().filter(|path| is_at(path))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Checks that files can be created here, as far as the system can tell without creating one.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            use rustix::fs::{Access, AtFlags, accessat};
            accessat(
                &*self.dir,
                c".",
                Access::WRITE_OK | Access::EXEC_OK,
                AtFlags::empty(),
            )?;
        }
        #[cfg(windows)]
        crate::system::check_writable(&self.root)?;
        Ok(())
    }

    /// Checks that this user may change the entries of a directory, or replace a file or link.
    #[cfg(unix)]
    pub(super) fn check_access(&self, path: &Path, kind: NodeKind) -> io::Result<()> {
        use cap_std::fs::MetadataExt;
        use rustix::fs::{Access, AtFlags, accessat};
        use rustix::io::Errno;
        let (dir, name) = self.parent(path)?;
        let user = rustix::process::geteuid();
        let owns = |found: cap_std::fs::Metadata| found.uid() == user.as_raw();
        if kind != NodeKind::Dir && !user.is_root() {
            let above = dir.dir_metadata()?;
            if above.mode() & STICKY != 0 && !owns(above) && !owns(dir.symlink_metadata(name)?) {
                return Err(Errno::PERM.into());
            }
        }
        // Such a file may be written to, so the next call does not tell.
        #[cfg(target_os = "linux")]
        if kind != NodeKind::Dir {
            if is_append_only(&dir, "") || is_append_only(&dir, name) {
                return Err(Errno::PERM.into());
            }
            // A file may be mounted over another, as containers have it.
            if has(&dir, name, StatxAttributes::MOUNT_ROOT) {
                return Err(Errno::XDEV.into());
            }
        }
        let wanted = match kind {
            NodeKind::Dir => Access::WRITE_OK | Access::EXEC_OK,
            NodeKind::File | NodeKind::Other => Access::WRITE_OK,
        };
        match (accessat(&*dir, name, wanted, AtFlags::EACCESS), kind) {
            // Its owner may change its permissions.
            (Err(Errno::ACCESS), NodeKind::Dir) if owns(dir.symlink_metadata(name)?) => Ok(()),
            (Err(e @ Errno::ACCESS), NodeKind::Dir) => Err(e.into()),
            (Err(e @ (Errno::ROFS | Errno::PERM)), NodeKind::Dir | NodeKind::File) => Err(e.into()),
            // A new file replaces one that may not be written to. A system that does not answer forbids nothing.
            _ => Ok(()),
        }
    }

    /// Whether nobody can change or remove names in it (`chattr +a`).
    pub(crate) fn is_append_only(&self) -> bool {
        #[cfg(target_os = "linux")]
        return is_append_only(&self.dir, "");
        #[cfg(not(target_os = "linux"))]
        false
    }
}

/// Whether the attribute `a` is set (`chattr +a`).
#[cfg(target_os = "linux")]
fn is_append_only(dir: &Dir, name: impl rustix::path::Arg) -> bool {
    has(dir, name, StatxAttributes::APPEND)
}

/// Whether what has this name in `dir`, or `dir` if the name is empty, has an attribute. A file system without attributes
/// reports none.
#[cfg(target_os = "linux")]
fn has(dir: &Dir, name: impl rustix::path::Arg, attribute: StatxAttributes) -> bool {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    statx(dir, name, flags, StatxFlags::empty()).is_ok_and(|found| found.stx_attributes.contains(attribute))
}

/// The identity of an open directory.
///
/// No proof is made with the device number, which changes when a machine restarts (btrfs, device mapper, USB sticks),
/// and a resume is wanted most after a restart. The birth time takes its place: no program can set it on
/// Linux, and file systems that do not keep inode numbers keep it.
#[cfg(unix)]
pub(crate) fn of_dir(dir: &Dir) -> io::Result<Stat> {
    of_file(&crate::transfer::fs::disk::readable(dir)?)
}

#[cfg(not(unix))]
pub(crate) fn of_dir(dir: &Dir) -> io::Result<Stat> {
    Ok(Stat {
        inode: cap_fs_ext::MetadataExt::ino(&dir.dir_metadata()?),
        ..NO_STAT
    })
}

/// For systems without owners and modes.
#[cfg(not(unix))]
const NO_STAT: Stat = Stat {
    inode: 0,
    device: 0,
    born: 0,
    owner: 0,
    mode: 0o600,
};

/// The identity of an open file or directory.
#[cfg(not(unix))]
pub(crate) fn of_file(_: &File) -> io::Result<Stat> {
    Ok(NO_STAT)
}

/// The identity of an open file or directory.
#[cfg(unix)]
pub(crate) fn of_file(file: &File) -> io::Result<Stat> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    // On other systems the birth time is no proof: on macOS it moves when an earlier time is set, and on
    // Windows any program may set it. There, inode numbers are not used again.
    let born = if cfg!(target_os = "linux") {
        found.created().map_or(0, crate::transfer::fs::disk::unix_nanos)
    } else {
        0
    };
    #[cfg(target_os = "linux")]
    let numbered = born == 0 || !UNNUMBERED.contains(&rustix::fs::fstatfs(file)?.f_type);
    #[cfg(not(target_os = "linux"))]
    let numbered = true;
    Ok(Stat {
        inode: if numbered { found.ino() } else { 0 },
        device: found.dev(),
        born,
        owner: found.uid(),
        mode: (found.mode() & 0o777) as u16,
    })
}
