//! Datagrams of somebody who hears everything and has no key: repeated, changed and made-up ones.

use p2pcopy::parts::protocol::{HEADER_LEN, Header, PacketNumber, SplitMix64, TAG_LEN};

/// The first datagrams heard, which began the connection, are all kept.
const FIRST: usize = 64;
/// Of those after them, so many are kept to be repeated or changed.
const KEPT: usize = 512;

/// Makes them out of what it heard on its way to one end.
#[derive(Debug)]
pub struct Forger {
    random: SplitMix64,
    heard: Vec<Vec<u8>>,
    next: usize,
    /// The connection's id at this end and the highest packet number heard.
    seen: Option<(u32, u64)>,
}

impl Forger {
    pub fn new(seed: u64) -> Forger {
        Forger {
            random: SplitMix64::new(seed),
            heard: Vec::new(),
            next: 0,
            seen: None,
        }
    }

    /// Takes note of a datagram that has just reached the end. One that was lost before it came there would be no
    /// replay, but the peer's own packet, late.
    pub fn hear(&mut self, datagram: &[u8]) {
        if let Some(header) = Header::decode(datagram) {
            let highest = self.seen.map_or(0, |(_, number)| number);
            self.seen = Some((header.connection_id, highest.max(header.number.value())));
        }
        if self.heard.len() < FIRST + KEPT {
            self.heard.push(datagram.to_vec());
        } else {
            self.heard[FIRST + self.next % KEPT] = datagram.to_vec();
            self.next += 1;
        }
    }

    /// Whether a sealed packet was heard: until then there is little to forge.
    pub fn is_ready(&self) -> bool {
        self.seen.is_some()
    }

    /// Whether a datagram looks like a packet of the connection, so that its end must look closer.
    pub fn is_plausible(&self, datagram: &[u8]) -> bool {
        let header = Header::decode(datagram);
        header.is_some_and(|header| self.seen.is_some_and(|(id, _)| header.connection_id == id))
    }

    /// The next number of its generator.
    pub fn roll(&mut self) -> u64 {
        self.random.next_u64()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }

    /// One more datagram: never one that the end has not had and that its peer made.
    pub fn forge(&mut self) -> Vec<u8> {
        let which = self.below(self.heard.len());
        let mut datagram = self.heard[which].clone();
        let len = datagram.len();
        let (id, highest) = self.seen.unwrap_or_default();
        match self.below(7) {
            0 | 1 => {}
            2 => {
                let i = self.below(len);
                datagram[i] ^= 1 << self.below(8);
            }
            3 => {
                let body = self.below(300) + TAG_LEN;
                datagram = vec![0; HEADER_LEN];
                datagram.extend(self.noise(body));
                Header {
                    key_phase: self.below(2) == 0,
                    connection_id: id,
                    number: PacketNumber::new(highest + 1 + self.roll() % 1000),
                }
                .encode(&mut datagram);
            }
            4 if len >= HEADER_LEN => {
                // The sealed part of one packet under a number nobody used yet.
                let number = highest + 1 + self.roll() % (1 << 40);
                datagram[5..HEADER_LEN].copy_from_slice(&number.to_be_bytes());
            }
            5 => datagram.truncate(self.below(len)),
            _ => {
                let len = self.below(1400);
                datagram = self.noise(len);
            }
        }
        datagram
    }
}
