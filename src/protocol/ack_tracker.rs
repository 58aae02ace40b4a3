//! Tracks received packets and decides when to acknowledge them: timer-based selective acknowledgements.
//!
//! Each packet is reported in three ACKs, even if many packets came after it, and each ACK adds the highest
//! ranges as long as there is room. So a lost ACK needs no repair. Memory is bounded: old ranges are
//! forgotten when the sender has long acted on them.

use std::cmp::Reverse;
use std::time::Duration;

use super::ecn::{Ecn, EcnCounts};
use super::ranges::RangeSet;
use super::time::Time;
use super::wire::{Ack, PacketNumber};

/// The shortest and the longest time between ACKs. UDT uses 10 ms, its SYN interval (draft-gg-udt-03, section
/// 4). An interval that scales with the RTT costs less on long paths and reacts faster on short ones.
const ACK_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));
/// The longest time a packet waits for its ACK.
pub(crate) const MAX_ACK_DELAY: Duration = ACK_INTERVAL.1;
/// Received bytes that justify an ACK: fifty times the bytes of an ACK with all headers and few ranges. The
/// return path may have a fiftieth of the capacity (ADSL, cable), and ACKs must not fill it.
const ENOUGH_BYTES: u64 = 50 * 90;
/// Received bytes that justify an early ACK, which reports a gap.
const MANY_BYTES: u64 = 4 * ENOUGH_BYTES;
/// So many packets at first are acknowledged as often as their bytes justify, because the sender looks for the path's rate.
const FIRST_PACKETS: u64 = 2000;
/// With fewer bytes, an ACK waits this long for more.
const FEW_BYTES_DELAY: Duration = Duration::from_millis(10);
/// The most ranges remembered: at 10% loss these are 40,000 packets.
const MAX_RANGES: usize = 4096;
/// The ranges of an ACK take at most one part in this many of the bytes received since the last ACK.
const SHARE_OF_FORWARD_BYTES: u64 = 100;
/// The least room for ranges in an ACK: enough for a few gaps at low rates.
const MIN_ROOM: u64 = 64;
/// The room for ranges in the largest ACK: more than a lossy path makes between two ACKs.
const MAX_ROOM: u64 = 1100;

/// How many ACKs report each packet, because ACKs can be lost.
const TOLD: usize = 3;
/// Bytes of one more range, in most cases.
const RANGE_BYTES: usize = 3;
/// Each span lasts at least this long and has at least this many packets. Ranges are kept for two spans. By
/// then the sender has acted on the reports.
const MEMORY: (Duration, u64) = (Duration::from_millis(500), 1000);

/// The packets that arrived, and what the next ACK reports.
#[derive(Debug, Default)]
pub struct AckTracker {
    ranges: RangeSet,
    ecn: EcnCounts,
    largest_at: Time,
    /// What arrived since the last ACK, and in the intervals before it.
    news: [RangeSet; TOLD],
    /// The lowest number that arrived in this span, and in the one before; when this span began, and its
    /// packets.
    lowest: [u64; 2],
    span_began: Time,
    span_packets: u64,
    /// Since the last ACK: the bytes that ask for an ACK, and when the first of them came.
    pending_bytes: u64,
    pending_since: Option<Time>,
    last_ack: Time,
    /// Packets that arrived.
    packets: u64,
    /// There is a gap. It is reported as soon as that costs little.
    gap: bool,
    /// Something must be reported at once.
    urgent: bool,
}

impl AckTracker {
    /// Notes an authenticated packet.
    pub fn on_packet(&mut self, now: Time, number: PacketNumber, ecn: Ecn, bytes: usize, eliciting: bool) {
        self.ecn.count(ecn);
        let n = number.value();
        let end = self.ranges.last().map_or(0, |r| r.end);
        if n >= end {
            self.largest_at = now;
            self.gap |= n > end && eliciting;
        }
        self.ranges.insert(n..n + 1);
        self.ranges.forget_oldest(MAX_RANGES);
        self.news[0].insert(n..n + 1);
        self.news[0].forget_oldest(MAX_RANGES);
        self.lowest[0] = self.lowest[0].min(n);
        self.span_packets += 1;
        self.packets += 1;
        if eliciting {
            self.pending_bytes += bytes as u64;
            self.pending_since.get_or_insert(now);
        }
    }

    /// The interval between ACKs on a path with this RTT.
    pub(crate) fn interval(rtt: Duration) -> Duration {
        (rtt / 8).clamp(ACK_INTERVAL.0, ACK_INTERVAL.1)
    }

    /// When the next ACK is due, if something waits for one.
    pub fn due(&self, rtt: Duration) -> Option<Time> {
        let since = self.pending_since?;
        let interval = Self::interval(rtt);
        let max_delay = interval.max(FEW_BYTES_DELAY);
        let wait = if self.urgent || self.gap && self.pending_bytes >= MANY_BYTES {
            ACK_INTERVAL.0
        } else if self.pending_bytes >= ENOUGH_BYTES {
            let early = self.packets < FIRST_PACKETS;
            if early { ACK_INTERVAL.0 } else { interval }
        } else if self.gap {
            max_delay
        } else {
            return Some(since + max_delay);
        };
        Some((self.last_ack + wait).max(since))
    }

    /// Appends the ACK frame, at most `most` bytes; nothing if no packet ever arrived. The frame reports new
    /// packets even if they are far below the highest, because reordering fills gaps there. It also reports
    /// the highest ranges.
    pub fn write_ack(&mut self, now: Time, flow_limit: u64, most: usize, buf: &mut Vec<u8>) {
        let room = (self.pending_bytes / SHARE_OF_FORWARD_BYTES).clamp(MIN_ROOM, MAX_ROOM) as usize;
        let room = room.min(most);
        let delay = u32::try_from(now.since(self.largest_at).as_micros()).unwrap_or(u32::MAX);
        let news = self.news.iter().flat_map(RangeSet::iter);
        let mut news: Vec<_> = news.filter_map(|n| self.ranges.containing(n.start)).collect();
        news.sort_unstable_by_key(|range| Reverse(range.start));
        news.dedup();
        let highest = (room / RANGE_BYTES).saturating_sub(news.len()).max(1);
        let lowest = self
            .ranges
            .iter()
            .rev()
            .nth(highest - 1)
            .map_or(0, |range| range.start);
        news.retain(|range| range.start < lowest);
        let told = self.ranges.iter().rev().take(highest).chain(news);
        Ack::encode(buf, room, told, delay, flow_limit, self.ecn);
        self.news.rotate_right(1);
        self.news[0].clear();
        self.forget(now);
        self.pending_bytes = 0;
        self.pending_since = None;
        self.gap = false;
        self.urgent = false;
        self.last_ack = now;
    }

    /// Forgets the ranges below everything that arrived in the last two spans.
    fn forget(&mut self, now: Time) {
        if now.since(self.span_began) < MEMORY.0 || self.span_packets < MEMORY.1 {
            return;
        }
        self.span_began = now;
        self.span_packets = 0;
        let newest = self.ranges.last().map_or(0, |range| range.start);
        let [current, before] = self.lowest;
        self.ranges.forget_below(newest.min(current).min(before));
        self.lowest = [u64::MAX, current];
    }

    /// Asks for an ACK at once, for news that should not wait (the flow-control limit rises again).
    pub(crate) fn hurry(&mut self, now: Time) {
        if !self.ranges.is_empty() {
            self.urgent = true;
            self.pending_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Frame, Frames};
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn single_packet_waits_and_many_do_not() {
        let mut r = AckTracker::default();
        r.on_packet(ms(100), PacketNumber::new(0), Ecn::NotEct, 1200, true);
        assert_eq!(r.due(RTT), Some(ms(110)));
        (1..8).for_each(|n| r.on_packet(ms(101), PacketNumber::new(n), Ecn::NotEct, 1200, true));
        assert_eq!(r.due(RTT), Some(ms(100)));
        r.write_ack(ms(101), 0, usize::MAX, &mut Vec::new());
        assert_eq!(r.due(RTT), None);
    }

    #[test]
    fn the_first_packets_are_acknowledged_more_often() {
        let (mut r, mut acks) = (AckTracker::default(), Vec::new());
        // 4 packets a millisecond, for a second.
        for n in 0..4000 {
            let now = Time::from_nanos(n * 250_000);
            r.on_packet(now, PacketNumber::new(n), Ecn::NotEct, 1200, true);
            if r.due(RTT).is_some_and(|t| t <= now) {
                told(&mut r, now);
                acks.push(n);
            }
        }
        let first = acks.iter().filter(|n| **n < FIRST_PACKETS).count();
        assert!((450..=500).contains(&first), "{first}");
        assert!((45..=55).contains(&(acks.len() - first)), "{}", acks.len());
    }

    #[test]
    fn acks_fit_a_narrow_way_back_though_a_tenth_is_lost() {
        let (mut r, mut got, mut told) = (AckTracker::default(), 0, 0);
        // 20 Mbit/s over a short path.
        for n in (0..4000).filter(|n| n % 10 != 0) {
            let now = Time::from_nanos(n * 560_000);
            r.on_packet(now, PacketNumber::new(n), Ecn::NotEct, 1400, true);
            got += 1400;
            if r.due(Duration::from_millis(2)).is_some_and(|t| t <= now) {
                let mut ack = Vec::new();
                r.write_ack(now, 0, usize::MAX, &mut ack);
                // The headers of IP and UDP, our header and the tag.
                told += ack.len() as u64 + 57;
            }
        }
        assert!(told * 1000 < got * 25, "{told} of {got}");
    }

    /// The numbers that the next ACK reports.
    fn told(r: &mut AckTracker, now: Time) -> RangeSet {
        let mut buf = Vec::new();
        r.write_ack(now, 0, usize::MAX, &mut buf);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
            panic!("an ACK")
        };
        let mut set = RangeSet::default();
        for range in ack.ranges() {
            set.insert(range);
        }
        set
    }

    #[test]
    fn what_fills_a_gap_far_below_is_told_three_times() {
        let mut r = AckTracker::default();
        for n in (0..2000).filter(|n| n % 2 == 0) {
            r.on_packet(ms(0), PacketNumber::new(n), Ecn::NotEct, 100, true);
        }
        for now in 1..4 {
            told(&mut r, ms(now));
        }
        r.on_packet(ms(5), PacketNumber::new(301), Ecn::NotEct, 100, true);
        for now in 6..9 {
            let set = told(&mut r, ms(now));
            assert!(set.contains(&(300..303)) && set.contains(&(1998..1999)));
        }
        assert!(!told(&mut r, ms(9)).contains(&(300..303)));
    }

    #[test]
    fn old_gaps_are_forgotten_but_not_while_little_arrives() {
        let mut r = AckTracker::default();
        for n in (0..2000).filter(|n| n % 2 == 0) {
            r.on_packet(ms(n), PacketNumber::new(n), Ecn::NotEct, 1400, true);
            told(&mut r, ms(n));
        }
        let kept = r.ranges.len();
        told(&mut r, ms(60_000));
        assert_eq!(r.ranges.len(), kept, "nothing came since");
        for n in (2000..8000).filter(|n| n % 2 == 0) {
            r.on_packet(ms(60_000 + n), PacketNumber::new(n), Ecn::NotEct, 1400, true);
            told(&mut r, ms(60_000 + n));
        }
        assert!(r.ranges.first().is_some_and(|range| range.start > 2000));
    }

    #[test]
    fn packets_that_ask_for_nothing_are_not_acknowledged_by_themselves() {
        let mut r = AckTracker::default();
        r.on_packet(ms(100), PacketNumber::new(0), Ecn::NotEct, 60, false);
        assert_eq!(r.due(RTT), None);
    }

    #[test]
    fn memory_stays_bounded_under_endless_gaps() {
        let mut r = AckTracker::default();
        for n in 0..100_000 {
            r.on_packet(ms(n), PacketNumber::new(n * 2), Ecn::NotEct, 1200, true);
        }
        assert!(r.ranges.len() <= MAX_RANGES);
    }
}
