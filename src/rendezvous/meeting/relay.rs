//! One end at a server's relay: binds its address to the pair's ticket and keeps it bound. Sans-IO.
//!
//! Once both ends are bound, whatever one of them sends to the server's address reaches the other unchanged, so to a
//! punch and to a connection the server's address is one more path. Nothing that passes there is trusted more than what
//! comes from anywhere else.

use super::pake::End;
use super::wire::{
    Bind, BindWant, Binding, Bound, Cookie, Hello, SessionId, Terms, Ticket, TokenKey, Welcome, packet,
    proof_or_zeros,
};
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::Transmit;
use crate::rendezvous::stun::KEEPALIVE;
use std::collections::VecDeque;
use std::time::Duration;

/// A wish that is not answered is repeated after this, then ever more slowly.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// And at most this far apart; as often a peer that has not come yet is asked for.
const LAST_REPEAT: Duration = Duration::from_secs(1);
/// A server that relays for as many as it can is asked again after this.
const FULL: Duration = Duration::from_secs(10);
/// Goodbyes, in case one is lost; without one the server notices after a minute.
const GOODBYES: usize = 2;

/// When a relay is used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RelayUse {
    /// As long as no direct path is found.
    #[default]
    Fallback,
    /// Not at all.
    Never,
    /// Always: the peer is not even told where we are.
    Only,
}

/// What two ends that have met know of the relay.
#[derive(Clone)]
pub struct RelayPass {
    /// From our socket to the server.
    pub(crate) path: Path,
    /// The pair's.
    pub(crate) ticket: Ticket,
    /// Which end we are.
    pub(crate) end: End,
    /// The key of the server's word, if the user gave one.
    pub(crate) token: Option<TokenKey>,
    /// From the meeting, to save a round trip.
    pub(crate) cookie: Option<Cookie>,
    /// What the server gives.
    pub(crate) terms: Terms,
    /// 32 fresh random bytes.
    pub(crate) seed: Seed,
}

impl std::fmt::Debug for RelayPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayPass at {}", self.path.remote)
    }
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayEvent {
    /// What is sent to the server's address reaches the peer.
    Open,
    /// There is no relay; where that may change, the server is asked again.
    Refused(RelayRefusal),
}

/// Why the server does not relay, in words for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayRefusal {
    /// It never does.
    #[error("the server does not relay")]
    NoRelay,
    /// Too many do already.
    #[error("the server relays for as many pairs as it can: asking again every 10 s")]
    Full,
    /// The pair's limit.
    #[error("the server relays no more for you: all that one pair may send has passed")]
    Spent,
    /// Too many requests.
    #[error("the server takes no more from your network for {0} s: asking again then")]
    TooMany(u16),
    /// The server's word.
    #[error("the server wants its word: give --server HOST/WORD, as the server's owner told you")]
    WrongToken,
}

/// What it is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing: there is a direct path.
    Resting,
    /// It has no answer yet, or the peer has not come.
    Binding,
    /// Both are there.
    Open,
}

/// The machine. Drive it as [`crate::protocol`] says.
pub(crate) struct RelayClient {
    pass: RelayPass,
    rng: SeedRng,
    stage: Stage,
    /// The server may know of us.
    has_asked: bool,
    /// What it refused last.
    refused: Option<RelayRefusal>,
    session: SessionId,
    hello: u64,
    next: Time,
    repeat: Duration,
    outbox: VecDeque<Transmit>,
    events: VecDeque<RelayEvent>,
}

impl RelayClient {
    /// Binds from `start` on: before that a direct path may be found.
    pub(crate) fn new(pass: RelayPass, start: Time) -> Self {
        let mut rng = SeedRng::new(&pass.seed, "p2pcopy 1 relay");
        RelayClient {
            session: SessionId(rng.next_u64()),
            hello: rng.next_u64(),
            pass,
            rng,
            stage: Stage::Binding,
            has_asked: false,
            refused: None,
            next: start,
            repeat: FIRST_REPEAT,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The path that is relayed.
    pub(crate) const fn path(&self) -> Path {
        self.pass.path
    }

    /// What the server gives.
    pub(crate) const fn terms(&self) -> Terms {
        self.pass.terms
    }

    /// Whether what is sent on the path reaches the peer.
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// There is a direct path: the server may forget us.
    pub(crate) fn rest(&mut self) {
        self.stage = Stage::Resting;
        if let (true, Some(cookie)) = (std::mem::take(&mut self.has_asked), self.pass.cookie) {
            for _ in 0..GOODBYES {
                self.send_bind(BindWant::Leave, cookie);
            }
        }
    }

    /// The peer fell silent: it may be found here, or has to be found here again.
    pub(crate) fn rouse(&mut self, now: Time) {
        self.stage = Stage::Binding;
        (self.next, self.repeat) = (now, FIRST_REPEAT);
    }

    /// The way to the server broke, or another has taken its place: the server knows neither us nor the cookie there.
    pub(crate) fn rebind(&mut self, now: Time) {
        self.pass.cookie = None;
        self.hello = self.rng.next_u64();
        self.rouse(now);
    }

    /// Asks the server for a sign of life.
    pub(crate) fn ask(&mut self, now: Time) {
        self.next = now;
    }

    /// Whether this is the way to the server, and needed.
    pub(crate) fn needs(&self, path: Path) -> bool {
        path == self.pass.path && self.stage != Stage::Resting
    }

    /// Takes a datagram; whether it was the server's for us.
    pub(crate) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> bool {
        if path != self.pass.path {
            return false;
        }
        match datagram.first() {
            Some(&packet::COOKIE) => {
                let Ok(welcome) = Welcome::decode(datagram) else {
                    return true;
                };
                if welcome.id != self.hello {
                    return false;
                }
                if self.pass.cookie.is_none() {
                    self.pass.cookie = Some(welcome.cookie);
                    (self.next, self.repeat) = (now, FIRST_REPEAT);
                    self.handle_timeout(now);
                }
                true
            }
            Some(&packet::BOUND) => {
                if let Ok(bound) = Bound::decode(datagram)
                    && bound.session == self.session
                    && self.stage != Stage::Resting
                {
                    self.on_binding(now, bound.binding);
                }
                true
            }
            _ => false,
        }
    }

    fn on_binding(&mut self, now: Time, binding: Binding) {
        let (refusal, again) = match binding {
            Binding::Joined => {
                self.refused = None;
                self.next = now + KEEPALIVE;
                self.repeat = FIRST_REPEAT;
                if self.stage != Stage::Open {
                    self.stage = Stage::Open;
                    self.events.push_back(RelayEvent::Open);
                }
                return;
            }
            Binding::Waiting => {
                self.stage = Stage::Binding;
                self.next = now + LAST_REPEAT;
                return;
            }
            Binding::StaleCookie => {
                // One answer in each direction: whoever forges this costs a request a repeat.
                if self.pass.cookie.take().is_some() {
                    self.hello = self.rng.next_u64();
                    self.next = now;
                    self.handle_timeout(now);
                }
                return;
            }
            Binding::Left => return,
            Binding::NoRelay => (RelayRefusal::NoRelay, None),
            Binding::Full => (RelayRefusal::Full, Some(FULL)),
            Binding::Spent => (RelayRefusal::Spent, None),
            Binding::TooMany(seconds) => (
                RelayRefusal::TooMany(seconds),
                Some(Duration::from_secs(seconds.into())),
            ),
            Binding::WrongToken => (RelayRefusal::WrongToken, None),
        };
        match again {
            Some(pause) => (self.stage, self.next) = (Stage::Binding, now + pause),
            None => self.stage = Stage::Resting,
        }
        if self.refused.replace(refusal) != Some(refusal) {
            self.events.push_back(RelayEvent::Refused(refusal));
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.stage == Stage::Resting || now < self.next {
            return;
        }
        self.next = now + self.repeat;
        self.repeat = (self.repeat * 2).min(LAST_REPEAT);
        match self.pass.cookie {
            Some(cookie) => {
                self.has_asked = true;
                self.send_bind(BindWant::Bind, cookie);
            }
            None => self.transmit(Hello { id: self.hello }.encode()),
        }
    }

    fn send_bind(&mut self, want: BindWant, cookie: Cookie) {
        let bind = Bind {
            end: self.pass.end,
            want,
            session: self.session,
            cookie,
            proof: proof_or_zeros(self.pass.token.as_ref(), &cookie, self.session),
            ticket: self.pass.ticket,
        };
        self.transmit(bind.encode());
    }

    fn transmit(&mut self, payload: Vec<u8>) {
        self.outbox.push_back(Transmit {
            path: self.pass.path,
            reach: Reach::Full,
            payload,
        });
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// When to call [`RelayClient::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        (self.stage != Stage::Resting).then_some(self.next)
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }
}
