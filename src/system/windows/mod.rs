//! Calls of Windows that no library in the tree wraps.

#![expect(
    unsafe_code,
    reason = "functions of kernel32 and advapi32; each call passes handles and buffers that live until it returns"
)]

mod access;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_FUNCTION, ERROR_IO_PENDING, ERROR_LOCK_VIOLATION, ERROR_NOT_SUPPORTED, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_FLAG_BACKUP_SEMANTICS, FILE_NAME_NORMALIZED,
    GetDiskFreeSpaceExW, GetFinalPathNameByHandleW, GetVolumeInformationByHandleW, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
};
use windows_sys::Win32::System::Console::{
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, FlushConsoleInputBuffer, GetConsoleMode, INPUT_RECORD, KEY_EVENT,
    PeekConsoleInputW, SetConsoleMode,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, OVERLAPPED};
use windows_sys::Win32::System::Ioctl::{FILE_ZERO_DATA_INFORMATION, FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA};
use windows_sys::Win32::System::Power::{ES_CONTINUOUS, ES_SYSTEM_REQUIRED, SetThreadExecutionState};
use windows_sys::Win32::System::SystemServices::FILE_NAMED_STREAMS;
use windows_sys::Win32::System::Threading::WaitForSingleObject;

#[cfg(test)]
pub(crate) use access::share_with_everybody;
pub(crate) use access::{is_private, make_private};

/// Longest path on Windows, in UTF-16 units.
const MAX_PATH: usize = 32_768;

/// Prevents sleep if `awake`, or allows it again, for this thread's part.
pub(super) fn stay_awake(awake: bool) {
    let state = if awake {
        ES_CONTINUOUS | ES_SYSTEM_REQUIRED
    } else {
        ES_CONTINUOUS
    };
    // SAFETY: the call takes only flags. It fails on systems without power management, which never sleep.
    unsafe { SetThreadExecutionState(state) };
}

/// The keyboard of this program's console, if it has one.
fn keyboard() -> io::Result<File> {
    File::options().read(true).write(true).open("CONIN$")
}

/// Whether typed or pasted input waits to be read, now or within `limit`.
pub(crate) fn is_typed(limit: Duration) -> bool {
    let Ok(keyboard) = keyboard() else {
        return false;
    };
    let millis = limit.as_millis().try_into().unwrap_or(u32::MAX - 1);
    let mut waiting = [INPUT_RECORD::default(); 64];
    let mut count = 0;
    // SAFETY: the handle is open until the end of this function, and the call gets the buffer's true length.
    let known = unsafe {
        WaitForSingleObject(keyboard.as_raw_handle(), millis) == WAIT_OBJECT_0
            && PeekConsoleInputW(
                keyboard.as_raw_handle(),
                waiting.as_mut_ptr(),
                waiting.len() as u32,
                &raw mut count,
            ) != 0
    };
    // Mouse and window events, and keys being released, are in the buffer as well.
    known && waiting[..count as usize].iter().any(is_character)
}

fn is_character(record: &INPUT_RECORD) -> bool {
    if u32::from(record.EventType) != KEY_EVENT {
        return false;
    }
    // SAFETY: the type says which field of the union was written; a character is a number in either of its forms.
    unsafe {
        let key = record.Event.KeyEvent;
        key.bKeyDown != 0 && key.uChar.UnicodeChar != 0
    }
}

/// Discards typed input that was not read yet. True if there was any.
pub(crate) fn forget_typed() -> bool {
    let waiting = is_typed(Duration::ZERO);
    if let Ok(keyboard) = keyboard() {
        // SAFETY: the handle is open until the end of this block.
        unsafe { FlushConsoleInputBuffer(keyboard.as_raw_handle()) };
    }
    waiting
}

/// Makes the console of standard error interpret escape sequences, which Windows 10 and later can. False if
/// it cannot.
pub(crate) fn follow_escapes() -> bool {
    let screen = io::stderr();
    let mut mode = 0;
    // SAFETY: standard error's handle is open as long as the process; `mode` outlives the call.
    unsafe {
        // A terminal that is not a console (MSYS, Cygwin) interprets them by itself.
        GetConsoleMode(screen.as_raw_handle(), &raw mut mode) == 0
            || SetConsoleMode(screen.as_raw_handle(), mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0
    }
}

/// Takes a lock that ends with the process. False if another process holds it. Windows prevents others from
/// reading locked bytes, so the lock covers a byte beyond the end of any file.
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

/// Checks that files and directories can be created in `directory`. It asks for the right and creates
/// nothing.
///
/// # Errors
/// If its access control list forbids it, or its disk is write-protected.
pub(crate) fn check_writable(directory: &Path) -> io::Result<()> {
    let mut options = File::options();
    options
        .access_mode(FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    options.open(directory).map(drop)
}

/// Turns a range of an open file into a hole if the range is long enough. A hole takes no room and reads as
/// zeros. False if the file system has no holes.
///
/// # Errors
/// Those of the system's calls.
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    let stretch = FILE_ZERO_DATA_INFORMATION {
        FileOffset: offset.cast_signed(),
        BeyondFinalZero: (offset + len).cast_signed(),
    };
    let size = size_of_val(&stretch) as u32;
    for (code, input, size) in [
        (FSCTL_SET_SPARSE, std::ptr::null(), 0),
        (FSCTL_SET_ZERO_DATA, (&raw const stretch).cast(), size),
    ] {
        let mut returned = 0;
        // SAFETY: the handle is open while `file` is borrowed; `stretch` and `returned` outlive the call, which is not
        // overlapped.
        let done = unsafe {
            DeviceIoControl(
                file.as_raw_handle(),
                code,
                input,
                size,
                std::ptr::null_mut(),
                0,
                &raw mut returned,
                std::ptr::null_mut(),
            )
        };
        if done == 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error().map(i32::cast_unsigned) {
                Some(ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED) => Ok(false),
                _ => Err(error),
            };
        }
    }
    Ok(true)
}

/// Free bytes for this user on the disk that holds `directory`.
pub(crate) fn free_space(directory: &Path) -> Option<u64> {
    let name = terminated(directory.as_os_str().encode_wide())?;
    let mut free = 0;
    // SAFETY: the name ends with a zero, and `free` outlives the call; null means that a number is not
    // wanted.
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

/// Writes an alternate stream of an open file, whose time stays as it is. On file systems other than NTFS and ReFS the
/// name could mean a file beside it.
#[expect(
    clippy::disallowed_methods,
    reason = "the file is open already, and a stream of it has no other name"
)]
pub(super) fn write_stream(file: &File, stream: &str, bytes: &[u8]) -> io::Result<()> {
    if !keeps_streams(file) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut path = path_of(file)?;
    path.push(":");
    path.push(stream);
    let dated = file.metadata()?.modified()?;
    std::fs::write(path, bytes)?;
    // NTFS takes it for a change of the file.
    file.set_modified(dated)
}

/// Whether files of this file system have alternate streams.
fn keeps_streams(file: &File) -> bool {
    let mut flags = 0;
    // SAFETY: the handle is open while `file` is borrowed, `flags` outlives the call; null means that a
    // result is not wanted.
    let known = unsafe {
        GetVolumeInformationByHandleW(
            file.as_raw_handle(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut flags,
            std::ptr::null_mut(),
            0,
        )
    };
    known != 0 && flags & FILE_NAMED_STREAMS != 0
}

/// The current path of an open file.
fn path_of(file: &File) -> io::Result<OsString> {
    let mut name = vec![0; MAX_PATH];
    // SAFETY: the handle is open while `file` is borrowed, and the call gets the buffer's true length.
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

/// A name with a final zero, as C expects it. `None` if the name contains a zero.
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
    #[ignore = "needs a console, and Wine makes none without a screen or a terminal"]
    fn what_was_typed_is_seen_and_can_be_thrown_away() {
        use windows_sys::Win32::System::Console::{
            AllocConsole, INPUT_RECORD_0, KEY_EVENT_RECORD, KEY_EVENT_RECORD_0, WriteConsoleInputW,
        };
        // SAFETY: the call takes no arguments. It fails if there is a console already.
        unsafe { AllocConsole() };
        let keyboard = keyboard().expect("a console");
        forget_typed();
        assert!(!is_typed(Duration::ZERO));
        let mut key = KEY_EVENT_RECORD::default();
        (key.bKeyDown, key.uChar) = (1, KEY_EVENT_RECORD_0 { UnicodeChar: 121 });
        let record = INPUT_RECORD {
            EventType: KEY_EVENT as u16,
            Event: INPUT_RECORD_0 { KeyEvent: key },
        };
        let mut written = 0;
        // SAFETY: one record is passed, and the handle is open.
        let done =
            unsafe { WriteConsoleInputW(keyboard.as_raw_handle(), &raw const record, 1, &raw mut written) };
        assert!(done != 0 && written == 1);
        assert!(is_typed(Duration::from_secs(1)));
        assert!(forget_typed());
        assert!(!forget_typed());
    }

    #[test]
    fn a_directory_that_may_be_written_is_told_from_none() {
        let place = tempfile::tempdir().unwrap();
        check_writable(place.path()).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let missing = check_writable(&place.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

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
    fn a_hole_reads_as_zeros_and_what_is_around_it_stays() {
        use std::io::{Read, Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 3 << 16]).unwrap();
        let holed = punch(&file, 1 << 16, 1 << 16).unwrap();
        let mut expected = vec![1; 3 << 16];
        if holed {
            expected[1 << 16..2 << 16].fill(0);
        }
        let mut found = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut found)).unwrap();
        assert!(found == expected, "{holed}");
    }

    #[test]
    fn a_stream_is_written_where_it_is_no_file_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a file.bin");
        let file = File::create(&path).unwrap();
        let dated = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(dated).unwrap();
        let written = write_stream(&file, "Zone.Identifier", b"mark").is_ok();
        assert_eq!(written, keeps_streams(&file));
        assert_eq!(file.metadata().unwrap().modified().unwrap(), dated);
        let stream = std::fs::read(place.path().join("a file.bin:Zone.Identifier"));
        assert_eq!(stream.ok(), written.then(|| b"mark".to_vec()));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
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
