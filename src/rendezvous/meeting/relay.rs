//! The client of a server's relay: binds its address to the pair's ticket, and keeps it bound. Sans-IO.
//!
//! Once both ends are bound, everything that one of them sends to the server's address reaches the other
//! unchanged. So for a punch and for a connection, the server's address is one more path. Packets on it are
//! not trusted more than packets from anywhere else.

use std::collections::VecDeque;
use std::time::Duration;

use super::goodbye::Goodbye;
use super::pake::End;
use super::wire::{
    Bind, BindWant, Binding, Bound, Closed, Cookie, Hello, SessionId, Terms, Ticket, TokenKey, Welcome,
    packet, proof_or_zeros,
};
use crate::protocol::Path;
use crate::protocol::handshake::rng::{Seed, SeedRng};
use crate::protocol::time::Time;
use crate::rendezvous::stun::KEEPALIVE;

/// A request is repeated after this. Each further pause is longer.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// The longest such pause. While the peer has not come, the client asks at this interval.
const LAST_REPEAT: Duration = Duration::from_secs(1);
/// A server whose relay is full is asked again after this.
const FULL: Duration = Duration::from_secs(10);

/// When a relay is used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum RelayUse {
    /// As long as no direct path is found.
    #[default]
    Fallback,
    Never,
    /// Always. The peer does not even learn our addresses.
    Only,
}

/// What two ends that have met know about the relay.
#[derive(Clone)]
pub(crate) struct RelayPass {
    /// The path from our socket to the server.
    pub(crate) path: Path,
    /// The pair's ticket.
    pub(crate) ticket: Ticket,
    /// Which end we are.
    pub(crate) end: End,
    /// The key made from the server's token, if the user gave one.
    pub(crate) token: Option<TokenKey>,
    /// The cookie from the meeting, which saves a round trip.
    pub(crate) cookie: Option<Cookie>,
    /// What the server offers.
    pub(crate) terms: Terms,
    /// 32 random bytes that serve nothing else.
    pub(crate) seed: Seed,
}

impl std::fmt::Debug for RelayPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayPass at {}", self.path.remote)
    }
}

/// Why the server does not relay, in words for the user. If that may change, the client asks again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RelayRefusal {
    #[error("the server does not relay: only a direct path can help")]
    NoRelay,
    /// Too many pairs use the relay.
    #[error("the server relays for as many pairs as it can: asking again every 10 s")]
    Full,
    /// The pair has used up its bytes.
    #[error(
        "the server relays no more for you, as all that one pair may send has passed: what arrived is kept, and the same two commands send the rest"
    )]
    Spent,
    /// There were too many requests from this network.
    #[error("the server takes no more from your network for {0} s: asking again then")]
    TooMany(u16),
    /// The server's token is missing or wrong.
    #[error(
        "the server relays only for those who know its token, and --server HOST/TOKEN has none or a wrong one"
    )]
    WrongToken,
}

/// The state of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// There is a direct path, so nothing is asked.
    Resting,
    /// No answer has come yet, or the peer has not come.
    Binding,
    /// Both ends are bound.
    Open,
}

/// The state machine. Drive it as [`crate::protocol`] says.
pub(crate) struct RelayClient {
    pass: RelayPass,
    rng: SeedRng,
    stage: Stage,
    /// Whether the server may know us.
    has_asked: bool,
    goodbye: Option<Goodbye>,
    refused: Option<RelayRefusal>,
    session: SessionId,
    hello: u64,
    next: Time,
    repeat: Duration,
    outbox: VecDeque<Vec<u8>>,
    /// A refusal that was not told yet.
    news: Option<RelayRefusal>,
}

impl RelayClient {
    /// Begins to bind at `start`: before that, a direct path may be found.
    pub(crate) fn new(pass: RelayPass, start: Time) -> Self {
        let mut rng = SeedRng::new(&pass.seed, "p2pcopy 1 relay");
        RelayClient {
            session: SessionId(rng.next_u64()),
            hello: rng.next_u64(),
            pass,
            rng,
            stage: Stage::Binding,
            has_asked: false,
            goodbye: None,
            refused: None,
            next: start,
            repeat: FIRST_REPEAT,
            outbox: VecDeque::new(),
            news: None,
        }
    }

    /// The relay's path.
    pub(crate) const fn path(&self) -> Path {
        self.pass.path
    }

    /// What the server offers.
    pub(crate) const fn terms(&self) -> Terms {
        self.pass.terms
    }

    /// Whether packets on the path reach the peer.
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Tells the server to forget us, because there is a direct path or the run ends.
    pub(crate) fn rest(&mut self, now: Time) {
        self.stage = Stage::Resting;
        if let (true, Some(cookie)) = (std::mem::take(&mut self.has_asked), self.pass.cookie) {
            self.goodbye = Some(Goodbye::new(self.bind(BindWant::Leave, cookie), now));
            self.handle_timeout(now);
        }
    }

    /// Whether nothing is left to tell the server.
    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.stage, Stage::Resting) && self.goodbye.is_none()
    }

    /// Binds again, because the peer fell silent.
    pub(crate) fn rouse(&mut self, now: Time) {
        self.goodbye = None;
        self.stage = Stage::Binding;
        (self.next, self.repeat) = (now, FIRST_REPEAT);
    }

    /// Binds again without a cookie: the path to the server broke or was replaced, so the server knows
    /// neither us nor the cookie there.
    pub(crate) fn rebind(&mut self, now: Time) {
        self.pass.cookie = None;
        self.hello = self.rng.next_u64();
        self.rouse(now);
    }

    /// Asks the server, to see whether it still answers.
    pub(crate) fn ask(&mut self, now: Time) {
        self.next = now;
    }

    /// Whether the client needs this path to the server.
    pub(crate) fn needs(&self, path: Path) -> bool {
        path == self.pass.path && self.stage != Stage::Resting
    }

    /// Takes a datagram. Returns whether the server sent it for us.
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
                {
                    self.on_binding(now, bound.binding);
                }
                true
            }
            _ => false,
        }
    }

    fn on_binding(&mut self, now: Time, binding: Binding) {
        if self.stage == Stage::Resting {
            // An answer to an earlier request may still come.
            self.goodbye
                .take_if(|_| matches!(binding, Binding::Left | Binding::Closed(Closed::StaleCookie)));
            return;
        }
        let (refusal, again) = match binding {
            Binding::Joined => {
                self.refused = None;
                self.next = now + KEEPALIVE;
                self.repeat = FIRST_REPEAT;
                self.stage = Stage::Open;
                return;
            }
            Binding::Waiting => {
                self.stage = Stage::Binding;
                self.next = now + LAST_REPEAT;
                return;
            }
            Binding::Closed(Closed::StaleCookie) => {
                // The client drops the cookie only once, so a forged answer costs one repeated request.
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
            Binding::Closed(Closed::TooMany(seconds)) => (
                RelayRefusal::TooMany(seconds),
                Some(Duration::from_secs(seconds.into())),
            ),
            Binding::Closed(Closed::WrongToken) => (RelayRefusal::WrongToken, None),
        };
        match again {
            Some(pause) => (self.stage, self.next) = (Stage::Binding, now + pause),
            None => self.stage = Stage::Resting,
        }
        if self.refused.replace(refusal) != Some(refusal) {
            self.news = Some(refusal);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if let Some(datagram) = self.goodbye.as_mut().and_then(|goodbye| goodbye.poll(now)) {
            self.outbox.push_back(datagram);
        }
        self.goodbye.take_if(|goodbye| goodbye.is_in_vain(now));
        if self.stage == Stage::Resting || now < self.next {
            return;
        }
        self.next = now + self.repeat;
        self.repeat = (self.repeat * 2).min(LAST_REPEAT);
        match self.pass.cookie {
            Some(cookie) => {
                self.has_asked = true;
                self.outbox.push_back(self.bind(BindWant::Bind, cookie));
            }
            None => self.outbox.push_back(Hello { id: self.hello }.encode()),
        }
    }

    /// The datagram of a request.
    fn bind(&self, want: BindWant, cookie: Cookie) -> Vec<u8> {
        let bind = Bind {
            end: self.pass.end,
            want,
            session: self.session,
            cookie,
            proof: proof_or_zeros(self.pass.token.as_ref(), &cookie, self.session),
            ticket: self.pass.ticket,
        };
        bind.encode()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        Some((self.pass.path, self.outbox.pop_front()?))
    }

    /// When to call [`RelayClient::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let goodbye = self.goodbye.as_ref().map(Goodbye::poll_timeout);
        goodbye.or((self.stage != Stage::Resting).then_some(self.next))
    }

    /// The next refusal. One that is like the last is not told again.
    pub(crate) fn poll_refusal(&mut self) -> Option<RelayRefusal> {
        self.news.take()
    }
}
