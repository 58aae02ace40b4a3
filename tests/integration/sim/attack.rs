//! Somebody who hears everything and sends what they like, in the midst of a transfer.

use std::time::Duration;

use p2pcopy::parts::protocol::{Connection, Ecn, Path, Stats, Time};

use crate::forge::Forger;
use crate::sim::pair::{Pair, path};
use crate::sim::{at, wan};

/// Datagrams sent to an end at every step of the run.
const EACH_STEP: usize = 24;

/// Sends to one end what it heard there, changed or not, and what it made up.
#[derive(Debug)]
pub struct Attacker {
    forger: Forger,
    /// Everything sent.
    pub sent: u64,
    /// The part of it that looks like packets of this connection and must be counted.
    pub plausible: u64,
    /// Real time the end took to drop it all.
    pub cost: Duration,
}

impl Attacker {
    pub fn new(seed: u64) -> Self {
        Attacker {
            forger: Forger::new(seed),
            sent: 0,
            plausible: 0,
            cost: Duration::ZERO,
        }
    }

    /// Takes note of a datagram that has just reached the end.
    pub fn hear(&mut self, datagram: &[u8]) {
        self.forger.hear(datagram);
    }

    /// Sends a volley to `end`, partly from where its peer really is, partly from elsewhere.
    pub fn strike(&mut self, now: Time, end: &mut Connection, peer: Path) {
        if !self.forger.is_ready() {
            return;
        }
        let due = end.poll_timeout(now);
        for _ in 0..EACH_STEP {
            let mut datagram = self.forger.forge();
            self.plausible += u64::from(self.forger.is_plausible(&datagram));
            self.sent += 1;
            let from = if self.forger.roll().is_multiple_of(2) {
                peer
            } else {
                path(99)
            };
            let start = std::time::Instant::now();
            let content = end.handle_datagram(now, from, Ecn::Ce, &mut datagram);
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
