//! The address two people swap: one word, `203.0.113.7:4300/` and letters and digits that carry the rest.
//!
//! The part before the slash is for human eyes and works alone over the phone. The token after it carries the
//! key made for this run and everything that makes a punch likely to succeed. A CRC32 over both parts tells a
//! damaged paste from a good one, and finds the address in whatever text a chat makes of it.

mod guessing;
mod paste;
mod token;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::errand::Errand;
use crate::protocol::handshake::PublicKey;
pub use guessing::Guessing;
pub(in crate::rendezvous) use paste::plain;

/// How many port pairs there are: the main one and three spares (see [`super::schedule`]).
pub(crate) const PAIRS: usize = 4;
/// The most candidates an address carries.
pub(crate) const MAX_CANDIDATES: usize = 8;

/// Which external address a NAT gives to packets of one socket (RFC 4787, section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mapping {
    /// Not known: fewer than two STUN servers answered.
    #[default]
    Unknown,
    /// No NAT: the external address is the machine's own.
    Public,
    /// The same for every destination.
    Independent,
    /// Another for each destination, often called symmetric.
    Dependent,
}

/// Which packets a NAT lets in to a mapping (RFC 4787, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Filtering {
    /// Nobody asked: the test may not run on a socket that will punch.
    #[default]
    Untested,
    /// From anywhere.
    Independent,
    /// From addresses the socket has sent to.
    Address,
    /// From addresses and ports the socket has sent to.
    AddressAndPort,
}

/// What is known of one side's NAT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NatClass {
    /// How it maps.
    pub mapping: Mapping,
    /// How it filters.
    pub filtering: Filtering,
}

impl fmt::Display for NatClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old_name = match (self.mapping, self.filtering) {
            (Mapping::Independent, Filtering::Independent) => "FullCone: ",
            (Mapping::Independent, Filtering::Address) => "Restricted: ",
            (Mapping::Independent, Filtering::AddressAndPort) => "PortRestricted: ",
            (Mapping::Dependent, _) => "Symmetric: ",
            _ => "",
        };
        let mapping = match self.mapping {
            Mapping::Unknown => "unknown (too few STUN servers answered)",
            Mapping::Public => "public address (no NAT)",
            Mapping::Independent => "one outside port for all destinations (endpoint-independent mapping)",
            Mapping::Dependent => "another outside port for every destination (endpoint-dependent mapping)",
        };
        let filtering = match self.filtering {
            Filtering::Untested => "",
            Filtering::Independent => ", lets anyone in",
            Filtering::Address => ", lets in only addresses it has sent to",
            Filtering::AddressAndPort => ", lets in only addresses and ports it has sent to",
        };
        write!(f, "{old_name}{mapping}{filtering}")
    }
}

/// Whether somebody's clock is good for slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Timekeeping {
    /// NTP servers have told the time.
    #[default]
    Told,
    /// There is the system's clock alone, which may be minutes off.
    Untold,
}

/// What follows the slash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// What its owner runs.
    pub errand: Errand,
    /// The key made for this run.
    pub key: PublicKey,
    /// What its owner knows of its NAT.
    pub nat: NatClass,
    /// External ports of the spare pairs 1 to 3, on the same external IP; 0 where there is none.
    pub spare_ports: [u16; PAIRS - 1],
    /// LAN and IPv6 addresses, at most [`MAX_CANDIDATES`].
    pub candidates: Vec<SocketAddr>,
    /// Whether ports of its NAT may be guessed, and where.
    pub guessing: Guessing,
    /// Whether slots can be counted by its clock.
    pub clock: Timekeeping,
}

/// A whole address, our own or the peer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The external address of pair 0; without any STUN answer, the first local candidate.
    pub reflexive: SocketAddr,
    /// The rest; `None` if only an `ip:port` was pasted.
    pub token: Option<Token>,
}

/// What is wrong with a pasted address, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("no address: paste the line that p2pcopy printed on the other computer")]
    Empty,
    /// Not even an `ip:port`.
    #[error("this is not an address like 203.0.113.7:4300/...: copy the whole line your peer sees")]
    NotAnAddress,
    /// An IP without its port.
    #[error(
        "the port is missing: an address looks like 203.0.113.7:4300, copy the whole line your peer sees"
    )]
    NoPort,
    /// An `ip:port` nobody can be at.
    #[error("nobody can be reached at this address: copy the line your peer sees once more")]
    Unusable,
    /// The checksum does not fit.
    #[error("this address was damaged on the way (a part is missing or changed): copy the whole line again")]
    Damaged,
    /// From a newer program.
    #[error("this address comes from a newer p2pcopy: update p2pcopy on this computer")]
    Newer,
    /// From an older program.
    #[error("this address comes from an older p2pcopy: ask your peer to update p2pcopy")]
    Older,
    /// Pasted back to its owner.
    #[error("this is your own address: send it to your peer, and paste the one they see")]
    Own,
    /// Both ends send.
    #[error("both sides are senders: one of you must run `p2pcopy receiver`")]
    BothSend,
    /// Both ends receive.
    #[error("both sides are receivers: one of you must run `p2pcopy sender --file ...`")]
    BothReceive,
    /// The other end chats.
    #[error("the other side runs `p2pcopy chat`: run that here, too, or have them send or receive")]
    Chat,
    /// A chat between bare addresses.
    #[error("a chat needs the whole line your peer sees, with all that follows the slash")]
    Bare,
    /// Our end chats alone.
    #[error("the other side does not chat: have them run `p2pcopy chat`, too")]
    NoChat,
}

impl Address {
    /// Our own address from what STUN and the interfaces say: `mapped` holds the external address of each pair
    /// that has one. `None` if there is neither an external nor a local address.
    pub fn own(
        errand: Errand,
        key: PublicKey,
        nat: NatClass,
        mapped: [Option<SocketAddr>; PAIRS],
        mut candidates: Vec<SocketAddr>,
    ) -> Option<Address> {
        candidates.truncate(MAX_CANDIDATES);
        let reflexive = mapped[0].or_else(|| candidates.first().copied())?;
        let spare_ports = [mapped[1], mapped[2], mapped[3]].map(|spare| match (mapped[0], spare) {
            (Some(main), Some(spare)) if main.ip() == spare.ip() => spare.port(),
            _ => 0,
        });
        Some(Address {
            reflexive,
            token: Some(Token {
                errand,
                key,
                nat,
                spare_ports,
                candidates,
                guessing: Guessing::default(),
                clock: Timekeeping::default(),
            }),
        })
    }

    /// Reads what the user pasted as the peer's address, and tells it from our own.
    ///
    /// # Errors
    /// Every [`AddressError`]; its message can be shown as it is.
    pub(crate) fn parse_peer(text: &str, own: &Address) -> Result<Address, AddressError> {
        // Who copies a piece of the chat may have both addresses in it.
        let others = paste::find(text)?.into_iter().filter(|found| !found.is_of(own));
        let first = others
            .min_by_key(|found| !found.goes_with(own))
            .ok_or(AddressError::Own)?;
        match &own.token {
            Some(ours) => first.for_errand(ours.errand),
            None => Ok(first),
        }
    }

    /// Whether both are of one run.
    fn is_of(&self, own: &Address) -> bool {
        match (&self.token, &own.token) {
            (Some(one), Some(other)) => one.key == other.key,
            (None, _) => self.reflexive == own.reflexive,
            (Some(_), None) => false,
        }
    }

    /// Whether its owner does what goes with what `own`'s does, as far as it says.
    fn goes_with(&self, own: &Address) -> bool {
        match (&self.token, &own.token) {
            (Some(theirs), Some(ours)) => theirs.errand == ours.errand.peer(),
            _ => true,
        }
    }

    /// Itself, unless its owner does not do what goes with this errand.
    fn for_errand(self, errand: Errand) -> Result<Address, AddressError> {
        match self.token.as_ref().map(|theirs| theirs.errand) {
            Some(theirs) if theirs != errand.peer() => Err(match (errand, theirs) {
                (Errand::Chat, _) => AddressError::NoChat,
                (_, Errand::Chat) => AddressError::Chat,
                (Errand::Send, _) => AddressError::BothSend,
                (Errand::Receive, _) => AddressError::BothReceive,
            }),
            None if errand == Errand::Chat => Err(AddressError::Bare),
            _ => Ok(self),
        }
    }

    /// Reads what the user gave as the peer's address while our own is not known yet.
    ///
    /// # Errors
    /// Every [`AddressError`] but [`AddressError::Own`].
    pub(crate) fn parse_other(text: &str, errand: Errand) -> Result<Address, AddressError> {
        text.parse::<Address>()?.for_errand(errand)
    }

    /// The same owner, to be found at this address and nowhere else.
    pub(crate) fn found_only_at(mut self, address: SocketAddr) -> Address {
        self.reflexive = address;
        if let Some(token) = &mut self.token {
            token.nat = NatClass::default();
            token.spare_ports = [0; _];
            token.candidates.clear();
            token.guessing = Guessing::Refused;
        }
        self
    }

    /// The same with what its owner knows of the time.
    pub(crate) fn timed(mut self, clock: Timekeeping) -> Address {
        if let Some(token) = &mut self.token {
            token.clock = clock;
        }
        self
    }

    /// The same with what its owner tells of guesses.
    pub(crate) fn guessed(mut self, guessing: Guessing) -> Address {
        if let Some(token) = &mut self.token {
            token.guessing = guessing;
        }
        self
    }

    /// What is known of its owner's NAT.
    pub(crate) fn nat(&self) -> NatClass {
        self.token.as_ref().map(|token| token.nat).unwrap_or_default()
    }

    /// Everywhere its owner may be: the candidates, then the external address of pair 0.
    pub(crate) fn places(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let candidates = self.token.iter().flat_map(|token| &token.candidates);
        candidates.chain([&self.reflexive]).copied()
    }

    /// The external address of pair `index`, if it has one.
    pub(crate) fn pair(&self, index: usize) -> Option<SocketAddr> {
        if index == 0 {
            return Some(self.reflexive);
        }
        let port = *self.token.as_ref()?.spare_ports.get(index - 1)?;
        (port != 0).then(|| SocketAddr::new(self.reflexive.ip(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reflexive)?;
        match &self.token {
            Some(token) => write!(f, "/{}", bs58::encode(token.encode(self.reflexive)).into_string()),
            None => Ok(()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// The first address in a text.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        paste::find(text)?
            .into_iter()
            .next()
            .ok_or(AddressError::NotAnAddress)
    }
}

/// Whether a datagram can be sent there at all.
pub(super) fn usable(address: SocketAddr) -> bool {
    // An IPv4 address in IPv6 clothes is that address.
    let nobody = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    address.port() != 0 && !nobody
}

#[cfg(test)]
mod tests;
