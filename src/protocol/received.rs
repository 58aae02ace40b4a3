//! What arrived, and when to say so: timer-based selective acknowledgements.
//!
//! An ACK repeats as many earlier ranges as fit its share of the forward bytes, so lost ACKs repair themselves.
//! Memory is bounded: the oldest ranges are forgotten first, when the sender has long acted on them.

use super::ranges::RangeSet;
use super::time::Time;
use super::wire::{Ack, PacketNumber};
use std::time::Duration;

/// Shortest and longest time between ACKs. 10 ms is UDT's SYN (draft-gg-udt-03, section 4); scaling with the RTT
/// costs less on long paths and reacts faster on short ones.
const ACK_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));
/// Longest time a packet waits for its ACK.
pub const MAX_ACK_DELAY: Duration = ACK_INTERVAL.1;
/// Ranges remembered: at 10% loss that is 40,000 packets.
const MAX_RANGES: usize = 4096;
/// ACKs take at most this share of the bytes received since the last one.
const SHARE_OF_FORWARD_BYTES: u64 = 100;
/// Room for ranges in any ACK: enough for a few gaps at low rates.
const MIN_ROOM: u64 = 64;
/// Room in the largest ACK, inside the smallest MTU with its sealing.
const MAX_ROOM: u64 = 1100;

/// Packets received and not yet reported.
#[derive(Debug, Default)]
pub struct Received {
    ranges: RangeSet,
    largest_at: Time,
    /// Since the last ACK: packets and bytes that asked for one, and when the first came.
    pending: u32,
    pending_bytes: u64,
    pending_since: Option<Time>,
    last_ack: Time,
    /// A gap opened since the last ACK: say so early, once.
    gap: bool,
}

impl Received {
    /// Notes an authenticated packet.
    pub fn on_packet(&mut self, now: Time, number: PacketNumber, bytes: usize, eliciting: bool) {
        let n = number.value();
        let end = self.ranges.last().map_or(0, |r| r.end);
        if n >= end {
            self.largest_at = now;
            self.gap |= n > end && eliciting;
        }
        self.ranges.insert(n..n + 1);
        self.ranges.forget_oldest(MAX_RANGES);
        if eliciting {
            self.pending += 1;
            self.pending_bytes += bytes as u64;
            self.pending_since.get_or_insert(now);
        }
    }

    /// How often to acknowledge on a path of this RTT.
    pub fn interval(rtt: Duration) -> Duration {
        (rtt / 8).clamp(ACK_INTERVAL.0, ACK_INTERVAL.1)
    }

    /// When the next ACK is due, if one is owed.
    pub fn due(&self, rtt: Duration) -> Option<Time> {
        let since = self.pending_since?;
        let interval = Self::interval(rtt);
        if self.gap {
            return Some((self.last_ack + ACK_INTERVAL.0).max(since));
        }
        // Two packets after a quiet interval need not wait any longer.
        if self.pending >= 2 {
            Some((self.last_ack + interval).max(since))
        } else {
            Some(since + interval)
        }
    }

    /// Appends the ACK frame; nothing if nothing ever arrived.
    pub fn write_ack(&mut self, now: Time, credit: u64, buf: &mut Vec<u8>) {
        let room = (self.pending_bytes / SHARE_OF_FORWARD_BYTES).clamp(MIN_ROOM, MAX_ROOM);
        let delay = u32::try_from(now.since(self.largest_at).as_micros()).unwrap_or(u32::MAX);
        Ack::encode(buf, room as usize, self.ranges.iter().rev(), delay, credit);
        self.pending = 0;
        self.pending_bytes = 0;
        self.pending_since = None;
        self.gap = false;
        self.last_ack = now;
    }

    /// Owes an ACK at once, for news that should not wait (credit came back).
    pub fn hurry(&mut self, now: Time) {
        if !self.ranges.is_empty() {
            self.gap = true;
            self.pending_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn single_packet_waits_one_interval_and_a_gap_does_not() {
        let mut r = Received::default();
        r.on_packet(ms(100), PacketNumber::new(0), 1200, true);
        assert_eq!(r.due(RTT), Some(ms(110)));
        r.on_packet(ms(101), PacketNumber::new(2), 1200, true);
        assert_eq!(r.due(RTT), Some(ms(100)));
        r.write_ack(ms(101), 0, &mut Vec::new());
        assert_eq!(r.due(RTT), None);
    }

    #[test]
    fn packets_that_ask_for_nothing_are_not_acknowledged_by_themselves() {
        let mut r = Received::default();
        r.on_packet(ms(100), PacketNumber::new(0), 60, false);
        assert_eq!(r.due(RTT), None);
    }

    #[test]
    fn memory_stays_bounded_under_endless_gaps() {
        let mut r = Received::default();
        for n in 0..100_000 {
            r.on_packet(ms(n), PacketNumber::new(n * 2), 1200, true);
        }
        assert!(r.ranges.len() <= MAX_RANGES);
    }
}
