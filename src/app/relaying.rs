//! When a run uses its server's relay: as long as there is no direct path, and from the moment the peer falls silent.

use crate::protocol::Path;
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::rendezvous::Transmit;
use crate::rendezvous::meeting::relay::{RelayClient, RelayEvent, RelayPass, RelayUse};
use crate::rendezvous::meeting::wire::is_meeting;
use crate::rendezvous::punch::Punch;
use crate::rendezvous::schedule::Schedule;
use std::time::Duration;

/// Punching goes first for so long: most paths that can be had are had within a round trip of the moment.
const PATIENCE: Duration = Duration::from_secs(1);
/// A direct path has worked for so long before the server may forget us.
const TRUST: Duration = Duration::from_secs(10);

/// A run's relay.
pub struct Relaying {
    client: RelayClient,
    uses: RelayUse,
    /// From when on packets go that way.
    from: Time,
    /// When the server may forget us, if the path in use stays direct.
    rest_at: Option<Time>,
}

impl Relaying {
    /// For two ends that punch at `moment`.
    pub(super) fn new(pass: RelayPass, uses: RelayUse, moment: Time) -> Self {
        Relaying {
            client: RelayClient::new(pass, moment),
            uses,
            from: match uses {
                RelayUse::Only => moment,
                RelayUse::Fallback | RelayUse::Never => moment + PATIENCE,
            },
            rest_at: None,
        }
    }

    /// The path that is relayed.
    pub(super) const fn path(&self) -> Path {
        self.client.path()
    }

    /// Takes a datagram of the server's.
    pub(super) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> bool {
        is_meeting(datagram) && self.client.handle_datagram(now, path, datagram)
    }

    /// Does what is due. As long as the peer is not found, `punch` looks for it this way, too.
    pub(super) fn handle_timeout(&mut self, now: Time, punch: Option<&mut Punch>) {
        self.client.handle_timeout(now);
        if let Some(punch) = punch
            && self.client.is_open()
        {
            punch.use_relay(self.from.max(now));
        }
    }

    /// A search for the peer goes this way, too.
    pub(super) fn offer(&mut self, now: Time, search: &mut Schedule) {
        if self.client.is_open() {
            search.add_candidate(self.path(), now);
        }
    }

    /// Tells a new connection which of its paths this is, and how fast it may be used.
    pub(super) fn prepare(&self, now: Time, connection: &mut Connection) {
        // What the peer sends counts, too.
        let rate = match self.client.terms().pair_rate {
            0 => None,
            rate => Some(rate - rate / 20),
        };
        connection.set_relay(now, self.path(), rate);
    }

    /// Whether a direct path is to be looked for: the connection works, but by way of the server.
    pub(super) fn seeks_direct(&mut self, now: Time, connection: &Connection) -> bool {
        if connection.is_relayed() || connection.silence(now) > TRUST / 2 {
            self.rest_at = None;
        } else if now >= *self.rest_at.get_or_insert(now + TRUST) {
            self.client.rest();
        }
        connection.is_relayed() && self.uses != RelayUse::Only
    }

    /// The peer fell silent: it may be found this way.
    pub(super) fn rouse(&mut self, now: Time) {
        self.client.rouse(now);
    }

    /// The client, if this is its way to the server, and needed.
    pub(super) fn at(&mut self, path: Path) -> Option<&mut RelayClient> {
        Some(&mut self.client).filter(|client| client.needs(path))
    }

    /// The run ends.
    pub(super) fn rest(&mut self) {
        self.client.rest();
    }

    /// The next datagram to send to the server.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.client.poll_transmit()
    }

    /// When to call [`Relaying::handle_timeout`] next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.client.poll_timeout()
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<RelayEvent> {
        self.client.poll_event()
    }
}
