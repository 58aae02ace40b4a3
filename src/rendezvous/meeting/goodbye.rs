//! The last request to a server: that it forgets the client.

use std::time::Duration;

use crate::protocol::time::Time;

/// How many copies are sent. A server that is gone answers none of them.
const COPIES: u8 = 3;
/// The time between them.
const INTERVAL: Duration = Duration::from_millis(100);

/// A goodbye that is repeated until the server answers. A server that misses it keeps the client for a minute.
pub(super) struct Goodbye {
    datagram: Vec<u8>,
    left: u8,
    next: Time,
}

impl Goodbye {
    pub(super) const fn new(datagram: Vec<u8>, now: Time) -> Self {
        Goodbye {
            datagram,
            left: COPIES,
            next: now,
        }
    }

    /// The next copy, if one is due.
    pub(super) fn poll(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.left == 0 || now < self.next {
            return None;
        }
        self.left -= 1;
        self.next = now + INTERVAL;
        Some(self.datagram.clone())
    }

    /// Whether no copy was answered.
    pub(super) fn is_in_vain(&self, now: Time) -> bool {
        self.left == 0 && now >= self.next
    }

    /// When to call [`Goodbye::poll`] or [`Goodbye::is_in_vain`] next.
    pub(super) const fn poll_timeout(&self) -> Time {
        self.next
    }
}
