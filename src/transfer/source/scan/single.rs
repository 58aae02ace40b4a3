//! Lists with one entry that is not a file: the content of a pipe, or a message.

use std::sync::Arc;

use crate::transfer::error::Malformed;
use crate::transfer::manifest::{Entry, Kind, Manifest, ManifestBuilder, Trust};
use crate::transfer::names;

/// The manifest of a pipe's content. The receiver sees it as `name`.
///
/// # Errors
/// If `name` cannot be the name of a file.
pub fn stream_manifest(name: &str) -> Result<Arc<Manifest>, Malformed> {
    single(Kind::Stream, name, 0)
}

/// The manifest of a message.
///
/// # Errors
/// If the message is too long.
pub(crate) fn text_manifest(text: &str) -> Result<Arc<Manifest>, Malformed> {
    single(Kind::Text, "message", text.len() as u64)
}

fn single(kind: Kind, name: &str, size: u64) -> Result<Arc<Manifest>, Malformed> {
    let name = names::SafeName::from_peer(name.as_bytes())?;
    let mut builder = ManifestBuilder::new(Trust::Own);
    builder.add(Entry {
        kind,
        parent: None,
        name: name.as_bytes(),
        size,
        mtime: 0,
        mode: 0o644,
        target: b"",
    })?;
    builder.finish().map(Arc::new)
}
