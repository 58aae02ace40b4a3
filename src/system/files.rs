//! Calls on open files.

use std::fs::{File, FileTimes};
use std::io;
use std::time::{Duration, SystemTime};

/// Writes all of `bytes` at `offset`, wherever was written before.
///
/// # Errors
/// As the system's call does.
#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => (bytes, offset) = (&bytes[n..], offset + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sets the modification time, nanoseconds since 1970.
///
/// # Errors
/// As the system's call does; also if the system has no such time.
pub(crate) fn set_modified(file: &File, mtime: i64) -> io::Result<()> {
    let distance = Duration::from_nanos(mtime.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if mtime < 0 {
        epoch.checked_sub(distance)
    } else {
        epoch.checked_add(distance)
    };
    let time = time.ok_or(io::ErrorKind::InvalidInput)?;
    file.set_times(FileTimes::new().set_modified(time))
}
