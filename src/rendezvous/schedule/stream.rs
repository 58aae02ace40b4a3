//! Packets that are sent to one path repeatedly.

use std::time::Duration;

use super::{FIRST_INTERVAL, LAST_INTERVAL, SLOWEST};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;

/// Packets of full TTL to one path, at growing intervals.
pub(super) struct Stream {
    pub(super) path: Path,
    next: Time,
    interval: Duration,
    slowest: Duration,
    until: Time,
}

impl Stream {
    pub(super) fn new(path: Path, now: Time, interval: Duration) -> Self {
        Stream {
            path,
            next: now,
            interval,
            slowest: SLOWEST,
            until: Time::FAR_FUTURE,
        }
    }

    /// Packets through a pair, which end at `until`.
    pub(super) fn through_pair(path: Path, now: Time, until: Time) -> Self {
        Stream {
            slowest: LAST_INTERVAL,
            until,
            ..Stream::new(path, now, FIRST_INTERVAL)
        }
    }

    pub(super) fn poll(&mut self, now: Time, rng: &mut SeedRng) -> Option<Path> {
        if now < self.next || now >= self.until {
            return None;
        }
        self.next = now + rng.jittered(self.interval);
        self.interval = (self.interval * 115 / 100).min(self.slowest);
        Some(self.path)
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        (self.next < self.until).then_some(self.next)
    }
}
