//! An application that sends in bursts: each pause is a silence, but what its bursts lose was no outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::congestion::cell::{Cell, at};
use crate::sim::fixed::Fixed;
use crate::sim::flow::{Flow, PACKET};

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
