//! Directories that exist below the output directory and may take other names than the staging directory does: another file
//! system is mounted there, or the directory ignores case (`chattr +F`).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeKind};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::names;
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::place::is_free;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::trial::TRY;

/// Names for the directory of a trial. Other runs may use some of them, and a crash may have left one.
const MOST_TRIALS: u32 = 100;

/// Doubtful names that go into one directory.
#[derive(Default)]
pub(super) struct Doubtful {
    /// Names that it may refuse.
    pub(super) names: Vec<EntryIndex>,
    /// Names that it may take for one, in groups.
    pub(super) alike: Vec<Vec<EntryIndex>>,
}

/// Such directories, and what is to be tried there. `home` is the file system of the staging directory.
pub(super) fn find<L: Layer>(
    layer: &L,
    home: u64,
    manifest: &Manifest,
) -> Result<BTreeMap<PathBuf, Doubtful>, LocalError> {
    let mut found = BTreeMap::<PathBuf, Doubtful>::new();
    // For each directory of the list, the last one on its path that exists. Nothing is looked for below what does not.
    let (mut existing, mut merged) = (HashMap::<EntryIndex, (PathBuf, u64)>::new(), RunSet::default());
    for (index, entry) in manifest.iter().filter(|(_, entry)| entry.kind == Kind::Dir) {
        let above = entry.parent.and_then(|parent| existing.get(&parent).cloned());
        let path = manifest.path(index);
        let is_below = entry.parent.is_none_or(|parent| merged.contains(parent.get()));
        let node = match if is_below { layer.info(&path) } else { Ok(None) } {
            // If something must change there, that is told later.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => None,
            other => other.doing(layer, "examine", &path)?,
        };
        let node = node.filter(|node| node.kind == NodeKind::Dir);
        if node.is_some() {
            merged.add(index.get());
        }
        let last = node.map(|node| (path, node.device)).or(above);
        existing.extend(last.map(|last| (index, last)));
    }
    if existing.is_empty() {
        return Ok(found);
    }
    let goes_to = |index| existing.get(&manifest.entry(index).parent?);
    for (index, entry) in manifest.iter() {
        if let Some((dir, device)) = goes_to(index)
            && *device != home
            && names::doubts(entry.name).next().is_some()
        {
            found.entry(dir.clone()).or_default().names.push(index);
        }
    }
    for group in manifest.alike() {
        if let Some((dir, _)) = group.first().and_then(|&first| goes_to(first)) {
            found.entry(dir.clone()).or_default().alike.push(group);
        }
    }
    Ok(found)
}

/// Does something in a new directory in `dir`. It is used through its descriptor, and only what was created in it is removed:
/// others may write to `dir`, and put a directory of this user in its place.
pub(super) fn within<L: Layer>(
    layer: &L,
    dir: &Path,
    work: impl FnOnce(&Path) -> Result<(), LocalError>,
) -> Result<(), LocalError> {
    for n in 0..MOST_TRIALS {
        let trial = dir.join(Staging::temporary(layer.key(), dir, n).dir());
        if !is_free(layer.create_dir(&trial)).doing(layer, TRY, &trial)? {
            // Succeeds if it is empty.
            let _ = layer.remove_dir(&trial);
            continue;
        }
        let is_ours = layer.hold(&trial).and_then(|_| layer.list(&trial));
        let outcome = match is_ours.doing(layer, TRY, &trial) {
            Ok(found) if found.is_empty() => work(&trial),
            Ok(_) => Err(LocalError::Removed(layer.root().join(&trial))),
            Err(error) => Err(error),
        };
        layer.release(&trial);
        let removed = layer.remove_dir(&trial);
        return outcome.and_then(|()| removed.doing(layer, TRY, &trial));
    }
    Err(io::ErrorKind::AlreadyExists.into()).doing(layer, TRY, dir)
}
