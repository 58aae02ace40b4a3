//! Looks for the peer, at first and whenever it falls silent.

use super::paths::{Ipv6Socket, PathKind, paths};
use super::who_guesses;
use crate::protocol::handshake::rng::Seed;
use crate::protocol::time::Time;
use crate::protocol::{Path, Role};
use crate::rendezvous::address::{Address, Timekeeping};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::schedule::Schedule;
use crate::rendezvous::schedule::guess_times::Task;

/// Where and when to look for a connected peer that fell silent: at the same places as before.
#[derive(Clone)]
pub(crate) struct Search {
    pub(super) role: Role,
    pub(super) own: Address,
    pub(super) peer: Address,
    /// Our IPv6 socket, if there is one.
    pub(super) ipv6: Option<Ipv6Socket>,
    /// Our part, if ports must be guessed.
    pub(super) guess: Option<Task>,
    /// The relay's path, if it may be used.
    pub(super) relay: Option<Path>,
    pub(super) clock: WallClock,
    pub(super) low_ttl: Option<u8>,
    /// The seed of jitter only.
    pub(super) seed: Seed,
}

impl Search {
    /// Begins to look.
    pub(super) fn begin(&self, now: Time) -> Schedule {
        let (pairs, candidates) = paths(&self.own, &self.peer, self.ipv6.as_ref());
        let mut schedule = Schedule::new(
            self.role,
            pairs,
            &candidates,
            self.clock,
            self.low_ttl,
            &self.seed,
            now,
        );
        // Each side knows from the other's address what the other does.
        let both = self.own.token.as_ref().zip(self.peer.token.as_ref());
        match both.map(|(ours, theirs)| [ours.clock, theirs.clock]) {
            Some([Timekeeping::Told, Timekeeping::Told]) => schedule.at_once(now),
            Some(_) => schedule.without_clock(now),
            None => {}
        }
        if let Some(task) = self.guess {
            schedule.guess(task, now);
        }
        schedule
    }

    /// Begins to look for a peer that was connected.
    pub(crate) fn begin_again(&self, now: Time) -> Schedule {
        let mut schedule = self.begin(now);
        schedule.claim_ports();
        schedule
    }

    /// Guesses ports, too, because the peer has been silent for long: a router may have begun to give out other
    /// ports. `ours`: it is our router.
    pub(crate) fn guess_after_silence(&self, schedule: &mut Schedule, ours: bool, now: Time) {
        if !schedule.is_guessing()
            && let Some(task) = who_guesses::after_silence(&self.own, &self.peer, ours)
        {
            schedule.guess(task, now);
        }
    }

    /// The peer has another address now, as its user says.
    pub(crate) fn relocate(&mut self, peer: Address) {
        self.guess = who_guesses::task(&self.own, &peer);
        self.peer = peer;
    }

    /// Corrects the time.
    pub(crate) const fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    /// The kind of this path.
    pub(crate) fn kind(&self, path: Path) -> PathKind {
        if self.relay == Some(path) {
            return PathKind::Relayed;
        }
        let ipv6_socket = self.ipv6.as_ref().map(|ipv6| ipv6.socket);
        PathKind::of(path, &self.own, &self.peer, ipv6_socket)
    }
}
