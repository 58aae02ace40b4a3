//! What a connection is made from, and what it tells.

use crate::protocol::congestion::Stage;
use crate::protocol::seal::Cipher;
use crate::protocol::sent_packets::FalseAck;
use crate::protocol::wire::Malformed;
use crate::protocol::{Path, Role};
use std::ops::Range;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a connection is made from. It holds secrets, so it does not show itself.
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// The AEAD agreed on.
    pub cipher: Cipher,
    /// Secret for what this end seals.
    pub send_secret: Zeroizing<[u8; 32]>,
    /// Secret for what the peer seals.
    pub receive_secret: Zeroizing<[u8; 32]>,
    /// Connection ID in packets to this end.
    pub local_id: u32,
    /// Connection ID in packets to the peer.
    pub remote_id: u32,
    /// Where the handshake succeeded. It is challenged like any other before much is sent there.
    pub path: Path,
    /// Round trip of the handshake, if this end saw one.
    pub handshake_rtt: Option<Duration>,
    /// Random bytes for this connection alone, for what the peer must not foresee.
    pub seed: Zeroizing<[u8; 32]>,
    /// Blocks of content to hold while sending.
    pub send_blocks: usize,
    /// User's limit, bytes a second.
    pub limit: Option<u64>,
}

#[cfg(test)]
impl Config {
    /// One end of a pair under fixed secrets: what the sender seals with, what the receiver seals with, this end's seed.
    pub(crate) fn of_pair(role: Role, path: Path, [sender, receiver, seed]: [[u8; 32]; 3]) -> Config {
        let (send, receive) = match role {
            Role::Sender => (sender, receiver),
            Role::Receiver => (receiver, sender),
        };
        Config {
            role,
            cipher: Cipher::Aes256Gcm,
            send_secret: send.into(),
            receive_secret: receive.into(),
            local_id: role as u32,
            remote_id: role.peer() as u32,
            path,
            handshake_rtt: None,
            seed: seed.into(),
            send_blocks: 2,
            limit: None,
        }
    }
}

/// Content bytes that arrived, in the datagram they came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Place in the content space.
    pub offset: u64,
    /// Place in the datagram given to `handle_datagram`.
    pub range: Range<usize>,
}

/// What the application should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer's first sealed packet arrived: it has the keys and hears us.
    Confirmed,
    /// The connection now uses another path than the last one told. Told at most once in ten seconds.
    Moved(Path),
    /// Nothing heard for [`SILENCE`](super::SILENCE).
    Silent,
    /// Heard again after silence.
    Back,
    /// It ended.
    Closed(Closed),
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misbehaviour {
    /// A packet breaks its layout.
    #[error("{0}")]
    Malformed(Malformed),
    /// It acknowledges what was never sent.
    #[error(transparent)]
    FalseAck(#[from] FalseAck),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer ended it.
    ByPeer {
        /// A number for programs.
        code: u16,
        /// A text for people; untrusted.
        reason: String,
    },
    /// This end did, on the application's word; all copies of the message have left.
    ByUs,
    /// The peer broke the protocol.
    Misbehaved(Misbehaviour),
    /// So many forgeries that the AEAD's promise ends.
    TooManyForgeries,
}

/// What keeps the sender from sending faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The path: its rate or its window.
    Path,
    /// The receiver has no room: its disk is slow.
    Peer,
    /// Nothing to send at hand: our own disk is slow.
    Source,
    /// The user's limit.
    User,
}

/// Counters and estimates, for people and traces.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stats {
    /// Smoothed RTT.
    pub rtt: Duration,
    /// Lowest RTT.
    pub min_rtt: Duration,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Congestion window.
    pub window: u64,
    /// Pacing rate, bytes a second.
    pub pacing_rate: u64,
    /// Bandwidth estimate, bytes a second.
    pub bandwidth: u64,
    /// What the controller is doing.
    pub stage: Stage,
    /// Packets sent that asked for an ACK.
    pub sent_packets: u64,
    /// Of those, declared lost (late arrivals taken off).
    pub lost_packets: u64,
    /// Content packets that repeated earlier content.
    pub repeated_packets: u64,
    /// Packets received and authenticated.
    pub received_packets: u64,
    /// Datagrams that were not the peer's.
    pub forgeries: u64,
    /// Duplicates and replays dropped.
    pub replays: u64,
    /// Content bytes acknowledged by the peer.
    pub arrived_bytes: u64,
    /// Size of datagrams.
    pub mtu: u16,
    /// What binds.
    pub limit: Limit,
}
