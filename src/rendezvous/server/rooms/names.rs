//! Meetings by name.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::{Answers, FRESH, Kind, Network, Rates, Rooms, Session};
use crate::protocol::Path;
use crate::protocol::time::Time;
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::wire::{Closed, Listed, Names, Open, Present, SessionId, Standing};

/// A client that waits under a name sends a request every ten seconds. After this long without one, anybody
/// may take the name, and most likely its owner returns.
const HELD: Duration = Duration::from_secs(25);

impl Rooms {
    /// Takes a new request to meet by name: joins it to a partner, or lets it wait. Returns why not, if that
    /// fails.
    pub(super) fn meet_named(
        &mut self,
        now: Time,
        path: Path,
        open: &Open,
        names: &Names,
        rates: &mut Rates,
        answers: &mut Answers,
    ) -> Option<Standing> {
        let network = Network::of(path.remote.ip());
        if names.peer.is_some()
            && let Some(seconds) = rates.wait(now, network, Kind::Wrong)
        {
            return Some(Standing::Closed(Closed::TooMany(seconds)));
        }
        if let Some(partner) = self.partner_for(names) {
            let errand = self.sessions.get(&partner).map(|partner| partner.errand);
            if errand != Some(open.errand.peer()) {
                return Some(Standing::SameRole);
            }
            self.insert(now, path, open, None);
            self.pair(now, partner, open);
            return None;
        }
        let Some(own) = &names.own else {
            if now.since(self.began) < FRESH {
                return Some(Standing::Fresh);
            }
            rates.count(now, network, Kind::Wrong);
            return Some(Standing::Nobody);
        };
        if let Some(holder) = self.named.get(own).copied() {
            let held = |s: &Session| s.partner.is_none() && now.since(s.heard) < HELD;
            if self.sessions.get(&holder).is_some_and(held) {
                return Some(Standing::NameTaken);
            }
            self.named.remove(own);
        }
        self.make_room(now, answers);
        self.insert(now, path, open, None);
        if let Some(session) = self.sessions.get_mut(&open.session) {
            session.names = names.clone();
            self.named.insert(own.clone(), open.session);
        }
        None
    }

    /// The client that waits for these names.
    fn partner_for(&self, names: &Names) -> Option<SessionId> {
        let waits = |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.partner.is_none());
        let seeks = |id: &SessionId| self.sessions.get(id).and_then(|s| s.names.peer.as_ref());
        let found = match &names.peer {
            Some(peer) => {
                let id = self.named.get(peer)?;
                seeks(id)
                    .is_none_or(|sought| Some(sought) == names.own.as_ref())
                    .then_some(id)
            }
            None => self
                .named
                .values()
                .find(|id| waits(id) && seeks(id).is_some_and(|sought| Some(sought) == names.own.as_ref())),
        };
        found.copied().filter(waits)
    }

    /// The clients that are here under a name after this one, and whether there are more.
    pub(in crate::rendezvous::server) fn present(
        &self,
        now: Time,
        after: Option<&Name>,
    ) -> (Vec<Present>, bool) {
        let behind = after.map_or(Unbounded, Excluded);
        let mut left = self.named.range::<Name, _>((behind, Unbounded));
        let present = left.by_ref().take(Listed::MOST).filter_map(|(name, id)| {
            let session = self.sessions.get(id)?;
            Some(Present {
                name: name.clone(),
                errand: session.errand,
                busy: session.partner.is_some(),
                waited: now.since(session.began),
            })
        });
        (present.collect(), left.next().is_some())
    }
}
