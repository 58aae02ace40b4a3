//! An application that sends in bursts: each pause is a silence, but what its bursts lose was no outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use p2pcopy::parts::protocol::Params;

use crate::congestion::cell::{Cell, add, add_with, at, params};
use crate::sim::fixed::Fixed;
use crate::sim::flow::{Flow, PACKET};

/// Share of packets that an application loses which sends `packets` a round trip and `gap_ms` apart, from 40 s after the
/// path of 4 Mbit/s and 800 ms has become ten times slower.
pub(crate) fn lost_after_fall(packets: u64, gap_ms: f64, loss: f64, seed: u64, params: Params) -> f64 {
    let cell = Cell::new(4.0, 800.0, loss, 0.05);
    let mut w = cell.world(seed);
    add_with(&mut w, "bbr", 0.0, cell.rtt_ms, seed, None, params);
    let mut before = None;
    while w.now < at(140.0) {
        if w.now >= at(20.0) {
            w.forth.set_rate((cell.rate() / 10.0) as u64);
        }
        if w.now >= at(60.0) {
            before.get_or_insert(w.flows[0].stats);
        }
        let flow = &mut w.flows[0];
        flow.goal = Some(flow.stats.useful + flow.recovery.in_flight() / PACKET + packets);
        flow.stats.done_at = None;
        let next = w.now + Duration::from_secs_f64((cell.rtt_ms + gap_ms) / 1000.0);
        w.run(next);
        w.now = next;
    }
    let (before, after) = (before.expect("it ran so long"), w.flows[0].stats);
    (after.lost - before.lost) as f64 / (after.sent - before.sent) as f64
}

/// A sender that is application-limited from its first packet on stayed in Startup, which no loss ended. Bursts of 40
/// packets lost 65 to 89%.
#[test]
fn an_application_that_pauses_follows_a_path_that_became_slow() {
    for packets in [40, 80] {
        for gap in [110.0, 200.0, 300.0] {
            for loss in [0.0, 0.05] {
                for seed in 1..4 {
                    let lost = lost_after_fall(packets, gap, loss, seed, params());
                    assert!(
                        lost < loss + 0.05,
                        "{packets} packets, pauses of {gap} ms, {loss} of loss, seed {seed}: {lost:.2}"
                    );
                }
            }
        }
    }
}

/// While a sender waits for an answer, few packets leave. Their loss must not end Startup at their rate.
#[test]
fn a_wait_on_a_lossy_path_does_not_end_startup() {
    for jitter in [0.0, 0.2] {
        let cell = Cell::new(20.0, 50.0, 0.1, jitter);
        let mut w = cell.world(1);
        add(&mut w, "bbr", 0.0, cell.rtt_ms, 1, None);
        let mut send = |packets, until| {
            let flow = &mut w.flows[0];
            flow.goal = Some(flow.stats.useful + flow.recovery.in_flight() / PACKET + packets);
            flow.stats.done_at = None;
            w.run(until);
            w.now = until;
            w.flows[0].stats.done_at
        };
        for quarter in 1..=240 {
            send(2, at(f64::from(quarter) / 4.0));
        }
        let done = send(4000, at(70.0)).expect("2 s of content arrive in 10 s");
        let took = done.since(at(60.0));
        assert!(took < Duration::from_secs(5), "jitter of {jitter} RTT: {took:?}");
    }
}

/// Sends bursts of 40 packets, `gap_ms` and a round trip apart, twice as fast as the path takes them. Returns the packets
/// lost, and those of them that the controller was told of.
fn bursts(rtt_ms: f64, gap_ms: f64, loss: f64, seed: u64) -> (u64, u64) {
    let mut cell = Cell::new(4.0, rtt_ms, loss, 0.0);
    cell.buffer_bdp = 8.0 * PACKET as f64 / (cell.rate() * rtt_ms / 1000.0);
    let mut w = cell.world(seed);
    let told = Arc::new(AtomicU64::new(0));
    let controller = Fixed {
        rate: 2 * cell.rate() as u64,
        window: u64::MAX,
        told: told.clone(),
    };
    let rtt = Duration::from_secs_f64(rtt_ms / 1000.0);
    w.flows
        .push(Flow::new(0, Box::new(controller), rtt, at(0.0), None, seed));
    for burst in 0..100 {
        let flow = &mut w.flows[0];
        flow.goal = Some(flow.stats.useful + flow.recovery.in_flight() / PACKET + 40);
        flow.stats.done_at = None;
        let next = at(f64::from(burst + 1) * (rtt_ms + gap_ms) / 1000.0);
        w.run(next);
        w.now = next;
    }
    (w.flows[0].stats.lost, told.load(Ordering::Relaxed))
}

#[test]
fn loss_of_bursts_is_no_outage() {
    for rtt in [50.0, 300.0, 500.0, 700.0, 800.0] {
        for gap in [110.0, 200.0, 300.0] {
            for loss in [0.0, 0.05] {
                let (lost, told) = bursts(rtt, gap, loss, 1);
                assert!(
                    told * 100 >= lost * 98,
                    "{rtt} ms, pauses of {gap} ms, {loss} of loss: told of {told} of {lost}"
                );
            }
        }
    }
}
