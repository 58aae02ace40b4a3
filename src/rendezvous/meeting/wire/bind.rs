//! The datagrams with which a client has a server pass on what it and its peer send each other.

use super::{Cookie, Malformed, SessionId, VERSION, packet};
use crate::protocol::codec::Reader;
use crate::rendezvous::meeting::pake::End;

/// What the two ends of a pair know and nobody else: whoever names it is joined to whoever names it, too.
pub(crate) type Ticket = [u8; 16];

/// What a client wants of the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindWant {
    /// Pass on what comes from the address this comes from.
    Bind,
    /// No more: it leaves.
    Leave,
}

/// A client's wish to be joined with its peer: BIND. It is repeated to keep the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bind {
    /// Which end of the code its author is: the two ends of a pair differ.
    pub end: End,
    /// What it wants.
    pub want: BindWant,
    /// Its own number; the answer repeats it.
    pub session: SessionId,
    /// From a [`Welcome`](super::Welcome) to the same address.
    pub cookie: Cookie,
    /// See [`proof`](super::proof); zeros if the server wants none.
    pub proof: [u8; 16],
    /// The pair's.
    pub ticket: Ticket,
}

impl Bind {
    /// Its length.
    pub(crate) const LEN: usize = 60;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let end = u8::from(self.end == End::Joiner);
        let want = u8::from(self.want == BindWant::Leave);
        let mut out = vec![packet::BIND, VERSION, end, want];
        out.extend(self.session.0.to_be_bytes());
        out.extend(self.cookie);
        out.extend(self.proof);
        out.extend(self.ticket);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "bind");
        if datagram.len() != Self::LEN || reader.u8()? != packet::BIND || reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let (end, want) = (reader.u8()?, reader.u8()?);
        Ok(Bind {
            end: match end {
                0 => End::Owner,
                1 => End::Joiner,
                _ => return Err(Malformed),
            },
            want: match want {
                0 => BindWant::Bind,
                1 => BindWant::Leave,
                _ => return Err(Malformed),
            },
            session: SessionId(reader.u64()?),
            cookie: reader.array()?,
            proof: reader.array()?,
            ticket: reader.array()?,
        })
    }
}

/// How a [`Bind`] stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// The cookie is of another address or too old. Nothing was done.
    StaleCookie,
    /// The server's word is missing or wrong.
    WrongToken,
    /// Too many requests from this network; again after so many seconds.
    TooMany(u16),
    /// The peer has not come yet.
    Waiting,
    /// Both are there: what one sends reaches the other.
    Joined,
    /// The server does not relay.
    NoRelay,
    /// It relays for as many as it can.
    Full,
    /// The pair has sent all that one pair may.
    Spent,
    /// It has left.
    Left,
}

/// The answer to a [`Bind`]: BOUND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The client's number.
    pub session: SessionId,
    /// How it stands.
    pub binding: Binding,
}

impl Bound {
    /// Its length.
    pub(crate) const LEN: usize = 14;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (binding, seconds) = match self.binding {
            Binding::StaleCookie => (0, 0),
            Binding::WrongToken => (1, 0),
            Binding::TooMany(seconds) => (2, seconds),
            Binding::Waiting => (3, 0),
            Binding::Joined => (4, 0),
            Binding::NoRelay => (5, 0),
            Binding::Full => (6, 0),
            Binding::Spent => (7, 0),
            Binding::Left => (8, 0),
        };
        let mut out = vec![packet::BOUND, VERSION, binding, 0];
        out.extend(self.session.0.to_be_bytes());
        out.extend(seconds.to_be_bytes());
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "bound");
        if datagram.len() != Self::LEN || reader.u8()? != packet::BOUND || reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let binding = reader.u8()?;
        reader.u8()?;
        let session = SessionId(reader.u64()?);
        let seconds = reader.u16()?;
        let binding = match binding {
            0 => Binding::StaleCookie,
            1 => Binding::WrongToken,
            2 => Binding::TooMany(seconds),
            3 => Binding::Waiting,
            4 => Binding::Joined,
            5 => Binding::NoRelay,
            6 => Binding::Full,
            7 => Binding::Spent,
            8 => Binding::Left,
            _ => return Err(Malformed),
        };
        Ok(Bound { session, binding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_and_answer_is_read_back_and_no_answer_is_longer_than_its_wish() {
        for (end, want) in [
            (End::Owner, BindWant::Bind),
            (End::Joiner, BindWant::Bind),
            (End::Owner, BindWant::Leave),
        ] {
            let bind = Bind {
                end,
                want,
                session: SessionId(7),
                cookie: [1; 16],
                proof: [2; 16],
                ticket: [3; 16],
            };
            let bytes = bind.encode();
            assert_eq!(Bind::decode(&bytes), Ok(bind));
            assert_eq!(Bind::decode(&bytes[1..]), Err(Malformed));
            assert_eq!(bytes.len(), Bind::LEN);
        }
        for binding in [
            Binding::StaleCookie,
            Binding::WrongToken,
            Binding::TooMany(9),
            Binding::Waiting,
            Binding::Joined,
            Binding::NoRelay,
            Binding::Full,
            Binding::Spent,
            Binding::Left,
        ] {
            let session = SessionId(7);
            let bytes = Bound { session, binding }.encode();
            assert!(bytes.len() == Bound::LEN && bytes.len() <= Bind::LEN);
            assert_eq!(Bound::decode(&bytes), Ok(Bound { session, binding }));
        }
    }
}
