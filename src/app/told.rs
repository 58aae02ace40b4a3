//! Facts that a run tells beside its main events. `cli::text` words them; `--json` gives them as fields under
//! `what`.
//!
//! Serde skips the paths, because it refuses paths that are not UTF-8. `cli::json` adds them.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::rendezvous::meeting::refusal::Refusal;
use crate::rendezvous::meeting::relay::RelayRefusal;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::punch::Hint;
use crate::transfer::source::Absence;

/// A plain line to read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Info {
    /// The run asks this many servers for the outside address and for the time.
    AskingServers { stun: usize, ntp: usize },
    /// The names of this many STUN servers were resolved.
    StunServersFound { found: usize, asked: usize },
    /// A STUN server answered.
    StunAnswer { server: SocketAddr, outside: SocketAddr },
    /// This many NTP servers answered.
    NtpAnswers { answered: usize, asked: usize },
    /// The check asks a server to answer from another address.
    AskingToAnswerElsewhere {
        server: SocketAddr,
        number: usize,
        most: usize,
    },
    /// The run still waits.
    StillWaiting,
    /// An address that works in more networks follows.
    BetterAddress {
        /// Whether the peer may be unable to use the earlier one.
        instead: bool,
    },
    /// The router forwards a port, but a peer outside cannot use it.
    UselessMapping(#[serde(serialize_with = "external")] Worth),
    /// A server listens, and asks STUN servers for its public address if the user did not name it.
    Listening {
        port: u16,
        tcp_port: Option<u16>,
        asks: bool,
    },
    /// The run asks this server.
    AskingServer { server: String },
    /// The server does not answer over UDP, so the run tries TCP.
    TryingTcp { port: u16 },
    /// A new TCP stream to the server works.
    TcpIsBack,
    /// The run waits at a server under a name.
    WaitingByName {
        own: Option<String>,
        peer: Option<String>,
    },
    /// The server answers, and the run looks for the peer.
    LookingForPeer,
    /// The server answers again.
    ServerIsBack,
    /// The limits of the server's relay; 0 means no limit.
    Relay {
        relays: bool,
        pair_rate: u64,
        pair_bytes: u64,
    },
    /// The run looks for a direct path while the server relays.
    LookingForDirectPath,
    /// What `check --server` found.
    Server(SeenServer),
    /// Nobody is there, but the server has just started.
    ServerIsFresh,
    /// Nobody waits at a server under a name.
    NobodyWaits,
    /// The server has stopped.
    ServerStopped {
        pairs: u64,
        waiting: usize,
        relayed: usize,
    },
    /// The peer's NAT is symmetric, so the run tries its outside ports: for at most this long if both sides
    /// run.
    TryingPorts { seconds: u64 },
    /// Our NAT is symmetric: the run opens this many ports, and the peer tries to find one.
    OpeningPorts { ports: u8, seconds: u64 },
    /// How to use the chat.
    ChatHelp,
    /// The chat is over.
    ChatEnded,
    /// What was tried to reach the peer; one of several lines.
    Tried { line: String },
    /// The demo makes a file of this many bytes.
    DemoMakesFile { bytes: u64 },
    /// The demo begins.
    DemoBegins,
    /// The demo removes its copy.
    DemoEnds,
    /// A picture was written.
    Wrote {
        #[serde(skip)]
        path: PathBuf,
    },
    /// What an unfinished transfer left was removed.
    Removed {
        #[serde(skip)]
        path: PathBuf,
        bytes: u64,
    },
    /// No transfer has left anything there.
    NothingToRemove {
        #[serde(skip)]
        path: PathBuf,
    },
    /// Something that is offered lies here already: the first, and how many more.
    Identical {
        #[serde(skip)]
        path: PathBuf,
        more: usize,
    },
    /// The sender's pipe ended without a byte.
    EmptyInput,
}

/// What a client finds out about a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct SeenServer {
    pub(crate) server: String,
    /// The TCP port of the server, if it does not answer over UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp_port: Option<u16>,
    pub(crate) rtt_ms: u64,
    /// Where the server sees our sockets.
    pub(crate) sees: Vec<SocketAddr>,
    pub(crate) nat: bool,
    pub(crate) word: Word,
}

/// Whether a server serves a client with this token, or without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// It serves everybody.
    NotWanted,
    Right,
    Wrong,
    /// There were too many wrong words from this network, so the server does not answer.
    Untold,
}

/// Something the user should know and may want to act on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Warning {
    /// The network blocks UDP, or lets only some ports out.
    Outlet(#[serde(serialize_with = "outlet")] Outlet),
    /// No STUN server answered.
    NoOutsideAddress,
    /// `--external-port` is useless without an outside address.
    UselessExternalPort { port: u16 },
    /// Some of the named files are not sent: the first paths, and how many more.
    LeftOut {
        why: Cow<'static, str>,
        #[serde(skip)]
        paths: Vec<PathBuf>,
        more: usize,
    },
    /// This `--exclude` pattern matches nothing.
    UnusedPattern { pattern: String },
    /// The trace file takes no more.
    TraceStopped,
    /// Something that was offered is not sent after all.
    Missing {
        #[serde(skip)]
        path: PathBuf,
        #[serde(serialize_with = "kind")]
        why: Absence,
    },
    /// The pasted or typed text cannot be used, and the run asks again.
    Unfit { why: String },
    /// What the search for the peer found out.
    Search {
        #[serde(serialize_with = "hint_kind")]
        hint: Hint,
    },
    /// Nothing vouches for the peer's key.
    Unvouched { words: String },
    /// The server refuses a request.
    Refused {
        #[serde(serialize_with = "kind")]
        why: Refusal,
    },
    /// The server does not relay, or no longer.
    RelayRefused {
        #[serde(serialize_with = "kind")]
        why: RelayRefusal,
    },
    /// The peer is silent, and our outside address has changed.
    OutsideChanged,
    /// The peer has been silent for long, so its address may have changed.
    PeerMayHaveMoved,
    /// The server does not answer any more.
    ServerSilent,
    /// The TCP stream to the server broke, and the run opens it again.
    TcpBroke,
    /// There is no server to meet at.
    NoServer { why: String },
    /// This server's machine is behind a NAT.
    ServerBehindNat { outside: SocketAddr, port: u16 },
    /// This server does not know its outside address.
    ServerWithoutAddress,
    /// The disk does not keep permissions.
    ModesNotKept,
    /// The disk does not keep times.
    TimesNotKept,
    /// The name is taken by something else, so the file gets another name.
    StoredBeside { sent: String, stored: String },
    /// Somebody moved or replaced the output directory: where it is now, if the system tells.
    OutputMoved {
        #[serde(skip)]
        path: Option<PathBuf>,
    },
    /// The files have extended attributes, which only `--xattrs` sends.
    AttributesNotSent,
    /// `--xattrs` has no effect on this system.
    NoAttributesHere,
    /// The disk does not support all extended attributes.
    AttributesNotKept,
    /// The disk does not support hard links, or not as many of one file: each becomes a file of its own.
    HardLinksNotMade,
    /// The disk does not support symbolic links.
    LinksNotMade { count: u32 },
}

impl Warning {
    /// The warning about the network's UDP, unless all of it is open.
    pub(crate) fn of_outlet(outlet: &Outlet) -> Option<Warning> {
        (*outlet != Outlet::Open).then(|| Warning::Outlet(outlet.clone()))
    }
}

/// A detail, shown only when the user asks for details.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Note {
    /// The run asked for the time again.
    ClockAskedAgain,
    /// Packets of the peer arrived from this address.
    HeardFrom { remote: SocketAddr },
    /// The run tells the peer to send to this forwarded address.
    Forwarded { at: SocketAddr },
    /// The router forwards a port.
    Mapped(#[serde(serialize_with = "external")] Worth),
    /// The whole address, for a peer that does not use the server.
    OwnAddress { address: String },
    /// The system's receive buffer is small.
    SmallBuffer { bytes: usize },
    /// What a server has done so far.
    ServerReport {
        pairs: u64,
        waiting: usize,
        relayed_pairs: usize,
        relayed_bytes: u64,
        beyond_limit_bytes: u64,
        dropped: u64,
        stale: u64,
        strangers: u64,
    },
}

/// The name of a variant as a word for programs, such as `same_role`.
pub(crate) fn word(of: &impl fmt::Debug) -> String {
    let debug = format!("{of:?}");
    let name = debug
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !slug.is_empty() {
            slug.push('_');
        }
        slug.extend(c.to_lowercase());
    }
    slug
}

/// Serializes the word for a variant.
fn kind<T: fmt::Debug, S: Serializer>(of: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&word(of))
}

/// Serializes the outside address of a forwarded port.
fn external<S: Serializer>(worth: &Worth, to: S) -> Result<S::Ok, S::Error> {
    let external = worth.mapped().external;
    let mut fields = to.serialize_struct("Worth", 1)?;
    fields.serialize_field("external", &external)?;
    fields.end()
}

/// Serializes whether UDP is blocked, and the open ports.
fn outlet<S: Serializer>(outlet: &Outlet, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_struct("Outlet", 2)?;
    fields.serialize_field("closed", &outlet.is_closed())?;
    fields.serialize_field("ports", outlet.ports())?;
    fields.end()
}

fn hint_kind<S: Serializer>(hint: &Hint, to: S) -> Result<S::Ok, S::Error> {
    match hint {
        Hint::Obstacle(obstacle) => kind(obstacle, to),
        other => kind(other, to),
    }
}
