//! Puts the connection's pieces where they belong, in 1 MiB buffers, until blocks are whole.
//!
//! Invariants: never more than the given number of buffers exist, however the pieces are shuffled, repeated or
//! forged; a byte that was taken is handed on exactly once, in a whole block or in a partial one. No disk, no
//! hashing: that is [`super::sink`]'s.

use std::collections::{HashMap, VecDeque};

use super::runs::{Inserted, MAX_SPANS, RunSet, Spans};
use super::{BLOCK_LEN, BlockIndex, MAX_CONTENT, block_count};

/// A buffer of [`BLOCK_LEN`] bytes.
pub type Buffer = Box<[u8]>;

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Some of it is new and stored.
    New,
    /// All of it was here before.
    Duplicate,
    /// No room; it must be treated as if it had not come.
    Full,
    /// It lies beyond the end of the content: the peer is wrong.
    Beyond,
}

/// A block that left the assembler, whole or in part.
#[derive(Debug)]
pub struct Filled {
    /// Which block.
    pub block: BlockIndex,
    /// Its buffer; give it back with [`Assembler::recycle`].
    pub buffer: Buffer,
    /// Which of its bytes are valid.
    pub spans: Spans,
    /// How much of the block there is now.
    pub extent: Extent,
}

/// How much of a block has left the assembler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All of it is in the buffer: so many bytes.
    Whole(usize),
    /// A part, given up for want of buffers; the rest follows.
    Part,
    /// The last part: with those before it, the block is whole.
    LastPart,
}

/// Most runs of bytes remembered of blocks that left in parts: 4 MiB of memory at worst. A window of 64 MiB
/// that is given up altogether takes half of this.
const MAX_SPILLED_SPANS: usize = 1 << 16;

#[derive(Debug)]
struct Open {
    buffer: Buffer,
    spans: Spans,
    /// What left in parts before, and `spans`. Unused unless something did.
    union: Spans,
    touched: u64,
}

impl Open {
    fn is_whole(&self, len: usize) -> bool {
        self.spans.is_whole(len) || self.union.is_whole(len)
    }

    /// Notes that bytes are here; refused or known bytes change nothing.
    fn insert(&mut self, start: u32, end: u32) -> Inserted {
        if !self.union.is_empty() {
            // Both sets take it or neither does.
            if self.union.run_count().max(self.spans.run_count()) >= MAX_SPANS {
                return Inserted::TooMany;
            }
            match self.union.insert(start, end) {
                Inserted::New => {}
                other => return other,
            }
        }
        self.spans.insert(start, end)
    }
}

/// The buffers of the blocks that are coming in.
#[derive(Debug)]
pub struct Assembler {
    open: HashMap<u32, Open>,
    /// The block the last piece went to, taken out of `open` so that pieces in order need no look-up.
    current: Option<(u32, Open)>,
    done: RunSet,
    /// What left in parts of blocks that are not open now.
    spilled: HashMap<u32, Spans>,
    spilled_spans: usize,
    free: Vec<Buffer>,
    ready: VecDeque<Filled>,
    /// Buffers handed out in `ready` or to the disk and not yet back.
    lent: usize,
    allocated: usize,
    limit: usize,
    share: usize,
    total: Option<u64>,
    clock: u64,
}

impl Assembler {
    /// At most `limit` buffers (two or more) exist at any time, a quarter of them kept for the disk's queue.
    /// `total` is the length of the content, `None` until a stream has ended.
    pub fn new(limit: usize, total: Option<u64>) -> Self {
        let limit = limit.max(2);
        Assembler {
            open: HashMap::new(),
            current: None,
            done: RunSet::new(),
            spilled: HashMap::new(),
            spilled_spans: 0,
            free: Vec::new(),
            ready: VecDeque::new(),
            lent: 0,
            allocated: 0,
            limit,
            share: (limit - limit / 4).min(limit - 1),
            total,
            clock: 0,
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
                // What was stored of it is found to be a duplicate when it comes again.
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
                            spans: Spans::default(),
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
        match open.insert(within as u32, (within + bytes.len()) as u32) {
            Inserted::Known => return Taken::Duplicate,
            Inserted::TooMany => return Taken::Full,
            Inserted::New => {}
        }
        open.buffer[within..within + bytes.len()].copy_from_slice(bytes);
        self.finish_if_whole(block);
        Taken::New
    }

    fn finish_if_whole(&mut self, block: BlockIndex) {
        let len = self.total.map_or(BLOCK_LEN, |total| block.len_in(total));
        if self.current.as_ref().is_some_and(|(_, open)| open.is_whole(len))
            && let Some((index, open)) = self.current.take()
        {
            self.done.insert(index, index + 1);
            let extent = if open.spans.is_whole(len) {
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

    fn forget_spilled(&mut self, index: u32) -> Option<Spans> {
        let spans = self.spilled.remove(&index)?;
        self.spilled_spans -= spans.run_count();
        Some(spans)
    }

    /// Gives up the block that has waited longest for its next piece.
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
        self.spilled_spans += union.run_count();
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

    /// The next block to hand to the disk.
    pub fn poll_filled(&mut self) -> Option<Filled> {
        self.ready.pop_front()
    }

    /// Takes back a buffer that [`Assembler::poll_filled`] gave out.
    pub fn recycle(&mut self, buffer: Buffer) {
        if !buffer.is_empty() {
            self.lent = self.lent.saturating_sub(1);
            self.free.push(buffer);
        }
    }

    /// Buffers that could take new blocks now: what the receiver may promise the sender.
    pub fn room(&self) -> usize {
        self.limit - self.lent - self.open.len() - usize::from(self.current.is_some())
    }

    /// Buffers not lent to the disk: free ones, and those of open blocks that could be spilled.
    pub const fn reclaimable(&self) -> usize {
        self.limit - self.lent
    }

    /// The stream ended: its length is known from now on. False if content beyond it has come already.
    #[must_use]
    pub fn set_total(&mut self, total: u64) -> bool {
        self.total = Some(total);
        if let Some((index, open)) = self.current.take() {
            self.open.insert(index, open);
        }
        let blocks = block_count(total);
        let ends = self
            .open
            .iter()
            .map(|(&index, open)| (index, open.spans.end().max(open.union.end())));
        let ends = ends.chain(self.spilled.iter().map(|(&index, spans)| (index, spans.end())));
        let beyond = |(index, end)| end > 0 && BlockIndex::new(index).start() + u64::from(end) > total;
        if ends.into_iter().any(beyond) || self.done.first_member(blocks).is_some() {
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
            .is_some_and(|spans| spans.is_whole(block.len_in(total)))
        {
            self.forget_spilled(last);
            self.done.insert(last, last + 1);
            let (buffer, spans) = (Buffer::default(), Spans::default());
            self.lend(Filled {
                block,
                buffer,
                spans,
                extent: Extent::LastPart,
            });
        }
        true
    }

    /// Takes these blocks for complete (they are on disk): their pieces are duplicates from now on.
    pub fn mark_complete(&mut self, start: BlockIndex, end: BlockIndex) {
        self.done.insert(start.get(), end.get());
        if !self.spilled.is_empty() {
            (start.get()..end.get()).for_each(|index| drop(self.forget_spilled(index)));
        }
        if self.open.is_empty() && self.current.is_none() {
            return;
        }
        if let Some((index, open)) = self.current.take() {
            self.open.insert(index, open);
        }
        let covered: Vec<u32> = self
            .open
            .keys()
            .copied()
            .filter(|i| (start.get()..end.get()).contains(i))
            .collect();
        self.free.extend(
            covered
                .iter()
                .filter_map(|index| self.open.remove(index))
                .map(|open| open.buffer),
        );
    }

    /// Block `block` is needed again after all: its bytes were wrong.
    pub fn reopen(&mut self, block: BlockIndex) {
        self.done.remove(block.get());
        self.forget_spilled(block.get());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::spread::SplitMix64;

    const B: u64 = BLOCK_LEN as u64;

    fn drain(a: &mut Assembler) -> Vec<(u32, Extent)> {
        let mut out = Vec::new();
        while let Some(f) = a.poll_filled() {
            out.push((f.block.get(), f.extent));
            a.recycle(f.buffer);
        }
        out
    }

    #[test]
    fn a_piece_may_cross_blocks_and_the_last_block_is_short() {
        let mut a = Assembler::new(4, Some(B + 10));
        assert_eq!(a.write(0, &vec![1; BLOCK_LEN - 5]), Taken::New);
        assert_eq!(a.write(B - 5, &[2; 15]), Taken::New);
        assert_eq!(
            drain(&mut a),
            [(0, Extent::Whole(BLOCK_LEN)), (1, Extent::Whole(10))]
        );
        assert_eq!(a.write(B - 5, &[2; 15]), Taken::Duplicate);
        assert_eq!(a.write(B, &[2; 11]), Taken::Beyond);
        assert_eq!(a.write(u64::MAX, &[2; 11]), Taken::Beyond);
    }

    #[test]
    fn the_least_recently_touched_block_gives_way() {
        let mut a = Assembler::new(4, Some(100 * B));
        for block in [0, 1, 2, 0] {
            a.write(block * B + 7 * block, &[1; 9]);
        }
        assert_eq!(a.write(3 * B, &[1; 9]), Taken::New);
        let spilled = a.poll_filled().unwrap();
        assert_eq!((spilled.block.get(), spilled.extent), (1, Extent::Part));
        assert_eq!(spilled.spans.iter().collect::<Vec<_>>(), [(7, 16)]);
        assert_eq!(
            a.write(4 * B, &[1; 9]),
            Taken::Full,
            "the fourth buffer is with the disk"
        );
        a.recycle(spilled.buffer);
        assert_eq!(a.write(4 * B, &[1; 9]), Taken::New);
        assert_eq!(a.write(B, &[1; 9]), Taken::Full);
    }

    #[test]
    fn an_ended_stream_completes_its_last_block() {
        let mut a = Assembler::new(4, None);
        a.write(0, &[1; 700]);
        assert!(drain(&mut a).is_empty());
        assert!(a.set_total(700));
        assert_eq!(drain(&mut a), [(0, Extent::Whole(700))]);
        let mut a = Assembler::new(4, None);
        a.write(0, &[1; 700]);
        assert!(!a.set_total(699));
    }

    #[test]
    fn complete_blocks_cost_no_buffer_until_reopened() {
        let mut a = Assembler::new(2, Some(9 * B));
        a.write(3 * B + 5, &[1; 5]);
        a.mark_complete(BlockIndex::new(0), BlockIndex::new(8));
        assert_eq!(
            (a.write(5 * B, &[1; 5]), a.write(3 * B, &[1; 5]), a.room()),
            (Taken::Duplicate, Taken::Duplicate, 2)
        );
        a.reopen(BlockIndex::new(5));
        assert_eq!(a.write(5 * B, &[1; 5]), Taken::New);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_order_gives_the_content_in_bounded_memory(
            size in 1usize..6 * BLOCK_LEN, limit in 2usize..7, seed in any::<u64>(), piece in 50_000usize..200_000,
        ) {
            let content: Vec<u8> = (0..size).map(|i| (i / 7) as u8 ^ (i % 251) as u8).collect();
            let mut order: Vec<usize> = (0..size.div_ceil(piece)).collect();
            let mut random = SplitMix64::new(seed);
            for i in (1..order.len()).rev() {
                order.swap(i, random.next_u64() as usize % (i + 1));
            }
            let mut a = Assembler::new(limit, Some(size as u64));
            let mut out = vec![0u8; size];
            let mut whole = 0;
            for &i in order.iter().chain(&order) {
                let (s, e) = (i * piece, ((i + 1) * piece).min(size));
                loop {
                    let taken = a.write(s as u64, &content[s..e]);
                    prop_assert!(a.allocated <= limit);
                    let mut freed = false;
                    while let Some(f) = a.poll_filled() {
                        freed = true;
                        let base = f.block.start() as usize;
                        for (s, e) in f.spans.iter() {
                            let (s, e) = (s as usize, e as usize);
                            out[base + s..base + e].copy_from_slice(&f.buffer[s..e]);
                        }
                        whole += u32::from(f.extent != Extent::Part);
                        a.recycle(f.buffer);
                    }
                    if taken != Taken::Full {
                        break;
                    }
                    prop_assert!(freed, "full, with nothing to wait for");
                }
            }
            prop_assert_eq!(whole, block_count(size as u64));
            prop_assert_eq!(a.spilled.len() + a.spilled_spans + a.open.len() + a.lent, 0);
            prop_assert!(out == content);
        }
    }
}
