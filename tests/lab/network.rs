//! A network in namespaces: two homes, the routers between them, and the servers of the internet.
//!
//! ```text
//! a - na - r1 - r2 - ... - r8 ~~link~~ nb - b         (without a NAT, the host stands where its router would)
//!                     |
//!                    srv: STUN 192.0.2.1 and .2, NTP .3 (chrony), .4 and .5 (clocks set apart, for A and B)
//! ```
//!
//! Both homes use 192.168.1.0/24, as real ones do. Namespace names carry the process identifier, so that runs do not
//! disturb each other and a later run removes what a killed one left.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::link::{Link, LinkPlan};
use super::nat::Nat;
use super::services::{Forwarder, Services};
use super::shell::{command, command_in, inside, must};
use super::sweep::{PREFIX, kill_all, remove, sweep_once};

/// Routers between the two NATs: as many as a short real path has, so that low-TTL packets die on the way.
pub(crate) const HOPS: u8 = 8;
/// The distance between the homes, one way, unless a test says otherwise.
const DISTANCE: Duration = Duration::from_millis(15);

/// One of the two homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

/// Where the two hosts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Each in its own home.
    Apart,
    /// Both in A's home, behind A's router, which does not hairpin.
    OneLan,
    /// Both programs on one host in A's home.
    OneHost,
}

/// What network to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) a: Nat,
    pub(crate) b: Nat,
    pub(crate) place: Place,
    /// Routers between the two homes.
    pub(crate) hops: u8,
    pub(crate) link: LinkPlan,
    /// How far each side's own NTP server is off, in milliseconds (see [`Network::ntp`]).
    pub(crate) clock_offset_ms: [i64; 2],
}

impl Plan {
    /// Two homes 15 ms apart.
    pub(crate) fn new(a: Nat, b: Nat) -> Self {
        Plan {
            a,
            b,
            place: Place::Apart,
            hops: HOPS,
            link: LinkPlan::distance(DISTANCE),
            clock_offset_ms: [0, 0],
        }
    }
}

/// A running network; everything of it goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    plan: Plan,
    prefix: String,
    namespaces: Vec<String>,
    /// Dropped before the namespaces go: its devices live in them.
    link: Option<Link>,
    services: Option<Services>,
    forwarders: Vec<Forwarder>,
}

impl Network {
    /// Builds the network and waits until its servers answer.
    pub(crate) fn build(plan: Plan) -> Network {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep_once();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        let mut network = Network {
            plan,
            prefix,
            namespaces: Vec::new(),
            link: None,
            services: None,
            forwarders: Vec::new(),
        };
        network.lay_out();
        network.forwarders = network.forwarders();
        network.services = Some(Services::start(&network.name("srv"), plan.clock_offset_ms));
        network
    }

    /// The namespace a side's program runs in.
    pub(crate) fn host(&self, side: Side) -> String {
        match (side, self.plan.place) {
            (Side::A, _) | (Side::B, Place::OneHost) => self.name("a"),
            (Side::B, Place::Apart | Place::OneLan) => self.name("b"),
        }
    }

    /// The namespace of the device that holds a side's public address: its router, or the host itself.
    pub(crate) fn edge(&self, side: Side) -> String {
        match (side, self.plan.place, self.nat(side)) {
            (Side::A, _, Nat::Public) => self.name("a"),
            (Side::B, Place::Apart, Nat::Public) => self.name("b"),
            (Side::B, Place::Apart, _) => self.name("nb"),
            _ => self.name("na"),
        }
    }

    /// A side's public address.
    pub(crate) fn public_address(&self, side: Side) -> &'static str {
        match (side, self.plan.place) {
            (Side::B, Place::Apart) => "203.0.113.2",
            _ => "198.51.100.2",
        }
    }

    /// The address of a side's host itself, behind its router if it has one.
    pub(crate) fn host_address(&self, side: Side) -> &'static str {
        match (side, self.plan.place, self.nat(side)) {
            (Side::A, _, Nat::Public) | (Side::B, Place::Apart, Nat::Public) => self.public_address(side),
            (Side::B, Place::OneHost, _) => self.host_address(Side::A),
            _ => Self::home_address(side),
        }
    }

    /// Kills whatever runs on a side's host.
    pub(crate) fn clear(&self, side: Side) {
        kill_all(&[self.host(side)]);
    }

    /// The played link in front of B's home; only networks with two homes have one.
    pub(crate) fn link(&self) -> &Link {
        self.link.as_ref().expect("two homes have a link between them")
    }

    /// The STUN servers, as `P2PCOPY_STUN` wants them.
    pub(crate) fn stun(&self) -> String {
        format!("{}:3478,{}:3478", Services::STUN[0], Services::STUN[1])
    }

    /// A STUN server that never answers.
    pub(crate) fn dead_stun(&self) -> &'static str {
        "192.0.2.9:3478"
    }

    /// The NTP server a side asks: chrony, or a clock of its own if the plan sets the clocks apart.
    pub(crate) fn ntp(&self, side: Side) -> &'static str {
        match side {
            _ if self.plan.clock_offset_ms == [0, 0] => Services::CHRONY,
            Side::A => Services::CLOCKS[0],
            Side::B => Services::CLOCKS[1],
        }
    }

    /// The full name of one of this network's namespaces: `a`, `na`, `r1`..., `srv`, `nb`, `b`.
    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// Loads further rules of nftables into a namespace.
    pub(crate) fn rules(&self, namespace: &str, rules: &str) {
        must(command_in(namespace, "nft").args(["-f", "-"]), rules);
    }

    /// Drops the first STUN answer that comes in for a side, and no other (for the next thousand).
    pub(crate) fn lose_a_stun_answer(&self, side: Side) {
        let rules = "table ip lossy { chain pre { type filter hook prerouting priority raw;
                     iifname wan udp sport 3478 numgen inc mod 1000 0 drop; }
                     }";
        self.rules(&self.edge(side), rules);
    }

    /// A router that forgets all its mappings and gives out other ports from now on, as one that restarts does.
    pub(crate) fn rebind(&self, side: Side) {
        let (edge, host) = (self.edge(side), Self::home_address(side));
        let rules = Nat::Symmetric.rules(host, self.public_address(side));
        self.rules(&edge, &format!("flush ruleset\n{rules}"));
        must(command_in(&edge, "conntrack").arg("-F"), "");
    }

    /// A router that from now on lets in whoever knows its port, as one whose owner forwards it. It keeps its mappings.
    pub(crate) fn befriend(&self, side: Side) {
        let (edge, host) = (self.edge(side), Self::home_address(side));
        let rules = Nat::Cone.rules(host, self.public_address(side));
        self.rules(&edge, &format!("flush ruleset\n{rules}"));
    }

    /// Makes the cable between two interfaces of these namespaces carry IP packets of `mtu` bytes at most.
    pub(crate) fn set_mtu(&self, near: (&str, &str), far: (&str, &str), mtu: u16) {
        for (short, interface) in [near, far] {
            self.configure(short, &[format!("link set dev {interface} mtu {mtu}")]);
        }
    }

    /// A router that lets out no UDP but to name servers, as those of some offices and hotels.
    pub(crate) fn block_udp(&self, side: Side) {
        let rules = "table ip noudp { chain forward { type filter hook forward priority -10;
                     meta l4proto udp udp dport != 53 drop; }
                     }";
        self.rules(&self.edge(side), rules);
    }

    /// A side's address behind its router.
    fn home_address(side: Side) -> &'static str {
        match side {
            Side::A => "192.168.1.10",
            Side::B => "192.168.1.20",
        }
    }

    fn nat(&self, side: Side) -> Nat {
        match side {
            Side::A => self.plan.a,
            Side::B => self.plan.b,
        }
    }

    /// What the routers forward that do so for whoever asks.
    fn forwarders(&self) -> Vec<Forwarder> {
        let mapped = [Side::A, Side::B]
            .into_iter()
            .filter(|&side| self.nat(side) == Nat::SymmetricMapped);
        let start = |side| {
            let outside = self.public_address(side).parse().expect("an IPv4 address");
            Forwarder::start(self.edge(side), Self::home_address(side), outside)
        };
        mapped.map(start).collect()
    }

    fn lay_out(&mut self) {
        let apart = self.plan.place == Place::Apart;
        let (first, last) = ("r1".to_owned(), format!("r{}", self.routers()));
        let mut names: Vec<String> = (1..=self.routers()).map(|hop| format!("r{hop}")).collect();
        names.extend(["srv", "a", "na"].map(str::to_owned));
        if self.plan.place != Place::OneHost {
            names.extend(["b", "nb"].map(str::to_owned));
        }
        self.namespaces = names.iter().map(|name| self.name(name)).collect();
        let created: Vec<String> = self
            .namespaces
            .iter()
            .map(|name| format!("netns add {name}"))
            .collect();
        must(command("ip").args(["-batch", "-"]), &created.join("\n"));
        for name in self.namespaces.clone() {
            inside(&name, || {
                let forwarding = "/proc/sys/net/ipv4/ip_forward";
                std::fs::write(forwarding, "1").expect("root may let a namespace forward");
                // IPv4 only: duplicate address detection would cost seconds, and the tests are about NATs.
                for scope in ["all", "default"] {
                    let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                    if Path::new(&path).exists() {
                        std::fs::write(&path, "1").expect("root may switch IPv6 off in a namespace");
                    }
                }
            });
        }

        // Each entry is a cable: (namespace, interface, namespace, interface).
        let mut cables: Vec<(String, &str, String, &str)> = (1..self.routers())
            .map(|hop| (format!("r{hop}"), "r", format!("r{}", hop + 1), "l"))
            .collect();
        let middle = format!("r{}", self.middle());
        cables.push((middle, "s", "srv".to_owned(), "eth0"));
        match self.plan.a {
            Nat::Public => cables.push((first, "l", "a".to_owned(), "wan")),
            _ => {
                cables.push((first, "l", "na".to_owned(), "wan"));
                cables.push(("na".to_owned(), "port1", "a".to_owned(), "eth0"));
            }
        }
        match self.plan.place {
            Place::OneHost => {}
            Place::OneLan => cables.push(("na".to_owned(), "port2", "b".to_owned(), "eth0")),
            Place::Apart if self.plan.b == Nat::Public => {}
            Place::Apart => cables.push(("nb".to_owned(), "port1", "b".to_owned(), "eth0")),
        }
        let mut batch = String::new();
        for (near, near_if, far, far_if) in cables {
            let (near, far) = (self.name(&near), self.name(&far));
            let _ = writeln!(
                batch,
                "link add name {near_if} netns {near} type veth peer name {far_if} netns {far}"
            );
        }
        must(command("ip").args(["-batch", "-"]), &batch);
        if apart {
            let far = self.edge(Side::B);
            self.link = Some(Link::start(
                (&self.name(&last), "r"),
                (&far, "wan"),
                self.plan.link,
            ));
        }
        self.address();
    }

    /// There is always one: the servers are attached to it. It takes no hop if there should be none.
    fn routers(&self) -> u8 {
        self.plan.hops.max(1)
    }

    /// The router the servers are attached to.
    fn middle(&self) -> u8 {
        self.routers().div_ceil(2)
    }

    /// Addresses, routes and translation of every namespace.
    fn address(&self) {
        let hops = self.routers();
        for hop in 1..=hops {
            let mut lines = vec!["link set lo up".to_owned(), "link set dev l up".to_owned()];
            match hop {
                1 => lines.push("address add 198.51.100.1/24 dev l".to_owned()),
                _ => lines.push(format!("address add 10.255.{}.2/30 dev l", hop - 1)),
            }
            if hop < hops {
                lines.push(format!("address add 10.255.{hop}.1/30 dev r"));
                lines.push("link set dev r up".to_owned());
                lines.push(format!("route add 203.0.113.0/24 via 10.255.{hop}.2"));
            } else if self.plan.place == Place::Apart {
                lines.push("address add 203.0.113.1/24 dev r".to_owned());
                lines.push("link set dev r up".to_owned());
            }
            if hop > 1 {
                lines.push(format!("route add 198.51.100.0/24 via 10.255.{}.1", hop - 1));
            }
            lines.push(match hop.cmp(&self.middle()) {
                std::cmp::Ordering::Less => format!("route add 192.0.2.0/24 via 10.255.{hop}.2"),
                std::cmp::Ordering::Greater => format!("route add 192.0.2.0/24 via 10.255.{}.1", hop - 1),
                std::cmp::Ordering::Equal => {
                    "address add 10.254.0.1/30 dev s\nlink set dev s up\nroute add 192.0.2.0/24 via 10.254.0.2".to_owned()
                }
            });
            self.configure(&format!("r{hop}"), &lines);
        }
        let mut srv = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
        srv.push("address add 10.254.0.2/30 dev eth0".to_owned());
        srv.push("route add default via 10.254.0.1".to_owned());
        // Without this, packets to addresses nobody has would circle until their TTL ends.
        srv.push("route add blackhole 192.0.2.0/24".to_owned());
        srv.extend(Services::addresses().map(|address| format!("address add {address}/32 dev lo")));
        self.configure("srv", &srv);
        if self.plan.hops == 0 {
            self.hide_router();
        }
        self.home(Side::A, "198.51.100.1");
        match self.plan.place {
            Place::Apart => self.home(Side::B, "203.0.113.1"),
            Place::OneLan => self.host_at_home("b", Self::home_address(Side::B)),
            Place::OneHost => {}
        }
    }

    /// A router that does not count as one: neither in the time to live nor in the timestamps that had no room.
    fn hide_router(&self) {
        let rules = "table ip hidden { chain pre { type filter hook prerouting priority mangle;
                     ip ttl 5 ip ttl set 6; ip ttl 4 ip ttl set 5; ip ttl 3 ip ttl set 4;
                     ip ttl 2 ip ttl set 3; ip ttl 1 ip ttl set 2;
                     ip hdrlength 6 @nh,160,8 68 @nh,184,8 0xc0 @nh,184,8 set 0xb0;
                     ip hdrlength 6 @nh,160,8 68 @nh,184,8 0xd0 @nh,184,8 set 0xc0;
                     ip hdrlength 6 @nh,160,8 68 @nh,184,8 0xe0 @nh,184,8 set 0xd0;
                     ip hdrlength 6 @nh,160,8 68 @nh,184,8 0xf0 @nh,184,8 set 0xe0; }
                     }";
        self.rules(&self.name("r1"), rules);
    }

    fn home(&self, side: Side, gateway: &str) {
        let (host, public) = (Self::home_address(side), self.public_address(side));
        let up = vec![
            "link set lo up".to_owned(),
            "link set wan up".to_owned(),
            format!("address add {public}/24 dev wan"),
            format!("route add default via {gateway}"),
        ];
        let (host_name, router) = match side {
            Side::A => ("a", "na"),
            Side::B => ("b", "nb"),
        };
        if self.nat(side) == Nat::Public {
            self.configure(host_name, &up);
            return;
        }
        let mut lines = up;
        lines.push("link add lan type bridge".to_owned());
        lines.push("address add 192.168.1.1/24 dev lan".to_owned());
        lines.push("link set lan up".to_owned());
        lines.push("link set port1 master lan up".to_owned());
        if side == Side::A && self.plan.place == Place::OneLan {
            lines.push("link set port2 master lan up".to_owned());
        }
        self.configure(router, &lines);
        self.rules(&self.name(router), &self.nat(side).rules(host, public));
        self.host_at_home(host_name, host);
    }

    fn host_at_home(&self, name: &str, address: &str) {
        let lines = [
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            format!("address add {address}/24 dev eth0"),
            "route add default via 192.168.1.1".to_owned(),
        ];
        self.configure(name, &lines);
    }

    /// Runs lines of `ip` in one of this network's namespaces.
    pub(crate) fn configure(&self, short: &str, lines: &[String]) {
        must(
            command("ip").args(["-n", &self.name(short), "-batch", "-"]),
            &lines.join("\n"),
        );
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.services = None;
        self.forwarders.clear();
        self.link = None;
        remove(&self.namespaces);
    }
}
