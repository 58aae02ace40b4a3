//! The datagrams by which a client shows that it receives where it sends from.

use super::{Cookie, Malformed, VERSION, address, packet, put_address};
use crate::protocol::codec::Reader;
use std::net::SocketAddr;

/// Asks for a cookie: HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Random; the answer repeats it.
    pub id: u64,
}

impl Hello {
    /// Its length: that of the answer and more.
    pub(crate) const LEN: usize = 96;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![packet::HELLO, VERSION, 0, 0];
        out.extend(self.id.to_be_bytes());
        out.resize(Self::LEN, 0);
        out
    }

    /// Reads one of any version: all begin like this.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "hello");
        if reader.u8()? != packet::HELLO || datagram.len() != Self::LEN {
            return Err(Malformed);
        }
        reader.bytes(3)?;
        Ok(Hello { id: reader.u64()? })
    }
}

/// What a server lets its clients know with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Only whoever knows its word is served.
    pub wants_token: bool,
    /// It relays.
    pub relays: bool,
    /// The most that a pair may send through its relay, bytes a second; 0 for no limit.
    pub pair_rate: u64,
    /// And in all, bytes; 0 for no limit.
    pub pair_bytes: u64,
}

/// The answer to a [`Hello`]: COOKIE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Welcome {
    /// The hello's.
    pub id: u64,
    /// For the next requests from the same address.
    pub cookie: Cookie,
    /// The server's clock, Unix nanoseconds.
    pub unix_nanos: u64,
    /// Where the hello came from.
    pub seen: SocketAddr,
    /// What the server offers.
    pub terms: Terms,
}

impl Welcome {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.terms.wants_token) | u8::from(self.terms.relays) << 1;
        let mut out = vec![packet::COOKIE, VERSION, flags, 0];
        out.extend(self.id.to_be_bytes());
        out.extend(self.cookie);
        out.extend(self.unix_nanos.to_be_bytes());
        put_address(&mut out, self.seen);
        out.extend(self.terms.pair_rate.to_be_bytes());
        out.extend(self.terms.pair_bytes.to_be_bytes());
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "cookie");
        if reader.u8()? != packet::COOKIE || reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let flags = reader.u8()?;
        reader.u8()?;
        let welcome = Welcome {
            id: reader.u64()?,
            cookie: reader.array()?,
            unix_nanos: reader.u64()?,
            seen: address(&mut reader)?,
            terms: Terms {
                wants_token: flags & 1 != 0,
                relays: flags & 2 != 0,
                pair_rate: reader.u64()?,
                pair_bytes: reader.u64()?,
            },
        };
        if reader.is_empty() {
            Ok(welcome)
        } else {
            Err(Malformed)
        }
    }
}
