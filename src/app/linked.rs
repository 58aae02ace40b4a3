//! What a session has once there is a connection, and what it makes that from.

use super::gate::Gate;
use super::relaying::Relaying;
use crate::protocol::Path;
use crate::protocol::congestion::Controller;
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::punch::{LateResponder, Search};
use crate::rendezvous::schedule::Schedule;
use std::time::Duration;
use zeroize::Zeroizing;

/// What the session builds its connection with.
pub struct Settings {
    /// Makes the controller of the connection, on a path with this handshake RTT.
    pub controller: Box<dyn Fn(Time, Option<Duration>) -> Box<dyn Controller> + Send>,
    /// User's limit, bytes a second.
    pub limit: Option<u64>,
    /// How long a silent peer is looked for before the run gives up; what arrived is kept.
    pub patience: Duration,
    /// Random bytes for the connection alone.
    pub seed: Zeroizing<[u8; 32]>,
    /// Whether to tell samples for a trace.
    pub trace: bool,
}

/// A connection, and what finds its peer again.
pub(super) struct Linked {
    pub(super) connection: Connection,
    pub(super) responder: LateResponder,
    /// Answers to late handshake messages.
    pub(super) late: Option<(Path, Vec<u8>)>,
    pub(super) places: Search,
    /// The peer is silent.
    pub(super) silent: bool,
    /// Looks for a silent peer, or for a direct path to one that is reached by way of a server.
    pub(super) search: Option<Schedule>,
    /// When a silent peer is given up.
    pub(super) give_up: Time,
    /// The connection is still to be told of; until then at most its RTT is waited for.
    pub(super) announce: Option<Time>,
    pub(super) gate: Gate,
}

impl Linked {
    /// The peer is at another address now, as its user says.
    pub(super) fn relocate(&mut self, peer: &Address) {
        self.places.relocate(peer.clone());
        self.search = None;
    }

    /// Looks for a silent peer, or for a direct path beside a relayed one, as long as one is wanted.
    pub(super) fn look_for_peer(&mut self, now: Time, mut relaying: Option<&mut Relaying>) {
        let relayed = relaying
            .as_mut()
            .is_some_and(|r| r.seeks_direct(now, &self.connection));
        match &mut self.search {
            None if self.silent || relayed => self.search = Some(self.places.begin(now)),
            Some(search) if self.silent || relayed => {
                if let Some(relaying) = relaying {
                    relaying.offer(now, search);
                }
                // Nobody is told of a search's slots.
                while search.poll_event().is_some() {}
            }
            _ => self.search = None,
        }
    }
}
