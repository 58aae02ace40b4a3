//! What a punch needs.

use std::net::IpAddr;
use std::time::Duration;

use super::paths::Ipv6Socket;
use crate::protocol::Role;
use crate::protocol::handshake::StaticKeypair;
use crate::protocol::handshake::rng::Seed;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;

/// What is known of our own network, beside what our address tells.
#[derive(Clone, Default, Debug)]
pub struct Surroundings {
    /// The networks this computer is on, by an address and how many of its leading bits are shared.
    pub networks: Vec<(IpAddr, u8)>,
    /// What gets out, if that was found out.
    pub outlet: Option<Outlet>,
}

/// What a punch needs.
#[derive(Clone)]
pub struct PunchConfig {
    /// Which end we are.
    pub role: Role,
    /// Our address as printed. Its token is only used if the peer's has one.
    pub own: Address,
    /// What the user pasted.
    pub peer: Address,
    /// The key pair whose public half `own` carries.
    pub keypair: StaticKeypair,
    /// Whether this machine has instructions for AES-GCM.
    pub hardware_aes: bool,
    /// Whether our user wants both users to compare words.
    pub verify: bool,
    /// See [`Local::not_before`](crate::protocol::handshake::Local::not_before): 0 for the first connection of a run.
    pub not_before: u64,
    /// When the slots are.
    pub clock: WallClock,
    /// Lifetime of the packets that shall not reach the peer's NAT, if the user knows it.
    pub low_ttl: Option<u8>,
    /// When to give up.
    pub timeout: Duration,
    /// Our IPv6 socket, if there is one.
    pub ipv6: Option<Ipv6Socket>,
    /// What is known of our own network.
    pub around: Surroundings,
    /// 32 fresh random bytes.
    pub seed: Seed,
}
