//! What a run tells the outside, and what it asks.
//!
//! Events carry facts, not layout: a [`Front`] makes lines, bars or JSON of them. Text that came from the peer
//! may hold anything; whoever shows it must make it harmless first.

use super::check::diagnosis::Diagnosis;
use super::offered::{DefaultAnswer, Listing, Offered};
use super::outcome::Summary;
use super::told::{Info, Note, Warning};
use crate::protocol::Role;
use crate::protocol::connection::Stats;
use crate::rendezvous::address::NatClass;
use crate::rendezvous::meeting::wire::Present;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// Something a run tells, in the order it happens.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Event {
    /// The first socket is bound to this port.
    LocalPort(u16),
    /// What the firewall or NAT is found to be.
    Network(NatClass),
    /// Where the server of a meeting sees us.
    Seen(SocketAddr),
    /// What to tell the peer: one word.
    Address {
        /// The whole address.
        address: String,
        /// Whether this replaces one that was already told.
        change: Change,
    },
    /// What to tell the peer instead, where a server lets the two meet: a short code.
    Code {
        /// The code.
        code: String,
        /// Whether this replaces one that was already told.
        change: Change,
    },
    /// A server is ready; whoever shall use it needs this one word.
    Serving {
        /// What goes behind `--server`.
        word: String,
    },
    /// Somebody waits at a server under a name.
    Present(Present),
    /// Which clock the slots go by.
    Clock {
        /// Where it comes from.
        source: ClockSource,
        /// How far ahead of the system clock it is, in milliseconds; negative if behind.
        offset_ms: i64,
    },
    /// Waiting for the next slot.
    Waiting {
        /// Time of day now, UTC seconds since midnight.
        time_of_day: TimeOfDay,
        /// Whole seconds until the slot.
        seconds: u64,
    },
    /// Starts to look for the peer at an address.
    Attempt {
        /// Counts attempts from 0.
        number: u32,
        /// Where to.
        remote: SocketAddr,
    },
    /// The peer is there and has proved who it is.
    Connected(Link),
    /// The other user has the whole list and is asked.
    AwaitingAnswer,
    /// What the sender offers, and what it meets here.
    Offer(Box<Offered>),
    /// An earlier transfer is taken up: so many bytes need not move again.
    Resumed {
        /// Bytes already here and verified.
        bytes: u64,
        /// All bytes.
        total: u64,
    },
    /// How far the transfer is; several a second.
    Progress(Progress),
    /// The peer has been silent; looking for it again. May be told as often as progress.
    Reconnecting {
        /// For how long nothing was heard.
        silence: Duration,
    },
    /// The peer is back, perhaps elsewhere.
    Reconnected(Link),
    /// A message the sender typed (`--text`), as it came.
    Message(String),
    /// A line the peer said in a chat, as it came.
    Said(String),
    /// What a check found.
    Diagnosis(Box<Diagnosis>),
    /// A plain line to read.
    Info(Info),
    /// Something the user should know and may want to act on.
    Warning(Warning),
    /// Paths that this disk refuses, as they were sent and as they are stored.
    Renamed(Vec<(PathBuf, PathBuf)>),
    /// A detail, shown only when asked for.
    Note(Note),
    /// How the connection does, in figures, for whoever asked for everything. May be told as often as progress.
    Stats(Box<Stats>),
    /// All done: verified, synced and renamed.
    Finished(Summary),
    /// In a demo, which of the two sides tells this.
    Of(Role, Box<Event>),
}

/// Whether something is told for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Told for the first time.
    First,
    /// Replaces what was told before.
    Changed,
    /// Works in more networks than what was told before, which works, too.
    Better,
}

/// Where the time of the slots comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ClockSource {
    /// The median of this many NTP servers' answers.
    Ntp {
        /// How many servers answered believably.
        servers: usize,
    },
    /// No NTP server answered: the system's own clock.
    System,
}

/// A time of day in UTC, to the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeOfDay(u32);

impl TimeOfDay {
    /// The time of day of a Unix time in seconds.
    pub(crate) const fn from_unix(seconds: u64) -> Self {
        TimeOfDay((seconds % 86_400) as u32)
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:02}:{:02}:{:02}",
            self.0 / 3600,
            self.0 / 60 % 60,
            self.0 % 60
        )
    }
}

/// The way to the peer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Link {
    /// The peer's address as our packets reach it.
    pub remote: SocketAddr,
    /// What kind of path it is, in words: "same network", "direct, through NAT".
    pub kind: String,
    /// Whether a server passes on what is sent.
    pub relayed: bool,
    /// Round-trip time; zero if it is not known yet.
    pub rtt: Duration,
}

/// How far a transfer is, and how well it goes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Progress {
    /// Bytes of content the receiver has, those of an earlier transfer included.
    pub done: u64,
    /// All bytes; unknown for a pipe.
    pub total: Option<u64>,
    /// What is being done.
    pub phase: Phase,
    /// For how long already.
    pub since: Duration,
    /// Content bytes a second, over the last second, or up to five while little comes.
    pub rate: u64,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Share of packets lost lately, 0 to 1; `None` on the side that cannot tell.
    pub loss: Option<f64>,
    /// What keeps it from being faster.
    pub bound: Bound,
}

/// What a transfer is doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    /// The list of files crosses the line; counted are its bytes. Nobody was asked yet.
    Listing,
    /// The receiver's disk is got ready: what it takes is tried, and directories are made.
    Preparing,
    /// Content crosses the line.
    #[default]
    Moving,
    /// What the receiver has of it already is read and compared on both sides, and copied on its disk where something
    /// else differs; little may cross the line.
    Comparing,
    /// All is verified, and the receiver waits until its disk has it and everything has its name.
    Finishing,
}

/// What keeps a transfer from being faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// The path: sending at the rate it is found to carry.
    Path,
    /// `--limit`.
    Limit,
    /// Our disk, or the pipe we read or write.
    Disk,
    /// The peer does not take it faster.
    Peer,
    /// Not known on this side.
    Unknown,
}

/// Something only the user knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// The peer's address; answered by [`Answer::Text`].
    PeerAddress,
    /// The peer's code or address, where our own code is shown and the peer may come by itself; answered by
    /// [`Answer::Text`].
    PeerCode,
    /// A line to say in a chat; answered by [`Answer::Text`].
    Say,
    /// Whether to take what is offered: "vm.img, 10.0 GB".
    Accept(Consent),
    /// Whether the other screen shows the same words.
    ConfirmWords(String),
    /// Whether to go on with an earlier transfer: "vm.img at 94%".
    Resume(Consent),
}

/// What the user is asked to agree to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Consent {
    /// What it is called.
    pub what: String,
    /// What Enter means.
    pub default: DefaultAnswer,
    /// All that is in it, if the question does not say it already.
    pub list: Option<Listing>,
}

impl Question {
    /// Whether any line is an answer, which may be pasted in several lines.
    pub(crate) const fn is_text(&self) -> bool {
        matches!(self, Question::PeerAddress | Question::PeerCode)
    }
}

/// What the user said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Yes, or the default where that is yes.
    Yes,
    /// No.
    No,
    /// A line of text.
    Text(String),
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cancelled {
    /// The input ended, or there is none to ask.
    #[error("the input ended before the question was answered")]
    EndOfInput,
    /// Standard input carries the payload and there is no terminal to ask on.
    #[error("standard input carries the payload, and there is no terminal to ask on")]
    NoTerminal,
}

/// An answer that will come; dropping it takes the question back.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Result<Answer, Cancelled>>);

/// The other end of a [`Pending`]: what the answer is given to.
pub(crate) type Reply = oneshot::Sender<Result<Answer, Cancelled>>;

impl Pending {
    /// A question's two ends.
    pub(crate) fn new() -> (Reply, Pending) {
        let (reply, answer) = oneshot::channel();
        (reply, Pending(answer))
    }

    /// An answer that is there already.
    #[cfg(test)]
    pub(crate) fn ready(answer: Result<Answer, Cancelled>) -> Pending {
        let (reply, pending) = Pending::new();
        // The receiving end is alive: it is in our hands.
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

/// Whoever shows a run to the user: a terminal, a log, a script.
pub(crate) trait Front: Send {
    /// Something happened. Must not block.
    fn event(&mut self, event: Event);

    /// Asks the user. The answer borrows nothing: events may be told while it is awaited.
    fn ask(&mut self, question: Question) -> Pending;
}
