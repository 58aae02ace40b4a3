//! Tries out what this disk supports, in a directory of ours and before any content arrives.

mod elsewhere;
pub(crate) mod finals;
mod mounts;
mod names;
mod twins;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeKind, remove_all};
use crate::transfer::fs::{COARSEST_TIME, LEAST_HOLE};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::names::SafeName;
use crate::transfer::sink::hard_links;
use crate::transfer::sink::losses::{Losses, Remark, kept};
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::trial::elsewhere::Doubtful;

/// A file or link that is created to see what the disk makes of it.
const PROBE: &str = "probe";

/// What fails if the trials cannot be made.
const TRY: &str = "try names in";

/// A hard link to it.
const PROBE_LINK: &str = "link";

/// An extended attribute that is set to see whether the disk supports attributes.
const PROBE_ATTRIBUTE: &[u8] = b"user.p2pcopy";

/// Permission bits that differ from what a new file of ours has.
const PROBE_MODE: u16 = 0o640;

/// Any time that is not now: 2001-09-09, in nanoseconds since 1970.
const PROBE_TIME: i64 = 1_000_000_000_000_000_000;

/// Runs the trials in the staging directory, and tries names also in the directories that they go into. `merges`: whether
/// anything goes into directories that exist. Returns the list with names that the disk accepts.
pub(crate) fn run<L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Arc<Manifest>,
    merges: bool,
    losses: &mut Losses,
) -> Result<Arc<Manifest>, LocalError> {
    let mut others = BTreeMap::new();
    let mut home = 0;
    within(layer, &staging.trial(), |trial| {
        probe(layer, trial, manifest, losses).doing(layer, TRY, trial)?;
        home = layer
            .info(trial)
            .doing(layer, TRY, trial)?
            .map_or(0, |found| found.device);
        let all = Doubtful {
            names: manifest.iter().map(|(index, _)| index).collect(),
            alike: manifest.alike(),
        };
        name(layer, trial, manifest, &all, &mut others)
    })?;
    if merges {
        for (dir, doubtful) in elsewhere::find(layer, home, manifest)? {
            // A directory that takes nothing is told later, if something must be written there.
            if layer.check_changeable(&dir, NodeKind::Dir).is_ok() {
                elsewhere::within(layer, &dir, |trial| {
                    name(layer, trial, manifest, &doubtful, &mut others)
                })?;
            }
        }
    }
    if others.is_empty() {
        return Ok(Arc::clone(manifest));
    }
    manifest.keep_apart(&mut others);
    let list = Arc::new(manifest.renamed(&others));
    let renamed = others
        .keys()
        .map(|&index| (manifest.path(index), list.path(index)));
    losses.tell(Remark::Renamed(renamed.collect()));
    Ok(list)
}

/// Does something in the directory `trial`, which is created for it and removed.
fn within<L: Layer>(
    layer: &L,
    trial: &Path,
    work: impl FnOnce(&Path) -> Result<(), LocalError>,
) -> Result<(), LocalError> {
    // A crash may have left the directory.
    remove_all(layer, trial)
        .and_then(|()| layer.create_dir(trial))
        .doing(layer, TRY, trial)?;
    let outcome = work(trial);
    remove_all(layer, trial).doing(layer, TRY, trial)?;
    outcome
}

/// Adds to `others` the names that the directory `trial` does not accept, with names that it does.
fn name<L: Layer>(
    layer: &L,
    trial: &Path,
    manifest: &Manifest,
    doubtful: &Doubtful,
    others: &mut BTreeMap<EntryIndex, SafeName>,
) -> Result<(), LocalError> {
    let mut refused = names::find(layer, trial, manifest, &doubtful.names)?;
    others.append(&mut refused);
    let twins = twins::find(layer, trial, manifest, &doubtful.alike, |index| {
        others.contains_key(index)
    });
    for index in twins.doing(layer, TRY, trial)? {
        // It was made safe when it came; this only gives it the type.
        let name = SafeName::from_peer(manifest.entry(index).name).map_err(io::Error::other);
        others.insert(index, name.doing(layer, TRY, trial)?);
    }
    Ok(())
}

/// Finds out which permissions, times and links the disk keeps.
fn probe<L: Layer>(layer: &L, trial: &Path, manifest: &Manifest, losses: &mut Losses) -> io::Result<()> {
    let path = trial.join(PROBE);
    let file = layer.create_new(&path)?;
    if manifest.holes() > 0 && !layer.punch(&file, 0, LEAST_HOLE)? {
        losses.holes = true;
    }
    if manifest.with_attributes() > 0 {
        losses.set_attribute(layer, &file, PROBE_ATTRIBUTE, b"1")?;
    }
    losses.finish(layer, &file, PROBE_MODE, Some(PROBE_TIME))?;
    // Some file systems accept permissions and forget them at once. Systems other than Unix have none.
    if cfg!(unix) && layer.stat(&file)?.mode != PROBE_MODE {
        losses.tell(Remark::ModesLost);
    }
    drop(file);
    let dated = layer.info(&path)?.map_or(0, |info| info.mtime);
    if dated.abs_diff(PROBE_TIME) > COARSEST_TIME {
        losses.tell(Remark::TimesLost);
    }
    if !manifest.hard_links().is_empty() {
        let other = trial.join(PROBE_LINK);
        if hard_links::link(layer, &path, &other)? {
            layer.remove_file(&other)?;
        } else {
            losses.tell(Remark::HardLinksLost);
        }
    }
    layer.remove_file(&path)?;
    let mut links = manifest.iter().filter(|(_, entry)| entry.kind == Kind::Symlink);
    if let Some((first, _)) = links.next() {
        if kept(layer.symlink(PROBE.as_bytes(), &path))? {
            layer.remove_file(&path)?;
        } else {
            losses.lose_links(std::iter::once(first).chain(links.map(|(index, _)| index)));
        }
    }
    Ok(())
}
