//! What a punch tells.

use std::io::ErrorKind;
use std::time::Duration;

use super::obstacle::Obstacle;
use super::report::refusal;
use super::{PathKind, Report};
use crate::protocol::Path;
use crate::protocol::handshake::SessionKeys;
use crate::rendezvous::schedule::ScheduleEvent;

/// What happened.
#[derive(Debug)]
pub enum PunchEvent {
    /// Waiting for a slot, or a slot has begun.
    Schedule(ScheduleEvent),
    /// Something the user should read now rather than in a report at the end.
    Hint(Hint),
    /// The peer was heard from an address nobody had told of; it is answered there.
    Reflexive(Path),
    /// There is a path. The punch is over; keep [`Punch::into_parts`](super::Punch::into_parts) for late copies. The receiver may
    /// send at once, but knows that the sender hears it only when a sealed packet opens, perhaps on another
    /// path than this.
    Connected {
        /// Where.
        path: Path,
        /// With what.
        keys: Box<SessionKeys>,
        /// Of which kind.
        kind: PathKind,
        /// The round trip, where one exchange can be told from another.
        rtt: Option<Duration>,
    },
    /// No path before the time was up, or none possible.
    Failed(Box<Report>),
}

/// What is worth saying at once. Each comes at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Hint {
    /// What the two addresses tell, or that nothing comes though the peer must be near.
    #[error("{0}. Trying all the same; {help}", help = .0.remedy())]
    Obstacle(Obstacle),
    /// The system refuses to send anything to the peer.
    #[error("{cause} Trying all the same", cause = refusal(Some(*.0)))]
    Refused(ErrorKind),
    /// The peer is there with our bare address.
    #[error("your peer pasted only ip:port: ask them to paste the whole line")]
    PeerPastedBare,
    /// The peer is there with our whole address, we have its bare one.
    #[error("your peer has your whole line but you pasted only its ip:port: paste the whole line now")]
    WePastedBare,
    /// The peer is in our role.
    #[error("your peer runs p2pcopy in the same role as you: one must be sender, the other receiver")]
    SameRole,
    /// Packets arrive that were not made for this run.
    #[error(
        "packets with another key arrive from there: one of you has an address of an earlier run. Compare both lines, and paste \
         the one that the other side shows now"
    )]
    OldAddress,
}

impl Hint {
    /// Whether another address of the peer's would help.
    pub(crate) const fn wants_another_address(self) -> bool {
        match self {
            Hint::Obstacle(_) | Hint::WePastedBare | Hint::SameRole | Hint::OldAddress => true,
            Hint::Refused(_) | Hint::PeerPastedBare => false,
        }
    }
}
