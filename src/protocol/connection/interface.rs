//! What makes a connection, and what the connection reports.

use std::ops::Range;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::protocol::congestion::Stage;
use crate::protocol::seal::Cipher;
use crate::protocol::sent_packets::FalseAck;
use crate::protocol::wire::Malformed;
use crate::protocol::{Path, Role};

/// The parameters of a connection. They hold secrets, so `Debug` does not print them.
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// The AEAD that both ends agreed on.
    pub cipher: Cipher,
    /// The secret of the direction to the peer.
    pub send_secret: Zeroizing<[u8; 32]>,
    /// The secret of the direction from the peer.
    pub receive_secret: Zeroizing<[u8; 32]>,
    /// The connection ID of packets to this end.
    pub local_id: u32,
    /// The connection ID of packets to the peer.
    pub remote_id: u32,
    /// The path where the handshake succeeded. It must answer a challenge like any other before much is sent
    /// there.
    pub path: Path,
    /// The round-trip time of the handshake, if this end measured one.
    pub handshake_rtt: Option<Duration>,
    /// Random bytes for this connection alone, for values that the peer must not predict.
    pub seed: Zeroizing<[u8; 32]>,
    /// The most blocks of content that the sender holds.
    pub send_blocks: usize,
    /// The user's limit, in bytes a second.
    pub limit: Option<u64>,
}

/// Content bytes that arrived, as a part of the datagram that carried them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Offset in the content space.
    pub offset: u64,
    /// Position in the datagram given to `handle_datagram`.
    pub range: Range<usize>,
}

/// What the application must know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer's first sealed packet arrived, so it has the keys and receives our packets.
    Confirmed,
    /// The connection now uses another path than the last one reported. Reported at most once in ten seconds.
    Moved(Path),
    /// Nothing has come for [`SILENCE`](super::SILENCE).
    Silent,
    /// A packet came after silence.
    Back,
    /// The connection ended.
    Closed(Closed),
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Misbehaviour {
    /// A packet breaks its layout.
    #[error("{0}")]
    Malformed(Malformed),
    /// An ACK covers a packet that was never sent.
    #[error(transparent)]
    FalseAck(#[from] FalseAck),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer closed it.
    ByPeer {
        /// A code for programs.
        code: u16,
        /// A text for people; untrusted.
        reason: String,
    },
    /// This end closed it, as the application asked. The peer has answered, or was waited for in vain.
    ByUs,
    /// The peer broke the protocol.
    Misbehaved(Misbehaviour),
    /// Too many packets failed to authenticate, so the AEAD's security bound is reached.
    TooManyForgeries,
}

/// What keeps the sender from sending faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// The path: its rate or its congestion window.
    Path,
    /// The receiver has no room, because its disk is slow.
    Peer,
    /// There is nothing to send, because our own disk is slow.
    Source,
    /// The user's limit.
    User,
}

/// Counters and estimates, for users and traces.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stats {
    /// Smoothed RTT.
    pub rtt: Duration,
    /// Lowest RTT.
    pub min_rtt: Duration,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Congestion window, in bytes.
    pub window: u64,
    /// Pacing rate, bytes a second.
    pub pacing_rate: u64,
    /// Bandwidth estimate, bytes a second.
    pub bandwidth: u64,
    /// The state of the congestion controller.
    pub stage: Stage,
    /// Packets sent that ask for an ACK.
    pub sent_packets: u64,
    /// Those of them that were declared lost, minus those that arrived later.
    pub lost_packets: u64,
    /// Content packets that repeat earlier content.
    pub repeated_packets: u64,
    /// Packets that were received and authenticated.
    pub received_packets: u64,
    /// Datagrams that the peer did not make.
    pub forgeries: u64,
    /// Duplicates and replays that were dropped.
    pub replays: u64,
    /// Content bytes that the peer has acknowledged.
    pub arrived_bytes: u64,
    /// The datagram size in use, in bytes.
    pub mtu: u16,
    /// What limits the sending rate.
    pub limit: Limit,
}
