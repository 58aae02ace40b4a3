//! Finding the largest datagram the path carries (DPLPMTUD, RFC 8899), and falling back when it stops to.
//!
//! A probe is padding that nothing depends on, so losing one costs nothing and is no sign of congestion.

use super::time::Time;
use super::wire::MIN_MTU;
use std::time::Duration;

/// Sizes worth trying, in UDP payload bytes: common tunnels, PPPoE, plain Ethernet (IPv6, IPv4), jumbo frames.
const LADDER: [u16; 6] = [MIN_MTU, 1372, 1444, 1452, 1472, JUMBO];
/// A jumbo frame's worth...
const JUMBO: u16 = 8952;
/// ...which below so many bytes a second would hold up what follows it for more than a millisecond, to save little.
const JUMBO_RATE: u64 = JUMBO as u64 * 1000;
/// Tries before a size is given up (RFC 8899, section 5.1.2: MAX_PROBES).
const TRIES: u8 = 3;
/// Time between probes.
const INTERVAL: Duration = Duration::from_millis(5);
/// After a size was given up, try it again: soon at first, as the queue of a start loses probes as well; in the end
/// every ten minutes (RFC 8899, section 5.1.1: PMTU_RAISE_TIMER).
const RAISE: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(3),
    Duration::from_secs(30),
    Duration::from_secs(600),
];
/// After falling back, look again: an outage looks like a black hole at first.
const RECOVER: Duration = Duration::from_secs(5);
/// Full-size packets lost in a row, with nothing of that size arriving, that mean a black hole.
const BLACK_HOLE: u32 = 12;
/// And they must have been lost over this long: a receiver without room drops a whole flight of content at once.
const BLACK_HOLE_TIME: Duration = Duration::from_secs(1);

/// The search.
#[derive(Debug)]
pub(super) struct MtuSearch {
    /// Place in the ladder of the size in use.
    current: usize,
    /// Largest place still possible.
    ceiling: usize,
    tries: u8,
    outstanding: Option<u16>,
    next_probe: Time,
    suspicious: u32,
    suspicious_since: Option<Time>,
    /// How often the next size was given up.
    given_up: usize,
    /// When the newest large packet that arrived was sent.
    works: Time,
}

impl MtuSearch {
    /// Starts at the size any path carries.
    pub(super) const fn new(now: Time) -> Self {
        MtuSearch {
            current: 0,
            ceiling: LADDER.len() - 1,
            tries: 0,
            outstanding: None,
            next_probe: now,
            suspicious: 0,
            suspicious_since: None,
            given_up: 0,
            works: now,
        }
    }

    /// The size in use, bytes of UDP payload.
    pub(super) const fn current(&self) -> u16 {
        LADDER[self.current]
    }

    /// The size to probe now, if one is due. The path carries `rate` bytes a second.
    pub(super) fn poll_probe(&mut self, now: Time, rate: u64) -> Option<u16> {
        if self.outstanding.is_some() || now < self.next_probe {
            return None;
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

    /// A probe of `size` arrived; true if the size in use grew.
    pub(super) fn on_probe_arrived(&mut self, now: Time, size: u16) -> bool {
        if self.outstanding != Some(size) {
            return false;
        }
        self.outstanding = None;
        self.tries = 0;
        self.current = LADDER.iter().position(|s| *s == size).unwrap_or(self.current);
        self.given_up = 0;
        self.next_probe = if self.current < self.ceiling {
            now
        } else {
            now + RAISE[RAISE.len() - 1]
        };
        true
    }

    /// A probe of `size` was lost, or the system refused to send it.
    pub(super) fn on_probe_lost(&mut self, now: Time, size: u16) {
        if self.outstanding != Some(size) {
            return;
        }
        self.outstanding = None;
        self.tries += 1;
        self.next_probe = now + INTERVAL;
        if self.tries >= TRIES {
            self.tries = 0;
            self.ceiling = self.current;
            self.next_probe = now + RAISE[self.given_up.min(RAISE.len() - 1)];
            self.given_up += 1;
        }
    }

    /// A packet of `bytes`, sent at `sent`, arrived: its size worked then.
    pub(super) fn on_arrived(&mut self, sent: Time, bytes: u64) {
        if bytes > u64::from(MIN_MTU) && sent >= self.works {
            self.works = sent;
            self.suspicious = 0;
            self.suspicious_since = None;
        }
    }

    /// A packet of `bytes`, sent at `sent`, was lost; true if that means a black hole, and the size fell back.
    ///
    /// Only losses behind the last large packet that arrived count: a queue that overflows loses large packets
    /// between others that arrive, a black hole loses all of them.
    pub(super) fn on_lost(&mut self, now: Time, sent: Time, bytes: u64) -> bool {
        if bytes <= u64::from(MIN_MTU) || self.current == 0 || sent <= self.works {
            return false;
        }
        self.suspicious += 1;
        let since = *self.suspicious_since.get_or_insert(now);
        self.suspicious >= BLACK_HOLE && now.since(since) >= BLACK_HOLE_TIME && self.fall_back(now)
    }

    /// Back to the size any path carries; true if that is a change.
    pub(super) fn fall_back(&mut self, now: Time) -> bool {
        let changed = self.current != 0;
        *self = MtuSearch {
            next_probe: now + RECOVER,
            ceiling: 0,
            ..MtuSearch::new(now)
        };
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
        for (limit, found) in [(1200, 1200), (1400, 1372), (1472, 1472), (9000, 8952)] {
            assert_eq!(settle(&mut MtuSearch::new(Time::ZERO), limit, JUMBO_RATE), found);
        }
    }

    #[test]
    fn slow_paths_are_not_asked_for_jumbo_frames_until_they_are_fast() {
        let mut search = MtuSearch::new(Time::ZERO);
        assert_eq!(settle(&mut search, 9000, 125_000), 1472);
        assert_eq!(settle(&mut search, 9000, JUMBO_RATE), 8952);
    }

    #[test]
    fn black_hole_falls_back_and_small_losses_do_not() {
        let mut search = MtuSearch::new(Time::ZERO);
        settle(&mut search, 1472, JUMBO_RATE);
        let later = Time::ZERO + Duration::from_secs(9);
        for _ in 0..100 {
            assert!(!search.on_lost(later, later, 1200));
        }
        let overflow = (0..BLACK_HOLE).any(|_| search.on_lost(later, Time::ZERO, 1472));
        assert!(!overflow, "later packets arrived");
        let at_once = (0..BLACK_HOLE).any(|_| search.on_lost(later, later, 1472));
        assert!(!at_once, "a single flight");
        let fell = search.on_lost(later + BLACK_HOLE_TIME, later, 1472);
        assert!(fell && search.current() == 1200);
    }
}
