//! What tells one version of a file from another.

use cap_std::fs::Metadata;

use crate::transfer::fs::COARSEST_TIME;
use crate::transfer::fs::disk::unix_nanos;

/// What exFAT keeps of a time that memory holds exactly, nanoseconds: ten milliseconds.
const COARSE_TIME: i64 = 10_000_000;

/// What a file looked like.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Identity {
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    /// The identity of a file with this metadata. Without device and inode where the system does not tell them.
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

    /// Whether both are of one file or directory, in whatever version. Means nothing on file systems that number their
    /// nodes anew ([`crate::system::numbers_nodes_anew`]).
    pub(crate) fn is_node_of(&self, other: &Identity) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the system tells which node it is.
    pub(crate) fn is_known(&self) -> bool {
        self.inode != 0
    }

    /// Whether the file is as it was by size and time.
    pub(crate) fn is_version_of(&self, then: &Identity) -> bool {
        (self.size, self.mtime) == (then.size, then.mtime)
    }

    /// The same where the medium keeps time less exactly than memory does.
    pub(crate) fn is_nearly_version_of(&self, then: &Identity) -> bool {
        self.size == then.size
            && self.mtime % COARSE_TIME == 0
            && self.mtime.abs_diff(then.mtime) < COARSEST_TIME
    }
}
