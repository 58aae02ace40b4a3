//! A receive into an output that takes bytes only in order: standard output, or memory for a message.
//!
//! Nothing is written before it is verified, and nothing out of order. What arrives early waits in its
//! buffer. The sender stays within [`ORDERED_WINDOW`] blocks of what is written, so [`ORDERED_BUFFERS`]
//! buffers are enough.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};

use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::hash::{BlockHash, Cv, RootBuilder, hash_block};
use crate::transfer::ranges::Run;
use crate::transfer::sink::assemble::{Buffer, Extent, Filled};
use crate::transfer::sink::store::{Store, StoreEvent, StoreJob};
use crate::transfer::{BlockIndex, MAX_CONTENT, ORDERED_WINDOW, block_count};

/// Buffers that the assembler in front of an [`OrderedSink`] needs: one window of open blocks and one of
/// waiting blocks.
pub const ORDERED_BUFFERS: usize = 2 * ORDERED_WINDOW as usize;

/// Writes verified content in order.
pub struct OrderedSink<W> {
    output: W,
    total: Option<u64>,
    announced: BTreeMap<u32, Cv>,
    /// Whole blocks that wait for their hash or for their turn.
    waiting: BTreeMap<u32, (Buffer, usize, BlockHash)>,
    written: u32,
    struck: Option<BlockIndex>,
    root: RootBuilder,
}

impl<W: Write> OrderedSink<W> {
    /// Writes to `output`. `total` is the length of the content, if known.
    pub fn new(output: W, total: Option<u64>) -> Self {
        OrderedSink {
            output,
            total,
            announced: BTreeMap::new(),
            waiting: BTreeMap::new(),
            written: 0,
            struck: None,
            root: RootBuilder::default(),
        }
    }

    /// Returns the output at the end.
    pub fn into_output(self) -> W {
        self.output
    }

    fn in_window(&self, block: BlockIndex) -> bool {
        let blocks = block_count(self.total.unwrap_or(MAX_CONTENT));
        block.get() < blocks && block.get() < self.written + 2 * ORDERED_WINDOW
    }

    fn on_filled(&mut self, filled: Filled, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        let Filled {
            block,
            buffer,
            extent: Extent::Whole(len),
            ..
        } = filled
        else {
            return Err(Breach::AheadOfWindow.into());
        };
        if !self.in_window(block) || block.get() < self.written || self.waiting.contains_key(&block.get()) {
            return Err(Breach::AheadOfWindow.into());
        }
        let hash = hash_block(block, &buffer[..len]);
        self.waiting.insert(block.get(), (buffer, len, hash));
        self.advance(events)
    }

    fn advance(&mut self, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        while let (Some((_, _, hash)), Some(cv)) =
            (self.waiting.get(&self.written), self.announced.get(&self.written))
        {
            let block = BlockIndex::new(self.written);
            let matches = hash.cv == *cv;
            let Some((buffer, len, hash)) = self.waiting.remove(&self.written) else {
                break;
            };
            if !matches {
                events.push(StoreEvent::Recycle(buffer));
                if self.struck.replace(block) == Some(block) {
                    return Err(TransferError::Verification(block));
                }
                events.push(StoreEvent::Need(block));
                break;
            }
            let outcome = self.output.write_all(&buffer[..len]);
            events.push(StoreEvent::Recycle(buffer));
            outcome.map_err(output_error)?;
            self.announced.remove(&self.written);
            self.root.insert(block, &hash);
            self.written += 1;
            events.push(StoreEvent::Verified(block));
        }
        Ok(())
    }
}

fn output_error(error: std::io::Error) -> LocalError {
    match error.kind() {
        ErrorKind::BrokenPipe => LocalError::OutputClosed,
        _ => LocalError::Output(error),
    }
}

impl<W: Write + Send> Store for OrderedSink<W> {
    fn held(&self) -> Vec<Run> {
        Vec::new()
    }

    fn handle(&mut self, job: StoreJob, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        match job {
            // A receiver with a window gets every byte.
            StoreJob::Announce { zeros: true, .. } => Err(Breach::Hashes.into()),
            StoreJob::Announce { first, cvs, .. } => {
                for (index, cv) in (first.get()..).zip(cvs) {
                    let block = BlockIndex::new(index);
                    let again = index < self.written || self.announced.insert(index, cv).is_some();
                    if again || !self.in_window(block) {
                        return Err(Breach::Hashes.into());
                    }
                }
                self.advance(events)
            }
            StoreJob::Filled(filled) => self.on_filled(filled, events),
            // The only file would be missing then, so the sender must not say this.
            StoreJob::Chunks(_) => Err(Breach::Chunks.into()),
            StoreJob::Missing(_) => Err(Breach::Missing.into()),
            StoreJob::Total(total) => {
                let blocks = block_count(total);
                let beyond = self.written > blocks
                    || self.announced.keys().next_back().is_some_and(|&i| i >= blocks)
                    || self.waiting.keys().next_back().is_some_and(|&i| i >= blocks);
                if self.total.is_some() || beyond {
                    return Err(Breach::StreamEnd.into());
                }
                self.total = Some(total);
                Ok(())
            }
            StoreJob::Finish { root } => {
                if self.total.and_then(|total| self.root.root(block_count(total))) != Some(root) {
                    return Err(Breach::Root.into());
                }
                self.output.flush().map_err(output_error)?;
                events.push(StoreEvent::Finished {
                    root,
                    placed: Vec::new(),
                });
                Ok(())
            }
        }
    }

    fn recheck_one(&mut self, _: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        Ok(false)
    }
}
