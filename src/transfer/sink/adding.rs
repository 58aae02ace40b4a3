//! Adding to an earlier, incomplete transfer ([`super::came`]). Files that are equal stay where they are.

use std::io;
use std::sync::Arc;

use super::Sink;
use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::manifest::{EntryIndex, Segment};
use crate::transfer::sink::came::Account;
use crate::transfer::sink::place::Placed;
use crate::transfer::{BLOCK_LEN, BlockIndex};

impl<L: Layer> Sink<L> {
    /// Whether these bytes are in a file that stays under its final name. If the file has other bytes, it no
    /// longer stays.
    pub(super) fn lies_there(&mut self, segment: &Segment, bytes: &[u8]) -> Result<bool, LocalError> {
        if !self.earlier.stays.contains(segment.entry.get()) {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        if self.base.tree.read(&self.layer, segment, &mut found)? && found == bytes {
            return Ok(true);
        }
        self.replace_whole(segment.entry)?;
        Ok(false)
    }

    /// The file will be replaced. Copies the parts of it that were found equal.
    fn replace_whole(&mut self, index: EntryIndex) -> Result<(), LocalError> {
        let manifest = Arc::clone(&self.manifest);
        for one in manifest.names_of(index) {
            self.earlier.stays.remove(one.get());
        }
        let content = manifest.content_range(index);
        let mut piece = vec![0; BLOCK_LEN];
        let mut at = content.start;
        while let Some(block) = BlockIndex::containing(at).filter(|_| at < content.end) {
            let end = content.end.min(block.start() + BLOCK_LEN as u64);
            let segment = Segment {
                entry: index,
                file_offset: at - content.start,
                len: end - at,
            };
            at = end;
            if !self.verified.contains(block.get()) {
                continue;
            }
            let piece = &mut piece[..segment.len as usize];
            if !self.base.tree.read(&self.layer, &segment, piece)? {
                let error = io::Error::other("it changed while it was compared");
                return Err(error).doing(&self.layer, "read", manifest.path(index));
            }
            self.tree.write(&self.layer, &segment, piece, &mut self.losses)?;
        }
        Ok(())
    }

    /// Files that stay are not in `data/`. Counts them as missing there, so that the last steps skip them.
    pub(super) fn pass_over_what_stays(&mut self) {
        for index in self.earlier.stays.members() {
            self.losses.miss(EntryIndex::new(index));
        }
    }

    /// If the transfer is incomplete, notes what has arrived. Removes the earlier note.
    pub(super) fn keep_note(&mut self, placed: &[Placed]) -> Result<(), LocalError> {
        let failed = |e| LocalError::new("note what has come in", self.layer.root(), e);
        if let Some((staging, lock)) = self.note.take() {
            // Some systems do not move a directory while a file in it is open.
            drop(lock);
            staging.remove(&self.layer).map_err(failed)?;
        }
        match &self.first {
            Some(first) if !self.missing.is_empty() => {
                let account = Account {
                    sent: &self.sent,
                    list: &self.manifest,
                    placed: placed
                        .iter()
                        .map(|placed| (&*placed.name, &*placed.final_name))
                        .collect(),
                    missing: &self.missing,
                    before: &self.earlier.came,
                };
                account.note(&self.layer, first, self.header).map_err(failed)
            }
            _ => Ok(()),
        }
    }
}
