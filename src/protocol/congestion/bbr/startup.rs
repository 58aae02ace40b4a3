//! Startup (section 4.3.1): the rate grows until the pipe is full.
//!
//! The rate follows trains of packets, which are shorter than a round trip. Startup ends when the rate has not grown
//! for one round with a queue, or for two rounds without one. Losses end it only while the flow is application-limited.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::AckSample;
use super::params::Params;
use crate::protocol::time::Time;

/// The search for the path's rate.
#[derive(Debug)]
pub(super) struct Startup {
    train: Train,
    /// The bandwidth that must be outgrown (BBR.full_bw), and rounds in which it was not (BBR.full_bw_count).
    full_bw: u64,
    full_bw_count: u32,
    grew_at: Time,
}

impl Startup {
    pub(super) fn new(now: Time) -> Self {
        Startup {
            train: Train::default(),
            full_bw: 0,
            full_bw_count: 0,
            grew_at: now,
        }
    }

    /// The rate that the newest ACK shows, bytes a second; `min_rtt`: the unloaded RTT.
    pub(super) fn rate(&mut self, s: &AckSample, min_rtt: Duration, mtu: u64, params: &Params) -> u64 {
        let train = self.train.on_ack(s, min_rtt, mtu, params);
        train.max(s.delivery_rate).unwrap_or(0)
    }

    /// Lowest RTT of the newest train, which shows a queue before a round has ended; none while the packets are too few.
    pub(super) fn low(&self, mtu: u64, params: &Params) -> Option<Duration> {
        let &(now, delivered, _) = self.train.acks.back()?;
        let enough = |at: Time, before: u64| {
            now.since(at) >= params.train_time && delivered - before >= params.fewest_packets * mtu
        };
        let mut low: Option<Duration> = None;
        for &(at, before, rtt) in self.train.acks.iter().rev() {
            if enough(at, before) {
                return low;
            }
            low = low.into_iter().chain(rtt).min();
        }
        None
    }

    /// Whether `max_bw` still grows.
    pub(super) fn grows(&self, max_bw: u64, params: &Params) -> bool {
        max_bw as f64 >= self.full_bw as f64 * params.startup_growth
    }

    /// A round has ended, with or without a queue. Returns whether the pipe is full. `late`: how late reordered packets
    /// come, which may delay growth.
    pub(super) fn on_round(
        &mut self,
        now: Time,
        max_bw: u64,
        queue: bool,
        late: Duration,
        params: &Params,
    ) -> bool {
        if self.grows(max_bw, params) {
            self.full_bw = max_bw;
            self.full_bw_count = 0;
            self.grew_at = now;
            return false;
        }
        self.full_bw_count += 1;
        let long = now.since(self.grew_at) >= params.lasting.max(late * params.train_spread);
        long && (queue || self.full_bw_count >= params.full_bw_rounds)
    }
}

/// The rate at which the packets of a flight arrive, before a whole round has passed. Packets leave the bottleneck at
/// the path's rate, so a train shows that rate although the window fills only a part of the round trip.
#[derive(Debug, Default)]
struct Train {
    /// When an ACK came, how many bytes were delivered by then, and its RTT.
    acks: VecDeque<(Time, u64, Option<Duration>)>,
}

impl Train {
    /// The rate over at least two ACKs and at least twice the spread of RTTs in this ACK. Over a shorter time, packets
    /// that jitter pushed together would look fast.
    fn on_ack(&mut self, s: &AckSample, min_rtt: Duration, mtu: u64, params: &Params) -> Option<u64> {
        if s.acked_bytes == 0 {
            return None;
        }
        let spread = s.max_rtt.unwrap_or_default().saturating_sub(min_rtt);
        let time = params.train_time.max(spread * params.train_spread);
        let bytes = params.fewest_packets * mtu;
        let enough = |a: &(Time, u64, _)| s.now.since(a.0) >= time && s.delivered - a.1 >= bytes;
        self.acks.push_back((s.now, s.delivered, s.rtt));
        while self.acks.get(1).is_some_and(enough) {
            self.acks.pop_front();
        }
        let &(at, delivered, _) = self.acks.front().filter(|a| enough(a))?;
        let rate = u128::from(s.delivered - delivered) * 1_000_000_000 / s.now.since(at).as_nanos();
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}
