//! Finds what earlier transfers left in the output directory. Changes nothing.

use std::path::{Path, PathBuf};

use crate::transfer::block_count;
use crate::transfer::error::{Leftover, LocalError};
use crate::transfer::fs::layer::{Doing, Layer, NodeKind, Room};
use crate::transfer::manifest::Kind;
use crate::transfer::manifest::offer::Offer;
use crate::transfer::names::SafeName;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::disk_room;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::{Found, MAX_CANDIDATES, OWN_NODES, Ours, Staging, examine, leftovers};

/// Most top-level names, besides the first, whose staging directories are looked for.
const MAX_OTHERS: usize = 16;

/// What an earlier run kept of the same transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Blocks that it had verified.
    pub blocks: u32,
    /// Blocks of the whole content.
    pub of: u32,
}

/// A transfer that an earlier run received completely, and that lacks only its final names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complete {
    /// The names it will get.
    pub names: Vec<PathBuf>,
    /// What that run had to do with final names that are taken.
    pub conflicts: Conflicts,
}

/// A top-level name that is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenName {
    /// The name.
    pub name: SafeName,
    /// Whether one of the two is a directory and the other is not. They never replace each other.
    pub is_other_kind: bool,
}

/// What the user should know before accepting an offer.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Prospect {
    /// What is here already of the same transfer.
    pub kept: Option<Kept>,
    /// Transfers that get their final names first.
    pub complete: Vec<Complete>,
    /// Where an interrupted transfer of another list is kept, and how many of its blocks. It is not changed;
    /// equal blocks are copied from it.
    pub other: Option<(PathBuf, u32)>,
    /// Files of an incomplete transfer, to which this one may add.
    pub came: Option<Came>,
    /// Directories with the name of a staging directory that are not ours. They are left alone.
    pub strangers: Vec<PathBuf>,
    /// Whether a later run could resume this transfer.
    pub resumable: bool,
    /// The output directory, if it does not exist yet.
    pub creates: Option<PathBuf>,
    /// Top-level names that are taken.
    pub taken: Vec<TakenName>,
    /// The free space of the output directory.
    pub room: Room,
    /// What interrupted transfers keep there; only filled if there is too little space.
    pub leftovers: Vec<Leftover>,
    /// A transfer that another run is receiving now. Otherwise this run would have continued it.
    pub busy: Option<Leftover>,
}

/// The staging directories that matter for an offer.
pub(crate) struct Survey<F> {
    /// Complete transfers that get their final names first.
    pub(crate) complete: Vec<(Staging, Ours<F>)>,
    /// A transfer of the same manifest.
    pub(crate) same: Option<(Staging, Ours<F>)>,
    /// A transfer of another manifest: one with the same names if there is one, and among those the one with
    /// most blocks.
    pub(crate) other: Option<(Staging, Ours<F>)>,
    /// A note, for another manifest, about the files of an incomplete transfer.
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
    // The entry that came first then may have been added or removed since.
    let others = offer
        .top
        .iter()
        .map(|top| &top.name)
        .filter(|&name| name != first);
    names.extend(others.take(MAX_OTHERS).map(|name| Staging::candidate(name, 0)));
    for (n, staging) in names.into_iter().enumerate() {
        let ours = match examine(layer, &staging).doing(layer, "read", staging.dir())? {
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
        // All pipes of one name have the same list, so a complete one may be another pipe's content. It is
        // not continued.
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

/// Whether no entry of a complete transfer has its final name yet.
fn is_whole<L: Layer>(layer: &L, staging: &Staging, offer: &Offer) -> Result<bool, LocalError> {
    Ok(names_in(layer, staging)?.len() == offer.top_count as usize)
}

fn names_in<L: Layer>(layer: &L, staging: &Staging) -> Result<Vec<PathBuf>, LocalError> {
    staging.staged(layer).doing(layer, "read", staging.data())
}

/// Finds what `offer` would meet in the output directory. Changes nothing.
///
/// # Errors
/// When the directory cannot be read.
pub fn prospect<L: Layer>(layer: &L, offer: &Offer) -> Result<Prospect, LocalError> {
    let mut prospect = Prospect {
        resumable: layer.key().is_lasting(),
        room: layer.room(Path::new("")),
        ..Prospect::default()
    };
    let nodes = u64::from(offer.entries) + OWN_NODES;
    if disk_room::check(&prospect.room, layer.root(), offer.on_disk, nodes, &[]).is_err() {
        prospect.leftovers = leftovers(layer);
    }
    for top in &offer.top {
        let found = layer.info(Path::new(&top.name.to_os()));
        if let Some(found) = found.doing(layer, "read", "")? {
            prospect.taken.push(TakenName {
                name: top.name.clone(),
                is_other_kind: (top.kind == Kind::Dir) != (found.kind == NodeKind::Dir),
            });
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
    // If all names have been given, there is nothing to tell.
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
