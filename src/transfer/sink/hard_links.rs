//! Files with several names. Their content arrives once. The other names are made when it is whole: as hard
//! links, or as copies if the disk has no hard links.

use std::io;
use std::path::Path;

use crate::transfer::fs::layer::{Layer, PIECE, read_pieces};
use crate::transfer::manifest::Entry;
use crate::transfer::sink::holes;
use crate::transfer::sink::losses::{Losses, Remark};
use crate::transfer::sink::place::open_ours;

/// Makes one more name of a file. `false` if the disk has no hard links, or allows no more of this file.
pub(super) fn link<L: Layer>(layer: &L, file: &Path, link: &Path) -> io::Result<bool> {
    use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    match layer.hard_link(file, link) {
        Ok(()) => Ok(true),
        Err(e)
            if matches!(
                e.kind(),
                CrossesDevices | InvalidInput | PermissionDenied | TooManyLinks | Unsupported
            ) =>
        {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// Makes `to`, one more name of the finished file `from`, or a copy of it. `entry` is the file's entry.
pub(super) fn make<L: Layer>(
    layer: &L,
    from: &Path,
    to: &Path,
    entry: &Entry<'_>,
    losses: &mut Losses,
) -> io::Result<()> {
    if link(layer, from, to)? {
        return Ok(());
    }
    losses.tell(Remark::HardLinksLost);
    let copy = layer.create_new(to)?;
    let source = match layer.open_read(from) {
        // The file is finished, and its mode may not even let its owner read it.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let source = open_ours(layer, from)?;
            layer.set_mode(&source, entry.mode)?;
            source
        }
        other => other?,
    };
    let len = layer.len(&source)?;
    holes::copy(layer, &source, &copy, len)?;
    losses.finish_entry(layer, &copy, entry)?;
    layer.sync(&copy)
}

/// Whether `other` needs no change to be one more name of `file`: it is one, or it is a copy, and this disk makes no link
/// in its place. `spare` is a free path of ours. What cannot be linked there lies in another file system.
pub(super) fn is_as_good<L: Layer>(layer: &L, file: &Path, other: &Path, spare: &Path) -> bool {
    let is_linkable =
        |path| link(layer, path, spare).is_ok_and(|made| made && layer.remove_file(spare).is_ok());
    are_one(layer, file, other) || are_equal(layer, file, other) && !(is_linkable(file) && is_linkable(other))
}

/// Whether two files have the same bytes. False if one of them cannot be read.
pub(super) fn are_equal<L: Layer>(layer: &L, one: &Path, other: &Path) -> bool {
    let compare = || {
        let (one, other) = (layer.open_read(one)?, layer.open_read(other)?);
        let len = layer.len(&one)?;
        let alike = |is: bool| {
            if is {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData)
            }
        };
        alike(layer.len(&other)? == len)?;
        let mut found = vec![0; PIECE];
        read_pieces(layer, &one, len, |at, piece| {
            let found = &mut found[..piece.len()];
            layer.read_at(&other, at, found)?;
            Ok(alike(found == piece)?)
        })
    };
    compare().is_ok()
}

/// Whether two names are of the same file. False if the system does not tell.
fn are_one<L: Layer>(layer: &L, one: &Path, other: &Path) -> bool {
    let node = |path| {
        let found = layer.stat(&layer.open_read(path).ok()?).ok()?;
        (found.inode != 0).then_some((found.device, found.inode, found.born))
    };
    node(one).is_some_and(|one| node(other) == Some(one))
}
