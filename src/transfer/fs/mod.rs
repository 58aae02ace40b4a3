//! The file system as the receiver sees it: one door, what stands behind it, and the key that proves what is ours.

pub(crate) mod disk;
pub(crate) mod layer;
pub(crate) mod memory;
pub(crate) mod owner;
pub(crate) mod passage;

/// Least stretch of zeros that is stored as a hole: a few blocks of any file system.
pub(crate) const LEAST_HOLE: u64 = 64 << 10;

/// What a disk rounds times to at most, in nanoseconds: FAT counts in two seconds.
pub(crate) const COARSEST_TIME: u64 = 2_000_000_000;
