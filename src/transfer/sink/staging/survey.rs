//! What lies in the output directory of earlier transfers. Looking changes nothing.

use std::path::{Path, PathBuf};

use crate::transfer::block_count;
use crate::transfer::error::{Leftover, LocalError};
use crate::transfer::fs::layer::{Layer, Room};
use crate::transfer::manifest::offer::Offer;
use crate::transfer::names::SafeName;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::need;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::{Found, MAX_CANDIDATES, OWN_NODES, Ours, Staging, examine, leftovers};

/// Most top-level names beside the first whose staging directories are looked for.
const MAX_OTHERS: usize = 16;

/// What an earlier run kept of the same transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Blocks it had verified.
    pub blocks: u32,
    /// Blocks of the content.
    pub of: u32,
}

/// What an earlier run received whole, and only lacks its final names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complete {
    /// The names.
    pub names: Vec<PathBuf>,
    /// What that run was to do where they are taken.
    pub conflicts: Conflicts,
}

/// What the user should know before saying yes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Prospect {
    /// What is there of the same transfer already.
    pub kept: Option<Kept>,
    /// What is put in place first.
    pub complete: Vec<Complete>,
    /// Where an interrupted transfer of another list is kept, and how many blocks of it. It is not touched; blocks that
    /// are equal are copied.
    pub other: Option<(PathBuf, u32)>,
    /// What came of a transfer that was not complete, and to which this one may add.
    pub came: Option<Came>,
    /// What has the name of a staging directory and is not ours. It is left alone.
    pub strangers: Vec<PathBuf>,
    /// Whether a later run could resume this transfer.
    pub resumable: bool,
    /// The output directory, if it is yet to be made.
    pub creates: Option<PathBuf>,
    /// Top-level names that are taken.
    pub taken: Vec<SafeName>,
    /// What is free there.
    pub room: Room,
    /// Where there is too little: what interrupted transfers keep there.
    pub leftovers: Vec<Leftover>,
    /// What another run is receiving into now, which would have been gone on with otherwise.
    pub busy: Option<Leftover>,
}

/// The directories that matter to an offer.
pub(crate) struct Survey<F> {
    /// Complete, and to be placed first.
    pub(crate) complete: Vec<(Staging, Ours<F>)>,
    /// Of the same manifest.
    pub(crate) same: Option<(Staging, Ours<F>)>,
    /// Of another manifest: one of the same names if there is one, and of those the one with most blocks.
    pub(crate) other: Option<(Staging, Ours<F>)>,
    /// Of another manifest: the note of what came of a transfer that was not complete.
    pub(crate) came: Option<(Staging, Ours<F>)>,
    pub(crate) strangers: Vec<PathBuf>,
    pub(crate) busy: Option<Staging>,
}

/// Looks at every directory that an earlier run may have made for the first name of `offer`.
pub(crate) fn survey<L: Layer>(
    layer: &L,
    offer: &Offer,
    first: &SafeName,
) -> Result<Survey<L::File>, LocalError> {
    let mut survey = Survey {
        complete: Vec::new(),
        same: None,
        other: None,
        came: None,
        strangers: Vec::new(),
        busy: None,
    };
    let mut names: Vec<Staging> = (0..MAX_CANDIDATES)
        .map(|n| Staging::candidate(first, n))
        .collect();
    let usual = names.len();
    // What came first then may have come or gone since.
    let others = offer
        .top
        .iter()
        .map(|top| &top.name)
        .filter(|&name| name != first);
    names.extend(others.take(MAX_OTHERS).map(|name| Staging::candidate(name, 0)));
    for (n, staging) in names.into_iter().enumerate() {
        let failed = |e| LocalError::new("read", layer.root().join(staging.dir()), e);
        let ours = match examine(layer, &staging).map_err(failed)? {
            Found::Nothing => continue,
            Found::Busy => {
                if n < usual {
                    survey.busy.get_or_insert(staging);
                }
                continue;
            }
            Found::Stranger if n >= usual => continue,
            Found::Stranger => {
                survey.strangers.push(staging.dir);
                continue;
            }
            Found::Ours(ours) => ours,
        };
        let header = &ours.contents.header;
        let same = header.manifest_hash == offer.manifest_hash;
        let rank = |ours: &Ours<L::File>| {
            let named = ours.contents.header.names_hash == offer.names_hash;
            (named, ours.contents.blocks.len())
        };
        let is_best = |so_far: &Option<(Staging, Ours<L::File>)>| {
            so_far.as_ref().is_none_or(|(_, best)| rank(best) < rank(&ours))
        };
        let sealed = ours.contents.sealed.is_some();
        // All pipes of one name have the same list: what another one brought whole is not gone on with.
        let goes_on = same && !offer.stream;
        let at = if n < usual && sealed && !(goes_on && is_whole(layer, &staging, offer)?) {
            survey.complete.push((staging, ours));
            continue;
        } else if n < usual && same && is_best(&survey.same) {
            &mut survey.same
        } else if !same && !sealed && !ours.contents.came.is_empty() && survey.came.is_none() {
            &mut survey.came
        } else if !same && !sealed && !offer.stream && is_best(&survey.other) {
            &mut survey.other
        } else {
            layer.release(staging.dir());
            continue;
        };
        if let Some((staging, _)) = at.replace((staging, ours)) {
            layer.release(staging.dir());
        }
    }
    Ok(survey)
}

/// Whether nothing of a complete transfer has its final name yet.
fn is_whole<L: Layer>(layer: &L, staging: &Staging, offer: &Offer) -> Result<bool, LocalError> {
    Ok(names_in(layer, staging)?.len() == offer.top_count as usize)
}

fn names_in<L: Layer>(layer: &L, staging: &Staging) -> Result<Vec<PathBuf>, LocalError> {
    let failed = |e| LocalError::new("read", layer.root().join(staging.data()), e);
    if layer.info(&staging.data()).map_err(failed)?.is_none() {
        return Ok(Vec::new());
    }
    let names = layer.list(&staging.data()).map_err(failed)?;
    Ok(names.into_iter().map(PathBuf::from).collect())
}

/// Looks around in the output directory for what `offer` would meet there. Changes nothing.
///
/// # Errors
/// When the directory cannot be read.
pub fn prospect<L: Layer>(layer: &L, offer: &Offer) -> Result<Prospect, LocalError> {
    let mut prospect = Prospect {
        resumable: layer.key().is_lasting(),
        room: layer.room(),
        ..Prospect::default()
    };
    let nodes = u64::from(offer.entries) + OWN_NODES;
    if need::check(&prospect.room, layer.root(), offer.on_disk, nodes, &[]).is_err() {
        prospect.leftovers = leftovers(layer);
    }
    for top in &offer.top {
        let found = layer.info(Path::new(&top.name.to_os()));
        if found
            .map_err(|e| LocalError::new("read", layer.root(), e))?
            .is_some()
        {
            prospect.taken.push(top.name.clone());
        }
    }
    let Some(first) = offer.top.first() else {
        return Ok(prospect);
    };
    let survey = survey(layer, offer, &first.name)?;
    for (staging, ours) in &survey.complete {
        prospect.complete.push(Complete {
            names: names_in(layer, staging)?,
            conflicts: ours.contents.sealed.unwrap_or_default(),
        });
    }
    // Names that all have been given are no news.
    prospect.complete.retain(|complete| !complete.names.is_empty());
    let noted = survey.same.iter().chain(&survey.came);
    prospect.came = noted
        .map(|(_, ours)| &*ours.contents.came)
        .find(|came| !came.is_empty())
        .cloned();
    prospect.kept = survey.same.map(|(_, ours)| Kept {
        blocks: ours.contents.blocks.len() as u32,
        of: block_count(ours.contents.header.total.unwrap_or(0)),
    });
    if prospect.kept.is_none() {
        prospect.other = survey
            .other
            .filter(|(_, ours)| !ours.contents.blocks.is_empty())
            .map(|(staging, ours)| (staging.dir, ours.contents.blocks.len() as u32));
    }
    prospect.strangers = survey.strangers;
    prospect.busy = survey.busy.map(|staging| staging.leftover(layer));
    Ok(prospect)
}
