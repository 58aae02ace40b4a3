//! The server tells two clients that name the same code each other's sealed address. Sans-IO.
//!
//! It learns a number, two network addresses and when they met. It never learns the words of a code, a key,
//! or anything about a file. It keeps no state for a client that has not shown, by a cookie, that it receives
//! at the address it sends from. No answer is longer than its request. [`Limits`] bounds what it remembers.

mod bucket;
mod cookies;
mod rates;
mod relay;
mod rooms;

use std::collections::VecDeque;
use std::time::Duration;

use self::cookies::Cookies;
use self::rates::{Kind, Rates};
use self::relay::Relay;
pub(crate) use self::relay::RelayLimits;
pub(crate) use self::relay::Relayed;
use self::rooms::{Answers, Rooms};
use super::clock::WallClock;
use super::meeting::wire::{
    Bind, BindWant, Binding, Bound, Closed, Cookie, Hello, List, Listed, Listing, Malformed, Open, SessionId,
    Standing, State, Terms, TokenKey, Welcome, is_meeting, packet, proof,
};
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::mac::equal;
use crate::protocol::time::Time;
use crate::protocol::{Network, Path};

/// How often the tables are cleaned.
const SWEEP: Duration = Duration::from_secs(1);
/// The most answers that wait to leave. More requests than this in one burst are a flood, and are dropped.
const MAX_OUTBOX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// The most clients that wait at a number. If there are more, the oldest one expires.
    pub waiting: usize,
    /// New requests a minute from one network.
    pub opens: u16,
    /// Wrong codes a minute from one network.
    pub wrong: u16,
    /// The limits of the relay, if there is one.
    pub relay: Option<RelayLimits>,
}

impl Default for Limits {
    /// Far above what people need, and far below what a machine can bear.
    fn default() -> Self {
        Limits {
            waiting: 1024,
            opens: 30,
            wrong: 5,
            relay: Some(RelayLimits::STRANGERS),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    /// The key made from the token that clients must know, if there is one.
    pub token: Option<TokenKey>,
    pub limits: Limits,
    /// Any clock: it only matters that both clients of a pair use it.
    pub clock: WallClock,
    /// 32 random bytes that serve nothing else.
    pub seed: Seed,
}

/// Counters for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counters {
    /// Datagrams that were not for a server, or too many at once.
    pub dropped: u64,
    /// Requests with an invalid cookie.
    pub stale: u64,
    /// Requests without the server's token.
    pub strangers: u64,
    /// Pairs that were told when to punch.
    pub pairs: u64,
    /// What the relay passed on.
    pub relayed: Relayed,
}

/// The state machine of the server. Drive it as [`crate::protocol`] says.
pub(crate) struct Server {
    token: Option<TokenKey>,
    terms: Terms,
    clock: WallClock,
    cookies: Cookies,
    rates: Rates,
    rooms: Rooms,
    relay: Option<Relay>,
    next_sweep: Time,
    outbox: VecDeque<(Path, Vec<u8>)>,
    counters: Counters,
}

impl Server {
    /// A server without clients.
    pub(crate) fn new(config: ServerConfig, now: Time) -> Self {
        let mut rng = SeedRng::new(&config.seed, "p2pcopy 1 server");
        let relay = config.limits.relay;
        Server {
            token: config.token,
            terms: Terms {
                wants_token: config.token.is_some(),
                relays: relay.is_some(),
                pair_rate: relay.and_then(|limits| limits.pair_rate).unwrap_or(0),
                pair_bytes: relay.and_then(|limits| limits.pair_bytes).unwrap_or(0),
            },
            relay: relay.map(|limits| Relay::new(limits, now)),
            clock: config.clock,
            cookies: Cookies::new(&rng.seed()),
            rates: Rates::new(config.limits.opens, config.limits.wrong),
            rooms: Rooms::new(config.limits.waiting, &rng.seed(), config.clock, now),
            next_sweep: now + SWEEP,
            outbox: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) {
        let read = match datagram.first() {
            Some(&packet::HELLO) => Hello::decode(datagram).map(|hello| self.on_hello(now, path, hello)),
            Some(&packet::OPEN) => Open::decode(datagram).map(|open| self.on_open(now, path, open)),
            Some(&packet::BIND) => Bind::decode(datagram).map(|bind| self.on_bind(now, path, &bind)),
            Some(&packet::LIST) => List::decode(datagram).map(|list| self.on_list(now, path, &list)),
            _ if is_meeting(datagram) => Err(Malformed),
            _ => return self.pass(now, path, datagram, datagram.len()),
        };
        self.counters.dropped += u64::from(read.is_err());
    }

    /// Takes datagrams that the system joined. All have `segment` bytes, except that the last may be shorter.
    pub(crate) fn handle_burst(&mut self, now: Time, path: Path, datagrams: &[u8], segment: usize) {
        if datagrams.chunks(segment).any(is_meeting) {
            for datagram in datagrams.chunks(segment) {
                self.handle_datagram(now, path, datagram);
            }
        } else {
            self.pass(now, path, datagrams, segment);
        }
    }

    fn pass(&mut self, now: Time, path: Path, datagrams: &[u8], segment: usize) {
        if let Some(relay) = &mut self.relay {
            let told = relay.pass(now, path, datagrams, segment);
            self.send(told, Bound::encode);
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.rates.sweep(now);
            let mut answers = Answers::new();
            self.rooms.sweep(now, &mut answers);
            self.send(answers, State::encode);
            if let Some(relay) = &mut self.relay {
                relay.sweep(now);
            }
        }
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// Puts the next datagrams to relay into `buf`. Returns their path and the size of each, except that the
    /// last may be shorter.
    pub(crate) fn poll_relayed(&mut self, buf: &mut Vec<u8>) -> Option<(Path, usize)> {
        self.relay.as_mut()?.poll(buf)
    }

    /// When to call [`Server::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        Some(self.next_sweep)
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            pairs: self.rooms.pairs(),
            relayed: self.relay.as_ref().map(Relay::relayed).unwrap_or_default(),
            ..self.counters
        }
    }

    /// The number of pairs that use the relay.
    pub(crate) fn joined(&self) -> usize {
        self.relay.as_ref().map_or(0, Relay::joined)
    }

    /// The number of clients that wait at a number.
    pub(crate) fn waiting(&self) -> usize {
        self.rooms.waiting()
    }

    /// The number of known clients.
    #[cfg(test)]
    fn known(&self) -> usize {
        self.rooms.known()
    }

    fn on_hello(&mut self, now: Time, path: Path, hello: Hello) {
        let welcome = Welcome {
            id: hello.id,
            cookie: self.cookies.make(now, path),
            unix_nanos: self.clock.unix_nanos(now),
            seen: path.remote,
            terms: self.terms,
        };
        self.transmit(path, welcome.encode());
    }

    fn on_open(&mut self, now: Time, path: Path, open: Open) {
        let known = self.rooms.knows(open.session);
        let gate = self.gate(now, path, &open.cookie, &open.proof, open.session, known);
        if let Err(closed) = gate {
            let state = State {
                session: open.session,
                standing: Standing::Closed(closed),
                unix_nanos: self.clock.unix_nanos(now),
                nameplate: None,
                moment: 0,
                message: [0; _],
                sealed: Vec::new(),
            };
            return self.transmit(path, state.encode());
        }
        let answers = self.rooms.open(now, path, open, &mut self.rates);
        self.send(answers, State::encode);
    }

    /// Whether a request comes from the address of its cookie and knows the server's token. `known`: whether
    /// it continues something that it began before.
    fn gate(
        &mut self,
        now: Time,
        path: Path,
        cookie: &Cookie,
        shown: &[u8; 16],
        session: SessionId,
        known: bool,
    ) -> Result<(), Closed> {
        if !self.cookies.is_good(now, path, cookie) {
            self.counters.stale += 1;
            return Err(Closed::StaleCookie);
        }
        let Some(key) = &self.token else { return Ok(()) };
        let network = Network::of(path.remote.ip());
        let knows = equal(shown, &proof(key, cookie, session));
        // Once there were too many wrong tokens, a guesser gets the same answer to a right one. A known
        // client may go on.
        let why = match self.rates.wait(now, network, Kind::Wrong) {
            Some(seconds) if !(knows && known) => Closed::TooMany(seconds),
            None if !knows => Closed::WrongToken,
            _ => return Ok(()),
        };
        self.counters.strangers += 1;
        if why == Closed::WrongToken {
            self.rates.count(now, network, Kind::Wrong);
        }
        Err(why)
    }

    fn on_bind(&mut self, now: Time, path: Path, bind: &Bind) {
        let known = self.relay.as_ref().is_some_and(|relay| relay.knows(&bind.ticket));
        let network = Network::of(path.remote.ip());
        let gate = self.gate(now, path, &bind.cookie, &bind.proof, bind.session, known);
        let refusal = match (gate, &mut self.relay) {
            (Err(closed), _) => Binding::Closed(closed),
            (Ok(()), None) => Binding::NoRelay,
            (Ok(()), Some(relay)) if bind.want == BindWant::Leave => {
                relay.leave(path);
                Binding::Left
            }
            (Ok(()), Some(relay)) => match self.rates.wait(now, network, Kind::Open).filter(|_| !known) {
                Some(seconds) => Binding::Closed(Closed::TooMany(seconds)),
                None => {
                    if !known {
                        self.rates.count(now, network, Kind::Open);
                    }
                    let answers = relay.bind(now, path, bind);
                    return self.send(answers, Bound::encode);
                }
            },
        };
        let bound = Bound {
            session: bind.session,
            binding: refusal,
        };
        self.transmit(path, bound.encode());
    }

    fn on_list(&mut self, now: Time, path: Path, list: &List) {
        let gate = self.gate(now, path, &list.cookie, &list.proof, list.session, false);
        let (present, listing) = match gate {
            Err(closed) => (Vec::new(), Listing::Closed(closed)),
            Ok(()) if self.token.is_none() => (Vec::new(), Listing::Untold),
            Ok(()) => match self.rooms.present(now, list.after.as_ref()) {
                (present, true) => (present, Listing::More),
                (present, false) => (present, Listing::All),
            },
        };
        let listed = Listed {
            session: list.session,
            listing,
            present,
        };
        self.transmit(path, listed.encode());
    }

    fn send<T>(&mut self, answers: Vec<(Path, T)>, encode: fn(&T) -> Vec<u8>) {
        for (path, answer) in answers {
            self.transmit(path, encode(&answer));
        }
    }

    fn transmit(&mut self, path: Path, payload: Vec<u8>) {
        if self.outbox.len() >= MAX_OUTBOX {
            self.counters.dropped += 1;
        } else {
            self.outbox.push_back((path, payload));
        }
    }
}

#[cfg(test)]
mod tests;
