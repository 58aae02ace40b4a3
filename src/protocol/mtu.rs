//! Finds the largest datagram that the path carries (DPLPMTUD, RFC 8899), and falls back when the path stops
//! carrying it.
//!
//! A probe is padding that nothing depends on. So a lost probe costs nothing and is no sign of congestion.
//! The search starts at a size that nearly every path carries, and confirms it. If that fails, it goes on
//! with the least size and climbs from there.

use std::time::Duration;

use super::time::Time;
use super::wire::{BASE_MTU, MIN_MTU};

/// Sizes worth trying, in UDP payload bytes: what IPv4 guarantees, tunnels of 1200 bytes, IPv6's least, common
/// tunnels, PPPoE, plain Ethernet (IPv6, IPv4), jumbo frames.
const LADDER: [u16; 8] = [MIN_MTU, 1172, BASE_MTU, 1372, 1444, 1452, 1472, JUMBO];
/// Index of [`BASE_MTU`] in the ladder.
const BASE: usize = 2;
/// The payload of a jumbo frame.
const JUMBO: u16 = 8952;
/// At lower rates, in bytes a second, a jumbo frame would delay the next packet by more than a millisecond
/// and save little.
const JUMBO_RATE: u64 = JUMBO as u64 * 1000;
/// Probes of one size before it is given up (RFC 8899, section 5.1.2: MAX_PROBES).
const TRIES: u8 = 3;
/// The time between probes.
const INTERVAL: Duration = Duration::from_millis(5);
/// When to try a size again after it was given up. The first pauses are short, because slow start fills the
/// queue, and a full queue loses probes. The last one is ten minutes (RFC 8899, section 5.1.1: PMTU_RAISE_TIMER).
const RAISE: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(3),
    Duration::from_secs(30),
    Duration::from_secs(600),
];
/// A black hole is assumed when this many full-size packets were lost in a row and none of that size
/// arrived.
const BLACK_HOLE: u32 = 12;
/// The losses must also span this time: a receiver without room drops a whole flight of content at once.
const BLACK_HOLE_TIME: Duration = Duration::from_secs(1);

/// The packets that were lost since one of their size arrived.
#[derive(Debug)]
struct Suspicion {
    since: Time,
    count: u32,
    /// The smallest of them, in bytes.
    least: u64,
}

/// The search for the largest size.
#[derive(Debug)]
pub(super) struct MtuSearch {
    /// Index of the size in use.
    current: usize,
    /// Whether a packet of that size has arrived.
    confirmed: bool,
    /// Index of the largest size that is still possible.
    ceiling: usize,
    tries: u8,
    outstanding: Option<u16>,
    next_probe: Time,
    suspicion: Option<Suspicion>,
    /// How often the next size was given up.
    given_up: usize,
    /// When the last large packet that arrived was sent.
    works: Time,
}

impl MtuSearch {
    /// Starts at the size that nearly every path carries.
    pub(super) const fn new(now: Time) -> Self {
        Self::at(BASE, now)
    }

    const fn at(current: usize, now: Time) -> Self {
        MtuSearch {
            current,
            confirmed: current == 0,
            ceiling: LADDER.len() - 1,
            tries: 0,
            outstanding: None,
            next_probe: now,
            suspicion: None,
            given_up: 0,
            works: now,
        }
    }

    /// The size in use, in bytes of UDP payload.
    pub(super) const fn current(&self) -> u16 {
        LADDER[self.current]
    }

    /// The size for packets whose loss nobody notices, such as ACKs: the size in use if it is confirmed,
    /// otherwise the least size.
    pub(super) const fn certain(&self) -> u16 {
        if self.confirmed { self.current() } else { MIN_MTU }
    }

    /// The size to probe now, if a probe is due. The path carries `rate` bytes a second.
    pub(super) fn poll_probe(&mut self, now: Time, rate: u64) -> Option<u16> {
        if self.outstanding.is_some() || now < self.next_probe {
            return None;
        }
        if !self.confirmed {
            self.outstanding = Some(self.current());
            return self.outstanding;
        }
        if self.current >= self.ceiling {
            if self.current == LADDER.len() - 1 {
                self.next_probe = Time::FAR_FUTURE;
                return None;
            }
            self.ceiling = LADDER.len() - 1;
        }
        let size = LADDER[self.current + 1];
        if size == JUMBO && rate < JUMBO_RATE {
            self.next_probe = now + RAISE[0];
            return None;
        }
        self.outstanding = Some(size);
        Some(size)
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Time> {
        (self.outstanding.is_none() && self.next_probe < Time::FAR_FUTURE).then_some(self.next_probe)
    }

    /// A probe of `size` arrived. Returns whether the size in use grew.
    pub(super) fn on_probe_arrived(&mut self, now: Time, size: u16) -> bool {
        if self.outstanding != Some(size) {
            return false;
        }
        let before = self.current;
        self.outstanding = None;
        self.tries = 0;
        self.current = LADDER.iter().position(|s| *s == size).unwrap_or(before);
        self.confirmed = true;
        self.given_up = 0;
        self.next_probe = if self.current < self.ceiling {
            now
        } else {
            now + RAISE[RAISE.len() - 1]
        };
        self.current != before
    }

    /// A probe of `size` was lost, or the system refused to send it. Returns whether the size in use fell.
    pub(super) fn on_probe_lost(&mut self, now: Time, size: u16) -> bool {
        if self.outstanding != Some(size) {
            return false;
        }
        self.outstanding = None;
        self.tries += 1;
        self.next_probe = now + INTERVAL;
        if self.tries < TRIES {
            return false;
        }
        if !self.confirmed {
            return self.fall_back(now);
        }
        self.tries = 0;
        self.ceiling = self.current;
        self.next_probe = now + RAISE[self.given_up.min(RAISE.len() - 1)];
        self.given_up += 1;
        false
    }

    /// A packet of `bytes`, sent at `sent`, arrived. So its size worked at that time.
    pub(super) fn on_arrived(&mut self, sent: Time, bytes: u64) {
        let is_full_size = self.current > 0 && bytes > u64::from(LADDER[self.current - 1]);
        let clears = self.suspicion.as_ref().is_some_and(|s| bytes >= s.least);
        if (is_full_size || clears) && sent >= self.works {
            self.works = sent;
            self.suspicion = None;
        }
    }

    /// A packet of `bytes`, sent at `sent`, was lost. Returns whether that reveals a black hole, and the size
    /// fell back.
    ///
    /// Only packets sent after the last large packet that arrived count. A queue that overflows loses large
    /// packets between others that arrive; a black hole loses all of them.
    pub(super) fn on_lost(&mut self, now: Time, sent: Time, bytes: u64) -> bool {
        if self.current == 0 || bytes <= u64::from(MIN_MTU) || sent <= self.works {
            return false;
        }
        let suspicion = self.suspicion.get_or_insert(Suspicion {
            since: now,
            count: 0,
            least: bytes,
        });
        suspicion.count += 1;
        suspicion.least = suspicion.least.min(bytes);
        let is_black_hole = suspicion.count >= BLACK_HOLE && now.since(suspicion.since) >= BLACK_HOLE_TIME;
        is_black_hole && self.fall_back(now)
    }

    /// Falls back to the least size, and climbs again from there. Returns whether the size changed.
    pub(super) fn fall_back(&mut self, now: Time) -> bool {
        let changed = self.current != 0;
        *self = Self::at(0, now + INTERVAL);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search on a path that carries packets of `limit` bytes, `rate` bytes a second.
    fn settle(search: &mut MtuSearch, limit: u16, rate: u64) -> u16 {
        let mut now = search.next_probe().unwrap_or(Time::ZERO);
        for _ in 0..60 {
            now += Duration::from_millis(20);
            if let Some(size) = search.poll_probe(now, rate) {
                if size <= limit {
                    search.on_probe_arrived(now, size);
                } else {
                    search.on_probe_lost(now, size);
                }
            }
        }
        search.current()
    }

    #[test]
    fn finds_the_largest_size_the_path_carries() {
        for (limit, found) in [
            (508, 508),
            (1171, 508),
            (1172, 1172),
            (1199, 1172),
            (1200, 1200),
            (1400, 1372),
            (1472, 1472),
            (9000, 8952),
        ] {
            assert_eq!(settle(&mut MtuSearch::new(Time::ZERO), limit, JUMBO_RATE), found);
        }
    }

    #[test]
    fn nothing_above_the_least_is_certain_before_it_arrived() {
        let mut search = MtuSearch::new(Time::ZERO);
        assert_eq!((search.current(), search.certain()), (BASE_MTU, MIN_MTU));
        assert_eq!(search.poll_probe(Time::ZERO, 0), Some(BASE_MTU));
        assert!(
            !search.on_probe_arrived(Time::ZERO, BASE_MTU),
            "the size is the same"
        );
        assert_eq!(search.certain(), BASE_MTU);
        search.fall_back(Time::ZERO);
        assert_eq!(search.certain(), MIN_MTU);
    }

    #[test]
    fn slow_paths_are_not_asked_for_jumbo_frames_until_they_are_fast() {
        let mut search = MtuSearch::new(Time::ZERO);
        assert_eq!(settle(&mut search, 9000, 125_000), 1472);
        assert_eq!(settle(&mut search, 9000, JUMBO_RATE), 8952);
    }

    #[test]
    fn black_hole_falls_back_and_small_losses_do_not() {
        for limit in [1172, 1200, 1372, 1472, 8952] {
            let mut search = MtuSearch::new(Time::ZERO);
            let size = u64::from(settle(&mut search, limit, JUMBO_RATE));
            assert_eq!(size, u64::from(limit));
            let later = Time::ZERO + Duration::from_secs(9);
            for _ in 0..100 {
                assert!(!search.on_lost(later, later, u64::from(MIN_MTU)));
            }
            let overflow = (0..BLACK_HOLE).any(|_| search.on_lost(later, Time::ZERO, size));
            assert!(!overflow, "later packets arrived");
            let at_once = (0..BLACK_HOLE).any(|_| search.on_lost(later, later, size));
            assert!(!at_once, "a single flight");
            let fell = search.on_lost(later + BLACK_HOLE_TIME, later, size);
            assert!(fell && search.current() == MIN_MTU);
        }
    }

    #[test]
    fn packets_below_the_size_in_use_betray_a_black_hole_as_well() {
        let mut search = MtuSearch::new(Time::ZERO);
        settle(&mut search, 1472, JUMBO_RATE);
        let later = Time::ZERO + Duration::from_secs(9);
        let lose = |search: &mut MtuSearch, size| {
            (0..BLACK_HOLE).for_each(|_| _ = search.on_lost(later, later, size))
        };
        lose(&mut search, 1472);
        search.on_arrived(later, 1200);
        assert!(
            search.on_lost(later + BLACK_HOLE_TIME, later, 1472),
            "smaller ones pass"
        );
        let mut search = MtuSearch::new(Time::ZERO);
        settle(&mut search, 1472, JUMBO_RATE);
        lose(&mut search, 1200);
        search.on_arrived(later + BLACK_HOLE_TIME / 2, 1200);
        assert!(
            !search.on_lost(later + BLACK_HOLE_TIME, later, 1200),
            "that size passes"
        );
        let latest = later + BLACK_HOLE_TIME;
        (0..BLACK_HOLE).for_each(|_| _ = search.on_lost(latest, latest, 1200));
        assert!(search.on_lost(latest + BLACK_HOLE_TIME, latest, 1200));
    }

    #[test]
    fn after_a_fall_it_climbs_to_what_still_passes() {
        let mut search = MtuSearch::new(Time::ZERO);
        settle(&mut search, 1472, JUMBO_RATE);
        assert!(search.fall_back(Time::ZERO));
        assert_eq!(settle(&mut search, 1200, JUMBO_RATE), 1200);
        assert!(search.fall_back(Time::ZERO));
        assert!(!search.fall_back(Time::ZERO), "there is nothing smaller");
        assert_eq!(settle(&mut search, 548, JUMBO_RATE), MIN_MTU);
    }
}
