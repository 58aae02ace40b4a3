//! The few STUN messages that the program writes and reads (RFC 8489, RFC 5780), with a crate that parses
//! them.

use std::net::SocketAddr;

use stun_types::attribute::{AttributeType, MappedSocketAddr, RawAttribute, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};

use crate::protocol::handshake::rng::SeedRng;

/// A 96-bit transaction id.
pub(super) type TransactionId = u128;

/// The address from which the server must answer (RFC 5780, section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AnswerFrom {
    SameAddress,
    OtherPort,
    OtherAddressAndPort,
}

const MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0001);
const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);

/// An answer to one of our requests. `mapped` is `None` if the server refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) id: TransactionId,
    pub(super) mapped: Option<SocketAddr>,
    /// Where the server answers from if asked to change address and port; only servers of RFC 5780 tell this.
    pub(super) other: Option<SocketAddr>,
}

pub(super) fn request(id: TransactionId, from: AnswerFrom) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut message = Message::builder(kind, id.into(), MessageWriteVec::new());
    let flags = match from {
        AnswerFrom::SameAddress => 0,
        AnswerFrom::OtherPort => 2,
        AnswerFrom::OtherAddressAndPort => 6,
    };
    if flags != 0 {
        message
            .add_attribute(&RawAttribute::new(CHANGE_REQUEST, &[0, 0, 0, flags]))
            .expect("the only attribute is not there twice");
    }
    message.finish()
}

/// A binding request for a socket that does not punch, and the id of its answer.
pub(crate) fn probe(seed: &[u8; 32]) -> (Vec<u8>, u128) {
    let mut rng = SeedRng::new(seed, "p2pcopy 1 stun probe");
    let id: TransactionId = u128::from_be_bytes(rng.array()) >> 32;
    (request(id, AnswerFrom::SameAddress), id)
}

/// Pads such a request to `size` bytes, a multiple of 4. The padding is an unassigned attribute, which
/// servers must ignore (RFC 8489, section 14: comprehension-optional; here the last number of that range).
pub(crate) fn padded(mut request: Vec<u8>, size: u16) -> Vec<u8> {
    const HEADER: usize = 20;
    const NOBODYS: [u8; 2] = [0xff, 0xff];
    if let Some(room) = usize::from(size).checked_sub(request.len() + 4) {
        request.extend(NOBODYS);
        request.extend((room as u16).to_be_bytes());
        request.resize(usize::from(size), 0);
        let length = (request.len() - HEADER) as u16;
        request[2..4].copy_from_slice(&length.to_be_bytes());
    }
    request
}

/// Whether a datagram is the answer to that request.
pub(crate) fn answers(datagram: &[u8], id: u128) -> bool {
    is_stun(datagram) && answer(datagram).is_some_and(|answer| answer.id == id)
}

/// Whether a datagram is STUN, by its first byte and cookie (RFC 8489, section 5). Our own begin at 0x40.
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=0x3f, _, _, _, 0x21, 0x12, 0xa4, 0x42, ..])
}

/// Reads an answer. `None` for anything else, including damaged ones.
pub(super) fn answer(datagram: &[u8]) -> Option<Answer> {
    let message = Message::from_bytes(datagram).ok()?;
    if !message.has_method(BINDING) {
        return None;
    }
    let id = message.transaction_id();
    let mapped = match message.class() {
        MessageClass::Success => {
            let xored = message.attribute::<XorMappedAddress>().ok().map(|a| a.addr(id));
            Some(xored.or_else(|| plain(&message, MAPPED_ADDRESS))?)
        }
        MessageClass::Error => None,
        _ => return None,
    };
    Some(Answer {
        id: id.into(),
        mapped,
        other: plain(&message, OTHER_ADDRESS),
    })
}

fn plain(message: &Message<'_>, kind: AttributeType) -> Option<SocketAddr> {
    MappedSocketAddr::from_raw(&message.raw_attribute(kind)?)
        .ok()
        .map(|a| a.addr())
}

/// The answer of a STUN server to `request` from `source`, for a demonstration without the internet. `None`
/// if it is not a binding request.
pub fn respond(request: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::from_bytes(request).ok()?;
    if !message.has_method(BINDING) || message.class() != MessageClass::Request {
        return None;
    }
    let mut out = Message::builder_success(&message, MessageWriteVec::new());
    out.add_attribute(&XorMappedAddress::new(source, message.transaction_id()))
        .ok()?;
    Some(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::stun::tests::telling;

    #[test]
    fn a_padded_request_is_as_long_as_it_shall_be_and_is_answered_like_any_other() {
        let (request, id) = probe(&[1; 32]);
        let mapped = "203.0.113.7:4300".parse().unwrap();
        for size in [24, 548, 1472] {
            let padded = padded(request.clone(), size);
            assert_eq!(padded.len(), usize::from(size));
            assert!(answers(&respond(&padded, mapped).unwrap(), id));
        }
        assert_eq!(padded(request.clone(), 8), request);
    }

    #[test]
    fn an_answer_is_read_and_a_request_is_not_one() {
        let request = request(77, AnswerFrom::OtherAddressAndPort);
        assert!(is_stun(&request));
        assert_eq!(answer(&request), None);
        let (mapped, other) = (
            "203.0.113.7:4300".parse().unwrap(),
            "198.51.100.1:9".parse().unwrap(),
        );
        let got = answer(&telling(respond(&request, mapped).unwrap(), other));
        assert_eq!(
            got,
            Some(Answer {
                id: 77,
                mapped: Some(mapped),
                other: Some(other)
            })
        );
    }
}
