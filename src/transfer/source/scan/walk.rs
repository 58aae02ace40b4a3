//! Walks over the disk and makes the list.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata};

use super::exclude::Matcher;
use super::facts::{has_other_names, mode_of, now, room_of};
use super::{Links, ScanOptions, Scanned, Skipped};
use crate::system::{is_shortage, numbers_nodes_anew};
use crate::transfer::error::{LocalError, Malformed, TransferError};
use crate::transfer::fs::LEAST_HOLE;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, ManifestBuilder, Trust};
use crate::transfer::names;
use crate::transfer::source::attributes;
use crate::transfer::source::device;
use crate::transfer::source::identity::Identity;
use crate::transfer::source::missing::{Absence, Missing};
use crate::transfer::source::origin;
use crate::transfer::source::origin::{Location, OpenError, Opener, Root};
use crate::transfer::source::wrong_size::{self, Snapshots};

/// Longest path in a message, in characters. It is enough to find the file, even in a very deep tree.
const MAX_SHOWN: usize = 300;

/// A name in a directory that is being read.
struct Child<'a> {
    parent: EntryIndex,
    name: &'a std::ffi::OsStr,
    /// Its path, for messages.
    path: PathBuf,
    /// The path that patterns are matched against.
    matched: PathBuf,
}

/// The result of adding a name.
enum Added {
    Entry(EntryIndex, Kind),
    /// It is not sent.
    Nothing,
    /// No entry of this directory can be looked at.
    Closed(std::io::Error),
}

/// What is added to the list.
struct Found<'a> {
    kind: Kind,
    parent: Option<EntryIndex>,
    name: &'a [u8],
    size: u64,
    target: &'a [u8],
    /// The reason, if it cannot be sent.
    absence: Option<Absence>,
}

/// A scan in progress. Roots are added one by one. After each of them the waiting directories are read, one
/// per step.
pub(super) struct Scan<'a> {
    pub(super) builder: ManifestBuilder,
    identities: Vec<Identity>,
    skipped: Vec<Skipped>,
    pub(super) unreadable: Vec<Missing>,
    snapshots: Snapshots,
    /// The place where each file with several names was found first.
    linked: HashMap<(u64, u64), (EntryIndex, Option<Absence>)>,
    /// Bytes of files that are holes.
    holes: u64,
    leaves_attributes: bool,
    begun: i64,
    roots: Vec<Root>,
    options: &'a ScanOptions,
    matcher: Matcher<'a>,
    pub(super) opener: Opener,
    /// Directories that still have to be read. The next one is last.
    pending: Vec<EntryIndex>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(options: &'a ScanOptions) -> Self {
        Scan {
            builder: ManifestBuilder::new(Trust::Own),
            identities: Vec::new(),
            skipped: Vec::new(),
            unreadable: Vec::new(),
            snapshots: Snapshots::default(),
            linked: HashMap::new(),
            holes: 0,
            leaves_attributes: false,
            begun: now(),
            roots: Vec::new(),
            options,
            matcher: Matcher::new(&options.exclude),
            opener: Opener::default(),
            pending: Vec::new(),
        }
    }

    /// Adds a path that the user typed.
    pub(super) fn add_root(&mut self, path: &Path, name: &[u8]) -> Result<(), TransferError> {
        if device::is_named_by(path) {
            return Err(LocalError::NotSendable(path.to_owned()).into());
        }
        let metadata = origin::typed_metadata(path).map_err(|e| LocalError::new("read", path, e))?;
        let own_name = PathBuf::from(names::os_from_bytes(name));
        if self.matcher.leaves_out(&own_name, metadata.is_dir()) {
            return Ok(());
        }
        let sent_as = self.options.name.as_deref().map_or(name, str::as_bytes);
        let Some(kind) = self.kind_of(&metadata, path) else {
            return Ok(());
        };
        let open = || Ok(origin::open_typed(path)?);
        let (size, absence) = self.weigh(kind, path, &metadata, open)?;
        let refusal = || Absence::of(&open().err()?.told("open", path.to_owned()));
        let absence = absence.or_else(|| if kind == Kind::File { refusal() } else { None });
        let attributes = self.attributes_of(kind, path, open)?;
        let found = Found {
            kind,
            parent: None,
            name: sent_as,
            size,
            target: &attributes,
            absence,
        };
        let is_stable = || origin::open_typed(path).is_ok_and(|file| !numbers_nodes_anew(&file));
        let index = self.add(found, path, &metadata, is_stable)?;
        self.roots.push(Root {
            index,
            path: path.to_owned(),
            name: own_name,
            identity: Identity::of(&metadata),
        });
        self.pending.extend((kind == Kind::Dir).then_some(index));
        Ok(())
    }

    /// Lists the next waiting directory, sorted by name. False if none waits.
    pub(super) fn read_directory(&mut self) -> Result<bool, TransferError> {
        let Some(parent) = self.pending.pop() else {
            return Ok(false);
        };
        let location = Location {
            list: self.builder.listed(),
            roots: &self.roots,
        };
        let (shown, matched) = (location.path(parent), location.own_path(parent));
        let listed = self.opener.directory(location, parent).and_then(|dir| {
            // The directory needs its own descriptor, because entries are added while the opener is not
            // borrowed.
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
            let child = Child {
                parent,
                path: shown.join(&name),
                name: &name,
                matched: matched.join(&name),
            };
            match self.add_child(&dir, child)? {
                Added::Entry(index, Kind::Dir) => subdirectories.push(index),
                Added::Entry(..) | Added::Nothing => {}
                Added::Closed(error) => return self.unlisted(parent, shown, error.into()).map(|()| true),
            }
        }
        self.pending.extend(subdirectories.into_iter().rev());
        Ok(true)
    }

    fn add_child(&mut self, dir: &Dir, child: Child<'_>) -> Result<Added, TransferError> {
        let Child { parent, name, .. } = child;
        let path = &child.path;
        let metadata = match dir.symlink_metadata(name) {
            Ok(metadata) => metadata,
            // The directory may be listed but not entered.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Ok(Added::Closed(e)),
            Err(e) => return self.add_unseen(dir, &child, e),
        };
        if self.matcher.leaves_out(&child.matched, metadata.is_dir()) {
            return Ok(Added::Nothing);
        }
        let Some(kind) = self.kind_of(&metadata, path) else {
            return Ok(Added::Nothing);
        };
        let target = match kind {
            Kind::Symlink => match dir.read_link_contents(name) {
                Ok(target) => names::bytes_from_os(target.as_os_str()),
                Err(e) => return self.add_unseen(dir, &child, e),
            },
            _ => self.attributes_of(kind, path, || origin::open_file(dir, name))?,
        };
        let is_readable = kind != Kind::File || origin::may_read(dir, name, &metadata);
        let (size, absence) = if is_readable {
            self.weigh(kind, path, &metadata, || origin::open_file(dir, name))?
        } else {
            (metadata.len(), Some(Absence::Unreadable))
        };
        let found = Found {
            kind,
            parent: Some(parent),
            name: &names::bytes_from_os(name),
            size,
            target: &target,
            absence,
        };
        let index = self.add(found, path, &metadata, || !numbers_nodes_anew(dir))?;
        Ok(Added::Entry(index, kind))
    }

    /// Adds an entry that cannot be examined, as a file that does not arrive. An entry that was deleted after the
    /// directory was listed is not sent.
    fn add_unseen(
        &mut self,
        dir: &Dir,
        child: &Child<'_>,
        error: std::io::Error,
    ) -> Result<Added, TransferError> {
        let fail = |e| TransferError::from(LocalError::new("read", &child.path, e));
        let error = fail(error);
        let absence = match Absence::of(&error) {
            Some(Absence::Gone) => return Ok(Added::Nothing),
            Some(_) if self.matcher.leaves_out(&child.matched, false) => return Ok(Added::Nothing),
            Some(why) => Some(why),
            None => return Err(error),
        };
        let found = Found {
            kind: Kind::File,
            parent: Some(child.parent),
            name: &names::bytes_from_os(child.name),
            size: 0,
            target: &[],
            absence,
        };
        // An entry needs a mode and a time. These mean nothing.
        let metadata = dir.dir_metadata().map_err(fail)?;
        let index = self.add(found, &child.path, &metadata, || false)?;
        Ok(Added::Entry(index, Kind::File))
    }

    /// The extended attributes of a file or directory, in the form they have in its entry.
    fn attributes_of(
        &mut self,
        kind: Kind,
        path: &Path,
        open: impl FnOnce() -> Result<std::fs::File, OpenError>,
    ) -> Result<Vec<u8>, TransferError> {
        if !matches!(kind, Kind::File | Kind::Dir) {
            return Ok(Vec::new());
        }
        if self.options.attributes == Attributes::LeaveOut {
            let is_early = self.builder.len() < attributes::MOST_LOOKED_AT;
            self.leaves_attributes = self.leaves_attributes || is_early && attributes::has_any(path);
            return Ok(Vec::new());
        }
        // A file that cannot be opened does not arrive. That is reported elsewhere.
        let Ok(file) = open() else { return Ok(Vec::new()) };
        let reason = match attributes::read(&file) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => "only its extended attributes, which are more than can be sent",
            Err(e) if is_shortage(&e) => {
                return Err(LocalError::new("read the attributes of", path, e).into());
            }
            Err(_) => "only its extended attributes, which the disk cannot read",
        };
        self.skipped.push(Skipped {
            path: path.to_owned(),
            reason,
        });
        Ok(Vec::new())
    }

    /// The size of a file, and the reason if it cannot be sent. For a file that the system generates, the
    /// size is what could be read of it.
    fn weigh(
        &mut self,
        kind: Kind,
        path: &Path,
        metadata: &Metadata,
        open: impl FnOnce() -> Result<std::fs::File, OpenError>,
    ) -> Result<(u64, Option<Absence>), TransferError> {
        let size = if kind == Kind::File { metadata.len() } else { 0 };
        if kind != Kind::File || !wrong_size::is_due(metadata) {
            return Ok((size, None));
        }
        let next = EntryIndex::new(self.builder.len());
        match self.snapshots.take(next, path, size, open) {
            Ok(size) => Ok((size, None)),
            Err(error) => match Absence::of(&error) {
                Some(why) => Ok((size, Some(why))),
                None => Err(error),
            },
        }
    }

    /// Handles a directory that could not be listed. A directory that the user named must be readable; one
    /// below it is only reported.
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

    /// The kind under which it is sent. `None`, with a remark to the user, if it is not sent.
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

    /// Adds an entry. Another name of a file that is already in the list becomes a hard link. `is_stable`:
    /// whether inodes keep their numbers there.
    fn add(
        &mut self,
        found: Found<'_>,
        path: &Path,
        metadata: &Metadata,
        is_stable: impl FnOnce() -> bool,
    ) -> Result<EntryIndex, TransferError> {
        let identity = Identity::of(metadata);
        let node = (identity.device, identity.inode);
        let is_linked = found.kind == Kind::File && has_other_names(metadata) && is_stable();
        let first = self.linked.get(&node).copied().filter(|_| is_linked);
        let (kind, size, absence) = match first {
            Some((of, absence)) => (Kind::HardLink(of), 0, absence),
            None => (found.kind, found.size, found.absence),
        };
        // One file has one mode and one time, even if they changed in the meantime.
        let (mode, mtime) = match first {
            Some((of, _)) => {
                let file = self.builder.listed().entry(of);
                (file.mode, file.mtime)
            }
            // If the owner could not enter the directory, the receiver could not finish it.
            None if kind == Kind::Dir => (mode_of(metadata) | 0o500, identity.mtime),
            None => (mode_of(metadata), identity.mtime),
        };
        let entry = Entry {
            kind,
            parent: found.parent,
            name: found.name,
            size,
            mtime,
            mode,
            target: if first.is_some() { &[] } else { found.target },
        };
        let index = self.builder.add(entry).map_err(|e| unlistable(path, e))?;
        self.identities.push(identity);
        if is_linked && first.is_none() {
            self.linked.insert(node, (index, absence));
        }
        // A receiver makes no holes in smaller files.
        if kind == Kind::File && size >= LEAST_HOLE {
            self.holes += size.saturating_sub(room_of(metadata));
        }
        if let Some(why) = absence {
            self.leave_out(index, path.to_owned(), why);
        }
        Ok(index)
    }

    pub(super) fn finish(self, paths: &[PathBuf]) -> Result<Scanned, TransferError> {
        let first = paths.first().cloned().unwrap_or_default();
        if self.builder.is_empty() {
            return Err(match self.skipped.is_empty() {
                true => LocalError::AllExcluded,
                false => LocalError::NotSendable(first),
            }
            .into());
        }
        let manifest = self.builder.finish().map_err(|e| unlistable(&first, e))?;
        // If there is nothing else to send, the user should know now, before two people wait.
        let files = manifest
            .iter()
            .filter(|(_, entry)| entry.kind == Kind::File)
            .count();
        let is_file = |missing: &&Missing| manifest.entry(missing.entry).kind == Kind::File;
        if let Some(missing) = self.unreadable.iter().find(is_file)
            && self.unreadable.iter().filter(is_file).count() == files
        {
            return Err(missing.why.told(&missing.path).into());
        }
        Ok(Scanned {
            manifest: Arc::new(manifest.with_holes(self.holes)),
            skipped: self.skipped,
            leaves_attributes: self.leaves_attributes,
            unreadable: self.unreadable,
            snapshots: self.snapshots,
            begun: self.begun,
            unused_patterns: self.matcher.unused(),
            roots: self.roots,
            identities: self.identities,
        })
    }
}

/// The error for an entry of our own that a list cannot hold. It names the path, and does not blame the peer.
fn unlistable(path: &Path, why: Malformed) -> TransferError {
    LocalError::Unlistable {
        path: abridged(path),
        why,
    }
    .into()
}

/// A path shortened to fit into a message.
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
