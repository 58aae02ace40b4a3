//! Checks, before content arrives, that existing files and directories under the final names can be replaced or
//! merged with.

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeKind};
use crate::transfer::manifest::{Kind, Manifest};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::place::Rule;

/// Finds the first entry that the system would not let this user change. Entries in `stays` are not changed.
pub(crate) fn check<L: Layer>(
    layer: &L,
    manifest: &Manifest,
    rule: Rule<'_>,
    stays: &RunSet,
) -> Result<(), LocalError> {
    if !rule.may_merge() {
        return Ok(());
    }
    let mut merged = RunSet::new();
    for (index, entry) in manifest.iter() {
        let is_below = entry.parent.is_none_or(|parent| merged.contains(parent.get()));
        if !is_below || stays.contains(index.get()) {
            continue;
        }
        let path = manifest.path(index);
        let Some(found) = layer.info(&path).doing(layer, "examine", &path)? else {
            continue;
        };
        let action = match (entry.kind, found.kind) {
            (Kind::Dir, NodeKind::Dir) => {
                merged.add(index.get());
                "write to"
            }
            (Kind::Dir, _) | (_, NodeKind::Dir) => continue,
            (_, NodeKind::File | NodeKind::Other) if rule.may_replace(&path, &found) => "replace",
            (_, NodeKind::File | NodeKind::Other) => continue,
        };
        layer
            .check_changeable(&path, found.kind)
            .doing(layer, action, &path)?;
    }
    Ok(())
}
