//! The receiver's claims and requests: blocks that it holds, blocks that it needs after all, descriptions of
//! blocks and parts of blocks.

use crate::transfer::breach::Breach;
use crate::transfer::chunks::{ChunkList, MAX_FILES, MAX_PARTS};
use crate::transfer::error::{Malformed, TransferError};
use crate::transfer::ranges::Run;
use crate::transfer::session::messages::{CHUNKS_PER_MESSAGE, Message};
use crate::transfer::session::send::{SendEvent, SendSession, Stage};
use crate::transfer::{BlockIndex, DESCRIBED_WINDOW, MAX_CONTENT, ORDERED_WINDOW, block_count};

/// How often, on average, the receiver may ask for a block again. An honest receiver asks once for a block
/// that it only believed to hold, and once more for one that did not match its hash.
const MAX_NEEDS_PER_BLOCK: u64 = 4;

/// Most runs in a peer's claim to hold blocks of a stream.
const MAX_STREAM_RUNS: usize = 1 << 16;

impl SendSession {
    pub(super) fn on_have(&mut self, runs: &[Run], last: bool) -> Result<(), TransferError> {
        let blocks = self.total.map_or(u32::MAX, block_count);
        for run in runs {
            if run.end > blocks || self.have.first_member(run.start).is_some() {
                return Err(Breach::HoldsNoSuchBlock.into());
            }
            self.have.insert(run.start, run.end);
        }
        for run in self.void.iter() {
            self.have.remove_run(run);
        }
        if self.manifest.is_stream() && self.have.run_count() > MAX_STREAM_RUNS {
            return Err(Malformed::TooMuch("runs of blocks").into());
        }
        if runs.is_empty() && !last {
            return Err(Breach::HoldsNothing.into());
        }
        if last {
            self.claimed = self.have.clone();
            self.stage = Stage::Flowing;
            self.events.push_back(SendEvent::Started { held: self.held() });
        }
        Ok(())
    }

    pub(super) fn on_need(&mut self, runs: &[Run]) -> Result<(), TransferError> {
        for block in runs.iter().flat_map(|run| run.start..run.end) {
            if self.total.is_some_and(|total| block >= block_count(total)) || block < self.low {
                return Err(Breach::NeedsNoSuchBlock.into());
            }
            self.needed += 1;
            if self.needed > MAX_NEEDS_PER_BLOCK * u64::from(self.send_cursor.max(self.hashed.len()).max(1)) {
                return Err(Breach::NeedsAgain.into());
            }
            if self.void.contains(block) {
                continue;
            }
            let held = self.have.remove(block);
            // Claimed blocks are sent only on request.
            let is_claimed = self.claimed.contains(block) && !self.manifest.is_stream();
            if block < self.send_cursor || is_claimed {
                self.need.add(block);
            } else if !held
                && self.manifest.is_stream()
                && block > self.send_cursor.saturating_add(ORDERED_WINDOW)
            {
                return Err(Breach::NeedsNoSuchBlock.into());
            }
        }
        Ok(())
    }

    /// Takes a request to describe blocks. Each block may be described only once, so this costs at most one
    /// more read of it.
    pub(super) fn on_describe(&mut self, runs: &[Run]) -> Result<(), TransferError> {
        for block in runs.iter().flat_map(|run| run.start..run.end) {
            let can_differ = self.claimed.contains(block) && self.hashed.contains(block);
            if self.manifest.is_stream()
                || !can_differ
                || self.manifest.has_more_files(BlockIndex::new(block), MAX_FILES)
                || !self.described.add(block)
            {
                return Err(Breach::DescribesNoSuchBlock.into());
            }
            self.describe.add(block);
        }
        Ok(())
    }

    pub(super) fn on_parts(&mut self, block: BlockIndex, parts: Vec<Run>) -> Result<(), TransferError> {
        let len = block.len_in(self.total.unwrap_or(MAX_CONTENT));
        let end = parts.last().map_or(usize::MAX, |part| part.end as usize);
        let index = block.get();
        let is_first =
            self.described.contains(index) && (self.have.remove(index) || self.void.contains(index));
        let too_many = parts.len() > MAX_PARTS || self.parts.len() >= DESCRIBED_WINDOW as usize;
        if !is_first || end > len || too_many {
            return Err(Breach::NeedsNoSuchPart.into());
        }
        if !self.void.contains(index) {
            let asked: u64 = parts.iter().map(|part| u64::from(part.end - part.start)).sum();
            self.found += len as u64 - asked;
            self.parts.insert(index, parts);
        }
        Ok(())
    }

    /// Takes the chunks that ended in a block that was read to be described.
    pub fn on_described(&mut self, list: &ChunkList) {
        let mut start = list.start;
        for chunks in list.chunks.chunks(CHUNKS_PER_MESSAGE) {
            let chunks = chunks.to_vec();
            let len: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
            self.queue.push_back(Message::Chunks(ChunkList { start, chunks }));
            start += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::transfer::BLOCK_LEN;
    use crate::transfer::hash::hash_block;
    use crate::transfer::manifest::{Entry, Kind, ManifestBuilder, Trust};
    use crate::transfer::session::send::{Purpose, Work};
    use crate::transfer::source::BlockRead;

    /// A sender of one file, whose receiver claims to hold these blocks.
    fn flowing(blocks: u32, held: Run) -> SendSession {
        let mut list = ManifestBuilder::new(Trust::Own);
        list.add(Entry {
            kind: Kind::File,
            parent: None,
            name: b"a",
            size: u64::from(blocks) * BLOCK_LEN as u64,
            mtime: 0,
            mode: 0o644,
            target: b"",
        })
        .unwrap();
        let mut s = SendSession::new(Arc::new(list.finish().unwrap()));
        while s.poll_output(&mut Vec::new()) {}
        tell(&mut s, Message::Accept { window: None }).unwrap();
        let (runs, last) = (vec![held], true);
        tell(&mut s, Message::Have { runs, last }).unwrap();
        s
    }

    fn tell(s: &mut SendSession, message: Message) -> Result<(), TransferError> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        s.handle_bytes(&bytes)
    }

    fn run(start: u32, end: u32) -> Vec<Run> {
        vec![Run { start, end }]
    }

    /// The next block to read, and the purpose.
    fn next(s: &mut SendSession, room: bool) -> Option<(u32, Purpose)> {
        let Some(Work::Read { block, purpose }) = s.next_work(room) else {
            return None;
        };
        let read = BlockRead {
            len: BLOCK_LEN,
            hash: hash_block(block, &[block.get() as u8; 9]),
            is_zeros: false,
            stream_end: None,
        };
        s.on_read(block, &read);
        Some((block.get(), purpose))
    }

    #[test]
    fn a_held_block_that_is_needed_before_its_turn_is_sent_once() {
        let mut s = flowing(5, Run { start: 1, end: 4 });
        assert_eq!(next(&mut s, false), Some((1, Purpose::HashOnly)));
        tell(&mut s, Message::Need { runs: run(1, 2) }).unwrap();
        let work: Vec<_> = std::iter::from_fn(|| next(&mut s, true)).collect();
        let sent: Vec<u32> = work.iter().filter(|w| w.1.sends()).map(|w| w.0).collect();
        assert_eq!(sent, [1, 0, 4]);
    }

    #[test]
    fn blocks_are_described_in_a_row_whatever_else_is_asked_for_meanwhile() {
        let mut s = flowing(9, Run { start: 0, end: 9 });
        while next(&mut s, false).is_some_and(|(block, _)| block < 8) {}
        tell(&mut s, Message::Describe { runs: run(5, 8) }).unwrap();
        assert_eq!(next(&mut s, false), Some((5, Purpose::Describe { last: false })));
        tell(&mut s, Message::Describe { runs: run(1, 2) }).unwrap();
        assert_eq!(next(&mut s, false), Some((6, Purpose::Describe { last: false })));
        assert_eq!(next(&mut s, false), Some((7, Purpose::Describe { last: true })));
        assert_eq!(next(&mut s, false), Some((1, Purpose::Describe { last: true })));
        assert!(
            tell(&mut s, Message::Describe { runs: run(7, 8) }).is_err(),
            "once"
        );
    }

    #[test]
    fn parts_are_sent_alone_and_count_as_what_moves() {
        let mut s = flowing(2, Run { start: 0, end: 2 });
        while next(&mut s, false).is_some_and(|(block, _)| block < 1) {}
        let (block, parts) = (BlockIndex::new(1), run(5, 105));
        let ask = Message::Parts { block, parts };
        assert!(tell(&mut s, ask.clone()).is_err(), "not described");
        let mut s = flowing(2, Run { start: 0, end: 2 });
        while next(&mut s, false).is_some_and(|(block, _)| block < 1) {}
        tell(&mut s, Message::Describe { runs: run(0, 2) }).unwrap();
        tell(&mut s, ask.clone()).unwrap();
        assert_eq!(s.held(), 2 * BLOCK_LEN as u64 - 100);
        assert_eq!(next(&mut s, true), Some((1, Purpose::SendParts(run(5, 105)))));
        assert!(tell(&mut s, ask).is_err(), "once");
        // The receiver needs the whole block after all.
        tell(&mut s, Message::Need { runs: run(1, 2) }).unwrap();
        assert_eq!(next(&mut s, true), Some((1, Purpose::Send)));
    }
}
