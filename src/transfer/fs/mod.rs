//! The receiver's file system: one interface, its implementations, and the key that proves what is ours.

pub(crate) mod disk;
pub(crate) mod layer;
pub(crate) mod owner;
pub(crate) mod passage;

/// Shortest range of zeros that is stored as a hole, in bytes: a few blocks of any file system.
pub(crate) const LEAST_HOLE: u64 = 64 << 10;

/// The largest rounding of times on a disk, in nanoseconds: FAT counts in steps of two seconds.
pub(crate) const COARSEST_TIME: u64 = 2_000_000_000;
