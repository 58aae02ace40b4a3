//! Calls on files and directories, and the limit of open ones.

use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Standard output for a payload. The standard library's own reports success if the descriptor cannot be written to.
///
/// # Errors
/// Those of the system's call.
#[cfg(unix)]
pub(crate) fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Standard output for a payload.
#[cfg(not(unix))]
pub(crate) fn standard_output() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Standard input as a payload. The standard library's takes a descriptor that cannot be read for one at its end.
///
/// # Errors
/// Those of the system's call, also if nothing can be read of it.
#[cfg(unix)]
pub(crate) fn standard_input() -> io::Result<File> {
    use std::io::Read;
    use std::os::fd::AsFd;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // It waits for nothing, and fails for a directory, and for what is only open for writing.
    input.read(&mut []).map(|_| input)
}

/// Standard input as a payload.
#[cfg(not(unix))]
pub(crate) fn standard_input() -> io::Result<io::Stdin> {
    Ok(io::stdin())
}

/// Whether another file system begins at this directory.
#[cfg(unix)]
pub(crate) fn is_mounted(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |name: &str| dir.join(name).metadata().ok().map(|found| found.dev());
    device(".") != device("..")
}

/// Windows mounts disks in directories, too; that is not looked for.
#[cfg(not(unix))]
pub(crate) fn is_mounted(_: &Path) -> bool {
    false
}

/// Lifts the limit of open files to `wanted`, as far as it may be lifted. Returns the limit then; `None` if there is none.
#[cfg(unix)]
pub(crate) fn lift_file_limit(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let current = found.current?;
    let lifted = wanted.min(found.maximum.unwrap_or(wanted));
    let limit = Rlimit {
        current: Some(lifted),
        ..found
    };
    if lifted > current && setrlimit(Resource::Nofile, limit).is_ok() {
        return Some(lifted);
    }
    Some(current)
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn lift_file_limit(_: u64) -> Option<u64> {
    None
}

/// Writes all of `bytes` at `offset`. The file's own position does not matter.
///
/// # Errors
/// Those of the system's call.
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

/// Whether the file system may give the same file another inode number or device number later. FAT, network
/// file systems and FUSE do. True where the system does not tell the type.
#[cfg(target_os = "linux")]
pub(crate) fn numbers_nodes_anew(file: impl std::os::fd::AsFd) -> bool {
    /// Types of file systems, statfs(2): FAT, exFAT, FUSE, NFS, SMB, CIFS, SMB2, 9P, Ceph, AFS, Coda.
    const NUMBERED_ANEW: [u32; 11] = [
        0x4d44,
        0x2011_bab0,
        0x6573_5546,
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x7375_7245,
    ];
    // The lower 32 bits are the type, whatever the width of the field.
    rustix::fs::fstatfs(file).map_or(true, |found| NUMBERED_ANEW.contains(&(found.f_type as u32)))
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn numbers_nodes_anew(_: impl std::os::fd::AsFd) -> bool {
    true
}

#[cfg(not(unix))]
pub(crate) fn numbers_nodes_anew<T>(_: T) -> bool {
    true
}

/// Whether files of this file system are made when they are looked at, so that their times say nothing.
#[cfg(target_os = "linux")]
pub(crate) fn has_no_times(file: impl std::os::fd::AsFd) -> bool {
    /// Types of file systems, statfs(2): sysfs, proc, debugfs, tracefs, securityfs, both versions of cgroups.
    const MADE: [u32; 7] = [
        0x6265_6572,
        0x9fa0,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x6367_7270,
        0x0027_e0eb,
    ];
    rustix::fs::fstatfs(file).is_ok_and(|found| MADE.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn has_no_times<T>(_: T) -> bool {
    false
}

/// Whether an error comes from a limit of this program or machine, and so says nothing about the file.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    return matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
    );
    #[cfg(not(unix))]
    return error.kind() == io::ErrorKind::OutOfMemory;
}

/// Sets the modification time, nanoseconds since 1970.
///
/// # Errors
/// Those of the system's call, and an error if the system cannot represent the time.
#[expect(
    clippy::disallowed_methods,
    reason = "the access time is the moment at which the other time is set"
)]
pub(crate) fn set_modified(file: &File, mtime: i64) -> io::Result<()> {
    let distance = Duration::from_nanos(mtime.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if mtime < 0 {
        epoch.checked_sub(distance)
    } else {
        epoch.checked_add(distance)
    };
    let time = time.ok_or(io::ErrorKind::InvalidInput)?;
    // Sets both times: older FUSE file systems ignore a call that sets only one, and return no error.
    file.set_times(
        FileTimes::new()
            .set_accessed(SystemTime::now())
            .set_modified(time),
    )
}
