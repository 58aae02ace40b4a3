//! Decides when a run uses its server's relay: as long as there is no direct path, and from the moment the
//! peer falls silent.

use std::time::Duration;

use crate::protocol::Path;
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::rendezvous::meeting::relay::{RelayClient, RelayPass, RelayUse};
use crate::rendezvous::meeting::wire::is_meeting;
use crate::rendezvous::punch::{Obstacle, Punch};
use crate::rendezvous::schedule::Schedule;

/// If a direct path is possible, punching has this time before the relay is used. Most attempts succeed within one
/// round trip after the agreed moment.
const DIRECT_ALONE: Duration = Duration::from_secs(1);
/// A direct path must have worked this long before the relay may be given up.
const TRUST: Duration = Duration::from_secs(10);

/// A run's relay.
pub(crate) struct Relaying {
    pub(super) client: RelayClient,
    uses: RelayUse,
    /// When packets may begin to use the relay.
    from: Time,
    /// When to give up the relay, if the path in use stays direct.
    rest_at: Option<Time>,
}

impl Relaying {
    /// A relay for two ends that punch at `moment`, with this obstacle between them.
    pub(super) fn new(pass: RelayPass, uses: RelayUse, between: Option<Obstacle>, moment: Time) -> Self {
        let hopeless = between.is_some_and(|it| it == Obstacle::BothSymmetric || it.is_certain());
        Relaying {
            client: RelayClient::new(pass, moment),
            uses,
            from: match uses {
                RelayUse::Fallback | RelayUse::Never if !hopeless => moment + DIRECT_ALONE,
                _ => moment,
            },
            rest_at: None,
        }
    }

    /// Takes a datagram from the server. Returns whether it was one.
    pub(super) fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> bool {
        is_meeting(datagram) && self.client.handle_datagram(now, path, datagram)
    }

    /// Does what is due. Until the peer is found, `punch` looks for it through the relay, too.
    pub(super) fn handle_timeout(&mut self, now: Time, punch: Option<&mut Punch>) {
        self.client.handle_timeout(now);
        if let Some(punch) = punch
            && self.client.is_open()
        {
            punch.use_relay(self.from.max(now));
        }
    }

    /// Adds the relay to a search for the peer.
    pub(super) fn offer(&mut self, now: Time, search: &mut Schedule) {
        if self.client.is_open() {
            search.add_candidate(self.client.path(), now);
        }
    }

    /// Tells a new connection which of its paths is the relay, and the rate that the relay allows.
    pub(super) fn prepare(&self, now: Time, connection: &mut Connection) {
        // The relay counts both directions.
        let rate = match self.client.terms().pair_rate {
            0 => None,
            rate => Some(rate - rate / 20),
        };
        connection.set_relay(now, self.client.path(), rate);
    }

    /// Looks at the path in use. Gives up the relay when a direct path has worked for long enough.
    pub(super) fn on_path_in_use(&mut self, now: Time, connection: &Connection) {
        if connection.is_relayed() || connection.silence(now) > TRUST / 2 {
            self.rest_at = None;
        } else if now >= *self.rest_at.get_or_insert(now + TRUST) {
            self.client.rest(now);
        }
    }

    /// Whether to look for a direct path: the connection works, but through the relay.
    pub(super) fn wants_direct(&self, connection: &Connection) -> bool {
        connection.is_relayed() && self.uses != RelayUse::Only
    }

    /// The client, if it needs this path to the server.
    pub(super) fn at(&mut self, path: Path) -> Option<&mut RelayClient> {
        Some(&mut self.client).filter(|client| client.needs(path))
    }
}
