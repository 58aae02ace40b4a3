//! What a client at a server is made from, and what it tells.

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
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a client comes for.
#[derive(Clone)]
pub enum Purpose {
    /// To show a code and wait.
    Show,
    /// To join whoever shows this code.
    Join(Code),
    /// To meet by name whoever knows this secret, or, with an empty one, anybody: then both compare words.
    Named(Names, Zeroizing<Vec<u8>>),
    /// To see what the server sees, and no more.
    Look,
}

/// What a client is made from.
pub struct MeetingConfig {
    /// What we come for.
    pub errand: Errand,
    /// The server.
    pub server: SocketAddr,
    /// The key of the server's word, if the user gave one.
    pub token: Option<TokenKey>,
    /// Our sockets of the server's address family.
    pub sockets: Vec<u8>,
    /// The public half of the key made for this run.
    pub key: PublicKey,
    /// Addresses this machine has itself.
    pub candidates: Vec<SocketAddr>,
    /// Addresses the sockets have on this machine's interfaces: seen at one of them, there is no NAT.
    pub local: Vec<SocketAddr>,
    /// How the peer is met.
    pub purpose: Purpose,
    /// Whether the peer shall know where we are.
    pub relay: RelayUse,
    /// 32 fresh random bytes.
    pub seed: Seed,
}

/// What happened.
#[derive(Debug)]
pub enum MeetingEvent {
    /// The server answered.
    Welcome {
        /// Its clock.
        clock: WallClock,
        /// Our own address, as it sees us.
        own: Address,
        /// What it offers.
        terms: Terms,
        /// The round trip to it.
        rtt: Duration,
    },
    /// The server does not answer. Comes at most once, and before a welcome only.
    Unreachable,
    /// The server has not answered for a while, or it answers again.
    Silent(bool),
    /// Tell this to the peer; it replaces what was to be told before.
    Code(Code),
    /// The code that we showed is of no use any more; another follows.
    Spoilt(Refusal),
    /// The code that was typed came to nothing; the one we show is still good, or another follows.
    Refused(Refusal),
    /// Nothing will come of this meeting.
    Failed(Refusal),
    /// The peer's address, from somebody who knows the words.
    Met {
        /// What would have been pasted here.
        peer: Address,
        /// What was told the peer.
        own: Address,
        /// When to punch.
        moment: Time,
        /// For the server's relay, if it has one and we may use it.
        relay: Option<Box<RelayPass>>,
    },
}
