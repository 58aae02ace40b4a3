//! Finds what is to be sent: the paths the user gave, and everything under them.
//!
//! Symbolic links inside a tree are left out, or with [`Links::Keep`] sent as links; either way they are not
//! followed. A path the user typed is followed: that is what typing it means.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Metadata;

pub(crate) use self::exclude::Exclude;
use self::exclude::Matcher;
pub(crate) use self::exclude::{PatternFileError, patterns_of_file};
use crate::transfer::error::{LocalError, Malformed, TransferError};
use crate::transfer::fs::disk::unix_nanos;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, MODE_MASK, Manifest, ManifestBuilder, Trust};
use crate::transfer::names;
use crate::transfer::source::identity::Identity;
use crate::transfer::source::missing::{Absence, Missing};
use crate::transfer::source::origin;
use crate::transfer::source::origin::{OpenError, Opener, Place, Root};

mod exclude;

/// Longest path in a message, characters: enough to find it, whatever a deep tree makes of it.
const MAX_SHOWN: usize = 300;

/// What to do with symbolic links inside trees.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Links {
    /// Leave them out, saying so.
    #[default]
    Skip,
    /// Send them as links.
    Keep,
}

/// How to scan.
#[derive(Clone, Default, Debug)]
pub struct ScanOptions {
    /// Symbolic links.
    pub links: Links,
    /// Names and paths to leave out.
    pub exclude: Exclude,
    /// What the receiver is told that the only path is called, in place of its own name.
    pub name: Option<String>,
}

/// Something that is not sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The list that is sent.
    pub manifest: Arc<Manifest>,
    /// What is left out.
    pub skipped: Vec<Skipped>,
    /// Patterns of [`ScanOptions::exclude`] that matched nothing.
    pub unused_patterns: Vec<String>,
    /// What is listed and cannot be read: files, and directories of whose entries nothing is known.
    pub unreadable: Vec<Missing>,
    /// When the scan began, nanoseconds since 1970.
    pub(crate) begun: i64,
    roots: Vec<Root>,
    identities: Vec<Identity>,
}

impl Scanned {
    /// Where entry `index` really lies.
    pub(crate) fn path(&self, index: EntryIndex) -> PathBuf {
        self.place().path(index)
    }

    /// Where everything lies.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            list: &self.manifest,
            roots: &self.roots,
        }
    }

    /// Whether what lies at `path` is among it, under whatever name, as far as the system can tell.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let found = origin::typed_metadata(path).map(|found| Identity::of(&found));
        found.is_ok_and(|found| found.is_known() && self.identities.iter().any(|i| i.is_node_of(&found)))
    }

    /// What entry `index` looked like.
    pub(crate) fn identity(&self, index: EntryIndex) -> Identity {
        self.identities
            .get(index.get() as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// Scans the paths the user gave.
///
/// # Errors
/// A path that does not exist or cannot be read; two paths that end in one name; nothing to send; more than a list
/// holds.
pub fn scan(paths: &[PathBuf], options: &ScanOptions) -> Result<Scanned, TransferError> {
    let mut scan = Scan::new(options);
    let mut names = HashMap::new();
    for path in paths {
        let name = top_name(path)?;
        if let Some(first) = names.insert(name.clone(), path) {
            return Err(LocalError::SameName(first.clone(), path.clone()).into());
        }
        scan.add_root(path, &name)?;
        while scan.read_directory()? {}
    }
    scan.finish(paths)
}

/// The manifest of a pipe's content, which the receiver will know as `name`.
///
/// # Errors
/// If `name` cannot be a file's name.
pub fn stream_manifest(name: &str) -> Result<Arc<Manifest>, Malformed> {
    single(Kind::Stream, name, 0)
}

/// The manifest of a message.
///
/// # Errors
/// If it is too long.
pub(crate) fn text_manifest(text: &str) -> Result<Arc<Manifest>, Malformed> {
    if text.len() > crate::transfer::BLOCK_LEN {
        return Err(Malformed::TooMuch("text"));
    }
    single(Kind::Text, "message", text.len() as u64)
}

fn single(kind: Kind, name: &str, size: u64) -> Result<Arc<Manifest>, Malformed> {
    let name = names::SafeName::from_peer(name.as_bytes())?;
    let mut builder = ManifestBuilder::new(Trust::Own);
    builder.add(Entry {
        kind,
        parent: None,
        name: name.as_bytes(),
        size,
        mtime: 0,
        mode: 0o644,
        target: b"",
    })?;
    builder.finish().map(Arc::new)
}

/// The last component of what the user typed; for `.` or `/`, of what it stands for.
fn top_name(path: &Path) -> Result<Vec<u8>, LocalError> {
    if let Some(name) = path.file_name() {
        return Ok(names::bytes_from_os(name));
    }
    let real = path
        .canonicalize()
        .map_err(|e| LocalError::new("read", path, e))?;
    Ok(real
        .file_name()
        .map_or_else(|| b"root".to_vec(), names::bytes_from_os))
}

/// Under way: roots are added one by one, and after each the directories that are waiting are read, one at a step.
struct Scan<'a> {
    builder: ManifestBuilder,
    identities: Vec<Identity>,
    skipped: Vec<Skipped>,
    unreadable: Vec<Missing>,
    begun: i64,
    roots: Vec<Root>,
    options: &'a ScanOptions,
    matcher: Matcher<'a>,
    opener: Opener,
    /// Directories yet to be read, the next one last.
    pending: Vec<EntryIndex>,
}

impl<'a> Scan<'a> {
    fn new(options: &'a ScanOptions) -> Self {
        Scan {
            builder: ManifestBuilder::new(Trust::Own),
            identities: Vec::new(),
            skipped: Vec::new(),
            unreadable: Vec::new(),
            begun: now(),
            roots: Vec::new(),
            options,
            matcher: Matcher::new(&options.exclude),
            opener: Opener::default(),
            pending: Vec::new(),
        }
    }

    /// Adds a path that the user typed.
    fn add_root(&mut self, path: &Path, name: &[u8]) -> Result<(), TransferError> {
        let metadata = origin::typed_metadata(path).map_err(|e| LocalError::new("read", path, e))?;
        let own_name = PathBuf::from(names::os_from_bytes(name));
        if self.matcher.leaves_out(&own_name, metadata.is_dir()) {
            return Ok(());
        }
        let sent_as = self.options.name.as_deref().map_or(name, str::as_bytes);
        let Some(kind) = self.kind_of(&metadata, path) else {
            return Ok(());
        };
        let index = self.add(kind, None, sent_as, path, &metadata, &[])?;
        if kind == Kind::File
            && origin::open_typed(path).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
        {
            self.leave_out(index, path.to_owned(), Absence::Unreadable);
        }
        self.roots.push(Root {
            index,
            path: path.to_owned(),
            name: own_name,
            identity: Identity::of(&metadata),
        });
        self.pending.extend((kind == Kind::Dir).then_some(index));
        Ok(())
    }

    /// Lists the next waiting directory, in the order of names. False if none waits.
    fn read_directory(&mut self) -> Result<bool, TransferError> {
        let Some(parent) = self.pending.pop() else {
            return Ok(false);
        };
        let place = Place {
            list: self.builder.listed(),
            roots: &self.roots,
        };
        let (shown, matched) = (place.path(parent), place.own_path(parent));
        let fail = |action, path: &Path, e| TransferError::from(LocalError::new(action, path, e));
        let listed = self.opener.directory(place, parent).and_then(|dir| {
            // A descriptor of its own, as entries are added while the opener is idle.
            let dir = dir.try_clone()?;
            let names = dir.entries()?.map(|child| child.map(|child| child.file_name()));
            let names = names.collect::<std::io::Result<Vec<_>>>()?;
            Ok((dir, names))
        });
        let (dir, mut children) = match listed {
            Ok(listed) => listed,
            Err(e) => return self.unlisted(parent, shown, e).map(|()| true),
        };
        children.sort_unstable();
        let mut subdirectories = Vec::new();
        for name in children {
            let path = shown.join(&name);
            let metadata = match dir.symlink_metadata(&name) {
                Ok(metadata) => metadata,
                // Deleted since the directory was listed: then it is not there to be sent.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                    // A directory that may be listed and not entered.
                    return self.unlisted(parent, shown, e.into()).map(|()| true);
                }
                Err(e) => return Err(fail("read", &path, e)),
            };
            if self.matcher.leaves_out(&matched.join(&name), metadata.is_dir()) {
                continue;
            }
            let Some(kind) = self.kind_of(&metadata, &path) else {
                continue;
            };
            let target = match kind {
                Kind::Symlink => {
                    let target = dir.read_link_contents(&name);
                    names::bytes_from_os(target.map_err(|e| fail("read", &path, e))?.as_os_str())
                }
                _ => Vec::new(),
            };
            let is_readable = kind != Kind::File || origin::may_read(&dir, &name, &metadata);
            let name = names::bytes_from_os(&name);
            let index = self.add(kind, Some(parent), &name, &path, &metadata, &target)?;
            if !is_readable {
                self.leave_out(index, path, Absence::Unreadable);
            }
            subdirectories.extend((kind == Kind::Dir).then_some(index));
        }
        self.pending.extend(subdirectories.into_iter().rev());
        Ok(true)
    }

    /// A directory that could not be listed. What the user named must be readable; what lies below is told.
    fn unlisted(&mut self, index: EntryIndex, path: PathBuf, error: OpenError) -> Result<(), TransferError> {
        let error = error.told("read", path.clone());
        let is_below = self.builder.listed().entry(index).parent.is_some();
        match Absence::of(&error).filter(|_| is_below) {
            Some(why) => {
                self.leave_out(index, path, why);
                Ok(())
            }
            None => Err(error),
        }
    }

    fn leave_out(&mut self, entry: EntryIndex, path: PathBuf, why: Absence) {
        self.unreadable.push(Missing { entry, path, why });
    }

    /// What it is sent as; `None`, and a word to the user, for what is not sent.
    fn kind_of(&mut self, metadata: &Metadata, path: &Path) -> Option<Kind> {
        let reason = match metadata {
            m if m.is_file() => return Some(Kind::File),
            m if m.is_dir() => return Some(Kind::Dir),
            m if m.is_symlink() && self.options.links == Links::Keep => return Some(Kind::Symlink),
            m if m.is_symlink() => "a symbolic link (--links sends links)",
            _ => "not a file or directory",
        };
        self.skipped.push(Skipped {
            path: path.to_owned(),
            reason,
        });
        None
    }

    fn add(
        &mut self,
        kind: Kind,
        parent: Option<EntryIndex>,
        name: &[u8],
        path: &Path,
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<EntryIndex, TransferError> {
        let identity = Identity::of(metadata);
        let entry = Entry {
            kind,
            parent,
            name,
            size: if kind == Kind::File { identity.size } else { 0 },
            mtime: identity.mtime,
            // What its owner may not enter the receiver's user could not finish.
            mode: mode_of(metadata) | if kind == Kind::Dir { 0o500 } else { 0 },
            target,
        };
        let index = self.builder.add(entry).map_err(|e| unlistable(path, e))?;
        self.identities.push(identity);
        Ok(index)
    }

    fn finish(self, paths: &[PathBuf]) -> Result<Scanned, TransferError> {
        let first = paths.first().cloned().unwrap_or_default();
        if self.builder.is_empty() {
            return Err(match self.skipped.is_empty() {
                true => LocalError::AllExcluded,
                false => LocalError::NotSendable(first),
            }
            .into());
        }
        let manifest = self.builder.finish().map_err(|e| unlistable(&first, e))?;
        // If there is nothing else, it is better told now than to two people who wait.
        let files = manifest
            .iter()
            .filter(|(_, entry)| entry.kind == Kind::File)
            .count();
        let is_file = |missing: &&Missing| manifest.entry(missing.entry).kind == Kind::File;
        if let Some(missing) = self.unreadable.iter().find(is_file)
            && self.unreadable.iter().filter(is_file).count() == files
        {
            let denied = std::io::ErrorKind::PermissionDenied.into();
            return Err(LocalError::new("read", &missing.path, denied).into());
        }
        Ok(Scanned {
            manifest: Arc::new(manifest),
            skipped: self.skipped,
            unreadable: self.unreadable,
            begun: self.begun,
            unused_patterns: self.matcher.unused(),
            roots: self.roots,
            identities: self.identities,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the times of files, and with nothing else"
)]
fn now() -> i64 {
    unix_nanos(std::time::SystemTime::now())
}

/// An entry of our own that no list takes. Nobody else is to blame, and the user wants to know which.
fn unlistable(path: &Path, why: Malformed) -> TransferError {
    LocalError::Unlistable {
        path: abridged(path),
        why,
    }
    .into()
}

/// A path that fits into a message.
fn abridged(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let count = text.chars().count();
    if count <= MAX_SHOWN {
        return path.to_owned();
    }
    let half = MAX_SHOWN / 2;
    let ends = [
        text.chars().take(half).collect(),
        text.chars().skip(count - half).collect::<String>(),
    ];
    ends.join("…").into()
}

#[cfg(unix)]
fn mode_of(metadata: &Metadata) -> u16 {
    (cap_std::fs::MetadataExt::mode(metadata) as u16) & MODE_MASK
}

#[cfg(not(unix))]
fn mode_of(metadata: &Metadata) -> u16 {
    let write = if metadata.permissions().readonly() {
        0
    } else {
        0o200
    };
    MODE_MASK & (0o444 | write | if metadata.is_dir() { 0o111 } else { 0 })
}

#[cfg(test)]
mod tests;
