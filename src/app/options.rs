//! What a run was asked to do, already validated: nothing here can still be a usage error.
//!
//! These are plain data. Turning words from a command line into them is the work of [`crate::cli`].

use crate::rendezvous::meeting::relay::RelayUse;
use crate::rendezvous::meeting::wire::Names;
use crate::rendezvous::server::RelayLimits;
use crate::transfer::manifest::OutsideLinks;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::source::scan::{Exclude, Links};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a run looks for its peer by default, from the moment both addresses are known.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A server given by name or address, with its port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Server {
    /// Host name or address, without brackets.
    pub host: String,
    /// UDP port.
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

/// The word that a server's owner gives to those who may use it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerToken(String);

impl ServerToken {
    /// That word.
    pub(crate) fn new(word: impl Into<String>) -> Self {
        ServerToken(word.into())
    }

    /// As it was given.
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
pub(crate) struct Place {
    /// Where it is.
    pub server: Server,
    /// What it wants to hear.
    pub token: Option<ServerToken>,
}

/// How to be met by name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ByName {
    /// The names.
    pub(crate) names: Names,
    /// What both know; empty if they compare words.
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByName({:?})", self.names)
    }
}

/// Which congestion controller sends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Congestion {
    /// Model-based: finds the path's rate, tells random loss from congestion.
    #[default]
    Bbr,
    /// UDT's additive increase, multiplicative decrease: for comparison.
    Udt,
}

/// What every run takes.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// UDP port of the first socket; any free one if not given.
    pub localport: Option<u16>,
    /// The port outside that the router forwards to the first socket.
    pub external_port: Option<u16>,
    /// Have the router forward a port, where it can.
    pub port_mapping: bool,
    /// Guess ports where a symmetric NAT leaves no other way, if the peer does so, too.
    pub guess: bool,
    /// The peer's address as it was pasted, or its code; asked for if not given.
    pub peer: Option<String>,
    /// The server to meet at, in place of swapping addresses.
    pub server: Option<Place>,
    /// Meet there by name.
    pub(crate) by_name: Option<ByName>,
    /// When that server may pass on what is sent.
    pub relay: RelayUse,
    /// STUN servers in place of the built-in list, if any.
    pub stun: Vec<Server>,
    /// NTP servers in place of the built-in list, if any.
    pub ntp: Vec<Server>,
    /// Time to live of the packets that only open our own NAT.
    pub ttl: Option<u8>,
    /// How long to look for the peer before giving up.
    pub timeout: Duration,
    /// Most bytes a second to send, on the wire.
    pub limit: Option<u64>,
    /// Which congestion controller sends.
    pub congestion: Congestion,
    /// Leave cutting up bursts to the system, where it can (GSO).
    pub offload: bool,
    /// Do not ask to compare words when the peer's key came with nobody's word (a bare address).
    pub insecure: bool,
    /// Ask both users to compare words, whatever they pasted.
    pub verify: bool,
    /// Put the address on the clipboard when it is first shown.
    pub clipboard: bool,
    /// Events as JSON lines on standard output.
    pub json: bool,
    /// Only errors, prompts and the address.
    pub quiet: bool,
    /// How much more to tell: 0 nothing, 1 details, 2 everything.
    pub verbose: u8,
    /// Where to write the connection's trace, one JSON object a line.
    pub trace: Option<PathBuf>,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            localport: None,
            external_port: None,
            port_mapping: true,
            guess: true,
            peer: None,
            server: None,
            by_name: None,
            relay: RelayUse::default(),
            stun: Vec::new(),
            ntp: Vec::new(),
            ttl: None,
            timeout: DEFAULT_TIMEOUT,
            limit: None,
            congestion: Congestion::default(),
            offload: true,
            insecure: false,
            verify: false,
            clipboard: true,
            json: false,
            quiet: false,
            verbose: 0,
            trace: None,
        }
    }
}

/// What is to be drawn, and where to.
#[derive(Clone, Debug)]
pub(crate) struct PlotOptions {
    /// What `--trace` wrote.
    pub trace: PathBuf,
    /// The SVG file to write.
    pub picture: PathBuf,
    /// Only how much to tell is of use here.
    pub common: Common,
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
    /// The same, from standard input until it ends.
    StdinText,
}

/// A sender's options.
#[derive(Clone, Debug)]
pub(crate) struct SendOptions {
    /// What to send.
    pub payload: Payload,
    /// The name the receiver sees, for a pipe or a single path.
    pub name: Option<String>,
    /// What to leave out.
    pub exclude: Exclude,
    /// What to do with symbolic links.
    pub links: Links,
    /// What to do with extended attributes.
    pub attributes: Attributes,
    /// What every run takes.
    pub common: Common,
}

/// Where a receiver puts what arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    /// Into this directory, which need not exist yet; the one above it must.
    Directory(PathBuf),
    /// To standard output, one file or stream.
    Stdout,
}

/// A receiver's options.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveOptions {
    /// Where to put what arrives.
    pub destination: Destination,
    /// Accept and resume without asking.
    pub yes: bool,
    /// Replace files that stand in the way, once the new ones are verified.
    pub overwrite: bool,
    /// Compare with an existing file of the same name and move only what it does not hold; implies replacing it.
    pub update: bool,
    /// What becomes of links that lead out of what is sent.
    pub outside_links: OutsideLinks,
    /// What becomes of extended attributes.
    pub attributes: Attributes,
    /// Remove what earlier, unfinished transfers left in the directory, then leave.
    pub discard: bool,
    /// What every run takes.
    pub common: Common,
}

/// The demo's options.
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    /// What to send; a file made for the purpose if not given.
    pub file: Option<PathBuf>,
    /// What every run takes.
    pub common: Common,
}

/// A chat's options.
#[derive(Clone, Debug)]
pub(crate) struct ChatOptions {
    /// What every run takes.
    pub(crate) common: Common,
}

/// The check's options.
#[derive(Clone, Debug)]
pub(crate) struct CheckOptions {
    /// What every run takes.
    pub common: Common,
}

/// A server's options.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    /// Addresses to listen at; the usual port of both families if none is given.
    pub listen: Vec<SocketAddr>,
    /// The host that clients use; found out by STUN if not given.
    pub public: Option<String>,
    /// The word that clients must know.
    pub token: Option<ServerToken>,
    /// TCP port for networks that let no UDP through.
    pub(crate) tcp: Option<u16>,
    /// What its relay gives, if it has one.
    pub relay: Option<RelayLimits>,
    /// STUN servers and how much to tell are of use here.
    pub common: Common,
}
