//! A device as a source. It is read to its end, like a pipe.

use std::io::Read;
use std::path::Path;

use crate::transfer::error::LocalError;

/// Opens what the user named if it is a device. Refuses a device that gives no bytes now: nobody knows when
/// it will.
///
/// # Errors
/// If it cannot be opened or read.
#[cfg(unix)]
pub(crate) fn open(path: &Path) -> Result<Option<Box<dyn Read + Send>>, LocalError> {
    use std::os::unix::fs::FileTypeExt;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use crate::transfer::source::origin;

    /// Bytes that are read to see whether it gives anything.
    const FIRST: usize = 64 << 10;

    let failed = |action| move |e| LocalError::new(action, path, e);
    let is_device = |kind: std::fs::FileType| kind.is_block_device() || kind.is_char_device();
    if !std::fs::metadata(path).is_ok_and(|found| is_device(found.file_type())) {
        return Ok(None);
    }
    let mut file = origin::open_typed(path).map_err(failed("open"))?;
    if !is_device(file.metadata().map_err(failed("examine"))?.file_type()) {
        return Ok(None);
    }
    let mut first = vec![0; FIRST];
    let len = file.read(&mut first).map_err(failed("read"))?;
    first.truncate(len);
    // From here on reads may block.
    let flags = fcntl_getfl(&file).map_err(|e| failed("read")(e.into()))?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(|e| failed("read")(e.into()))?;
    Ok(Some(Box::new(std::io::Cursor::new(first).chain(file))))
}

/// Windows' devices are not sent: [`is_named_by`] tells why.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn open(_: &Path) -> Result<Option<Box<dyn Read + Send>>, LocalError> {
    Ok(None)
}

/// Whether a path names a device of Windows. It does so in every directory, and some devices never answer.
pub(crate) fn is_named_by(path: &Path) -> bool {
    use std::path::{Component, Prefix};

    use crate::transfer::names::{bytes_from_os, is_windows_device};

    let name = bytes_from_os(path.file_name().unwrap_or_default());
    let is_device = match path.components().next() {
        Some(Component::Prefix(start)) if matches!(start.kind(), Prefix::DeviceNS(_)) => true,
        _ => is_windows_device(&name),
    };
    // Newer versions of Windows take such a name with an extension for a file.
    cfg!(windows)
        && is_device
        && !std::fs::metadata(path).is_ok_and(|found| found.is_file() || found.is_dir())
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_files() {
        for device in ["NUL", "con", r"here\COM1.txt", r"\\.\PhysicalDrive0"] {
            assert!(is_named_by(Path::new(device)), "{device}");
        }
        assert!(!is_named_by(Path::new("Cargo.toml")));
    }
}
