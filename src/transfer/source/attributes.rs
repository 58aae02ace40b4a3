//! Reads the extended attributes of files that are sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::system::{attribute, attribute_names, attribute_names_at};
use crate::transfer::manifest::attributes::{encode, is_allowed};

/// Entries that are searched for attributes if none are sent. The first entries show whether the user uses
/// attributes, and a long list takes no longer.
pub(super) const MOST_LOOKED_AT: u32 = 10_000;

/// The attributes of an open file or directory, in the form they have in an entry. `None` if they are above
/// the limit for one entry.
pub(super) fn read(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in attribute_names(file)?.into_iter().filter(|name| is_allowed(name)) {
        if let Some(value) = attribute(file, &name)? {
            found.insert(name, value);
        }
    }
    Ok(encode(&found))
}

/// Whether what lies at `path` has attributes that could be sent.
pub(super) fn has_any(path: &Path) -> bool {
    attribute_names_at(path).iter().any(|name| is_allowed(name))
}
