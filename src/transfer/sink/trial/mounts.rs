//! Other file systems that are mounted below the output directory. What goes there is copied, one file after the other, and
//! must find room.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Layer, NodeInfo, Room};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::sink::disk_room;

/// Something that grows and shrinks while files replace others, and the most it comes to.
#[derive(Default)]
struct Peak {
    now: u64,
    most: u64,
}

impl Peak {
    /// The new one comes before the old one goes.
    fn replace(&mut self, new: u64, old: u64) {
        self.now += new;
        self.most = self.most.max(self.now);
        self.now = self.now.saturating_sub(old);
    }
}

struct Mount {
    dir: PathBuf,
    device: u64,
    room: Room,
    bytes: Peak,
    nodes: Peak,
}

/// All of them that a list needs.
pub(super) struct Mounts {
    /// The file system of the staging directory.
    home: u64,
    all: Vec<Mount>,
    /// The mounts in which directories of the list lie.
    of: HashMap<EntryIndex, usize>,
}

impl Mounts {
    pub(super) fn new(home: u64) -> Mounts {
        Mounts {
            home,
            all: Vec::new(),
            of: HashMap::new(),
        }
    }

    /// A directory of the list exists.
    pub(super) fn enter<L: Layer>(&mut self, layer: &L, index: EntryIndex, dir: &Path, found: &NodeInfo) {
        if found.device == self.home {
            return;
        }
        let known = self.all.iter().position(|mount| mount.device == found.device);
        let at = known.unwrap_or_else(|| {
            self.all.push(Mount {
                dir: dir.to_owned(),
                device: found.device,
                room: layer.room(dir),
                bytes: Peak::default(),
                nodes: Peak::default(),
            });
            self.all.len() - 1
        });
        self.of.insert(index, at);
    }

    /// An entry is made, in place of `found`.
    pub(super) fn add<L: Layer>(
        &mut self,
        layer: &L,
        manifest: &Manifest,
        index: EntryIndex,
        found: Option<&NodeInfo>,
    ) -> Result<(), LocalError> {
        let entry = manifest.entry(index);
        let Some(&at) = entry.parent.and_then(|parent| self.of.get(&parent)) else {
            return Ok(());
        };
        if entry.kind == Kind::Dir {
            self.of.insert(index, at);
        }
        let mount = &mut self.all[at];
        // No link leads into another file system: what was one becomes a copy.
        let (kind, size) = match entry.kind {
            Kind::HardLink(of) => (Kind::File, manifest.entry(of).size),
            kind => (kind, entry.size),
        };
        if let Some(limit) = mount.room.largest.filter(|&limit| size > limit) {
            let path = layer.root().join(manifest.path(index));
            return Err(LocalError::TooLarge { path, size, limit });
        }
        let block = mount.room.block;
        let old = found.map_or(0, |found| Kind::File.on_disk(found.len, block));
        mount.bytes.replace(kind.on_disk(size, block), old);
        mount.nodes.replace(1, u64::from(found.is_some()));
        Ok(())
    }

    /// Checks that there is room in each if holes stay holes.
    pub(super) fn check<L: Layer>(&self, layer: &L, manifest: &Manifest) -> Result<(), LocalError> {
        self.all.iter().try_for_each(|mount| {
            let dir = layer.root().join(&mount.dir);
            let bytes = mount.bytes.most.saturating_sub(manifest.holes());
            disk_room::check(&mount.room, &dir, bytes, mount.nodes.most, &[])
        })
    }
}
