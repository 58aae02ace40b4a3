//! When to send where, and how far the packet may live. Timing only: what is sent is the caller's.
//!
//! # Why so elaborate
//! When the peer's packet reaches a Linux masquerading router before our own first packet has left, connection
//! tracking binds that flow to the router itself, and our later packet leaves from another port: the punch
//! fails, and every retry within 30 s renews the failure. So nothing of full lifetime is sent before the
//! agreed moment, and low-TTL packets, which open our own NAT and die before the other's, go ahead of it.
//!
//! Nobody knows how many routers are his own and how many lie between. So the lifetimes grow, like the rings of a
//! search: whoever needs few hops to open his own NAT has done so before packets come that live for more. One side
//! leads by half a second, the other does so in the next slot: where even the shortest lifetime reaches the peer's NAT,
//! the leader's own is open by then, and that is enough unless the other's can be spoilt as well.
//!
//! Whoever comes late has been shot at already. Hence four port pairs: slot `n` uses pair `n mod 4` alone, and
//! a pair rests for longer than such an entry lives before its turn comes again. A late comer finds the next
//! slot's pair clean. While a pair rests, whoever led keeps his own NAT open with packets that die there, and in its
//! next turn comes second: by then the other's NAT has forgotten the clash, and its first packet gets in.
//!
//! Where no router lies between, even the shortest lifetime gets to the peer's NAT. So before all that go packets with an
//! option of IP that the router behind us fills, and that whatever comes next must not take (docs/design.md).
//!
//! Candidates on the LAN and over IPv6 have no NAT to open: full lifetime at once, without any slot.
//!
//! ```text
//!   slot - 4.5 s  - 4 s    - 3 s    - 2 s    - 1 s    slot            slot + 4 s
//!     | counted     | TTL 2  | 3      | 4      | 5      | full, 20 -> 200 ms |  silence, TTL 1
//!     | counted       | from TTL 2 on half a second later, from the other side |
//! ```

mod clockless;
pub(crate) mod guess;
mod plan;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use self::clockless::{BESIDE_SLOTS, Clockless};
use self::guess::{Guess, Task};
use self::plan::{LEAD, LOW, Plan};
use self::stream::Stream;
use super::address::PAIRS;
use super::clock::{SlotIndex, WallClock};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Role};

/// Packets of full lifetime go out for this long from the slot on.
pub(crate) const WINDOW: Duration = Duration::from_secs(4);

/// Lifetime of packets that die in our own router, and renew what it remembers of the flow.
const HOLD_TTL: u8 = 1;
/// Time between them: a third of what an unreplied entry lives.
const HOLD_INTERVAL: Duration = Duration::from_secs(10);

const FIRST_INTERVAL: Duration = Duration::from_millis(20);
const LAST_INTERVAL: Duration = Duration::from_millis(200);
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(1);

/// The lifetime of one of the packets that keep something open for long: most die in the first router. Farther NATs remember
/// longer (RFC 4787, section 4.3, asks for two minutes), so each fourth goes as far as any before a slot.
fn hold_ttl(turn: usize) -> u8 {
    let farthest = LOW.last().map_or(HOLD_TTL, |(_, ttl)| *ttl);
    if turn % 4 == 3 { farthest } else { HOLD_TTL }
}

/// Addresses learnt from packets are limited. One more takes the place of the one learnt first: somebody who passes
/// the peer's packets on from other addresses fills the places only until the peer's next packet.
const MAX_REFLEXIVE: usize = 8;

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Whatever brings the handshake on.
    Handshake,
    /// What the peer answers and then goes on by itself: it may be the only one that gets through there.
    Probe,
}

/// One datagram to send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Send {
    /// From which socket, to whom.
    pub path: Path,
    /// With which lifetime.
    pub reach: Reach,
    /// Which datagram.
    pub content: Content,
    /// The slot it is for; for paths that need none, the slot it falls in.
    pub slot: SlotIndex,
}

impl Send {
    /// Nobody hears what dies on its way, so it is only a probe.
    const fn new(path: Path, reach: Reach, slot: SlotIndex) -> Self {
        let content = match reach {
            Reach::Low(_) | Reach::Routers(_) => Content::Probe,
            Reach::Full => Content::Handshake,
        };
        Send {
            path,
            reach,
            content,
            slot,
        }
    }
}

/// What a user may want to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScheduleEvent {
    /// Nothing of full lifetime goes through the NATs before `until`.
    Waiting {
        /// The slot waited for.
        slot: SlotIndex,
        /// When it begins.
        until: Time,
        /// How long that is from now.
        wait: Duration,
    },
    /// A slot has begun.
    Attempt {
        /// Counts from 0.
        number: u32,
        /// Where the packets go.
        to: SocketAddr,
    },
    /// Ports of a symmetric NAT are guessed from now on, this being our part.
    Guessing(Task),
}

/// A flow that our own NAT shall remember.
struct Held {
    path: Path,
    next: Time,
}

/// The timing of one attempt to reach a peer, from the paste (or the loss of a connection) on.
pub struct Schedule {
    role: Role,
    pairs: [Option<Path>; PAIRS],
    clock: WallClock,
    ttl: Option<u8>,
    rng: SeedRng,
    plan: Option<Plan>,
    /// The pairs that this side led last.
    held: Vec<Held>,
    candidates: Vec<Stream>,
    reflexive: VecDeque<Stream>,
    guess: Option<Guess>,
    /// What needs no clock, beside slots or in their place.
    clockless: Option<Clockless>,
    /// Whether there are slots.
    slotted: bool,
    attempts: u32,
    events: VecDeque<ScheduleEvent>,
}

impl Schedule {
    /// Begins. `pairs[k]` is the path from our socket `k` to the peer's external port `k`, where both have
    /// one; `candidates` need no NAT; `ttl` takes the place of all low lifetimes.
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
            held: Vec::new(),
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

    /// Sends with full lifetime to an address the peer was heard from, at once: its packet got through, so
    /// there is nothing left to open first. False if that is known already. The caller has authenticated the packet.
    pub(crate) fn add_reflexive(&mut self, path: Path, now: Time) -> bool {
        if self.streams().any(|s| s.path == path) {
            return false;
        }
        if self.reflexive.len() == MAX_REFLEXIVE {
            self.reflexive.pop_front();
        }
        self.reflexive.push_back(Stream::new(path, now, FIRST_INTERVAL));
        // There is nothing left to guess.
        self.guess = None;
        true
    }

    /// The second user need not wait for a slot, nor do the clocks have to agree. One side alone sends with full lifetime
    /// through the first two pairs, in their slots as well: at the other NAT they stay clean until it comes.
    pub(super) fn at_once(&mut self, now: Time) {
        self.clockless = Some(Clockless::beside_slots(self.role, &self.pairs, now));
        self.events.clear();
        self.make_plan(now);
    }

    /// The peer does not know of what begins at once: both sides send in every slot.
    pub(super) fn slots_alone(&mut self) {
        if self.slotted {
            self.clockless = None;
        }
    }

    /// The two clocks may not agree: there are no slots.
    pub(super) fn without_clock(&mut self, now: Time) {
        self.clockless = Some(Clockless::alone(self.role, &self.pairs, now));
        self.slotted = false;
        self.plan = None;
        self.events.clear();
    }

    /// Does our part of guessing ports, beside everything else.
    pub(super) fn guess(&mut self, task: Task, now: Time) {
        self.guess = Some(Guess::new(task, now));
    }

    /// Ports opened or tried for a guess so far.
    pub(crate) fn guesses(&self) -> u32 {
        self.guess.as_ref().map_or(0, Guess::count)
    }

    /// Sends with full lifetime to a path that needs no slot, from this moment on.
    pub(crate) fn add_candidate(&mut self, path: Path, from: Time) {
        if !self.streams().any(|s| s.path == path) {
            self.candidates.push(Stream::new(path, from, CANDIDATE_INTERVAL));
        }
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.candidates.iter().chain(&self.reflexive)
    }

    /// Puts the moment that a server named in the place of the first slot: both sides know it, so there is nothing to
    /// wait for. It uses the pair of the slot it falls in.
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

    /// The clock turned out to be another one: from now on slots are those of `clock`.
    pub(crate) fn set_clock(&mut self, clock: WallClock, now: Time) {
        self.clock = clock;
        self.events.clear();
        self.make_plan(now);
    }

    /// Slots tried so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next datagram due, if any. Call until `None`.
    pub fn poll(&mut self, now: Time) -> Option<Send> {
        let slot_now = self.clock.slot(now);
        for stream in self.candidates.iter_mut().chain(&mut self.reflexive) {
            if let Some(path) = stream.poll(now, &mut self.rng) {
                return Some(Send::new(path, Reach::Full, slot_now));
            }
        }
        if let Some(guess) = &mut self.guess {
            let first = !guess.has_begun();
            if let Some((path, reach)) = guess.poll(now, self.ttl, &mut self.rng) {
                if first {
                    self.events.push_back(ScheduleEvent::Guessing(guess.task()));
                }
                return Some(Send {
                    content: Content::Probe,
                    ..Send::new(path, reach, slot_now)
                });
            }
        }
        if let Some(clockless) = &mut self.clockless
            && let Some(sent) = clockless.poll(now, self.ttl, &mut self.rng)
        {
            if sent.begins && !self.slotted {
                self.attempt(sent.path.remote);
            }
            return Some(Send::new(sent.path, sent.reach, slot_now));
        }
        if let Some(plan) = self.plan.take_if(|plan| now >= plan.start + WINDOW) {
            if plan.slot.leader() == self.role {
                self.held.push(Held {
                    path: plan.path,
                    next: now + HOLD_INTERVAL,
                });
            }
            self.make_plan(now);
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.next <= now) {
            held.next = now + HOLD_INTERVAL;
            return Some(Send::new(held.path, Reach::Low(HOLD_TTL), slot_now));
        }
        let plan = self.plan.as_mut()?;
        if now < plan.fire {
            plan.openers.front().filter(|(at, _)| *at <= now)?;
            let (_, reach) = plan.openers.pop_front()?;
            return Some(Send::new(plan.path, reach, plan.slot));
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
        Some(Send::new(path?, Reach::Full, slot))
    }

    /// Packets of full lifetime begin to go through a pair.
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
            .chain(self.held.iter().map(|held| held.next))
            .min()
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<ScheduleEvent> {
        self.events.pop_front()
    }

    /// Picks the next slot that has not begun and whose pair exists. A slot that has begun is left alone: the
    /// peer's packets of full lifetime may already be at our NAT.
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

    /// Opens `path` with low-TTL packets until `start`, and then sends with full lifetime. Without a clock no moment counts.
    fn plan_for(&mut self, slot: SlotIndex, path: Path, start: Time, now: Time) {
        if !self.slotted {
            return;
        }
        let was_held = self.held.iter().any(|held| held.path == path);
        let later = match (slot.leader() == self.role, was_held) {
            (true, false) => Duration::ZERO,
            (false, _) => LEAD,
            (true, true) => LEAD * 2,
        };
        let fires = slot.leader() == self.role || !self.is_one_sided(slot);
        self.held.retain(|held| held.path != path);
        self.events.push_back(ScheduleEvent::Waiting {
            slot,
            until: start,
            wait: start.since(now),
        });
        let mut plan = Plan::new(slot, path, start, later, fires);
        plan.open(now, self.ttl, &mut self.rng);
        self.plan = Some(plan);
    }

    /// Whether only the leader sends with full lifetime in this slot. Who leads in one of the first two pairs always does.
    fn is_one_sided(&self, slot: SlotIndex) -> bool {
        let alone = self.pairs.iter().flatten().count() == 1;
        self.clockless.is_some() && !alone && slot.pair(PAIRS) < BESIDE_SLOTS
    }
}

#[cfg(test)]
mod tests;
