//! Files that arrived whole in a transfer that was not complete. If the user gives the same commands again,
//! the new transfer adds the rest.
//!
//! A note about them is kept beside them, in the journal of a staging directory: the path, the size and the
//! time on this disk of each file. Only a file that still matches its note is ours. Such a file is compared
//! with what is sent: it stays if it is equal, and a newer version replaces it. A file that the user has
//! changed since is neither read nor replaced.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use crate::transfer::fs::COARSEST_TIME;
use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::names::SafeName;
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::staging::{Before, Staging};

/// What a note records of a file: its size and its time on this disk.
type Version = (u64, i64);

/// The note.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Came {
    /// The files, by a hash of their paths.
    pub(super) files: HashMap<[u8; 16], Version>,
    /// The numbers behind the names of top-level entries, by a hash of those names.
    pub(super) tops: BTreeMap<[u8; 32], u32>,
}

pub(super) fn path_hash(path: &Path) -> [u8; 16] {
    let hash = blake3::hash(path.as_os_str().as_encoded_bytes());
    let (first, _) = hash.as_bytes().split_at(16);
    first.try_into().unwrap_or_default()
}

impl Came {
    /// Whether the note has no files.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// `list` with the names that its top-level entries have here. `None` unless the list is of the same
    /// files: at least half of the noted files must be in it unchanged.
    pub(crate) fn of(&self, list: &Manifest) -> Option<Manifest> {
        if self.is_empty() {
            return None;
        }
        let mut others = BTreeMap::new();
        for (index, entry) in list.iter().filter(|(_, entry)| entry.parent.is_none()) {
            let number = self.tops.get(blake3::hash(entry.name).as_bytes());
            if let Some(&number) = number.filter(|&&number| number > 0) {
                others.insert(index, SafeName::top_from_peer(entry.name).ok()?.numbered(number));
            }
        }
        let list = list.renamed(&others);
        let is_same = |(index, version): (EntryIndex, Version)| {
            let noted = self.files.get(&path_hash(&list.path(index)));
            noted.is_some_and(|&noted| is_near(noted, version))
        };
        let files = list.iter().filter(|(_, entry)| entry.kind == Kind::File);
        let same = files
            .map(|(index, entry)| (index, (entry.size, entry.mtime)))
            .filter(|&found| is_same(found))
            .count();
        (same * 2 >= self.files.len()).then_some(list)
    }

    /// Whether the file at `path` still matches its note.
    pub(super) fn holds(&self, path: &Path, found: &NodeInfo) -> bool {
        found.kind == NodeKind::File && self.files.get(&path_hash(path)) == Some(&(found.len, found.mtime))
    }
}

/// Whether two versions are the same, given how exactly disks keep times.
pub(super) fn is_near(one: Version, other: Version) -> bool {
    one.0 == other.0 && one.1.abs_diff(other.1) < COARSEST_TIME
}

/// The earlier transfer that this one adds to, and what stays of what is here.
#[derive(Default, Debug)]
pub(super) struct Earlier {
    pub(super) came: Came,
    /// Files that are ours, in any version.
    pub(super) ours: RunSet,
    /// Entries that seem to be as listed. They stay where they are ([`super::staying`]).
    pub(super) stays: RunSet,
}

impl Earlier {
    /// Looks at what lies under the final names of `list`.
    pub(super) fn look<L: Layer>(layer: &L, list: &Manifest, came: Came) -> io::Result<Earlier> {
        let (mut ours, mut stays) = (RunSet::default(), RunSet::default());
        for (index, entry) in list.iter() {
            let path = list.path(index);
            let is_equal = match (entry.kind, layer.info(&path)?) {
                (Kind::File, Some(found)) if came.holds(&path, &found) => {
                    ours.add(index.get());
                    is_near((found.len, found.mtime), (entry.size, entry.mtime))
                }
                (Kind::Symlink, Some(found)) if found.kind == NodeKind::Other => {
                    layer.read_link(&path).is_ok_and(|target| target == entry.target)
                }
                _ => false,
            };
            if is_equal {
                stays.add(index.get());
            }
        }
        Ok(Earlier { came, ours, stays })
    }

    /// Leaves out of what stays what `staging` holds a replacement for, and files that cannot stay under all their names.
    /// Whether everything in `same` stays: the entries that seem to be here as listed.
    pub(super) fn keep_together<L: Layer>(
        &mut self,
        layer: &L,
        list: &Manifest,
        staging: &Staging,
        found: Before,
        same: &RunSet,
    ) -> bool {
        let is_begun = |index: &u32| {
            let path = list.path(EntryIndex::new(*index));
            found == Before::Same && !matches!(layer.info(&staging.data().join(path)), Ok(None))
        };
        let begun: Vec<u32> = self.stays.members().filter(is_begun).collect();
        for index in begun {
            self.stays.remove(index);
        }
        let mut parted = Vec::new();
        for &(of, link) in list.hard_links() {
            if self.stays.contains(of.get()) && same.contains(link.get()) {
                self.stays.add(link.get());
            } else {
                parted.push(of);
            }
        }
        for of in parted {
            for index in list.names_of(of) {
                self.stays.remove(index.get());
            }
        }
        same.members().all(|index| self.stays.contains(index))
    }
}
