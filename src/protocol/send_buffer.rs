//! The content to send: which blocks are in memory, what is new, what must be sent again, and what has
//! arrived.
//!
//! Memory is bounded by a number of blocks. A block that was completely sent but not completely acknowledged
//! may be dropped to make room. If a piece of it is lost, the buffer asks for the block again
//! ([`SendBuffer::wanted`]).

use std::collections::BTreeMap;
use std::ops::Range;

use super::ranges::RangeSet;

/// One part of so many of the memory is for content that was never sent.
const AHEAD: usize = 4;

/// The sender's state of the content space.
#[derive(Default, Debug)]
pub(super) struct SendBuffer {
    blocks: BTreeMap<u64, Vec<u8>>,
    spare: Vec<Vec<u8>>,
    limit: usize,
    /// All content that was offered so far.
    offered: RangeSet,
    /// Offered and not sent since.
    fresh: RangeSet,
    /// Lost, and to be sent again.
    again: RangeSet,
    arrived: RangeSet,
    arrived_bytes: u64,
    /// A block that was dropped, although a piece of it must be sent again.
    wanted: Option<u64>,
}

impl SendBuffer {
    /// Holds at most `limit` blocks at a time, but at least two.
    pub(super) fn new(limit: usize) -> Self {
        SendBuffer {
            limit: limit.max(2),
            ..SendBuffer::default()
        }
    }

    /// How many more new blocks it accepts now. One place is reserved for a block that must be read again.
    pub(super) fn room(&self) -> usize {
        (self.limit - 1).saturating_sub(self.blocks.len())
    }

    /// Content bytes that were acknowledged.
    pub(super) const fn arrived_bytes(&self) -> u64 {
        self.arrived_bytes
    }

    /// Whether [`next`](Self::next) has something to send now.
    pub(super) fn is_ready(&self) -> bool {
        !self.fresh.is_empty()
            || self
                .again
                .first()
                .is_some_and(|r| self.block_of(r.start).is_some())
    }

    /// Takes a block, but sends only these parts of it. Their offsets are relative to the block. The peer does
    /// not need the rest. Returns whether it was offered before; then packets that carried it no longer count.
    pub(super) fn offer_parts(&mut self, offset: u64, bytes: Vec<u8>, parts: &[Range<u64>]) -> bool {
        let range = offset..offset + bytes.len() as u64;
        let is_again = self.offered.insert(range.clone()) < bytes.len() as u64;
        self.again.remove(range.clone());
        self.fresh.remove(range.clone());
        self.arrived.insert(range.clone());
        for part in parts {
            let part = (offset + part.start).min(range.end)..(offset + part.end).min(range.end);
            self.arrived.remove(part.clone());
            self.fresh.insert(part);
        }
        self.keep(offset, bytes);
        is_again
    }

    /// Takes a block that was [`wanted`](Self::wanted).
    pub(super) fn supply(&mut self, offset: u64, bytes: Vec<u8>) {
        let end = offset + bytes.len() as u64;
        self.wanted = self.wanted.filter(|at| !(offset..end).contains(at));
        self.keep(offset, bytes);
    }

    fn keep(&mut self, offset: u64, bytes: Vec<u8>) {
        if let Some(old) = self.blocks.insert(offset, bytes) {
            self.spare.push(old);
        }
    }

    /// The buffer of a block that is no longer needed.
    pub(super) fn reclaim(&mut self) -> Option<Vec<u8>> {
        self.spare.pop()
    }

    /// An offset of the block that must be read again.
    pub(super) const fn wanted(&self) -> Option<u64> {
        self.wanted
    }

    fn block_of(&self, at: u64) -> Option<(u64, &Vec<u8>)> {
        let (start, bytes) = self.blocks.range(..=at).next_back()?;
        (at < start + bytes.len() as u64).then_some((*start, bytes))
    }

    /// The end of the bytes in memory that begin at `at`; at most `end`.
    fn at_hand(&self, at: u64, end: u64) -> u64 {
        let mut reach = at;
        while reach < end {
            let Some((start, bytes)) = self.block_of(reach) else {
                break;
            };
            reach = (start + bytes.len() as u64).min(end);
        }
        reach
    }

    /// The next range to send, at most `most` bytes: lost pieces first, then new ones. The flag tells whether
    /// it is a repetition.
    pub(super) fn next(&mut self, most: u64) -> Option<(Range<u64>, bool)> {
        if let Some(first) = self.again.first().cloned() {
            let reach = self.at_hand(first.start, first.end.min(first.start + most));
            if reach > first.start {
                return self.again.pop_front(reach - first.start).map(|r| (r, true));
            }
            self.wanted = Some(first.start);
        }
        let first = self.fresh.first().cloned()?;
        let reach = self.at_hand(first.start, first.end.min(first.start + most));
        self.fresh
            .pop_front(reach.checked_sub(first.start).filter(|n| *n > 0)?)
            .map(|r| (r, false))
    }

    /// The first part of a range that has not arrived in any packet.
    pub(super) fn outstanding(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.arrived.missing(range.clone()).next()
    }

    /// Appends the bytes of a range. Returns whether the range is in memory.
    pub(super) fn copy(&self, range: &Range<u64>, to: &mut Vec<u8>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let Some((start, bytes)) = self.block_of(at) else {
                return false;
            };
            let from = (at - start) as usize;
            let to_end = ((range.end - start) as usize).min(bytes.len());
            to.extend_from_slice(&bytes[from..to_end]);
            at = start + to_end as u64;
        }
        true
    }

    /// Records that a range arrived.
    pub(super) fn on_arrived(&mut self, range: Range<u64>) {
        self.again.remove(range.clone());
        self.arrived_bytes += self.arrived.insert(range);
    }

    /// Records that a range was lost: its parts that have not arrived in another packet are sent again.
    pub(super) fn on_lost(&mut self, range: Range<u64>) {
        self.again.extend(self.arrived.missing(range));
    }

    /// Frees blocks that have arrived. If there is no room and little that was never sent, frees the oldest blocks that only wait
    /// for acknowledgements: a few losses keep whole blocks, and must not stop the others. To be called after a burst of ACKs.
    pub(super) fn tidy(&mut self) {
        let done: Vec<u64> = self
            .blocks
            .iter()
            .filter(|(start, bytes)| self.arrived.contains(&(**start..**start + bytes.len() as u64)))
            .map(|(start, _)| *start)
            .collect();
        for start in done {
            self.spare.extend(self.blocks.remove(&start));
        }
        let unsent = self.fresh.first().map_or(u64::MAX, |r| r.start);
        let again = self.again.first().map_or(u64::MAX, |r| r.start);
        let has_unsent = |(start, bytes): &(&u64, &Vec<u8>)| *start + bytes.len() as u64 > unsent;
        let ahead = self.blocks.iter().filter(has_unsent).count();
        let needs_room = ahead < self.limit / AHEAD;
        while self.blocks.len() >= self.limit || needs_room && self.room() == 0 {
            let idle = self.blocks.iter().find_map(|(start, bytes)| {
                let end = start + bytes.len() as u64;
                (end <= unsent && !(*start <= again && again < end)).then_some(*start)
            });
            let Some(start) = idle else { break };
            self.spare.extend(self.blocks.remove(&start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SendBuffer {
        fn offer(&mut self, offset: u64, bytes: Vec<u8>) {
            let whole = 0..bytes.len() as u64;
            self.offer_parts(offset, bytes, &[whole]);
        }
    }

    fn block(fill: u8) -> Vec<u8> {
        vec![fill; 100]
    }

    #[test]
    fn pieces_cross_blocks_and_stop_at_what_is_at_hand() {
        let mut out = SendBuffer::new(4);
        out.offer(0, block(1));
        out.offer(100, block(2));
        assert_eq!(out.next(150), Some((0..150, false)));
        let mut bytes = Vec::new();
        assert!(out.copy(&(90..110), &mut bytes));
        assert_eq!(bytes, [[1; 10], [2; 10]].concat());
        assert_eq!(out.next(150), Some((150..200, false)));
        assert_eq!(out.next(150), None);
    }

    #[test]
    fn lost_pieces_go_first_and_only_what_has_not_arrived() {
        let mut out = SendBuffer::new(4);
        out.offer(0, block(1));
        assert_eq!(out.next(60), Some((0..60, false)));
        out.on_arrived(0..20);
        out.on_lost(0..60);
        assert_eq!(out.next(30), Some((20..50, true)));
        out.on_arrived(50..60);
        assert_eq!(out.next(60), Some((60..100, false)));
    }

    #[test]
    fn what_another_packet_brought_is_not_outstanding() {
        let mut out = SendBuffer::new(4);
        out.offer(0, block(1));
        assert_eq!(out.next(60), Some((0..60, false)));
        out.on_arrived(0..20);
        assert_eq!(out.outstanding(&(0..60)), Some(20..60));
        out.on_arrived(20..60);
        assert_eq!(out.outstanding(&(0..60)), None);
    }

    #[test]
    fn dropped_block_is_wanted_again_when_a_piece_was_lost() {
        let mut out = SendBuffer::new(2);
        out.offer(0, block(1));
        assert!(out.next(100).is_some());
        out.offer(100, block(2));
        out.tidy();
        assert_eq!(out.reclaim(), Some(block(1)));
        out.on_lost(10..20);
        assert_eq!(out.next(100), Some((100..200, false)));
        assert_eq!(out.wanted(), Some(10));
        out.supply(0, block(1));
        assert_eq!(out.wanted(), None);
        assert_eq!(out.next(100), Some((10..20, true)));
    }

    #[test]
    fn blocks_that_wait_for_a_lost_piece_do_not_stop_new_ones() {
        let mut out = SendBuffer::new(8);
        (0..7).for_each(|i| out.offer(i * 100, block(1)));
        assert_eq!(out.room(), 0);
        for _ in 0..5 {
            assert!(out.next(100).is_some());
        }
        out.tidy();
        assert_eq!(out.room(), 0, "two blocks that were never sent are enough");
        assert!(out.next(100).is_some());
        out.tidy();
        assert_eq!((out.room(), out.reclaim()), (1, Some(block(1))));
        out.on_lost(0..100);
        assert_eq!(out.next(100), Some((600..700, false)));
        assert_eq!(out.wanted(), Some(0), "it is read again");
    }

    #[test]
    fn of_a_block_offered_in_parts_only_these_are_sent_and_it_is_freed_with_them() {
        let mut out = SendBuffer::new(3);
        out.offer_parts(100, block(1), &[10..20, 90..100]);
        assert_eq!(out.next(60), Some((110..120, false)));
        assert_eq!(out.next(60), Some((190..200, false)));
        assert_eq!(out.next(60), None);
        out.on_lost(110..120);
        assert_eq!(out.next(60), Some((110..120, true)));
        out.on_arrived(110..120);
        out.on_arrived(190..200);
        out.tidy();
        assert!(out.reclaim().is_some() && out.room() == 2);
        assert_eq!(out.arrived_bytes(), 20);
        // The whole block is needed after all.
        out.offer(100, block(2));
        assert_eq!(out.next(200), Some((100..200, false)));
    }

    #[test]
    fn arrived_blocks_are_freed() {
        let mut out = SendBuffer::new(3);
        out.offer(0, block(1));
        assert!(out.next(100).is_some());
        out.on_arrived(0..100);
        out.tidy();
        assert!(out.reclaim().is_some() && out.room() == 2);
    }
}
