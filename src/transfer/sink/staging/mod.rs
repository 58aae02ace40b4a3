//! The place where a transfer is received before it gets its final name. It is `NAME.part/` in the output
//! directory and holds `journal` and `data/`. It also holds `names/` while the disk is tried out, and `aside`
//! once parts of blocks must wait.
//!
//! A directory is proved to be ours by its journal, not by its name: the journal was made with the user's key
//! and for this very directory ([`crate::transfer::sink::journal`]). Any other directory with such a name
//! belongs to a stranger: nothing in it is placed, emptied or removed, and another name is used. Our own are
//! created and removed under a temporary name that is itself a proof, so after a crash ours can always be
//! told from a stranger's.

mod open;
pub(crate) mod survey;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use self::open::create;
pub(crate) use self::open::{Before, open};
#[cfg(test)]
pub(crate) use self::survey::TakenName;
pub(crate) use self::survey::{Prospect, prospect};
use crate::transfer::error::{Leftover, LocalError};
use crate::transfer::fs::layer::{Doing, Layer, NodeInfo, NodeKind, Stat, remove_all};
use crate::transfer::fs::owner::{OwnerKey, Purpose};
use crate::transfer::names::SafeName;
use crate::transfer::sink::journal::JournalContents;

const JOURNAL: &str = "journal";
const DATA: &str = "data";
const TRIAL: &str = "names";
const ASIDE: &str = "aside";
const SUFFIX: &str = ".part";
const TEMPORARY: &str = "p2pcopy-";

/// Whether this may be the name of a staging directory. The name alone does not prove that it is one.
pub(crate) fn is_part(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(SUFFIX.as_bytes())
}

/// Whether staging directories hold something of this name.
pub(crate) fn is_inside(name: &OsStr) -> bool {
    [JOURNAL, DATA, TRIAL, ASIDE]
        .into_iter()
        .any(|known| name == known)
}

/// Files and directories that are made besides the received ones: the directory, `journal`, `data/`,
/// `names/`, and one thing in `names/`.
pub(crate) const OWN_NODES: u64 = 5;

/// Most staging directories with the same base name that are tried before giving up.
const MAX_CANDIDATES: u32 = 100;

/// A staging directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Staging {
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

    /// The `n`th temporary name, under which the directory `name` is created and removed, or a copy of the file
    /// that will have this path.
    pub(crate) fn temporary(key: &OwnerKey, name: &Path, n: u32) -> Staging {
        let name = name.as_os_str().as_encoded_bytes();
        let [a, b, c, d, ..] = *key.mac(Purpose::Nonce, &[&n.to_be_bytes(), name]).as_bytes();
        let nonce = u32::from_be_bytes([a, b, c, d]);
        Staging {
            dir: PathBuf::from(temporary_name(key, nonce)),
        }
    }

    /// Whether its name proves that this program was creating or removing it.
    fn is_temporary(&self, key: &OwnerKey) -> bool {
        let nonce = self
            .dir
            .to_str()
            .and_then(|name| name.strip_prefix(TEMPORARY)?.get(..8))
            .and_then(|nonce| u32::from_str_radix(nonce, 16).ok());
        nonce.is_some_and(|nonce| self.dir.as_os_str() == temporary_name(key, nonce).as_str())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name and how many bytes are in it now.
    fn leftover<L: Layer>(&self, layer: &L) -> Leftover {
        Leftover {
            name: self.dir.clone(),
            bytes: size(layer, &self.dir),
        }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    /// The names of what is received into it, as long as it has `data/`.
    pub(super) fn staged<L: Layer>(&self, layer: &L) -> io::Result<Vec<PathBuf>> {
        if layer.info(&self.data())?.is_none() {
            return Ok(Vec::new());
        }
        Ok(layer.list(&self.data())?.into_iter().map(PathBuf::from).collect())
    }

    /// The file in which parts of blocks wait.
    pub(super) fn aside(&self) -> PathBuf {
        self.dir.join(ASIDE)
    }

    /// The directory in which names, permissions, times and links are tried out.
    pub(crate) fn trial(&self) -> PathBuf {
        self.dir.join(TRIAL)
    }

    /// Removes the staging directory with everything in it. It is renamed to a temporary name first: from
    /// then on a crash cannot leave it half empty under its real name.
    pub(crate) fn remove<L: Layer>(&self, layer: &L) -> io::Result<()> {
        if self.is_temporary(layer.key()) {
            return self.clear(layer);
        }
        for n in 0..MAX_CANDIDATES {
            let other = Staging::temporary(layer.key(), &self.dir, n);
            match layer.rename_noreplace(&self.dir, &other.dir) {
                Ok(()) => {
                    layer.sync(&layer.open_dir(Path::new(""))?)?;
                    return match other.clear(layer) {
                        // Ours is empty, so somebody has put another one in its place. That one gets its name
                        // back.
                        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                            layer.rename_noreplace(&other.dir, &self.dir)
                        }
                        cleared => cleared,
                    };
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    sweep(layer, &other)?;
                }
                // Another run found it complete and removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                // With a used-up quota no rename is possible, and this directory may be what used the quota
                // up. Then the journal is removed first, so that no crash leaves half a transfer that looks
                // complete.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                    ) =>
                {
                    layer.remove_file(&self.journal())?;
                    return self.clear(layer);
                }
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes everything in it, and the journal last.
    fn clear<L: Layer>(&self, layer: &L) -> io::Result<()> {
        for name in layer.list(&self.dir)?.into_iter().filter(|name| name != JOURNAL) {
            remove_all(layer, &self.dir.join(name))?;
        }
        if layer.info(&self.journal())?.is_some() {
            layer.remove_file(&self.journal())?;
        }
        layer.remove_dir(&self.dir)
    }
}

fn temporary_name(key: &OwnerKey, nonce: u32) -> String {
    let tag = key.mac(Purpose::Name, &[&nonce.to_be_bytes()]);
    format!("{TEMPORARY}{nonce:08x}{}{SUFFIX}", &tag.to_hex()[..16])
}

/// A directory that this user's program made.
pub(crate) struct Ours<F> {
    /// Its journal, locked.
    pub(crate) file: F,
    pub(crate) contents: JournalContents,
}

enum Found<F> {
    Nothing,
    /// Nothing proves that it is ours.
    Stranger,
    /// Ours, and another process is receiving into it.
    Busy,
    /// Ours. The layer holds it ([`Layer::hold`]).
    Ours(Ours<F>),
}

/// Whether only the user has access. Always true if the file system keeps no permission bits.
fn is_private(dir: &Stat, private: bool) -> bool {
    !private || dir.mode & 0o077 == 0
}

fn examine<L: Layer>(layer: &L, staging: &Staging) -> io::Result<Found<L::File>> {
    match layer.info(staging.dir())?.map(|found| found.kind) {
        None => return Ok(Found::Nothing),
        Some(NodeKind::Dir) => {}
        Some(_) => return Ok(Found::Stranger),
    }
    let found = prove(layer, staging);
    if !matches!(found, Ok(Found::Ours(_))) {
        layer.release(staging.dir());
    }
    match found {
        // We can read what we made ourselves, so it is not ours.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Found::Stranger),
        other => other,
    }
}

fn prove<L: Layer>(layer: &L, staging: &Staging) -> io::Result<Found<L::File>> {
    let dir = layer.hold(staging.dir())?;
    if layer.info(&staging.journal())?.map(|found| found.kind) != Some(NodeKind::File) {
        return Ok(Found::Stranger);
    }
    let file = layer.open_read(&staging.journal())?;
    let Some(contents) = JournalContents::open(layer, &file, &dir)? else {
        return Ok(Found::Stranger);
    };
    if !is_private(&dir, contents.header.private) {
        return Ok(Found::Stranger);
    }
    // From here on only this user can have changed it.
    let (file, mut contents) = (layer.open(&staging.journal())?, contents);
    if !layer.try_lock(&file)? {
        return Ok(Found::Busy);
    }
    contents.read(layer, &file)?;
    Ok(Found::Ours(Ours { file, contents }))
}

/// Removes what a crash left under a temporary name. False if something else is there, or another run uses
/// it.
fn sweep<L: Layer>(layer: &L, staging: &Staging) -> io::Result<bool> {
    if !staging.is_temporary(layer.key()) {
        return Ok(false);
    }
    match examine(layer, staging)? {
        Found::Nothing => return Ok(true),
        Found::Busy => return Ok(false),
        Found::Ours(ours) => {
            // Some systems do not remove a directory while a file in it is open.
            drop(ours);
            return staging.clear(layer).map(|()| true);
        }
        Found::Stranger => {}
    }
    // The name alone is not enough to remove somebody's files. Only an empty directory is removed, or one
    // with a journal that was just begun.
    let outcome = layer.hold(staging.dir()).and_then(|_| {
        let begun = |info: NodeInfo| info.kind == NodeKind::File && info.len <= JournalContents::LEAST;
        let names = layer.list(staging.dir())?;
        if names.iter().any(|name| name != JOURNAL) {
            return Ok(false);
        }
        if !names.is_empty() {
            if !layer.info(&staging.journal())?.is_some_and(begun) {
                return Ok(false);
            }
            layer.remove_file(&staging.journal())?;
        }
        layer.remove_dir(staging.dir()).map(|()| true)
    });
    layer.release(staging.dir());
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        other => other,
    }
}

/// Bytes in the files of a directory, as far as they can be read.
fn size<L: Layer>(layer: &L, dir: &Path) -> u64 {
    let (mut bytes, mut open) = (0, vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for name in layer.list(&dir).unwrap_or_default() {
            let path = dir.join(name);
            match layer.info(&path) {
                Ok(Some(found)) if found.kind == NodeKind::Dir => open.push(path),
                Ok(Some(found)) => bytes += found.len,
                _ => {}
            }
        }
    }
    bytes
}

/// What this user's interrupted transfers keep in the output directory, as far as it can be read. Running
/// transfers are left out.
pub(crate) fn leftovers<L: Layer>(layer: &L) -> Vec<Leftover> {
    let names = layer.list(Path::new("")).unwrap_or_default();
    let staged = names
        .into_iter()
        .filter(|name| is_part(name))
        .map(|name| Staging {
            dir: PathBuf::from(name),
        });
    let ours = staged.filter(|staging| matches!(examine(layer, staging), Ok(Found::Ours(_))));
    let found = ours.map(|staging| {
        let leftover = staging.leftover(layer);
        layer.release(staging.dir());
        leftover
    });
    found.collect()
}

/// Adds what is kept in the output directory to an error about too little space.
pub(crate) fn with_leftovers<L: Layer>(layer: &L, mut error: LocalError) -> LocalError {
    if let LocalError::TooLittleSpace { leftovers: kept, .. }
    | LocalError::TooFewNodes { leftovers: kept, .. } = &mut error
    {
        *kept = leftovers(layer);
    }
    error
}

/// Removes what interrupted transfers left in the output directory, except running ones. Returns what it
/// removed.
///
/// # Errors
/// If the directory cannot be read, or something in it cannot be removed.
pub fn discard<L: Layer>(layer: &L) -> Result<Vec<Leftover>, LocalError> {
    let mut removed = Vec::new();
    let names = layer.list(Path::new("")).doing(layer, "read", "")?;
    for name in names {
        if !is_part(&name) {
            continue;
        }
        let staging = Staging {
            dir: PathBuf::from(name),
        };
        let leftover = staging.leftover(layer);
        let gone = || {
            if staging.is_temporary(layer.key()) {
                return sweep(layer, &staging);
            }
            match examine(layer, &staging)? {
                Found::Ours(ours) => {
                    // Some systems do not move a directory while a file in it is open.
                    drop(ours);
                    staging.remove(layer).map(|()| true)
                }
                _ => Ok(false),
            }
        };
        if gone().doing(layer, "remove", staging.dir())? {
            removed.push(leftover);
        }
    }
    Ok(removed)
}
