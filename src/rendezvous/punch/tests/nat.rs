//! NATs by their behaviour (RFC 4787), and Linux masquerading with its clashes of connection tracking
//! entries.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::address::{Filtering, Mapping, NatClass};

/// Lifetimes of unreplied and replied entries in Linux (`nf_conntrack_udp_timeout`, `_stream`).
const UNREPLIED: Duration = Duration::from_secs(30);
const REPLIED: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NatKind {
    /// No NAT. A firewall lets in only answers.
    Public {
        firewall: bool,
    },
    Cone(Filtering),
    /// Linux masquerading. With `wan_input_accepted`, stray packets leave entries.
    Masquerade {
        wan_input_accepted: bool,
    },
    Symmetric(Ports),
}

impl NatKind {
    pub(super) const fn is_public(self) -> bool {
        matches!(self, NatKind::Public { .. })
    }
}

/// How a symmetric NAT assigns ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ports {
    /// Each port is at this distance from the one before; other flows of the home take every third.
    Steps(i16),
    /// Any port of a block of 2,048.
    Block,
    /// Any port.
    Random,
}

const BLOCK: u16 = 2048;

/// A flow in connection tracking. `inside` is `None` if it ends at the router itself.
#[derive(Debug)]
struct Entry {
    inside: Option<u16>,
    outside: u16,
    remote: SocketAddr,
    expires: Time,
}

pub(super) struct Nat {
    pub(super) kind: NatKind,
    pub(super) ip: IpAddr,
    entries: Vec<Entry>,
    next_port: u16,
    rng: SeedRng,
}

impl Nat {
    pub(super) fn new(kind: NatKind, ip: IpAddr, seed: u64) -> Self {
        let mut rng = SeedRng::new(blake3::hash(&seed.to_be_bytes()).as_bytes(), "test nat");
        Nat {
            kind,
            ip,
            entries: Vec::new(),
            next_port: 20_000 + u16::try_from(rng.next_u64() % 20_000).unwrap(),
            rng,
        }
    }

    pub(super) fn class(&self) -> NatClass {
        let mapping = match self.kind {
            NatKind::Public { .. } => Mapping::Public,
            NatKind::Cone(_) | NatKind::Masquerade { .. } => Mapping::Independent,
            NatKind::Symmetric(_) => Mapping::Dependent,
        };
        NatClass {
            mapping,
            filtering: Filtering::Untested,
        }
    }

    /// The external port that a STUN server sees for the inside port `port`.
    pub(super) fn stun_port(&self, port: u16) -> u16 {
        match self.kind {
            NatKind::Public { .. } | NatKind::Masquerade { .. } => port,
            NatKind::Cone(_) => port + 1000,
            NatKind::Symmetric(_) => port + 2000,
        }
    }

    fn fresh_port(&mut self) -> u16 {
        let random = self.rng.next_u64();
        let below = |n: u16| u16::try_from(random % u64::from(n)).unwrap();
        match self.kind {
            NatKind::Symmetric(Ports::Steps(step)) => {
                let others = i16::from(random.is_multiple_of(3));
                self.next_port = self.next_port.wrapping_add_signed(step * (1 + others)).max(1024);
                self.next_port
            }
            NatKind::Symmetric(Ports::Block) => 40_000 + below(BLOCK),
            _ => 1024 + below(64_512),
        }
    }

    /// What two STUN servers see of four sockets, whose ports begin at `port`.
    pub(super) fn seen(&mut self, port: u16) -> Vec<SocketAddr> {
        let servers = [1, 2].map(|i| SocketAddr::from(([192, 0, 2, i], 3478)));
        let flows = (port..port + 4).flat_map(|port| servers.map(|server| (port, server)));
        let outside: Vec<u16> = flows
            .map(|(port, server)| self.outbound(Time::ZERO, port, server))
            .collect();
        outside
            .into_iter()
            .map(|port| SocketAddr::new(self.ip, port))
            .collect()
    }

    /// A packet leaves. Returns its external source port.
    pub(super) fn outbound(&mut self, now: Time, port: u16, remote: SocketAddr) -> u16 {
        self.entries.retain(|e| e.expires > now);
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|e| e.inside == Some(port) && e.remote == remote)
        {
            entry.expires = entry.expires.max(now + UNREPLIED);
            return entry.outside;
        }
        let wanted = self.stun_port(port);
        let outside = match self.kind {
            NatKind::Public { .. } | NatKind::Cone(_) => wanted,
            NatKind::Symmetric(_) => loop {
                let port = self.fresh_port();
                if self
                    .entries
                    .iter()
                    .all(|e| (e.outside, e.remote) != (port, remote))
                {
                    break port;
                }
            },
            NatKind::Masquerade { .. } => {
                // Linux first tries the port of the newest flow from the same source.
                let newest = self.entries.iter().rev().find(|e| e.inside == Some(port));
                let wanted = newest.map_or(wanted, |e| e.outside);
                let taken = self
                    .entries
                    .iter()
                    .any(|e| e.outside == wanted && e.remote == remote);
                if taken { self.fresh_port() } else { wanted }
            }
        };
        self.entries.push(Entry {
            inside: Some(port),
            outside,
            remote,
            expires: now + UNREPLIED,
        });
        outside
    }

    /// A packet from inside dies at this router. It makes no entry, but renews an existing one.
    pub(super) fn refresh(&mut self, now: Time, port: u16, remote: SocketAddr) {
        self.entries.retain(|e| e.expires > now);
        let own = |e: &&mut Entry| e.inside == Some(port) && e.remote == remote;
        if let Some(entry) = self.entries.iter_mut().find(own) {
            entry.expires = entry.expires.max(now + UNREPLIED);
        }
    }

    /// A packet arrives at an external port. Returns the inside port that receives it, if any.
    pub(super) fn inbound(&mut self, now: Time, outside: u16, remote: SocketAddr) -> Option<u16> {
        self.entries.retain(|e| e.expires > now);
        if self.kind == (NatKind::Public { firewall: false }) {
            return Some(outside);
        }
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|e| e.outside == outside && e.remote == remote)
        {
            entry.expires = now
                + if entry.inside.is_some() {
                    REPLIED
                } else {
                    UNREPLIED
                };
            return entry.inside;
        }
        match self.kind {
            NatKind::Cone(Filtering::Independent) => Some(outside - 1000),
            NatKind::Cone(Filtering::Address) => {
                let known = |e: &&Entry| e.outside == outside && e.remote.ip() == remote.ip();
                self.entries.iter().find(known).and_then(|e| e.inside)
            }
            NatKind::Masquerade {
                wan_input_accepted: true,
            }
            | NatKind::Symmetric(Ports::Block | Ports::Random) => {
                self.entries.push(Entry {
                    inside: None,
                    outside,
                    remote,
                    expires: now + UNREPLIED,
                });
                None
            }
            _ => None,
        }
    }
}

#[test]
fn a_stray_packet_pins_the_flow_and_ours_leaves_from_another_port() {
    let mut nat = Nat::new(
        NatKind::Masquerade {
            wan_input_accepted: true,
        },
        [203, 0, 113, 1].into(),
        1,
    );
    let (peer, at) = (SocketAddr::from(([203, 0, 113, 2], 4300)), |s| {
        Time::ZERO + Duration::from_secs(s)
    });
    assert_eq!(nat.inbound(at(0), 4300, peer), None);
    assert_ne!(nat.outbound(at(1), 4300, peer), 4300);
    assert_eq!(nat.inbound(at(2), 4300, peer), None);
    let mut nat = Nat::new(
        NatKind::Masquerade {
            wan_input_accepted: true,
        },
        [203, 0, 113, 1].into(),
        1,
    );
    assert_eq!(nat.outbound(at(1), 4300, peer), 4300);
    assert_eq!(nat.inbound(at(2), 4300, peer), Some(4300));
    assert_eq!(nat.inbound(at(200), 4300, peer), None);
}
