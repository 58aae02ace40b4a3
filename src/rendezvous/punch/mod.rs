//! The punch: sends the handshake's datagrams when the schedule says, until there is a path with keys.
//!
//! Between full addresses every datagram is authenticated, so one from any source address is the peer's. NATs
//! rewrite ports, so the punch answers to the observed source at once. Between bare addresses nothing vouches
//! for a datagram, so only the pasted IP is accepted. Whatever does not authenticate is counted and gets no
//! answer.

mod config;
mod engine;
pub(crate) mod events;
mod obstacle;
mod paths;
mod probes;
mod report;
mod search;
mod who_guesses;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

pub use self::config::PunchConfig;
pub(crate) use self::config::Surroundings;
pub(crate) use self::engine::LateResponder;
use self::engine::{Engine, Heard};
pub(crate) use self::events::{Hint, PunchEvent};
pub(crate) use self::obstacle::{Obstacle, obstacle};
pub(crate) use self::paths::is_private;
pub(crate) use self::paths::{Ipv6Socket, PathKind};
pub(crate) use self::report::Report;
pub(crate) use self::search::Search;
use super::clock::WallClock;
use super::schedule::Schedule;
use super::schedule::guess_times::CHANCES_TOLD_AFTER;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::handshake::{HandshakeError, Hello, Local, PROTOCOL_VERSION, SessionKeys, packet};
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Role};

/// The most paths whose first exchange is timed: all that can be told, and more than are learnt at once.
const MAX_TIMED: usize = 32;

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Our socket and the destination.
    pub path: Path,
    /// How far the datagram may travel.
    pub reach: Reach,
    pub payload: Vec<u8>,
}

/// The state machine of a punch. Drive it as [`crate::protocol`] says.
pub struct Punch {
    schedule: Schedule,
    search: Search,
    engine: Engine,
    began: Time,
    deadline: Time,
    over: bool,
    /// For each of the newest paths: when its first packet of full TTL left, and how many have left since.
    first_sent: VecDeque<(Path, Time, u32)>,
    outbox: VecDeque<Datagram>,
    events: VecDeque<PunchEvent>,
    report: Report,
}

impl Punch {
    /// Starts to look for the peer.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::WeakKey`] if the pasted key gives the same secret with every key.
    pub fn new(config: PunchConfig, now: Time) -> Result<Self, HandshakeError> {
        let PunchConfig {
            role,
            own,
            peer,
            clock,
            ipv6,
            around,
            ..
        } = config;
        let mut rng = SeedRng::new(&config.seed, "p2pcopy 1 punch");
        let hello = Hello {
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            hardware_aes: config.hardware_aes,
            verify: config.verify,
            cid: u32::from_be_bytes(rng.array()),
        };
        let local = Local {
            keypair: config.keypair,
            hello,
            seed: rng.seed(),
        };
        let engine = Engine::new(role, local, &own, &peer, &mut rng)?;
        let report = Report {
            peer: peer.reflexive,
            elapsed: Duration::ZERO,
            attempts: 0,
            guesses: 0,
            sent: 0,
            received: 0,
            forged: 0,
            outward: 0,
            refused: 0,
            refusal: None,
            rejected: false,
            obstacle: obstacle(&own, &peer, &around.networks),
            outlet: around.outlet,
            hints: Vec::new(),
            own_nat: own.nat(),
            peer_nat: peer.token.as_ref().map(|t| t.nat),
            clock,
            peer_clock_ahead: None,
            error: None,
        };
        // A peer with our earlier address does not know the port that the router forwards, so ports may have to be
        // guessed.
        let before = around.told_before.as_ref();
        let search = Search {
            role,
            guess: who_guesses::task(&own, &peer).or_else(|| who_guesses::task(before?, &peer)),
            own,
            peer,
            ipv6,
            relay: around.relay,
            clock,
            low_ttl: config.low_ttl,
            seed: rng.seed(),
        };
        let schedule = search.begin(now);
        Ok(Punch {
            schedule,
            search,
            engine,
            began: now,
            deadline: now + config.timeout,
            over: false,
            first_sent: VecDeque::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            report,
        })
    }

    /// Replaces an earlier punch, because the user has pasted another address. Call it before anything is sent.
    pub(crate) fn resume(mut self, earlier: Option<Punch>) -> Punch {
        if let Some(earlier) = earlier {
            self.engine.resume(earlier.engine);
            // It may answer a packet of the earlier punch, so its RTT is not known.
            self.first_sent = earlier.first_sent;
        }
        self
    }

    /// Makes both sides punch at this moment, which a server named. They use slots only if that fails.
    pub(crate) fn meet_at(&mut self, moment: Time, now: Time) {
        self.events
            .retain(|event| !matches!(event, PunchEvent::Schedule(_)));
        self.schedule.meet_at(moment, now);
        self.handle_timeout(now);
    }

    /// The relay works: packets on its path reach the peer. It is used from this time on, unless a better
    /// path is found before.
    pub(crate) fn use_relay(&mut self, from: Time) {
        if let Some(path) = self.search.relay {
            self.schedule.add_candidate(path, from);
        }
    }

    /// Corrects the time: if there are slots, they follow it.
    pub(crate) fn set_clock(&mut self, clock: WallClock, now: Time) {
        self.report.clock = clock;
        self.search.set_clock(clock);
        self.schedule.set_clock(clock, now);
        self.handle_timeout(now);
    }

    /// Takes a datagram. Returns whether it was one of the handshake.
    pub fn handle_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) -> bool {
        if !matches!(datagram.first(), Some(packet::PROBE..=packet::BARE_4)) {
            return false;
        }
        if self.over {
            return true;
        }
        let unix_nanos = self.search.clock.unix_nanos(now);
        match self.engine.handle(now, unix_nanos, path, datagram) {
            Heard::Peer {
                reply,
                keys,
                peer_unix_nanos,
            } => {
                self.report.received += 1;
                if let Some(theirs) = peer_unix_nanos {
                    let ahead = i128::from(theirs) - i128::from(unix_nanos);
                    self.report.peer_clock_ahead = i64::try_from(ahead).ok();
                }
                if let Some(payload) = reply {
                    self.transmit(now, path, Reach::Full, payload);
                }
                match keys {
                    Some(keys) => self.connected(now, path, keys),
                    None => self.learn(now, path),
                }
            }
            Heard::Unproven { reply } => {
                self.report.received += 1;
                self.transmit(now, path, Reach::Full, reply);
            }
            Heard::Copy | Heard::TooMany => {}
            Heard::Forged => {
                self.report.forged += 1;
                // Strangers probe ports, too. Only a datagram that looks like ours and comes from the peer's
                // IP counts.
                if self.is_peers_ip(path) && engine::has_the_shape_of_ours(datagram) {
                    self.hint(Hint::OldAddress);
                }
            }
            Heard::Misfit(_) if !self.is_peers_ip(path) => self.report.forged += 1,
            Heard::Misfit(hint) => {
                if hint == Hint::PeerPastedBare {
                    self.schedule.slots_alone();
                }
                self.hint(hint);
            }
            Heard::Fatal(error) => self.fail(now, Some(error)),
        }
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.over {
            return;
        }
        if now >= self.deadline {
            self.fail(now, None);
            return;
        }
        if let Some((at, obstacle)) = self.told_later()
            && now >= at
        {
            self.hint(Hint::Obstacle(obstacle));
        }
        while let Some(send) = self.schedule.poll(now) {
            let slot = send.slot.low_bits();
            let unix_nanos = self.search.clock.unix_nanos(now);
            let payload = self.engine.datagram(send.path, send.content, slot, unix_nanos);
            self.transmit(now, send.path, send.reach, payload);
        }
        while let Some(event) = self.schedule.poll_event() {
            self.events.push_back(PunchEvent::Schedule(event));
        }
    }

    /// Told when the system refused to send a datagram.
    pub(crate) fn on_refused(&mut self, path: Path, kind: ErrorKind) {
        self.report.refused += self.outward(path);
        self.report.refusal = Some(kind);
        if self.report.is_refused() {
            self.hint(Hint::Refused(kind));
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    /// When to call [`Punch::handle_timeout`] next; `None` when the punch is over.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.over {
            return None;
        }
        let told_later = self.told_later().map(|(at, _)| at);
        let next = self.schedule.poll_timeout().into_iter().chain(told_later);
        next.chain([self.deadline]).min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PunchEvent> {
        self.events.pop_front()
    }

    /// What was done and seen so far.
    pub(crate) fn report(&self, now: Time) -> Report {
        Report {
            elapsed: now.since(self.began),
            attempts: self.schedule.attempts(),
            guesses: self.schedule.guesses(),
            ..self.report.clone()
        }
    }

    /// What must outlive a connected punch: the part that answers late copies of the peer's handshake
    /// messages, the search for a silent peer, and the answer that made the connection if it has not left
    /// yet.
    pub(crate) fn into_parts(self) -> (LateResponder, Search, Option<Datagram>) {
        let last = self.outbox.into_iter().next_back();
        let answer = last.filter(|last| last.reach == Reach::Full);
        (self.engine.into_responder(), self.search, answer)
    }

    fn transmit(&mut self, now: Time, path: Path, reach: Reach, payload: Vec<u8>) {
        // Between bare addresses nothing is timed, because any number of ports may ask.
        if reach == Reach::Full && self.search.peer.token.is_some() {
            match self.first_sent.iter_mut().find(|(p, ..)| *p == path) {
                Some((.., count)) => *count += 1,
                None => {
                    self.first_sent.truncate(MAX_TIMED - 1);
                    self.first_sent.push_front((path, now, 1));
                }
            }
        }
        self.report.sent += 1;
        // A refused packet with an IP option is not reported, so these do not count.
        if !matches!(reach, Reach::Routers(_)) {
            self.report.outward += self.outward(path);
        }
        self.outbox.push_back(Datagram { path, reach, payload });
    }

    /// When to show the obstacle, if nothing has come from the peer and no relay helps.
    fn told_later(&self) -> Option<(Time, Obstacle)> {
        let obstacle = self.report.obstacle?;
        let is_shown = self.report.hints.contains(&Hint::Obstacle(obstacle));
        let matters = !is_shown && self.report.received == 0 && self.search.relay.is_none();
        // Guesses may overcome a symmetric NAT, which takes longer.
        let is_guessed = matches!(obstacle, Obstacle::Symmetric | Obstacle::PerhapsSymmetric)
            && self.search.guess.is_some();
        let wait = if is_guessed {
            CHANCES_TOLD_AFTER
        } else {
            obstacle.shown_after()
        };
        matters.then(|| (self.began + wait, obstacle))
    }

    fn hint(&mut self, hint: Hint) {
        if !self.report.hints.contains(&hint) {
            self.report.hints.push(hint);
            self.events.push_back(PunchEvent::Hint(hint));
        }
    }

    /// Counts a datagram that leads to the peer. A private address leads there only if the peer is on the same
    /// network; then its address has no other.
    fn outward(&self, path: Path) -> u64 {
        let front = self.search.peer.reflexive.ip();
        u64::from(!is_private(path.remote.ip()) || is_private(front))
    }

    fn is_peers_ip(&self, path: Path) -> bool {
        self.search.peer.places().any(|at| at.ip() == path.remote.ip())
    }

    /// The peer was heard on `path`: sends there, too, beside the schedule.
    fn learn(&mut self, now: Time, path: Path) {
        if self.schedule.add_reflexive(path, now) {
            if self.search.kind(path) == PathKind::PeerReflexive {
                self.events.push_back(PunchEvent::Reflexive(path));
            }
            self.handle_timeout(now);
        }
    }

    fn connected(&mut self, now: Time, path: Path, keys: Box<SessionKeys>) {
        self.over = true;
        // Copies of one message look alike, so the RTT is only known if one copy was sent on the path.
        let rtt = match self.first_sent.iter().find(|(p, ..)| *p == path) {
            Some(&(_, at, 1)) if keys.role == Role::Sender => Some(now.since(at)),
            _ => None,
        };
        self.events.push_back(PunchEvent::Connected { path, keys, rtt });
    }

    fn fail(&mut self, now: Time, error: Option<HandshakeError>) {
        self.over = true;
        self.report.error = error;
        self.events
            .push_back(PunchEvent::Failed(Box::new(self.report(now))));
    }
}

#[cfg(test)]
mod tests;
