//! What a transfer takes on the disk besides its bytes.

use std::path::Path;

use crate::transfer::error::{Leftover, LocalError};
use crate::transfer::fs::layer::Room;
use crate::transfer::manifest::{Kind, Manifest};

/// Whether each file of `manifest` can be as large as it is in the directory `root`.
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

/// What is still to be written and made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Need {
    bytes: u64,
    nodes: u64,
    /// Of the bytes, those that holes may leave out.
    holes: u64,
}

impl Need {
    /// Nothing yet. Of what is to come, so many bytes are holes, as the sender says.
    pub(crate) fn with_holes(holes: u64) -> Need {
        Need {
            holes,
            ..Need::default()
        }
    }

    /// Counts an entry, of which `present` bytes are here if it exists.
    pub(crate) fn add(&mut self, kind: Kind, size: u64, present: Option<u64>, block: u64) {
        let whole = kind.on_disk(size, block);
        let here = present.map_or(0, |len| kind.on_disk(len, block));
        self.bytes = self.bytes.saturating_add(whole.saturating_sub(here));
        self.nodes += u64::from(present.is_none());
    }

    /// Whether there is room for all of it, holes and all.
    pub(crate) fn fits(&self, room: &Room) -> bool {
        room.bytes.is_none_or(|free| free >= self.bytes)
    }

    /// Whether there is room for it in the directory `root`, holes left out.
    pub(crate) fn check(&self, room: &Room, root: &Path) -> Result<(), LocalError> {
        check(room, root, self.bytes.saturating_sub(self.holes), self.nodes, &[])
    }
}

/// Whether so many bytes and nodes can be had in the directory `root`, in which these are kept.
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
