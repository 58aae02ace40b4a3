//! Finds what is to be sent: the paths the user gave, and everything under them.
//!
//! Symbolic links inside a tree are left out, or with [`Links::Keep`] sent as links; either way they are not
//! followed. A path the user typed is followed: that is what typing it means.

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
use crate::transfer::source::origin::{Place, Root};
use crate::transfer::source::snapshot::Snapshots;

mod exclude;
mod facts;
mod single;
mod walk;

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
    /// Extended attributes.
    pub attributes: Attributes,
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
    /// Whether there are extended attributes that would be sent with [`Attributes::Keep`].
    pub(crate) leaves_attributes: bool,
    /// Patterns of [`ScanOptions::exclude`] that matched nothing.
    pub unused_patterns: Vec<String>,
    /// What is listed and cannot be read: files, and directories of whose entries nothing is known.
    pub unreadable: Vec<Missing>,
    /// When the scan began, nanoseconds since 1970.
    pub(crate) begun: i64,
    /// What was read of files whose size lies.
    pub(crate) snapshots: Snapshots,
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

#[cfg(test)]
mod tests;
