//! Asks the router to forward a port: encodes and decodes the messages of PCP (RFC 6887), NAT-PMP (RFC 6886)
//! and UPnP IGD. A router's answer is hostile until checked. Sans-IO: `app::mapper` sends the messages.

pub(crate) mod pcp;
pub(crate) mod upnp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The requested lifetime of a mapping, in seconds. If the program ends without deleting it, the port stays
/// open no longer than this. PCP and UPnP routers may have a longer minimum and grant that instead.
pub(crate) const LEASE: u32 = 120;

/// The protocol that made a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// WANIPConnection or WANPPPConnection.
    Upnp,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Pcp => "PCP",
            Method::NatPmp => "NAT-PMP",
            Method::Upnp => "UPnP",
        })
    }
}

/// An outside port that leads to ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapped {
    /// The protocol that made it.
    pub(crate) method: Method,
    /// The outside address, as the router tells it.
    pub(crate) external: SocketAddr,
}

/// Whether a mapping is useful.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Worth {
    /// The peer can use it.
    #[error("the router forwards port {} to this computer ({})", .0.external.port(), .0.method)]
    Good(Mapped),
    /// The router's own outside address is a private one.
    #[error(
        "the router forwards a port ({}), but its outside address {} is private: a second NAT stands before it, and the port \
         is of no use to a peer outside", .0.method, .0.external.ip()
    )]
    DoubleNat(Mapped),
    /// Servers see another address than the router tells.
    #[error(
        "the router forwards a port ({}) at {}, but servers see another address: a second NAT stands before it, and the port \
         is of no use to a peer outside", .0.method, .0.external.ip()
    )]
    Elsewhere(Mapped),
}

impl Worth {
    pub(crate) const fn mapped(&self) -> &Mapped {
        let (Worth::Good(mapped) | Worth::DoubleNat(mapped) | Worth::Elsewhere(mapped)) = self;
        mapped
    }

    /// Judges `mapped`, if STUN servers see `seen`.
    pub(crate) fn of(mapped: Mapped, seen: Option<IpAddr>) -> Worth {
        let ip = mapped.external.ip();
        match seen {
            Some(seen) if seen == ip => Worth::Good(mapped),
            _ if !is_global(ip) => Worth::DoubleNat(mapped),
            Some(_) => Worth::Elsewhere(mapped),
            None => Worth::Good(mapped),
        }
    }
}

/// Whether an address can be one on the internet.
pub(super) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = u32::from(ip) & 0xffc0_0000 == u32::from(Ipv4Addr::new(100, 64, 0, 0));
            let local = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            !(local || shared || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_behind_a_second_nat_is_told_from_a_good_one() {
        let at = |external: &str| Mapped {
            method: Method::Pcp,
            external: external.parse().unwrap(),
        };
        let seen = Some("203.0.113.7".parse().unwrap());
        assert!(matches!(Worth::of(at("203.0.113.7:4300"), seen), Worth::Good(_)));
        assert!(matches!(Worth::of(at("203.0.113.7:4300"), None), Worth::Good(_)));
        for private in ["10.0.0.2:1", "100.64.1.1:1", "0.0.0.0:1", "192.168.0.1:1"] {
            assert!(
                matches!(Worth::of(at(private), seen), Worth::DoubleNat(_)),
                "{private}"
            );
            assert!(
                matches!(Worth::of(at(private), None), Worth::DoubleNat(_)),
                "{private}"
            );
        }
        assert!(matches!(
            Worth::of(at("198.51.100.1:1"), seen),
            Worth::Elsewhere(_)
        ));
    }
}
