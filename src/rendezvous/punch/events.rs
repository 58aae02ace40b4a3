//! The events of a punch.

use std::io::ErrorKind;
use std::time::Duration;

use super::Report;
use super::obstacle::Obstacle;
use super::report::{REJECTED, REJECTED_REMEDY, refusal};
use crate::protocol::Path;
use crate::protocol::handshake::SessionKeys;
use crate::rendezvous::schedule::ScheduleEvent;

/// An event of a punch.
#[derive(Debug)]
pub enum PunchEvent {
    /// It waits for a slot, or a slot has begun.
    Schedule(ScheduleEvent),
    /// Something that the user should read now, and not only in the report at the end.
    Hint(Hint),
    /// The peer was heard from an address that nobody had told. The punch answers there.
    Reflexive(Path),
    /// There is a path, and the punch is over. Keep [`Punch::into_parts`](super::Punch::into_parts) for late
    /// copies. The receiver may send at once. But it knows that the sender has the keys only when a sealed
    /// packet arrives, perhaps on another path.
    Connected {
        /// The path.
        path: Path,
        /// The keys.
        keys: Box<SessionKeys>,
        /// The round-trip time, if it could be measured.
        rtt: Option<Duration>,
    },
    /// No path was found within the time limit, or none is possible.
    Failed(Box<Report>),
}

/// Something that is shown at once. Each comes at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Hint {
    /// What the two addresses tell; or that nothing comes although the peer must be near.
    #[error("{0}. Trying all the same; {help}", help = .0.remedy())]
    Obstacle(Obstacle),
    /// The system refuses to send to the peer.
    #[error("{cause} Trying all the same", cause = refusal(Some(*.0)))]
    Refused(ErrorKind),
    /// A router or firewall near this computer answers that it lets nothing through to the peer.
    #[error("{cause} Trying all the same; {REJECTED_REMEDY}", cause = REJECTED)]
    Rejected,
    /// The peer is there, but has only our bare address.
    #[error("your peer pasted only ip:port: ask them to paste the whole address")]
    PeerPastedBare,
    /// The peer is there and has our full address, but we have only its bare one.
    #[error("your peer has your whole address but you pasted only its ip:port: paste the whole address now")]
    WePastedBare,
    /// The peer has our role.
    #[error("your peer runs p2pcopy in the same role as you: one must be sender, the other receiver")]
    SameRole,
    /// Packets arrive that were made for another run.
    #[error(
        "packets with another key arrive from there: one of you has an address of an earlier run. Paste the address that the \
         other side shows now"
    )]
    OldAddress,
}

impl Hint {
    /// Whether another address of the peer would help.
    pub(crate) const fn wants_another_address(self) -> bool {
        match self {
            Hint::Obstacle(_) | Hint::Rejected | Hint::WePastedBare | Hint::SameRole | Hint::OldAddress => {
                true
            }
            Hint::Refused(_) | Hint::PeerPastedBare => false,
        }
    }
}
