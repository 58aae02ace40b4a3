//! The path's bandwidth, unloaded RTT and jitter, as measured. `mod.rs` sets window and pace from them.

use std::time::Duration;

use super::super::AckSample;
use super::params::Params;
use super::round::Interval;
use crate::protocol::time::Time;

/// The model of one path (BBR.max_bw, BBR.min_rtt), and what is derived from it.
#[derive(Debug)]
pub(super) struct Model {
    mtu: u64,
    max_bw: u64,
    /// Highest delivery rate ever seen on this path.
    peak: u64,
    min_rtt: MinRtt,
    jitter: Duration,
    /// How long after the packets that overtook them reordered packets came.
    late: Duration,
}

impl Model {
    pub(super) fn new(now: Time, mtu: u64) -> Self {
        Model {
            mtu,
            max_bw: 0,
            peak: 0,
            min_rtt: MinRtt::new(now),
            jitter: Duration::ZERO,
            late: Duration::ZERO,
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u64) {
        self.mtu = mtu;
    }

    /// Bytes of a packet.
    pub(super) const fn mtu(&self) -> u64 {
        self.mtu
    }

    /// Highest delivery rate since the last probe was answered (BBR.max_bw), bytes a second. The draft remembers two
    /// cycles (MaxBwFilterLen); a flow that has lost its share to another must not.
    pub(super) const fn max_bw(&self) -> u64 {
        self.max_bw
    }

    /// Highest delivery rate ever seen, bytes a second.
    pub(super) const fn peak(&self) -> u64 {
        self.peak
    }

    /// A delivery rate, bytes a second, of too few packets to count as the highest ever.
    pub(super) fn on_rate(&mut self, rate: u64) {
        self.max_bw = self.max_bw.max(rate);
    }

    /// A rate that was measured over an interval, or in Startup over a train.
    pub(super) fn on_measured_rate(&mut self, rate: u64) {
        self.on_rate(rate);
        self.peak = self.peak.max(rate);
    }

    /// Forgets all rates but this one.
    pub(super) fn set_bw(&mut self, rate: u64) {
        self.max_bw = rate;
    }

    /// Sets the path's rate where it was derived and not measured.
    pub(super) fn set_peak(&mut self, rate: u64) {
        self.peak = rate;
    }

    /// RTT and lateness of one ACK.
    pub(super) fn on_ack(&mut self, s: &AckSample, params: &Params) {
        if let Some(rtt) = s.rtt {
            let service = self.service(params);
            self.min_rtt.on_sample(s.now, rtt, service, params);
        }
        // The other packets' RTT may contain a queue of ours.
        let min_rtt = self.min_rtt(params).unwrap_or_default();
        self.late = s.late.saturating_sub(s.smoothed_rtt.max(min_rtt));
    }

    /// Mean RTT of an interval.
    pub(super) fn on_mean_rtt(&mut self, now: Time, mean: Duration, params: &Params) {
        let rise = mean.saturating_sub(self.min_rtt(params).unwrap_or(mean));
        let noise = self.queue_noise(mean, params).min(rise / params.steady_part);
        self.min_rtt.steady.on_mean(now, mean, noise);
    }

    /// The lowest RTT of a ProbeRTT; `competitive`: others fill the queue.
    pub(super) fn on_probe_rtt(&mut self, now: Time, rtt: Duration, competitive: bool, params: &Params) {
        self.min_rtt.on_probe(now, rtt, competitive, params);
    }

    /// The spread of RTTs of an interval in which we built no queue (the nominal max RTT of
    /// draft-huitema-ccwg-c4-design serves the same end).
    pub(super) fn on_spread(&mut self, interval: &Interval, params: &Params) {
        let Some(low) = interval.low else { return };
        let spread = interval.high.saturating_sub(low).min(params.max_jitter);
        let weight = params.jitter_weight;
        self.jitter = (self.jitter * (weight - 1) + spread) / weight;
    }

    /// The unloaded RTT, once one was measured.
    pub(super) fn min_rtt(&self, params: &Params) -> Option<Duration> {
        self.min_rtt.value.map(|rtt| rtt.max(params.least_rtt))
    }

    /// Since when no RTT near the minimum was seen.
    pub(super) const fn idle_at(&self) -> Time {
        self.min_rtt.idle_at
    }

    pub(super) const fn jitter(&self) -> Duration {
        self.jitter
    }

    pub(super) const fn late(&self) -> Duration {
        self.late
    }

    /// Time that the packets in service take.
    fn service(&self, params: &Params) -> Duration {
        let bytes = params.service_packets * self.mtu as f64;
        Duration::from_secs_f64(bytes / self.max_bw.max(10_000) as f64)
    }

    /// Whether there is a queue if `low` is the lowest RTT of some time.
    pub(super) fn is_queue(&self, low: Duration, params: &Params) -> bool {
        let min_rtt = self.min_rtt(params).unwrap_or(low);
        low > min_rtt + self.queue_noise(min_rtt, params)
    }

    /// How far the lowest RTT of an interval may lie above `min_rtt` without a queue.
    fn queue_noise(&self, min_rtt: Duration, params: &Params) -> Duration {
        let jitter = self.jitter.saturating_sub(min_rtt / params.jitter_part);
        min_rtt / params.queue_part
            + params.queue_slack
            + jitter / params.queue_jitter_part
            + self.service(params)
    }
}

/// Lowest RTT of the last ten seconds, and how long ago one near it was seen.
#[derive(Debug)]
struct MinRtt {
    value: Option<Duration>,
    seen_at: Time,
    /// When the path last showed itself (nearly) free of queues.
    idle_at: Time,
    steady: Steady,
}

/// How long the mean RTT has been the same.
#[derive(Debug)]
struct Steady {
    since: Time,
    low: Duration,
    high: Duration,
}

impl Steady {
    fn on_mean(&mut self, now: Time, mean: Duration, noise: Duration) {
        (self.low, self.high) = (self.low.min(mean), self.high.max(mean));
        if self.high - self.low > noise {
            (self.since, self.low, self.high) = (now, mean, mean);
        }
    }
}

impl MinRtt {
    fn new(now: Time) -> Self {
        MinRtt {
            value: None,
            seen_at: now,
            idle_at: now,
            steady: Steady {
                since: now,
                low: Duration::ZERO,
                high: Duration::ZERO,
            },
        }
    }

    fn on_sample(&mut self, now: Time, rtt: Duration, service: Duration, params: &Params) {
        match self.value {
            Some(v) if rtt > v + v / params.idle_part + params.idle_slack + service => return,
            Some(v) => self.value = Some(v.min(rtt)),
            None => self.value = Some(rtt),
        }
        self.seen_at = now;
        self.idle_at = now;
    }

    /// A higher RTT, which may be another flow's queue, counts only if no lower one was seen for long. In competitive mode
    /// that takes longer, unless the RTT has not changed meanwhile: a rival's queue grows and shrinks.
    fn on_probe(&mut self, now: Time, rtt: Duration, competitive: bool, params: &Params) {
        let steady = now.since(self.steady.since) > params.min_rtt_window;
        let window = if competitive && !steady {
            params.competitive_min_rtt_window
        } else {
            params.min_rtt_window
        };
        self.on_sample(now, rtt, Duration::ZERO, params);
        self.idle_at = now;
        if now.since(self.seen_at) > window {
            self.value = Some(rtt);
            self.seen_at = now;
        }
    }
}
