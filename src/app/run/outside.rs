//! Our own address as outsiders see it, and the check of the peer's address against it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::UserSide;
use super::lobby::Aside;
use crate::app::event::Front;
use crate::protocol::handshake::PublicKey;
use crate::rendezvous::address::{Address, Filtering, Guessing, Mapping, NatClass, PAIRS, Timekeeping};
use crate::rendezvous::errand::Errand;
use crate::rendezvous::portmap::Mapped;
use crate::rendezvous::punch::{Obstacle, obstacle};

/// A port of the router that leads to our first socket, whoever the sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forward {
    /// The user named the port. The outside address is the one that servers see.
    Told(u16),
    /// The router named the address and port.
    Mapped(SocketAddr),
}

/// What the run knows about its own address.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) errand: Errand,
    pub(super) key: PublicKey,
    pub(super) nat: NatClass,
    pub(super) mapped: [Option<SocketAddr>; PAIRS],
    pub(super) forward: Option<Forward>,
    pub(super) candidates: Vec<SocketAddr>,
    pub(super) guessing: Guessing,
    pub(super) clock: Timekeeping,
}

impl Outside {
    /// The address to tell the peer; `None` if this machine has no address at all.
    pub(super) fn address(&self) -> Option<Address> {
        let (mut mapped, mut nat) = (self.mapped, self.nat);
        if let Some(port) = self.forwarded() {
            mapped[0] = Some(port);
            nat.filtering = Filtering::Independent;
        }
        let address = Address::own(self.errand, self.key, nat, mapped, self.candidates.clone())?;
        Some(address.guessed(self.guessing).timed(self.clock))
    }

    /// The address at which the router forwards a port, if it is known.
    pub(super) fn forwarded(&self) -> Option<SocketAddr> {
        let any = self.mapped.iter().flatten().next();
        match self.forward? {
            Forward::Told(port) => any.map(|outside| SocketAddr::new(outside.ip(), port)),
            Forward::Mapped(external) => Some(external),
        }
    }

    /// The router gave a socket another external address.
    pub(super) fn on_mapping(&mut self, socket: u8, to: SocketAddr) {
        if let Some(place) = self.mapped.get_mut(usize::from(socket)) {
            *place = Some(to);
        }
    }
}

/// Behind a symmetric NAT an address is of little use without a forwarded port. So the prompt waits this long for the
/// router there. PCP and NAT-PMP answer within milliseconds, UPnP takes some questions.
const ROUTER_WAIT: Duration = Duration::from_secs(1);

impl UserSide<'_> {
    /// Takes the port that the router forwards. What it says later is told later.
    pub(super) async fn hear_router(
        &mut self,
        mut told: UnboundedReceiver<Option<Mapped>>,
        mapping: Mapping,
        front: &mut dyn Front,
    ) {
        let wait = match mapping {
            Mapping::Dependent => ROUTER_WAIT,
            _ => Duration::ZERO,
        };
        if let Ok(Some(Some(mapped))) = tokio::time::timeout(wait, told.recv()).await {
            let _ = self.take_mapping(mapped, front);
        }
        self.asides.spawn(async move {
            let mut mapped = None;
            while mapped.is_none()
                && let Some(answer) = told.recv().await
            {
                mapped = answer;
            }
            Aside::Mapped(mapped)
        });
    }
}

/// Reads the peer's address, and refuses it if no packet can ever reach it.
pub(super) fn peer_address(text: &str, own: &Address, networks: &[(IpAddr, u8)]) -> Result<Address, Unfit> {
    let peer = Address::parse_peer(text, own).map_err(|error| Unfit::Text(error.to_string()))?;
    match obstacle(own, &peer, networks) {
        Some(certain) if certain.is_certain() => Err(Unfit::OutOfReach(certain)),
        _ => Ok(peer),
    }
}

/// Why a pasted address cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// It is not an address, or not the peer's.
    #[error("{0}")]
    Text(String),
    /// No packet can reach it.
    #[error("{0}; {help}", help = .0.remedy())]
    OutOfReach(Obstacle),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric() -> Outside {
        let at = |port| Some(SocketAddr::from(([203, 0, 113, 7], port)));
        Outside {
            errand: Errand::Send,
            key: [7; 32],
            nat: NatClass {
                mapping: Mapping::Dependent,
                filtering: Filtering::Untested,
            },
            mapped: [at(61_000), at(61_001), at(61_002), None],
            forward: None,
            candidates: vec![SocketAddr::from(([192, 168, 1, 5], 4300))],
            guessing: Guessing::Anywhere,
            clock: Timekeeping::Told,
        }
    }

    #[test]
    fn a_forwarded_port_stands_in_front_and_lets_anybody_in() {
        let mut outside = symmetric();
        assert_eq!(outside.address().unwrap().reflexive.port(), 61_000);
        outside.forward = Some(Forward::Told(4300));
        let address = outside.address().unwrap();
        let token = address.token.as_ref().unwrap();
        assert_eq!(address.reflexive.to_string(), "203.0.113.7:4300");
        assert_eq!(token.nat.filtering, Filtering::Independent);
        assert_eq!(token.spare_ports, [61_001, 61_002, 0]);
        outside.on_mapping(0, SocketAddr::from(([198, 51, 100, 9], 1)));
        assert_eq!(
            outside.address().unwrap().reflexive.to_string(),
            "198.51.100.9:4300"
        );
    }

    #[test]
    fn an_address_without_a_common_family_is_refused_at_the_paste() {
        let own = symmetric().address().unwrap();
        let peer = Outside {
            errand: Errand::Receive,
            key: [8; 32],
            mapped: [None; PAIRS],
            candidates: vec!["[2001:db8::1]:4300".parse().unwrap()],
            ..symmetric()
        };
        let text = peer.address().unwrap().to_string();
        assert_eq!(
            peer_address(&text, &own, &[]),
            Err(Unfit::OutOfReach(Obstacle::OnlyPeerHasIpv6))
        );
        assert!(matches!(peer_address("x", &own, &[]), Err(Unfit::Text(_))));
    }
}
