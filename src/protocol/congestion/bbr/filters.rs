//! What the path is like: its bandwidth, its unloaded RTT, its jitter, and where a round trip ends.

use super::super::AckSample;
use crate::protocol::time::Time;
use std::time::Duration;

/// Longest memory of the unloaded RTT (draft-ietf-ccwg-bbr, MinRTTFilterLen).
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);

/// The highest delivery rate of this probing cycle and of the one before (MaxBwFilterLen = 2 cycles).
#[derive(Debug, Default)]
pub(super) struct MaxBandwidth {
    now: u64,
    before: u64,
}

impl MaxBandwidth {
    pub(super) fn on_sample(&mut self, rate: u64) {
        self.now = self.now.max(rate);
    }

    /// A probe for more has been answered: what the cycle before last saw no longer counts.
    pub(super) fn advance(&mut self) {
        if self.now > 0 {
            self.before = self.now;
            self.now = 0;
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.now.max(self.before)
    }
}

/// Lowest RTT of the last ten seconds, and how long ago one near it was seen.
#[derive(Debug)]
pub(super) struct MinRtt {
    value: Option<Duration>,
    seen_at: Time,
    /// When the path last showed itself (nearly) free of queues.
    idle_at: Time,
}

impl MinRtt {
    pub(super) fn new(now: Time) -> Self {
        MinRtt {
            value: None,
            seen_at: now,
            idle_at: now,
        }
    }

    pub(super) fn on_sample(&mut self, now: Time, rtt: Duration) {
        let expired = now.since(self.seen_at) > MIN_RTT_WINDOW;
        match self.value {
            Some(v) if rtt > v && !expired => {
                // As near as a measurement gets; a stricter test would make each path probe for its RTT.
                if rtt <= v + v / 32 + Duration::from_micros(100) {
                    self.idle_at = now;
                }
            }
            _ => {
                self.value = Some(rtt);
                self.seen_at = now;
                self.idle_at = now;
            }
        }
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.value
    }

    /// Since when nothing near the minimum was seen.
    pub(super) fn idle_at(&self) -> Time {
        self.idle_at
    }

    /// The RTT was just measured with an empty pipe.
    pub(super) fn refresh(&mut self, now: Time) {
        self.idle_at = now;
        self.seen_at = now;
    }
}

/// Packet-timed round trips (section 4.5.1), and the RTTs seen within one.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Ends when a packet sent after this much was delivered is acknowledged.
    ends_at: u64,
    /// Whether this ACK began a new round.
    pub(super) started: bool,
    /// Rounds begun since the phase began.
    pub(super) in_phase: u32,
    /// Highest delivery rate of this round.
    pub(super) rate: u64,
    /// Lowest and highest RTT of this round.
    low: Option<Duration>,
    high: Duration,
    /// The same of the round before, complete.
    pub(super) last: LastRound,
}

/// A complete round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastRound {
    pub(super) rate: u64,
    pub(super) low: Option<Duration>,
    pub(super) high: Duration,
}

impl Round {
    pub(super) fn on_ack(&mut self, s: &AckSample) {
        self.started = s.acked_bytes > 0 && s.delivered_at_send >= self.ends_at;
        if self.started {
            self.ends_at = s.delivered;
            self.in_phase = self.in_phase.saturating_add(1);
            self.last = LastRound {
                rate: self.rate,
                low: self.low,
                high: self.high,
            };
            self.rate = 0;
            self.low = None;
            self.high = Duration::ZERO;
        }
        if let Some(rate) = s.delivery_rate {
            self.rate = self.rate.max(rate);
        }
        if let Some(rtt) = s.rtt {
            self.low = Some(self.low.map_or(rtt, |l| l.min(rtt)));
            self.high = self.high.max(rtt);
        }
        if let Some(rtt) = s.max_rtt {
            self.high = self.high.max(rtt);
        }
    }

    /// The round in progress belongs to the phase before: what is acknowledged was sent in that.
    pub(super) fn restart(&mut self, delivered: u64) {
        self.ends_at = delivered;
        self.in_phase = 0;
    }
}

/// How far RTTs spread within one round while we build no queue: jitter, which the window must cover too
/// (the nominal max RTT of draft-huitema-ccwg-c4-design serves the same end).
#[derive(Debug, Default)]
pub(super) struct Jitter(Duration);

impl Jitter {
    /// More than this is not jitter but an outage.
    const MOST: Duration = Duration::from_millis(500);

    pub(super) fn on_round(&mut self, round: &LastRound) {
        let Some(low) = round.low else { return };
        let spread = round.high.saturating_sub(low).min(Self::MOST);
        // A quarter per round: one late ACK moves it little, three bad rounds are believed.
        self.0 = (self.0 * 3 + spread) / 4;
    }

    pub(super) fn get(&self) -> Duration {
        self.0
    }
}
