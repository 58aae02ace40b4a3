//! The datagrams with which a client learns who waits under a name.

use std::time::Duration;

use super::{
    Closed, Cookie, LONGEST, Malformed, SessionId, VERSION, begin, end, name, number_of, numbered, packet,
    put_name,
};
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::name::Name;

/// LIST: asks for names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct List {
    /// The client's session number, which the answer repeats.
    pub session: SessionId,
    /// From a [`Welcome`](super::Welcome) to the same address.
    pub cookie: Cookie,
    /// See [`proof`](super::proof).
    pub proof: [u8; 16],
    /// Asks for the names after this one, in alphabetical order.
    pub after: Option<Name>,
}

impl List {
    /// Bytes of the datagram; as many as the longest answer has.
    pub(crate) const LEN: usize = LONGEST;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![packet::LIST, VERSION, 0, 0];
        out.extend(self.session.0.to_be_bytes());
        out.extend(self.cookie);
        out.extend(self.proof);
        put_name(&mut out, self.after.as_ref());
        out.resize(Self::LEN, 0);
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a LIST.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::LIST, Some(Self::LEN))?;
        reader.bytes(2)?;
        Ok(List {
            session: SessionId(reader.u64()?),
            cookie: reader.array()?,
            proof: reader.array()?,
            after: name(&mut reader)?,
        })
    }
}

/// Somebody who waits under a name, or has just met somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Present {
    pub name: Name,
    pub errand: Errand,
    /// Whether somebody has come.
    pub busy: bool,
    /// How long it has waited, in whole seconds.
    pub waited: Duration,
}

/// The result of a [`List`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    /// The server did not look into the request.
    Closed(Closed),
    /// The list is complete.
    All,
    /// There are more names after the last of these.
    More,
    /// The server has no token. Anybody could ask, so it tells nobody.
    Untold,
}

impl Listing {
    /// In the order of their numbers.
    const ALL: [Listing; 3] = [Listing::All, Listing::More, Listing::Untold];
}

/// LISTING: the answer to a [`List`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    /// The client's session number.
    pub session: SessionId,
    pub listing: Listing,
    /// At most [`Listed::MOST`] entries.
    pub present: Vec<Present>,
}

impl Listed {
    /// The number of entries that fit if all names have the greatest length.
    pub(crate) const MOST: usize = (List::LEN - 15) / (1 + Name::MAX + 6);

    /// The datagram: at most [`List::LEN`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (listing, seconds) = match self.listing {
            Listing::Closed(closed) => closed.encode(),
            other => (number_of(&other, &Listing::ALL), 0),
        };
        let mut out = vec![packet::LISTING, VERSION, listing, 0];
        out.extend(self.session.0.to_be_bytes());
        out.extend(seconds.to_be_bytes());
        let present = &self.present[..self.present.len().min(Self::MOST)];
        out.push(u8::try_from(present.len()).unwrap_or(0));
        for one in present {
            put_name(&mut out, Some(&one.name));
            out.extend([one.errand as u8, u8::from(one.busy)]);
            let seconds = u32::try_from(one.waited.as_secs()).unwrap_or(u32::MAX);
            out.extend(seconds.to_be_bytes());
        }
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a LISTING.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::LISTING, None)?;
        let number = reader.u8()?;
        reader.u8()?;
        let session = SessionId(reader.u64()?);
        let listing = match Closed::decode(number, reader.u16()?) {
            Some(closed) => Listing::Closed(closed),
            None => numbered(number, &Listing::ALL)?,
        };
        let count = usize::from(reader.u8()?);
        if count > Self::MOST {
            return Err(Malformed);
        }
        let mut present = Vec::with_capacity(count);
        for _ in 0..count {
            present.push(Present {
                name: name(&mut reader)?.ok_or(Malformed)?,
                errand: Errand::from_code(reader.u8()?).ok_or(Malformed)?,
                busy: reader.u8()? != 0,
                waited: Duration::from_secs(u64::from(reader.u32()?)),
            });
        }
        let listed = Listed {
            session,
            listing,
            present,
        };
        end(&reader, listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_and_answer_is_read_back_and_no_answer_is_longer_than_its_question() {
        let named = |text: &str| Name::parse(text).expect("a name");
        for after in [None, Some(named("alice"))] {
            let list = List {
                session: SessionId(7),
                cookie: [1; 16],
                proof: [2; 16],
                after,
            };
            assert_eq!(List::decode(&list.encode()), Ok(list));
        }
        let one = Present {
            name: named(&"a".repeat(Name::MAX)),
            errand: Errand::Chat,
            busy: true,
            waited: Duration::from_secs(75),
        };
        for listing in [
            Listing::Closed(Closed::StaleCookie),
            Listing::Closed(Closed::WrongToken),
            Listing::Closed(Closed::TooMany(9)),
            Listing::All,
            Listing::More,
            Listing::Untold,
        ] {
            let listed = Listed {
                session: SessionId(7),
                listing,
                present: vec![one.clone(); Listed::MOST],
            };
            let bytes = listed.encode();
            assert!(bytes.len() <= List::LEN);
            assert_eq!(Listed::decode(&bytes), Ok(listed));
            assert_eq!(Listed::decode(&bytes[..bytes.len() - 1]), Err(Malformed));
        }
    }
}
