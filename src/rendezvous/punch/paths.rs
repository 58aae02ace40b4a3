//! Derives paths from two addresses, and the kind of a path.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::who_guesses;
use crate::protocol::{Path, Role};
use crate::rendezvous::address::{Address, Filtering, Mapping, PAIRS};
use crate::rendezvous::schedule::guess_times::Task;

/// Our IPv6 socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ipv6Socket {
    /// Its number.
    pub socket: u8,
    /// Indices of the interfaces on which a link-local peer may be.
    pub zones: Vec<u32>,
}

/// The kind of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PathKind {
    /// Inside one network.
    Lan,
    /// Over IPv6.
    Ipv6,
    /// Between the pasted addresses, and no NAT is known on either side.
    Open,
    /// Between the pasted addresses, through a NAT.
    Direct,
    /// Through NATs, to an address that was only known when the peer's packet arrived.
    PeerReflexive,
    /// Through the server where the two have met.
    Relayed,
}

impl std::fmt::Display for PathKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PathKind::Lan => "same network",
            PathKind::Ipv6 => "IPv6",
            PathKind::Open => "direct",
            PathKind::Direct => "direct, through NAT",
            PathKind::PeerReflexive => "direct, at an address seen only when the peer's packet arrived",
            PathKind::Relayed => "relayed by the server",
        })
    }
}

impl PathKind {
    /// The kind of `path` between these two addresses.
    pub(super) fn of(path: Path, own: &Address, peer: &Address, ipv6_socket: Option<u8>) -> PathKind {
        let ip = path.remote.ip();
        let pasted = (0..PAIRS).any(|k| peer.pair(k) == Some(path.remote));
        let candidate = peer
            .token
            .as_ref()
            .is_some_and(|t| t.candidates.contains(&path.remote));
        let public = peer.nat().mapping == Mapping::Public;
        // A bare address tells nothing about its owner's NAT.
        let behind_nat = [own, peer]
            .into_iter()
            .any(|side| matches!(side.nat().mapping, Mapping::Independent | Mapping::Dependent));
        // The address is one of our own, inside or outside: the peer is on this machine or behind the same
        // NAT.
        let ours = own.places().any(|own| own.ip() == ip);
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => PathKind::Lan,
            _ if Some(path.local) == ipv6_socket || path.remote.is_ipv6() => PathKind::Ipv6,
            _ if ours || is_private(ip) => PathKind::Lan,
            _ if (pasted || candidate && public) && behind_nat => PathKind::Direct,
            _ if pasted || candidate && public => PathKind::Open,
            _ if candidate => PathKind::Lan,
            _ => PathKind::PeerReflexive,
        }
    }
}

/// Whether an address is private, so that it belongs to the own network.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(_) => false,
    }
}

/// Whether an outside port leads to the owner's first socket, whoever the sender is.
fn is_forwarded(address: &Address) -> bool {
    let nat = address.nat();
    nat.filtering == Filtering::Independent && nat.mapping != Mapping::Public
}

/// The paths that need a slot (one for each port pair that both sides have), and the paths that can be tried
/// at once.
pub(super) fn paths(
    own: &Address,
    peer: &Address,
    ipv6: Option<&Ipv6Socket>,
) -> ([Option<Path>; PAIRS], Vec<Path>) {
    let mut pairs = [None; PAIRS];
    for (k, pair) in pairs.iter_mut().enumerate() {
        // A side with only one port uses it with each of the other's. Between bare addresses each side has
        // one.
        let local = own.pair(k).map_or(0, |_| k);
        let (own_has, peer_has) = (own.pair(k).is_some(), peer.pair(k).is_some());
        let both_whole = own.token.is_some() && peer.token.is_some();
        let remote = peer
            .pair(if peer_has { k } else { 0 })
            .filter(SocketAddr::is_ipv4);
        if k == 0 || both_whole && (own_has || peer_has) {
            *pair = remote
                .zip(u8::try_from(local).ok())
                .map(|(remote, local)| Path { local, remote });
        }
    }
    let task = who_guesses::task(own, peer);
    if let Some(k) = task.and_then(|task| who_guesses::reserved(task, own, peer)) {
        pairs[k] = None;
    }
    let own_candidates = own
        .token
        .as_ref()
        .map(|t| t.candidates.as_slice())
        .unwrap_or_default();
    let public = peer.nat().mapping == Mapping::Public;
    // A side with a forwarded port waits: if it also sent to the same place, its router would have two flows
    // there, and the peer's packet would clash with the second. If both have one, the sender begins.
    let begins = match (&own.token, &peer.token) {
        (Some(ours), Some(theirs)) => ours.errand.role(&ours.key, &theirs.key) == Role::Sender,
        _ => false,
    };
    let waits = is_forwarded(own) && !(is_forwarded(peer) && begins);
    if waits {
        pairs[0] = None;
    }
    let mut candidates = Vec::new();
    let told = peer.token.iter().flat_map(|t| t.candidates.iter().copied());
    // Nothing is spoilt by packets from ports that the peer does not know, and the peer may let in anybody.
    let spares_the_front = matches!(task, Some(Task::Open { near, .. }) if near != peer.reflexive);
    let front_is_open = public || is_forwarded(peer) || spares_the_front;
    let at_once = |front: &SocketAddr| front_is_open || front.is_ipv6() || is_private(front.ip());
    let front = Some(peer.reflexive).filter(at_once).filter(|_| !waits || public);
    for remote in told.chain(front) {
        // Two homes may have the same private addresses. Then we would talk to ourselves.
        if own_candidates.contains(&remote) {
            continue;
        }
        for path in ways(remote, ipv6) {
            // A candidate that is also the address of a NAT must wait for its slot.
            let is_open = public || front_is_open && remote == peer.reflexive;
            let needs_slot = !is_open && !is_private(remote.ip()) && pairs.contains(&Some(path));
            if !needs_slot && !candidates.contains(&path) {
                candidates.push(path);
            }
        }
    }
    (pairs, candidates)
}

/// The paths to one address of the peer. A link-local IPv6 address may be on any of our links.
fn ways(remote: SocketAddr, ipv6: Option<&Ipv6Socket>) -> Vec<Path> {
    match (remote, ipv6) {
        (SocketAddr::V4(_), _) => vec![Path { local: 0, remote }],
        (SocketAddr::V6(v6), Some(Ipv6Socket { socket, zones })) if v6.ip().is_unicast_link_local() => zones
            .iter()
            .map(|&zone| Path {
                local: *socket,
                remote: SocketAddrV6::new(*v6.ip(), v6.port(), 0, zone).into(),
            })
            .collect(),
        (SocketAddr::V6(_), Some(Ipv6Socket { socket, .. })) => vec![Path {
            local: *socket,
            remote,
        }],
        (SocketAddr::V6(_), None) => Vec::new(),
    }
}
