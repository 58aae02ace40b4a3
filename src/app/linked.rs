//! What a session holds once there is a connection, and the settings of that connection.

use std::time::Duration;

use zeroize::Zeroizing;

use super::relaying::Relaying;
use super::words_gate::Gate;
use crate::protocol::Path;
use crate::protocol::congestion::Controller;
use crate::protocol::connection::{self, Connection};
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::punch::{LateResponder, Search};
use crate::rendezvous::schedule::Schedule;

/// The search for the peer lasts this long before STUN servers are asked. Its first packets have left by then.
const SEARCH_FIRST: Duration = Duration::from_secs(1);

/// After this much silence, ports are guessed as well. By then slots have been tried, and STUN servers were asked.
const GUESS_AFTER: Duration = Duration::from_secs(15);

/// The settings of a session's connection.
pub struct Settings {
    /// Makes the controller of a connection; the duration is the RTT of its handshake.
    pub controller: Box<dyn Fn(Time, Option<Duration>) -> Box<dyn Controller> + Send>,
    /// The user's limit, in bytes a second.
    pub limit: Option<u64>,
    /// How long the session looks for a silent peer before the run gives up. What arrived is kept.
    pub peer_timeout: Duration,
    /// Random bytes that serve only the connection.
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
    pub(super) silent: bool,
    /// Whether our router has given out other ports since the peer fell silent.
    pub(super) has_other_ports: bool,
    /// Looks for a silent peer, or for a direct path to a peer that is reached through a relay.
    pub(super) search: Option<Schedule>,
    /// When the session gives up a silent peer.
    pub(super) give_up: Time,
    /// When to announce the connection at the latest; the RTT announces it earlier. `None` once it was
    /// announced.
    pub(super) announce: Option<Time>,
    pub(super) gate: Gate,
}

impl Linked {
    /// Whether STUN servers may be asked: only while the peer is silent, because our outside address may have changed.
    /// What looks for the peer goes first (see [`Schedule`]).
    pub(super) fn may_ask_outside(&self, now: Time) -> bool {
        self.silent && self.connection.silence(now) >= connection::SILENCE + SEARCH_FIRST
    }

    /// Looks for the peer at another address, which its user has named.
    pub(super) fn relocate(&mut self, peer: &Address) {
        self.places.relocate(peer.clone());
        self.search = None;
    }

    /// Looks for a silent peer, or for a direct path beside a relayed one, as long as the relay wants one.
    pub(super) fn look_for_peer(&mut self, now: Time, mut relaying: Option<&mut Relaying>) {
        let relayed = relaying.as_mut().is_some_and(|relaying| {
            relaying.on_path_in_use(now, &self.connection);
            relaying.wants_direct(&self.connection)
        });
        match &mut self.search {
            None if self.silent || relayed => self.search = Some(self.places.begin_again(now)),
            Some(search) if self.silent || relayed => {
                if let Some(relaying) = relaying {
                    relaying.offer(now, search);
                }
                // The slots of this search are not shown.
                while search.poll_event().is_some() {}
                if self.silent && (self.has_other_ports || self.connection.silence(now) >= GUESS_AFTER) {
                    self.places.guess_after_silence(search, self.has_other_ports, now);
                }
            }
            _ => self.search = None,
        }
    }
}
