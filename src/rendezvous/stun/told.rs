//! The results and events of the STUN client.

use std::net::SocketAddr;

use crate::rendezvous::address::{Mapping, PAIRS};

/// The result of gathering.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StunReport {
    /// How the NAT maps, as far as the answers show.
    pub mapping: Mapping,
    /// The external address of each socket.
    pub mapped: [Option<SocketAddr>; PAIRS],
    /// Where servers saw our IPv4 sockets, in the order of the first requests.
    pub seen: Vec<SocketAddr>,
    /// The external address of the IPv6 socket.
    pub mapped_ipv6: Option<SocketAddr>,
    /// The number of servers that answered.
    pub answered: usize,
    /// The servers that answered the first socket.
    pub servers: Vec<SocketAddr>,
    /// Other ports at which those servers say they answer.
    pub other_ports: Vec<SocketAddr>,
    /// The number of servers that were asked.
    pub asked: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum StunEvent {
    /// While gathering, a server answered the first socket.
    Answered {
        server: SocketAddr,
        /// The outside address it saw.
        mapped: SocketAddr,
    },
    /// Gathering has ended, with or without answers. Comes once.
    Gathered(StunReport),
    /// The external address of a socket changed, so the address that the peer was told is stale. `from` is
    /// `None` if the socket had no known mapping before.
    MappingChanged {
        socket: u8,
        /// The external address before.
        from: Option<SocketAddr>,
        /// The external address now.
        to: SocketAddr,
    },
}
