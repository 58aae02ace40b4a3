//! An output directory that was missing when the user named it: whoever makes it meanwhile may make a way to somewhere
//! else of it.

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
    /// Makes `root`, which was missing, and confines itself to it: only its last component is made, so that nothing
    /// takes the place of a disk that is not mounted. Where something is by now, it must be a directory of this user's.
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

    /// Confines itself to `root`, which was missing when the user named it. Whoever else made it meanwhile may have
    /// made a way to somewhere else of it.
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
