//! The bytes of a token.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! | version       | g |C|flt|map|R|     X25519 key (256)...     |
//! +---------------+---------------+-------------------------------+
//! | spare port 1                  | spare port 2                  |
//! +-------------------------------+---------------+---------------+
//! | spare port 3                  |T|      n      | n candidates..|
//! +-------------------------------+---------------+---------------+
//! | g 1: last port, 2: first      | g 1: step, 2: last            |
//! +-------------------------------+-------------------------------+
//! |             CRC32 of the front address and all above          |
//! +---------------------------------------------------------------+
//! ```
//! R: the owner receives. C: the owner chats. g: guessing, 0 anywhere, 1 in steps, 2 between two ports, 3
//! refused; 0 and 3 carry no ports. T: the owner has only its system's clock. A candidate is 4 or 6, the
//! address in 4 or 16 bytes, and the port. The first byte and the last four have the same meaning in every
//! version, so that an old program can tell a newer address from a damaged one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    AddressError, Filtering, Guessing, MAX_CANDIDATES, Mapping, NatClass, Timekeeping, Token, usable,
};
use crate::protocol::codec::{Reader, Truncated};
use crate::rendezvous::errand::Errand;

const VERSION: u8 = 1;
const CRC_LEN: usize = 4;
/// This bit shares its byte with the number of candidates.
const UNTOLD: u8 = 0x80;
const SIX: u8 = 6;
const FOUR: u8 = 4;

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(FOUR);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(SIX);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

fn checksum(front: SocketAddr, body: &[u8]) -> [u8; CRC_LEN] {
    let mut bytes = Vec::new();
    put_address(&mut bytes, front);
    bytes.extend(body);
    crc32fast::hash(&bytes).to_be_bytes()
}

impl From<Truncated> for AddressError {
    /// Bytes are missing only if the paste is damaged.
    fn from(_: Truncated) -> Self {
        AddressError::Damaged
    }
}

fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, AddressError> {
    let ip = match reader.u8()? {
        FOUR => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        SIX => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
        _ => return Err(AddressError::Damaged),
    };
    let address = SocketAddr::new(ip, reader.u16()?);
    if usable(address) {
        Ok(address)
    } else {
        Err(AddressError::Damaged)
    }
}

fn guessing(kind: u8, reader: &mut Reader<'_>) -> Result<Guessing, AddressError> {
    match kind {
        0 => Ok(Guessing::Anywhere),
        1 => match (reader.u16()?, i16::from_be_bytes(reader.array()?)) {
            (_, 0) => Err(AddressError::Damaged),
            (last, step) => Ok(Guessing::Steps { last, step }),
        },
        2 => match (reader.u16()?, reader.u16()?) {
            (first, last) if first <= last => Ok(Guessing::Between { first, last }),
            _ => Err(AddressError::Damaged),
        },
        _ => Ok(Guessing::Refused),
    }
}

impl Token {
    /// Version, errand and key: they identify the owner for the whole run, even if its NAT maps differently
    /// meanwhile.
    pub(crate) fn identity(&self) -> [u8; 34] {
        let mut out = [0; 34];
        out[0] = VERSION;
        out[1] = self.errand as u8;
        out[2..].copy_from_slice(&self.key);
        out
    }

    pub(super) fn encode(&self, front: SocketAddr) -> Vec<u8> {
        let (mapping, filtering) = (self.nat.mapping as u8, self.nat.filtering as u8);
        let errand = match self.errand {
            Errand::Send => 0,
            Errand::Receive => 1,
            Errand::Chat => 1 << 5,
        };
        let (guessing, ports) = match self.guessing {
            Guessing::Anywhere => (0, None),
            Guessing::Steps { last, step } => (1, Some([last, step.cast_unsigned()])),
            Guessing::Between { first, last } => (2, Some([first, last])),
            Guessing::Refused => (3, None),
        };
        let mut out = vec![VERSION, guessing << 6 | errand | filtering << 3 | mapping << 1];
        out.extend(self.key);
        for port in self.spare_ports {
            out.extend(port.to_be_bytes());
        }
        let n = self.candidates.len().min(MAX_CANDIDATES);
        let untold = match self.clock {
            Timekeeping::Told => 0,
            Timekeeping::Untold => UNTOLD,
        };
        out.push(untold | u8::try_from(n).unwrap_or(0));
        for &candidate in &self.candidates[..n] {
            put_address(&mut out, candidate);
        }
        for port in ports.into_iter().flatten() {
            out.extend(port.to_be_bytes());
        }
        let crc = checksum(front, &out);
        out.extend(crc);
        out
    }

    pub(super) fn decode(bytes: &[u8], front: SocketAddr) -> Result<Self, AddressError> {
        let (body, crc) = bytes.split_last_chunk::<CRC_LEN>().ok_or(AddressError::Damaged)?;
        if checksum(front, body) != *crc {
            return Err(AddressError::Damaged);
        }
        let mut reader = Reader::new(body, "address");
        match reader.u8()? {
            VERSION => {}
            newer if newer > VERSION => return Err(AddressError::Newer),
            _ => return Err(AddressError::Older),
        }
        let flags = reader.u8()?;
        let errand = match (flags >> 5 & 1, flags & 1) {
            (0, 0) => Errand::Send,
            (0, _) => Errand::Receive,
            (1, 0) => Errand::Chat,
            _ => return Err(AddressError::Damaged),
        };
        let mapping = Mapping::ALL[usize::from(flags >> 1 & 3)];
        let filtering = Filtering::ALL[usize::from(flags >> 3 & 3)];
        let key = reader.array()?;
        let spare_ports = [reader.u16()?, reader.u16()?, reader.u16()?];
        let count = reader.u8()?;
        let clock = match count & UNTOLD {
            0 => Timekeeping::Told,
            _ => Timekeeping::Untold,
        };
        let n = usize::from(count & !UNTOLD);
        if n > MAX_CANDIDATES {
            return Err(AddressError::Damaged);
        }
        let candidates = (0..n).map(|_| address(&mut reader)).collect::<Result<_, _>>()?;
        let guessing = guessing(flags >> 6, &mut reader)?;
        if !reader.is_empty() {
            return Err(AddressError::Damaged);
        }
        Ok(Token {
            errand,
            key,
            nat: NatClass { mapping, filtering },
            spare_ports,
            candidates,
            guessing,
            clock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_or_older_version_is_told_from_damage() {
        let front: SocketAddr = "203.0.113.7:4300".parse().unwrap();
        for (version, error) in [(2, AddressError::Newer), (0, AddressError::Older)] {
            let mut bytes = vec![version, 1, 2, 3];
            bytes.extend(checksum(front, &bytes));
            assert_eq!(Token::decode(&bytes, front), Err(error));
            bytes[3] ^= 1;
            assert_eq!(Token::decode(&bytes, front), Err(AddressError::Damaged));
        }
    }
}
