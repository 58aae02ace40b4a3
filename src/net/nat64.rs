//! Reaches IPv4 peers and servers from a machine that has only IPv6, through a translator (NAT64, RFC 6146).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The 96-bit prefix that a translator uses for IPv4 addresses (RFC 6052).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Nat64([u8; 12]);

/// The IPv4 addresses of `ipv4only.arpa`, which the name server of such a network translates (RFC 7050,
/// section 8.2).
const WELL_KNOWN_IPV4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

impl Nat64 {
    /// `64:ff9b::/96` (RFC 6052, section 2.1).
    pub(crate) const WELL_KNOWN: Nat64 = Nat64([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// The prefix in a translated address of `ipv4only.arpa`.
    pub(crate) fn discovered(address: IpAddr) -> Option<Nat64> {
        let IpAddr::V6(ip) = address else { return None };
        let (prefix, ipv4) = split(ip);
        WELL_KNOWN_IPV4.contains(&ipv4).then_some(Nat64(prefix))
    }

    /// The IPv6 address of an IPv4 address.
    pub(super) fn outward(self, to: SocketAddr) -> SocketAddr {
        let IpAddr::V4(ip) = to.ip() else { return to };
        let mut octets = [0; 16];
        octets[..12].copy_from_slice(&self.0);
        octets[12..].copy_from_slice(&ip.octets());
        SocketAddr::new(Ipv6Addr::from(octets).into(), to.port())
    }

    /// The IPv4 address of a translated IPv6 address.
    pub(super) fn inward(self, from: SocketAddr) -> SocketAddr {
        let IpAddr::V6(ip) = from.ip() else { return from };
        match split(ip) {
            (prefix, ipv4) if prefix == self.0 => SocketAddr::new(ipv4.into(), from.port()),
            _ => from,
        }
    }
}

fn split(ip: Ipv6Addr) -> ([u8; 12], Ipv4Addr) {
    let octets = ip.octets();
    let (mut prefix, mut ipv4) = ([0; 12], [0; 4]);
    prefix.copy_from_slice(&octets[..12]);
    ipv4.copy_from_slice(&octets[12..]);
    (prefix, ipv4.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_go_out_under_the_prefix_and_come_back_as_they_were() {
        let discovered = Nat64::discovered("2001:db8:1::192.0.0.170".parse().unwrap()).unwrap();
        let peer: SocketAddr = "203.0.113.7:4300".parse().unwrap();
        let shown = discovered.outward(peer);
        assert_eq!(shown, "[2001:db8:1::203.0.113.7]:4300".parse().unwrap());
        assert_eq!(discovered.inward(shown), peer);
        let native: SocketAddr = "[2001:db8::7]:4300".parse().unwrap();
        assert_eq!(
            (discovered.inward(native), discovered.outward(native)),
            (native, native)
        );
        assert_eq!(
            Nat64::WELL_KNOWN.outward(peer),
            "[64:ff9b::203.0.113.7]:4300".parse().unwrap()
        );
    }

    #[test]
    fn an_address_that_is_no_translation_shows_no_prefix() {
        assert_eq!(Nat64::discovered("2001:db8::1".parse().unwrap()), None);
        assert_eq!(Nat64::discovered("192.0.0.170".parse().unwrap()), None);
    }
}
