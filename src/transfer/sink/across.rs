//! Moves files and directories into another file system below the output directory (a mount, a subvolume). A
//! rename cannot cross file systems: the file is copied, read back, and renamed there.
//!
//! The copy first has a name that only this user's program gives, so no crash leaves half a file under a
//! final name. The original is removed last.

use std::io;
use std::path::{Path, PathBuf};

use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeInfo, NodeKind, PIECE, read_pieces};
use crate::transfer::sink::holes;
use crate::transfer::sink::losses::{Losses, kept};
use crate::transfer::sink::place::{Conflicts, Rule, is_free, merge, open_ours};
use crate::transfer::sink::staging::Staging;

/// Names for a copy that are tried before giving up. Other runs may use some of them.
const MOST_COPIES: u32 = 100;

/// Moves `from` to `to`, where nothing may exist. A directory is created there and then filled. False if something is
/// there.
pub(crate) fn to_free<L: Layer>(
    layer: &L,
    from: &Path,
    to: &Path,
    losses: &mut Losses,
) -> Result<bool, LocalError> {
    let look = || -> io::Result<_> {
        let found = layer.info(from)?.ok_or(io::ErrorKind::NotFound)?;
        Ok((found, layer.info(to)?.is_some()))
    };
    let (found, is_taken) = look().doing(layer, "examine", to)?;
    if is_taken {
        return Ok(false);
    }
    if found.kind == NodeKind::Dir {
        if !is_free(layer.create_dir(to)).doing(layer, "create", to)? {
            return Ok(false);
        }
        merge(layer, from, to, Rule::new(Conflicts::Overwrite), losses)?;
        let dir = layer.open_dir(to);
        let finished = dir.and_then(|dir| losses.finish(layer, &dir, found.mode, Some(found.mtime)));
        return finished.map(|()| true).doing(layer, "finish", to);
    }
    let name = |copy: &Path| layer.rename_noreplace(copy, to);
    is_free(move_copy(layer, from, found, to, name, losses)).doing(layer, "name", to)
}

/// Moves the file or link `from` to `to`. Replaces anything there that is not a directory.
pub(crate) fn replacing<L: Layer>(layer: &L, from: &Path, to: &Path, losses: &mut Losses) -> io::Result<()> {
    let found = layer.info(from)?.ok_or(io::ErrorKind::NotFound)?;
    let name = |copy: &Path| layer.rename_replace(copy, to);
    move_copy(layer, from, found, to, name, losses)
}

/// Copies `from`, has the copy named, and removes the original. A link that this file system does not take is lost.
fn move_copy<L: Layer>(
    layer: &L,
    from: &Path,
    found: NodeInfo,
    to: &Path,
    name: impl FnOnce(&Path) -> io::Result<()>,
    losses: &mut Losses,
) -> io::Result<()> {
    match copy(layer, from, found, to, losses)? {
        Some(copy) => name(&copy).inspect_err(|_| {
            let _ = layer.remove_file(&copy);
        })?,
        None => losses.links_not_crossed += 1,
    }
    layer.sync(&layer.open_dir(to.parent().unwrap_or(Path::new("")))?)?;
    layer.remove_file(from)
}

/// Copies `from` to a temporary name beside `to`. Returns the path of the copy; `None` if this file system takes no links.
fn copy<L: Layer>(
    layer: &L,
    from: &Path,
    found: NodeInfo,
    to: &Path,
    losses: &mut Losses,
) -> io::Result<Option<PathBuf>> {
    for n in 0..MOST_COPIES {
        let copy = to.with_file_name(Staging::temporary(layer.key(), to, n).dir());
        let make = |losses: &mut Losses| {
            if found.kind == NodeKind::File {
                return copy_file(layer, from, found, &copy, losses).map(|()| true);
            }
            let is_made = kept(layer.symlink(&layer.read_link(from)?, &copy))?;
            if is_made {
                // Some file systems cannot set the time of a link.
                let _ = layer.set_time(&copy, found.mtime);
            }
            Ok(is_made)
        };
        let is_taken =
            |made: &io::Result<bool>| matches!(made, Err(e) if e.kind() == io::ErrorKind::AlreadyExists);
        let mut made = make(losses);
        if is_taken(&made) && is_abandoned(layer, &copy)? {
            layer.remove_file(&copy)?;
            made = make(losses);
        }
        if !is_taken(&made) {
            return made.map(|is_made| is_made.then_some(copy));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a crash left this copy: only this program gives such a name, and no run has it locked.
fn is_abandoned<L: Layer>(layer: &L, copy: &Path) -> io::Result<bool> {
    match layer.info(copy)?.map(|found| found.kind) {
        Some(NodeKind::File) => layer.try_lock(&open_ours(layer, copy)?),
        Some(NodeKind::Other) => Ok(true),
        Some(NodeKind::Dir) | None => Ok(false),
    }
}

fn copy_file<L: Layer>(
    layer: &L,
    from: &Path,
    found: NodeInfo,
    copy: &Path,
    losses: &mut Losses,
) -> io::Result<()> {
    let target = layer.create_new(copy)?;
    // Before it is locked, another run may take it for a leftover of a crash and remove it.
    let is_ours = layer
        .try_lock(&target)
        .and_then(|locked| Ok(locked && layer.info(copy)?.is_some()));
    if matches!(is_ours, Ok(false)) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    losses.crossed = true;
    let write = || {
        is_ours?;
        // This run may have finished the file with a mode that does not even let its owner read it.
        let source = match layer.open_read(from) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => open_ours(layer, from)?,
            other => other?,
        };
        let len = found.len;
        holes::copy(layer, &source, &target, len)?;
        layer.sync(&target)?;
        let mut written = vec![0; PIECE];
        read_pieces(layer, &source, len, |at, part| {
            let written = &mut written[..part.len()];
            layer.read_at(&target, at, written)?;
            if written == part {
                Ok(())
            } else {
                Err(io::Error::other("what was written is not what is read"))
            }
        })
    };
    let outcome = write().and_then(|()| losses.finish(layer, &target, found.mode, Some(found.mtime)));
    drop(target);
    outcome.inspect_err(|_| {
        let _ = layer.remove_file(copy);
    })
}
