//! The clock, and what each system reports about a file in its own way.

use cap_std::fs::Metadata;

#[cfg(not(unix))]
use crate::transfer::fs::disk::is_read_only;
use crate::transfer::fs::disk::unix_nanos;
use crate::transfer::manifest::MODE_MASK;

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the times of files, and with nothing else"
)]
pub(super) fn now() -> i64 {
    unix_nanos(std::time::SystemTime::now())
}

/// Whether a file has other names besides the one it was found under.
#[cfg(unix)]
pub(super) fn has_other_names(metadata: &Metadata) -> bool {
    cap_std::fs::MetadataExt::nlink(metadata) > 1
}

/// Bytes that a file takes on its disk.
#[cfg(unix)]
pub(super) fn room_of(metadata: &Metadata) -> u64 {
    /// The unit of `st_blocks`: stat(2).
    const UNIT: u64 = 512;
    cap_std::fs::MetadataExt::blocks(metadata).saturating_mul(UNIT)
}

#[cfg(not(unix))]
pub(super) fn has_other_names(_: &Metadata) -> bool {
    false
}

#[cfg(not(unix))]
pub(super) fn room_of(metadata: &Metadata) -> u64 {
    metadata.len()
}

#[cfg(unix)]
pub(super) fn mode_of(metadata: &Metadata) -> u16 {
    (cap_std::fs::MetadataExt::mode(metadata) as u16) & MODE_MASK
}

#[cfg(not(unix))]
pub(super) fn mode_of(metadata: &Metadata) -> u16 {
    let write = if is_read_only(metadata) { 0 } else { 0o200 };
    MODE_MASK & (0o444 | write | if metadata.is_dir() { 0o111 } else { 0 })
}
