//! The datagrams between a client and a server, with all limits. docs/protocol.md draws them.
//!
//! A request is at least as long as any answer to it, so that a server cannot be used to amplify traffic. The
//! layouts pad requests, and a [`State`] has at most [`Open::LEN`] bytes.

mod bind;
mod hello;
mod list;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub(crate) use self::bind::Ticket;
pub use self::bind::{Bind, BindWant, Binding, Bound};
pub use self::hello::Hello;
pub(crate) use self::hello::{Terms, Welcome};
pub(crate) use self::list::{List, Listed, Listing, Present};
use super::code::Nameplate;
use super::name::Name;
use super::pake::{End, MESSAGE_LEN};
use crate::protocol::codec::{Reader, Truncated, put_string};
use crate::protocol::mac::{Mac, mac};
use crate::rendezvous::errand::Errand;

/// The version of these layouts.
pub(crate) const VERSION: u8 = 1;
/// The default UDP port of a server.
pub(crate) const PORT: u16 = 4300;
/// The longest datagram: every IPv4 path carries packets of 576 bytes, 28 of which are headers (RFC 791,
/// section 3.1).
const LONGEST: usize = 576 - 28;
/// The most bytes of a sealed address: what remains in an [`Open`] beside the longest names. The longest
/// address, with eight IPv6 candidates, takes 378.
pub(crate) const MAX_SEALED: usize = LONGEST - 151;

/// First bytes of the datagrams.
pub(crate) mod packet {
    /// A client asks for a cookie.
    pub(crate) const HELLO: u8 = 0x60;
    /// The answer to a HELLO.
    pub(crate) const COOKIE: u8 = 0x61;
    /// A client names whom it wants to meet, and sends data for the peer.
    pub(crate) const OPEN: u8 = 0x62;
    /// The state of that request.
    pub(crate) const STATE: u8 = 0x63;
    /// A client asks the server to pass its datagrams on to its peer.
    pub(crate) const BIND: u8 = 0x64;
    /// The state of that request.
    pub(crate) const BOUND: u8 = 0x65;
    /// A client asks who waits under a name.
    pub(crate) const LIST: u8 = 0x66;
    /// The names.
    pub(crate) const LISTING: u8 = 0x67;
}

/// Whether a datagram is one between a client and a server.
pub(crate) fn is_meeting(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0x60..=0x6f))
}

/// Proves that a client receives at the address it sends from.
pub(crate) type Cookie = Mac;
/// A key made from a server's token, by the server and by its clients.
pub(crate) type TokenKey = [u8; 32];

/// The key made from a server's token.
pub(crate) fn token_key(word: &str) -> TokenKey {
    blake3::derive_key("p2pcopy 1 server token", word.as_bytes())
}

/// Proves that the author of an [`Open`] knows the server's token. It is valid only for this cookie and
/// session.
pub(crate) fn proof(key: &TokenKey, cookie: &Cookie, session: SessionId) -> [u8; 16] {
    mac(key, &[cookie.as_slice(), &session.0.to_be_bytes()].concat())
}

/// The [`proof`] of a request; zeros if the client has no token.
pub(crate) fn proof_or_zeros(key: Option<&TokenKey>, cookie: &Cookie, session: SessionId) -> [u8; 16] {
    key.map_or([0; 16], |key| proof(key, cookie, session))
}

/// A client's number for one attempt to meet somebody. It is random, so that nobody else can name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SessionId(pub u64);

/// A datagram that has none of these layouts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl From<Truncated> for Malformed {
    fn from(_: Truncated) -> Self {
        Malformed
    }
}

/// Begins to read a datagram of this kind, which has `len` bytes if all of them have.
fn begin(datagram: &[u8], kind: u8, len: Option<usize>) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(datagram, "datagram");
    let fits = len.is_none_or(|len| datagram.len() == len);
    match [reader.u8()?, reader.u8()?] {
        [first, VERSION] if first == kind && fits => Ok(reader),
        _ => Err(Malformed),
    }
}

/// What was read, if nothing is left.
fn end<T>(reader: &Reader<'_>, read: T) -> Result<T, Malformed> {
    reader.is_empty().then_some(read).ok_or(Malformed)
}

/// Why a server did not look into a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closed {
    /// The cookie is of another address or too old, so the client must ask for another. The request had no
    /// effect.
    StaleCookie,
    /// The server's token is missing or wrong.
    WrongToken,
    /// There were too many requests from this network. It may ask again after this many seconds.
    TooMany(u16),
}

impl Closed {
    /// The number in an answer, and the seconds.
    const fn encode(self) -> (u8, u16) {
        match self {
            Closed::StaleCookie => (0, 0),
            Closed::WrongToken => (1, 0),
            Closed::TooMany(seconds) => (2, seconds),
        }
    }

    const fn decode(number: u8, seconds: u16) -> Option<Self> {
        match number {
            0 => Some(Closed::StaleCookie),
            1 => Some(Closed::WrongToken),
            2 => Some(Closed::TooMany(seconds)),
            _ => None,
        }
    }
}

/// The first number of other results.
const FIRST_OWN: u8 = 3;

/// The number of a result in an answer, by its place among all of its kind.
fn number_of<T: PartialEq>(result: &T, all: &[T]) -> u8 {
    let place = all.iter().position(|one| one == result);
    FIRST_OWN + u8::try_from(place.expect("all are listed")).expect("there are few")
}

/// The result with this number.
fn numbered<T: Copy>(number: u8, all: &[T]) -> Result<T, Malformed> {
    let place = number.checked_sub(FIRST_OWN).ok_or(Malformed)?;
    all.get(usize::from(place)).copied().ok_or(Malformed)
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    out.extend(ip.octets());
    out.extend(address.port().to_be_bytes());
}

fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, Truncated> {
    let ip = Ipv6Addr::from(reader.array::<16>()?).to_canonical();
    Ok(SocketAddr::new(ip, reader.u16()?))
}

/// Appends the length of a name and the name; 0 for no name.
fn put_name(out: &mut Vec<u8>, name: Option<&Name>) {
    let text = name.map_or("", Name::as_str);
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend(text.as_bytes());
}

fn name(reader: &mut Reader<'_>) -> Result<Option<Name>, Malformed> {
    let len = usize::from(reader.u8()?);
    let text = std::str::from_utf8(reader.bytes(len)?).map_err(|_| Malformed)?;
    match text {
        "" => Ok(None),
        text => Name::parse(text)
            .ok()
            .filter(|name| name.as_str() == text)
            .map(Some)
            .ok_or(Malformed),
    }
}

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Want {
    /// A number to wait at; this one, if it is free.
    Wait(Option<Nameplate>),
    /// To meet the client that waits at this number.
    Join(Nameplate),
    /// To meet by name.
    Named(Names),
    /// Nothing any more: the client leaves.
    Leave,
    /// Nothing any more: the peer did not know the words.
    Burn,
}

/// The names of two people who meet by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The name under which to wait if nobody is there. Without one the client does not wait.
    pub own: Option<Name>,
    /// The name of the peer. Without one, the client meets anybody who asks for its own name.
    pub peer: Option<Name>,
}

/// OPEN: a client's request, and data for the peer. It is repeated with all data so far, so each copy may be
/// lost, duplicated or late.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// The author's errand.
    pub errand: Errand,
    /// What the author wants.
    pub want: Want,
    /// The author's session number.
    pub session: SessionId,
    /// From a [`Welcome`] to the same address.
    pub cookie: Cookie,
    /// See [`proof`]; zeros if the server has no token.
    pub proof: [u8; 16],
    /// The round-trip time between the author and the server.
    pub rtt: Duration,
    /// The author's message of the key exchange.
    pub message: [u8; MESSAGE_LEN],
    /// The author's confirmation and sealed address; empty while there is no key.
    pub sealed: Vec<u8>,
}

impl Open {
    /// Bytes of the datagram, whatever it contains.
    pub(crate) const LEN: usize = LONGEST;

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let nobody = Names::default();
        let (want, nameplate, names) = match &self.want {
            Want::Wait(nameplate) => (0, *nameplate, &nobody),
            Want::Join(nameplate) => (1, Some(*nameplate), &nobody),
            Want::Leave => (2, None, &nobody),
            Want::Burn => (3, None, &nobody),
            Want::Named(names) => (4, None, names),
        };
        let mut out = vec![packet::OPEN, VERSION, self.errand as u8, want];
        out.extend(self.session.0.to_be_bytes());
        out.extend(self.cookie);
        out.extend(self.proof);
        out.extend(nameplate.map_or(0, Nameplate::get).to_be_bytes());
        let micros = u32::try_from(self.rtt.as_micros()).unwrap_or(u32::MAX);
        out.extend(micros.to_be_bytes());
        out.extend(self.message);
        put_name(&mut out, names.own.as_ref());
        put_name(&mut out, names.peer.as_ref());
        put_string(&mut out, &self.sealed[..self.sealed.len().min(MAX_SEALED)]);
        out.resize(Self::LEN, 0);
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not an OPEN.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::OPEN, Some(Self::LEN))?;
        let errand = Errand::from_code(reader.u8()?).ok_or(Malformed)?;
        let want = reader.u8()?;
        let session = SessionId(reader.u64()?);
        let (cookie, proof) = (reader.array()?, reader.array()?);
        let nameplate = Nameplate::new(reader.u16()?);
        let rtt = Duration::from_micros(u64::from(reader.u32()?));
        let message = reader.array()?;
        let names = Names {
            own: name(&mut reader)?,
            peer: name(&mut reader)?,
        };
        let want = match (want, nameplate) {
            (0, nameplate) => Want::Wait(nameplate),
            (1, Some(nameplate)) => Want::Join(nameplate),
            (2, _) => Want::Leave,
            (3, _) => Want::Burn,
            (4, _) if names.own.is_some() || names.peer.is_some() => Want::Named(names),
            _ => return Err(Malformed),
        };
        let sealed = sealed(&mut reader)?;
        Ok(Open {
            errand,
            want,
            session,
            cookie,
            proof,
            rtt,
            message,
            sealed,
        })
    }
}

fn sealed(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let bytes = reader.string()?;
    if bytes.len() > MAX_SEALED {
        return Err(Malformed);
    }
    Ok(bytes.to_vec())
}

/// The state of a client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The server did not look into it.
    Closed(Closed),
    /// The client waits at its number.
    Waiting,
    /// A peer is there, and this is our end of the code.
    Paired(End),
    /// Nobody waits at that number: it was mistyped, used or expired.
    Nobody,
    /// The client that waits there has an errand that does not fit ours.
    SameRole,
    /// The peer has left.
    Gone,
    /// One of the two did not know the words.
    Burnt,
    /// The client waited too long, or the server had no more room.
    Expired,
    /// Nobody waits at that number, but the server was just restarted: the client should ask again.
    Fresh,
    /// Somebody else waits under that name.
    NameTaken,
}

impl Standing {
    /// In the order of their numbers.
    const ALL: [Standing; 10] = [
        Standing::Waiting,
        Standing::Paired(End::Owner),
        Standing::Paired(End::Joiner),
        Standing::Nobody,
        Standing::SameRole,
        Standing::Gone,
        Standing::Burnt,
        Standing::Expired,
        Standing::Fresh,
        Standing::NameTaken,
    ];
}

/// STATE: the state of a request, and the peer's data so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The client's session number.
    pub session: SessionId,
    /// The state of the request.
    pub standing: Standing,
    /// The server's clock, in Unix nanoseconds.
    pub unix_nanos: u64,
    /// The number to wait at, if the client has one.
    pub nameplate: Option<Nameplate>,
    /// When both sides must punch, in Unix nanoseconds by the server's clock; 0 while one of the two has more
    /// to send.
    pub moment: u64,
    /// The peer's message of the key exchange; zeros while there is no peer.
    pub message: [u8; MESSAGE_LEN],
    /// The peer's confirmation and sealed address.
    pub sealed: Vec<u8>,
}

impl State {
    /// The datagram: at most [`Open::LEN`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (standing, seconds) = match self.standing {
            Standing::Closed(closed) => closed.encode(),
            other => (number_of(&other, &Standing::ALL), 0),
        };
        let mut out = vec![packet::STATE, VERSION, standing, 0];
        out.extend(self.session.0.to_be_bytes());
        out.extend(self.unix_nanos.to_be_bytes());
        out.extend(self.nameplate.map_or(0, Nameplate::get).to_be_bytes());
        out.extend(seconds.to_be_bytes());
        out.extend(self.moment.to_be_bytes());
        out.extend(self.message);
        put_string(&mut out, &self.sealed[..self.sealed.len().min(MAX_SEALED)]);
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a STATE.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::STATE, None)?;
        let number = reader.u8()?;
        reader.u8()?;
        let session = SessionId(reader.u64()?);
        let unix_nanos = reader.u64()?;
        let nameplate = Nameplate::new(reader.u16()?);
        let seconds = reader.u16()?;
        let standing = match Closed::decode(number, seconds) {
            Some(closed) => Standing::Closed(closed),
            None => numbered(number, &Standing::ALL)?,
        };
        let state = State {
            session,
            standing,
            unix_nanos,
            nameplate,
            moment: reader.u64()?,
            message: reader.array()?,
            sealed: sealed(&mut reader)?,
        };
        end(&reader, state)
    }
}

#[cfg(test)]
mod tests;
