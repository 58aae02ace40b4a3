//! What the machine tells.

use std::net::SocketAddr;

use crate::rendezvous::address::{Mapping, PAIRS};

/// What gathering found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StunReport {
    /// How the NAT maps, as far as the answers tell.
    pub mapping: Mapping,
    /// The external address of each socket.
    pub mapped: [Option<SocketAddr>; PAIRS],
    /// What servers saw of our sockets behind IPv4, in the order of the first requests.
    pub seen: Vec<SocketAddr>,
    /// The external address of the IPv6 socket.
    pub mapped_ipv6: Option<SocketAddr>,
    /// Servers that answered.
    pub answered: usize,
    /// Those that answered the first socket.
    pub servers: Vec<SocketAddr>,
    /// Other ports that those servers say they answer at.
    pub other_ports: Vec<SocketAddr>,
    /// Servers asked.
    pub asked: usize,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StunEvent {
    /// While gathering, a server answered the first socket: its outside address is this.
    Answered {
        /// Who.
        server: SocketAddr,
        /// What it saw.
        mapped: SocketAddr,
    },
    /// Gathering is over, with or without answers. Comes once.
    Gathered(StunReport),
    /// A mapping is not what it was: the address already told to the peer is stale. `from` is `None` if the
    /// socket had no known mapping before.
    MappingChanged {
        /// Which socket.
        socket: u8,
        /// The external address before.
        from: Option<SocketAddr>,
        /// The external address now.
        to: SocketAddr,
    },
}
