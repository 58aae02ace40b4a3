//! Finds names that this disk refuses or changes.
//!
//! What a disk refuses depends on its file system, on how it was formatted and mounted, and on the server
//! behind it. So nothing is guessed: names that contain something that some file system refuses are tried
//! out. If the disk accepts a name, everything in that name counts as accepted, so few names are tried on a
//! disk that accepts everything.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::manifest::{EntryIndex, Manifest};
use crate::transfer::names::{self, Doubt, SafeName};
use crate::transfer::sink::trial::MOST_TRIED;

/// The entries whose names this disk does not accept, with names that it does. `trial` is an empty directory
/// of ours.
pub(crate) fn find<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
) -> Result<BTreeMap<EntryIndex, SafeName>, LocalError> {
    let (mut cleared, mut tried, mut renamed) = (HashSet::<Doubt>::new(), 0, BTreeMap::new());
    for (index, entry) in manifest.iter() {
        let doubts: Vec<Doubt> = names::doubts(entry.name)
            .filter(|doubt| !cleared.contains(doubt))
            .collect();
        if doubts.is_empty() {
            continue;
        }
        tried += 1;
        if tried > MOST_TRIED {
            break;
        }
        let taken = take(layer, trial, entry.name);
        let Err(refused) = taken.doing(layer, "create", manifest.path(index))? else {
            cleared.extend(doubts);
            continue;
        };
        let mut others = names::more_and_more_plain(entry.name, entry.parent.is_none());
        let other = others.find_map(|name| match take(layer, trial, name.as_bytes()) {
            Ok(Ok(())) => Some(Ok(name)),
            Ok(Err(_)) => None,
            Err(e) => Some(Err(e)),
        });
        let other = other.unwrap_or(Err(refused));
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
