//! Finds what is to be sent: the paths the user gave, and everything under them.
//!
//! Symbolic links inside a tree are left out, or with [`Links::Keep`] sent as links; either way they are not
//! followed. A path the user typed is followed: that is what typing it means.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::error::{LocalError, Malformed, TransferError};
use super::manifest::{Entry, EntryIndex, Kind, MODE_MASK, Manifest, ManifestBuilder, Trust};
use super::names;

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
}

/// The patterns of --exclude.
#[derive(Clone, Default, Debug)]
pub struct Exclude(GlobSet);

impl Exclude {
    /// Compiles patterns. Each is matched against the path below what is sent, and against every name in it.
    ///
    /// # Errors
    /// The first pattern that is none, with what is wrong with it.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Exclude, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(Glob::new(pattern.trim_end_matches('/'))?);
        }
        set.build().map(Exclude)
    }

    /// Patterns that are compiled already.
    pub const fn from_set(set: GlobSet) -> Exclude {
        Exclude(set)
    }

    fn matches(&self, path: &Path) -> bool {
        !self.0.is_empty()
            && (self.0.is_match(path) || path.file_name().is_some_and(|name| self.0.is_match(name)))
    }
}

/// Something that is not sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Identity {
    size: u64,
    mtime: i64,
    inode: u64,
}

impl Identity {
    /// The identity of a file with this metadata.
    pub fn of(metadata: &Metadata) -> Identity {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Identity {
            size: metadata.len(),
            mtime: mtime_nanos(metadata),
            inode,
        }
    }
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The list that is sent.
    pub manifest: Arc<Manifest>,
    /// What is left out.
    pub skipped: Vec<Skipped>,
    /// The real path of each top-level entry, in order.
    roots: Vec<(EntryIndex, PathBuf)>,
    identities: Vec<Identity>,
}

impl Scanned {
    /// Where entry `index` really lies.
    pub fn path(&self, index: EntryIndex) -> PathBuf {
        let top = self.manifest.top_of(index);
        let Ok(at) = self.roots.binary_search_by_key(&top, |(i, _)| *i) else {
            return PathBuf::new();
        };
        let inside: PathBuf = self.manifest.path(index).components().skip(1).collect();
        let root = &self.roots[at].1;
        if inside.as_os_str().is_empty() {
            root.clone()
        } else {
            root.join(inside)
        }
    }

    /// What entry `index` looked like.
    pub fn identity(&self, index: EntryIndex) -> Identity {
        self.identities
            .get(index.get() as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// Scans the paths the user gave.
///
/// # Errors
/// A path that does not exist or cannot be read; two paths that end in one name; nothing to send.
pub fn scan(paths: &[PathBuf], options: &ScanOptions) -> Result<Scanned, TransferError> {
    let mut scan = Scan {
        builder: ManifestBuilder::new(Trust::Own),
        identities: Vec::new(),
        skipped: Vec::new(),
        options,
    };
    let (mut roots, mut names) = (Vec::new(), HashSet::new());
    for path in paths {
        let name = top_name(path)?;
        if !names.insert(name.clone()) {
            let first = paths
                .iter()
                .find(|p| top_name(p).is_ok_and(|n| n == name))
                .cloned();
            return Err(LocalError::SameName(first.unwrap_or_default(), path.clone()).into());
        }
        let metadata = std::fs::metadata(path).map_err(|e| LocalError::new("read", path, e))?;
        if let Some(index) = scan.add(None, &name, path, &metadata)? {
            roots.push((index, path.clone()));
            if metadata.is_dir() {
                scan.walk(index, path, Path::new(""))?;
            }
        }
    }
    if scan.builder.is_empty() {
        let path = paths.first().cloned().unwrap_or_default();
        let error = std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is neither a file nor a directory",
        );
        return Err(LocalError::new("send", path, error).into());
    }
    let manifest = Arc::new(scan.builder.finish()?);
    Ok(Scanned {
        manifest,
        skipped: scan.skipped,
        roots,
        identities: scan.identities,
    })
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
pub fn text_manifest(text: &str) -> Result<Arc<Manifest>, Malformed> {
    if text.len() > super::BLOCK_LEN {
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

struct Scan<'a> {
    builder: ManifestBuilder,
    identities: Vec<Identity>,
    skipped: Vec<Skipped>,
    options: &'a ScanOptions,
}

impl Scan<'_> {
    /// Adds what lies at `path`, unless it is of a kind that is not sent.
    fn add(
        &mut self,
        parent: Option<EntryIndex>,
        name: &[u8],
        path: &Path,
        metadata: &Metadata,
    ) -> Result<Option<EntryIndex>, TransferError> {
        let mut target = Vec::new();
        let kind = if metadata.is_file() {
            Kind::File
        } else if metadata.is_dir() {
            Kind::Dir
        } else if metadata.is_symlink() && self.options.links == Links::Keep {
            let link = std::fs::read_link(path).map_err(|e| LocalError::new("read", path, e))?;
            target = names::bytes_from_os(link.as_os_str());
            Kind::Symlink
        } else {
            let reason = match metadata.is_symlink() {
                true => "a symbolic link (--links sends links)",
                false => "not a file or directory",
            };
            self.skipped.push(Skipped {
                path: path.to_owned(),
                reason,
            });
            return Ok(None);
        };
        let identity = Identity::of(metadata);
        let size = if kind == Kind::File { identity.size } else { 0 };
        let entry = Entry {
            kind,
            parent,
            name,
            size,
            mtime: identity.mtime,
            mode: mode_of(metadata),
            target: &target,
        };
        let index = self.builder.add(entry)?;
        self.identities.push(identity);
        Ok(Some(index))
    }

    /// Adds everything under `dir`, which is entry `top`; in the order of names, directory by directory.
    fn walk(&mut self, top: EntryIndex, dir: &Path, below: &Path) -> Result<(), TransferError> {
        let mut pending = vec![(top, dir.to_owned(), below.to_owned())];
        while let Some((parent, dir, below)) = pending.pop() {
            let listing = std::fs::read_dir(&dir).map_err(|e| LocalError::new("read", &dir, e))?;
            let mut children = Vec::new();
            for child in listing {
                children.push(child.map_err(|e| LocalError::new("read", &dir, e))?.file_name());
            }
            children.sort_unstable();
            let mut subdirs = Vec::new();
            for name in children {
                let (path, inside) = (dir.join(&name), below.join(&name));
                if self.options.exclude.matches(&inside) {
                    continue;
                }
                let metadata = match std::fs::symlink_metadata(&path) {
                    Ok(metadata) => metadata,
                    // Deleted since the directory was listed: then it is not there to be sent.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(LocalError::new("read", path, e).into()),
                };
                let index = self.add(Some(parent), &names::bytes_from_os(&name), &path, &metadata)?;
                if let (true, Some(index)) = (metadata.is_dir(), index) {
                    subdirs.push((index, path, inside));
                }
            }
            pending.extend(subdirs.into_iter().rev());
        }
        Ok(())
    }
}

fn mtime_nanos(metadata: &Metadata) -> i64 {
    metadata.modified().map_or(0, unix_nanos)
}

/// Nanoseconds since 1970, as times travel.
pub(super) fn unix_nanos(time: std::time::SystemTime) -> i64 {
    let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
}

#[cfg(unix)]
fn mode_of(metadata: &Metadata) -> u16 {
    (std::os::unix::fs::MetadataExt::mode(metadata) as u16) & MODE_MASK
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
