//! Who waits for whom. Only requests with a valid cookie come here, and everything here is bounded.

mod names;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::rates::{Kind, Rates};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Network, Path};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Nameplate;
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::pake::{End, MESSAGE_LEN};
use crate::rendezvous::meeting::wire::{Closed, Names, Open, SessionId, Standing, State, Want};

/// A client is removed after this long without a request. Clients send one every ten seconds.
const IDLE: Duration = Duration::from_secs(60);
/// How long a code is valid: long enough to read it out and to walk over, short enough that numbers stay
/// short.
pub(super) const LIFETIME: Duration = Duration::from_secs(11 * 60);
/// After a restart of the server, all clients that waited have come back by then: after a keepalive and a
/// repetition.
const FRESH: Duration = Duration::from_secs(12);
/// How long a used number is not given again, so that a late client meets nobody.
const REST: Duration = LIFETIME;
/// A client's larger round-trip time counts as this.
const MAX_RTT: Duration = Duration::from_secs(1);
/// Beside two round trips: time to repeat one lost datagram before the moment.
const SPARE: Duration = Duration::from_millis(200);

/// One client's request.
struct Session {
    path: Path,
    network: Network,
    errand: Errand,
    began: Time,
    heard: Time,
    rtt: Duration,
    nameplate: Option<Nameplate>,
    names: Names,
    partner: Option<(SessionId, End)>,
    /// How it ended, if it did.
    ended: Option<Standing>,
    moment: u64,
    message: [u8; MESSAGE_LEN],
    sealed: Vec<u8>,
}

/// All requests.
pub(super) struct Rooms {
    sessions: HashMap<SessionId, Session>,
    numbers: HashMap<Nameplate, SessionId>,
    resting: HashMap<Nameplate, Time>,
    /// The clients that wait under a name, or waited until somebody came.
    named: BTreeMap<Name, SessionId>,
    most_waiting: usize,
    rng: SeedRng,
    clock: WallClock,
    began: Time,
    pairs: u64,
}

/// States to send, and their destinations.
pub(super) type Answers = Vec<(Path, State)>;

impl Rooms {
    pub(super) fn new(most_waiting: usize, seed: &[u8; 32], clock: WallClock, now: Time) -> Self {
        Rooms {
            sessions: HashMap::new(),
            numbers: HashMap::new(),
            resting: HashMap::new(),
            named: BTreeMap::new(),
            most_waiting,
            rng: SeedRng::new(seed, "p2pcopy 1 nameplates"),
            clock,
            began: now,
            pairs: 0,
        }
    }

    /// Whether this request is known.
    pub(super) fn knows(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// The number of clients that wait at a number or under a name.
    pub(super) fn waiting(&self) -> usize {
        let waits = |session: &&Session| session.partner.is_none() && session.ended.is_none();
        self.sessions.values().filter(waits).count()
    }

    /// The number of all known requests.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.sessions.len()
    }

    /// The number of pairs that were told when to punch.
    pub(super) const fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Takes a request of a client at `path`. Returns the answer, and what its partner must be told if it
    /// changed.
    pub(super) fn open(&mut self, now: Time, path: Path, open: Open, rates: &mut Rates) -> Answers {
        let network = Network::of(path.remote.ip());
        let id = open.session;
        let mut answers = Vec::new();
        match open.want {
            Want::Leave | Want::Burn => {
                self.leave(now, id, open.want == Want::Burn, rates, &mut answers);
                answers.push((path, self.answer(now, id, Some(Standing::Gone))));
                return answers;
            }
            Want::Wait(_) | Want::Join(_) | Want::Named(_) => {}
        }
        if !self.sessions.contains_key(&id) {
            if let Some(seconds) = rates.wait(now, network, Kind::Open) {
                let closed = Standing::Closed(Closed::TooMany(seconds));
                answers.push((path, self.answer(now, id, Some(closed))));
                return answers;
            }
            rates.count(now, network, Kind::Open);
        }
        if let Want::Join(nameplate) = open.want {
            let refusal = self.join(now, path, &open, nameplate, rates);
            if refusal.is_some() {
                answers.push((path, self.answer(now, id, refusal)));
                return answers;
            }
        }
        if let Want::Named(names) = &open.want
            && !self.sessions.contains_key(&id)
        {
            let refusal = self.meet_named(now, path, &open, names, rates, &mut answers);
            if refusal.is_some() {
                answers.push((path, self.answer(now, id, refusal)));
                return answers;
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            if let Want::Wait(hint) = open.want {
                self.wait(now, path, &open, hint, &mut answers);
            }
            answers.push((path, self.answer(now, id, None)));
            return answers;
        };
        (session.path, session.heard, session.rtt) = (path, now, open.rtt.min(MAX_RTT));
        // A sealed address is never replaced: one exchange is one guess.
        let news = session.sealed.is_empty() && !open.sealed.is_empty();
        if news {
            session.sealed = open.sealed;
        }
        let joined = matches!(open.want, Want::Join(_) | Want::Named(_)) && session.sealed.is_empty();
        self.name_moment(now, id);
        answers.push((path, self.answer(now, id, None)));
        if news || joined {
            self.tell_partner(now, id, None, &mut answers);
        }
        answers
    }

    /// Removes clients that are gone or have waited too long.
    pub(super) fn sweep(&mut self, now: Time, answers: &mut Answers) {
        self.resting.retain(|_, until| now < *until);
        let over: Vec<(SessionId, bool)> = self
            .sessions
            .iter()
            .filter_map(|(&id, session)| {
                let gone = now.since(session.heard) >= IDLE;
                let old = session.nameplate.is_some() && now.since(session.began) >= LIFETIME;
                (gone || old).then_some((id, gone))
            })
            .collect();
        for (id, gone) in over {
            if gone {
                self.tell_partner(now, id, Some(Standing::Gone), answers);
                self.remove(now, id);
            } else {
                self.expire(now, id, answers);
            }
        }
    }

    fn wait(&mut self, now: Time, path: Path, open: &Open, hint: Option<Nameplate>, answers: &mut Answers) {
        self.make_room(now, answers);
        // After a restart of the server, a client that returns gets its old number.
        let hint = hint.filter(|hint| self.is_free(*hint));
        let Some(nameplate) = hint.or_else(|| self.free_number()) else {
            return;
        };
        self.numbers.insert(nameplate, open.session);
        self.insert(now, path, open, Some(nameplate));
    }

    /// If more clients wait than there is room for, removes the oldest of the network that has the most. So one network
    /// cannot push out the others.
    fn make_room(&mut self, now: Time, answers: &mut Answers) {
        if self.numbers.len() + self.named.len() < self.most_waiting {
            return;
        }
        let waiting = self.numbers.values().chain(self.named.values());
        let waiting: Vec<_> = waiting
            .filter_map(|id| {
                self.sessions
                    .get(id)
                    .map(|session| (*id, session.network, session.began))
            })
            .collect();
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for (_, network, _) in &waiting {
            *counts.entry(*network).or_default() += 1;
        }
        let last = waiting
            .iter()
            .max_by_key(|(_, network, began)| (counts[network], Reverse(*began)));
        if let Some((id, ..)) = last {
            self.expire(now, *id, answers);
        }
    }

    fn insert(&mut self, now: Time, path: Path, open: &Open, nameplate: Option<Nameplate>) {
        if self.sessions.len() >= 4 * self.most_waiting
            && let Some(oldest) = self
                .sessions
                .iter()
                .min_by_key(|(_, s)| s.heard)
                .map(|(&id, _)| id)
        {
            self.remove(now, oldest);
        }
        let session = Session {
            path,
            network: Network::of(path.remote.ip()),
            errand: open.errand,
            began: now,
            heard: now,
            rtt: open.rtt.min(MAX_RTT),
            nameplate,
            names: Names::default(),
            partner: None,
            ended: None,
            moment: 0,
            message: open.message,
            sealed: Vec::new(),
        };
        self.sessions.insert(open.session, session);
    }

    /// Joins a session to the client that waits at a number. Returns why not, if that fails. A session that
    /// has a partner keeps it: two people who type each other's code at the same moment meet once.
    fn join(
        &mut self,
        now: Time,
        path: Path,
        open: &Open,
        nameplate: Nameplate,
        rates: &mut Rates,
    ) -> Option<Standing> {
        let known = self.sessions.get(&open.session);
        if known.is_some_and(|session| session.partner.is_some() || session.ended.is_some()) {
            return None;
        }
        let network = Network::of(path.remote.ip());
        if let Some(seconds) = rates.wait(now, network, Kind::Wrong) {
            return Some(Standing::Closed(Closed::TooMany(seconds)));
        }
        let owner = self
            .numbers
            .get(&nameplate)
            .copied()
            .filter(|owner| *owner != open.session);
        let Some(owner_id) = owner else {
            if now.since(self.began) < FRESH {
                return Some(Standing::Fresh);
            }
            rates.count(now, network, Kind::Wrong);
            return Some(Standing::Nobody);
        };
        if self
            .sessions
            .get(&owner_id)
            .is_some_and(|owner| owner.errand != open.errand.peer())
        {
            return Some(Standing::SameRole);
        }
        if known.is_none() {
            self.insert(now, path, open, None);
        }
        self.pair(now, owner_id, open);
        None
    }

    fn pair(&mut self, now: Time, owner_id: SessionId, open: &Open) {
        for (id, partner) in [
            (owner_id, (open.session, End::Owner)),
            (open.session, (owner_id, End::Joiner)),
        ] {
            let number = self.sessions.get_mut(&id).and_then(|session| {
                session.partner = Some(partner);
                session.nameplate.take()
            });
            self.rest(now, number);
        }
        if let Some(joiner) = self.sessions.get_mut(&open.session) {
            // It may have waited at a number of its own, with a message for that one.
            joiner.message = open.message;
        }
    }

    fn leave(&mut self, now: Time, id: SessionId, burn: bool, rates: &mut Rates, answers: &mut Answers) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        // Both ends report a wrong code, but it was one guess.
        if burn
            && session.ended.is_none()
            && let Some((partner, end)) = session.partner
        {
            let joiner = if end == End::Joiner { id } else { partner };
            if let Some(joiner) = self.sessions.get(&joiner) {
                rates.count(now, joiner.network, Kind::Wrong);
            }
            self.tell_partner(now, id, Some(Standing::Burnt), answers);
            self.remove(now, id);
        } else if session.moment == 0 {
            self.tell_partner(now, id, Some(Standing::Gone), answers);
            self.remove(now, id);
        }
        // Otherwise its data stay until the partner has certainly received them.
    }

    /// Tells both when to punch, once both have sent everything.
    fn name_moment(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Some((partner_id, _)) = session.partner else {
            return;
        };
        let Some(partner) = self.sessions.get(&partner_id) else {
            return;
        };
        if session.moment != 0 || session.sealed.is_empty() || partner.sealed.is_empty() {
            return;
        }
        let lead = 2 * session.rtt.max(partner.rtt) + SPARE;
        let moment = self.clock.unix_nanos(now + lead);
        self.pairs += 1;
        for id in [id, partner_id] {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.moment = moment;
            }
        }
    }

    /// Tells the partner of a session the state of the partner's own, or how it has ended, unless it has all that it needs
    /// to punch.
    fn tell_partner(&mut self, now: Time, id: SessionId, ended: Option<Standing>, answers: &mut Answers) {
        let partner = self.sessions.get(&id).and_then(|session| session.partner);
        if let Some((partner_id, _)) = partner
            && let Some(partner) = self.sessions.get_mut(&partner_id)
            && (matches!(ended, None | Some(Standing::Burnt)) || partner.moment == 0)
        {
            partner.ended = ended.or(partner.ended);
            answers.push((partner.path, self.answer(now, partner_id, None)));
        }
    }

    fn expire(&mut self, now: Time, id: SessionId, answers: &mut Answers) {
        if let Some(session) = self.sessions.get(&id) {
            answers.push((session.path, self.answer(now, id, Some(Standing::Expired))));
        }
        self.remove(now, id);
    }

    fn remove(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(name) = session.names.own.filter(|name| self.named.get(name) == Some(&id)) {
            self.named.remove(&name);
        }
        self.rest(now, session.nameplate);
    }

    fn rest(&mut self, now: Time, number: Option<Nameplate>) {
        if let Some(number) = number {
            self.numbers.remove(&number);
            self.resting.insert(number, now + REST);
        }
    }

    /// The state of a session, for its client.
    fn answer(&self, now: Time, id: SessionId, refusal: Option<Standing>) -> State {
        let session = self.sessions.get(&id);
        let partner = session.and_then(|s| s.partner);
        let standing = refusal.unwrap_or(match session {
            None => Standing::Expired,
            Some(session) => session.ended.unwrap_or(match partner {
                Some((_, end)) => Standing::Paired(end),
                None => Standing::Waiting,
            }),
        });
        let said = partner
            .filter(|_| matches!(standing, Standing::Paired(_)))
            .and_then(|(id, _)| self.sessions.get(&id));
        State {
            session: id,
            standing,
            unix_nanos: self.clock.unix_nanos(now),
            nameplate: session.and_then(|s| s.nameplate),
            moment: session.map_or(0, |s| s.moment),
            message: said.map_or([0; MESSAGE_LEN], |s| s.message),
            sealed: said.map(|s| s.sealed.clone()).unwrap_or_default(),
        }
    }

    /// Whether a number is free and has rested.
    fn is_free(&self, number: Nameplate) -> bool {
        !self.numbers.contains_key(&number) && !self.resting.contains_key(&number)
    }

    /// A number that is free and has rested: as short as possible, and hard to predict.
    fn free_number(&mut self) -> Option<Nameplate> {
        for most in [9, 99, 999, Nameplate::MAX] {
            for _ in 0..8 {
                let number = 1 + self.rng.next_u64() % u64::from(most);
                let nameplate = u16::try_from(number).ok().and_then(Nameplate::new)?;
                if self.is_free(nameplate) {
                    return Some(nameplate);
                }
            }
        }
        let mut all = (1..=Nameplate::MAX).filter_map(Nameplate::new);
        all.find(|number| !self.numbers.contains_key(number))
    }
}
