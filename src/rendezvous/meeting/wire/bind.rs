//! The datagrams of the relay: a client asks the server to pass on what it and its peer send.

use super::{Closed, Cookie, Malformed, SessionId, VERSION, begin, number_of, numbered, packet};
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
    /// The server did not look into the request.
    Closed(Closed),
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

impl Binding {
    /// In the order of their numbers.
    const ALL: [Binding; 6] = [
        Binding::Waiting,
        Binding::Joined,
        Binding::NoRelay,
        Binding::Full,
        Binding::Spent,
        Binding::Left,
    ];
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
            Binding::Closed(closed) => closed.encode(),
            other => (number_of(&other, &Binding::ALL), 0),
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
        let number = reader.u8()?;
        reader.u8()?;
        let session = SessionId(reader.u64()?);
        let binding = match Closed::decode(number, reader.u16()?) {
            Some(closed) => Binding::Closed(closed),
            None => numbered(number, &Binding::ALL)?,
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
            Binding::Closed(Closed::StaleCookie),
            Binding::Closed(Closed::WrongToken),
            Binding::Closed(Closed::TooMany(9)),
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
