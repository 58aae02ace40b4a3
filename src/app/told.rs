//! What a run remarks beside its events: facts. `cli::text` words them; `--json` gives them as fields under `what`.
//!
//! Paths are skipped by serde, which refuses those that are no text: `cli::json` gives them.

use crate::rendezvous::meeting::refusal::Refusal;
use crate::rendezvous::meeting::relay::RelayRefusal;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::portmap::Worth;
use crate::rendezvous::punch::Hint;
use crate::transfer::source::Absence;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A plain line to read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Info {
    /// These many servers are asked for the outside address and for the time.
    AskingServers { stun: usize, ntp: usize },
    /// So many STUN servers' names are known.
    StunServersFound { found: usize, asked: usize },
    /// A STUN server answered.
    StunAnswer { server: SocketAddr, outside: SocketAddr },
    /// So many NTP servers answered.
    NtpAnswers { answered: usize, asked: usize },
    /// A server is asked to answer from another address.
    AskingToAnswerElsewhere {
        server: SocketAddr,
        number: usize,
        most: usize,
    },
    /// Nothing came for a while.
    StillWaiting,
    /// An address that works in more networks follows.
    BetterAddress,
    /// The router forwards a port, but that is of no use to a peer outside.
    UselessMapping(#[serde(serialize_with = "external")] Worth),
    /// The server does not answer on UDP.
    TryingTcp { port: u16 },
    /// The server is reached over TCP again.
    TcpIsBack,
    /// Waiting at a server by name.
    WaitingByName {
        own: Option<String>,
        peer: Option<String>,
    },
    /// The server answers, and the peer is looked for.
    LookingForPeer,
    /// The server answers again.
    ServerIsBack,
    /// What the server's relay gives; 0 stands for no limit.
    Relay {
        relays: bool,
        pair_rate: u64,
        pair_bytes: u64,
    },
    /// A direct path is looked for while the server relays.
    LookingForDirectPath,
    /// What `check --server` found.
    Server(SeenServer),
    /// Nobody waits at a server under a name.
    NobodyWaits,
    /// A server has stopped.
    ServerStopped {
        pairs: u64,
        waiting: usize,
        relayed: usize,
    },
    /// The peer's NAT is symmetric: its outside ports are tried, this long at most if both sides are there.
    TryingPorts { seconds: u64 },
    /// Ours is: so many ports are opened, and the peer tries them.
    OpeningPorts { ports: u8, seconds: u64 },
    /// How lines are said in a chat.
    ChatHelp,
    /// The chat is over.
    ChatEnded,
    /// What was tried to reach the peer, one line of several.
    Tried { line: String },
    /// A demo makes a file of so many bytes.
    DemoMakesFile { bytes: u64 },
    /// Both sides run here.
    DemoBegins,
    /// The copy is removed.
    DemoEnds,
    /// A picture was written.
    Wrote {
        #[serde(skip)]
        path: PathBuf,
    },
    /// What an abandoned transfer left is removed.
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
    /// What was sent is there already.
    Identical {
        #[serde(skip)]
        path: PathBuf,
    },
    /// A pipe ended without a byte.
    EmptyInput,
}

/// A server as a client finds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct SeenServer {
    pub(crate) server: String,
    /// The port of TCP it was asked at, as it does not answer on UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp_port: Option<u16>,
    pub(crate) rtt_ms: u64,
    /// Where it sees our sockets.
    pub(crate) sees: Vec<SocketAddr>,
    pub(crate) nat: bool,
    pub(crate) wants_word: bool,
    pub(crate) word_given: bool,
}

/// Something the user should know and may want to act on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Warning {
    /// UDP does not get out, or only to some ports.
    Outlet(#[serde(serialize_with = "outlet")] Outlet),
    /// No STUN server answered.
    NoOutsideAddress,
    /// `--external-port` without an outside address.
    UselessExternalPort { port: u16 },
    /// Some of what was named is not sent; the first paths, and how many more.
    LeftOut {
        why: &'static str,
        #[serde(skip)]
        paths: Vec<PathBuf>,
        more: usize,
    },
    /// An `--exclude` that matches nothing.
    UnusedPattern { pattern: String },
    /// Something is not sent after all.
    Missing {
        #[serde(skip)]
        path: PathBuf,
        #[serde(serialize_with = "kind")]
        why: Absence,
    },
    /// What was pasted or typed is no use, and is asked for again.
    Unfit { why: String },
    /// What the search for the peer found.
    Search {
        #[serde(serialize_with = "hint_kind")]
        hint: Hint,
    },
    /// Nobody vouched for the peer's key.
    Unvouched { words: String },
    /// The server refuses what was asked of it.
    Refused {
        #[serde(serialize_with = "kind")]
        why: Refusal,
    },
    /// The server does not relay, or no more.
    RelayRefused {
        #[serde(serialize_with = "kind")]
        why: RelayRefusal,
    },
    /// The peer is silent, and our outside address is another one than before.
    OutsideChanged,
    /// The peer has been silent for long: its address may be another one.
    PeerMayHaveMoved,
    /// The server does not answer any more.
    ServerSilent,
    /// The stream of TCP to the server broke; it is opened again.
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
    /// Something else has the name, so another is used.
    StoredBeside { sent: String, stored: String },
    /// There are extended attributes that only `--xattrs` sends.
    AttributesNotSent,
    /// `--xattrs` does nothing on this system.
    NoAttributesHere,
    /// The disk does not take all extended attributes.
    AttributesNotKept,
    /// The disk has no hard links, or not so many of one file: each becomes a file of its own.
    HardLinksNotMade,
    /// The disk takes no links.
    LinksNotMade { count: u32 },
}

impl Warning {
    /// What of UDP gets out, if that is not all.
    pub(crate) fn of_outlet(outlet: &Outlet) -> Option<Warning> {
        (*outlet != Outlet::Open).then(|| Warning::Outlet(outlet.clone()))
    }
}

/// A detail, shown only when asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Note {
    /// The time was asked for again.
    ClockAskedAgain,
    /// The peer's packets came from there.
    HeardFrom { remote: SocketAddr },
    /// The peer is told to come in there.
    Forwarded { at: SocketAddr },
    /// The router forwards a port.
    Mapped(#[serde(serialize_with = "external")] Worth),
    /// For a peer that does not use the server.
    OwnAddress { address: String },
    /// The system buffers little of what arrives.
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

/// The name of a variant, such as `same_role`.
fn kind<T: fmt::Debug, S: Serializer>(of: &T, to: S) -> Result<S::Ok, S::Error> {
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
    to.serialize_str(&slug)
}

/// Where a port is that the router forwards.
fn external<S: Serializer>(worth: &Worth, to: S) -> Result<S::Ok, S::Error> {
    let external = worth.mapped().external;
    let mut fields = to.serialize_struct("Worth", 1)?;
    fields.serialize_field("external", &external)?;
    fields.end()
}

/// Whether all is closed, and the ports that are open.
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
