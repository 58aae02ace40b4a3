//! Directories that exist below the output directory and may take other names than the staging directory does: another file
//! system is mounted there, or the directory ignores case (`chattr +F`).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeKind};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::names;
use crate::transfer::ranges::RunSet;

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
    let (mut existing, mut merged) = (HashMap::<EntryIndex, (PathBuf, u64)>::new(), RunSet::new());
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
