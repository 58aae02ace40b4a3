//! The connection: wire layouts, handshake, sealing, loss, congestion, pacing, MTU. Sans-IO.
//!
//! # The one way to drive it
//! Inputs are `handle_datagram(now, path, &mut [u8])` and `handle_timeout(now)`. After any input, drain the
//! outputs: `poll_transmit`, `poll_event`, `poll_timeout`, until each has nothing more. Nothing here reads a
//! clock, a socket or the system's randomness.

pub(crate) mod ack_tracker;
pub(crate) mod codec;
pub(crate) mod congestion;
pub(crate) mod connection;
pub(crate) mod handshake;
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

use std::net::SocketAddr;

/// One way to the peer: which of our sockets, and which of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Index of our socket, in the order the driver holds them.
    pub local: u8,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// How far a datagram may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// To its addressee.
    Full,
    /// As many hops as this time to live. An addressee takes what has one left, so it gets to a NAT that is the next hop.
    Low(u8),
    /// Through so many routers at most, and to no addressee: what comes after them discards it. Not every router lets it
    /// through.
    Routers(u8),
}

/// Which end of the transfer this is. The sender initiates the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Sends files.
    Sender,
    /// Receives files.
    Receiver,
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
