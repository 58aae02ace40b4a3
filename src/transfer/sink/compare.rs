//! Compares blocks with bytes that are here already: under the final names, or kept from another list
//! ([`super::base`]).

use super::{From, Sink};
use crate::transfer::BlockIndex;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::layer::Layer;
use crate::transfer::sink::journal::Record;
use crate::transfer::sink::store::StoreEvent;

impl<L: Layer> Sink<L> {
    /// Compares a block with the bytes here.
    pub(super) fn recheck_base(
        &mut self,
        block: BlockIndex,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let announced = self.announced.get(&block.get()).copied();
        match self.read_back(block, From::Base)? {
            Some(hash) if announced == Some(hash.cv) => {
                self.moved.on_same(block);
                if self.base.equal {
                    self.base.borrowed.insert(block.get(), hash.cv);
                    self.confirm(block, &hash, events);
                    return Ok(());
                }
                self.write_scratch(block)?;
                self.journal_and_confirm(block, &hash, events)
            }
            _ => {
                self.diverge()?;
                self.on_differing(block, events);
                Ok(())
            }
        }
    }

    /// The files here are not equal to what is sent. Copies the blocks that have matched so far.
    fn diverge(&mut self) -> Result<(), TransferError> {
        self.base.equal = false;
        for (index, cv) in std::mem::take(&mut self.base.borrowed) {
            let block = BlockIndex::new(index);
            if self
                .read_back(block, From::Base)?
                .is_none_or(|hash| hash.cv != cv)
            {
                let error = std::io::Error::other("it changed while it was compared");
                return Err(LocalError::new("read", self.layer.root(), error).into());
            }
            self.write_scratch(block)?;
            self.append(&Record::Block { index, cv })?;
        }
        Ok(())
    }
}
