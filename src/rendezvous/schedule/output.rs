//! The outputs of a schedule: datagrams to send, and events for the user.

use std::net::SocketAddr;

use super::guess_times::Task;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::clock::SlotIndex;

/// The kind of datagram to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// The datagram that continues the handshake.
    Handshake,
    /// A probe. The peer answers it, and so continues the handshake. It may be the only datagram that gets through.
    Probe,
}

/// One datagram to send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The socket and the destination.
    pub path: Path,
    /// How far it may travel.
    pub reach: Reach,
    /// The kind of datagram.
    pub content: Content,
    /// Its slot. For a path that needs no slot: the current one.
    pub slot: SlotIndex,
}

impl Outgoing {
    /// Nobody reads packets that die on the way, so they are only probes.
    pub(super) const fn new(path: Path, reach: Reach, slot: SlotIndex) -> Self {
        let content = match reach {
            Reach::Low(_) | Reach::Routers(_) => Content::Probe,
            Reach::Full => Content::Handshake,
        };
        Outgoing {
            path,
            reach,
            content,
            slot,
        }
    }
}

/// An event for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScheduleEvent {
    /// No packet of full TTL leaves through a port pair before the slot that begins at `until`.
    Waiting { until: Time },
    /// A slot has begun.
    Attempt {
        /// The number of the attempt, counted from 0.
        number: u32,
        /// The destination of the packets.
        to: SocketAddr,
    },
    /// From now on, ports of a symmetric NAT are guessed. This is our part.
    Guessing(Task),
}
