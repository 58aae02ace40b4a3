//! Extended attributes of files and directories, POSIX access control lists among them.

use std::io;

/// Whether this program can read and set extended attributes on this system.
pub(crate) const HAS_ATTRIBUTES: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr, llistxattr};
    use rustix::io::Errno;

    use super::io;

    /// Longest list of names, and longest value, that Linux allows, in bytes: xattr(7).
    const LONGEST: usize = 64 << 10;

    fn names(list: &[u8]) -> Vec<Vec<u8>> {
        let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        names.map(<[u8]>::to_vec).collect()
    }

    /// The names of a file's attributes. Empty if the file system has no attributes.
    pub(crate) fn attribute_names(file: &File) -> io::Result<Vec<Vec<u8>>> {
        let mut list = vec![0; LONGEST];
        match flistxattr(file, &mut list[..]) {
            Ok(len) => Ok(names(&list[..len])),
            Err(Errno::NOTSUP | Errno::NOSYS) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// The names of the attributes of what lies at `path`. Empty if they cannot be read.
    pub(crate) fn attribute_names_at(path: &Path) -> Vec<Vec<u8>> {
        let mut list = [0; 1024];
        match llistxattr(path, &mut list[..]) {
            Ok(len) => names(&list[..len]),
            Err(Errno::RANGE) => {
                let mut list = vec![0; LONGEST];
                llistxattr(path, &mut list[..]).map_or_else(|_| Vec::new(), |len| names(&list[..len]))
            }
            Err(_) => Vec::new(),
        }
    }

    /// The value of one attribute. `None` if it is gone by now, or if this user may not read it.
    pub(crate) fn attribute(file: &File, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; LONGEST];
        match fgetxattr(file, OsStr::from_bytes(name), &mut value[..]) {
            Ok(len) => value.truncate(len),
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        Ok(Some(value))
    }

    /// Sets an attribute, or replaces its value.
    pub(crate) fn set_attribute(file: &File, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(fsetxattr(
            file,
            OsStr::from_bytes(name),
            value,
            XattrFlags::empty(),
        )?)
    }
}

#[cfg(not(target_os = "linux"))]
mod others {
    use std::fs::File;
    use std::path::Path;

    use super::io;

    pub(crate) fn attribute_names(_: &File) -> io::Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    pub(crate) fn attribute_names_at(_: &Path) -> Vec<Vec<u8>> {
        Vec::new()
    }

    pub(crate) fn attribute(_: &File, _: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    pub(crate) fn set_attribute(_: &File, _: &[u8], _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{attribute, attribute_names, attribute_names_at, set_attribute};
#[cfg(not(target_os = "linux"))]
pub(crate) use others::{attribute, attribute_names, attribute_names_at, set_attribute};

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn many_long_names_are_all_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create_new(&path).unwrap();
        let name = |i: u8| format!("user.{i:0>100}").into_bytes();
        let set = (0..15).try_for_each(|i| set_attribute(&file, &name(i), b""));
        if set.is_err() {
            println!("GAP: the disk of this test keeps no attributes");
            return;
        }
        for listed in [attribute_names_at(&path), attribute_names(&file).unwrap()] {
            assert!(
                (0..15).all(|i| listed.contains(&name(i))),
                "{} names",
                listed.len()
            );
        }
    }
}
