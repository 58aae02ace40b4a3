//! Checks, before content arrives, that existing files and directories under the final names can be replaced or
//! merged with.

use std::path::Path;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeInfo, NodeKind};
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::place::Rule;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::trial::mounts::Mounts;

/// Finds the first of `entries` that the system would not let this user change, or a mount without room. They are in the list's
/// order, each after its directory. A directory into which nothing new comes is not changed.
pub(crate) fn check<'m, L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Manifest,
    rule: Rule<'_>,
    entries: impl Iterator<Item = (EntryIndex, Entry<'m>)>,
) -> Result<(), LocalError> {
    if !rule.may_merge() {
        return Ok(());
    }
    let (mut merged, mut asked) = (RunSet::default(), RunSet::default());
    let home = layer.info(staging.dir()).ok().flatten();
    let mut mounts = Mounts::new(home.map_or(0, |found| found.device));
    for (index, entry) in entries {
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
