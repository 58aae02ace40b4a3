//! Finds out what a server sees of our sockets: their outside addresses, a cookie, its clock and the
//! round-trip time.
//!
//! Hellos are repeated, and mappings kept open, as often as with STUN. That also renews cookies in time,
//! since each is valid for at least two minutes.

use std::net::SocketAddr;
use std::time::Duration;

use super::wire::{Cookie, Hello, Terms, Welcome};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::stun::{KEEPALIVE, RETRANSMIT};

/// How long to wait for the other sockets after the first one was answered.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// The state of one socket.
struct Asking {
    local: u8,
    id: u64,
    began: Time,
    sent: usize,
    asked: Time,
    waiting: bool,
    seen: Option<SocketAddr>,
}

impl Asking {
    fn begin(&mut self, rng: &mut SeedRng, now: Time) {
        (self.began, self.sent, self.waiting) = (now, 0, true);
        self.id = rng.next_u64();
    }
}

/// Asks from every socket, the first one first.
pub(super) struct Finder {
    server: SocketAddr,
    rng: SeedRng,
    sockets: Vec<Asking>,
    cookie: Option<Cookie>,
    terms: Terms,
    clock: Option<(Duration, WallClock)>,
    first_answer: Option<Time>,
}

impl Finder {
    /// `locals`: our sockets of the server's IP version. The first one is for everything but hellos.
    pub(super) fn new(server: SocketAddr, locals: &[u8], seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 finder");
        let ask = |&local: &u8| Asking {
            local,
            id: rng.next_u64(),
            began: now,
            sent: 0,
            asked: now,
            waiting: true,
            seen: None,
        };
        Finder {
            server,
            sockets: locals.iter().map(ask).collect(),
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
            local: self.sockets.first().map_or(0, |s| s.local),
            remote: self.server,
        }
    }

    pub(super) const fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    pub(super) const fn terms(&self) -> Terms {
        self.terms
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
        self.sockets.iter().find(|s| s.local == local)?.seen
    }

    /// Whether the first socket was answered, and the others were answered or had their time.
    pub(super) fn is_done(&self, now: Time) -> bool {
        let all = self.sockets.iter().all(|s| s.seen.is_some());
        self.first_answer
            .is_some_and(|at| all || now.since(at) >= STRAGGLERS)
    }

    /// Asks for a cookie at once: the server has forgotten us or never knew us.
    pub(super) fn renew(&mut self, now: Time) {
        if let Some(main) = self.sockets.first_mut().filter(|main| !main.waiting) {
            main.begin(&mut self.rng, now);
        }
    }

    /// Starts again, because the path to the server changed: the cookie is not valid there.
    pub(super) fn restart(&mut self, now: Time) {
        if let Some(main) = self.sockets.first_mut() {
            main.begin(&mut self.rng, now);
        }
    }

    /// Takes the answer to a hello.
    pub(super) fn on_welcome(&mut self, now: Time, local: u8, welcome: &Welcome) {
        let found = self
            .sockets
            .iter_mut()
            .enumerate()
            .find(|(_, s)| s.local == local && s.id == welcome.id && s.sent > 0 && s.waiting);
        let Some((index, asking)) = found else { return };
        asking.waiting = false;
        asking.seen = Some(welcome.seen);
        // It is unknown which copy was answered. Measured from the last one, the time might be too short.
        if asking.sent == 1 {
            let rtt = now.since(asking.asked);
            let half = u64::try_from(rtt.as_nanos() / 2).unwrap_or(0);
            let clock = WallClock::system(welcome.unix_nanos.saturating_add(half), now);
            if self.clock.is_none_or(|(least, _)| rtt <= least) {
                self.clock = Some((rtt, clock));
            }
        } else if self.clock.is_none() {
            self.clock = Some((
                now.since(asking.began),
                WallClock::system(welcome.unix_nanos, now),
            ));
        }
        if index == 0 {
            self.cookie = Some(welcome.cookie);
            self.terms = welcome.terms;
            self.first_answer.get_or_insert(now);
        }
    }

    /// The next hello that is due.
    pub(super) fn poll(&mut self, now: Time) -> Option<(Path, Vec<u8>)> {
        for asking in &mut self.sockets {
            let is_over = !asking.waiting || asking.sent == RETRANSMIT.len();
            if is_over && now.since(asking.asked) >= KEEPALIVE {
                asking.begin(&mut self.rng, now);
            }
            let due = RETRANSMIT.get(asking.sent).map(|after| asking.began + *after);
            if asking.waiting && due.is_some_and(|at| now >= at) {
                asking.sent += 1;
                asking.asked = now;
                let path = Path {
                    local: asking.local,
                    remote: self.server,
                };
                return Some((path, Hello { id: asking.id }.encode()));
            }
        }
        None
    }

    /// When [`Finder::poll`] or [`Finder::is_done`] will have something new.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let hellos = self.sockets.iter().map(|asking| {
            let repeat = RETRANSMIT.get(asking.sent).filter(|_| asking.waiting);
            repeat.map_or(asking.asked + KEEPALIVE, |after| asking.began + *after)
        });
        let stragglers = self.first_answer.map(|at| at + STRAGGLERS).filter(|at| *at > now);
        hellos.chain(stragglers).min()
    }
}
