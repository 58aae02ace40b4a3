//! Everything a check finds out, as facts, and the two sentences that follow from them.

use std::net::SocketAddr;

use crate::rendezvous::address::{Filtering, Mapping, NatClass, PAIRS};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::stun::hairpin::Hairpin;

/// The facts about this network.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Diagnosis {
    /// The addresses of this computer itself.
    pub(crate) local: Vec<SocketAddr>,
    /// The outside address of each socket.
    pub(crate) outside: [Option<SocketAddr>; PAIRS],
    /// The outside address of the IPv6 socket.
    pub(crate) outside_ipv6: Option<SocketAddr>,
    /// The number of STUN servers that answered, and the number that were asked.
    pub(crate) servers: [usize; 2],
    /// How the NAT maps and filters.
    pub(crate) nat: NatClass,
    /// Whether the NAT preserves port numbers. This does not depend on how it maps.
    pub(crate) preservation: Preservation,
    /// Whether the NAT delivers packets that are sent to its own outside address.
    pub(crate) hairpin: Hairpin,
    /// Which UDP packets leave this network.
    pub(crate) outlet: Outlet,
    /// What the router answers to a request for a port.
    pub(crate) forwarding: Forwarding,
    /// The largest tried IP packet that leaves this network, in bytes.
    pub(crate) packet: Option<u16>,
    pub(crate) clock: WallClock,
}

/// Whether the outside port equals the local port (RFC 4787, section 4.2.1). A NAT that preserves ports may
/// still map by destination, and a NAT that changes them may be of the easiest kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preservation {
    /// All ports are preserved.
    Kept,
    /// Some ports are preserved: those that nobody else behind the NAT uses.
    Partly,
    /// No port is preserved.
    Changed,
    /// There is no NAT, or no answer.
    Unknown,
}

impl Preservation {
    /// Compares the ports of the sockets with those that servers see.
    pub(super) fn of(ports: &[u16], outside: &[Option<SocketAddr>]) -> Preservation {
        let seen = || {
            ports
                .iter()
                .zip(outside)
                .filter_map(|(port, at)| Some((*port, at.as_ref()?.port())))
        };
        match (
            seen().filter(|(own, outside)| own == outside).count(),
            seen().count(),
        ) {
            (_, 0) => Preservation::Unknown,
            (kept, all) if kept == all => Preservation::Kept,
            (0, _) => Preservation::Changed,
            _ => Preservation::Partly,
        }
    }
}

/// Whether a NAT stands before the first socket. `outside`: where servers see that socket.
pub(crate) fn has_nat(outside: Option<SocketAddr>, mapping: Mapping) -> bool {
    outside.is_some() && mapping != Mapping::Public
}

/// What the router says to a request for a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forwarding {
    NotAsked,
    /// No router answers PCP, NAT-PMP or UPnP, or the one that answers refuses.
    Refused,
    /// The router forwards a port, which is of this use.
    Done(Worth),
}

/// Whether IPv6 works here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ipv6 {
    /// A server answered over IPv6 and saw this address.
    Works(SocketAddr),
    /// This computer has an IPv6 address, but no server answered over IPv6.
    Unanswered,
    /// This computer has no IPv6 address.
    Absent,
}

impl Diagnosis {
    pub(crate) fn ipv6(&self) -> Ipv6 {
        match self.outside_ipv6 {
            Some(outside) => Ipv6::Works(outside),
            None if self.local.iter().any(SocketAddr::is_ipv6) => Ipv6::Unanswered,
            None => Ipv6::Absent,
        }
    }

    /// One sentence about this network for a peer that wants to connect to it.
    pub(crate) fn for_a_peer(&self) -> String {
        let sentence = match (&self.outlet, self.nat.mapping) {
            (closed, _) if closed.is_closed() => {
                "my network lets no UDP out, so only a computer on the same network reaches me."
            }
            (Outlet::Ports(ports), _) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                return format!(
                    "I can reach you only if you are at UDP port {}.",
                    ports.join(" or ")
                );
            }
            (_, Mapping::Public) if self.nat.filtering == Filtering::AddressAndPort => {
                "I have a public address behind a firewall; any network that lets UDP out will do for you, and with a symmetric \
                 NAT it may take half a minute."
            }
            (_, Mapping::Public) => "I have a public address; any network that lets UDP out will do for you.",
            _ if self.is_forwarded() => {
                "my router forwards a port to me; any network that lets UDP out will do for you."
            }
            (_, Mapping::Independent) => {
                "I am behind an ordinary router; any network that lets UDP out will do for you, and with a symmetric NAT it may take half a minute."
            }
            (_, Mapping::Dependent) => {
                "I am behind a symmetric NAT; any network but one with another symmetric NAT will do for you, and a public \
                 address or a forwarded port is the quickest."
            }
            (_, Mapping::Unknown) if matches!(self.ipv6(), Ipv6::Works(_)) => {
                "my outside address is known for IPv6 only; have IPv6 as well, or be on the same network."
            }
            (_, Mapping::Unknown) => "my outside address is not known; be on the same network.",
        };
        sentence.to_owned()
    }

    /// Whether the router forwards a port that a peer outside can use.
    fn is_forwarded(&self) -> bool {
        matches!(self.forwarding, Forwarding::Done(Worth::Good(_)))
    }

    /// What the facts mean for the user.
    pub(crate) fn means(&self) -> &'static str {
        match (self.nat.mapping, self.nat.filtering) {
            _ if self.outlet.is_closed() => {
                "bad; no UDP gets out, so only a computer on your own network can connect."
            }
            _ if matches!(self.outlet, Outlet::Ports(_)) => {
                "poor; only a peer that is reachable at one of the open ports can connect."
            }
            (Mapping::Independent | Mapping::Dependent, _) if self.is_forwarded() => {
                "good; your router forwards a port, so any peer that can send UDP reaches you."
            }
            (Mapping::Public, Filtering::AddressAndPort) => {
                "good; there is no NAT, but a firewall lets in only answers. Every peer can connect, and one behind a symmetric \
                 NAT mostly within half a minute; at once if you open a UDP port and pass it with --localport."
            }
            (Mapping::Public, _) => "no NAT in the way; any peer that can send UDP reaches you.",
            (Mapping::Independent, Filtering::Independent | Filtering::Address) => {
                "good; even a peer behind a symmetric NAT can connect."
            }
            (Mapping::Independent, _) => {
                "good; every peer can connect, and one behind a symmetric NAT (some mobile and office networks) mostly within half a minute."
            }
            (Mapping::Dependent, _) => {
                "fair; your NAT is symmetric. A peer without NAT, or with one that does not filter by port, can connect at once; \
                 one behind an ordinary router mostly within half a minute, as ports are guessed; one behind another \
                 symmetric NAT only if both meet at a server (--server)."
            }
            (Mapping::Unknown, _) => {
                "not known; too few STUN servers answered. Peers on your own network can connect."
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::time::Time;
    use crate::rendezvous::portmap::{Mapped, Method};

    /// A network that is easy to reach, behind an ordinary router.
    pub(crate) fn ordinary() -> Diagnosis {
        let at = |port: u16| Some(SocketAddr::from(([203, 0, 113, 7], port)));
        Diagnosis {
            local: vec![SocketAddr::from(([192, 168, 1, 5], 4300))],
            outside: [at(4300), at(4301), at(50_000), None],
            outside_ipv6: None,
            servers: [2, 3],
            nat: NatClass {
                mapping: Mapping::Independent,
                filtering: Filtering::AddressAndPort,
            },
            preservation: Preservation::Partly,
            hairpin: Hairpin::Fails,
            outlet: Outlet::Open,
            forwarding: Forwarding::Refused,
            packet: Some(1492),
            clock: WallClock::system(1, Time::ZERO),
        }
    }

    fn forwarded() -> Forwarding {
        Forwarding::Done(Worth::Good(Mapped {
            method: Method::Pcp,
            external: SocketAddr::from(([203, 0, 113, 7], 4300)),
        }))
    }

    #[test]
    fn the_sentence_for_a_peer_names_what_stands_in_the_way() {
        let told = |mapping, forwarding, outlet| {
            let filtering = Filtering::Untested;
            let nat = NatClass { mapping, filtering };
            let found = Diagnosis {
                nat,
                forwarding,
                outlet,
                ..ordinary()
            };
            found.for_a_peer()
        };
        let refused = Forwarding::Refused;
        assert!(told(Mapping::Dependent, refused, Outlet::Open).contains("symmetric NAT"));
        assert!(told(Mapping::Dependent, forwarded(), Outlet::Open).contains("forwards a port"));
        assert!(told(Mapping::Independent, forwarded(), Outlet::Dropped).contains("no UDP out"));
        assert!(told(Mapping::Unknown, refused, Outlet::Ports(vec![53, 443])).contains("port 53 or 443"));
        assert!(
            !told(Mapping::Unknown, refused, Outlet::Open).contains("IPv6"),
            "it has none"
        );
    }

    #[test]
    fn what_it_means_follows_from_what_gets_out_and_what_is_forwarded_before_the_kind_of_nat() {
        let nat = NatClass {
            mapping: Mapping::Dependent,
            filtering: Filtering::AddressAndPort,
        };
        let found = |forwarding| Diagnosis {
            nat,
            forwarding,
            ..ordinary()
        };
        assert!(found(forwarded()).means().starts_with("good"));
        assert!(found(Forwarding::Refused).means().starts_with("fair"));
        let only = |outlet| Diagnosis {
            outlet,
            ..found(forwarded())
        };
        assert!(only(Outlet::Ports(vec![443])).means().starts_with("poor"));
        assert!(only(Outlet::Dropped).means().starts_with("bad"));
    }

    #[test]
    fn whether_ports_are_kept_is_told_apart_from_how_they_are_mapped() {
        let at = |port: u16| Some(SocketAddr::from(([203, 0, 113, 7], port)));
        let of = |outside: [Option<SocketAddr>; 2]| Preservation::of(&[1000, 1001], &outside);
        assert_eq!(of([at(1000), at(1001)]), Preservation::Kept);
        assert_eq!(of([at(1000), None]), Preservation::Kept);
        assert_eq!(of([at(1000), at(9)]), Preservation::Partly);
        assert_eq!(of([at(8), at(9)]), Preservation::Changed);
        assert_eq!(of([None, None]), Preservation::Unknown);
    }
}
