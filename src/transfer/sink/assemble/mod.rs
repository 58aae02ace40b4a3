//! Copies pieces from the connection to their places in buffers of 1 MiB, until blocks are whole.
//!
//! Invariants. There are never more buffers than the given limit, even if pieces arrive reordered, repeated
//! or forged. A byte that was taken is handed on exactly once, in a whole block or in a part of one. This
//! module uses no disk and hashes nothing: [`crate::transfer::sink`] does.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::protocol::ranges::RangeSet;
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::{BLOCK_LEN, BlockIndex, MAX_CONTENT, block_count};

/// A buffer of [`BLOCK_LEN`] bytes.
pub(crate) type Buffer = Box<[u8]>;

/// The outcome for a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Some of it was new and is stored.
    New,
    /// All of it was here before.
    Duplicate,
    /// There was no room. The piece must be treated as if it had not arrived.
    Full,
    /// It lies beyond the end of the content: the peer broke the protocol.
    Beyond,
}

/// A block that left the assembler, whole or in part.
#[derive(Debug)]
pub struct Filled {
    /// The block.
    pub block: BlockIndex,
    /// Its buffer; give it back with [`Assembler::recycle`].
    pub buffer: Buffer,
    /// The bytes of the buffer that are valid.
    pub spans: RangeSet,
    /// How much of the block there is now.
    pub extent: Extent,
}

/// How much of a block has left the assembler so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// All of it is in this buffer: this many bytes.
    Whole(usize),
    /// A part that left early because buffers were short. The rest follows.
    Part,
    /// The last part: together with the parts before it, the block is whole.
    LastPart,
}

/// Most runs of bytes that are remembered for blocks that left in parts: at most 4 MiB of memory. If a window
/// of 64 MiB leaves in parts completely, it takes half of this.
const MAX_SPILLED_SPANS: usize = 1 << 16;

/// Most runs that the bytes of one block may form. An honest sender's packets of a kilobyte need at most half
/// as many; more would only fill memory.
const MAX_SPANS: usize = 1024;

/// Whether a set is exactly the first `len` bytes.
fn is_whole(spans: &RangeSet, len: usize) -> bool {
    spans.last() == Some(&(0..len as u64))
}

#[derive(Debug)]
struct Open {
    buffer: Buffer,
    spans: RangeSet,
    /// The bytes that left in parts before, and `spans`. Empty unless parts have left.
    union: RangeSet,
    touched: u64,
}

impl Open {
    fn is_whole(&self, len: usize) -> bool {
        is_whole(&self.spans, len) || is_whole(&self.union, len)
    }

    /// Notes that bytes are here. Changes nothing if they are refused or already known.
    fn insert(&mut self, bytes: Range<u64>) -> Taken {
        if !self.union.is_empty() {
            // Either both sets take the bytes or neither does.
            if self.union.len().max(self.spans.len()) >= MAX_SPANS {
                return Taken::Full;
            }
            if self.union.insert(bytes.clone()) == 0 {
                return Taken::Duplicate;
            }
        }
        match self.spans.insert(bytes.clone()) {
            0 => Taken::Duplicate,
            _ if self.spans.len() > MAX_SPANS => {
                self.spans.remove(bytes);
                Taken::Full
            }
            _ => Taken::New,
        }
    }
}

/// The buffers of the blocks that are arriving.
#[derive(Default, Debug)]
pub struct Assembler {
    open: HashMap<u32, Open>,
    /// The block of the last piece. It is kept outside `open`, so that pieces in order need no look-up.
    current: Option<(u32, Open)>,
    done: RunSet,
    /// Bytes that left in parts, for blocks that are not open now.
    spilled: HashMap<u32, RangeSet>,
    spilled_spans: usize,
    free: Vec<Buffer>,
    ready: VecDeque<Filled>,
    /// Buffers in `ready` or at the disk thread.
    lent: usize,
    allocated: usize,
    limit: usize,
    share: usize,
    total: Option<u64>,
    clock: u64,
}

impl Assembler {
    /// At most `limit` buffers (two or more) exist at any time. A quarter of them is kept for the disk's
    /// queue. `total` is the length of the content, `None` until a stream has ended.
    pub fn new(limit: usize, total: Option<u64>) -> Self {
        let limit = limit.max(2);
        Assembler {
            limit,
            share: (limit - limit / 4).min(limit - 1),
            total,
            ..Assembler::default()
        }
    }

    /// Stores a piece of the content. Call [`Assembler::poll_filled`] afterwards.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Taken {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.total.unwrap_or(MAX_CONTENT)) {
            return Taken::Beyond;
        }
        let (mut at, mut rest, mut outcome) = (offset, bytes, Taken::Duplicate);
        while !rest.is_empty() {
            let Some(block) = BlockIndex::containing(at) else {
                return Taken::Beyond;
            };
            let within = (at - block.start()) as usize;
            let (head, tail) = rest.split_at(rest.len().min(BLOCK_LEN - within));
            match self.write_in(block, within, head) {
                Taken::New => outcome = Taken::New,
                Taken::Duplicate => {}
                // Bytes that were stored before this refusal count as duplicates when the piece arrives
                // again.
                refused => return refused,
            }
            at += head.len() as u64;
            rest = tail;
        }
        outcome
    }

    fn write_in(&mut self, block: BlockIndex, within: usize, bytes: &[u8]) -> Taken {
        let index = block.get();
        if self.current.as_ref().is_none_or(|(current, _)| *current != index) {
            if self.done.contains(index) {
                return Taken::Duplicate;
            }
            if let Some((previous, open)) = self.current.take() {
                self.open.insert(previous, open);
            }
            let open = match self.open.remove(&index) {
                Some(open) => open,
                None => match self.take_buffer() {
                    Some(buffer) => {
                        let union = self.forget_spilled(index).unwrap_or_default();
                        Open {
                            buffer,
                            spans: RangeSet::default(),
                            union,
                            touched: 0,
                        }
                    }
                    None => return Taken::Full,
                },
            };
            self.current = Some((index, open));
        }
        let Some((_, open)) = &mut self.current else {
            return Taken::Full;
        };
        self.clock += 1;
        open.touched = self.clock;
        let taken = open.insert(within as u64..(within + bytes.len()) as u64);
        if taken == Taken::New {
            open.buffer[within..within + bytes.len()].copy_from_slice(bytes);
            self.finish_if_whole(block);
        }
        taken
    }

    fn finish_if_whole(&mut self, block: BlockIndex) {
        let len = self.total.map_or(BLOCK_LEN, |total| block.len_in(total));
        if self.current.as_ref().is_some_and(|(_, open)| open.is_whole(len))
            && let Some((index, open)) = self.current.take()
        {
            self.done.add(index);
            let extent = if is_whole(&open.spans, len) {
                Extent::Whole(len)
            } else {
                Extent::LastPart
            };
            self.lend(Filled {
                block,
                buffer: open.buffer,
                spans: open.spans,
                extent,
            });
        }
    }

    fn lend(&mut self, filled: Filled) {
        self.lent += usize::from(!filled.buffer.is_empty());
        self.ready.push_back(filled);
    }

    fn forget_spilled(&mut self, index: u32) -> Option<RangeSet> {
        let spans = self.spilled.remove(&index)?;
        self.spilled_spans -= spans.len();
        Some(spans)
    }

    /// Hands on, in part, the block that has waited longest for its next piece.
    fn spill(&mut self) -> Option<()> {
        if self.spilled_spans >= MAX_SPILLED_SPANS {
            return None;
        }
        let oldest = self
            .open
            .iter()
            .min_by_key(|(_, open)| open.touched)
            .map(|(&index, _)| index)?;
        let Open {
            buffer,
            spans,
            mut union,
            ..
        } = self.open.remove(&oldest)?;
        if union.is_empty() {
            union = spans.clone();
        }
        self.spilled_spans += union.len();
        self.spilled.insert(oldest, union);
        self.lend(Filled {
            block: BlockIndex::new(oldest),
            buffer,
            spans,
            extent: Extent::Part,
        });
        Some(())
    }

    fn take_buffer(&mut self) -> Option<Buffer> {
        if self.free.is_empty() && self.allocated >= self.limit {
            return None;
        }
        if self.open.len() >= self.share {
            self.spill()?;
        }
        self.free.pop().or_else(|| {
            self.allocated += 1;
            Some(vec![0; BLOCK_LEN].into_boxed_slice())
        })
    }

    /// The next block for the disk.
    pub fn poll_filled(&mut self) -> Option<Filled> {
        self.ready.pop_front()
    }

    /// Takes back a buffer from [`Assembler::poll_filled`].
    pub(crate) fn recycle(&mut self, buffer: Buffer) {
        if !buffer.is_empty() {
            self.lent = self.lent.saturating_sub(1);
            self.free.push(buffer);
        }
    }

    /// Buffers that are free for new blocks: as many blocks as the receiver may promise the sender.
    pub fn room(&self) -> usize {
        self.limit - self.lent - self.open.len() - usize::from(self.current.is_some())
    }

    /// Buffers that are not lent to the disk: free ones, and those of open blocks, which can be handed on in
    /// part.
    pub const fn reclaimable(&self) -> usize {
        self.limit - self.lent
    }

    /// The stream has ended, and its length is known. False if bytes beyond that length have already arrived.
    #[must_use]
    pub fn set_total(&mut self, total: u64) -> bool {
        self.total = Some(total);
        if let Some((index, open)) = self.current.take() {
            self.open.insert(index, open);
        }
        let blocks = block_count(total);
        let open = self
            .open
            .iter()
            .flat_map(|(&index, open)| [(index, &open.spans), (index, &open.union)]);
        let spilled = self.spilled.iter().map(|(&index, spans)| (index, spans));
        let is_beyond = |(index, spans): (u32, &RangeSet)| {
            let end = spans.last().map(|last| BlockIndex::new(index).start() + last.end);
            end.is_some_and(|end| end > total)
        };
        // Whole blocks beyond the end do not count here: an earlier, longer stream may have left them. The
        // store knows which blocks were verified.
        if open.chain(spilled).any(is_beyond) {
            return false;
        }
        let Some(last) = blocks.checked_sub(1) else {
            return true;
        };
        let block = BlockIndex::new(last);
        if let Some(open) = self.open.remove(&last) {
            self.current = Some((last, open));
            self.finish_if_whole(block);
        } else if self
            .spilled
            .get(&last)
            .is_some_and(|spans| is_whole(spans, block.len_in(total)))
        {
            self.forget_spilled(last);
            self.done.add(last);
            let (buffer, spans) = (Buffer::default(), RangeSet::default());
            self.lend(Filled {
                block,
                buffer,
                spans,
                extent: Extent::LastPart,
            });
        }
        true
    }

    /// Marks these blocks as complete because they are on disk. Their pieces are duplicates from now on.
    pub fn mark_complete(&mut self, start: BlockIndex, end: BlockIndex) {
        self.done.insert(start.get(), end.get());
        let is_covered = |index: &u32| (start.get()..end.get()).contains(index);
        for (_, spans) in self.spilled.extract_if(|index, _| is_covered(index)) {
            self.spilled_spans -= spans.len();
        }
        if let Some((index, open)) = self.current.take() {
            self.open.insert(index, open);
        }
        let covered = self.open.extract_if(|index, _| is_covered(index));
        self.free.extend(covered.map(|(_, open)| open.buffer));
    }

    /// Takes an event from the disk thread.
    pub fn on_store_event(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Verified(block) => self.mark_complete(block, BlockIndex::new(block.get() + 1)),
            StoreEvent::Void(run) => self.mark_complete(BlockIndex::new(run.start), BlockIndex::new(run.end)),
            StoreEvent::Need(block) => self.reopen(block),
            StoreEvent::Found { block, spans, .. } => self.adopt(block, spans),
            StoreEvent::Recycle(buffer) => self.recycle(buffer),
            StoreEvent::Differ(_) | StoreEvent::Copying { .. } | StoreEvent::Finished { .. } => {}
        }
    }

    /// Notes that these bytes of `block` are on disk, as if they had arrived and left in parts. Few blocks
    /// have such bytes at a time ([`crate::transfer::DESCRIBED_WINDOW`]).
    fn adopt(&mut self, block: BlockIndex, spans: RangeSet) {
        self.reopen(block);
        self.spilled_spans += spans.len();
        self.spilled.insert(block.get(), spans);
    }

    /// The bytes of `block` were wrong: it is needed again.
    pub(crate) fn reopen(&mut self, block: BlockIndex) {
        self.done.remove(block.get());
        self.forget_spilled(block.get());
    }
}

#[cfg(test)]
mod tests;
