//! The configuration of a punch.

use std::net::IpAddr;
use std::time::Duration;

use super::paths::Ipv6Socket;
use crate::protocol::handshake::StaticKeypair;
use crate::protocol::handshake::rng::Seed;
use crate::protocol::{Path, Role};
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;

/// What is known about our own network, beside what our address tells.
#[derive(Clone, Default, Debug)]
pub struct Surroundings {
    /// The networks of this computer: an address and the length of the prefix.
    pub networks: Vec<(IpAddr, u8)>,
    /// Which UDP ports our network lets out, if that was found out.
    pub outlet: Option<Outlet>,
    /// Our earlier address, which the peer may have.
    pub told_before: Option<Address>,
    /// The path of the server's relay, if it may be used.
    pub relay: Option<Path>,
}

/// The configuration of a punch.
#[derive(Clone)]
pub struct PunchConfig {
    /// Which end we are.
    pub role: Role,
    /// Our address, as it was shown. Its token is only used if the peer's address has one.
    pub own: Address,
    /// The peer's address, as the user pasted it.
    pub peer: Address,
    /// The key pair whose public key `own` carries.
    pub keypair: StaticKeypair,
    /// Whether this machine has instructions for AES-GCM.
    pub hardware_aes: bool,
    /// Whether our user wants both users to compare words.
    pub verify: bool,
    /// The clock that determines the slots.
    pub clock: WallClock,
    /// The TTL of packets that must not reach the peer's NAT, if the user named it.
    pub low_ttl: Option<u8>,
    /// When to give up.
    pub timeout: Duration,
    /// Our IPv6 socket, if there is one.
    pub ipv6: Option<Ipv6Socket>,
    /// What is known about our own network.
    pub around: Surroundings,
    /// 32 random bytes that serve nothing else.
    pub seed: Seed,
}
