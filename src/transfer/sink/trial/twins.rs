//! Finds names of a transfer that this file system takes for the same name.
//!
//! Which names are the same depends on the system, its version and how the disk was formatted: some ignore
//! case, some take composed and decomposed letters for the same, some do both. So nothing is guessed:
//! suspicious names are tried out in a directory of ours before any content arrives. A pair that is missed
//! here loses nothing either: no file is created over another, and at the end each directory is compared with
//! the list.

use std::io;
use std::path::Path;

use crate::transfer::fs::layer::Layer;
use crate::transfer::manifest::{EntryIndex, Manifest};
use crate::transfer::names;
use crate::transfer::sink::trial::MOST_TRIED;

/// Two entries of `manifest` whose names are the same here, if there are any. `trial` is an empty directory
/// of ours.
pub(crate) fn find<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
) -> io::Result<Option<(EntryIndex, EntryIndex)>> {
    let mut tried = 0;
    for group in manifest.alike() {
        tried += group.len();
        if tried > MOST_TRIED {
            break;
        }
        let found = find_in(layer, trial, manifest, &group)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn find_in<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
    group: &[EntryIndex],
) -> io::Result<Option<(EntryIndex, EntryIndex)>> {
    let path = |index: EntryIndex| trial.join(names::os_from_bytes(manifest.entry(index).name));
    for (at, &index) in group.iter().enumerate() {
        match layer.create_new(&path(index)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // The length says which of the earlier files this is. That file may still be found for a
                // while after its removal.
                let found = layer
                    .info(&path(index))?
                    .and_then(|found| found.len.checked_sub(1));
                let earlier = found.and_then(|earlier| group[..at].get(earlier as usize));
                return earlier.map(|&earlier| Some((earlier, index))).ok_or(e);
            }
            file => layer.set_len(&file?, at as u64 + 1)?,
        }
    }
    for &index in group {
        layer.remove_file(&path(index))?;
    }
    Ok(None)
}
