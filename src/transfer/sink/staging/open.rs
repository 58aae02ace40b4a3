//! Creates a staging directory, or continues with an existing one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::hash::Cv;
use crate::transfer::manifest::offer::Offer;
use crate::transfer::names::SafeName;
use crate::transfer::sink::base::Compare;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::journal;
use crate::transfer::sink::journal::{Chain, Journal, JournalHeader, Onto};
use crate::transfer::sink::losses::Losses;
use crate::transfer::sink::place::{self, Conflicts, Rule};
use crate::transfer::sink::staging::survey::{Survey, survey};
use crate::transfer::sink::staging::{MAX_CANDIDATES, Ours, Staging, is_private, sweep};

/// What fails if no staging directory can be made or continued.
const KEEP: &str = "keep what arrives in";

/// An opened staging directory.
pub(crate) struct Opened<F> {
    pub(crate) staging: Staging,
    pub(crate) journal: Journal<F>,
    /// Blocks that an earlier run verified, with their hashes of then.
    pub(crate) kept: BTreeMap<u32, Cv>,
    pub(crate) found: Before,
    /// Other files to compare with the sent content.
    pub(crate) compare: Compare<F>,
    /// Files of an earlier transfer that was not complete.
    pub(crate) came: Came,
    /// The note about those files, if it is in another staging directory, and the lock on it.
    pub(crate) note: Option<(Staging, F)>,
}

/// What a staging directory held when it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// Nothing: it is new.
    Nothing,
    /// An earlier run of the same transfer.
    Same,
}

/// Finds the staging directory of an earlier run of the same transfer, or creates one. Earlier transfers that
/// lack only their final names get them first, by the rule that their users chose. What is kept of other
/// transfers stays unchanged.
pub(crate) fn open<L: Layer>(
    layer: &L,
    offer: &Offer,
    conflicts: Conflicts,
) -> Result<Opened<L::File>, LocalError> {
    let first = offer.top.first().map(|top| &top.name);
    let first = first
        .ok_or(io::ErrorKind::InvalidInput.into())
        .doing(layer, "create", "")?;
    let Survey {
        complete,
        same,
        other,
        mut came,
        ..
    } = survey(layer, offer, first)?;
    let mut compare = match conflicts {
        Conflicts::Update => Compare::Finals { refresh: true },
        Conflicts::Overwrite | Conflicts::Rename => Compare::Nothing,
    };
    for (staging, Ours { file, contents }) in complete {
        let rule = contents.sealed.unwrap_or_default();
        if contents.header.manifest_hash == offer.manifest_hash {
            // This same transfer, interrupted while its entries got their final names.
            let is_merged = rule != Conflicts::Rename || contents.onto == Onto::WhatCame;
            let refresh = is_merged || conflicts == Conflicts::Update;
            compare = Compare::Finals { refresh };
        }
        drop(file);
        let (mut rule, mut note) = (Rule::new(rule), None);
        if contents.onto == Onto::WhatCame {
            // The transfer is complete with this, so its note is no longer needed.
            note = came.take();
            let noted = note.as_ref().map(|(_, ours)| &ours.contents.came);
            rule = rule.adding_to(noted.unwrap_or(&contents.came));
        }
        place::place_all(layer, &staging, rule, None, &mut Losses::default())?;
        if let Some((staging, Ours { file, .. })) = note {
            drop(file);
            staging.remove(layer).doing(layer, "remove", staging.dir())?;
        }
    }
    let (came, note) = came.map_or_else(Default::default, |(staging, ours)| {
        (*ours.contents.came, Some((staging, ours.file)))
    });
    if let Some((staging, Ours { file, contents })) = same {
        let resume = || {
            if layer.info(&staging.data())?.is_none() {
                layer.create_dir(&staging.data())?;
                layer.sync(&layer.open_dir(staging.dir())?)?;
            }
            Journal::resume(layer, file, &contents)
        };
        return Ok(Opened {
            journal: resume().doing(layer, KEEP, staging.dir())?,
            // A note in the own directory is newer.
            came: if contents.came.is_empty() {
                came
            } else {
                *contents.came
            },
            note,
            staging,
            kept: contents.blocks,
            found: Before::Same,
            compare,
        });
    }
    if let (Compare::Nothing, Some((staging, ours))) = (&compare, other) {
        compare = Compare::Kept {
            staging,
            _lock: ours.file,
        };
    }
    let (staging, journal) = create(layer, first, JournalHeader::of(offer)).map_err(|e| {
        let named = Staging::candidate(first, 0);
        match e.kind() {
            io::ErrorKind::ResourceBusy => LocalError::Busy(layer.root().join(named.dir())),
            _ => LocalError::new(KEEP, layer.root().join(named.dir()), e),
        }
    })?;
    Ok(Opened {
        came,
        note,
        staging,
        journal,
        kept: BTreeMap::new(),
        found: Before::Nothing,
        compare,
    })
}

/// Creates a staging directory under a temporary name, then renames it to the first free name. So a directory
/// with the name of a staging directory is always complete and has its journal.
///
/// # Errors
/// The system's error; `ResourceBusy` if all names are taken.
pub(crate) fn create<L: Layer>(
    layer: &L,
    first: &SafeName,
    header: JournalHeader,
) -> io::Result<(Staging, Journal<L::File>)> {
    let named = Staging::candidate(first, 0);
    for n in 0..MAX_CANDIDATES {
        let temporary = Staging::temporary(layer.key(), named.dir(), n);
        match layer.create_dir(temporary.dir()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if !sweep(layer, &temporary)? {
                    continue;
                }
                layer.create_dir(temporary.dir())?;
            }
            other => other?,
        }
        let made = match fill(layer, &temporary, header) {
            // Another run has just started and removed it, because it looked like the remains of a crash.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.and_then(|chain| name(layer, &temporary, first, chain)),
        };
        return match made {
            Ok(Some(made)) => Ok(made),
            Ok(None) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(e) => {
                let _ = temporary.clear(layer);
                Err(e)
            }
        };
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Creates journal and data in a new directory, which must be ours.
fn fill<L: Layer>(layer: &L, staging: &Staging, header: JournalHeader) -> io::Result<Chain> {
    let dir = layer.hold(staging.dir())?;
    let file = layer.create_new(&staging.journal())?;
    layer.try_lock(&file)?;
    let file_stat = layer.stat(&file)?;
    // Some file systems have no permissions, or one owner for everything. There, the directory differs from
    // what was asked for. On other file systems such a difference means that somebody replaced our directory
    // by another one.
    let private = file_stat.mode & 0o077 == 0;
    if dir.owner != file_stat.owner || !is_private(&dir, private) {
        return Err(io::Error::other("another user has put a directory in its place"));
    }
    let chain = journal::start(layer, &file, &JournalHeader { private, ..header }, &dir)?;
    layer.create_dir(&staging.data())?;
    layer.sync(&layer.open_dir(staging.dir())?)?;
    Ok(chain)
}

/// Renames a filled directory to the first free name, and opens its journal there.
fn name<L: Layer>(
    layer: &L,
    temporary: &Staging,
    first: &SafeName,
    chain: Chain,
) -> io::Result<Option<(Staging, Journal<L::File>)>> {
    for n in 0..MAX_CANDIDATES {
        let staging = Staging::candidate(first, n);
        match layer.rename_noreplace(temporary.dir(), staging.dir()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        }
        layer.sync(&layer.open_dir(Path::new(""))?)?;
        let file = layer.open(&staging.journal())?;
        return Ok(layer
            .try_lock(&file)?
            .then(|| (staging, Journal::started(file, chain))));
    }
    temporary.clear(layer).map(|()| None)
}
