//! All that a check finds out, as facts, and the two sentences that follow from them.

use crate::rendezvous::address::{Filtering, Mapping, NatClass, PAIRS};
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::stun::hairpin::Hairpin;
use std::net::SocketAddr;

/// What this network is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Diagnosis {
    /// Addresses of this computer itself.
    pub(crate) local: Vec<SocketAddr>,
    /// The outside address of each socket.
    pub(crate) outside: [Option<SocketAddr>; PAIRS],
    /// That of the IPv6 socket.
    pub(crate) outside_ipv6: Option<SocketAddr>,
    /// STUN servers that answered, and all that were asked.
    pub(crate) servers: [usize; 2],
    /// How the NAT maps and filters.
    pub(crate) nat: NatClass,
    /// Whether it keeps port numbers, which is another matter.
    pub(crate) preservation: Preservation,
    /// Whether it takes back what is sent to itself.
    pub(crate) hairpin: Hairpin,
    /// What of UDP gets out.
    pub(crate) outlet: Outlet,
    /// What becomes of a request for a port.
    pub(crate) forwarding: Forwarding,
    /// The largest IP packet that gets out, of those that were tried, bytes.
    pub(crate) packet: Option<u16>,
    /// What time it is.
    pub(crate) clock: WallClock,
}

/// Whether a port is the same outside as here (RFC 4787, section 4.2.1). A NAT that keeps them may still map by
/// destination, and one that does not may be the best of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preservation {
    /// All ports are.
    Kept,
    /// Some are: as long as nobody else has them.
    Partly,
    /// None is.
    Changed,
    /// There is no NAT, or no answer.
    Unknown,
}

impl Preservation {
    /// By the ports of the sockets and what servers see.
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

/// Whether a NAT is known to stand before the first socket, which servers see there.
pub(crate) fn has_nat(outside: Option<SocketAddr>, mapping: Mapping) -> bool {
    outside.is_some() && mapping != Mapping::Public
}

/// What the router says to a request for a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forwarding {
    /// It was not asked.
    NotAsked,
    /// None answers by PCP, NAT-PMP or UPnP, or what answers refuses.
    Refused,
    /// It forwards one, which is worth this.
    Done(Worth),
}

/// What there is of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ipv6 {
    /// A server answered by it, and saw this address.
    Works(SocketAddr),
    /// This computer has it, but no server answered by it.
    Unanswered,
    /// None.
    Absent,
}

impl Diagnosis {
    /// What there is of IPv6.
    pub(crate) fn ipv6(&self) -> Ipv6 {
        match self.outside_ipv6 {
            Some(outside) => Ipv6::Works(outside),
            None if self.local.iter().any(SocketAddr::is_ipv6) => Ipv6::Unanswered,
            None => Ipv6::Absent,
        }
    }

    /// One sentence about this network that helps whoever wants to connect with it.
    pub(crate) fn for_a_peer(&self) -> String {
        let forwarded = matches!(self.forwarding, Forwarding::Done(Worth::Good(_)));
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
            (_, Mapping::Public) => "I have a public address; any network that lets UDP out will do for you.",
            _ if forwarded => {
                "my router forwards a port to me; any network that lets UDP out will do for you."
            }
            (_, Mapping::Independent) => {
                "I am behind an ordinary router; any network that lets UDP out will do for you, and with a symmetric NAT it may take half a minute."
            }
            (_, Mapping::Dependent) => {
                "I am behind a symmetric NAT; any network but one with another symmetric NAT will do for you, and a public \
                 address or a forwarded port is the quickest."
            }
            (_, Mapping::Unknown) => {
                "my outside address is not known; be on the same network, or have IPv6 as I have."
            }
        };
        sentence.to_owned()
    }

    /// What all that means for the user.
    pub(crate) const fn means(&self) -> &'static str {
        match (self.nat.mapping, self.nat.filtering) {
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
                 symmetric NAT cannot."
            }
            (Mapping::Unknown, _) => {
                "not known; too few STUN servers answered. UDP may be blocked here; peers on your own network can connect."
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::time::Time;
    use crate::rendezvous::portmap::{Mapped, Method};

    /// A good network behind an ordinary router.
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
