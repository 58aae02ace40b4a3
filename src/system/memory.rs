//! The system's page cache: what it keeps of files in memory.

use std::fs::File;

/// Asks the system to write the unwritten part of `file` to the medium, and to drop from memory what is
/// already there. Covers the whole file, or the bytes before `end`. The call does not wait; a later call
/// drops what was not yet on the medium.
#[cfg(target_os = "linux")]
pub(crate) fn let_go(file: &File, end: Option<u64>) {
    use rustix::fs::{Advice, fadvise};
    // Linux starts the write first, then drops pages (mm/fadvise.c). `None` (0 bytes) means up to the end.
    // Some file systems do not support this advice.
    let end = end.and_then(std::num::NonZeroU64::new);
    let _ = fadvise(file, 0, end, Advice::DontNeed);
}

/// Whether the byte at `offset` is in memory, which means that somebody read or wrote it recently. True where
/// the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_memory(file: &File, offset: u64) -> bool {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut byte = [0];
    let mut into = [std::io::IoSliceMut::new(&mut byte)];
    preadv2(file, &mut into, offset, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn let_go(_: &File, _: Option<u64>) {}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_in_memory(_: &File, _: u64) -> bool {
    true
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_written_is_in_memory_until_it_is_let_go() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 1 << 20], 0).unwrap();
        assert!(is_in_memory(&file, 0));
        file.sync_all().unwrap();
        let_go(&file, Some(1 << 19));
        assert!(is_in_memory(&file, (1 << 20) - 1));
        // Linux begins to read what it is asked for, and may have it by the time it looks again.
        let is_gone = (0..10).any(|_| {
            let_go(&file, None);
            !is_in_memory(&file, 0)
        });
        // tmpfs keeps all its files in memory.
        let is_tmpfs = rustix::fs::fstatfs(&file).unwrap().f_type == 0x0102_1994;
        assert_eq!(is_gone, !is_tmpfs);
    }
}
