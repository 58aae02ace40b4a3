//! The connection: wire layouts, handshake, sealing, loss, congestion, pacing, MTU. Sans-IO.
//!
//! # The one way to drive it
//! Inputs are `handle_datagram(now, path, ecn, &mut [u8])` and `handle_timeout(now)`. After any input, drain the
//! outputs: `poll_transmit`, `poll_event`, `poll_timeout`, until each has nothing more. Nothing here reads a
//! clock, a socket or the system's randomness.

pub(crate) mod ack_tracker;
pub(crate) mod codec;
pub(crate) mod congestion;
pub(crate) mod connection;
pub(crate) mod ecn;
pub(crate) mod handshake;
pub(crate) mod mac;
mod mtu;
pub(crate) mod pacing;
pub(crate) mod ranges;
pub(crate) mod recovery;
pub(crate) mod rng;
pub(crate) mod rtt;
pub(crate) mod seal;
mod send_buffer;
pub(crate) mod sent_packets;
mod stream;
pub(crate) mod time;
pub(crate) mod wire;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use self::ecn::Ecn;

/// A path to the peer: one of our sockets and one of the peer's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// The number of our socket, in the driver's order.
    pub local: u8,
    /// The peer's address.
    pub remote: SocketAddr,
}

impl Path {
    /// The bytes of this path, for a MAC over it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![self.local];
        out.extend(self.remote.port().to_be_bytes());
        match self.remote.ip() {
            IpAddr::V4(ip) => out.extend(ip.octets()),
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
        out
    }
}

/// What a provider gives one customer: an IPv4 address, or an IPv6 /64 (RFC 6177). Limits count by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Network(ip.into()),
            IpAddr::V6(ip) => Network(Ipv6Addr::from(u128::from(ip) >> 64 << 64).into()),
        }
    }
}

/// How far a datagram may travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// To its addressee.
    Full,
    /// As many hops as this TTL. A host accepts a packet whose TTL is down to one, so the packet reaches a NAT that
    /// is the next hop.
    Low(u8),
    /// Through at most this many routers, and to no host: the next device discards it. Some routers drop such
    /// packets.
    Routers(u8),
}

/// Datagrams to send: segments of equal size, except that the last may be shorter. The caller's buffer holds their
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The destination, and the socket to send from.
    pub path: Path,
    /// Bytes of each segment, except for the last.
    pub segment: usize,
    /// How far the datagrams may travel. Only a single datagram may stop before its addressee.
    pub reach: Reach,
    /// The ECN mark, if the system can set it.
    pub ecn: Ecn,
}

impl Transmit {
    /// Datagrams to their addressee, without a mark.
    pub(crate) const fn new(path: Path, segment: usize) -> Self {
        Transmit {
            path,
            segment,
            reach: Reach::Full,
            ecn: Ecn::NotEct,
        }
    }

    /// One datagram. It replaces the contents of `buf`.
    pub(crate) fn single(buf: &mut Vec<u8>, path: Path, reach: Reach, payload: &[u8]) -> Self {
        buf.clear();
        buf.extend_from_slice(payload);
        Transmit {
            reach,
            ..Transmit::new(path, payload.len())
        }
    }
}

/// The role of an end of the transfer. The numbers are those in a datagram. The sender initiates the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The end that sends files.
    Sender = 0,
    /// The end that receives files.
    Receiver = 1,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Role {
        match self {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        }
    }
}
