//! All layouts of a sealed packet: the clear header, and the frames under the seal.
//!
//! A decoder must consume all bytes. docs/protocol.md shows the same layouts as bit diagrams.

use std::ops::Range;

use super::codec::{Reader, Truncated, put_varint, varint_len};
use super::ecn::EcnCounts;

/// The bytes break the layout. Sealed packets come from the authenticated peer, so this closes the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

impl From<Truncated> for Malformed {
    fn from(Truncated(what): Truncated) -> Self {
        Malformed(what)
    }
}

/// The first byte of a sealed packet. Its lowest bit is the key phase.
const SEALED: u8 = 0x50;
/// The clear header: first byte, connection ID, packet number.
pub const HEADER_LEN: usize = 13;
/// Authentication tag of both AEADs.
pub const TAG_LEN: usize = 16;
/// Bytes of a DATA frame before its contents: type and offset.
pub const DATA_HEADER_LEN: usize = 9;
/// Bytes of a CONTROL frame before its contents: type, offset, length.
pub(crate) const CONTROL_HEADER_LEN: usize = 11;
/// A datagram size that nearly every Internet path carries (RFC 9000, section 14).
pub(crate) const BASE_MTU: u16 = 1200;
/// A datagram size that every path carries: 576 bytes (RFC 791, section 3.1) minus the longest IPv4 header
/// and the UDP header.
pub(crate) const MIN_MTU: u16 = 576 - 60 - 8;
/// The longest reason text of a CLOSE frame: it fits the smallest datagram.
pub(crate) const MAX_REASON: usize = 448;

/// A packet number, unique in its direction for the whole connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PacketNumber(u64);

impl PacketNumber {
    /// The packet number with this value.
    pub const fn new(n: u64) -> Self {
        PacketNumber(n)
    }
    /// The value of the number.
    pub const fn value(self) -> u64 {
        self.0
    }
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        PacketNumber(self.0 + 1)
    }
}

/// The clear part of a sealed packet. It is authenticated with the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The lowest bit of the key generation.
    pub key_phase: bool,
    /// The connection ID, chosen by the receiver of the packet.
    pub connection_id: u32,
    /// The packet number.
    pub number: PacketNumber,
}

impl Header {
    /// Reads the header. `None` if the datagram is not a sealed packet.
    pub fn decode(datagram: &[u8]) -> Option<Header> {
        if datagram.len() < HEADER_LEN + TAG_LEN || datagram[0] & !1 != SEALED {
            return None;
        }
        let mut r = Reader::new(&datagram[1..HEADER_LEN], "header");
        Some(Header {
            key_phase: datagram[0] & 1 == 1,
            connection_id: r.u32().ok()?,
            number: PacketNumber(r.u64().ok()?),
        })
    }

    /// Writes the header at the start of `buf`.
    pub fn encode(&self, buf: &mut [u8]) {
        buf[0] = SEALED | u8::from(self.key_phase);
        buf[1..5].copy_from_slice(&self.connection_id.to_be_bytes());
        buf[5..13].copy_from_slice(&self.number.0.to_be_bytes());
    }
}

/// A report of what arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The highest packet number received.
    pub largest: u64,
    /// How long the receiver held that packet before it sent the ACK, in microseconds.
    pub delay_us: u32,
    /// The content bytes for which the receiver has room, including those in flight.
    pub flow_limit: u64,
    /// Packets received so far with ECN marks.
    pub ecn: EcnCounts,
    ranges: &'a [u8],
    first_len: u64,
}

impl<'a> Ack<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        const WHAT: &str = frame::name(frame::ACK);
        let largest = r.u64()?;
        let delay_us = r.u32()?;
        let flow_limit = u64::from(r.u32()?) << 10;
        let ecn = EcnCounts {
            ect0: r.varint()?,
            ce: r.varint()?,
        };
        let first_len = r.varint()?;
        let count = r.u16()?;
        let tail = r.clone().rest();
        // Checks all ranges here, so that the iterator cannot meet anything malformed.
        let mut low = largest
            .checked_add(1)
            .and_then(|end| end.checked_sub(first_len))
            .ok_or(Malformed(WHAT))?;
        for _ in 0..count {
            let (gap, len) = (r.varint()?, r.varint()?);
            low = low
                .checked_sub(gap)
                .and_then(|l| l.checked_sub(len))
                .ok_or(Malformed(WHAT))?;
            if gap == 0 || len == 0 {
                return Err(Malformed(WHAT));
            }
        }
        if first_len == 0 {
            return Err(Malformed(WHAT));
        }
        Ok(Ack {
            largest,
            delay_us,
            flow_limit,
            ecn,
            first_len,
            ranges: &tail[..tail.len() - r.len()],
        })
    }

    /// The ranges of received packet numbers, highest first.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + 'a {
        let mut r = Reader::new(self.ranges, frame::name(frame::ACK));
        let end = self.largest + 1;
        let mut low = end - self.first_len;
        std::iter::once(low..end).chain(std::iter::from_fn(move || {
            let gap = r.varint().ok()?;
            let len = r.varint().ok()?;
            let high = low - gap;
            low = high - len;
            Some(low..high)
        }))
    }

    /// Appends an ACK frame for `received`, the highest ranges first, as many as `room` bytes hold.
    pub fn encode<'r>(
        buf: &mut Vec<u8>,
        room: usize,
        mut received: impl Iterator<Item = &'r Range<u64>>,
        delay_us: u32,
        flow_limit: u64,
        ecn: EcnCounts,
    ) {
        let Some(first) = received.next() else { return };
        let limit = buf.len() + room;
        buf.push(frame::ACK);
        buf.extend_from_slice(&(first.end - 1).to_be_bytes());
        buf.extend_from_slice(&delay_us.to_be_bytes());
        buf.extend_from_slice(&u32::try_from(flow_limit >> 10).unwrap_or(u32::MAX).to_be_bytes());
        put_varint(buf, ecn.ect0);
        put_varint(buf, ecn.ce);
        put_varint(buf, first.end - first.start);
        let count_at = buf.len();
        buf.extend_from_slice(&[0, 0]);
        let (mut low, mut count) = (first.start, 0u16);
        for range in received {
            let (gap, len) = (low - range.end, range.end - range.start);
            if buf.len() + varint_len(gap) + varint_len(len) > limit || count == u16::MAX {
                break;
            }
            put_varint(buf, gap);
            put_varint(buf, len);
            low = range.start;
            count += 1;
        }
        buf[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    }
}

/// Most bytes of an ACK of one range: type, highest number, delay, limit, both counts of marks, length, count of ranges.
pub(crate) const ACK_HEAD_LEN: usize = 1 + 8 + 4 + 4 + 3 * 8 + 2;

/// Frame types.
pub(crate) mod frame {
    /// Ignored, up to the packet's end.
    pub(crate) const PADDING: u8 = 0;
    /// Asks for an acknowledgement.
    pub(crate) const PING: u8 = 1;
    /// A report of what arrived.
    pub(crate) const ACK: u8 = 2;
    /// Content bytes, up to the packet's end.
    pub(crate) const DATA: u8 = 3;
    /// Bytes of the control stream.
    pub(crate) const CONTROL: u8 = 4;
    /// Asks the peer to send the same eight bytes back on the same path.
    pub(crate) const PATH_CHALLENGE: u8 = 5;
    /// The answer: those eight bytes.
    pub(crate) const PATH_RESPONSE: u8 = 6;
    /// Ends the connection.
    pub(crate) const CLOSE: u8 = 7;

    /// The name of a frame type, for errors.
    pub(super) const fn name(kind: u8) -> &'static str {
        match kind {
            PADDING => "padding",
            PING => "PING frame",
            ACK => "ACK frame",
            DATA => "DATA frame",
            CONTROL => "CONTROL frame",
            PATH_CHALLENGE => "PATH_CHALLENGE frame",
            PATH_RESPONSE => "PATH_RESPONSE frame",
            CLOSE => "CLOSE frame",
            _ => "frame type",
        }
    }
}

/// One frame, borrowed from an opened packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// Asks for an acknowledgement.
    Ping,
    /// A report of what arrived.
    Ack(Ack<'a>),
    /// Content bytes at an offset, and where they lie in the opened packet.
    Data {
        /// Offset in the content space.
        offset: u64,
        /// Position in the decoded slice.
        range: Range<usize>,
    },
    /// Bytes of the control stream.
    Control {
        /// Offset in the stream.
        offset: u64,
        /// The bytes at that offset.
        bytes: &'a [u8],
    },
    /// Asks the peer to send the same eight bytes back on the same path.
    PathChallenge(u64),
    /// The answer: those eight bytes.
    PathResponse(u64),
    /// Ends the connection, and tells why.
    Close {
        /// A code for programs.
        code: u16,
        /// A text for people; untrusted.
        reason: &'a [u8],
    },
}

/// Decodes the frames of one packet.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    /// The length of the whole plaintext.
    len: usize,
    /// The types that came, one bit each, for types that may come once in a packet.
    seen: u8,
}

impl<'a> Frames<'a> {
    /// Decodes an opened packet's plaintext.
    pub const fn new(plaintext: &'a [u8]) -> Self {
        Frames {
            rest: plaintext,
            len: plaintext.len(),
            seen: 0,
        }
    }

    fn decode(&mut self, kind: u8, body: &'a [u8]) -> Result<Frame<'a>, Malformed> {
        let what = frame::name(kind);
        let mut r = Reader::new(body, what);
        let frame = match kind {
            frame::PING => Frame::Ping,
            frame::ACK => Frame::Ack(Ack::decode(&mut r)?),
            frame::DATA => {
                let offset = r.u64()?;
                let range = self.len - r.rest().len()..self.len;
                if range.is_empty() || offset.checked_add(range.len() as u64).is_none() {
                    return Err(Malformed(what));
                }
                Frame::Data { offset, range }
            }
            frame::CONTROL => {
                let offset = r.u64()?;
                let bytes = r.string()?;
                if offset.checked_add(bytes.len() as u64).is_none() {
                    return Err(Malformed(what));
                }
                Frame::Control { offset, bytes }
            }
            frame::PATH_CHALLENGE => Frame::PathChallenge(r.u64()?),
            frame::PATH_RESPONSE => Frame::PathResponse(r.u64()?),
            frame::CLOSE => {
                let (code, reason) = (r.u16()?, r.string()?);
                if reason.len() > MAX_REASON {
                    return Err(Malformed(what));
                }
                Frame::Close { code, reason }
            }
            _ => return Err(Malformed(what)),
        };
        self.rest = r.rest();
        Ok(frame)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // Nothing follows padding or a malformed frame.
        let (&kind, body) = std::mem::take(&mut self.rest).split_first()?;
        if kind == frame::PADDING {
            let is_bad = body.iter().any(|b| *b != 0);
            return is_bad.then_some(Err(Malformed(frame::name(kind))));
        }
        // Each of these costs work beyond its bytes, so a packet may hold one of each type.
        if let frame::ACK | frame::PATH_CHALLENGE | frame::PATH_RESPONSE = kind {
            if self.seen & 1 << kind != 0 {
                return Some(Err(Malformed(frame::name(kind))));
            }
            self.seen |= 1 << kind;
        }
        Some(self.decode(kind, body))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ranges::RangeSet;
    use super::*;

    #[test]
    fn header_matches_the_document() {
        let header = Header {
            key_phase: true,
            connection_id: 0x0102_0304,
            number: PacketNumber(5),
        };
        let mut buf = [0u8; HEADER_LEN + TAG_LEN];
        header.encode(&mut buf);
        assert_eq!(buf[..HEADER_LEN], [0x51, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(Header::decode(&buf), Some(header));
    }

    proptest! {
        #[test]
        fn ack_says_what_it_was_told(spans in proptest::collection::vec((1u64..2000, 1u64..100_000), 1..60), room in 64usize..1200) {
            let mut set = RangeSet::default();
            let mut at = 0;
            for (len, gap) in spans {
                at += gap;
                set.insert(at..at + len);
                at += len;
            }
            let mut buf = Vec::new();
            let ecn = EcnCounts { ect0: 300, ce: 2 };
            Ack::encode(&mut buf, room, set.iter().rev(), 7, 1 << 20, ecn);
            prop_assert!(buf.len() <= room);
            let mut frames = Frames::new(&buf);
            let Some(Ok(Frame::Ack(ack))) = frames.next() else { panic!("an ACK") };
            prop_assert!(frames.next().is_none());
            prop_assert_eq!((ack.delay_us, ack.flow_limit, ack.ecn), (7, 1 << 20, ecn));
            for (said, known) in ack.ranges().zip(set.iter().rev()) {
                prop_assert_eq!(&said, known);
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for frame in Frames::new(&bytes) {
                if let Ok(Frame::Ack(ack)) = frame {
                    let _ = ack.ranges().map(|r| r.end - r.start).fold(0u64, u64::wrapping_add);
                }
            }
            let _ = Header::decode(&bytes);
        }
    }
}
