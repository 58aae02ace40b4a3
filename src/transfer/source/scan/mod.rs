//! Finds what to send: the paths that the user gave, and everything under them.
//!
//! Symbolic links inside a tree are left out, or sent as links with [`Links::Keep`]. They are never followed.
//! A path that the user typed is followed, because the user named it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::exclude::{Exclude, PatternFileError, patterns_of_file};
pub use self::single::stream_manifest;
pub(crate) use self::single::text_manifest;
use self::walk::Scan;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::manifest::{EntryIndex, Manifest};
use crate::transfer::names;
use crate::transfer::source::identity::Identity;
use crate::transfer::source::missing::Missing;
use crate::transfer::source::origin;
use crate::transfer::source::origin::{Location, Root};
use crate::transfer::source::wrong_size::Snapshots;

mod exclude;
mod facts;
mod single;
mod walk;

/// What to do with symbolic links inside trees.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Links {
    /// Leave them out, and tell the user.
    #[default]
    Skip,
    /// Send them as links.
    Keep,
}

/// How to scan.
#[derive(Clone, Default, Debug)]
pub struct ScanOptions {
    /// What to do with symbolic links.
    pub links: Links,
    /// Names and paths to leave out.
    pub exclude: Exclude,
    /// What to do with extended attributes.
    pub attributes: Attributes,
    /// The name that the receiver sees for the only path, in place of its own name.
    pub name: Option<String>,
}

/// Something that is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Skipped {
    /// Its path.
    pub path: PathBuf,
    /// The reason.
    pub reason: &'static str,
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The list that is sent.
    pub manifest: Arc<Manifest>,
    /// The paths that are left out.
    pub skipped: Vec<Skipped>,
    /// Whether there are extended attributes that [`Attributes::Keep`] would send.
    pub(crate) leaves_attributes: bool,
    /// Patterns of [`ScanOptions::exclude`] that matched nothing.
    pub unused_patterns: Vec<String>,
    /// Listed entries that cannot be read: files, and directories whose entries are unknown.
    pub unreadable: Vec<Missing>,
    /// When the scan began, nanoseconds since 1970.
    pub(crate) begun: i64,
    /// The content of files that report a wrong size.
    pub(crate) snapshots: Snapshots,
    roots: Vec<Root>,
    identities: Vec<Identity>,
}

impl Scanned {
    /// The path of entry `index` on this disk.
    pub(crate) fn path(&self, index: EntryIndex) -> PathBuf {
        self.location().path(index)
    }

    /// The paths that the user gave, less those that are left out.
    pub(crate) fn sent_paths(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.path.clone()).collect()
    }

    /// The place on the disk of everything in the list.
    pub(crate) fn location(&self) -> Location<'_> {
        Location {
            list: &self.manifest,
            roots: &self.roots,
        }
    }

    /// Whether the list has the file at `path`, under any name, as far as the system can tell.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let Ok(found) = origin::typed_metadata(path).map(|found| Identity::of(&found)) else {
            return false;
        };
        if found.is_known() {
            return self.identities.iter().any(|listed| listed.is_node_of(&found));
        }
        // If files have no numbers, their full paths tell them apart.
        let Ok(real) = path.canonicalize() else {
            return false;
        };
        self.identities.iter().zip(0..).any(|(listed, index)| {
            let full = || self.path(EntryIndex::new(index)).canonicalize();
            listed.is_version_of(&found) && full().is_ok_and(|path| path == real)
        })
    }

    /// The metadata that entry `index` had.
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
/// A path that does not exist or cannot be read; two paths that end in the same name; nothing to send; more
/// than a list can hold.
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

/// The last component of a typed path. For `.` or `/`, that of the directory it stands for.
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

#[cfg(test)]
mod tests;
