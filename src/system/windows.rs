//! Calls of Windows that no library in the tree wraps.

#![expect(
    unsafe_code,
    reason = "functions of kernel32; each call passes handles and buffers that live until it returns"
)]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, ERROR_LOCK_VIOLATION};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_NAME_NORMALIZED, GetDiskFreeSpaceExW, GetFinalPathNameByHandleW, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Power::{ES_CONTINUOUS, ES_SYSTEM_REQUIRED, SetThreadExecutionState};

/// Longest path of Windows, in UTF-16 units.
const MAX_PATH: usize = 32_768;

/// Holds sleep off, or no longer, as far as this thread goes.
pub(super) fn stay_awake(awake: bool) {
    let state = if awake {
        ES_CONTINUOUS | ES_SYSTEM_REQUIRED
    } else {
        ES_CONTINUOUS
    };
    // SAFETY: it takes flags alone. It fails on systems without power management, and then there is no sleep.
    unsafe { SetThreadExecutionState(state) };
}

/// Takes a lock that dies with the process; false if another holds it. Windows keeps others from reading what is
/// locked, so the lock is on a byte that no file has.
///
/// # Errors
/// If the file system has no locks.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: OVERLAPPED is plain data, for which all zeros are a value; the handle is open while `file` is borrowed.
    let locked = unsafe {
        let mut at: OVERLAPPED = std::mem::zeroed();
        at.Anonymous.Anonymous.Offset = u32::MAX;
        at.Anonymous.Anonymous.OffsetHigh = i32::MAX as u32;
        let how = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
        LockFileEx(file.as_raw_handle(), how, 0, 1, 0, &raw mut at)
    };
    if locked != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION | ERROR_IO_PENDING) => Ok(false),
        _ => Err(error),
    }
}

/// Bytes free for this user on the disk that holds `directory`.
pub(crate) fn free_space(directory: &Path) -> Option<u64> {
    let name = terminated(directory.as_os_str().encode_wide())?;
    let mut free = 0;
    // SAFETY: the name ends with a zero, and `free` outlives the call; null stands for numbers nobody wants.
    let known = unsafe {
        GetDiskFreeSpaceExW(
            name.as_ptr(),
            &raw mut free,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    (known != 0).then_some(free)
}

/// Writes an alternate stream of an open file.
#[expect(
    clippy::disallowed_methods,
    reason = "the file is open already, and a stream of it has no other name"
)]
pub(super) fn write_stream(file: &File, stream: &str, bytes: &[u8]) -> io::Result<()> {
    let mut path = path_of(file)?;
    path.push(":");
    path.push(stream);
    std::fs::write(path, bytes)
}

/// Where an open file lies now.
fn path_of(file: &File) -> io::Result<OsString> {
    let mut name = vec![0; MAX_PATH];
    // SAFETY: the handle is open while `file` is borrowed, and the buffer is as long as the call is told.
    let len = unsafe {
        GetFinalPathNameByHandleW(
            file.as_raw_handle(),
            name.as_mut_ptr(),
            name.len() as u32,
            FILE_NAME_NORMALIZED,
        )
    } as usize;
    match len {
        0 => Err(io::Error::last_os_error()),
        len if len > name.len() => Err(io::ErrorKind::InvalidFilename.into()),
        len => Ok(OsString::from_wide(&name[..len])),
    }
}

/// A name as C wants it; `None` if there is a zero in it.
fn terminated(name: impl Iterator<Item = u16>) -> Option<Vec<u16>> {
    let mut name: Vec<u16> = name.collect();
    if name.contains(&0) {
        return None;
    }
    name.push(0);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_hides_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal");
        std::fs::write(&path, b"records").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"records");
        drop(first);
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn free_space_is_known_of_directories_and_of_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        assert!(free_space(place.path()).unwrap() > 0);
        assert_eq!(free_space(&place.path().join("missing")), None);
    }

    #[test]
    fn an_open_file_tells_where_it_lies() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a file.bin");
        let file = File::create(&path).unwrap();
        let found = path_of(&file).unwrap();
        assert_eq!(Path::new(&found).file_name(), path.file_name());
    }
}
