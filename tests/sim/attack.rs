//! Somebody who hears everything and sends what they like, in the midst of a transfer.

use crate::link::Rng;
use crate::pair::{Pair, path};
use crate::{at, wan};
use p2pcopy::protocol::Path;
use p2pcopy::protocol::connection::{Connection, Stats};
use p2pcopy::protocol::time::Time;
use p2pcopy::protocol::wire::{HEADER_LEN, Header, PacketNumber, TAG_LEN};
use std::time::Duration;

/// Datagrams sent to an end at every step of the run.
const EACH_STEP: usize = 24;
/// Datagrams of the real peer that are kept to be repeated or changed.
const KEPT: usize = 512;

/// Sends to one end what it heard there, changed or not, and what it made up.
#[derive(Debug)]
pub struct Attacker {
    rng: Rng,
    heard: Vec<Vec<u8>>,
    next: usize,
    /// The highest packet number heard.
    highest: u64,
    /// Everything sent.
    pub sent: u64,
    /// Of that, what looks like a packet of this connection, so that it must be counted.
    pub plausible: u64,
    /// Real time the end took to drop it all.
    pub cost: Duration,
}

impl Attacker {
    pub fn new(seed: u64) -> Self {
        Attacker {
            rng: Rng::new(seed),
            heard: Vec::new(),
            next: 0,
            highest: 0,
            sent: 0,
            plausible: 0,
            cost: Duration::ZERO,
        }
    }

    /// Takes note of a datagram that has just reached the end. One that was lost before it came there would be no
    /// replay, but the peer's own packet, late.
    pub fn hear(&mut self, datagram: &[u8]) {
        let Some(header) = Header::decode(datagram) else {
            return;
        };
        self.highest = self.highest.max(header.number.value());
        if self.heard.len() < KEPT {
            self.heard.push(datagram.to_vec());
        } else {
            self.heard[self.next % KEPT] = datagram.to_vec();
        }
        self.next += 1;
    }

    fn below(&mut self, n: usize) -> usize {
        (self.rng.next() % n as u64) as usize
    }

    fn random(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.rng.next() as u8).collect()
    }

    fn forge(&mut self) -> Vec<u8> {
        let which = self.below(self.heard.len());
        let mut datagram = self.heard[which].clone();
        let len = datagram.len();
        match self.below(7) {
            0 | 1 => {}
            2 => {
                let i = self.below(len);
                datagram[i] ^= 1 << self.below(8);
            }
            3 => {
                let number = self.highest + 1 + self.rng.next() % 1000;
                let id = Header::decode(&datagram).expect("heard").connection_id;
                let body = self.below(300) + TAG_LEN;
                datagram = vec![0; HEADER_LEN];
                datagram.extend(self.random(body));
                Header {
                    key_phase: self.rng.chance(0.5),
                    connection_id: id,
                    number: PacketNumber::new(number),
                }
                .encode(&mut datagram);
            }
            4 => {
                // The sealed part of one packet under a number nobody used yet.
                let number = self.highest + 1 + self.rng.next() % (1 << 40);
                datagram[5..HEADER_LEN].copy_from_slice(&number.to_be_bytes());
            }
            5 => datagram.truncate(self.below(len)),
            _ => {
                let len = self.below(1400);
                datagram = self.random(len);
            }
        }
        datagram
    }

    /// Sends a volley to `end`, partly from where its peer really is, partly from elsewhere.
    pub fn strike(&mut self, now: Time, end: &mut Connection, peer: Path) {
        if self.heard.is_empty() {
            return;
        }
        let id = Header::decode(&self.heard[0]).expect("heard").connection_id;
        let due = end.poll_timeout(now);
        for _ in 0..EACH_STEP {
            let mut datagram = self.forge();
            let header = Header::decode(&datagram);
            self.plausible += u64::from(header.is_some_and(|h| h.connection_id == id));
            self.sent += 1;
            let from = if self.rng.chance(0.5) { peer } else { path(99) };
            #[expect(clippy::disallowed_methods, reason = "what the defence costs is real time")]
            let start = std::time::Instant::now();
            let content = end.handle_datagram(now, from, &mut datagram);
            self.cost += start.elapsed();
            assert!(content.is_none(), "accepted a forged or repeated datagram");
        }
        assert_eq!(
            end.poll_timeout(now),
            due,
            "something is owed for what was dropped"
        );
    }
}

fn dropped(stats: &Stats) -> u64 {
    stats.forgeries + stats.replays
}

/// Virtual time makes this exact: all that both ends send, and when, is the same as if nobody had interfered.
#[test]
fn a_million_forged_and_replayed_datagrams_change_nothing() {
    let run = |attacked: bool| {
        let (forward, back) = wan(100, 40, 0.01);
        let mut pair = Pair::new(forward, back, 30_000_001, 11);
        pair.record = true;
        if attacked {
            pair.attackers = Some([Attacker::new(1), Attacker::new(2)]);
        }
        while !pair.is_complete() {
            assert!(pair.now < at(60_000), "not done after a minute");
            pair.step();
        }
        pair
    };
    let (quiet, loud) = (run(false), run(true));
    let attackers = loud.attackers.as_ref().expect("set above");
    let sent: u64 = attackers.iter().map(|a| a.sent).sum();
    assert!(sent >= 1_000_000, "only {sent} datagrams");
    for (attacker, with, without) in [
        (&attackers[0], loud.sender.stats(), quiet.sender.stats()),
        (&attackers[1], loud.receiver.stats(), quiet.receiver.stats()),
    ] {
        println!(
            "{} sent, {} forged and {} replayed ones counted, {:?} each",
            attacker.sent,
            with.forgeries,
            with.replays - without.replays,
            attacker.cost / attacker.sent as u32
        );
        assert_eq!(dropped(&with) - dropped(&without), attacker.plausible);
        assert!(with.forgeries > 100_000 && with.replays > 100_000);
        assert_eq!(with.received_packets, without.received_packets, "none accepted");
    }
    assert_eq!(loud.now, quiet.now, "goodput");
    assert_eq!(loud.events, quiet.events);
    assert_eq!(
        loud.said.finalize(),
        quiet.said.finalize(),
        "not a byte more is sent"
    );
}
