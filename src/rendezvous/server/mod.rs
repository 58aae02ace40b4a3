//! The server: two people who say one code to each other are told each other's sealed address. Sans-IO.
//!
//! It learns a number, two network addresses and when they met; never the words of a code, a key, or anything of a
//! file. It remembers nothing of whoever has not shown, by a cookie, to receive at the address it sends from, and
//! answers nothing with more bytes than it was sent. What it remembers is bounded by [`Limits`].

mod cookies;
mod rates;
mod rooms;

use self::cookies::{Cookies, equal};
use self::rates::{Kind, Network, Rates};
use self::rooms::{Answers, Rooms};
use super::Transmit;
use super::clock::Clock;
use super::meeting::wire::{Hello, Open, Standing, State, Terms, TokenKey, Welcome, packet, proof};
use crate::protocol::Path;
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// How often the tables are looked through for what is over.
const SWEEP: Duration = Duration::from_secs(1);
/// Answers that wait to leave. More requests than this in one burst are a flood, and flood gets lost.
const MAX_OUTBOX: usize = 1024;

/// What one server gives at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Clients that wait at a number; of more, the oldest is told that its time is over.
    pub waiting: usize,
    /// New wishes a minute from one network.
    pub opens: u16,
    /// Wrong codes a minute from one network.
    pub wrong: u16,
}

impl Default for Limits {
    /// Far above what people do, far below what a machine could use up.
    fn default() -> Self {
        Limits {
            waiting: 1024,
            opens: 30,
            wrong: 5,
        }
    }
}

/// What a server is made from.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The key of the word that clients must know, if there is one.
    pub token: Option<TokenKey>,
    /// What it tells its clients.
    pub terms: Terms,
    /// What it gives at most.
    pub limits: Limits,
    /// Any clock: what counts is that both clients of a pair go by it.
    pub clock: Clock,
    /// 32 fresh random bytes.
    pub seed: Seed,
}

/// What has been done so far, for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counters {
    /// Datagrams that were none of ours, or too many at once.
    pub dropped: u64,
    /// Requests with a cookie that was not good.
    pub stale: u64,
    /// Requests without the server's word.
    pub strangers: u64,
    /// Pairs that were told when to punch.
    pub pairs: u64,
}

/// The machine. Drive it as [`crate::protocol`] says.
pub struct Server {
    token: Option<TokenKey>,
    terms: Terms,
    clock: Clock,
    cookies: Cookies,
    rates: Rates,
    rooms: Rooms,
    next_sweep: Time,
    outbox: VecDeque<Transmit>,
    counters: Counters,
}

impl Server {
    /// A server that nobody knows yet.
    pub fn new(config: ServerConfig, now: Time) -> Self {
        let mut rng = SeedRng::new(&config.seed, "p2pcopy 1 server");
        Server {
            token: config.token,
            terms: Terms {
                wants_token: config.token.is_some(),
                ..config.terms
            },
            clock: config.clock,
            cookies: Cookies::new(&rng.seed(), now),
            rates: Rates::new(config.limits.opens, config.limits.wrong),
            rooms: Rooms::new(config.limits.waiting, &rng.seed(), config.clock, now),
            next_sweep: now + SWEEP,
            outbox: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) {
        match datagram.first() {
            Some(&packet::HELLO) => self.on_hello(now, path, datagram),
            Some(&packet::OPEN) => self.on_open(now, path, datagram),
            _ => self.counters.dropped += 1,
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.rates.sweep(now);
            let mut answers = Answers::new();
            self.rooms.sweep(now, &mut answers);
            self.send(answers);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// When to call [`Server::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        Some(self.next_sweep)
    }

    /// What has been done so far.
    pub(crate) const fn counters(&self) -> Counters {
        Counters {
            pairs: self.rooms.pairs(),
            ..self.counters
        }
    }

    /// How many clients wait at a number.
    pub(crate) fn waiting(&self) -> usize {
        self.rooms.waiting()
    }

    /// How many clients are known.
    #[cfg(test)]
    fn known(&self) -> usize {
        self.rooms.known()
    }

    fn on_hello(&mut self, now: Time, path: Path, datagram: &[u8]) {
        let Ok(hello) = Hello::decode(datagram) else {
            self.counters.dropped += 1;
            return;
        };
        let welcome = Welcome {
            id: hello.id,
            cookie: self.cookies.make(now, path),
            unix_nanos: self.clock.unix_nanos(now),
            seen: path.remote,
            terms: self.terms,
        };
        self.transmit(path, welcome.encode());
    }

    fn on_open(&mut self, now: Time, path: Path, datagram: &[u8]) {
        let Ok(open) = Open::decode(datagram) else {
            self.counters.dropped += 1;
            return;
        };
        let refuse = |standing| State {
            session: open.session,
            standing,
            unix_nanos: self.clock.unix_nanos(now),
            nameplate: None,
            moment: 0,
            message: [0; _],
            sealed: Vec::new(),
        };
        if !self.cookies.is_good(now, path, &open.cookie) {
            self.counters.stale += 1;
            let refusal = refuse(Standing::StaleCookie);
            return self.transmit(path, refusal.encode());
        }
        if let Some(key) = &self.token {
            let network = Network::of(path.remote.ip());
            let knows = equal(&open.proof, &proof(key, &open.cookie, open.session));
            // Who guesses learns nothing from a right guess among too many; who is known already goes on.
            let limited = self.rates.wait(now, network, Kind::Wrong);
            let standing = match (limited, knows) {
                (Some(seconds), _) if !(knows && self.rooms.knows(open.session)) => {
                    Some(Standing::TooMany(seconds))
                }
                (None, false) => Some(Standing::WrongToken),
                _ => None,
            };
            if let Some(standing) = standing {
                self.counters.strangers += 1;
                if standing == Standing::WrongToken {
                    self.rates.count(now, network, Kind::Wrong);
                }
                let refusal = refuse(standing);
                return self.transmit(path, refusal.encode());
            }
        }
        let answers = self.rooms.open(now, path, open, &mut self.rates);
        self.send(answers);
    }

    fn send(&mut self, answers: Answers) {
        for (path, state) in answers {
            self.transmit(path, state.encode());
        }
    }

    fn transmit(&mut self, path: Path, payload: Vec<u8>) {
        if self.outbox.len() >= MAX_OUTBOX {
            self.counters.dropped += 1;
            return;
        }
        self.outbox.push_back(Transmit {
            path,
            ttl: None,
            payload,
        });
    }
}

#[cfg(test)]
mod tests;
