//! Rights that only Windows asks for, and what Windows does with the names of open directories.

use std::fs::File;
use std::io;
use std::path::Path;

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use windows_sys::Win32::Foundation::GENERIC_READ;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_WRITE_ATTRIBUTES};

use crate::system::{self, open_patiently};
use crate::transfer::fs::disk::{Access, DiskLayer, stat};
use crate::transfer::fs::layer::{Layer, NodeKind};

impl DiskLayer {
    pub(super) fn open_as(&self, path: &Path, access: Access) -> io::Result<File> {
        let (dir, name) = self.parent(path)?;
        // A link leads elsewhere. cap-std keeps it inside the output directory even if it appears just now.
        if dir.symlink_metadata(name).is_ok_and(|found| !found.is_file()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(access != Access::Read)
            .create_new(access == Access::Create);
        // Its time can then be set as well, if this user may set it.
        let mut to_date = OpenOptions::new();
        to_date.access_mode(GENERIC_READ | FILE_WRITE_ATTRIBUTES);
        let open = || match access {
            Access::Read => dir
                .open_with(name, &to_date)
                .or_else(|_| dir.open_with(name, &options)),
            Access::Create | Access::Write => dir.open_with(name, &options),
        };
        let file = open_patiently(open)?.into_std();
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

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
    use std::os::windows::fs::OpenOptionsExt as _;
    use std::time::{Duration, Instant};

    use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_DELETE, FILE_SHARE_READ};

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

    /// Wine ignores the attribute of directories.
    #[test]
    fn a_directory_that_looks_special_is_no_read_only_one() {
        let (place, layer) = layer();
        let dir = place.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        let mut permissions = std::fs::metadata(&dir).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&dir, permissions).unwrap();
        assert_eq!(layer.info(Path::new("dir")).unwrap().unwrap().mode, 0o700);
        layer.unlock(Path::new("dir"));
    }

    /// About as long as an antivirus program or an indexer holds a new file.
    const MOMENT: Duration = Duration::from_millis(300);

    /// Holds a file as another program does.
    fn hold(path: &Path, sharing: u32) -> File {
        File::options().read(true).share_mode(sharing).open(path).unwrap()
    }

    /// Lets go after a moment.
    fn let_go_soon(holder: File) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            std::thread::sleep(MOMENT);
            drop(holder);
        })
    }

    /// Runs `act` while another program holds "a" for itself.
    fn while_held<T>(act: impl FnOnce(&DiskLayer) -> io::Result<T>) {
        let (place, layer) = layer();
        for name in ["a", "b"] {
            layer.create_new(Path::new(name)).unwrap();
        }
        let holder = hold(&place.path().join("a"), 0);
        let begun = Instant::now();
        let other = let_go_soon(holder);
        act(&layer).unwrap();
        assert!(begun.elapsed() >= MOMENT, "nothing was held");
        other.join().unwrap();
    }

    #[test]
    fn what_another_program_holds_for_a_moment_is_waited_for() {
        let (a, b) = (Path::new("a"), Path::new("b"));
        while_held(|layer| layer.open(a));
        while_held(|layer| layer.open_read(a));
        while_held(|layer| layer.rename_noreplace(a, Path::new("c")));
        while_held(|layer| layer.rename_replace(a, b));
        while_held(|layer| layer.rename_replace(b, a));
        while_held(|layer| layer.remove_file(a));
    }

    #[test]
    fn what_another_program_holds_for_good_is_told() {
        let (place, layer) = layer();
        layer.create_new(Path::new("a")).unwrap();
        let _holder = hold(&place.path().join("a"), 0);
        assert!(system::is_held(&layer.open(Path::new("a")).unwrap_err()));
    }

    /// Its name stays until the other program closes it, on file systems and Windows that know no other way to delete.
    #[test]
    fn a_directory_goes_although_another_program_still_reads_a_deleted_file_in_it() {
        let (place, layer) = layer();
        let (dir, file) = (Path::new("dir"), Path::new("dir/file"));
        layer.create_dir(dir).unwrap();
        layer.create_new(file).unwrap();
        let other = let_go_soon(hold(
            &place.path().join(file),
            FILE_SHARE_READ | FILE_SHARE_DELETE,
        ));
        layer.remove_file(file).unwrap();
        layer.remove_dir(dir).unwrap();
        other.join().unwrap();
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
        assert_dated(&layer, time);
        // Wine sets a time whatever the file was opened for.
        let file = layer.open_read(Path::new("file")).unwrap();
        layer.set_modified(&file, 2 * time).unwrap();
        drop(file);
        layer.set_time(Path::new("dir"), 2 * time).unwrap();
        assert_dated(&layer, 2 * time);
        layer.unlock(Path::new("file"));
        layer.open(Path::new("file")).unwrap();
    }

    fn assert_dated(layer: &DiskLayer, time: i64) {
        for name in ["dir", "file"] {
            assert_eq!(
                layer.info(Path::new(name)).unwrap().unwrap().mtime,
                time,
                "{name}"
            );
        }
    }
}
