//! The configuration and the events of a server's client.

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::code::Code;
use super::refusal::Refusal;
use super::relay::{RelayPass, RelayUse};
use super::wire::{Names, Terms, TokenKey};
use crate::protocol::handshake::PublicKey;
use crate::protocol::handshake::rng::Seed;
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;

/// How a client wants to meet its peer.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// Show a code and wait.
    Show,
    /// Join the client that shows this code.
    Join(Code),
    /// Meet by name a client that knows this secret. If the secret is empty, meet anybody: then both users
    /// compare words.
    Named(Names, Zeroizing<Vec<u8>>),
    /// Only find out what the server sees, and whether it serves us. If it does, it answers that nobody is there.
    Look,
}

pub(crate) struct MeetingConfig {
    pub errand: Errand,
    pub server: SocketAddr,
    /// The key made from the server's token, if the user gave one.
    pub token: Option<TokenKey>,
    /// Our sockets of the server's IP version.
    pub sockets: Vec<u8>,
    /// The public key made for this run.
    pub key: PublicKey,
    /// Addresses that this machine's first sockets have on its interfaces. If the server sees one of them, there is no NAT.
    pub candidates: Vec<SocketAddr>,
    /// How the peer is met.
    pub purpose: Purpose,
    /// Whether the server's relay may be used. With `Only`, the peer does not learn our addresses.
    pub relay: RelayUse,
    /// Whether the peer may guess our ports behind a symmetric NAT.
    pub guess: bool,
    /// 32 random bytes that serve nothing else.
    pub seed: Seed,
}

#[derive(Debug)]
pub(crate) enum MeetingEvent {
    /// The server answered.
    Welcome {
        clock: WallClock,
        /// Our own address for the peer.
        own: Address,
        /// Where the server sees our sockets.
        seen: Vec<SocketAddr>,
        /// What the server offers.
        terms: Terms,
        /// The round-trip time to the server.
        rtt: Duration,
    },
    /// The server does not answer. Comes at most once, and only before a welcome.
    Unreachable,
    /// The server has not answered for a while (true), or it answers again (false).
    Silent(bool),
    /// Nobody is there, but the server has just started, so a waiting peer may come back. Comes at most once.
    Fresh,
    /// The code to tell the peer. It replaces an earlier one.
    Code(Code),
    /// The code that we showed cannot be used any more; another follows.
    Spoilt(Refusal),
    /// The code that was typed failed. Our own code is still valid, or another follows.
    Refused(Refusal),
    /// The meeting failed for good.
    Failed(Refusal),
    /// The peer's address, from somebody who knows the words.
    Met {
        /// The address as if it had been pasted here.
        peer: Address,
        /// Our address, as the peer was told.
        own: Address,
        /// When to punch.
        moment: Time,
        /// The pass for the server's relay, if it has one and we may use it.
        relay: Option<Box<RelayPass>>,
    },
}
