//! Before a connection: the pasted address, STUN, the clock, the slots and the punch. Sans-IO.
//!
//! - [`address`]: the one word two people swap, and [`handshake::words`](crate::protocol::handshake::words) to
//!   compare if they swapped less.
//! - [`stun`]: our external addresses, and how the NAT maps.
//! - [`clock`]: Unix time from NTP answers, and the slots.
//! - [`schedule`]: when to send where with which lifetime; used again when a connection is lost.
//! - [`punch`]: the schedule filled with the handshake, until there is a path with keys.
//! - [`outlet`]: what of UDP gets out of this network.
//! - [`portmap`]: having the router forward a port.
//! - [`servers`]: whom to ask.
//! - [`meeting`]: instead of swapping addresses, to say a short code and meet at somebody's server; [`server`] is that
//!   server.

pub(crate) mod address;
mod budget;
pub(crate) mod clock;
pub(crate) mod errand;
pub(crate) mod meeting;
pub(crate) mod outlet;
pub(crate) mod portmap;
pub(crate) mod punch;
pub(crate) mod schedule;
pub(crate) mod server;
pub(crate) mod servers;
pub(crate) mod stun;

use crate::protocol::{Path, Reach};

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// From which of our sockets, to whom.
    pub path: Path,
    /// How far it may get.
    pub reach: Reach,
    /// Its bytes.
    pub payload: Vec<u8>,
}
