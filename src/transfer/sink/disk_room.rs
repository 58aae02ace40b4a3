//! The room that a transfer needs on the disk.

use std::path::Path;

use crate::transfer::error::{Leftover, LocalError};
use crate::transfer::fs::layer::Room;
use crate::transfer::manifest::{Kind, Manifest};

/// Checks that the file system of `root` allows files as large as those of `manifest`.
pub(crate) fn check_sizes(manifest: &Manifest, room: &Room, root: &Path) -> Result<(), LocalError> {
    let Some(limit) = room.largest else { return Ok(()) };
    match manifest.iter().find(|(_, entry)| entry.size > limit) {
        None => Ok(()),
        Some((index, entry)) => Err(LocalError::TooLarge {
            path: root.join(manifest.path(index)),
            size: entry.size,
            limit,
        }),
    }
}

/// Bytes and nodes that are still to be written and made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Need {
    bytes: u64,
    nodes: u64,
    /// How many of `bytes` may be left out as holes.
    holes: u64,
}

impl Need {
    /// Starts with nothing. `holes`: how many of the bytes to come are holes, as the sender says.
    pub(crate) fn with_holes(holes: u64) -> Need {
        Need {
            holes,
            ..Need::default()
        }
    }

    /// Adds an entry. `present`: how many of its bytes are here, `None` if it does not exist.
    pub(crate) fn add(&mut self, kind: Kind, size: u64, present: Option<u64>, block: u64) {
        let whole = kind.on_disk(size, block);
        let here = present.map_or(0, |len| kind.on_disk(len, block));
        self.bytes = self.bytes.saturating_add(whole.saturating_sub(here));
        self.nodes += u64::from(present.is_none());
    }

    /// Whether there is room even if the holes are written as zeros.
    pub(crate) fn fits(&self, room: &Room) -> bool {
        room.bytes.is_none_or(|free| free >= self.bytes)
    }

    /// Checks that there is room in the directory `root` if holes stay holes.
    pub(crate) fn check(&self, room: &Room, root: &Path) -> Result<(), LocalError> {
        check(room, root, self.bytes.saturating_sub(self.holes), self.nodes, &[])
    }
}

/// Checks that the directory `root` has room for these bytes and nodes. `leftovers` goes into the error.
pub(crate) fn check(
    room: &Room,
    root: &Path,
    bytes: u64,
    nodes: u64,
    leftovers: &[Leftover],
) -> Result<(), LocalError> {
    let (path, leftovers) = (root.to_owned(), leftovers.to_vec());
    if let Some(free) = room.bytes.filter(|&free| free < bytes) {
        return Err(LocalError::TooLittleSpace {
            path,
            free,
            needed: bytes,
            leftovers,
        });
    }
    match room.nodes.filter(|&free| free < nodes) {
        Some(free) => Err(LocalError::TooFewNodes {
            path,
            free,
            needed: nodes,
            leftovers,
        }),
        None => Ok(()),
    }
}
