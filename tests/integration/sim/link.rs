//! A seeded model of one direction of a path, in virtual time, for any kind of datagram.
//!
//! A datagram passes, in this order: the MTU check, a policer, a tail-drop queue served at the link's rate, and
//! the air: black-outs, random and bursty loss, corruption, delay with jitter, duplication. Loss after the queue
//! uses up capacity, as on a radio link. Several flows may share a link; the tag tells them apart. Use one link
//! per direction. The same seed and the same calls give the same run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use p2pcopy::parts::protocol::{Ecn, SplitMix64, Time};

use super::codel::CoDel;

/// xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng([u64; 4]);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut seeds = SplitMix64::new(seed);
        Rng([(); 4].map(|()| seeds.next_u64()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }
}

/// Gilbert-Elliott bursts of loss: per packet, the chance to enter and to leave the bad state, and the loss in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    pub(crate) enter: f64,
    pub(crate) leave: f64,
    pub(crate) loss: f64,
}

/// A token-bucket policer: drops what exceeds the rate (bytes a second) once `burst` bytes are used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policer {
    pub(crate) rate: u64,
    pub(crate) burst: u64,
}

/// What the link is like.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Other rates from certain times on, in order.
    pub(crate) rates: Vec<(Time, u64)>,
    /// One-way propagation delay.
    pub(crate) delay: Duration,
    /// What leaves the queue is sent in bursts this far apart, as Wi-Fi aggregates.
    pub(crate) aggregate: Duration,
    /// Whether CoDel manages the queue. What may be marked it marks.
    pub(crate) codel: bool,
    /// An ECN-capable packet is marked if at least this many bytes wait before it.
    pub(crate) mark_above: Option<u64>,
    /// What may be marked is marked with this chance, 0 to 1, whatever waits.
    pub(crate) mark_chance: f64,
    /// All ECN marks are removed.
    pub(crate) bleach: bool,
    /// What may be marked is dropped, from this time on.
    pub(crate) drop_marked: Option<Time>,
    /// Bytes the queue holds, the datagram in service counted.
    pub(crate) buffer: u64,
    /// Independent loss of each datagram, 0 to 1.
    pub(crate) loss: f64,
    pub(crate) bursts: Option<Bursts>,
    /// Up to this much is added to the delay, uniformly.
    pub(crate) jitter: Duration,
    /// Whether jitter may put datagrams out of order.
    pub(crate) reorder: bool,
    /// Chance that a datagram arrives twice.
    pub(crate) duplicate: f64,
    /// Chance that it arrives damaged.
    pub(crate) corrupt: f64,
    /// What reaches the air inside any of these spans is lost.
    pub(crate) blackouts: Vec<(Time, Time)>,
    pub(crate) policer: Option<Policer>,
    /// Larger datagrams vanish.
    pub(crate) mtu: u64,
    /// Bytes each datagram takes up beside its own (headers below it).
    pub(crate) overhead: u64,
}

impl Profile {
    /// A clean link of `rate` bytes a second with a queue of `buffer` bytes.
    pub(crate) fn new(rate: u64, delay: Duration, buffer: u64) -> Self {
        Profile {
            rate,
            rates: Vec::new(),
            delay,
            aggregate: Duration::ZERO,
            codel: false,
            mark_above: None,
            mark_chance: 0.0,
            bleach: false,
            drop_marked: None,
            buffer,
            loss: 0.0,
            bursts: None,
            jitter: Duration::ZERO,
            reorder: true,
            duplicate: 0.0,
            corrupt: 0.0,
            blackouts: Vec::new(),
            policer: None,
            mtu: u64::MAX,
            overhead: 0,
        }
    }
}

/// A datagram that has arrived.
#[derive(Debug)]
pub(crate) struct Arrival<T> {
    pub(crate) tag: T,
    /// Damaged on the way. The caller, who holds the bytes, changes them.
    pub(crate) corrupted: bool,
    /// What it came with.
    pub(crate) ecn: Ecn,
}

/// What became of datagrams.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) dropped_by_queue: u64,
    pub(crate) dropped_by_policer: u64,
    pub(crate) lost_in_air: u64,
    pub(crate) too_large: u64,
    pub(crate) marked: u64,
}

struct Flying<T> {
    at: Time,
    order: u64,
    tag: T,
    corrupted: bool,
    ecn: Ecn,
}

impl<T> PartialEq for Flying<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<T> Eq for Flying<T> {}
impl<T> PartialOrd for Flying<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Flying<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One direction of a path.
pub(crate) struct Link<T> {
    pub(crate) profile: Profile,
    pub(crate) totals: Totals,
    rng: Rng,
    air: BinaryHeap<Reverse<Flying<T>>>,
    order: u64,
    /// When the server will have sent all that is queued.
    busy_until: Time,
    last_arrival: Time,
    bad: bool,
    tokens: f64,
    tokens_at: Time,
    codel: CoDel,
}

impl<T: Clone> Link<T> {
    pub(crate) fn new(profile: Profile, seed: u64) -> Self {
        let tokens = profile.policer.map_or(0.0, |p| p.burst as f64);
        Link {
            profile,
            totals: Totals::default(),
            rng: Rng::new(seed),
            air: BinaryHeap::new(),
            order: 0,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            bad: false,
            tokens,
            tokens_at: Time::ZERO,
            codel: CoDel::default(),
        }
    }

    /// The rate from `t` on, bytes a second, and when it changes.
    fn rate_at(&self, t: Time) -> (u64, Option<Time>) {
        let rates = &self.profile.rates;
        let next = rates.partition_point(|(from, _)| *from <= t);
        let rate = next.checked_sub(1).map_or(self.profile.rate, |i| rates[i].1);
        (rate.max(1), rates.get(next).map(|(at, _)| *at))
    }

    /// Bytes that can be served between two times.
    pub(crate) fn capacity(&self, from: Time, to: Time) -> f64 {
        let (mut at, mut bytes) = (from, 0.0);
        while at < to {
            let (rate, change) = self.rate_at(at);
            let end = change.map_or(to, |t| t.min(to));
            bytes += rate as f64 * end.since(at).as_secs_f64();
            at = end;
        }
        bytes
    }

    /// When `bytes` have been served that are begun at `from`.
    fn served(&self, from: Time, bytes: u64) -> Time {
        let (mut at, mut nanos) = (from, bytes * 1_000_000_000);
        loop {
            let (rate, change) = self.rate_at(at);
            let end = at + Duration::from_nanos(nanos / rate);
            match change.filter(|t| *t < end) {
                None => return end,
                Some(change) => {
                    nanos = nanos.saturating_sub(change.since(at).as_nanos() as u64 * rate);
                    at = change;
                }
            }
        }
    }

    /// How long a datagram sent now would wait in the queue.
    pub(crate) fn queue_delay(&self, now: Time) -> Duration {
        self.busy_until.since(now)
    }

    /// Changes the rate. Datagrams that are already queued leave as planned.
    pub(crate) fn set_rate(&mut self, bytes_per_second: u64) {
        self.profile.rate = bytes_per_second;
    }

    /// Puts a datagram of `bytes` on the link.
    pub(crate) fn send(&mut self, now: Time, bytes: u64, ecn: Ecn, tag: T) {
        self.send_farther(now, bytes, ecn, tag, Duration::ZERO);
    }

    /// The same with a longer delay.
    pub(crate) fn send_farther(&mut self, now: Time, bytes: u64, ecn: Ecn, tag: T, farther: Duration) {
        self.totals.sent += 1;
        let refuses_marked = self.profile.drop_marked.is_some_and(|from| now >= from);
        if refuses_marked && ecn != Ecn::NotEct {
            self.totals.lost_in_air += 1;
            return;
        }
        if bytes > self.profile.mtu {
            self.totals.too_large += 1;
            return;
        }
        let size = bytes + self.profile.overhead;
        if !self.pass_policer(now, size) {
            self.totals.dropped_by_policer += 1;
            return;
        }
        let backlog = self.capacity(now, self.busy_until);
        if backlog + size as f64 > self.profile.buffer as f64 && backlog > 0.0 {
            self.totals.dropped_by_queue += 1;
            return;
        }
        let begin = self.busy_until.max(now);
        let mut ecn = if self.profile.bleach { Ecn::NotEct } else { ecn };
        let controlled = self.profile.codel && self.codel.drops(begin, begin.since(now), backlog);
        let threshold = self.profile.mark_above.is_some_and(|most| backlog > most as f64);
        let marks = controlled || threshold || self.rng.chance(self.profile.mark_chance);
        if controlled && ecn == Ecn::NotEct {
            self.totals.dropped_by_queue += 1;
            return;
        }
        if marks && ecn != Ecn::NotEct {
            self.totals.marked += 1;
            ecn = Ecn::Ce;
        }
        self.busy_until = self.served(begin, size);
        if self.is_lost(self.busy_until) {
            self.totals.lost_in_air += 1;
            return;
        }
        let corrupted = self.rng.chance(self.profile.corrupt);
        self.fly(tag.clone(), corrupted, ecn, farther);
        if self.rng.chance(self.profile.duplicate) {
            self.fly(tag, corrupted, ecn, farther);
        }
    }

    /// When the next datagram arrives, if any is under way.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.air.peek().map(|f| f.0.at)
    }

    /// The next datagram that has arrived by `now`.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Arrival<T>> {
        if self.next_time()? > now {
            return None;
        }
        let Reverse(f) = self.air.pop()?;
        Some(Arrival {
            tag: f.tag,
            corrupted: f.corrupted,
            ecn: f.ecn,
        })
    }

    fn pass_policer(&mut self, now: Time, size: u64) -> bool {
        let Some(p) = self.profile.policer else {
            return true;
        };
        let earned = now.since(self.tokens_at).as_secs_f64() * p.rate as f64;
        self.tokens = (self.tokens + earned).min(p.burst as f64);
        self.tokens_at = now;
        let pass = self.tokens >= size as f64;
        if pass {
            self.tokens -= size as f64;
        }
        pass
    }

    fn is_lost(&mut self, at: Time) -> bool {
        if let Some(b) = self.profile.bursts {
            self.bad = if self.bad {
                !self.rng.chance(b.leave)
            } else {
                self.rng.chance(b.enter)
            };
            if self.bad && self.rng.chance(b.loss) {
                return true;
            }
        }
        self.rng.chance(self.profile.loss) || self.profile.blackouts.iter().any(|&(a, b)| a <= at && at < b)
    }

    /// When what was queued last is in the air.
    fn burst_end(&self) -> Time {
        let apart = self.profile.aggregate.as_nanos() as u64;
        let nanos = self.busy_until.since(Time::ZERO).as_nanos() as u64;
        if apart == 0 {
            self.busy_until
        } else {
            Time::from_nanos(nanos.div_ceil(apart) * apart)
        }
    }

    fn fly(&mut self, tag: T, corrupted: bool, ecn: Ecn, farther: Duration) {
        let jitter = self.profile.jitter.mul_f64(self.rng.unit());
        let mut at = self.burst_end() + self.profile.delay + farther + jitter;
        if !self.profile.reorder {
            at = at.max(self.last_arrival);
        }
        self.last_arrival = at;
        self.order += 1;
        self.air.push(Reverse(Flying {
            at,
            order: self.order,
            tag,
            corrupted,
            ecn,
        }));
    }
}
