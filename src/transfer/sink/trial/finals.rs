//! Checks, before content arrives, that existing files and directories under the final names can be replaced or
//! merged with.

use std::path::Path;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeInfo, NodeKind};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::disk_room;
use crate::transfer::sink::place::Rule;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::trial::mounts::Mounts;

/// Finds the first entry that the system would not let this user change, or a mount without room. Entries in `stays` are not
/// changed, and neither are directories into which nothing new comes.
pub(crate) fn check<L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Manifest,
    rule: Rule<'_>,
    stays: &RunSet,
) -> Result<(), LocalError> {
    if !rule.may_merge() {
        return Ok(());
    }
    let (mut merged, mut asked) = (RunSet::default(), RunSet::default());
    let mut mounts = Mounts::new(home(layer, staging));
    for (index, entry) in manifest.iter().filter(|(index, _)| !stays.contains(index.get())) {
        if !entry.parent.is_none_or(|parent| merged.contains(parent.get())) {
            mounts.add(layer, manifest, index, None)?;
            continue;
        }
        let path = manifest.path(index);
        let found = layer.info(&path);
        if found.is_err() && entry.parent.is_some() {
            check_above(layer, &path)?;
        }
        let found = found.doing(layer, "examine", &path)?;
        if let Some(found) = found.filter(|found| entry.kind == Kind::Dir && found.kind == NodeKind::Dir) {
            merged.add(index.get());
            mounts.enter(layer, index, &path, &found);
            continue;
        }
        if entry.parent.is_some_and(|parent| asked.add(parent.get())) {
            check_above(layer, &path)?;
        }
        check_path(layer, rule, entry.kind, &path, found)?;
        mounts.add(layer, manifest, index, found.as_ref())?;
    }
    mounts.check(layer, manifest)
}

/// The file system of the staging directory.
fn home<L: Layer>(layer: &L, staging: &Staging) -> u64 {
    let found = layer.info(staging.dir());
    found.ok().flatten().map_or(0, |found| found.device)
}

/// The same for an entry that was found to differ from what is sent.
pub(crate) fn check_one<L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Manifest,
    rule: Rule<'_>,
    index: EntryIndex,
) -> Result<(), LocalError> {
    let (entry, path) = (manifest.entry(index), manifest.path(index));
    let found = layer.info(&path).doing(layer, "examine", &path)?;
    if entry.parent.is_some() {
        check_above(layer, &path)?;
    }
    if found.is_some_and(|found| found.device != home(layer, staging)) {
        let dir = path.parent().unwrap_or(Path::new(""));
        let room = layer.room(dir);
        let bytes = entry
            .kind
            .on_disk(entry.size, room.block)
            .saturating_sub(manifest.holes());
        disk_room::check(&room, &layer.root().join(dir), bytes, 1, &[])?;
    }
    check_path(layer, rule, entry.kind, &path, found)
}

fn check_above<L: Layer>(layer: &L, path: &Path) -> Result<(), LocalError> {
    let above = path.parent().unwrap_or(Path::new(""));
    let may = layer.check_changeable(above, NodeKind::Dir);
    may.doing(layer, "write to", above)
}

fn check_path<L: Layer>(
    layer: &L,
    rule: Rule<'_>,
    kind: Kind,
    path: &Path,
    found: Option<NodeInfo>,
) -> Result<(), LocalError> {
    match found {
        Some(found) if kind != Kind::Dir && found.kind != NodeKind::Dir && rule.may_replace(path, &found) => {
            layer
                .check_changeable(path, found.kind)
                .doing(layer, "replace", path)
        }
        _ => Ok(()),
    }
}
