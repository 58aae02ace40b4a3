//! Rights that only Windows asks for, and what Windows does with the names of open directories.

use std::fs::File;
use std::io;
use std::path::Path;

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use windows_sys::Win32::Foundation::GENERIC_READ;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_WRITE_ATTRIBUTES};

use crate::system::{self, open_patiently};
use crate::transfer::fs::disk::{DiskLayer, stat};
use crate::transfer::fs::layer::{Layer, NodeKind};

impl DiskLayer {
    /// Opens a directory with the right to set its time.
    pub(super) fn open_dir_to_date(&self, path: &Path) -> io::Result<File> {
        self.open_to_date(path, GENERIC_READ, &[NodeKind::Dir])
    }

    /// Sets the time of a file or a directory, even if it is read-only.
    pub(super) fn set_time_of(&self, path: &Path, mtime: i64) -> io::Result<()> {
        if self.info(path)?.is_none_or(|found| found.kind == NodeKind::Other) {
            return Ok(());
        }
        let file = self.open_to_date(path, 0, &[NodeKind::Dir, NodeKind::File])?;
        system::set_modified(&file, mtime)
    }

    fn open_to_date(&self, path: &Path, access: u32, kinds: &[NodeKind]) -> io::Result<File> {
        let (dir, name) = self.parent(path)?;
        if !self.info(path)?.is_some_and(|found| kinds.contains(&found.kind)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut options = OpenOptions::new();
        options
            .access_mode(access | FILE_WRITE_ATTRIBUTES)
            // Windows opens directories only with this flag.
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
        Ok(open_patiently(|| dir.open_with(name, &options))?.into_std())
    }

    /// Renames unless something is at `to`. Windows does not rename an open directory, so it is released for
    /// a moment. If another program puts something in its place then, that is not taken for it.
    pub(super) fn rename_held(&self, from: &Path, to: &Path) -> io::Result<()> {
        let known = match self.held.borrow().iter().find(|(held, _)| held == from) {
            Some((_, dir)) => Some(stat::of_dir(dir)?.inode),
            None => None,
        };
        self.release(from);
        let outcome = self.rename_to_free(from, to);
        if let Some(inode) = known {
            let now = self.hold(if outcome.is_ok() { to } else { from })?;
            if now.inode != inode {
                return Err(io::Error::other("another directory has taken its place"));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::fs::owner::OwnerKey;

    fn layer() -> (tempfile::TempDir, DiskLayer) {
        let place = tempfile::tempdir().unwrap();
        let layer = DiskLayer::new(place.path(), OwnerKey::passing()).unwrap();
        (place, layer)
    }

    #[test]
    fn a_directory_is_held_through_its_renaming() {
        let (place, layer) = layer();
        layer.create_dir(Path::new("a")).unwrap();
        let before = layer.hold(Path::new("a")).unwrap();
        layer.create_new(Path::new("a/file")).unwrap();
        layer.rename_noreplace(Path::new("a"), Path::new("b")).unwrap();
        assert_eq!(layer.list(Path::new("b")).unwrap(), ["file"]);
        // Nobody else can rename it now.
        assert!(std::fs::rename(place.path().join("b"), place.path().join("c")).is_err());
        layer.create_dir(Path::new("taken")).unwrap();
        let taken = layer
            .rename_noreplace(Path::new("b"), Path::new("taken"))
            .unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(layer.list(Path::new("b")).unwrap(), ["file"]);
        assert_eq!(layer.hold(Path::new("b")).unwrap().inode, before.inode);
    }

    #[test]
    fn directories_and_read_only_files_can_be_dated() {
        let (_place, layer) = layer();
        let time = 1_000_000_000_000_000_000;
        layer.create_dir(Path::new("dir")).unwrap();
        let file = layer.create_new(Path::new("file")).unwrap();
        layer.set_mode(&file, 0o400).unwrap();
        drop(file);
        let dir = layer.open_dir(Path::new("dir")).unwrap();
        layer.set_mode(&dir, 0o700).unwrap();
        layer.set_modified(&dir, time).unwrap();
        drop(dir);
        layer.set_time(Path::new("file"), time).unwrap();
        for name in ["dir", "file"] {
            assert_eq!(
                layer.info(Path::new(name)).unwrap().unwrap().mtime,
                time,
                "{name}"
            );
        }
        layer.unlock(Path::new("file"));
        layer.open(Path::new("file")).unwrap();
    }
}
