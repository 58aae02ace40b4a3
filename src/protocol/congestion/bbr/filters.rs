//! What the path is like: its bandwidth, its unloaded RTT, its jitter, and where a round trip ends.

use super::super::AckSample;
use super::loss::Count;
use crate::protocol::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest memory of the unloaded RTT (draft-ietf-ccwg-bbr, MinRTTFilterLen).
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// The same among flows that never let the queue drain; after it the path itself may have become longer.
const CONTESTED_WINDOW: Duration = Duration::from_secs(60);

/// The highest delivery rate since the last probe for more was answered.
///
/// The draft remembers two cycles (MaxBwFilterLen); a flow that has lost its share to another must not.
#[derive(Debug, Default)]
pub(super) struct MaxBandwidth(u64);

impl MaxBandwidth {
    pub(super) fn on_sample(&mut self, rate: u64) {
        self.0 = self.0.max(rate);
    }

    /// Forgets all but `rate`.
    pub(super) fn reset(&mut self, rate: u64) {
        self.0 = rate;
    }

    pub(super) fn get(&self) -> u64 {
        self.0
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

    /// `service` is what the packets take that are in service anyway.
    pub(super) fn on_sample(&mut self, now: Time, rtt: Duration, service: Duration) {
        match self.value {
            // As near as a measurement gets; a stricter test would make each path probe for its RTT.
            Some(v) if rtt > v + v / 32 + Duration::from_micros(100) + service => return,
            Some(v) => self.value = Some(v.min(rtt)),
            None => self.value = Some(rtt),
        }
        self.seen_at = now;
        self.idle_at = now;
    }

    /// The lowest RTT of a pipe that we emptied on purpose. What a stranger's queue adds is believed only when
    /// nothing lower was seen for long: ten seconds, or longer while we know of strangers (`contested`).
    pub(super) fn on_probe(&mut self, now: Time, rtt: Duration, contested: bool) {
        let window = if contested {
            CONTESTED_WINDOW
        } else {
            MIN_RTT_WINDOW
        };
        self.on_sample(now, rtt, Duration::ZERO);
        self.idle_at = now;
        if now.since(self.seen_at) > window {
            self.value = Some(rtt);
            self.seen_at = now;
        }
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.value.map(|rtt| rtt.max(LEAST_RTT))
    }

    /// Since when nothing near the minimum was seen.
    pub(super) fn idle_at(&self) -> Time {
        self.idle_at
    }
}

/// Below this the RTT is not the path's but that of ACK timers (1 ms at least) and of both machines' schedulers: a
/// product of bandwidth and a LAN's 30 microseconds would leave the path idle most of the time.
pub(super) const LEAST_RTT: Duration = Duration::from_millis(1);
/// Fewest packets to judge by: a tenth more or less in the loss of a 10% path.
const ENOUGH_PACKETS: u64 = 100;
/// At low rates this much time will do instead, or a verdict would take seconds.
const ENOUGH_TIME: Duration = Duration::from_millis(250);

/// How fast the packets of a flight come in, before a whole round has passed: nothing arrives faster than the
/// bottleneck lets through, so a train of packets shows a rate that the path has, though the window fills only a
/// part of the round trip with it.
#[derive(Debug, Default)]
pub(super) struct Train {
    /// When an ACK came, and how many bytes were delivered by then.
    acks: VecDeque<(Time, u64)>,
}

impl Train {
    /// Least time to measure over: many times the error of a timer.
    const LEAST: Duration = Duration::from_millis(4);

    /// Least packets to measure by: an ACK may come a packet too late or too early.
    const LEAST_PACKETS: u64 = 20;

    /// The rate over at least twice the spread among the packets of this ACK, which is two ACKs or more: what jitter
    /// pushes together must not look fast. Bytes a second; `mtu` in bytes.
    pub(super) fn on_ack(&mut self, s: &AckSample, min_rtt: Duration, mtu: u64) -> Option<u64> {
        if s.acked_bytes == 0 {
            return None;
        }
        let spread = s.max_rtt.unwrap_or_default().saturating_sub(min_rtt);
        let time = Self::LEAST.max(spread * 2);
        let bytes = Self::LEAST_PACKETS * mtu;
        let enough = |a: &(Time, u64)| s.now.since(a.0) >= time && s.delivered - a.1 >= bytes;
        self.acks.push_back((s.now, s.delivered));
        while self.acks.get(1).is_some_and(enough) {
            self.acks.pop_front();
        }
        let &(at, delivered) = self.acks.front().filter(|a| enough(a))?;
        let rate = u128::from(s.delivered - delivered) * 1_000_000_000 / s.now.since(at).as_nanos();
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

/// Packet-timed round trips (section 4.5.1), and stretches of them long enough to judge by.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Ends when a packet sent after this much was delivered is acknowledged.
    ends_at: u64,
    /// Whether this ACK began a new round.
    pub(super) started: bool,
    /// Rounds begun since the phase began.
    pub(super) in_phase: u32,
    /// Rounds of the phase that still show what the phase before it did.
    skip: u32,
    current: Stretch,
    began_at: Time,
    round_began: Time,
}

/// What was seen in one or more whole rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    /// Packets acknowledged and lost.
    pub(super) count: Count,
    /// How long it took.
    pub(super) time: Duration,
    /// Sum and number of rate samples.
    rates: u64,
    samples: u64,
    /// Lowest and highest RTT.
    pub(super) low: Option<Duration>,
    pub(super) high: Duration,
    /// Sum and number of RTT samples.
    rtts: Duration,
    rtt_samples: u32,
}

impl Stretch {
    /// Mean of the rate samples. A mean, because the maximum of noisy samples is too high: by 3% where a tenth
    /// of 300 packets is lost.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rates.checked_div(self.samples)
    }

    /// Mean RTT.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.rtts.checked_div(self.rtt_samples)
    }
}

impl Round {
    /// Counts an ACK in; returns the stretch that it ends, if it does. A round takes `least`: under jitter the
    /// luckiest packets come back before most of those sent with them.
    pub(super) fn on_ack(&mut self, s: &AckSample, least: Duration) -> Option<Stretch> {
        let passed = s.acked_bytes > 0 && s.delivered_at_send >= self.ends_at;
        self.started = passed && s.now.since(self.round_began) >= least;
        let mut ended = None;
        if self.started {
            self.round_began = s.now;
            self.ends_at = s.delivered;
            self.in_phase = self.in_phase.saturating_add(1);
            if self.in_phase <= self.skip {
                self.current = Stretch::default();
                self.began_at = s.now;
            }
            let total = self.current.count.total();
            let long = total >= Count::FEWEST && s.now.since(self.began_at) >= ENOUGH_TIME;
            if total >= ENOUGH_PACKETS || long {
                let time = s.now.since(self.began_at);
                ended = Some(Stretch {
                    time,
                    ..std::mem::take(&mut self.current)
                });
                self.began_at = s.now;
            }
        }
        let c = &mut self.current;
        c.count.add(s.acked_packets, s.lost_packets);
        if let Some(rate) = s.delivery_rate
            && !s.app_limited
        {
            c.rates = c.rates.saturating_add(rate);
            c.samples += 1;
        }
        if let Some(rtt) = s.rtt {
            c.low = Some(c.low.map_or(rtt, |l| l.min(rtt)));
            c.high = c.high.max(rtt);
            c.rtts += rtt;
            c.rtt_samples += 1;
        }
        if let Some(rtt) = s.max_rtt {
            c.high = c.high.max(rtt);
        }
        ended
    }

    /// The stretch in progress.
    pub(super) fn current(&mut self) -> &mut Stretch {
        &mut self.current
    }

    /// A phase begins: what is acknowledged in the next `skip` rounds tells of the one before.
    pub(super) fn restart(&mut self, now: Time, delivered: u64, skip: u32) {
        self.skip = skip;
        self.ends_at = delivered;
        self.in_phase = 0;
        self.current = Stretch::default();
        self.began_at = now;
        self.round_began = now;
    }
}

/// How far RTTs spread within one round while we build no queue: jitter, which the window must cover too
/// (the nominal max RTT of draft-huitema-ccwg-c4-design serves the same end).
#[derive(Debug, Default)]
pub(super) struct Jitter(Duration);

impl Jitter {
    /// More than this is not jitter but an outage.
    const MOST: Duration = Duration::from_millis(500);

    pub(super) fn on_stretch(&mut self, round: &Stretch) {
        let Some(low) = round.low else { return };
        let spread = round.high.saturating_sub(low).min(Self::MOST);
        // A quarter per round: one late ACK moves it little, three bad rounds are believed.
        self.0 = (self.0 * 3 + spread) / 4;
    }

    pub(super) fn get(&self) -> Duration {
        self.0
    }
}
