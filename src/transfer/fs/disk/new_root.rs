//! An output directory that did not exist when the user named it. Somebody else may create it meanwhile, as a
//! link that leads elsewhere.

use std::io;
use std::path::Path;

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::transfer::fs::disk::DiskLayer;
#[cfg(unix)]
use crate::transfer::fs::disk::stat;
use crate::transfer::fs::owner::OwnerKey;

impl DiskLayer {
    /// Creates `root`, which did not exist, and confines itself to it. Creates only the last component, so
    /// that the directory does not hide a disk that is not mounted. If something is there by now, it must be
    /// a directory of this user.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one directory that is made by its path"
    )]
    pub(crate) fn make(root: &Path, key: OwnerKey) -> io::Result<DiskLayer> {
        match std::fs::create_dir(root) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => DiskLayer::appeared(root, key),
            other => other.and_then(|()| DiskLayer::without_link(root, key)),
        }
    }

    /// Confines itself to `root`, which did not exist when the user named it. Somebody else may have created
    /// it meanwhile, as a link that leads elsewhere.
    pub(crate) fn appeared(root: &Path, key: OwnerKey) -> io::Result<DiskLayer> {
        let layer = DiskLayer::without_link(root, key)?;
        #[cfg(unix)]
        if stat::of_dir(&layer.dir)?.owner != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("another user has made it meanwhile"));
        }
        Ok(layer)
    }

    /// Confines itself to `root` unless its last component is a link.
    fn without_link(root: &Path, key: OwnerKey) -> io::Result<DiskLayer> {
        let name = root.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let above = match root.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        let dir = Dir::open_ambient_dir(above, ambient_authority())?.open_dir_nofollow(name)?;
        Ok(DiskLayer::of(dir, root, key))
    }
}
