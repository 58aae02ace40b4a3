//! Turns a path below the output directory into an open directory and a name in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use crate::system::patiently;
use crate::transfer::fs::disk::DiskLayer;

impl DiskLayer {
    /// Lets this user change what lies at `path`, if possible.
    pub(super) fn make_writable(&self, path: &Path) {
        let Ok((dir, name)) = self.parent(path) else {
            return;
        };
        let Ok(found) = dir.symlink_metadata(name) else {
            return;
        };
        #[cfg(unix)]
        let permissions = {
            use cap_std::fs::MetadataExt;
            let mode = if found.is_dir() {
                0o700 | found.mode() & 0o2000
            } else {
                0o600
            };
            cap_std::fs::Permissions::from_std(std::os::unix::fs::PermissionsExt::from_mode(mode))
        };
        #[cfg(not(unix))]
        let permissions = {
            let mut permissions = found.permissions();
            permissions.set_readonly(false);
            permissions
        };
        let _ = dir.set_permissions(name, permissions);
    }

    /// The open directory that holds `path`, and the last component of `path`.
    pub(crate) fn parent<'p>(&self, path: &'p Path) -> io::Result<(Arc<Dir>, &'p Path)> {
        let name = Path::new(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut last = self.last_parent.borrow_mut();
        if let Some((known, dir)) = &*last
            && known.as_os_str() == parent.as_os_str()
        {
            return Ok((Arc::clone(dir), name));
        }
        let dir = self.dir_at(parent)?;
        *last = Some((parent.to_owned(), Arc::clone(&dir)));
        Ok((dir, name))
    }

    /// The directory at `path`. No component may be a link: a link that is there now may be another user's.
    pub(crate) fn dir_at(&self, path: &Path) -> io::Result<Arc<Dir>> {
        let held = self.held.borrow();
        let below = held
            .iter()
            .find_map(|(held, dir)| path.strip_prefix(held).ok().map(|rest| (dir, rest)));
        let (dir, rest) = below.unwrap_or((&self.dir, path));
        let mut dir = Arc::clone(dir);
        for name in rest.iter() {
            dir = Arc::new(dir.open_dir_nofollow(name)?);
        }
        Ok(dir)
    }

    pub(crate) fn forget_parent(&self) {
        *self.last_parent.borrow_mut() = None;
    }

    /// Renames unless something is at `to`. A held directory stays held under its new name.
    #[cfg(not(windows))]
    pub(super) fn rename_held(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_to_free(from, to)?;
        for (held, _) in self.held.borrow_mut().iter_mut().filter(|(held, _)| held == from) {
            to.clone_into(held);
        }
        Ok(())
    }

    /// Renames unless something is at `to`.
    pub(crate) fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        self.forget_parent();
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(&*from_dir, from_name, &*to_dir, to_name, RenameFlags::NOREPLACE) {
                // Some file systems cannot do this. The next way follows.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                other => return Ok(other?),
            }
        }
        // A hard link fails if the name exists, but only files can have hard links.
        if from_dir.symlink_metadata(from_name)?.is_file() {
            match patiently(|| from_dir.hard_link(from_name, &to_dir, to_name)) {
                Ok(()) => return patiently(|| from_dir.remove_file(from_name)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(e),
                Err(_) => {}
            }
        }
        match to_dir.symlink_metadata(to_name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                patiently(|| from_dir.rename(from_name, &to_dir, to_name))
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests plant files")]
mod tests {
    use super::*;
    use crate::transfer::fs::layer::Layer;
    use crate::transfer::fs::owner::OwnerKey;

    /// A link to the directory `name` beside it. On Windows a junction, which needs no further right.
    fn link(name: &str, link: &Path) {
        #[cfg(unix)]
        std::os::unix::fs::symlink(name, link).unwrap();
        #[cfg(windows)]
        {
            let mut shell = std::process::Command::new("cmd");
            shell
                .args(["/c", "mklink", "/J"])
                .arg(link)
                .arg(link.with_file_name(name));
            assert!(shell.status().unwrap().success());
        }
    }

    #[cfg_attr(windows, ignore = "Wine makes no junctions")]
    #[test]
    fn no_link_leads_to_another_directory_of_the_output_directory() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("own/below")).unwrap();
        std::fs::write(at("own/below/key"), "secret").unwrap();
        std::fs::write(at("new"), "planted").unwrap();
        // "tree" was a directory a moment ago.
        link("own", &at("tree"));
        let layer = DiskLayer::new(place.path(), OwnerKey::passing()).unwrap();
        let key = Path::new("tree/below/key");
        layer.open(key).unwrap_err();
        layer.create_new(Path::new("tree/more")).unwrap_err();
        layer.rename_replace(Path::new("new"), key).unwrap_err();
        layer.remove_file(key).unwrap_err();
        layer.list(Path::new("tree/below")).unwrap_err();
        layer.open_dir(Path::new("tree")).unwrap_err();
        assert_eq!(std::fs::read(at("own/below/key")).unwrap(), b"secret");
    }
}
