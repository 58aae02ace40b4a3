//! Finds out what a server sees of our sockets: their outside addresses, a cookie, its clock, the round-trip
//! time, and whether a NAT keeps the outside port of a socket for another destination.
//!
//! A hello is repeated until it is answered. Later hellos, as often as with STUN, keep mappings open and renew
//! cookies, which are valid for at least two minutes.

use std::net::SocketAddr;
use std::time::Duration;

use super::wire::{Cookie, Hello, Terms, Welcome};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Guessing, Mapping};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::stun::KEEPALIVE;

/// How long to wait for the other sockets after the first one was answered.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// A hello is repeated after this, like a STUN request. Each further pause is twice as long.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// The longest such pause. If a quarter of the datagrams is lost each way, one of the five hellos in the first three
/// seconds is answered in 98 of 100 runs. A server that starts later is found soon.
const LAST_REPEAT: Duration = Duration::from_secs(1);
/// How many hellos the server's next port gets. A firewall often blocks that port.
const TRIES_BESIDE: u32 = 4;

/// The hellos of one socket to one port of the server.
struct Asking {
    path: Path,
    id: u64,
    /// When its first copy left.
    began: Time,
    sent: u32,
    waiting: bool,
    next: Time,
    seen: Option<SocketAddr>,
}

impl Asking {
    fn new(path: Path, rng: &mut SeedRng, now: Time) -> Self {
        Asking {
            path,
            id: rng.next_u64(),
            began: now,
            sent: 0,
            waiting: true,
            next: now,
            seen: None,
        }
    }

    /// Says another hello at once.
    fn begin(&mut self, rng: &mut SeedRng, now: Time) {
        *self = Asking {
            seen: self.seen,
            ..Asking::new(self.path, rng, now)
        };
    }

    /// Whether this answers the last hello.
    fn is_answered_by(&self, path: Path, welcome: &Welcome) -> bool {
        self.path == path && self.id == welcome.id && self.sent > 0 && self.waiting
    }

    fn on_answer(&mut self, now: Time, seen: SocketAddr) {
        (self.seen, self.waiting, self.next) = (Some(seen), false, now + KEEPALIVE);
    }

    /// Whether another hello must go to the server's next port.
    const fn is_tried(&self) -> bool {
        self.waiting && self.sent < TRIES_BESIDE
    }

    /// The next hello, if it is due.
    fn poll(&mut self, rng: &mut SeedRng, now: Time) -> Option<(Path, Vec<u8>)> {
        if now < self.next {
            return None;
        }
        if !self.waiting {
            self.begin(rng, now);
        }
        if self.sent == 0 {
            self.began = now;
        }
        self.next = now
            + FIRST_REPEAT
                .saturating_mul(1 << self.sent.min(8))
                .min(LAST_REPEAT);
        self.sent = self.sent.saturating_add(1);
        Some((self.path, Hello { id: self.id }.encode()))
    }
}

/// Asks from every socket, the first one first.
pub(super) struct Finder {
    server: SocketAddr,
    rng: SeedRng,
    sockets: Vec<Asking>,
    /// The first socket's hello to the server's next port. Perhaps nothing listens there, so nothing waits for the
    /// answer.
    beside: Option<Asking>,
    /// How the NAT gives outside ports, once the server has answered from two ports.
    pub(super) mapping: Mapping,
    pub(super) cookie: Option<Cookie>,
    pub(super) terms: Terms,
    clock: Option<(Duration, WallClock)>,
    first_answer: Option<Time>,
}

impl Finder {
    /// `locals`: our sockets of the server's IP version. The first one is for everything but hellos.
    pub(super) fn new(server: SocketAddr, locals: &[u8], seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 finder");
        let mut ask = |local: u8, remote| Asking::new(Path { local, remote }, &mut rng, now);
        // A single socket is a TCP stream, and IPv6 has no NAT of this kind.
        let next = server.port().checked_add(1);
        let beside = next.filter(|_| server.is_ipv4() && locals.len() > 1);
        Finder {
            server,
            sockets: locals.iter().map(|&local| ask(local, server)).collect(),
            beside: beside
                .zip(locals.first())
                .map(|(port, &local)| ask(local, SocketAddr::new(server.ip(), port))),
            mapping: Mapping::Unknown,
            rng,
            cookie: None,
            terms: Terms::default(),
            clock: None,
            first_answer: None,
        }
    }

    /// The path of everything except hellos.
    pub(super) fn main(&self) -> Path {
        Path {
            local: self.sockets.first().map_or(0, |s| s.path.local),
            remote: self.server,
        }
    }

    /// The server's clock, if it is known.
    pub(super) fn clock(&self) -> Option<WallClock> {
        self.clock.map(|(_, clock)| clock)
    }

    /// The smallest round-trip time so far.
    pub(super) fn rtt(&self) -> Duration {
        self.clock.map_or(Duration::ZERO, |(rtt, _)| rtt)
    }

    /// The outside address of socket `local`.
    pub(super) fn seen(&self, local: u8) -> Option<SocketAddr> {
        self.sockets.iter().find(|s| s.path.local == local)?.seen
    }

    /// The outside addresses of all sockets.
    pub(super) fn all_seen(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|s| s.seen)
    }

    /// Whether the server is asked on this path.
    pub(super) fn asks(&self, path: Path) -> bool {
        path.remote == self.server || self.beside.as_ref().is_some_and(|beside| beside.path == path)
    }

    /// The rule by which a symmetric NAT gives outside ports.
    pub(super) fn guessing(&self) -> Guessing {
        let mut all = self.sockets.iter();
        // In the order in which the flows began.
        let flows = all.next().into_iter().chain(&self.beside).chain(all);
        Guessing::from_seen(&flows.filter_map(|flow| flow.seen).collect::<Vec<_>>())
    }

    /// Whether the first socket was answered, and the others were answered or had their time.
    pub(super) fn is_done(&self, now: Time) -> bool {
        let all = self.sockets.iter().all(|s| s.seen.is_some());
        self.first_answer
            .is_some_and(|at| all || now.since(at) >= STRAGGLERS)
    }

    /// Asks for a cookie at once: the server has forgotten us or never knew us.
    pub(super) fn renew(&mut self, now: Time) {
        if self.sockets.first().is_some_and(|main| !main.waiting) {
            self.restart(now);
        }
    }

    /// Starts again, because the path to the server changed: the cookie is not valid there.
    pub(super) fn restart(&mut self, now: Time) {
        if let Some(main) = self.sockets.first_mut() {
            main.begin(&mut self.rng, now);
        }
    }

    /// Takes the answer to a hello.
    pub(super) fn on_welcome(&mut self, now: Time, path: Path, welcome: &Welcome) {
        if let Some(beside) = &mut self.beside
            && beside.is_answered_by(path, welcome)
        {
            beside.on_answer(now, welcome.seen);
            return self.compare();
        }
        let found = self
            .sockets
            .iter_mut()
            .enumerate()
            .find(|(_, s)| s.is_answered_by(path, welcome));
        let Some((index, asking)) = found else { return };
        asking.on_answer(now, welcome.seen);
        let rtt = now.since(asking.began);
        // It is unknown which copy was answered. Measured from the last one, the time might be too short.
        if asking.sent == 1 {
            let half = u64::try_from(rtt.as_nanos() / 2).unwrap_or(0);
            let clock = WallClock::system(welcome.unix_nanos.saturating_add(half), now);
            if self.clock.is_none_or(|(least, _)| rtt <= least) {
                self.clock = Some((rtt, clock));
            }
        } else if self.clock.is_none() {
            self.clock = Some((rtt, WallClock::system(welcome.unix_nanos, now)));
        }
        if index == 0 {
            self.cookie = Some(welcome.cookie);
            self.terms = welcome.terms;
            self.first_answer.get_or_insert(now);
            self.compare();
        }
    }

    /// Compares the first answers of the server's two ports. Later a NAT may give a socket another port.
    fn compare(&mut self) {
        let first = self.sockets.first().and_then(|main| main.seen);
        let beside = self.beside.as_ref().and_then(|beside| beside.seen);
        if let (Mapping::Unknown, Some(first), Some(beside)) = (self.mapping, first, beside) {
            self.mapping = if first == beside {
                Mapping::Independent
            } else {
                Mapping::Dependent
            };
        }
    }

    /// The next hello that is due.
    pub(super) fn poll(&mut self, now: Time) -> Option<(Path, Vec<u8>)> {
        // The next port comes right after the first socket: ports are guessed from the order of the flows.
        let (first, others) = self.sockets.split_first_mut()?;
        let beside = self.beside.iter_mut().filter(|beside| beside.is_tried());
        let mut all = std::iter::once(first).chain(beside).chain(others);
        all.find_map(|asking| asking.poll(&mut self.rng, now))
    }

    /// When [`Finder::poll`] or [`Finder::is_done`] will have something new.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let beside = self.beside.iter().filter(|beside| beside.is_tried());
        let hellos = self.sockets.iter().chain(beside).map(|asking| asking.next);
        let stragglers = self.first_answer.map(|at| at + STRAGGLERS).filter(|at| *at > now);
        hellos.chain(stragglers).min()
    }
}
