//! Timers: when to act next, silence, and probes of a peer that does not acknowledge.

use std::time::Duration;

use super::send::SMALL_PACKET;
use super::{Connection, Ending, Event};
use crate::protocol::time::Time;

/// An idle end sends something this often. NAT mappings would survive longer pauses, but a dead peer must be
/// noticed within [`SILENCE`].
pub(super) const KEEPALIVE: Duration = Duration::from_secs(3);
/// After this long without a packet, the connection looks for the peer on other paths.
pub(crate) const SILENCE: Duration = Duration::from_secs(8);

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) or `poll_transmit` has something to do next.
    pub fn poll_timeout(&mut self, now: Time) -> Option<Time> {
        match &self.ending {
            // The application must still hear of the end.
            Ending::Over => return (!self.events.is_empty()).then_some(now),
            Ending::Closing { next, .. } => return Some(*next),
            Ending::Answering { .. } => return Some(now),
            Ending::Open => {}
        }
        let mut next = match (self.silent, self.paths.is_proven()) {
            (false, true) => (self.last_sent + KEEPALIVE).min(self.last_heard + SILENCE),
            (false, false) => self.last_heard + SILENCE,
            (true, true) => self.last_sent + KEEPALIVE,
            // Only challenges leave then.
            (true, false) => Time::FAR_FUTURE,
        };
        let mut sooner = |t: Option<Time>| next = t.map_or(next, |t| t.min(next));
        sooner(self.paths.timeout(self.silent));
        sooner(self.move_news());
        if self.paths.room() < SMALL_PACKET {
            return Some(next);
        }
        sooner(self.ack_tracker.due(self.recovery.rtt().smoothed()));
        sooner(self.recovery.timeout());
        if !self.paths.is_proven() {
            return Some(next);
        }
        if self.may_send_content(now) {
            let quantum = self.recovery.pacer().quantum();
            let earliest = if self.send_buffer.is_ready() {
                now
            } else {
                self.tail_pause
            };
            sooner(Some(self.recovery.pacer().next(now, quantum).max(earliest)));
        }
        sooner(self.next_of_train(now));
        if self.confirmed {
            sooner(self.mtu.next_probe());
        }
        Some(next)
    }

    /// Does what is due at a time that `poll_timeout` gave.
    pub fn handle_timeout(&mut self, now: Time) {
        if !matches!(self.ending, Ending::Open) {
            return;
        }
        if !self.silent && now >= self.last_heard + SILENCE {
            self.silent = true;
            self.events.push_back(Event::Silent);
        }
        self.follow_peer(now);
        if self.paths.room() < SMALL_PACKET {
            return;
        }
        let (recovery, mut cargo) = self.recovery_and_cargo(now);
        let probes = recovery.on_timeout(now, |fate, packet| cargo.settle(fate, packet));
        if cargo.finish() {
            self.use_mtu();
        }
        if probes > 0 {
            self.probes_owed = probes;
        }
    }

    pub(super) fn use_mtu(&mut self) {
        self.recovery.set_mtu(self.mtu.current());
    }

    /// Told when the system refused a datagram because it is too large for the interface.
    pub(crate) fn on_too_large(&mut self, now: Time, size: u16) {
        let fell = self.mtu.on_probe_lost(now, size) || size <= self.mtu.current() && self.mtu.fall_back(now);
        if fell {
            self.use_mtu();
        }
    }
}
