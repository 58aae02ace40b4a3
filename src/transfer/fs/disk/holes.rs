//! Holes (ranges of a file that take no room and read as zeros), and room that is reserved before anything is
//! written.

use std::fs::File;
use std::io;
use std::ops::Range;

/// The type of tmpfs, a file system in memory: statfs(2).
#[cfg(target_os = "linux")]
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// See [`crate::transfer::fs::layer::Layer::allocate`].
#[cfg(target_os = "linux")]
pub(crate) fn allocate(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatfs};
    use rustix::io::Errno;
    // On a tmpfs this call would zero every page now, while the peer waits, and the bytes follow right after.
    if fstatfs(file)?.f_type == TMPFS_MAGIC {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        // Without a reservation, a full disk shows later. Nothing else is lost.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allocate(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// See [`crate::transfer::fs::layer::Layer::punch`].
#[cfg(target_os = "linux")]
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        len,
    ) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    if file.metadata()?.len() < offset + len {
        file.set_len(offset + len)?;
    }
    Ok(true)
}

/// See [`crate::transfer::fs::layer::Layer::punch`].
#[cfg(windows)]
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    if file.metadata()?.len() < offset + len {
        file.set_len(offset + len)?;
    }
    crate::system::punch(file, offset, len)
}

#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn punch(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

/// See [`crate::transfer::fs::layer::Layer::written`].
pub(crate) fn written(file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
    let len = file.metadata()?.len();
    if from >= len {
        return Ok(None);
    }
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{SeekFrom, seek};
        match seek(file, SeekFrom::Data(from)) {
            Ok(start) => {
                let end = seek(file, SeekFrom::Hole(start)).unwrap_or(len);
                return Ok(Some(start..end.max(start + 1)));
            }
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // Some file systems do not know.
            Err(_) => {}
        }
    }
    Ok(Some(from..len))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_hole_takes_no_room_and_is_told_from_what_was_written() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 3 << 20], 0).unwrap();
        let before = file.metadata().unwrap().blocks();
        if !punch(&file, 1 << 20, 1 << 20).unwrap() {
            // This file system has no holes.
            return;
        }
        assert!(file.metadata().unwrap().blocks() < before);
        assert_eq!(written(&file, 0).unwrap(), Some(0..1 << 20));
        assert_eq!(written(&file, 1 << 20).unwrap(), Some(2 << 20..3 << 20));
        assert!(punch(&file, 3 << 20, 1 << 20).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 4 << 20);
        assert_eq!(written(&file, 3 << 20).unwrap(), None);
    }
}
