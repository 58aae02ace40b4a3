//! The program through managed queues: its rate, what it adds to the delay of others, and whether marks come back to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;

use super::link::{Direction, LinkPlan, Way};
use super::nat::Nat;
use super::network::{Network, Plan};
use super::pair::{Errand, Pair};
use super::ping::{Delay, Pings};
use super::queue::Discipline;

/// Bits per second, and the share of them that content can get: headers and tag take the rest.
const RATE: u64 = 20_000_000;
const CONTENT: f64 = 0.95;
/// Time on the wire, one way.
const DELAY: Duration = Duration::from_millis(20);
/// Bytes of the file.
const SIZE: usize = 25_000_000;
/// Packets with content are larger than this, in bytes.
const LARGE: usize = 1_000;

/// What was seen of a transfer from outside.
#[derive(Debug)]
struct Seen {
    /// Content of the whole file as a share of what content can get.
    share: f64,
    pings: Delay,
    marked: u64,
    /// Packets that the sender had to take for lost.
    lost: u64,
    /// Packets with content that could not be marked.
    not_ect: u64,
}

impl Seen {
    /// What the transfer adds to a ping's round trip, median and 95th percentile.
    fn added(&self) -> [Duration; 2] {
        [self.pings.median, self.pings.p95].map(|trip| trip.saturating_sub(2 * DELAY))
    }
}

/// 40 ms there and back, and a queue of a second.
fn link(discipline: Discipline) -> LinkPlan {
    let back = Direction {
        rate: RATE,
        delay: DELAY,
        queue: RATE as usize / 8,
        ..Direction::default()
    };
    let forth = Direction { discipline, ..back };
    LinkPlan { forth, back, seed: 1 }
}

/// Carries the file once.
fn transfer(network: &Network) -> Seen {
    let not_ect = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&not_ect);
    network.link().tap(
        Way::Forth,
        Box::new(move |packet| {
            if packet.len() > LARGE && packet[1] & 3 == 0 {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }),
    );
    let pings = Pings::start(network).expect("ports are free");
    pings.wait_for_quiet(pings.idle().expect("the link is up"));
    let before = network.link().counters()[0].marked;
    let trace = NamedTempFile::new().expect("there is room for a trace");
    let pair = Pair::start(
        network,
        &Errand {
            size: SIZE,
            trace: Some(trace.path().to_owned()),
            ..Errand::default()
        },
    )
    .unwrap_or_else(|account| panic!("{account}"));
    let pasted = pair.pasted;
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    let connected = report.connected.expect("it succeeded");
    let begin = pasted + connected;
    let took = report.took - connected;
    let trace = std::fs::read_to_string(trace.path()).expect("the sender wrote it");
    let end: Value = serde_json::from_str(trace.lines().last().unwrap_or_default()).expect("lines of JSON");
    Seen {
        share: SIZE as f64 * 8.0 / took.as_secs_f64() / RATE as f64 / CONTENT,
        pings: pings.between(begin, begin + took).expect("pings came back"),
        marked: network.link().counters()[0].marked - before,
        lost: end["lost"].as_u64().expect("a sender counts its losses"),
        not_ect: not_ect.load(Ordering::Relaxed),
    }
}

/// Either queue marks, so no content is lost, and all of it leaves as ECT(0) to the end: the counts that came back fit.
/// Packets with only an ACK cannot be marked, and CoDel may drop them.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_queue_that_marks_is_filled_without_delay_and_without_loss() {
    let network = Network::build(Plan {
        hops: 1,
        link: link(Discipline::Fifo),
        ..Plan::new(Nat::Public, Nat::Public)
    });
    // On a busy machine ACKs come in bursts, and each burst that they let go may pass the step.
    for (discipline, least, most) in [
        (Discipline::FqCodel, 0.9, [3, 10]),
        (Discipline::HostFair, 0.9, [3, 10]),
        (Discipline::Step(Duration::from_millis(5)), 0.65, [6, 30]),
    ] {
        network.link().replan(link(discipline));
        let seen = transfer(&network);
        println!("{discipline:?}: {seen:?}");
        assert!(seen.share >= least, "{discipline:?}: {seen:?}");
        let within = seen.added().into_iter().zip(most.map(Duration::from_millis));
        assert!(
            within.into_iter().all(|(added, most)| added <= most),
            "{discipline:?}: {seen:?}"
        );
        assert!(seen.marked > 0, "{discipline:?}: {seen:?}");
        assert_eq!((seen.lost, seen.not_ect), (0, 0), "{discipline:?}: {seen:?}");
        let longest = Duration::from_millis(200);
        assert!(
            seen.pings.lost == 0.0 && seen.pings.max < longest,
            "{discipline:?}: {seen:?}"
        );
    }
}
