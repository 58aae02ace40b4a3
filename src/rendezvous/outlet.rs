//! Which UDP packets leave a network.

use std::fmt;

/// Which UDP ports are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outlet {
    /// As far as is known, all ports are open.
    Open,
    /// Only these ports are open.
    Ports(Vec<u16>),
    /// All packets are answered with ICMP errors.
    Rejected,
    /// This computer's own firewall refuses all packets.
    Forbidden,
    /// No packet is answered.
    Dropped,
    /// The only server does not answer, which says little about the network.
    NoServer,
    /// No server's name could be resolved.
    NoNames,
}

impl Outlet {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Outlet::Rejected | Outlet::Forbidden | Outlet::Dropped)
    }

    /// The open ports, if not all are open.
    pub(crate) fn ports(&self) -> &[u16] {
        match self {
            Outlet::Ports(ports) => ports,
            _ => &[],
        }
    }

    /// Adds this port as open: somebody answered from it.
    pub(crate) fn and(self, port: u16) -> Outlet {
        let mut ports = match self {
            Outlet::Ports(ports) => ports,
            Outlet::Rejected | Outlet::Dropped => Vec::new(),
            other => return other,
        };
        ports.push(port);
        ports.sort_unstable();
        ports.dedup();
        Outlet::Ports(ports)
    }

    /// What the user can do about it.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Outlet::Open => "",
            Outlet::Ports(_) => {
                "the other side must be reachable at one of these ports: there, p2pcopy --localport with that number, and \
                 the port forwarded if a router stands before it; or use another network, such as a phone's hotspot"
            }
            Outlet::Forbidden => "allow p2pcopy in the firewall of this computer and start it again",
            Outlet::Rejected | Outlet::Dropped => {
                "only a computer on this same network can be reached; use another network, such as a phone's hotspot, or \
                 have UDP allowed"
            }
            Outlet::NoServer => {
                "only a computer on this same network can be reached; name another server with --stun, or leave it out"
            }
            Outlet::NoNames => "check that this computer is online, or name servers by their IP with --stun",
        }
    }
}

impl fmt::Display for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outlet::Open => f.write_str("UDP gets out"),
            Outlet::Ports(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(
                    f,
                    "this network lets UDP out only to certain ports ({} is open)",
                    ports.join(", ")
                )
            }
            Outlet::Rejected => f.write_str("UDP is blocked here: this network answers it with ICMP errors"),
            Outlet::Forbidden => {
                f.write_str("UDP is blocked here: a firewall on this computer forbids p2pcopy to send it")
            }
            Outlet::Dropped => {
                f.write_str("UDP is blocked here: no server answers, on whatever port it is asked")
            }
            Outlet::NoServer => f.write_str("the STUN server does not answer"),
            Outlet::NoNames => f.write_str("no STUN server's name could be looked up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_one_port_more_opens_it() {
        assert_eq!(Outlet::Dropped.and(123), Outlet::Ports(vec![123]));
        assert_eq!(Outlet::Ports(vec![443]).and(123), Outlet::Ports(vec![123, 443]));
        assert_eq!(Outlet::Open.and(123), Outlet::Open);
    }
}
