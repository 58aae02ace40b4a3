//! What a run tells its user, and what it asks.
//!
//! Events carry facts, not layout: a [`Front`] makes lines, bars or JSON of them. Text that came from the peer
//! may hold anything; the code that shows it must make it harmless first.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::check::diagnosis::Diagnosis;
use super::offered::{DefaultAnswer, Listing, Offered};
use super::outcome::Summary;
use super::told::{Info, Note, Warning};
use crate::protocol::Role;
use crate::protocol::connection::Stats;
use crate::rendezvous::address::NatClass;
pub(crate) use crate::rendezvous::clock::ClockSource;
use crate::rendezvous::meeting::wire::Present;
use crate::rendezvous::punch::PathKind;

/// Something a run tells. Events come in the order in which things happen.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Event {
    /// The first socket is bound to this port.
    LocalPort(u16),
    /// What was found out about the firewall or NAT.
    Network(NatClass),
    /// Where the server of a meeting sees our socket.
    Seen(SocketAddr),
    /// The address to tell the peer: one word.
    Address {
        address: String,
        /// Whether this replaces one that was already told.
        change: Change,
    },
    /// The short code to tell the peer instead of an address, where a server lets the two meet.
    Code {
        code: String,
        /// Whether this replaces one that was already told.
        change: Change,
    },
    /// A server is ready. Its clients need this word.
    Serving {
        /// The argument of `--server`.
        word: String,
    },
    /// Somebody waits at a server under a name.
    Present(Present),
    /// The clock that determines the slots.
    Clock {
        /// Where it comes from.
        source: ClockSource,
        /// How far ahead of the system clock it is, in milliseconds; negative if behind.
        offset_ms: i64,
    },
    /// Waiting for the next slot.
    Waiting {
        /// The time, in Unix seconds.
        unix_seconds: u64,
        /// Whole seconds until the slot.
        seconds: u64,
    },
    /// The run starts to look for the peer at an address.
    Attempt {
        /// The number of the attempt, counted from 0.
        number: u32,
        remote: SocketAddr,
    },
    /// The peer is found and has proved who it is.
    Connected(Link),
    /// The other side has the whole list and asks its user.
    AwaitingAnswer,
    /// What the sender offers, and what it meets in the output directory.
    Offer(Box<Offered>),
    /// A transfer goes on where an earlier one stopped: these bytes need not move again.
    Resumed {
        /// Bytes already here and verified.
        bytes: u64,
        /// All bytes.
        total: u64,
    },
    /// The progress of the transfer; told several times a second.
    Progress(Progress),
    /// The peer has been silent, and the run looks for it again. Told as often as progress.
    Reconnecting {
        /// For how long nothing has come.
        silence: Duration,
    },
    /// The peer is found again, perhaps at another address.
    Reconnected(Link),
    /// A message the sender typed (`--text`), as it came.
    Message(String),
    /// A line the peer said in a chat, as it came.
    Said(String),
    /// What a check found.
    Diagnosis(Box<Diagnosis>),
    /// A plain line to read.
    Info(Info),
    /// Something the user should know and perhaps act on.
    Warning(Warning),
    /// Paths that this disk cannot store as they are: as they were sent, and as they are stored.
    Renamed(Vec<(PathBuf, PathBuf)>),
    /// A detail, shown only when asked for.
    Note(Note),
    /// The connection's counters, for users who asked for all details. Told as often as progress.
    Stats(Box<Stats>),
    /// The transfer is complete: all content is verified, on the disk, and has its final names.
    Finished(Summary),
    /// In a demo: an event of one of the two sides.
    Of(Role, Box<Event>),
}

/// How an address or code relates to what was told before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    First,
    /// It replaces the earlier one, which does not work any more.
    Changed,
    /// It works in more networks than the earlier one, which still works.
    Better,
}

/// The path to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    /// The peer's address, as our packets reach it.
    pub remote: SocketAddr,
    pub kind: PathKind,
    /// The round-trip time; zero if it is not known yet.
    pub rtt: Duration,
}

/// How far a transfer is, and how fast it goes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Progress {
    /// Bytes of content the receiver has, including those of an earlier transfer.
    pub done: u64,
    /// All bytes; unknown for a pipe.
    pub total: Option<u64>,
    /// What the transfer is doing.
    pub phase: Phase,
    /// For how long it has been doing that.
    pub since: Duration,
    /// Content bytes a second, over the last second, or over up to five seconds while little arrives.
    pub rate: u64,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The share of packets lost lately, 0 to 1; `None` on the side that cannot measure it.
    pub loss: Option<f64>,
    /// What limits the speed.
    pub bound: Bound,
}

/// What a transfer is doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Phase {
    /// The list of files is being sent, and the counters count its bytes. No user was asked yet.
    Listing,
    /// The receiver prepares its disk: it tests what the disk supports, and makes directories.
    Preparing,
    /// Content is being sent.
    #[default]
    Moving,
    /// Both sides read and compare content that the receiver has already. Little crosses the line meanwhile.
    Comparing,
    /// Something differs, so the receiver copies its own equal content. The sender does not know of this.
    Copying {
        /// Bytes that are left to copy, in whole blocks.
        left: u64,
    },
    /// All content is verified. The receiver waits until its disk has stored it and everything has its final
    /// name.
    Finishing,
}

/// What limits the speed of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// The path: the sender sends at the rate that it measured.
    Path,
    /// `--limit`.
    Limit,
    /// Our disk, or the pipe that we read or write.
    Disk,
    /// The peer does not accept data faster.
    Peer,
    /// This side cannot tell.
    Unknown,
}

/// A question that only the user can answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// The peer's address; answered by [`Answer::Text`].
    PeerAddress,
    /// The peer's code or address. The run shows its own code meanwhile, and the peer may come without an
    /// answer. Answered by [`Answer::Text`].
    PeerCode,
    /// A line to say in a chat; answered by [`Answer::Text`].
    Say,
    /// Whether to accept the offer: "vm.img, 10.0 GB".
    Accept(Consent),
    /// Whether the other screen shows these words.
    ConfirmWords(String),
    /// Whether to continue an earlier transfer: "vm.img at 94%".
    Resume(Consent),
}

/// What the user is asked to agree to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Consent {
    /// The name of the offer.
    pub what: String,
    /// What the Enter key means.
    pub default: DefaultAnswer,
    /// The whole list, if the question does not show it already.
    pub list: Option<Listing>,
}

impl Question {
    /// Whether the answer is free text, which may be pasted in several lines.
    pub(crate) const fn is_text(&self) -> bool {
        matches!(self, Question::PeerAddress | Question::PeerCode)
    }
}

/// What the user said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Yes; also Enter where the default is yes.
    Yes,
    No,
    /// A line of text.
    Text(String),
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cancelled {
    /// The input ended, or there is no input.
    #[error("the input ended before the question was answered")]
    EndOfInput,
    /// Standard input carries the payload and there is no terminal to ask on.
    #[error("standard input carries the payload, and there is no terminal to ask on")]
    NoTerminal,
}

/// An answer that is still to come. Dropping it withdraws the question.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Result<Answer, Cancelled>>);

/// The other end of a [`Pending`]: it takes the answer.
pub(crate) type Reply = oneshot::Sender<Result<Answer, Cancelled>>;

impl Pending {
    /// Makes both ends of a question.
    pub(crate) fn new() -> (Reply, Pending) {
        let (reply, answer) = oneshot::channel();
        (reply, Pending(answer))
    }

    /// An answer that is known already.
    #[cfg(test)]
    pub(crate) fn ready(answer: Result<Answer, Cancelled>) -> Pending {
        let (reply, pending) = Pending::new();
        // The receiving end is alive: it is the next value.
        let _ = reply.send(answer);
        pending
    }
}

impl Future for Pending {
    type Output = Result<Answer, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(Cancelled::EndOfInput)))
    }
}

/// Shows a run to the user: a terminal, a log or a script.
pub(crate) trait Front: Send {
    /// Something happened. Must not block.
    fn event(&mut self, event: Event);

    /// Asks the user. The answer borrows nothing, so events may be told while the caller waits for it.
    fn ask(&mut self, question: Question) -> Pending;
}
