//! The address that two users swap: one word, `203.0.113.7:4300/` and then letters and digits.
//!
//! The part before the slash is readable and can also be dictated over the phone alone. The token after it
//! carries the key made for this run and everything that helps to connect. A CRC32 over both parts detects a
//! damaged paste, and finds the address in any text around it.

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

/// The number of port pairs: the main one and three spares (see [`super::schedule`]).
pub(crate) const PAIRS: usize = 4;
/// The most candidates an address carries.
pub(crate) const MAX_CANDIDATES: usize = 8;

/// How a NAT chooses the external address of a socket (RFC 4787, section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Mapping {
    /// Not known, because fewer than two STUN servers answered.
    #[default]
    Unknown = 0,
    /// There is no NAT: the external address is the machine's own.
    Public = 1,
    /// The external address is the same for all destinations.
    Independent = 2,
    /// The external address depends on the destination. Such a NAT is often called symmetric.
    Dependent = 3,
}

/// Which packets a NAT admits to a mapping (RFC 4787, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Filtering {
    /// Not known: the test must not run on a socket that will punch.
    #[default]
    Untested = 0,
    /// Packets from anywhere.
    Independent = 1,
    /// Packets from addresses to which the socket has sent.
    Address = 2,
    /// Packets from addresses and ports to which the socket has sent.
    AddressAndPort = 3,
}

impl Mapping {
    /// By their numbers in a token.
    const ALL: [Self; 4] = [Self::Unknown, Self::Public, Self::Independent, Self::Dependent];
}

impl Filtering {
    /// By their numbers in a token.
    const ALL: [Self; 4] = [
        Self::Untested,
        Self::Independent,
        Self::Address,
        Self::AddressAndPort,
    ];
}

/// What is known about one side's NAT.
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
            (Mapping::Independent, Filtering::Independent) => " (FullCone)",
            (Mapping::Independent, Filtering::Address) => " (Restricted)",
            (Mapping::Independent, Filtering::AddressAndPort) => " (PortRestricted)",
            (Mapping::Dependent, _) => " (Symmetric)",
            _ => "",
        };
        let mapping = match self.mapping {
            Mapping::Unknown => "unknown (too few STUN servers answered)",
            Mapping::Public => "public address (no NAT)",
            Mapping::Independent => "one outside port for all destinations",
            Mapping::Dependent => "another outside port for every destination",
        };
        let filtering = match self.filtering {
            Filtering::Untested => "",
            Filtering::Independent => ", lets anyone in",
            Filtering::Address => ", lets in only addresses it has sent to",
            Filtering::AddressAndPort => ", lets in only addresses and ports it has sent to",
        };
        write!(f, "{mapping}{filtering}{old_name}")
    }
}

/// Whether a side's clock is good enough for slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Timekeeping {
    /// NTP servers gave the time.
    #[default]
    Told,
    /// There is only the system's clock, which may be minutes off.
    Untold,
}

/// The part of an address after the slash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// What the owner runs.
    pub errand: Errand,
    /// The key made for this run.
    pub key: PublicKey,
    /// What the owner knows about its NAT.
    pub nat: NatClass,
    /// External ports of the spare pairs 1 to 3, at the same external IP; 0 if there is none.
    pub spare_ports: [u16; PAIRS - 1],
    /// LAN and IPv6 addresses, at most [`MAX_CANDIDATES`].
    pub candidates: Vec<SocketAddr>,
    /// Whether ports of its NAT may be guessed, and which are likely.
    pub guessing: Guessing,
    /// Whether its clock is good enough for slots.
    pub clock: Timekeeping,
}

/// A full address, our own or the peer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The external address of pair 0. If no STUN server answered, it is the first local candidate.
    pub reflexive: SocketAddr,
    /// The part after the slash; `None` if only an `ip:port` was pasted.
    pub token: Option<Token>,
}

/// What is wrong with a pasted address, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    #[error("no address: paste the one that p2pcopy printed on the other computer")]
    Empty,
    /// The text has not even an `ip:port`.
    #[error(
        "this is not an address like 203.0.113.7:4300/...: copy the whole address that your peer's screen shows"
    )]
    NotAnAddress,
    /// An IP address without a port.
    #[error(
        "the port is missing, as in 203.0.113.7:4300: copy the whole address that your peer's screen shows"
    )]
    NoPort,
    /// An `ip:port` at which nobody can be.
    #[error("nobody can be reached at this address: copy your peer's address again")]
    Unusable,
    /// The checksum is wrong.
    #[error(
        "this address was damaged on the way (a part is missing or changed): copy the whole address again"
    )]
    Damaged,
    /// The address is from a newer program.
    #[error("this address comes from a newer p2pcopy: update p2pcopy on this computer")]
    Newer,
    /// The address is from an older program.
    #[error("this address comes from an older p2pcopy: ask your peer to update p2pcopy")]
    Older,
    /// The user pasted their own address.
    #[error("this is your own address: send it to your peer, and paste the one they see")]
    Own,
    #[error("both sides are senders: one of you must run `p2pcopy receiver`")]
    BothSend,
    #[error("both sides are receivers: one of you must run `p2pcopy sender --file ...`")]
    BothReceive,
    /// Only the other end chats.
    #[error("the other side runs `p2pcopy chat`: run that here, too, or have them send or receive")]
    Chat,
    /// A chat between bare addresses.
    #[error("a chat needs the whole address of your peer, with everything after the slash")]
    Bare,
    /// Only our end chats.
    #[error("the other side does not chat: have them run `p2pcopy chat`, too")]
    NoChat,
}

impl Address {
    /// Makes our own address from the results of STUN and the list of interfaces. `mapped` holds the external
    /// address of each pair that has one. `None` if there is neither an external nor a local address.
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

    /// Reads the peer's address from what the user pasted, and ignores our own address in it.
    ///
    /// # Errors
    /// Every [`AddressError`]. Its message can be shown as it is.
    pub(crate) fn parse_peer(text: &str, own: &Address) -> Result<Address, AddressError> {
        // A copied piece of a chat may contain both addresses.
        let others = paste::find(text)?.into_iter().filter(|found| !found.is_of(own));
        let misfit = |found: &Address| found.misfit(own.token.as_ref()?.errand);
        let first = others
            .min_by_key(|found| misfit(found).is_some())
            .ok_or(AddressError::Own)?;
        misfit(&first).map_or(Ok(first), Err)
    }

    /// Whether both addresses are of the same run.
    fn is_of(&self, own: &Address) -> bool {
        match (&self.token, &own.token) {
            (Some(one), Some(other)) => one.key == other.key,
            (None, _) => self.reflexive == own.reflexive,
            (Some(_), None) => false,
        }
    }

    /// Why its owner's errand does not fit this one.
    fn misfit(&self, errand: Errand) -> Option<AddressError> {
        match self.token.as_ref().map(|theirs| theirs.errand) {
            Some(theirs) if theirs != errand.peer() => Some(match (errand, theirs) {
                (Errand::Chat, _) => AddressError::NoChat,
                (_, Errand::Chat) => AddressError::Chat,
                (Errand::Send, _) => AddressError::BothSend,
                (Errand::Receive, _) => AddressError::BothReceive,
            }),
            None if errand == Errand::Chat => Some(AddressError::Bare),
            _ => None,
        }
    }

    /// Reads the peer's address while our own is not known yet.
    ///
    /// # Errors
    /// Every [`AddressError`] except [`AddressError::Own`].
    pub(crate) fn parse_other(text: &str, errand: Errand) -> Result<Address, AddressError> {
        let address: Address = text.parse()?;
        address.misfit(errand).map_or(Ok(address), Err)
    }

    /// The address of the same owner, but with only this place.
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

    /// Sets whether the owner's clock is good enough for slots.
    pub(crate) fn timed(mut self, clock: Timekeeping) -> Address {
        if let Some(token) = &mut self.token {
            token.clock = clock;
        }
        self
    }

    /// Sets which guesses the owner allows.
    pub(crate) fn guessed(mut self, guessing: Guessing) -> Address {
        if let Some(token) = &mut self.token {
            token.guessing = guessing;
        }
        self
    }

    /// What is known about its owner's NAT.
    pub(crate) fn nat(&self) -> NatClass {
        self.token.as_ref().map(|token| token.nat).unwrap_or_default()
    }

    /// All places where its owner may be: the candidates, then the external address of pair 0.
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

/// Whether a datagram can be sent to an address at all.
pub(super) fn usable(address: SocketAddr) -> bool {
    // An IPv4-mapped IPv6 address counts as its IPv4 address.
    let nobody = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    address.port() != 0 && !nobody
}

#[cfg(test)]
mod tests;
