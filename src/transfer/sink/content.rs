//! Writes blocks to the disk and reads them back.

use std::ops::Range;
use std::sync::Arc;

use super::{From, Sink};
use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::hash::{BlockHash, hash_block};
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::{BLOCK_LEN, BlockIndex};

impl<L: Layer> Sink<L> {
    /// The sender announced a block of zeros and does not send it.
    pub(super) fn on_zeros(
        &mut self,
        block: BlockIndex,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        // Zeros stand only for whole blocks of a content of known length. Otherwise a stream could grow without
        // limit.
        if self.total.is_none() || self.len_of(block) < BLOCK_LEN {
            return Err(Breach::Hashes.into());
        }
        let index = block.get();
        // Content that may be here already is compared first.
        if self.verified.contains(index) || self.is_held(index) {
            return Ok(());
        }
        self.scratch.fill(0);
        let hash = hash_block(block, &self.scratch);
        if self.announced.get(&index) != Some(&hash.cv) {
            return self.strike(block, events);
        }
        self.write_scratch(block)?;
        self.journal_and_confirm(block, &hash, events)
    }

    pub(super) fn write_scratch(&mut self, block: BlockIndex) -> Result<(), LocalError> {
        self.write_scratch_part(block, 0..self.len_of(block))
    }

    pub(super) fn write_scratch_part(
        &mut self,
        block: BlockIndex,
        part: Range<usize>,
    ) -> Result<(), LocalError> {
        let scratch = std::mem::take(&mut self.scratch);
        let outcome = self.write(block, part.start as u32, &scratch[part]);
        self.scratch = scratch;
        outcome
    }

    pub(super) fn write(&mut self, block: BlockIndex, within: u32, bytes: &[u8]) -> Result<(), LocalError> {
        let mut at = 0;
        let start = block.start() + u64::from(within);
        let manifest = Arc::clone(&self.manifest);
        for segment in manifest.segments(start..start + bytes.len() as u64) {
            let len = segment.len as usize;
            let piece = &bytes[at..at + len];
            if !self.lies_there(block, &segment, piece)? {
                self.tree.write(&self.layer, &segment, piece, &mut self.losses)?;
            }
            at += len;
        }
        Ok(())
    }

    /// Reads a block from the disk and hashes it. `None` if some of its bytes are missing.
    pub(super) fn read_back(
        &mut self,
        block: BlockIndex,
        from: From,
    ) -> Result<Option<BlockHash>, LocalError> {
        let len = self.len_of(block);
        if from == From::Aside {
            let found = self.aside.take(&self.layer, block, &mut self.scratch[..len]);
            let found = found.doing(&self.layer, "read", self.staging.aside())?;
            return Ok((found && len > 0).then(|| hash_block(block, &self.scratch[..len])));
        }
        let mut at = 0;
        let manifest = Arc::clone(&self.manifest);
        for segment in manifest.block_segments(block, len) {
            let part = &mut self.scratch[at..at + segment.len as usize];
            let entry = segment.entry;
            let is_base = self.earlier.stays.contains(entry.get())
                || from == From::Leaving && self.base.leaving.contains(&(block.get(), entry));
            let tree = if from == From::Base || is_base {
                &mut self.base.tree
            } else {
                &mut self.tree
            };
            if !tree.read(&self.layer, &segment, part)? {
                return Ok(None);
            }
            at += segment.len as usize;
        }
        Ok((len > 0).then(|| hash_block(block, &self.scratch[..len])))
    }
}
