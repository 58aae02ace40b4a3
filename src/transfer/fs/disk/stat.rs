//! By what a directory is known again, so that no copy of it passes for it.

use std::fs::File;
use std::io;

use cap_std::fs::Dir;

#[cfg(unix)]
use crate::transfer::fs::layer::Room;
use crate::transfer::fs::layer::Stat;

/// Types of file systems whose inode numbers are made up anew with every mount, statfs(2): FAT and exFAT.
#[cfg(target_os = "linux")]
const UNNUMBERED: [rustix::fs::FsWord; 2] = [MSDOS_MAGIC, 0x2011_bab0];

/// FAT's, statfs(2).
#[cfg(target_os = "linux")]
const MSDOS_MAGIC: rustix::fs::FsWord = 0x4d44;

/// Largest block that is one: exFAT's largest usual cluster. What network file systems call so is the size of their
/// requests.
#[cfg(unix)]
const LARGEST_BLOCK: u64 = 128 * 1024;

/// What is free around `dir`.
#[cfg(unix)]
pub(crate) fn room(dir: &Dir) -> Room {
    let Ok(found) = rustix::fs::fstatvfs(dir) else {
        return Room::default();
    };
    Room {
        bytes: Some(found.f_bavail.saturating_mul(found.f_frsize)),
        // Where nodes are made as needed (btrfs) there are none to count.
        nodes: (found.f_files > 0).then_some(found.f_favail),
        block: if (1..=LARGEST_BLOCK).contains(&found.f_frsize) {
            found.f_frsize
        } else {
            Room::USUAL_BLOCK
        },
        largest: largest(dir),
    }
}

/// How large a file can be around `dir`: what `ulimit -f` says, and what FAT holds (a length of 32 bits).
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

/// Of an open directory.
///
/// The device's number is left out: it changes when a machine starts again (btrfs, device mapper, sticks), which is
/// when a resume is wanted most. The time of birth takes its place: no program can set it on Linux, and it is kept on
/// file systems that do not keep inode numbers.
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

/// What a system without owners and modes tells.
#[cfg(not(unix))]
const NO_STAT: Stat = Stat {
    inode: 0,
    born: 0,
    owner: 0,
    mode: 0o600,
};

/// Of an open file or directory.
#[cfg(not(unix))]
pub(crate) fn of_file(_: &File) -> io::Result<Stat> {
    Ok(NO_STAT)
}

/// Of an open file or directory.
#[cfg(unix)]
pub(crate) fn of_file(file: &File) -> io::Result<Stat> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    // Elsewhere a file's birth moves when an earlier time is set (macOS), or any program may set it (Windows), and inode
    // numbers are not used again.
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
        born,
        owner: found.uid(),
        mode: (found.mode() & 0o777) as u16,
    })
}
