//! The first seconds: how much more than a buffer holds is sent, and how soon little files are across.

use std::fmt::Write;

use p2pcopy::parts::protocol::Params;

use crate::congestion::cell::{Cell, add_with, at, parallel, params};
use crate::sim::flow::PACKET;

/// What a start did.
pub(crate) struct Start {
    /// Packets lost, of the bandwidth-delay product.
    pub(crate) overrun: f64,
    /// Percent of 25 MB that was repeated.
    repeated: f64,
    /// Round trips until 1 MB was acknowledged.
    pub(crate) megabyte: f64,
}

pub(crate) fn start(cell: &Cell, seed: u64, params: Params) -> Start {
    let run = |megabytes: u64| {
        let mut w = cell.world(seed);
        let goal = Some(megabytes * 1_000_000 / PACKET);
        add_with(&mut w, "bbr", 0.0, cell.rtt_ms, seed, goal, params);
        w.run(at(60.0));
        (w.flows[0].stats, w.now)
    };
    let (small, _) = run(1);
    let (large, _) = run(25);
    let rtt = cell.rtt_ms / 1000.0;
    Start {
        overrun: (large.lost * PACKET) as f64 / (cell.rate() * rtt),
        repeated: 100.0 * large.lost as f64 / large.sent as f64,
        megabyte: small
            .done_at
            .map_or(f64::INFINITY, |t| t.since(at(0.0)).as_secs_f64() / rtt),
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for mbit in [10.0, 100.0, 300.0] {
        for rtt in [20.0, 100.0] {
            for buffer in [0.5, 1.0] {
                cells.push(Cell::new(mbit, rtt, 0.0, buffer));
            }
        }
    }
    cells
}

/// Prints the first seconds of each path.
#[test]
#[ignore = "a minute"]
fn starts() {
    let cells = cells();
    let starts = parallel(&cells, |cell| start(cell, 3, params()));
    let mut out = String::from("path | overrun BDP | repeated % of 25 MB | 1 MB, RTT\n");
    for (cell, s) in cells.iter().zip(&starts) {
        writeln!(
            out,
            "{cell} | {:.2} | {:.2} | {:.1}",
            s.overrun, s.repeated, s.megabyte
        )
        .expect("a string takes all");
    }
    println!("{out}");
}
