//! Packets that go to one path again and again.

use std::time::Duration;

use super::SLOWEST;
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;

/// Packets of full lifetime to one path, ever more slowly.
pub(super) struct Stream {
    pub(super) path: Path,
    pub(super) next: Time,
    pub(super) interval: Duration,
    pub(super) slowest: Duration,
    pub(super) until: Time,
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
