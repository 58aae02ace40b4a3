//! The addresses of this machine, ordered by how likely a peer can reach them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use if_addrs::{IfAddr, Interface};

use super::sys;

/// The most addresses to tell a peer: as many as an address carries.
const MOST: usize = 8;
/// The most interfaces on which to look for a link-local peer.
const MOST_ZONES: usize = 4;

/// Destinations that only a default route leads to. No packet is ever sent there: connecting a datagram
/// socket makes the system choose a route and a source address. (These are the first addresses of the
/// networks of two root name servers.)
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

/// Prefixes of the names of interfaces that lead to no separate network: bridges and virtual cables of
/// containers and virtual machines, and tunnels.
const VIRTUAL: [&str; 18] = [
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "vmnet",
    "vboxnet",
    "vEthernet",
    "cni",
    "flannel",
    "cali",
    "podman",
    "lxc",
    "lxdbr",
    "tun",
    "tap",
    "wg",
    "utun",
];

/// What this machine has: for its address, and for punching.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Local {
    /// Where a peer may reach this machine without a NAT, the likeliest first. Never empty.
    pub(crate) candidates: Vec<SocketAddr>,
    /// The networks of those candidates: an address and the length of the prefix.
    pub(crate) networks: Vec<(IpAddr, u8)>,
    /// Indices of the interfaces on which a link-local peer may be, the likeliest first.
    pub(crate) zones: Vec<u32>,
}

/// How likely a peer can reach an address; the first variant is the likeliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Standing {
    /// On an interface that the default route leads through.
    Outward,
    /// On another network.
    Network,
    /// An IPv6 address that will not stay: temporary (RFC 8981) or deprecated.
    Passing,
    /// Valid on one link only.
    LinkLocal,
    /// See [`VIRTUAL`].
    Virtual,
    /// On an interface that is switched off or has no cable.
    Down,
}

/// An address of an interface, as the ranking sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    ip: IpAddr,
    prefix: u8,
    name: String,
    index: u32,
    running: bool,
    point_to_point: bool,
    passing: bool,
}

impl Found {
    fn of(interface: &Interface, passing: &[Ipv6Addr]) -> Self {
        let (ip, prefix) = match &interface.addr {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        };
        Found {
            ip,
            prefix,
            name: interface.name.clone(),
            index: interface.index.unwrap_or(0),
            running: interface.is_oper_up(),
            point_to_point: interface.is_p2p(),
            passing: matches!(ip, IpAddr::V6(ip) if passing.contains(&ip)),
        }
    }

    /// Addresses from which the system sends, if it does not name the interface.
    fn untold(ip: IpAddr) -> Self {
        Found {
            ip,
            prefix: if ip.is_ipv4() { 32 } else { 128 },
            name: String::new(),
            index: 0,
            running: true,
            point_to_point: false,
            passing: false,
        }
    }

    fn is_link_local(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    fn is_virtual(&self) -> bool {
        self.point_to_point || VIRTUAL.iter().any(|lead| self.name.starts_with(lead))
    }

    /// `outward`: the indices of the interfaces that the default routes lead through.
    fn standing(&self, outward: &[u32]) -> Standing {
        let is_outward = outward.contains(&self.index);
        match () {
            () if !self.running => Standing::Down,
            () if self.is_virtual() && !is_outward => Standing::Virtual,
            () if self.is_link_local() => Standing::LinkLocal,
            () if self.passing => Standing::Passing,
            // A unique local address is not reachable from outside its site, even on the interface of the
            // default route.
            () if is_outward && !self.is_unique_local() => Standing::Outward,
            () => Standing::Network,
        }
    }

    fn is_unique_local(&self) -> bool {
        matches!(self.ip, IpAddr::V6(ip) if ip.is_unique_local())
    }
}

/// Puts addresses in the order in which to tell them. `sources`: the source addresses of the default routes
/// of both IP versions.
fn ranked(mut found: Vec<Found>, sources: &[IpAddr]) -> Vec<Found> {
    let outward: Vec<u32> = found
        .iter()
        .filter(|f| sources.contains(&f.ip))
        .map(|f| f.index)
        .collect();
    found.sort_by_key(|one| {
        (
            one.standing(&outward),
            !sources.contains(&one.ip),
            one.is_unique_local(),
        )
    });
    let best = found.first().map(|one| one.standing(&outward));
    let mut told: Vec<Found> = Vec::new();
    for one in found {
        // If an address appears twice, the better rank counts.
        let is_known = told.iter().any(|other| other.ip == one.ip);
        // Every interface has a link-local IPv6 address. It is useful only if there is nothing better.
        let is_spare = one.ip.is_ipv6() && one.is_link_local() && Some(one.standing(&outward)) > best;
        if !is_known && !is_spare {
            told.push(one);
        }
    }
    // The system sends from the `sources`, whatever their rank. The peer's firewall admits only addresses to
    // which the peer has sent, so the peer must know them.
    let beyond = told.split_off(told.len().min(MOST));
    for source in beyond.into_iter().filter(|one| sources.contains(&one.ip)) {
        if let Some(last) = told.iter_mut().rev().find(|one| !sources.contains(&one.ip)) {
            *last = source;
        }
    }
    told
}

/// The source address towards the internet, for each IP version that has a route.
fn sources() -> Vec<IpAddr> {
    OUTSIDE.into_iter().filter_map(source_towards).collect()
}

/// The source address towards the internet over IPv4.
pub(super) fn ipv4_source() -> Option<Ipv4Addr> {
    sources().into_iter().find_map(|source| match source {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

/// The unspecified address of the same IP version.
pub(super) const fn unspecified(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The source address that the system uses towards another address.
#[expect(
    clippy::disallowed_methods,
    reason = "connecting a datagram socket asks for a route and sends nothing"
)]
pub(super) fn source_towards(to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((unspecified(to), 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The addresses of this machine, with the ports of its sockets. Loopback only if there is nothing else.
pub(crate) fn local(ipv4: u16, ipv6: Option<u16>) -> Local {
    let passing = sys::passing_addresses();
    let found: Vec<Found> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .filter(|interface| !interface.is_loopback())
        .map(|interface| Found::of(interface, &passing))
        .collect();
    chosen(found, &sources(), ipv4, ipv6)
}

/// Whether this machine has an IPv6 route to the internet and no IPv4 address.
pub(crate) fn has_ipv6_alone() -> bool {
    let is_ipv4 = |interface: &Interface| {
        matches!(interface.ip(), IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local())
            && interface.is_oper_up()
    };
    let sources = sources();
    sources.iter().any(IpAddr::is_ipv6)
        && !sources.iter().any(IpAddr::is_ipv4)
        && !if_addrs::get_if_addrs().unwrap_or_default().iter().any(is_ipv4)
}

fn chosen(mut found: Vec<Found>, sources: &[IpAddr], ipv4: u16, ipv6: Option<u16>) -> Local {
    // A sandbox lists no interface at all, and neither does Wine with some IPv6 routes.
    for &source in sources {
        if !source.is_loopback() && found.iter().all(|one| one.ip != source) {
            found.push(Found::untold(source));
        }
    }
    let mut zones: Vec<(bool, u32)> = found
        .iter()
        .filter(|f| f.ip.is_ipv6() && f.is_link_local() && f.running)
        .map(|f| (f.is_virtual(), f.index))
        .collect();
    zones.sort_unstable();
    let mut candidates = Vec::new();
    let mut networks = Vec::new();
    let found = found
        .into_iter()
        .filter(|f| f.ip.is_ipv4() || ipv6.is_some())
        .collect();
    for one in ranked(found, sources) {
        networks.push((one.ip, one.prefix));
        candidates.push(match (one.ip, ipv6) {
            (IpAddr::V6(ip), Some(port)) => SocketAddrV6::new(ip, port, 0, 0).into(),
            (ip, _) => SocketAddr::new(ip, ipv4),
        });
    }
    if candidates.is_empty() {
        candidates.push(SocketAddr::from((Ipv4Addr::LOCALHOST, ipv4)));
    }
    Local {
        candidates,
        networks,
        zones: zones.into_iter().map(|(_, zone)| zone).take(MOST_ZONES).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lines of `name ip/prefix [down] [passing]`. Equal names get equal indices.
    fn machine(lines: &str) -> Vec<Found> {
        let mut names: Vec<String> = Vec::new();
        lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (ip, prefix) = words[1].split_once('/').unwrap();
                let place = names.iter().position(|name| name == words[0]);
                let index = place.unwrap_or_else(|| {
                    names.push(words[0].into());
                    names.len() - 1
                });
                Found {
                    ip: ip.parse().unwrap(),
                    prefix: prefix.parse().unwrap(),
                    name: words[0].into(),
                    index: index as u32 + 1,
                    running: !words.contains(&"down"),
                    point_to_point: false,
                    passing: words.contains(&"passing"),
                }
            })
            .collect()
    }

    fn told(lines: &str, sources: &[&str]) -> Vec<String> {
        let sources: Vec<IpAddr> = sources.iter().map(|s| s.parse().unwrap()).collect();
        let local = chosen(machine(lines), &sources, 4300, Some(4300));
        local.candidates.iter().map(|c| c.ip().to_string()).collect()
    }

    #[test]
    fn what_the_system_sends_from_is_told_though_no_interface_is() {
        assert_eq!(
            told("", &["192.168.1.10", "2001:db8::5"]),
            ["192.168.1.10", "2001:db8::5"]
        );
        assert_eq!(
            told("eth1 10.1.0.9/24", &["192.168.1.10"]),
            ["192.168.1.10", "10.1.0.9"]
        );
        assert_eq!(told("", &["127.0.0.1"]), ["127.0.0.1"]);
    }

    #[test]
    fn the_network_comes_before_bridges_of_lower_index() {
        let told = told(
            "docker0 172.17.0.1/16 down
             br-4f1 172.18.0.1/16
             veth1 fe80::1/64
             wg0 10.8.0.2/24
             eth1 10.1.0.9/24
             eth0 192.168.1.10/24",
            &["192.168.1.10"],
        );
        assert_eq!(
            told,
            ["192.168.1.10", "10.1.0.9", "172.18.0.1", "10.8.0.2", "172.17.0.1"]
        );
    }

    #[test]
    fn a_tunnel_that_routes_outward_is_told_first_and_the_lan_after_it() {
        let told = told("tun0 10.8.0.2/24\neth0 192.168.1.10/24", &["10.8.0.2"]);
        assert_eq!(told, ["10.8.0.2", "192.168.1.10"]);
    }

    #[test]
    fn stable_global_addresses_come_before_local_and_passing_ones() {
        let told = told(
            "eth0 fd00::2/64
             eth0 fd00::1/64
             eth0 2001:db8::aaaa/64 passing
             eth0 2001:db8::dead/64 passing
             eth0 2001:db8::1/64
             eth0 2001:db8::2/64
             eth0 fe80::1/64
             eth0 192.168.1.10/24",
            &["192.168.1.10", "2001:db8::aaaa"],
        );
        assert_eq!(
            told,
            [
                "192.168.1.10",
                "2001:db8::1",
                "2001:db8::2",
                "fd00::2",
                "fd00::1",
                "2001:db8::aaaa",
                "2001:db8::dead"
            ]
        );
    }

    #[test]
    fn link_local_addresses_are_told_where_nothing_better_is() {
        let alone = told(
            "eth0 fe80::1/64\neth0 169.254.7.7/16\ndocker0 172.17.0.1/16 down",
            &[],
        );
        assert_eq!(alone, ["fe80::1", "169.254.7.7", "172.17.0.1"]);
        let beside = told("eth0 fe80::1/64\neth0 169.254.7.7/16\neth1 10.0.0.2/8", &[]);
        assert_eq!(beside, ["10.0.0.2", "169.254.7.7"]);
    }

    #[test]
    fn an_address_that_two_interfaces_have_is_told_once_and_no_more_than_fit() {
        let twice = told("eth1 10.0.0.2/8 down\neth0 10.0.0.2/8", &["10.0.0.2"]);
        assert_eq!(twice, ["10.0.0.2"]);
        let lines: Vec<String> = (0..20).map(|i| format!("eth{i} 10.{i}.0.2/16")).collect();
        let many = told(&lines.join("\n"), &["10.19.0.2"]);
        assert_eq!((many.len(), many[0].as_str()), (MOST, "10.19.0.2"));
    }

    #[test]
    fn what_the_system_sends_from_is_told_however_many_others_rank_before_it() {
        let mut lines: Vec<String> = (0..20).map(|i| format!("eth{i} 10.{i}.0.2/16")).collect();
        lines.push("eth0 2001:db8::1/64".into());
        lines.push("eth0 2001:db8::dead/64 passing".into());
        let told = told(&lines.join("\n"), &["10.0.0.2", "2001:db8::dead"]);
        assert_eq!(told.len(), MOST);
        assert_eq!((told[0].as_str(), told[1].as_str()), ("10.0.0.2", "2001:db8::1"));
        assert_eq!(told.last().map(String::as_str), Some("2001:db8::dead"));
    }

    #[test]
    fn a_link_local_peer_is_sought_on_real_cables_first() {
        let found = machine("docker0 fe80::1/64\neth0 fe80::2/64 down\neth1 fe80::3/64");
        assert_eq!(chosen(found, &[], 4300, Some(4300)).zones, [3, 1]);
    }

    #[test]
    fn without_any_network_there_is_loopback() {
        assert_eq!(told("", &[]), ["127.0.0.1"]);
        assert_eq!(
            chosen(machine("eth0 fe80::1/64"), &[], 4300, None).candidates[0].ip(),
            Ipv4Addr::LOCALHOST
        );
    }
}
