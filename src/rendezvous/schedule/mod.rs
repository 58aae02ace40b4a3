//! Decides when to send where, and how far the packet may travel. The caller decides what it sends.
//!
//! # Why it is so complicated
//!
//! If the peer's packet reaches a Linux masquerading router before our own first packet has left, connection
//! tracking binds that flow to the router itself. Then our later packet leaves from another port. The punch
//! fails, and every retry within 30 s renews the failure. So nothing of full TTL is sent before the agreed
//! moment. Packets of low TTL go first: they open our own NAT and die before the peer's.
//!
//! A side does not know how many routers are its own and how many lie between. So the TTL grows: a side whose
//! NAT is near has opened it before packets of a higher TTL come. One side leads by half a second, and in the
//! next slot the other one leads. Even if the lowest TTL reaches the peer's NAT, the leader's own NAT is open
//! by then. That is enough, unless the peer's NAT can be spoilt as well.
//!
//! A side that comes late has already been fired at. Therefore there are four port pairs: slot `n` only uses
//! pair `n mod 4`, and a pair rests for longer than such an entry lives before its next turn. So a late side
//! finds the next slot's pair clean. While a pair rests, the side that led keeps its own NAT open with
//! packets that die there. In the pair's next turn it comes second: by then the other NAT has forgotten the
//! clash, and the first packet gets in.
//!
//! If no router lies between, even the lowest TTL reaches the peer's NAT. So packets with an IP option go
//! before all that: the first router accepts and fills the option, and the next device must discard the
//! packet (docs/design.md).
//!
//! Candidates on the LAN and over IPv6 have no NAT to open, so they get packets of full TTL at once, without
//! a slot.
//!
//! ```text
//!   slot - 4.5 s  - 4 s    - 3 s    - 2 s    - 1 s    slot            slot + 4 s
//!     | first hop   | TTL 2  | 3      | 4      | 5      | full, 20 -> 200 ms |  silence, TTL 1
//!     | first hop     | from TTL 2 on half a second later, from the other side |
//! ```

mod clockless;
pub(crate) mod guess_times;
mod output;
mod plan;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use self::clockless::{BESIDE_SLOTS, Clockless};
use self::guess_times::{Guess, Task};
pub(crate) use self::output::{Content, Outgoing, ScheduleEvent};
use self::plan::{LEAD, LOW, Plan, openers};
use self::stream::Stream;
use super::address::PAIRS;
use super::clock::{SlotIndex, WallClock};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Role};

/// How long packets of full TTL are sent, from the slot on.
pub(crate) const WINDOW: Duration = Duration::from_secs(4);

/// TTL of packets that die in our own router and renew its entry of the flow.
const HOLD_TTL: u8 = 1;
/// The time between them: a third of the lifetime of an unreplied entry.
const HOLD_INTERVAL: Duration = Duration::from_secs(10);

const FIRST_INTERVAL: Duration = Duration::from_millis(20);
const LAST_INTERVAL: Duration = Duration::from_millis(200);
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(1);

/// The TTL of the packets that keep something open for long. Most die in the first router. Farther NATs
/// remember longer (RFC 4787, section 4.3, requires two minutes), so every fourth packet goes as far as any
/// before a slot.
fn hold_ttl(turn: usize) -> u8 {
    let farthest = LOW.last().map_or(HOLD_TTL, |(_, ttl)| *ttl);
    if turn % 4 == 3 { farthest } else { HOLD_TTL }
}

/// The most addresses learnt from packets. A further one replaces the oldest. An attacker who forwards the
/// peer's packets from other addresses can fill the places only until the peer's next packet.
const MAX_REFLEXIVE: usize = 8;

/// The timing of one attempt to reach a peer, from the paste (or the loss of a connection) on.
pub struct Schedule {
    role: Role,
    pairs: [Option<Path>; PAIRS],
    clock: WallClock,
    ttl: Option<u8>,
    rng: SeedRng,
    plan: Option<Plan>,
    /// The pairs in whose last slot this side led: our own NAT must remember them. With each stands when its next packet
    /// is due.
    resting: Vec<(Path, Time)>,
    /// Where to send at once what claims the ports of the pairs at our own NAT.
    claims: VecDeque<Path>,
    candidates: Vec<Stream>,
    reflexive: VecDeque<Stream>,
    guess: Option<Guess>,
    /// The part that needs no clock: beside slots or instead of them.
    clockless: Option<Clockless>,
    /// Whether there are slots.
    slotted: bool,
    attempts: u32,
    events: VecDeque<ScheduleEvent>,
}

impl Schedule {
    /// Starts an attempt. `pairs[k]` is the path from our socket `k` to the peer's external port `k`, if both
    /// have one. `candidates` need no NAT. `ttl` replaces all low TTLs.
    pub fn new(
        role: Role,
        pairs: [Option<Path>; PAIRS],
        candidates: &[Path],
        clock: WallClock,
        ttl: Option<u8>,
        seed: &[u8; 32],
        now: Time,
    ) -> Self {
        let mut schedule = Schedule {
            role,
            pairs,
            clock,
            ttl,
            rng: SeedRng::new(seed, "p2pcopy 1 schedule"),
            plan: None,
            resting: Vec::new(),
            claims: VecDeque::new(),
            candidates: candidates
                .iter()
                .map(|&path| Stream::new(path, now, CANDIDATE_INTERVAL))
                .collect(),
            reflexive: VecDeque::new(),
            guess: None,
            clockless: None,
            slotted: true,
            attempts: 0,
            events: VecDeque::new(),
        };
        schedule.make_plan(now);
        schedule
    }

    /// Sends packets of full TTL at once to an address the peer was heard from: its packet got through, so
    /// nothing must be opened first. Returns false if the path is known already. The caller must have
    /// authenticated the packet.
    pub(crate) fn add_reflexive(&mut self, path: Path, now: Time) -> bool {
        if self.streams().any(|s| s.path == path) {
            return false;
        }
        if self.reflexive.len() == MAX_REFLEXIVE {
            self.reflexive.pop_front();
        }
        self.reflexive.push_back(Stream::new(path, now, FIRST_INTERVAL));
        // No guess is needed any more.
        self.guess = None;
        true
    }

    /// Also tries two pairs without a clock: the second user need not wait for a slot, and the clocks need
    /// not agree. Only one side sends packets of full TTL through each of the first two pairs, in their
    /// slots, too. So these pairs stay clean at the other NAT until the other side comes.
    pub(super) fn at_once(&mut self, now: Time) {
        self.clockless = Some(Clockless::beside_slots(self.role, &self.pairs, now));
        self.events.clear();
        self.make_plan(now);
    }

    /// Sends a packet to the peer from each socket before anything else. This computer may have another local address
    /// by now. If a socket then asks a STUN server first, the NAT gives it another port, also towards the peer, which
    /// knows only the old one (Linux, `find_appropriate_src`).
    pub(super) fn claim_ports(&mut self) {
        let pairs = self.pairs.iter().flatten();
        self.claims = pairs.filter(|_| self.ttl.is_none()).copied().collect();
    }

    /// Uses slots alone, because the peer does not know what else begins: both sides send in every slot.
    pub(super) fn slots_alone(&mut self) {
        if self.slotted {
            self.clockless = None;
        }
    }

    /// Uses no slots, because the two clocks may not agree.
    pub(super) fn without_clock(&mut self, now: Time) {
        self.clockless = Some(Clockless::alone(self.role, &self.pairs, now));
        self.slotted = false;
        self.plan = None;
        self.events.clear();
    }

    /// Guesses ports, beside everything else.
    pub(super) fn guess(&mut self, task: Task, now: Time) {
        self.guess = Some(Guess::new(task, now));
    }

    pub(super) const fn is_guessing(&self) -> bool {
        self.guess.is_some()
    }

    /// Ports opened or tried for guesses so far.
    pub(crate) fn guesses(&self) -> u32 {
        self.guess.as_ref().map_or(0, Guess::count)
    }

    /// Sends packets of full TTL to a path that needs no slot, from this time on.
    pub(crate) fn add_candidate(&mut self, path: Path, from: Time) {
        if !self.streams().any(|s| s.path == path) {
            self.candidates.push(Stream::new(path, from, CANDIDATE_INTERVAL));
        }
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.candidates.iter().chain(&self.reflexive)
    }

    /// Replaces the first slot by the moment that a server named. Both sides know it, so there is nothing to
    /// wait for. It uses the pair of the slot that contains it.
    pub(super) fn meet_at(&mut self, moment: Time, now: Time) {
        let slot = self.clock.slot(moment);
        if let Some(path) = self.pairs[slot.pair(PAIRS)] {
            if self.slotted {
                self.slots_alone();
                self.events.clear();
            }
            self.plan_for(slot, path, moment, now);
        }
    }

    /// Corrects the clock, which determines the slots from now on.
    pub(crate) fn set_clock(&mut self, clock: WallClock, now: Time) {
        self.clock = clock;
        self.events.clear();
        self.make_plan(now);
    }

    /// The number of slots used so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next datagram that is due, if any. Call it until it returns `None`.
    pub fn poll(&mut self, now: Time) -> Option<Outgoing> {
        let Some(sent) = self.poll_known(now) else {
            return self.poll_guess(now);
        };
        if let Some(guess) = &mut self.guess {
            guess.make_room();
        }
        Some(sent)
    }

    /// The next datagram for a guess.
    fn poll_guess(&mut self, now: Time) -> Option<Outgoing> {
        let guess = self.guess.as_mut()?;
        let first = guess.count() == 0;
        let (path, reach) = guess.poll(now, self.ttl, &mut self.rng)?;
        if first {
            self.events.push_back(ScheduleEvent::Guessing(guess.task));
        }
        Some(Outgoing {
            content: Content::Probe,
            ..Outgoing::new(path, reach, self.clock.slot(now))
        })
    }

    /// The next datagram that is no guess.
    fn poll_known(&mut self, now: Time) -> Option<Outgoing> {
        let slot_now = self.clock.slot(now);
        if let Some(path) = self.claims.pop_front() {
            return Some(Outgoing::new(path, Reach::Routers(1), slot_now));
        }
        for stream in self.candidates.iter_mut().chain(&mut self.reflexive) {
            if let Some(path) = stream.poll(now, &mut self.rng) {
                return Some(Outgoing::new(path, Reach::Full, slot_now));
            }
        }
        if let Some(clockless) = &mut self.clockless
            && let Some(sent) = clockless.poll(now, self.ttl, &mut self.rng)
        {
            if sent.begins && !self.slotted {
                self.attempt(sent.path.remote);
            }
            return Some(Outgoing::new(sent.path, sent.reach, slot_now));
        }
        if let Some(plan) = self.plan.take_if(|plan| now >= plan.start + WINDOW) {
            if plan.slot.leader() == self.role {
                self.resting.push((plan.path, now + HOLD_INTERVAL));
            }
            self.make_plan(now);
        }
        if let Some((path, next)) = self.resting.iter_mut().find(|(_, next)| *next <= now) {
            *next = now + HOLD_INTERVAL;
            return Some(Outgoing::new(*path, Reach::Low(HOLD_TTL), slot_now));
        }
        let plan = self.plan.as_mut()?;
        if now < plan.fire {
            plan.openers.front().filter(|(at, _)| *at <= now)?;
            let (_, reach) = plan.openers.pop_front()?;
            return Some(Outgoing::new(plan.path, reach, plan.slot));
        }
        let begins = plan.full.is_none();
        let until = if plan.fires { plan.start + WINDOW } else { now };
        let full = plan
            .full
            .get_or_insert_with(|| Stream::through_pair(plan.path, now, until));
        let (slot, to) = (plan.slot, plan.path.remote);
        let path = full.poll(now, &mut self.rng);
        if begins {
            self.attempt(to);
        }
        Some(Outgoing::new(path?, Reach::Full, slot))
    }

    /// Reports that packets of full TTL begin to go through a pair.
    fn attempt(&mut self, to: SocketAddr) {
        let number = self.attempts;
        self.events.push_back(ScheduleEvent::Attempt { number, to });
        self.attempts += 1;
    }

    /// When [`Schedule::poll`] will have something; `None` if never.
    pub fn poll_timeout(&self) -> Option<Time> {
        let planned = self.plan.as_ref().map(|plan| {
            let end = plan.start + WINDOW;
            match (plan.openers.front(), &plan.full) {
                (_, Some(full)) => full.poll_timeout().unwrap_or(end),
                (Some(&(next, _)), None) => next.min(plan.fire),
                (None, None) => plan.fire,
            }
        });
        self.streams()
            .filter_map(Stream::poll_timeout)
            .chain(planned)
            .chain(self.guess.as_ref().map(Guess::poll_timeout))
            .chain(self.clockless.as_ref().and_then(Clockless::poll_timeout))
            .chain(self.resting.iter().map(|(_, next)| *next))
            .min()
    }

    pub(crate) fn poll_event(&mut self) -> Option<ScheduleEvent> {
        self.events.pop_front()
    }

    /// Plans the next slot that has not begun and whose pair exists. A slot that has begun is left out,
    /// because the peer's packets of full TTL may already be at our NAT.
    fn make_plan(&mut self, now: Time) {
        let mut slot = self.clock.slot(now).next();
        self.plan = None;
        for _ in 0..PAIRS {
            let Some(path) = self.pairs[slot.pair(PAIRS)] else {
                slot = slot.next();
                continue;
            };
            self.plan_for(slot, path, self.clock.slot_start(slot), now);
            return;
        }
    }

    /// Plans to open `path` with low-TTL packets until `start`, and then to send packets of full TTL. Does
    /// nothing if there are no slots.
    fn plan_for(&mut self, slot: SlotIndex, path: Path, start: Time, now: Time) {
        if !self.slotted {
            return;
        }
        let was_kept_open = self.resting.iter().any(|(resting, _)| *resting == path);
        let leads = slot.leader() == self.role;
        let later = match (leads, was_kept_open) {
            (true, false) => Duration::ZERO,
            (false, _) => LEAD,
            (true, true) => LEAD * 2,
        };
        let fires = leads || !self.is_one_sided(slot);
        self.resting.retain(|(resting, _)| *resting != path);
        self.events.push_back(ScheduleEvent::Waiting { until: start });
        self.plan = Some(Plan {
            slot,
            start,
            path,
            openers: openers(start, later, now, self.ttl, &mut self.rng),
            fire: start + later,
            fires,
            full: None,
        });
    }

    /// Whether only the leader sends packets of full TTL in this slot. In the slots of the first two pairs
    /// the leader always sends.
    fn is_one_sided(&self, slot: SlotIndex) -> bool {
        let alone = self.pairs.iter().flatten().count() == 1;
        self.clockless.is_some() && !alone && slot.pair(PAIRS) < BESIDE_SLOTS
    }
}

#[cfg(test)]
mod tests;
