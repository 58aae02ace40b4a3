//! The datagrams with which a client shows that it receives at the address it sends from.

use std::net::SocketAddr;

use super::{Cookie, Malformed, VERSION, address, begin, end, packet, put_address};
use crate::protocol::codec::Reader;

/// HELLO: asks for a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// A random number, which the answer repeats.
    pub id: u64,
}

impl Hello {
    /// Bytes of the datagram; at least as many as the answer has.
    pub(crate) const LEN: usize = 96;

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![packet::HELLO, VERSION, 0, 0];
        out.extend(self.id.to_be_bytes());
        out.resize(Self::LEN, 0);
        out
    }

    /// Reads a HELLO of any version: all begin like this.
    ///
    /// # Errors
    ///
    /// If it is not a HELLO.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram, "hello");
        if reader.u8()? != packet::HELLO || datagram.len() != Self::LEN {
            return Err(Malformed);
        }
        reader.bytes(3)?;
        Ok(Hello { id: reader.u64()? })
    }
}

/// What a server tells its clients together with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Terms {
    /// Whether clients must know the server's token.
    pub wants_token: bool,
    pub relays: bool,
    /// The most that a pair may send through the relay, in bytes a second; 0 means no limit.
    pub pair_rate: u64,
    /// The most that a pair may send through the relay in all, in bytes; 0 means no limit.
    pub pair_bytes: u64,
}

/// COOKIE: the answer to a [`Hello`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Welcome {
    /// The number of the hello.
    pub id: u64,
    /// The cookie for the next requests from the same address.
    pub cookie: Cookie,
    /// The server's clock, in Unix nanoseconds.
    pub unix_nanos: u64,
    /// The address the hello came from.
    pub seen: SocketAddr,
    /// What the server offers.
    pub terms: Terms,
}

impl Welcome {
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

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If it is not a COOKIE.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = begin(datagram, packet::COOKIE, None)?;
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
        end(&reader, welcome)
    }
}
