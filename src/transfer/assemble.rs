//! Puts the connection's pieces where they belong, in 1 MiB buffers, until blocks are whole.
//!
//! Invariants: never more than the given number of buffers exist, however the pieces are shuffled, repeated or
//! forged; a byte that was taken is handed on exactly once, in a whole block or in a partial one. No disk, no
//! hashing: that is [`super::sink`]'s.

use std::collections::{HashMap, VecDeque};

use super::runs::{Inserted, RunSet, Spans};
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
    /// The block's length, if all of it is valid.
    pub whole: Option<usize>,
}

#[derive(Debug)]
struct Open {
    buffer: Buffer,
    spans: Spans,
    touched: u64,
}

/// The buffers of the blocks that are coming in.
#[derive(Debug)]
pub struct Assembler {
    open: HashMap<u32, Open>,
    /// The block the last piece went to, taken out of `open` so that pieces in order need no look-up.
    current: Option<(u32, Open)>,
    done: RunSet,
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
                    Some(buffer) => Open {
                        buffer,
                        spans: Spans::default(),
                        touched: 0,
                    },
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
        match open.spans.insert(within as u32, (within + bytes.len()) as u32) {
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
        if self
            .current
            .as_ref()
            .is_some_and(|(_, open)| open.spans.is_whole(len))
            && let Some((index, open)) = self.current.take()
        {
            self.done.insert(index, index + 1);
            self.lend(block, open, Some(len));
        }
    }

    fn lend(&mut self, block: BlockIndex, open: Open, whole: Option<usize>) {
        self.lent += 1;
        self.ready.push_back(Filled {
            block,
            buffer: open.buffer,
            spans: open.spans,
            whole,
        });
    }

    fn take_buffer(&mut self) -> Option<Buffer> {
        if self.free.is_empty() && self.allocated >= self.limit {
            return None;
        }
        if self.open.len() >= self.share {
            // Give up the block that has waited longest for its next piece.
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, open)| open.touched)
                .map(|(&index, _)| index)?;
            let open = self.open.remove(&oldest)?;
            self.lend(BlockIndex::new(oldest), open, None);
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
        self.lent = self.lent.saturating_sub(1);
        self.free.push(buffer);
    }

    /// Buffers that could take new blocks now: what the receiver may promise the sender.
    pub fn room(&self) -> usize {
        self.limit - self.lent - self.open.len() - usize::from(self.current.is_some())
    }

    /// The stream ended: its length is known from now on. False if content beyond it has come already.
    #[must_use]
    pub fn set_total(&mut self, total: u64) -> bool {
        self.total = Some(total);
        if let Some((index, open)) = self.current.take() {
            self.open.insert(index, open);
        }
        let blocks = block_count(total);
        let beyond = self.open.iter().any(|(&index, open)| {
            !open.spans.is_empty() && BlockIndex::new(index).start() + u64::from(open.spans.end()) > total
        });
        if beyond || self.done.first_member(blocks).is_some() {
            return false;
        }
        if let Some(last) = blocks.checked_sub(1)
            && let Some(open) = self.open.remove(&last)
        {
            self.current = Some((last, open));
            self.finish_if_whole(BlockIndex::new(last));
        }
        true
    }

    /// Takes these blocks for complete (they are on disk): their pieces are duplicates from now on.
    pub fn mark_complete(&mut self, start: BlockIndex, end: BlockIndex) {
        self.done.insert(start.get(), end.get());
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
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const B: u64 = BLOCK_LEN as u64;

    fn drain(a: &mut Assembler) -> Vec<(u32, Option<usize>)> {
        let mut out = Vec::new();
        while let Some(f) = a.poll_filled() {
            out.push((f.block.get(), f.whole));
            a.recycle(f.buffer);
        }
        out
    }

    #[test]
    fn a_piece_may_cross_blocks_and_the_last_block_is_short() {
        let mut a = Assembler::new(4, Some(B + 10));
        assert_eq!(a.write(0, &vec![1; BLOCK_LEN - 5]), Taken::New);
        assert_eq!(a.write(B - 5, &[2; 15]), Taken::New);
        assert_eq!(drain(&mut a), [(0, Some(BLOCK_LEN)), (1, Some(10))]);
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
        assert_eq!((spilled.block.get(), spilled.whole), (1, None));
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
        assert_eq!(drain(&mut a), [(0, Some(700))]);
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
            let mut state = seed | 1;
            for i in (1..order.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                order.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut a = Assembler::new(limit, Some(size as u64));
            let mut out = vec![0u8; size];
            let mut covered = vec![Spans::default(); size.div_ceil(BLOCK_LEN)];
            for &i in order.iter().chain(&order) {
                let (s, e) = (i * piece, ((i + 1) * piece).min(size));
                prop_assert_ne!(a.write(s as u64, &content[s..e]), Taken::Full);
                prop_assert!(a.allocated <= limit);
                while let Some(f) = a.poll_filled() {
                    let base = f.block.start() as usize;
                    for (s, e) in f.spans.iter() {
                        out[base + s as usize..base + e as usize].copy_from_slice(&f.buffer[s as usize..e as usize]);
                    }
                    let union = &mut covered[f.block.get() as usize];
                    union.merge(&f.spans);
                    if union.is_whole(f.block.len_in(size as u64)) {
                        a.mark_complete(f.block, BlockIndex::new(f.block.get() + 1));
                    }
                    a.recycle(f.buffer);
                }
            }
            prop_assert!(covered.iter().enumerate().all(|(i, s)| s.is_whole(BlockIndex::new(i as u32).len_in(size as u64))));
            prop_assert!(out == content);
        }
    }
}
