//! What the evil one heard of its victim.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;

use p2pcopy::parts::protocol::Frame;

/// What the evil one heard.
#[derive(Default)]
pub struct Heard {
    control: Vec<u8>,
    control_heard: u64,
    /// Messages nobody has asked for yet.
    pub messages: VecDeque<(u8, Vec<u8>)>,
    /// Content bytes by their offset.
    pub content: BTreeMap<u64, Vec<u8>>,
    /// Whether they are of no interest.
    pub forgets_content: bool,
    /// Packet numbers, ascending.
    pub numbers: Vec<Range<u64>>,
    /// The last flow_limit, in content bytes.
    pub flow_limit: u64,
    /// The code of the victim's CLOSE.
    pub close: Option<u16>,
    /// PATH_CHALLENGEs, and the address they came to.
    pub challenges: Vec<(SocketAddr, u64)>,
    /// Bytes that came to each address.
    pub bytes: HashMap<SocketAddr, u64>,
}

impl Heard {
    /// Takes note of a packet's number.
    pub fn note(&mut self, number: u64) {
        match self.numbers.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => self.numbers.push(number..number + 1),
        }
    }

    /// Takes in a frame of the opened packet `plain` that came to address `to`.
    pub fn frame(&mut self, to: SocketAddr, frame: Frame<'_>, plain: &[u8]) {
        match frame {
            Frame::Data { offset, range } if !self.forgets_content => {
                self.content.insert(offset, plain[range].to_vec());
            }
            Frame::Control { offset, bytes } => self.stream(offset, bytes),
            Frame::Ack(ack) => self.flow_limit = ack.flow_limit,
            Frame::PathChallenge(token) => self.challenges.push((to, token)),
            Frame::Close { code, .. } => self.close = Some(code),
            Frame::Ping | Frame::Data { .. } | Frame::PathResponse(_) => {}
        }
    }

    /// The played network loses nothing, so what comes again has come before.
    fn stream(&mut self, offset: u64, bytes: &[u8]) {
        let skip = (self.control_heard - offset) as usize;
        if skip >= bytes.len() {
            return;
        }
        self.control_heard += (bytes.len() - skip) as u64;
        self.control.extend(&bytes[skip..]);
        while let [kind, a, b, rest @ ..] = &self.control[..] {
            let len = usize::from(u16::from_be_bytes([*a, *b]));
            let Some(body) = rest.get(..len) else { return };
            self.messages.push_back((*kind, body.to_vec()));
            self.control.drain(..3 + len);
        }
    }
}
