//! Asks the routers nearby whether they let anything through to a peer that is not heard. A network that forbids one
//! address answers by ICMP, and the system reports that to separate sockets only.

use std::net::SocketAddr;
use std::time::Duration;

use super::UserSide;
use super::lobby::Aside;
use crate::net::{self, Echo, try_nearby};
use crate::rendezvous::address::Address;
use crate::rendezvous::punch::{Hint, is_private};
use crate::rendezvous::stun;

/// If the way is open, the peer has mostly been heard by then.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// The number of routers that are asked: those of a home or an office. The peer's own router must not be among them,
/// because many routers refuse unknown packets by ICMP.
const ROUTERS: u32 = 3;

impl UserSide<'_> {
    /// Asks for the way to a peer that was just pasted, unless it is on a network of this computer.
    pub(super) fn ask_nearby_for(&mut self, own: &Address, peer: &Address) {
        let (ours, theirs) = (own.reflexive.ip(), peer.reflexive.ip());
        let is_near = ours == theirs || is_private(theirs);
        self.stop_asking_nearby();
        if !is_near {
            self.ask_nearby(peer.reflexive, HEARD_WITHIN);
        }
    }

    /// Asks about the way to `target`. The answer becomes an aside, after this time at the earliest.
    pub(super) fn ask_nearby(&mut self, target: SocketAddr, wait: Duration) {
        self.stop_asking_nearby();
        self.asking_nearby = Some(self.asides.spawn(async move {
            let (echo, ()) = tokio::join!(ask(target), tokio::time::sleep(wait));
            Aside::Nearby(echo)
        }));
    }

    /// The peer was heard, so the routers' answer does not matter.
    pub(super) fn stop_asking_nearby(&mut self) {
        if let Some(asking) = self.asking_nearby.take() {
            asking.abort();
        }
    }
}

async fn ask(target: SocketAddr) -> Echo {
    match net::random_seed() {
        Ok(seed) => try_nearby(target, &stun::probe(&seed).0, ROUTERS).await,
        Err(_) => Echo::Silent,
    }
}

/// What the user reads of the answer.
pub(super) const fn hint_of(echo: Echo) -> Option<Hint> {
    match echo {
        Echo::Refused | Echo::Rejected => Some(Hint::Rejected),
        Echo::Forbidden => Some(Hint::Refused(std::io::ErrorKind::PermissionDenied)),
        Echo::Answered | Echo::Silent => None,
    }
}
