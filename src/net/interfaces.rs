//! The addresses this machine has itself.

use std::net::{IpAddr, SocketAddr};

/// Most addresses of each family worth telling a peer.
const MOST: usize = 2;

/// Addresses a peer on the same network, or with IPv6, may reach this machine at: private IPv4 ones on `ipv4`,
/// global and unique local IPv6 ones on `ipv6`. Loopback only where there is nothing else.
pub(crate) fn local_candidates(ipv4: u16, ipv6: Option<u16>) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let usable: Vec<IpAddr> = interfaces
        .iter()
        .filter(|i| !i.is_loopback())
        .map(|i| i.ip())
        .collect();
    let mut found: Vec<SocketAddr> = Vec::new();
    let v4 = usable
        .iter()
        .filter(|ip| matches!(ip, IpAddr::V4(a) if !a.is_link_local()));
    found.extend(v4.take(MOST).map(|ip| SocketAddr::new(*ip, ipv4)));
    if let Some(port) = ipv6 {
        // Link-local addresses need a zone, which means nothing on the other machine.
        let v6 = usable
            .iter()
            .filter(|ip| matches!(ip, IpAddr::V6(a) if a.segments()[0] & 0xffc0 != 0xfe80));
        found.extend(v6.take(MOST).map(|ip| SocketAddr::new(*ip, port)));
    }
    if found.is_empty() {
        found.push(SocketAddr::from(([127, 0, 0, 1], ipv4)));
    }
    found
}
