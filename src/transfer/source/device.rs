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
    use crate::transfer::source::origin;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use std::os::unix::fs::FileTypeExt;

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

/// On other systems devices have no paths that other programs use.
#[cfg(not(unix))]
pub(crate) fn open(_: &Path) -> Result<Option<Box<dyn Read + Send>>, LocalError> {
    Ok(None)
}
