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

/// Most names that are tried. Only a list that was made to keep this machine busy has more.
const MOST_TRIED: usize = 10_000;

/// The entries of `groups` whose name is the name of an earlier entry of their group on this disk. Entries for which `skip` is
/// true are left out. `trial` is an empty directory of ours.
pub(crate) fn find<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
    groups: &[Vec<EntryIndex>],
    skip: impl Fn(&EntryIndex) -> bool,
) -> io::Result<Vec<EntryIndex>> {
    let (mut found, mut tried) = (Vec::new(), 0);
    for group in groups {
        let group: Vec<_> = group.iter().copied().filter(|index| !skip(index)).collect();
        tried += group.len();
        if tried > MOST_TRIED {
            break;
        }
        let mut made = Vec::new();
        for index in group {
            let path = trial.join(names::os_from_bytes(manifest.entry(index).name));
            match layer.create_new(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => found.push(index),
                file => {
                    file?;
                    made.push(path);
                }
            }
        }
        for path in made {
            layer.remove_file(&path)?;
        }
    }
    Ok(found)
}
