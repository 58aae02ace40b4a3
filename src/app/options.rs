//! The validated options of a run: nothing here can still be a usage error.
//!
//! These are plain data. [`crate::cli`] makes them from the words of a command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::receiving::Target;
use crate::rendezvous::meeting::relay::RelayUse;
use crate::rendezvous::meeting::wire::Names;
use crate::rendezvous::server::RelayLimits;
use crate::transfer::manifest::OutsideLinks;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::source::scan::ScanOptions;

/// A server given by name or address, with its port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Server {
    /// Host name or address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The token that a server's owner gives to its users.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerToken(String);

impl ServerToken {
    pub(crate) fn new(word: impl Into<String>) -> Self {
        ServerToken(word.into())
    }

    pub(crate) fn word(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerToken")
    }
}

/// A p2pcopy server to meet at: `HOST[:PORT][/TOKEN]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MeetingServer {
    pub server: Server,
    /// The token that the server requires.
    pub token: Option<ServerToken>,
}

/// How two sides meet by name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ByName {
    pub(crate) names: Names,
    /// The secret that both users know; empty if they compare words.
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByName({:?})", self.names)
    }
}

/// The congestion controller of the sender.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Congestion {
    /// Model-based: it measures the path's rate and tells random loss from congestion.
    #[default]
    Bbr,
    /// UDT's additive increase and multiplicative decrease, for comparison.
    Udt,
}

/// Options of every run.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// UDP port of the first socket; `None` takes any free port.
    pub localport: Option<u16>,
    /// The outside port that the router forwards to the first socket.
    pub external_port: Option<u16>,
    /// Ask the router to forward a port.
    pub port_mapping: bool,
    /// Guess ports where a symmetric NAT leaves no other way, if the peer guesses, too.
    pub guess: bool,
    /// The peer's address or code. Without it, the run asks for it.
    pub peer: Option<String>,
    /// The server to meet at, instead of swapping addresses.
    pub server: Option<MeetingServer>,
    /// Meet at that server by name.
    pub(crate) by_name: Option<ByName>,
    /// When that server may relay packets.
    pub relay: RelayUse,
    /// STUN servers that replace the built-in list, if any.
    pub stun: Vec<Server>,
    /// NTP servers that replace the built-in list, if any.
    pub ntp: Vec<Server>,
    /// TTL of the packets that only open our own NAT.
    pub ttl: Option<u8>,
    /// How long to look for the peer before giving up.
    pub timeout: Duration,
    /// The most bytes a second to send, including headers.
    pub limit: Option<u64>,
    /// Which congestion controller sends.
    pub congestion: Congestion,
    /// Let the system split bursts into packets (GSO), where it can.
    pub offload: bool,
    /// Do not ask the users to compare words if nothing vouches for the peer's key (a bare address).
    pub insecure: bool,
    /// Ask both users to compare words in any case.
    pub verify: bool,
    /// The file for the connection's trace, one JSON object a line.
    pub trace: Option<PathBuf>,
}

/// What to draw, and where to write the picture.
#[derive(Clone, Debug)]
pub(crate) struct PlotOptions {
    /// A file that `--trace` wrote.
    pub trace: PathBuf,
    /// The SVG file to write.
    pub picture: PathBuf,
}

/// What a sender sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// Files and directories; never empty.
    Paths(Vec<PathBuf>),
    /// Standard input until it ends.
    Stdin,
    /// A message to read, not to store.
    Text(String),
    /// A message to read, from standard input until it ends.
    StdinText,
}

#[derive(Clone, Debug)]
pub(crate) struct SendOptions {
    pub payload: Payload,
    /// How to list it, and the name that the receiver sees, for a pipe or a single path.
    pub scan: ScanOptions,
    /// Options of every run.
    pub common: Common,
}

#[derive(Clone, Debug)]
pub(crate) struct ReceiveOptions {
    /// Where to put what arrives.
    pub destination: Target,
    /// Accept and resume without asking.
    pub yes: bool,
    /// What to do with links that lead out of the transferred files.
    pub outside_links: OutsideLinks,
    /// What to do with extended attributes.
    pub attributes: Attributes,
    /// Only remove what unfinished transfers left in the directory.
    pub discard: bool,
    /// Options of every run.
    pub common: Common,
}

#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    /// What to send; without it, the demo makes a file.
    pub file: Option<PathBuf>,
    /// Options of every run.
    pub common: Common,
}

#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    /// Addresses to listen at; if empty, the default port of both IP versions.
    pub listen: Vec<SocketAddr>,
    /// The host name that clients use; without it, STUN tells the address.
    pub public: Option<String>,
    /// The token that clients must know.
    pub token: Option<ServerToken>,
    /// TCP port, for clients in networks that block UDP.
    pub(crate) tcp: Option<u16>,
    /// The limits of the relay, if the server has one.
    pub relay: Option<RelayLimits>,
    /// STUN servers that replace the built-in list, if any.
    pub stun: Vec<Server>,
}
