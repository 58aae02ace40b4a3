//! The control stream: reliable, ordered bytes in each direction, beside the content.
//!
//! Both ends know the window, so memory is bounded without negotiation.

use std::collections::VecDeque;
use std::ops::Range;

use super::ranges::RangeSet;

/// The most bytes that a sender has written and that are not acknowledged, and that a receiver has received
/// and that are not read.
const CONTROL_WINDOW: usize = 1 << 20;

/// The sending half.
#[derive(Debug, Default)]
pub(super) struct SendStream {
    /// The bytes from `base` on.
    buffer: VecDeque<u8>,
    base: u64,
    next: u64,
    again: RangeSet,
    arrived: RangeSet,
}

impl SendStream {
    /// The number of bytes that may be written now.
    pub(super) fn room(&self) -> usize {
        CONTROL_WINDOW - self.buffer.len()
    }

    /// Appends as many of `bytes` as there is room for. Returns how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.buffer.extend(&bytes[..taken]);
        taken
    }

    /// Whether something waits to be sent.
    pub(super) fn has_pending(&self) -> bool {
        !self.again.is_empty() || self.next < self.base + self.buffer.len() as u64
    }

    /// Whether everything written has arrived.
    pub(super) fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next range to send, at most `most` bytes.
    pub(super) fn next(&mut self, most: usize) -> Option<Range<u64>> {
        if let Some(range) = self.again.pop_front(most as u64) {
            return Some(range);
        }
        let end = (self.base + self.buffer.len() as u64).min(self.next + most as u64);
        let range = self.next..end;
        self.next = end;
        (range.start < range.end).then_some(range)
    }

    /// Appends the bytes of a range given by [`next`](Self::next).
    pub(super) fn copy(&self, range: &Range<u64>, to: &mut Vec<u8>) {
        let from = (range.start.max(self.base) - self.base) as usize;
        let end = (range.end.max(self.base) - self.base) as usize;
        to.extend(self.buffer.range(from..end));
    }

    /// Records that a range arrived.
    pub(super) fn on_arrived(&mut self, range: Range<u64>) {
        self.again.remove(range.clone());
        self.arrived.insert(range);
        // What has arrived from the beginning on is held no longer.
        let first = self.arrived.first().filter(|first| first.start == 0);
        let end = first.map_or(0, |first| first.end);
        self.buffer.drain(..(end - self.base) as usize);
        self.base = end;
    }

    /// Records that a range was lost.
    pub(super) fn on_lost(&mut self, range: Range<u64>) {
        self.again.extend(self.arrived.missing(range));
    }

    /// The first part of `range` that has not arrived.
    pub(super) fn outstanding(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.arrived.missing(range.clone()).next()
    }
}

/// The most separate pieces that are kept. A full window of the smallest full packets, every second of which
/// is lost, has 1121 pieces. Only a hostile peer sends more: each further piece would cost a search and would
/// move all pieces behind it.
const MAX_PIECES: usize = 1200;

/// The receiving half.
#[derive(Debug, Default)]
pub(super) struct RecvStream {
    buffer: VecDeque<u8>,
    base: u64,
    have: RangeSet,
}

impl RecvStream {
    /// Takes bytes at an offset. Returns false and keeps nothing if they lie beyond the window or are one
    /// piece too many.
    pub(super) fn receive(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let end = offset + bytes.len() as u64;
        if end > self.base + CONTROL_WINDOW as u64 {
            return false;
        }
        let skip = (self.base.saturating_sub(offset) as usize).min(bytes.len());
        let (offset, bytes) = (offset + skip as u64, &bytes[skip..]);
        if bytes.is_empty() {
            return true;
        }
        let at = (offset - self.base) as usize;
        if self.buffer.len() < at + bytes.len() {
            self.buffer.resize(at + bytes.len(), 0);
        }
        for (slot, b) in self.buffer.range_mut(at..at + bytes.len()).zip(bytes) {
            *slot = *b;
        }
        self.have.insert(offset..end);
        // The next bytes in order are always accepted, because they let the stream go on.
        if self.have.len() > MAX_PIECES && offset > self.base {
            self.have.remove(offset..end);
            return false;
        }
        true
    }

    /// Appends the bytes that are next in order to `to`. Returns how many.
    pub(super) fn read(&mut self, to: &mut Vec<u8>) -> usize {
        let n = self.in_order();
        to.extend(self.buffer.drain(..n));
        self.pass(n);
        n
    }

    /// Fills `to` with the next bytes, or reads nothing. Returns whether enough bytes were there.
    pub(crate) fn read_exact(&mut self, to: &mut [u8]) -> bool {
        let n = to.len();
        if self.in_order() < n {
            return false;
        }
        for (place, byte) in to.iter_mut().zip(self.buffer.drain(..n)) {
            *place = byte;
        }
        self.pass(n);
        true
    }

    /// The number of bytes that are next in order.
    fn in_order(&self) -> usize {
        let first = self.have.first().filter(|r| r.start <= self.base);
        first.map_or(0, |r| (r.end - self.base) as usize)
    }

    fn pass(&mut self, n: usize) {
        self.base += n as u64;
        self.have.forget_below(self.base);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rng::SplitMix64;
    use super::*;

    #[test]
    fn an_exact_read_takes_all_it_wants_or_nothing() {
        let mut r = RecvStream::default();
        let mut four = [0; 4];
        assert!(r.receive(0, b"abc") && !r.read_exact(&mut four));
        assert!(r.receive(3, b"def") && r.read_exact(&mut four));
        assert_eq!(&four, b"abcd");
        let mut rest = Vec::new();
        assert_eq!((r.read(&mut rest), rest.as_slice()), (2, b"ef".as_slice()));
    }

    #[test]
    fn bytes_beyond_the_window_are_refused() {
        let mut r = RecvStream::default();
        assert!(!r.receive(CONTROL_WINDOW as u64, b"x"));
        assert!(r.receive(CONTROL_WINDOW as u64 - 1, b"x"));
        assert_eq!(r.read(&mut Vec::new()), 0);
    }

    #[test]
    fn one_piece_too_many_is_refused_and_the_next_in_order_never() {
        let mut r = RecvStream::default();
        let isolated = |n: usize| 2 * n as u64 + 1;
        for n in 0..MAX_PIECES {
            assert!(r.receive(isolated(n), b"x"));
        }
        assert!(!r.receive(isolated(MAX_PIECES), b"x"));
        assert!(r.receive(2, b"x"), "it joins two pieces");
        assert!(r.receive(isolated(MAX_PIECES), b"x"), "now there is room for one");
        assert!(r.receive(0, b"x"));
        assert_eq!(r.read(&mut Vec::new()), 4);
    }

    proptest! {
        #[test]
        fn loss_and_disorder_do_not_change_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 1..3000), seed in any::<u64>()) {
            let (mut tx, mut rx, mut got) = (SendStream::default(), RecvStream::default(), Vec::new());
            let (mut written, mut random) = (0, SplitMix64::new(seed));
            let mut underway: Vec<Range<u64>> = Vec::new();
            while !(tx.is_drained() && written == bytes.len()) {
                let state = random.next_u64();
                written += tx.write(&bytes[written..bytes.len().min(written + (state >> 40) as usize % 300)]);
                while let Some(range) = tx.next(1 + (state >> 50) as usize % 200) {
                    underway.push(range);
                }
                if !underway.is_empty() {
                    let range = underway.swap_remove((state >> 33) as usize % underway.len());
                    let mut piece = Vec::new();
                    if (state >> 20) % 4 == 0 {
                        tx.on_lost(range);
                    } else {
                        if let Some(range) = tx.outstanding(&range) {
                            tx.copy(&range, &mut piece);
                            prop_assert!(rx.receive(range.start, &piece));
                        }
                        if (state >> 16) % 4 == 0 {
                            // The range is declared lost, sent again, and then acknowledged twice.
                            tx.on_lost(range.clone());
                            tx.on_arrived(range.clone());
                        }
                        tx.on_arrived(range);
                    }
                }
                rx.read(&mut got);
            }
            prop_assert_eq!(got, bytes);
        }
    }
}
