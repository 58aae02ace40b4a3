//! What the two addresses tell about the chances of a connection before anything is sent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::paths::is_private;
use super::report::{Outlook, outlook};
use crate::rendezvous::address::{Address, Filtering, Mapping};

/// How long two computers that nothing keeps apart may take to hear each other: the first datagrams are sent
/// at once.
const NEARBY: Duration = Duration::from_secs(3);

/// What may prevent a connection between two addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// The peer has only IPv6, and we have only IPv4.
    #[error("the other side has only IPv6 and this computer has none, so neither can send to the other")]
    OnlyPeerHasIpv6,
    /// We have only IPv6, and the peer has only IPv4.
    #[error("this computer has only IPv6 and the other side has none, so neither can send to the other")]
    OnlyWeHaveIpv6,
    /// The peer's address is only valid on its own computer.
    #[error("the other side's computer is not on any network")]
    PeerIsOffline,
    /// Our address is only valid on this computer.
    #[error("this computer is not on any network")]
    WeAreOffline,
    /// Both have the same outside address, and nothing shows that they are on the same network.
    #[error(
        "both sides have the same outside address but are on different networks inside, and few routers send back in what \
         is meant for themselves"
    )]
    SameOutside,
    /// Both have the same outside address and networks with equal addresses, but nothing arrives.
    #[error(
        "both sides have the same outside address but do not hear each other inside: a network may keep its devices apart \
         (guest Wi-Fi), or a carrier may have put two networks behind one address"
    )]
    Isolated,
    /// The peer could only tell addresses inside its network.
    #[error(
        "the other side does not know its outside address (no STUN server answered there) and is not on a network of this \
         computer"
    )]
    PeerIsUnmapped,
    /// We could only tell addresses inside our network.
    #[error(
        "this computer's outside address is not known (no STUN server answered), and the other side is not on a network of \
         this computer"
    )]
    WeAreUnmapped,
    /// One side could only tell addresses inside its network. That may be our network, but nothing arrives.
    #[error(
        "one of the two sides does not know its outside address (no STUN server answered there), and neither hears the other \
         on a network of its own"
    )]
    Unheard,
    /// Both NATs are symmetric, so neither side can know the other's port.
    #[error(
        "both networks are symmetric NATs (another port for every destination): neither side can know the port that the \
         other's packets come from"
    )]
    BothSymmetric,
    /// A firewall protects the side without a NAT, and the other side's NAT is symmetric.
    #[error(
        "one of the two networks is a symmetric NAT, and a firewall before the other side, which has a public address, does \
         not let its packets in"
    )]
    Firewalled,
    /// With these two NAT classes, only luck helps.
    #[error("one of the two networks is a symmetric NAT and the other does not let its packets in")]
    Symmetric,
    /// It depends on how a NAT filters, which is not known.
    #[error(
        "one of the two networks is a symmetric NAT: this works only if the other lets in packets from any port"
    )]
    PerhapsSymmetric,
}

impl Obstacle {
    /// What the user can do.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Obstacle::OnlyPeerHasIpv6 | Obstacle::OnlyWeHaveIpv6 => {
                "move one of the two to a network that has what the other has (a phone's hotspot often has both), start p2pcopy \
                 there again and paste its new address"
            }
            Obstacle::PeerIsOffline => {
                "have the other side connect to a network, start p2pcopy again and send its new address"
            }
            Obstacle::WeAreOffline => "connect this computer to a network and start p2pcopy again",
            Obstacle::SameOutside | Obstacle::Isolated => {
                "put both on the same Wi-Fi or cable (not a guest network), or one of them on another network such as a phone's \
                 hotspot; whoever moves starts p2pcopy again and sends the new address"
            }
            Obstacle::PeerIsUnmapped | Obstacle::Unheard => {
                "have the other side run p2pcopy check, or move to another network, start again and send the new address"
            }
            Obstacle::WeAreUnmapped => {
                "run p2pcopy check, or move to another network and start p2pcopy again"
            }
            Obstacle::BothSymmetric => {
                "move one of the two to another network such as a phone's hotspot, or forward a UDP port on one side and pass \
                 it there with --localport and --external-port; with a server of your own (--server) it works as it is"
            }
            Obstacle::Firewalled => {
                "open a UDP port in that firewall and pass it with --localport there, or move the symmetric side to another \
                 network such as a phone's hotspot"
            }
            Obstacle::Symmetric | Obstacle::PerhapsSymmetric => {
                "move the symmetric side to another network such as a phone's hotspot, or forward a UDP port there and pass it \
                 with --localport and --external-port"
            }
        }
    }

    /// Whether no packet can ever arrive, so that trying is useless.
    pub(crate) const fn is_certain(self) -> bool {
        matches!(
            self,
            Obstacle::OnlyPeerHasIpv6
                | Obstacle::OnlyWeHaveIpv6
                | Obstacle::PeerIsOffline
                | Obstacle::WeAreOffline
        )
    }

    /// After how long without success the obstacle is shown.
    pub(super) const fn shown_after(self) -> Duration {
        match self {
            Obstacle::Isolated | Obstacle::Unheard | Obstacle::Firewalled => NEARBY,
            _ => Duration::ZERO,
        }
    }
}

/// Whether a side can be reached over IPv4, and over IPv6.
fn families(address: &Address) -> [bool; 2] {
    [SocketAddr::is_ipv4, SocketAddr::is_ipv6]
        .map(|is_of| address.places().any(|at| !at.ip().is_loopback() && is_of(&at)))
}

/// Whether everybody's packets reach this address.
fn is_open(address: &Address) -> bool {
    let nat = address.nat();
    nat.mapping == Mapping::Public || nat.filtering == Filtering::Independent
}

/// Whether the owner only knew addresses inside its network.
fn is_unmapped(address: &Address) -> bool {
    address.token.is_some() && address.reflexive.is_ipv4() && is_private(address.reflexive.ip())
}

/// Whether an address is in a network.
fn is_within(ip: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let shared = |a: u128, b: u128, width: u32| {
        let host = width.saturating_sub(u32::from(bits));
        a.checked_shr(host) == b.checked_shr(host)
    };
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => shared(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

/// The worst obstacle to a connection between these two addresses. `networks`: the networks of this computer,
/// each with an address and the length of its prefix.
pub(crate) fn obstacle(own: &Address, peer: &Address, networks: &[(IpAddr, u8)]) -> Option<Obstacle> {
    match (families(own), families(peer)) {
        // Both have IPv6, or both are on the same computer.
        ([_, true], [_, true]) | ([false, false], [false, false]) => return None,
        ([false, false], _) => return Some(Obstacle::WeAreOffline),
        (_, [false, false]) => return Some(Obstacle::PeerIsOffline),
        ([true, _], [true, _]) => {}
        (_, [_, true]) => return Some(Obstacle::OnlyPeerHasIpv6),
        ([_, true], _) => return Some(Obstacle::OnlyWeHaveIpv6),
    }
    let is_near = peer
        .places()
        .any(|at| networks.iter().any(|&network| is_within(at.ip(), network)));
    let behind = |address: &Address| address.token.is_some() && !is_private(address.reflexive.ip());
    if own.reflexive.ip() == peer.reflexive.ip() && behind(own) && behind(peer) {
        return Some(if is_near {
            Obstacle::Isolated
        } else {
            Obstacle::SameOutside
        });
    }
    let peer_is_unmapped = is_unmapped(peer) && !is_open(own);
    if peer_is_unmapped || is_unmapped(own) && !is_open(peer) {
        return Some(match (is_near, peer_is_unmapped) {
            (true, _) => Obstacle::Unheard,
            (false, true) => Obstacle::PeerIsUnmapped,
            (false, false) => Obstacle::WeAreUnmapped,
        });
    }
    peer.token.as_ref()?;
    let mappings = [own, peer].map(|side| side.nat().mapping);
    match outlook(own.nat(), peer.nat()) {
        Outlook::Hopeless if mappings == [Mapping::Dependent; 2] => Some(Obstacle::BothSymmetric),
        Outlook::Hopeless | Outlook::Doubtful if mappings.contains(&Mapping::Public) => {
            Some(Obstacle::Firewalled)
        }
        Outlook::Hopeless => Some(Obstacle::Symmetric),
        Outlook::Doubtful => Some(Obstacle::PerhapsSymmetric),
        Outlook::Good => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::address::NatClass;
    use crate::rendezvous::errand::Errand;

    /// Reads `front mapping candidates…`. The front is `-` if STUN found none.
    fn address(text: &str) -> Address {
        let mut words = text.split_whitespace();
        let front = words.next().unwrap().parse().ok();
        let mapping = match words.next().unwrap() {
            "public" => Mapping::Public,
            "kept" => Mapping::Independent,
            "symmetric" => Mapping::Dependent,
            _ => Mapping::Unknown,
        };
        let nat = NatClass {
            mapping,
            filtering: Filtering::Untested,
        };
        let candidates = words.map(|word| word.parse().unwrap()).collect();
        Address::own(Errand::Send, [7; 32], nat, [front, None, None, None], candidates).unwrap()
    }

    fn between(own: &str, peer: &str, network: &str) -> Option<Obstacle> {
        let (ip, bits) = network.split_once('/').unwrap();
        let networks = [(ip.parse().unwrap(), bits.parse().unwrap())];
        obstacle(&address(own), &address(peer), &networks)
    }

    const HOME: &str = "203.0.113.7:4300 kept 192.168.1.5:4300";
    const LAN: &str = "192.168.1.5/24";

    #[test]
    fn families_that_do_not_meet_are_known_at_the_paste() {
        let six = "- unknown [2001:db8::1]:4300";
        assert_eq!(between(HOME, six, LAN), Some(Obstacle::OnlyPeerHasIpv6));
        assert_eq!(
            between(six, HOME, "2001:db8::1/64"),
            Some(Obstacle::OnlyWeHaveIpv6)
        );
        let both = "203.0.113.7:4300 kept 192.168.1.5:4300 [2001:db8::2]:4300";
        assert_eq!(between(both, six, LAN), None);
        assert!(Obstacle::OnlyPeerHasIpv6.is_certain());
    }

    #[test]
    fn a_computer_without_any_network_is_named() {
        let nowhere = "- unknown 127.0.0.1:4300";
        assert_eq!(between(HOME, nowhere, LAN), Some(Obstacle::PeerIsOffline));
        assert_eq!(between(nowhere, HOME, LAN), Some(Obstacle::WeAreOffline));
        assert_eq!(between(nowhere, nowhere, LAN), None);
    }

    #[test]
    fn one_outside_address_and_other_networks_inside_are_told_at_once_and_an_isolated_one_later() {
        let guest = "203.0.113.7:4301 kept 192.168.179.20:4300";
        assert_eq!(between(HOME, guest, LAN), Some(Obstacle::SameOutside));
        let beside = "203.0.113.7:4301 kept 192.168.1.6:4300";
        assert_eq!(between(HOME, beside, LAN), Some(Obstacle::Isolated));
        assert!(Obstacle::SameOutside.shown_after().is_zero() && !Obstacle::Isolated.shown_after().is_zero());
    }

    #[test]
    fn a_peer_without_a_stun_answer_is_within_reach_only_nearby() {
        let unmapped = |ip: &str| format!("- unknown {ip}:4300");
        assert_eq!(
            between(HOME, &unmapped("10.0.0.7"), LAN),
            Some(Obstacle::PeerIsUnmapped)
        );
        let near = between(HOME, &unmapped("192.168.1.9"), LAN);
        assert_eq!(near, Some(Obstacle::Unheard));
        assert!(!Obstacle::Unheard.shown_after().is_zero());
        assert_eq!(
            between(
                "203.0.113.7:4300 public 203.0.113.7:4300",
                &unmapped("10.0.0.7"),
                "203.0.113.7/24"
            ),
            None,
            "it can send to us"
        );
        assert_eq!(
            between(&unmapped("10.0.0.7"), HOME, "10.0.0.7/8"),
            Some(Obstacle::WeAreUnmapped)
        );
    }

    #[test]
    fn ordinary_homes_have_nothing_between_them() {
        let other = "198.51.100.2:4300 kept 192.168.1.5:4300";
        assert_eq!(between(HOME, other, LAN), None);
        let symmetric = "198.51.100.2:4300 symmetric 10.0.0.2:4300";
        assert_eq!(between(HOME, symmetric, LAN), Some(Obstacle::PerhapsSymmetric));
        assert_eq!(
            between(symmetric, "198.51.100.9:1 symmetric 10.9.0.2:1", "10.0.0.2/24"),
            Some(Obstacle::BothSymmetric)
        );
        assert!(Obstacle::BothSymmetric.shown_after().is_zero());
    }

    #[test]
    fn a_firewall_before_a_public_address_is_named_only_if_nothing_comes() {
        let symmetric = "198.51.100.2:4300 symmetric 10.0.0.2:4300";
        let public = "203.0.113.9:4300 public 203.0.113.9:4300";
        assert_eq!(between(symmetric, public, LAN), Some(Obstacle::Firewalled));
        assert!(!Obstacle::Firewalled.shown_after().is_zero());
    }

    #[test]
    fn a_network_is_known_by_its_leading_bits() {
        assert!(is_within(
            "10.1.2.3".parse().unwrap(),
            ("10.9.9.9".parse().unwrap(), 8)
        ));
        assert!(is_within(
            "10.1.2.3".parse().unwrap(),
            ("11.9.9.9".parse().unwrap(), 0)
        ));
        assert!(!is_within(
            "10.1.2.3".parse().unwrap(),
            ("10.1.2.4".parse().unwrap(), 32)
        ));
    }
}
