//! Extended attributes of what is sent.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::system::{attribute, attribute_names, attribute_names_at};
use crate::transfer::manifest::attributes::{encode, is_allowed};

/// Entries that are looked at for attributes when none are sent: the first ones tell whether a user has such, and a long
/// list takes no longer.
pub(super) const MOST_LOOKED_AT: u32 = 10_000;

/// What an open file or directory has, as it stands in an entry; `None` if it has more than one may have.
#[cfg(unix)]
pub(super) fn read(file: &impl std::os::fd::AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in attribute_names(file)?.into_iter().filter(|name| is_allowed(name)) {
        match attribute(file, &name) {
            Ok(value) => drop(found.insert(name, value)),
            // One that has just gone, or that this user may not read.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied || is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(encode(&found))
}

#[cfg(not(unix))]
pub(super) fn read<T>(_: &T) -> io::Result<Option<Vec<u8>>> {
    Ok(Some(Vec::new()))
}

#[cfg(unix)]
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODATA)
}

/// Whether what lies at `path` has any that could be sent.
pub(super) fn has_any(path: &Path) -> bool {
    attribute_names_at(path).iter().any(|name| is_allowed(name))
}
