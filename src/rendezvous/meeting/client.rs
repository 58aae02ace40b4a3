//! The client of a server: says hello, waits at a number or joins one, and reports the peer's address and the
//! moment to punch. Sans-IO.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::code::{Code, Words};
use super::finder::Finder;
use super::goodbye::Goodbye;
use super::interface::{MeetingConfig, MeetingEvent, Purpose};
use super::pake::End;
use super::refusal::Refusal;
use super::relay::{RelayPass, RelayUse};
use super::visit::{Meaning, Visit};
use super::wire::{Closed, Open, SessionId, Standing, State, Want, Welcome, is_meeting, packet};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Address, Guessing, Mapping, NatClass, PAIRS};
use crate::rendezvous::clock::WallClock;

/// If a server has not answered by then, it is not there or UDP is blocked.
const UNREACHABLE: Duration = Duration::from_secs(3);
/// How often a client that waits tells the server that it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A request is repeated after two round trips, but not before this. Each further pause is longer.
const FIRST_REPEAT: Duration = Duration::from_millis(150);
/// The longest such pause.
const LAST_REPEAT: Duration = Duration::from_secs(1);
/// A peer that has joined must finish within this time.
const PAIRING_TIMEOUT: Duration = Duration::from_secs(20);
/// The farthest moment that is accepted. A server names one within three seconds.
const LATEST: Duration = Duration::from_secs(5);
/// If a server does not answer for this long (three keepalives), the user is told.
const SILENCE: Duration = Duration::from_secs(30);
/// How many codes of ours may fail after somebody has joined. Each such failure is one guess for a server
/// that lies or for somebody who can change its traffic, and a new code follows at once. With five guesses
/// the chance is 1 in 13,000 in a run.
const MOST_GUESSES: u32 = 5;

/// The state machine of the client. Drive it as [`crate::protocol`] says.
pub(crate) struct Meeting {
    config: MeetingConfig,
    rng: SeedRng,
    began: Time,
    finder: Finder,
    own: Option<Address>,
    told_unreachable: bool,
    told_fresh: bool,
    /// The number of our codes at which somebody may have guessed.
    guesses: u32,
    visit: Option<Visit>,
    /// What ends a visit, and the session that it ends.
    goodbye: Option<(SessionId, Goodbye)>,
    paired_since: Option<Time>,
    next_open: Time,
    repeat: Duration,
    last_heard: Time,
    silent: bool,
    outbox: VecDeque<(Path, Vec<u8>)>,
    events: VecDeque<MeetingEvent>,
}

impl Meeting {
    /// A client that starts with a hello to the server.
    pub(crate) fn new(config: MeetingConfig, now: Time) -> Self {
        let mut rng = SeedRng::new(&config.seed, "p2pcopy 1 meeting");
        let typed = match config.purpose {
            Purpose::Join(code) => Some(code),
            Purpose::Show | Purpose::Look | Purpose::Named(..) => None,
        };
        let finder = Finder::new(config.server, &config.sockets, &rng.seed(), now);
        let mut meeting = Meeting {
            rng,
            began: now,
            finder,
            own: None,
            told_unreachable: false,
            told_fresh: false,
            guesses: 0,
            config,
            visit: None,
            goodbye: None,
            paired_since: None,
            next_open: now,
            repeat: FIRST_REPEAT,
            last_heard: now,
            silent: false,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        };
        meeting.visit(typed, now);
        meeting.handle_timeout(now);
        meeting
    }

    /// The user typed the peer's code.
    pub(crate) fn join(&mut self, code: Code, now: Time) {
        let seed = self.rng.seed();
        if let Some(visit) = &mut self.visit
            && visit.paired.is_none()
        {
            visit.join(code, &seed);
            self.say_now(now);
        }
    }

    /// Whether the client needs this path to the server.
    pub(crate) fn needs(&self, path: Path) -> bool {
        path == self.finder.main() && self.visit.is_some()
    }

    /// Starts again with a hello, because the path to the server broke or was replaced.
    pub(crate) fn renew(&mut self, now: Time) {
        self.finder.restart(now);
        self.say_now(now);
    }

    /// Leaves the server, as the run does not need it any more.
    pub(crate) fn end(&mut self, now: Time) {
        self.leave(now, Want::Leave);
        self.visit = None;
    }

    /// Whether nothing is left to tell the server.
    pub(crate) const fn has_left(&self) -> bool {
        self.visit.is_none() && self.goodbye.is_none()
    }

    /// Whether a code of our own is shown.
    const fn shows(&self) -> bool {
        matches!(self.config.purpose, Purpose::Show)
    }

    /// Whether the run left a server that never answered. One that did is still said hello to until the two are
    /// connected, which keeps the mappings open.
    const fn is_given_up(&self) -> bool {
        self.visit.is_none() && self.own.is_none()
    }

    /// Begins a visit: shows a new code if we show codes, and joins `typed`.
    fn visit(&mut self, typed: Option<Code>, now: Time) {
        let mut visit = Visit::new(SessionId(self.rng.next_u64()));
        if self.shows() {
            visit.show(Words::new(self.rng.array()), &self.rng.seed());
        }
        if let Some(code) = typed {
            visit.join(code, &self.rng.seed());
        }
        if let Purpose::Named(names, secret) = &self.config.purpose {
            visit.meet(names.clone(), secret, &self.rng.seed());
        }
        self.visit = Some(visit);
        self.paired_since = None;
        self.say_now(now);
    }

    fn say_now(&mut self, now: Time) {
        (self.next_open, self.repeat) = (now, FIRST_REPEAT.max(2 * self.finder.rtt()));
    }

    /// Takes a datagram. Returns whether it was one of a server.
    pub(crate) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> bool {
        if !is_meeting(datagram) {
            return false;
        }
        if !self.finder.asks(path) {
            return true;
        }
        match datagram.first() {
            Some(&packet::COOKIE) => {
                if let Ok(welcome) = Welcome::decode(datagram) {
                    self.finder.on_welcome(now, path, &welcome);
                }
            }
            Some(&packet::STATE) if path == self.finder.main() => {
                if let Ok(state) = State::decode(datagram) {
                    self.on_state(now, &state);
                }
            }
            _ => {}
        }
        self.handle_timeout(now);
        true
    }

    fn on_state(&mut self, now: Time, state: &State) {
        let is_answer = matches!(
            state.standing,
            Standing::Gone | Standing::Closed(Closed::StaleCookie)
        );
        self.goodbye
            .take_if(|(session, _)| is_answer && *session == state.session);
        let (Some(visit), Some(own)) = (&mut self.visit, &self.own) else {
            return;
        };
        if visit.session != state.session {
            return;
        }
        self.last_heard = now;
        if std::mem::take(&mut self.silent) {
            self.events.push_back(MeetingEvent::Silent(false));
        }
        if state.standing == Standing::Closed(Closed::StaleCookie) {
            self.finder.renew(now);
            return;
        }
        if state.standing == Standing::Fresh && !std::mem::replace(&mut self.told_fresh, true) {
            self.events.push_back(MeetingEvent::Fresh);
        }
        let meaning = visit.on_state(state, own);
        if visit.paired.is_some() {
            self.paired_since.get_or_insert(now);
        } else if state.standing != Standing::Fresh {
            (self.next_open, self.repeat) = (now + KEEPALIVE, LAST_REPEAT);
        }
        match meaning {
            Meaning::Nothing => {}
            Meaning::MoreToSay => self.say_now(now),
            Meaning::Shown(code) => self.events.push_back(MeetingEvent::Code(code)),
            Meaning::Refused(why) => {
                self.events.push_back(MeetingEvent::Refused(why));
                self.say_now(now);
            }
            Meaning::Over(why) => self.over(now, why),
            Meaning::Burn(why) => {
                self.leave(now, Want::Burn);
                self.over(now, why);
            }
            Meaning::Met(met) => {
                let clock = self
                    .finder
                    .clock()
                    .unwrap_or(WallClock::system(state.unix_nanos, now));
                let terms = self.finder.terms;
                let relay = (terms.relays && self.config.relay != RelayUse::Never).then(|| {
                    Box::new(RelayPass {
                        path: self.finder.main(),
                        ticket: met.ticket.0,
                        end: met.ticket.1,
                        token: self.config.token,
                        cookie: self.finder.cookie,
                        terms,
                        seed: self.rng.seed(),
                    })
                });
                self.events.push_back(MeetingEvent::Met {
                    peer: met.peer,
                    own: met.own,
                    moment: clock.time(met.moment).min(now + LATEST),
                    relay,
                });
                self.visit = None;
            }
        }
    }

    /// Ends a visit that failed. The user is told, and if we show codes, another one is shown.
    fn over(&mut self, now: Time, why: Refusal) {
        let Some(visit) = self.visit.take() else { return };
        if self.waits_on(why) {
            self.events.push_back(MeetingEvent::Spoilt(why));
            return self.visit(None, now);
        }
        if !self.shows() || matches!(why, Refusal::WrongToken | Refusal::TooMany(_)) {
            self.events.push_back(MeetingEvent::Failed(why));
            return;
        }
        if visit.paired == Some(End::Joiner) {
            self.events.push_back(MeetingEvent::Refused(why));
            return self.visit(None, now);
        }
        if visit.paired == Some(End::Owner) {
            self.guesses += 1;
            if self.guesses >= MOST_GUESSES {
                self.events.push_back(MeetingEvent::Failed(Refusal::Guessed));
                return;
            }
        }
        // Somebody else may have used up our own code while we tried the peer's.
        self.events.push_back(MeetingEvent::Spoilt(why));
        self.visit(visit.typed(), now);
    }

    /// Whether a meeting by name goes on after somebody came and the meeting failed. If we name the peer, we
    /// do not try again with a secret that differs.
    fn waits_on(&self, why: Refusal) -> bool {
        let Purpose::Named(names, _) = &self.config.purpose else {
            return false;
        };
        let waits = names.own.is_some();
        match why {
            Refusal::Gone | Refusal::Expired => waits,
            Refusal::WrongSecret | Refusal::Address(_) => waits && names.peer.is_none(),
            _ => false,
        }
    }

    fn leave(&mut self, now: Time, want: Want) {
        let Some((visit, cookie)) = self.visit.as_ref().zip(self.finder.cookie) else {
            return;
        };
        let open = Open {
            want,
            ..visit.open(&self.config, cookie, Duration::ZERO)
        };
        self.goodbye = Some((visit.session, Goodbye::new(open.encode(), now)));
        self.say_goodbye(now);
    }

    fn say_goodbye(&mut self, now: Time) {
        if let Some((_, goodbye)) = &mut self.goodbye
            && let Some(datagram) = goodbye.poll(now)
        {
            self.outbox.push_back((self.finder.main(), datagram));
        }
        self.goodbye.take_if(|(_, goodbye)| goodbye.is_in_vain(now));
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.say_goodbye(now);
        if self.is_given_up() {
            return;
        }
        self.outbox.extend(std::iter::from_fn(|| self.finder.poll(now)));
        self.look_around(now);
        if self.own.is_none() {
            if !self.told_unreachable && now.since(self.began) >= UNREACHABLE {
                self.told_unreachable = true;
                self.events.push_back(MeetingEvent::Unreachable);
            }
            return;
        }
        if self
            .paired_since
            .is_some_and(|since| now.since(since) >= PAIRING_TIMEOUT)
        {
            self.leave(now, Want::Leave);
            self.over(now, Refusal::Gone);
        }
        if !self.silent && self.visit.is_some() && now.since(self.last_heard) >= SILENCE {
            self.silent = true;
            self.events.push_back(MeetingEvent::Silent(true));
        }
        let Some((visit, cookie)) = self.visit.as_ref().zip(self.finder.cookie) else {
            return;
        };
        if now >= self.next_open {
            let open = visit.open(&self.config, cookie, self.finder.rtt());
            self.next_open = now + self.repeat;
            self.repeat = (self.repeat * 2).min(LAST_REPEAT.max(2 * self.finder.rtt()));
            self.outbox.push_back((self.finder.main(), open.encode()));
        }
    }

    /// Makes our own address once the outside addresses of the sockets are known.
    fn look_around(&mut self, now: Time) {
        if !self.finder.is_done(now) {
            return;
        }
        let mapped: [Option<SocketAddr>; PAIRS] = std::array::from_fn(|index| {
            let local = u8::try_from(index).ok()?;
            self.finder.seen(local).filter(SocketAddr::is_ipv4)
        });
        let public = mapped[0].is_some_and(|seen| self.config.candidates.contains(&seen));
        let nat = NatClass {
            mapping: if public {
                Mapping::Public
            } else {
                self.finder.mapping
            },
            ..NatClass::default()
        };
        let guessing = match (self.config.guess, nat.mapping) {
            (false, _) => Guessing::Refused,
            (true, Mapping::Dependent) => self.finder.guessing(),
            (true, _) => Guessing::Anywhere,
        };
        let first = self.own.is_none();
        let MeetingConfig { errand, key, .. } = self.config;
        let own = Address::own(errand, key, nat, mapped, self.config.candidates.clone());
        let own = own.map(|own| own.guessed(guessing));
        self.own = match self.config.relay {
            RelayUse::Only => own.map(|own| own.found_only_at(self.finder.main().remote)),
            RelayUse::Fallback | RelayUse::Never => own,
        }
        .or(self.own.take());
        if let (true, Some(own), Some(clock)) = (first, &self.own, self.finder.clock()) {
            self.last_heard = now;
            self.next_open = now;
            self.events.push_back(MeetingEvent::Welcome {
                clock,
                own: own.clone(),
                seen: self.finder.all_seen().collect(),
                terms: self.finder.terms,
                rtt: self.finder.rtt(),
            });
        }
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// When to call [`Meeting::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let goodbye = self.goodbye.as_ref().map(|(_, goodbye)| goodbye.poll_timeout());
        if self.is_given_up() {
            return goodbye;
        }
        let mut next = self.finder.poll_timeout(now).into_iter().chain(goodbye).min();
        let mut sooner = |time: Time| next = Some(next.map_or(time, |next| next.min(time)));
        if self.own.is_none() {
            if !self.told_unreachable {
                sooner(self.began + UNREACHABLE);
            }
        } else if self.visit.is_some() && self.finder.cookie.is_some() {
            sooner(self.next_open);
            if let Some(since) = self.paired_since {
                sooner(since + PAIRING_TIMEOUT);
            }
        }
        next
    }

    pub(crate) fn poll_event(&mut self) -> Option<MeetingEvent> {
        self.events.pop_front()
    }
}
