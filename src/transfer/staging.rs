//! Where a transfer is received before it has its final name: `NAME.part/` in the output directory, holding
//! `journal` and `data/`.
//!
//! A directory of that name that is not ours is left alone and another name taken. Ours are known by an intact
//! journal, or by being empty (a crash just after creation, or just before removal).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::block_count;
use super::blocks::Cv;
use super::error::LocalError;
use super::journal::{Journal, JournalContents, JournalHeader};
use super::layer::{Layer, NodeInfo, NodeKind, remove_all};
use super::names::SafeName;
use super::offer::Offer;
use super::place::{self, Conflicts};

const JOURNAL: &str = "journal";
const DATA: &str = "data";
const TRIAL: &str = "names";
const SUFFIX: &str = ".part";

/// Whether a directory of this name may be one of ours.
pub(super) fn is_part(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(SUFFIX.as_bytes())
}

/// Whether ours hold something of this name.
pub(super) fn is_inside(name: &OsStr) -> bool {
    [JOURNAL, DATA, TRIAL].into_iter().any(|known| name == known)
}

/// Most directories of one name that are tried before giving up.
const MAX_CANDIDATES: u32 = 100;

/// A staging directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Staging {
    dir: PathBuf,
}

impl Staging {
    fn candidate(first: &SafeName, n: u32) -> Staging {
        let name = if n == 0 {
            first.with_suffix(SUFFIX)
        } else {
            first.with_suffix(&format!(" ({n}){SUFFIX}"))
        };
        Staging {
            dir: PathBuf::from(name.to_os()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    /// Where names are tried out.
    pub(super) fn trial(&self) -> PathBuf {
        self.dir.join(TRIAL)
    }

    /// Removes the staging directory with all that is in it. The journal goes last: what a crash leaves is still
    /// known for ours.
    pub(super) fn clear<L: Layer>(&self, layer: &L) -> io::Result<()> {
        remove_all(layer, &self.data())?;
        for name in layer.list(&self.dir)? {
            remove_all(layer, &self.dir.join(name))?;
        }
        layer.remove_dir(&self.dir)
    }

    /// Removes the empty staging directory after success. In this order, so that a crash leaves what
    /// [`examine`] knows for ours.
    pub(super) fn remove<L: Layer>(&self, layer: &L) -> io::Result<()> {
        layer.remove_dir(&self.data())?;
        layer.remove_file(&self.journal())?;
        layer.remove_dir(&self.dir)
    }
}

enum Found<F> {
    Nothing,
    Foreign,
    /// Ours, without a journal: nothing in it is worth keeping.
    Empty,
    /// Ours, and being received into by another process.
    Busy,
    Ours(F, JournalContents),
}

fn examine<L: Layer>(layer: &L, staging: &Staging) -> io::Result<Found<L::File>> {
    match layer.info(staging.dir())? {
        None => return Ok(Found::Nothing),
        Some(NodeInfo {
            kind: NodeKind::Dir, ..
        }) => {}
        Some(_) => return Ok(Found::Foreign),
    }
    let nothing_received = || -> io::Result<bool> {
        let others = layer
            .list(staging.dir())?
            .into_iter()
            .any(|n| n != JOURNAL && n != DATA);
        let data = layer.info(&staging.data())?;
        Ok(!others
            && match data {
                None => true,
                Some(NodeInfo {
                    kind: NodeKind::Dir, ..
                }) => layer.list(&staging.data())?.is_empty(),
                Some(_) => false,
            })
    };
    if !matches!(
        layer.info(&staging.journal())?,
        Some(NodeInfo {
            kind: NodeKind::File,
            ..
        })
    ) {
        return Ok(if nothing_received()? {
            Found::Empty
        } else {
            Found::Foreign
        });
    }
    let file = layer.open(&staging.journal())?;
    if !layer.try_lock(&file)? {
        return Ok(Found::Busy);
    }
    let mut bytes = vec![0; usize::try_from(layer.len(&file)?).unwrap_or(usize::MAX)];
    layer.read_at(&file, 0, &mut bytes)?;
    Ok(match JournalContents::decode(&bytes) {
        Ok(contents) => Found::Ours(file, contents),
        Err(_) if nothing_received()? => Found::Empty,
        Err(_) => Found::Foreign,
    })
}

/// What an earlier run kept of the same transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Blocks it had verified.
    pub blocks: u32,
    /// Blocks of the content as it was then.
    pub of: u32,
    /// Whether the sender's files changed since; they are then compared block by block.
    pub changed: bool,
}

impl Kept {
    /// How much is kept, in whole percent, rounded down.
    pub fn percent(&self) -> u8 {
        (u64::from(self.blocks) * 100 / u64::from(self.of.max(1))).min(100) as u8
    }
}

/// What the user should know before saying yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prospect {
    /// What is there of the same transfer already.
    pub kept: Option<Kept>,
    /// Top-level names that are taken.
    pub taken: Vec<SafeName>,
    /// Bytes free, where that can be known.
    pub free: Option<u64>,
}

/// Looks around in the output directory for what `offer` would meet there. Changes nothing.
///
/// # Errors
/// When the directory cannot be read.
pub fn prospect<L: Layer>(layer: &L, offer: &Offer) -> Result<Prospect, LocalError> {
    let at_root = |e| LocalError::new("read", layer.root(), e);
    let mut prospect = Prospect {
        kept: None,
        taken: Vec::new(),
        free: layer.free_space(),
    };
    for top in &offer.top {
        if layer
            .info(Path::new(&top.name.to_os()))
            .map_err(at_root)?
            .is_some()
        {
            prospect.taken.push(top.name.clone());
        }
    }
    let Some(first) = offer.top.first() else {
        return Ok(prospect);
    };
    for n in 0..MAX_CANDIDATES {
        match examine(layer, &Staging::candidate(&first.name, n)).map_err(at_root)? {
            Found::Nothing => break,
            Found::Ours(_, journal) if journal.header.names_hash == offer.names_hash => {
                prospect.kept = Some(Kept {
                    blocks: journal.blocks.len() as u32,
                    of: block_count(journal.header.total.unwrap_or(0)),
                    changed: journal.header.manifest_hash != offer.manifest_hash,
                });
                break;
            }
            _ => {}
        }
    }
    Ok(prospect)
}

/// An opened staging directory.
pub(super) struct Opened<F> {
    pub(super) staging: Staging,
    pub(super) journal: Journal<F>,
    /// Blocks an earlier run verified, by their hashes then.
    pub(super) kept: BTreeMap<u32, Cv>,
    pub(super) found: Before,
}

/// What was in a staging directory when it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Before {
    /// It is new.
    Nothing,
    /// The same transfer.
    Same,
    /// The same names with other sizes or times.
    Changed,
}

/// Finds the staging directory of an earlier run of the same transfer, or makes a new one. A transfer that only
/// lacked its final names is given them first.
pub(super) fn open<L: Layer>(
    layer: &L,
    offer: &Offer,
    conflicts: Conflicts,
) -> Result<Opened<L::File>, LocalError> {
    let first = offer.top.first().map(|top| &top.name).ok_or_else(|| {
        LocalError::new(
            "create",
            layer.root(),
            io::Error::from(io::ErrorKind::InvalidInput),
        )
    })?;
    let header = JournalHeader {
        manifest_hash: offer.manifest_hash,
        names_hash: offer.names_hash,
        total: (!offer.stream).then_some(offer.bytes),
    };
    let mut n = 0;
    while n < MAX_CANDIDATES {
        let staging = Staging::candidate(first, n);
        let failed = |e| LocalError::new("keep what arrives in", layer.root().join(staging.dir()), e);
        match examine(layer, &staging).map_err(failed)? {
            Found::Nothing => {
                layer.create_dir(staging.dir()).map_err(failed)?;
                return create(layer, staging.clone(), &header).map_err(failed);
            }
            Found::Empty => {
                remove_all(layer, &staging.data()).map_err(failed)?;
                remove_all(layer, &staging.journal()).map_err(failed)?;
                return create(layer, staging.clone(), &header).map_err(failed);
            }
            Found::Ours(file, journal) if journal.sealed.is_some() => {
                place::place_all(layer, &staging, conflicts, None)?;
                // Its names are settled; what is offered now starts afresh under this number.
                drop(file);
                continue;
            }
            Found::Ours(file, journal) if journal.header.names_hash == offer.names_hash => {
                return resume(layer, staging.clone(), file, journal, &header).map_err(failed);
            }
            Found::Ours(..) | Found::Foreign | Found::Busy => n += 1,
        }
    }
    Err(LocalError::Busy(
        layer.root().join(Staging::candidate(first, 0).dir()),
    ))
}

fn create<L: Layer>(layer: &L, staging: Staging, header: &JournalHeader) -> io::Result<Opened<L::File>> {
    let journal = Journal::create(layer, &staging.journal(), header, &BTreeMap::new())?;
    layer.create_dir(&staging.data())?;
    layer.sync(&layer.open_dir(staging.dir())?)?;
    layer.sync(&layer.open_dir(Path::new(""))?)?;
    Ok(Opened {
        staging,
        journal,
        kept: BTreeMap::new(),
        found: Before::Nothing,
    })
}

fn resume<L: Layer>(
    layer: &L,
    staging: Staging,
    file: L::File,
    contents: JournalContents,
    header: &JournalHeader,
) -> io::Result<Opened<L::File>> {
    let found = if contents.header == *header {
        Before::Same
    } else {
        Before::Changed
    };
    if layer.info(&staging.data())?.is_none() {
        layer.create_dir(&staging.data())?;
    }
    let journal = if found == Before::Same {
        Journal::resume(layer, file, contents.intact)?
    } else {
        // A new header, put in place in one step; the old one's records are still worth comparing with.
        let fresh = staging.dir().join("journal.new");
        remove_all(layer, &fresh)?;
        let journal = Journal::create(layer, &fresh, header, &contents.blocks)?;
        layer.rename_replace(&fresh, &staging.journal())?;
        layer.sync(&layer.open_dir(staging.dir())?)?;
        journal
    };
    Ok(Opened {
        staging,
        journal,
        kept: contents.blocks,
        found,
    })
}

/// Removes what interrupted transfers left in the output directory, except those that are running. Returns the
/// names of what was removed.
///
/// # Errors
/// When the directory cannot be read or something in it not removed.
pub fn discard<L: Layer>(layer: &L) -> Result<Vec<PathBuf>, LocalError> {
    let mut removed = Vec::new();
    let names = layer
        .list(Path::new(""))
        .map_err(|e| LocalError::new("read", layer.root(), e))?;
    for name in names {
        if !is_part(&name) {
            continue;
        }
        let staging = Staging {
            dir: PathBuf::from(name),
        };
        let failed = |e| LocalError::new("remove", layer.root().join(staging.dir()), e);
        if let Found::Ours(..) = examine(layer, &staging).map_err(failed)? {
            staging.clear(layer).map_err(failed)?;
            removed.push(staging.dir);
        }
    }
    Ok(removed)
}
