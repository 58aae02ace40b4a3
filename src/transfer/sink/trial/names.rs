//! Finds names that this disk refuses or changes.
//!
//! What a disk refuses depends on its file system, on how it was formatted and mounted, and on the server
//! behind it. So nothing is guessed: names that contain something that some file system refuses are tried
//! out. If the disk accepts a name, everything in that name counts as accepted, so few names are tried on a
//! disk that accepts everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::manifest::{EntryIndex, Manifest};
use crate::transfer::names::{self, Doubt, SafeName};

/// Most names that are tried.
const MOST_TRIED: usize = 10_000;

/// So often must a name be refused for one reason before that is believed untried. A mailbox may have a colon in each of its
/// names, and a slow stick takes a millisecond for one.
const ENOUGH: usize = 100;

/// Those of `entries` whose names this disk does not accept, with names that it does. `trial` is an empty directory of ours.
pub(crate) fn find<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
    entries: &[EntryIndex],
) -> Result<BTreeMap<EntryIndex, SafeName>, LocalError> {
    let (mut cleared, mut refused) = (HashSet::<Doubt>::new(), HashMap::<Doubt, usize>::new());
    let (mut tried, mut renamed) = (0, BTreeMap::new());
    for &index in entries {
        let entry = manifest.entry(index);
        let doubts: Vec<Doubt> = names::doubts(entry.name)
            .filter(|doubt| !cleared.contains(doubt))
            .collect();
        if doubts.is_empty() {
            continue;
        }
        let others = || names::more_and_more_plain(entry.name, entry.parent.is_none());
        let times = doubts.iter().filter_map(|doubt| refused.get(doubt)).max();
        let is_clear = |name: &SafeName| names::doubts(name.as_bytes()).all(|doubt| cleared.contains(&doubt));
        if times.is_some_and(|&times| times >= ENOUGH || tried == MOST_TRIED)
            && let Some(other) = others().find(is_clear)
        {
            renamed.insert(index, other);
            continue;
        }
        if tried == MOST_TRIED {
            continue;
        }
        tried += 1;
        let taken = take(layer, trial, entry.name);
        let Err(error) = taken.doing(layer, "create", manifest.path(index))? else {
            cleared.extend(doubts);
            continue;
        };
        if let [doubt] = doubts[..] {
            *refused.entry(doubt).or_default() += 1;
        }
        let other = others().find_map(|name| match take(layer, trial, name.as_bytes()) {
            Ok(Ok(())) => Some(Ok(name)),
            Ok(Err(_)) => None,
            Err(e) => Some(Err(e)),
        });
        let other = other.unwrap_or(Err(error));
        renamed.insert(index, other.doing(layer, "create", manifest.path(index))?);
    }
    Ok(renamed)
}

/// Tries whether a file can have this name. The outer error is not about the name.
fn take<L: Layer>(layer: &L, trial: &Path, name: &[u8]) -> io::Result<io::Result<()>> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotFound, PermissionDenied, Unsupported};
    match layer.create_new(&trial.join(names::os_from_bytes(name))) {
        // Other files have just been made here, so the name is the reason. FUSE file systems return all of
        // these errors.
        Err(e)
            if matches!(
                e.kind(),
                InvalidFilename | InvalidInput | NotFound | PermissionDenied | Unsupported
            ) =>
        {
            return Ok(Err(e));
        }
        other => drop(other?),
    }
    // Some file systems store another name and report no error: FAT leaves out a dot at the end.
    let mut same = true;
    for stored in layer.list(trial)? {
        same &= names::likeness(&names::bytes_from_os(&stored)) == names::likeness(name);
        layer.remove_file(&trial.join(stored))?;
    }
    Ok(if same {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidFilename.into())
    })
}
