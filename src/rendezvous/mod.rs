//! Everything before a connection: the pasted address, STUN, the clock, the slots and the punch. Sans-IO.
//!
//! - [`address`]: the one word that two users swap, and [`handshake::words`](crate::protocol::handshake::words) to
//!   compare if they swapped less.
//! - [`stun`]: our external addresses, and how the NAT maps.
//! - [`clock`]: Unix time from NTP answers, and the slots.
//! - [`schedule`]: when to send where, and how far; used again when a connection is lost.
//! - [`punch`]: the schedule together with the handshake, until there is a path with keys.
//! - [`outlet`]: which UDP packets leave this network.
//! - [`portmap`]: asks the router to forward a port.
//! - [`servers`]: the built-in lists of public servers.
//! - [`meeting`]: instead of swapping addresses, the users say a short code and meet at a server; [`server`] is that
//!   server.
//! - [`trial`]: what asks one question on sockets of its own.

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
pub(crate) mod trial;
