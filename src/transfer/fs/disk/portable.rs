//! Times, positioned reads and directory descriptors, for which the standard library has different calls on
//! Unix and Windows.

use std::fs::File;
use std::io;

use cap_std::fs::Dir;

/// Nanoseconds since 1970, as in the protocol.
pub(crate) fn unix_nanos(time: std::time::SystemTime) -> i64 {
    let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
}

/// Fills `out` from `offset` on.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Fills `out` from `offset` on.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => (out, offset) = (&mut out[n..], offset + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether nobody may write to a file. Windows marks directories with the same attribute if they look special, and it
/// forbids nothing in them (Microsoft, knowledge base 326549).
#[cfg(not(unix))]
pub(crate) fn is_read_only(found: &cap_std::fs::Metadata) -> bool {
    found.is_file() && found.permissions().readonly()
}

/// A descriptor that can be synced. cap-std's own may be only a handle to a path (O_PATH).
pub(super) fn readable(dir: &Dir) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(dir, c".", flags, Mode::empty())?))
    }
    #[cfg(not(unix))]
    Ok(dir.try_clone()?.into_std_file())
}
