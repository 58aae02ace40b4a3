//! Rounds (section 4.5.1), and sample intervals: whole rounds with enough packets to judge by.

use std::time::Duration;

use super::super::AckSample;
use super::loss::Count;
use super::params::Params;
use crate::protocol::time::Time;

/// Packet-timed round trips.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Ends when a packet sent after this much was delivered is acknowledged.
    ends_at: u64,
    /// Whether the newest ACK began a round.
    started: bool,
    /// Rounds begun since the mode began.
    in_mode: u32,
    /// First rounds of the mode that are left out, because they show what the mode before it did.
    skip: u32,
    current: Interval,
    interval_began: Time,
    round_began: Time,
}

/// What was seen in one or more whole rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    /// Packets acknowledged and lost.
    pub(super) count: Count,
    /// How long it took.
    pub(super) time: Duration,
    /// Lowest and highest RTT.
    pub(super) low: Option<Duration>,
    pub(super) high: Duration,
    /// Sum and number of rate samples.
    rates: u64,
    rate_samples: u64,
    /// Sum and number of RTT samples.
    rtts: Duration,
    rtt_samples: u32,
}

impl Interval {
    /// Mean of the rate samples, bytes a second. Their maximum is too high: by 3% where a tenth of 300 packets is lost.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rates.checked_div(self.rate_samples)
    }

    /// The same, if there are enough packets to judge by.
    pub(super) fn sure_rate(&self, params: &Params) -> Option<u64> {
        self.rate().filter(|_| self.count.is_enough(params))
    }

    /// Mean RTT.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.rtts.checked_div(self.rtt_samples)
    }

    fn add(&mut self, s: &AckSample) {
        self.count.add(Count {
            acked: s.acked_packets,
            lost: s.lost_packets,
            marked: s.marked_packets,
        });
        if let Some(rate) = s.delivery_rate
            && !s.app_limited
        {
            self.rates = self.rates.saturating_add(rate);
            self.rate_samples += 1;
        }
        if let Some(rtt) = s.rtt {
            self.low = Some(self.low.map_or(rtt, |low| low.min(rtt)));
            self.high = self.high.max(rtt);
            self.rtts += rtt;
            self.rtt_samples += 1;
        }
        if let Some(rtt) = s.max_rtt {
            self.high = self.high.max(rtt);
        }
    }
}

impl Round {
    /// Counts an ACK. Returns the interval that it ends, if any. A round lasts at least `least`, because under jitter
    /// the fastest packets return long before those that were sent with them.
    pub(super) fn on_ack(&mut self, s: &AckSample, least: Duration, params: &Params) -> Option<Interval> {
        let passed = s.acked_bytes > 0 && s.delivered_at_send >= self.ends_at;
        self.started = passed && s.now.since(self.round_began) >= least;
        let ended = if self.started { self.begin(s, params) } else { None };
        self.current.add(s);
        ended
    }

    fn begin(&mut self, s: &AckSample, params: &Params) -> Option<Interval> {
        self.round_began = s.now;
        self.ends_at = s.delivered;
        self.in_mode = self.in_mode.saturating_add(1);
        if self.in_mode <= self.skip {
            self.current = Interval::default();
            self.interval_began = s.now;
        }
        let time = s.now.since(self.interval_began);
        let long = self.current.count.is_enough(params) && time >= params.interval_time;
        if !long && self.current.count.total() < params.interval_packets {
            return None;
        }
        self.interval_began = s.now;
        Some(Interval {
            time,
            ..std::mem::take(&mut self.current)
        })
    }

    /// Whether the newest ACK began a round.
    pub(super) const fn has_started(&self) -> bool {
        self.started
    }

    /// Rounds begun since the mode began.
    pub(super) const fn in_mode(&self) -> u32 {
        self.in_mode
    }

    /// The interval in progress.
    pub(super) const fn current(&self) -> &Interval {
        &self.current
    }

    /// Packets that were counted as lost have arrived.
    pub(super) fn on_spurious_loss(&mut self, packets: u64) {
        let lost = &mut self.current.count.lost;
        *lost = lost.saturating_sub(packets);
    }

    /// A mode begins. The next `skip` rounds are left out, because they show what the mode before it did.
    pub(super) fn restart(&mut self, now: Time, delivered: u64, skip: u32) {
        *self = Round {
            ends_at: delivered,
            skip,
            started: self.started,
            interval_began: now,
            round_began: now,
            ..Round::default()
        };
    }
}
