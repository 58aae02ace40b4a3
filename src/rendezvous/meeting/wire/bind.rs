//! The datagrams of the relay: a client asks the server to pass on what it and its peer send.

use super::{Cookie, Malformed, SessionId, VERSION, begin, packet};
use crate::rendezvous::meeting::pake::End;

/// A value that only the two ends of a pair know. The relay joins two clients that name the same ticket.
pub(crate) type Ticket = [u8; 16];

/// What a client wants from the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindWant {
    /// Pass on what comes from the address of this datagram.
    Bind = 0,
    /// Stop: the client leaves.
    Leave = 1,
}

/// BIND: a client's request to be joined with its peer. It is repeated to keep the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bind {
    /// The sender's end of the code. The two ends of a pair differ.
    pub end: End,
    /// What the client wants.
    pub want: BindWant,
    /// The client's session number, which the answer repeats.
    pub session: SessionId,
    /// From a [`Welcome`](super::Welcome) to the same address.
    pub cookie: Cookie,
    /// See [`proof`](super::proof); zeros if the server has no token.
    pub proof: [u8; 16],
    /// The pair's ticket.
    pub ticket: Ticket,
}

impl Bind {
    /// Bytes of the datagram.
    pub(crate) const LEN: usize = 60;

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![packet::BIND, VERSION, self.end as u8, self.want as u8];
        out.extend(self.session.0.to_be_bytes());
        out.extend(self.cookie);
        out.extend(self.proof);
        out.extend(self.ticket);
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a BIND.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::BIND, Some(Self::LEN))?;
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

/// The result of a [`Bind`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// The cookie is of another address or too old. The request had no effect.
    StaleCookie,
    /// The server's token is missing or wrong.
    WrongToken,
    /// There were too many requests from this network. It may ask again after this many seconds.
    TooMany(u16),
    /// The peer has not come yet.
    Waiting,
    /// Both ends are bound: what one sends reaches the other.
    Joined,
    /// The server has no relay.
    NoRelay,
    /// The relay is full.
    Full,
    /// The pair has used up its bytes.
    Spent,
    /// The client has left.
    Left,
}

/// BOUND: the answer to a [`Bind`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The client's session number.
    pub session: SessionId,
    /// The result.
    pub binding: Binding,
}

impl Bound {
    /// Bytes of the datagram.
    pub(crate) const LEN: usize = 14;

    /// The datagram.
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

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a BOUND.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::BOUND, Some(Self::LEN))?;
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
