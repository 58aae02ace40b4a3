//! Compares blocks with bytes that are here already: under the final names, or kept from another list
//! ([`super::base`]).

use super::{From, Sink};
use crate::transfer::error::TransferError;
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::sink::journal::Record;
use crate::transfer::sink::place::Rule;
use crate::transfer::sink::staging::{Before, with_leftovers};
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::sink::trial;
use crate::transfer::{BLOCK_LEN, BlockIndex};

impl<L: Layer> Sink<L> {
    /// Copies or compares one block of the content that is here. False if there is none.
    pub(super) fn compare_next(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        if self.copy_one(events)? || self.seek_moved(events) {
            return Ok(true);
        }
        let Some(block) = self.recheck.pop_front() else {
            return Ok(false);
        };
        let index = block.get();
        if self.verified.contains(index) {
            return Ok(true);
        }
        if self.is_kept(index) {
            match self.read_back(block, From::Staging)? {
                Some(hash) if self.announced.get(&index) == Some(&hash.cv) => {
                    self.confirm(block, &hash, events);
                    return Ok(true);
                }
                // The kept bytes were lost in a crash, or never written. The sender is not to blame.
                _ => self.kept.remove(&index),
            };
        }
        if self.base.blocks.remove(index) {
            self.recheck_base(block, events)?;
        } else {
            events.push(StoreEvent::Need(block));
        }
        Ok(true)
    }

    /// Compares a block with the bytes here.
    pub(super) fn recheck_base(
        &mut self,
        block: BlockIndex,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let announced = self.announced.get(&block.get()).copied();
        match self.read_back(block, From::Base)? {
            Some(hash) if announced == Some(hash.cv) => {
                self.moved.same.add(block.get());
                if self.base.equal {
                    self.base.borrowed.insert(block.get(), hash.cv);
                    self.confirm(block, &hash, events);
                    return Ok(());
                }
                self.write_scratch(block)?;
                self.journal_and_confirm(block, &hash, events)
            }
            _ => {
                if self.base.equal {
                    // Now there must be something to write.
                    let rule = Rule::new(self.conflicts).adding_to(&self.earlier.came);
                    let stays = &self.earlier.stays;
                    trial::finals::check(&self.layer, &self.manifest, rule, stays)?;
                    self.tree
                        .check_room(&self.layer, Before::Same, &self.losses, stays)
                        .map_err(|e| with_leftovers(&self.layer, e))?;
                }
                self.base.equal = false;
                if self.base.borrowed.is_empty() {
                    self.on_differing(block, events);
                } else {
                    self.base.differs = Some(block);
                }
                Ok(())
            }
        }
    }

    /// A block differs, so the blocks that matched so far must be copied. Copies one of them; false if none is left.
    /// The differing block is reported only after all are copied, so the transfer does not end before.
    pub(super) fn copy_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        if self.base.equal {
            return Ok(false);
        }
        let Some((index, cv)) = self.base.borrowed.pop_first() else {
            return Ok(false);
        };
        let block = BlockIndex::new(index);
        if self
            .read_back(block, From::Base)?
            .is_none_or(|hash| hash.cv != cv)
        {
            let error = std::io::Error::other("it changed while it was compared");
            return Ok(Err(error).doing(&self.layer, "read", "")?);
        }
        self.write_scratch(block)?;
        self.append(&Record::Block { index, cv })?;
        let left = self.base.borrowed.len() as u64 * BLOCK_LEN as u64;
        events.push(StoreEvent::Copying { left });
        if left == 0
            && let Some(block) = self.base.differs.take()
            && !self.verified.contains(block.get())
        {
            self.on_differing(block, events);
        }
        Ok(true)
    }
}
