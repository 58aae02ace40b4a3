//! How to tell one version of a file from another.

use cap_std::fs::Metadata;

use crate::transfer::fs::COARSEST_TIME;
use crate::transfer::fs::disk::unix_nanos;

/// The precision of exFAT's times, in nanoseconds: ten milliseconds. Times in memory are more precise.
const COARSE_TIME: i64 = 10_000_000;

/// A file's metadata at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Identity {
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    /// The identity of a file with this metadata. Has no device and inode if the system does not tell them.
    pub(crate) fn of(metadata: &Metadata) -> Identity {
        #[cfg(unix)]
        let (device, inode) = {
            use cap_std::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Identity {
            size: metadata.len(),
            mtime: metadata.modified().map_or(0, |time| unix_nanos(time.into_std())),
            device,
            inode,
        }
    }

    /// Whether both belong to the same file or directory, in any version. Means nothing on file systems that
    /// renumber their inodes ([`crate::system::numbers_nodes_anew`]).
    pub(crate) fn is_node_of(&self, other: &Identity) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the system told the inode.
    pub(crate) fn is_known(&self) -> bool {
        self.inode != 0
    }

    /// Whether size and time are the same as then.
    pub(crate) fn is_version_of(&self, then: &Identity) -> bool {
        (self.size, self.mtime) == (then.size, then.mtime)
    }

    /// The same, for a medium that keeps time less precisely than memory.
    pub(crate) fn is_nearly_version_of(&self, then: &Identity) -> bool {
        self.size == then.size
            && self.mtime % COARSE_TIME == 0
            && self.mtime.abs_diff(then.mtime) < COARSEST_TIME
    }
}
