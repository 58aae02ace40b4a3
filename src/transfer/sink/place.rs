//! The last steps of a receive: sync, final names, cleaning up.
//!
//! Invariant: something gets its final name by one rename, and only when it is complete, verified and synced.
//! The journal is sealed before the first rename, so the next run can repair a crash between two renames
//! without the sender.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeInfo, NodeKind};
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
use crate::transfer::names;
use crate::transfer::names::SafeName;
use crate::transfer::sink::across;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::hard_links;
use crate::transfer::sink::losses::{Losses, Remark, kept};
use crate::transfer::sink::staging::Staging;

/// Up to this many files are synced one by one. For more, one call syncs the whole file system where the
/// system has such a call.
const FEW_FILES: usize = 32;

/// What to do when a final name is taken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Conflicts {
    /// Use another name: `name (1)`.
    #[default]
    Rename = 0,
    /// Replace files and merge directories.
    Overwrite = 1,
    /// As [`Conflicts::Overwrite`], but compare first what is already there, so that only the differences are
    /// sent. The peer learns from this what lies under the names it sends.
    Update = 2,
}

impl Conflicts {
    /// The rule that has this number in a journal.
    pub(crate) fn from_number(number: u32) -> Option<Conflicts> {
        [Conflicts::Rename, Conflicts::Overwrite, Conflicts::Update]
            .into_iter()
            .find(|&rule| rule as u32 == number)
    }
}

/// What this run may do where a final name is taken.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    conflicts: Conflicts,
    /// Files of an earlier, incomplete transfer. This one may add to them.
    came: Option<&'a Came>,
}

impl<'a> Rule<'a> {
    pub(crate) fn new(conflicts: Conflicts) -> Rule<'a> {
        Rule {
            conflicts,
            came: None,
        }
    }

    /// Allows adding to `came`, if it has any files.
    pub(crate) fn adding_to(self, came: &'a Came) -> Rule<'a> {
        Rule {
            came: Some(came).filter(|came| !came.is_empty()),
            ..self
        }
    }

    pub(crate) fn may_merge(self) -> bool {
        self.conflicts != Conflicts::Rename || self.came.is_some()
    }

    pub(crate) fn may_replace(self, path: &Path, found: &NodeInfo) -> bool {
        self.conflicts != Conflicts::Rename || self.came.is_some_and(|came| came.holds(path, found))
    }
}

/// A top-level entry and its final name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The name that was sent.
    pub name: PathBuf,
    /// The name on this disk.
    pub final_name: PathBuf,
    /// Whether the same content was there before, so that nothing had to be done.
    pub already_there: bool,
}

/// Makes the links in `data/`, sets permissions and times of everything in it, and waits until it is on the
/// medium. `done` tells which files already have their permissions and times.
pub(crate) fn finish_staged<L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Manifest,
    done: impl Fn(EntryIndex) -> bool,
    losses: &mut Losses,
) -> Result<(), LocalError> {
    let data = staging.data();
    let count = |kind| manifest.iter().filter(|(_, e)| e.kind == kind).count();
    // Each file is synced while it is open for writing: Windows requires that.
    let one_by_one = !layer.has_sync_all() || count(Kind::File) + count(Kind::Dir) <= FEW_FILES;
    // Children come before parents: a directory's time changes with its entries, and the directory may become
    // read-only.
    for (index, entry) in manifest.iter().rev() {
        let path = || data.join(manifest.path(index));
        match entry.kind {
            _ if losses.has_lost(index) => {}
            Kind::Symlink => make_link(layer, &path(), index, &entry, losses)?,
            Kind::File | Kind::Stream | Kind::Text if one_by_one || !done(index) => {
                let path = path();
                let file = open_ours(layer, &path).doing(layer, "open", &path)?;
                let finished = losses.finish_entry(layer, &file, &entry);
                finished.doing(layer, "finish", &path)?;
                if one_by_one {
                    layer.sync(&file).doing(layer, "sync", &path)?;
                }
            }
            Kind::File | Kind::Stream | Kind::Text | Kind::Dir | Kind::HardLink(_) => {}
        }
    }
    for &(of, index) in manifest.hard_links() {
        if losses.has_lost(index) {
            continue;
        }
        let (from, to) = (data.join(manifest.path(of)), data.join(manifest.path(index)));
        let made = hard_links::make(layer, &from, &to, &manifest.entry(of), losses);
        made.doing(layer, "create", &to)?;
    }
    for (index, entry) in manifest.iter().rev().filter(|(_, e)| e.kind == Kind::Dir) {
        let path = data.join(manifest.path(index));
        let dir = layer.open_dir(&path).doing(layer, "open", &path)?;
        let finished = losses.finish_entry(layer, &dir, &entry);
        finished.doing(layer, "finish", &path)?;
        if one_by_one {
            layer.sync(&dir).doing(layer, "sync", &path)?;
        }
    }
    let sync = || {
        if !one_by_one {
            layer.sync_all()?;
        }
        layer.sync(&layer.open_dir(&data)?)
    };
    sync().doing(layer, "sync", staging.dir())
}

/// Makes a symbolic link. Sets its time if the disk can.
fn make_link<L: Layer>(
    layer: &L,
    path: &Path,
    index: EntryIndex,
    entry: &Entry<'_>,
    losses: &mut Losses,
) -> Result<(), LocalError> {
    if kept(layer.symlink(entry.target, path)).doing(layer, "create", path)? {
        // Some file systems cannot set the time of a link.
        let _ = layer.set_time(path, entry.mtime);
    } else {
        losses.lose_links([index]);
    }
    Ok(())
}

/// Opens a staged file. An interrupted run may already have made it read-only.
pub(crate) fn open_ours<L: Layer>(layer: &L, path: &Path) -> io::Result<L::File> {
    match layer.open(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            layer.unlock(path);
            layer.open(path)
        }
        other => other,
    }
}

/// Checks that each directory in `data/` holds exactly what the list says. A file system that takes two names
/// for the same name would have lost one of them.
pub(crate) fn check_listing<L: Layer>(
    layer: &L,
    staging: &Staging,
    manifest: &Manifest,
    losses: &Losses,
) -> Result<(), LocalError> {
    let mut children = vec![0usize; manifest.len() as usize];
    let mut top = 0;
    for (_, entry) in manifest.iter().filter(|&(index, _)| !losses.has_lost(index)) {
        match entry.parent {
            Some(parent) => children[parent.get() as usize] += 1,
            None => top += 1,
        }
    }
    let check = |path: &Path, expected: usize| -> Result<(), LocalError> {
        let found = layer.list(path).doing(layer, "read", path)?;
        if found.len() == expected {
            return Ok(());
        }
        let error = io::Error::other("its entries are not those that were received");
        Err(error).doing(layer, "finish", path)
    };
    check(&staging.data(), top)?;
    for (index, _) in manifest.iter().filter(|(_, entry)| entry.kind == Kind::Dir) {
        check(
            &staging.data().join(manifest.path(index)),
            children[index.get() as usize],
        )?;
    }
    Ok(())
}

/// Moves everything in a sealed `data/` to its final name, then removes the staging directory.
pub(crate) fn place_all<L: Layer>(
    layer: &L,
    staging: &Staging,
    rule: Rule<'_>,
    manifest: Option<&Manifest>,
    losses: &mut Losses,
) -> Result<Vec<Placed>, LocalError> {
    let data = staging.data();
    let mut placed = Vec::new();
    let mut names = staging.staged(layer).doing(layer, "move", &data)?;
    names.sort_unstable();
    if let Some(manifest) = manifest {
        // As they were offered: both screens name the same first.
        let tops = manifest.iter().filter(|(_, entry)| entry.parent.is_none());
        let offered: HashMap<_, _> = tops
            .map(|(index, entry)| (PathBuf::from(names::os_from_bytes(entry.name)), index))
            .collect();
        names.sort_by_key(|name| offered.get(name).copied());
    }
    for name in names {
        // No received entry has such a name.
        if names::is_staging_like(name.as_os_str().as_encoded_bytes()) {
            return Err(io::ErrorKind::InvalidFilename.into()).doing(layer, "move", &data);
        }
        let final_name = place_one(layer, &data.join(&name), &name, rule, losses)?;
        placed.push(Placed {
            name,
            final_name,
            already_there: false,
        });
    }
    let tidy = || {
        layer.sync(&layer.open_dir(Path::new(""))?)?;
        if layer.info(&data)?.is_some() {
            // Fails unless `data/` is empty.
            layer.remove_dir(&data)?;
        }
        staging.remove(layer)
    };
    tidy().doing(layer, "move", &data)?;
    Ok(placed)
}

/// Sets the times, permissions and attributes that were sent on `entries`, which already lie under their final names.
pub(crate) fn refresh<L: Layer>(
    layer: &L,
    manifest: &Manifest,
    entries: impl DoubleEndedIterator<Item = EntryIndex>,
    losses: &mut Losses,
) -> Result<(), LocalError> {
    for index in entries.rev() {
        let (entry, path) = (manifest.entry(index), manifest.path(index));
        let file = match entry.kind {
            Kind::File | Kind::HardLink(_) => layer.open_read(&path).ok(),
            _ => None,
        };
        let outcome = match file {
            Some(file) => losses.finish_entry(layer, &file, &entry).map(|()| true),
            None => kept(layer.set_time(&path, entry.mtime)),
        };
        let is_kept = match outcome {
            // A mount below the output directory. All content is there.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => false,
            other => other.doing(layer, "finish", &path)?,
        };
        // Some file systems cannot set the time of a link.
        if entry.kind != Kind::Symlink && !is_kept {
            losses.tell(Remark::TimesLost);
        }
    }
    Ok(())
}

/// Renames `from` to a name that is free. The system refuses to move a directory that nobody may write to, so
/// it is made writable for the rename.
fn rename_to_free<L: Layer>(layer: &L, from: &Path, to: &Path) -> io::Result<()> {
    match layer.rename_noreplace(from, to) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let Some(found) = layer.info(from)?.filter(|i| i.kind == NodeKind::Dir) else {
                return Err(e);
            };
            layer.unlock(from);
            let moved = layer.rename_noreplace(from, to);
            // The directory was unlocked above, so its mode is set again, wherever it is now.
            let dir = layer.open_dir(if moved.is_ok() { to } else { from })?;
            Losses::default().finish(layer, &dir, found.mode, Some(found.mtime))?;
            moved
        }
        other => other,
    }
}

/// Moves `from` to a name that is free. The two may be on different file systems. False if the name is taken.
fn move_to_free<L: Layer>(
    layer: &L,
    from: &Path,
    to: &Path,
    losses: &mut Losses,
) -> Result<bool, LocalError> {
    match rename_to_free(layer, from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => across::to_free(layer, from, to, losses),
        other => is_free(other).doing(layer, "name", to),
    }
}

/// Whether a name was free that was to be given.
pub(super) fn is_free(given: io::Result<()>) -> io::Result<bool> {
    match given {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

fn replace<L: Layer>(layer: &L, from: &Path, to: &Path, losses: &mut Losses) -> Result<(), LocalError> {
    let replaced = match layer.rename_replace(from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => across::replacing(layer, from, to, losses),
        // If both are names of one file already, rename(2) does nothing.
        Ok(()) if matches!(layer.info(from), Ok(Some(_))) => layer.remove_file(from),
        other => other,
    };
    replaced.doing(layer, "replace", to)
}

fn place_one<L: Layer>(
    layer: &L,
    from: &Path,
    name: &Path,
    rule: Rule<'_>,
    losses: &mut Losses,
) -> Result<PathBuf, LocalError> {
    if move_to_free(layer, from, name, losses)? {
        return Ok(name.to_owned());
    }
    let info = |path: &Path| layer.info(path).doing(layer, "examine", path);
    if rule.may_merge()
        && let (Some(new), Some(found)) = (info(from)?, info(name)?)
    {
        match (new.kind == NodeKind::Dir, found.kind == NodeKind::Dir) {
            (false, false) if rule.may_replace(name, &found) => {
                return replace(layer, from, name, losses).map(|()| name.to_owned());
            }
            (true, true) => return merge(layer, from, name, rule, losses).map(|()| name.to_owned()),
            // A directory never replaces a file, and a file never replaces a directory: too much could be
            // lost.
            _ => {}
        }
    }
    for n in 1..u32::MAX {
        let other = numbered(name, n).doing(layer, "name", name)?;
        if move_to_free(layer, from, &other, losses)? {
            return Ok(other);
        }
        // An earlier run put it there, for the same reason. No other file is replaced.
        let is_dir = |path: &Path| Ok(info(path)?.is_some_and(|found| found.kind == NodeKind::Dir));
        if rule.may_merge() && is_dir(from)? && is_dir(&other)? {
            return merge(layer, from, &other, rule, losses).map(|()| other);
        }
        if rule.may_merge() && is_copy(layer, from, &other) {
            return replace(layer, from, &other, losses).map(|()| other);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into()).doing(layer, "name", name)
}

/// The `n`th other path for a taken one.
pub(super) fn numbered(path: &Path, n: u32) -> io::Result<PathBuf> {
    let name = names::bytes_from_os(path.file_name().unwrap_or_default());
    let plain = SafeName::from_peer(&name).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(path.with_file_name(plain.numbered(n).to_os()))
}

/// Whether two files have the same bytes, or two links the same target.
fn is_copy<L: Layer>(layer: &L, one: &Path, other: &Path) -> bool {
    let target = layer.read_link(one);
    match target {
        Ok(target) => layer.read_link(other).is_ok_and(|other| other == target),
        Err(_) => hard_links::are_equal(layer, one, other),
    }
}

/// Moves the contents of `from` into the existing directory `to`, file by file. `to` keeps its permissions
/// and gets the time of `from`. After a crash in between, the next run finds everything equal and sets the
/// times ([`refresh`]).
pub(crate) fn merge<L: Layer>(
    layer: &L,
    from: &Path,
    to: &Path,
    rule: Rule<'_>,
    losses: &mut Losses,
) -> Result<(), LocalError> {
    let look = || -> io::Result<_> {
        let (sent, own) = (layer.info(from)?, layer.info(to)?);
        let (Some(sent), Some(own)) = (sent, own) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // An earlier transfer, or this one, may have made it read-only.
        layer.unlock(from);
        let locked = own.mode & 0o200 == 0;
        if locked {
            layer.unlock(to);
        }
        let mut names = layer.list(from)?;
        names.sort_unstable();
        Ok((sent, own, locked, names))
    };
    let (sent, own, locked, names) = look().doing(layer, "examine", to)?;
    for name in names {
        let wanted = to.join(&name);
        let found = place_one(layer, &from.join(&name), &wanted, rule, losses)?;
        if found != wanted {
            losses.tell(Remark::Beside(wanted, found));
        }
    }
    let finish = || {
        let dir = layer.open_dir(to)?;
        // This user may be allowed to write to a directory of somebody else, but not to change its mode or time.
        if locked {
            kept(layer.set_mode(&dir, own.mode))?;
        }
        kept(layer.set_time(to, sent.mtime))?;
        layer.sync(&dir)?;
        layer.remove_dir(from)
    };
    finish().doing(layer, "finish", to)
}
