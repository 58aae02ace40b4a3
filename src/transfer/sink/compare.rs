//! Compares blocks with bytes that are here already: under the final names, or kept from another list
//! ([`super::base`]).

use super::{From, Sink};
use crate::transfer::BlockIndex;
use crate::transfer::error::TransferError;
use crate::transfer::fs::layer::Layer;
use crate::transfer::sink::journal::Record;
use crate::transfer::sink::store::StoreEvent;

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
                if !self.is_all_borrowed(block) {
                    self.write_scratch(block)?;
                    self.append(&Record::Block {
                        index: block.get(),
                        cv: hash.cv,
                    })?;
                }
                self.confirm(block, &hash, events);
            }
            _ => {
                self.leave_places(block)?;
                if self.base.leaving.is_empty() {
                    self.on_differing(block, events);
                } else {
                    self.base.differs.push(block);
                }
            }
        }
        Ok(())
    }
}
