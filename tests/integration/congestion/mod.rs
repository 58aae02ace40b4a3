//! Congestion control over a simulated link: throughput, queues, fairness; floors for every commit, and the tables.
//!
//! The floors run in seconds. `cargo test --release --test integration -- --ignored congestion::grid` (or `congestion::fairness`) makes the
//! full table, takes minutes, and compares it with the reviewed one in `snapshots/`.

mod ablation;
pub(crate) mod cell;
mod ecn;
mod fairness;
mod grid;
mod pauses;
mod start;
mod trace;

use std::time::Duration;

use p2pcopy::parts::protocol::Params;

use crate::sim::flow::{PACKET, World};
use cell::{Cell, Trouble, add, add_with, alone, at, parallel, params};

/// Runs cells and reports all that miss `floor` percent, or take over `most` percent of ten seconds for ten seconds'
/// worth.
fn hold(cells: &[Cell], floor: f64, most: f64) {
    let outcomes = parallel(cells, |c| alone(c, "bbr", 7));
    let missed: Vec<_> = cells
        .iter()
        .zip(outcomes)
        .filter(|(_, o)| o.steady < floor || o.file > most || o.spurious > 1.0)
        .map(|(c, o)| o.line(c))
        .collect();
    assert!(
        missed.is_empty(),
        "these miss {floor}% or {most}%:\n{}",
        missed.join("\n")
    );
}

/// Mean steady rate of eight runs, percent.
fn mean(cell: &Cell) -> f64 {
    let runs = parallel(&[1, 2, 3, 4, 5, 6, 7, 8], |seed| alone(cell, "bbr", *seed).steady);
    println!("{runs:.1?}");
    runs.iter().sum::<f64>() / runs.len() as f64
}

#[test]
fn random_loss_costs_no_more_than_itself() {
    let cells: Vec<_> = [0.0, 0.001, 0.01, 0.05, 0.1]
        .map(|p| Cell::new(100.0, 50.0, p, 1.0))
        .into();
    hold(&cells, 95.0, 115.0);
}

#[test]
fn heavy_loss_has_no_cliff() {
    let cells = |losses: &[f64]| -> Vec<_> {
        let at = |&p: &f64| [Cell::new(20.0, 40.0, p, 1.0), Cell::new(100.0, 50.0, p, 1.0)];
        losses.iter().flat_map(at).collect()
    };
    hold(
        &[
            Cell::new(20.0, 40.0, 0.15, 1.0),
            Cell::new(20.0, 40.0, 0.2, 1.0),
            Cell::new(100.0, 50.0, 0.2, 1.0),
        ],
        90.0,
        130.0,
    );
    hold(&cells(&[0.22, 0.25, 0.3, 0.4]), 85.0, 140.0);
    // Far paths have more packets a round.
    let far = |p| Cell::new(50.0, 200.0, p, 0.25);
    hold(&[0.15, 0.2].map(far), 88.0, 150.0);
    hold(&[0.3, 0.4].map(far), 80.0, 200.0);
    // Single runs of these have 85 to 100%, so the mean of eight counts. Slow paths have fewer packets.
    let slow = |loss| Cell::new(5.0, 100.0, loss, 1.0);
    let slower = |loss| Cell::new(2.0, 60.0, loss, 1.0);
    for (cell, floor) in [
        (Cell::new(100.0, 50.0, 0.15, 1.0), 90.0),
        (slow(0.15), 88.0),
        (slow(0.2), 88.0),
        (slow(0.3), 80.0),
        (slow(0.4), 80.0),
        (slower(0.3), 80.0),
        (slower(0.4), 80.0),
    ] {
        let mean = mean(&cell);
        assert!(mean > floor, "{} Mbit/s, {}: {mean}", cell.mbit, cell.loss);
    }
}

#[test]
fn the_rate_comes_back_when_heavy_loss_goes() {
    let mut cell = Cell::new(20.0, 40.0, 0.6, 1.0);
    let mut w = cell.world(1);
    add(&mut w, "bbr", 0.0, 40.0, 1, None);
    w.run(at(15.0));
    cell.loss = 0.0;
    w.forth.profile.loss = 0.0;
    w.run(at(35.0));
    let before = w.flows[0].stats.useful;
    w.run(at(40.0));
    let goodput = ((w.flows[0].stats.useful - before) * PACKET) as f64 / 5.0 / cell.rate();
    assert!(goodput > 0.9, "{goodput}");
}

#[test]
fn shallow_buffers_are_filled_to_the_link() {
    let cells = [
        Cell::new(100.0, 50.0, 0.0, 0.05),
        Cell::new(20.0, 100.0, 0.01, 0.05),
        Cell::new(20.0, 20.0, 0.0, 0.25),
    ];
    hold(&cells, 94.0, 115.0);
}

#[test]
fn slow_and_short_paths_are_no_exception() {
    let cells = [
        Cell::new(1.0, 2.0, 0.0, 1.0),
        Cell::new(1.0, 100.0, 0.01, 1.0),
        Cell::new(20.0, 2.0, 0.01, 1.0),
    ];
    hold(&cells, 94.0, 115.0);
}

#[test]
fn jitter_that_reorders_is_not_taken_for_loss() {
    let jitter = |ms, loss| Cell::new(100.0, 50.0, loss, 1.0).with(Trouble::Jitter(ms));
    hold(
        &[jitter(10.0, 0.0), jitter(50.0, 0.0), jitter(50.0, 0.01)],
        90.0,
        125.0,
    );
}

#[test]
fn jitter_of_many_round_trips_is_not_taken_for_loss_either() {
    let jitter = |mbit, ms, loss| Cell::new(mbit, 2.0, loss, 1.0).with(Trouble::Jitter(ms));
    let cells = [
        jitter(20.0, 10.0, 0.01),
        jitter(100.0, 50.0, 0.0),
        jitter(100.0, 50.0, 0.01),
    ];
    hold(&cells, 88.0, 125.0);
    // Nor are probes, which it cuts short, a reason to slow down. One run of this has 91 to 98%, so the mean of eight counts.
    let mean = mean(&jitter(20.0, 10.0, 0.0));
    assert!(mean > 94.0, "{mean}");
}

#[test]
fn policed_rate_is_reached() {
    hold(
        &[Cell::new(100.0, 50.0, 0.0, 1.0).with(Trouble::Policer)],
        90.0,
        120.0,
    );
    // Its bucket holds less than two packets.
    hold(
        &[Cell::new(1.0, 20.0, 0.0, 1.0).with(Trouble::Policer)],
        95.0,
        110.0,
    );
}

#[test]
fn an_outage_is_no_proof_that_a_lossy_path_is_clean() {
    hold(
        &[Cell::new(100.0, 300.0, 0.05, 0.25).with(Trouble::Blackouts)],
        88.0,
        115.0,
    );
}

#[test]
fn blackouts_bursts_and_a_bad_return_are_got_over() {
    let cell = Cell::new(100.0, 50.0, 0.0, 1.0);
    hold(
        &[Trouble::Blackouts, Trouble::Bursts, Trouble::NarrowReturn].map(|t| cell.clone().with(t)),
        90.0,
        130.0,
    );
}

#[test]
fn bloated_buffers_stay_empty() {
    for cell in [
        Cell::new(20.0, 40.0, 0.0, 20.0),
        Cell::new(100.0, 50.0, 0.01, 20.0),
    ] {
        let o = alone(&cell, "bbr", 3);
        let most = (cell.rtt_ms * 0.25).max(10.0);
        assert!(o.queue < most, "{}", o.line(&cell));
    }
}

#[test]
fn real_paths_are_filled_too() {
    let cell = |mbit, rtt, loss, buffer, trouble| Cell::new(mbit, rtt, loss, buffer).with(trouble);
    hold(
        &[
            cell(20.0, 40.0, 0.0, 1.0, Trouble::Wifi),
            cell(100.0, 20.0, 0.01, 1.0, Trouble::Wifi),
            cell(20.0, 40.0, 0.0, 20.0, Trouble::CoDel),
            cell(100.0, 50.0, 0.0, 20.0, Trouble::CoDel),
        ],
        90.0,
        130.0,
    );
    // What a rate that has just grown leaves unused until the next probe, two or three seconds later.
    hold(&[cell(20.0, 600.0, 0.02, 1.0, Trouble::Weather)], 80.0, 130.0);
    hold(
        &[
            cell(10.0, 60.0, 0.0, 4.0, Trouble::Cellular),
            cell(50.0, 40.0, 0.0, 2.0, Trouble::Cellular),
        ],
        60.0,
        150.0,
    );
}

#[test]
fn random_loss_beside_the_queue_of_our_own_start_is_no_rivals() {
    // Bursts make trains look too fast, so the start leaves a queue.
    let cell = Cell::new(100.0, 20.0, 0.005, 1.0).with(Trouble::Wifi);
    let files = parallel(&[1, 2, 3, 4, 5, 6, 7, 8], |seed| alone(&cell, "bbr", *seed).file);
    let mean = files.iter().sum::<f64>() / files.len() as f64;
    assert!(mean < 115.0, "{mean}: {files:.0?}");
}

/// Share of the link that a flow alone has from 20 s after its path became longer, for ten seconds.
fn goodput_after_move(cell: &Cell, moves: f64, rtt: u64, seed: u64, params: Params) -> f64 {
    let mut w = cell.world(seed);
    add_with(&mut w, "bbr", 0.0, cell.rtt_ms, seed, None, params);
    w.run(at(moves));
    let back = Duration::from_secs_f64(cell.rtt_ms / 2000.0);
    w.forth.profile.delay = Duration::from_millis(rtt) - back;
    w.run(at(moves + 20.0));
    let before = w.flows[0].stats.useful;
    w.run(at(moves + 30.0));
    ((w.flows[0].stats.useful - before) * PACKET) as f64 / 10.0 / cell.rate()
}

/// From 20 to 200 ms.
fn goodput_after_far_move(seed: u64, params: Params) -> f64 {
    goodput_after_move(&Cell::new(50.0, 20.0, 0.0, 2.0), 10.0, 200, seed, params)
}

#[test]
fn a_path_that_moves_from_20_to_200_ms_is_filled_again() {
    let goodput = goodput_after_far_move(1, params());
    assert!(goodput > 0.8, "{goodput}");
}

#[test]
fn a_longer_path_is_not_taken_for_a_rivals_queue() {
    let cell = Cell::new(100.0, 50.0, 0.0, 2.0);
    let rates = parallel(&[1, 2, 3, 4, 5, 6, 7, 8], |&seed| {
        goodput_after_move(&cell, 30.0, 100, seed, params())
    });
    assert!(rates.iter().all(|rate| *rate > 0.9), "{rates:.2?}");
}

#[test]
fn rate_and_delay_of_the_path_may_change() {
    let cell = Cell::new(100.0, 50.0, 0.0, 2.0);
    let mut w = cell.world(1);
    add(&mut w, "bbr", 0.0, 50.0, 1, None);
    let mut last = 0;
    let mut goodput = |w: &mut World, from: f64, to: f64| {
        w.run(at(from));
        last = w.flows[0].stats.useful;
        w.delays.clear();
        w.run(at(to));
        ((w.flows[0].stats.useful - last) * PACKET) as f64 * 8e-6 / (to - from)
    };
    assert!(goodput(&mut w, 5.0, 10.0) > 95.0);
    w.forth.set_rate(20 * 125_000);
    let slow = goodput(&mut w, 15.0, 20.0);
    assert!(slow > 18.0, "{slow} of 20 Mbit/s after the rate fell");
    let queue = w.median_delay();
    assert!(
        queue < Duration::from_millis(50),
        "{queue:?} of queue after the rate fell"
    );
    w.forth.set_rate(100 * 125_000);
    let fast = goodput(&mut w, 30.0, 35.0);
    assert!(fast > 90.0, "{fast} of 100 Mbit/s after the rate rose");
    w.forth.profile.delay = Duration::from_millis(75);
    let far = goodput(&mut w, 60.0, 65.0);
    assert!(far > 85.0, "{far} of 100 Mbit/s after the path grew longer");
}

#[test]
fn megabyte_takes_six_round_trips() {
    let cell = Cell::new(100.0, 100.0, 0.0, 1.0);
    let mut w = cell.world(1);
    add(&mut w, "bbr", 0.0, 100.0, 1, Some(1_000_000 / PACKET));
    w.run(at(5.0));
    let done = w.flows[0]
        .stats
        .done_at
        .expect("a megabyte arrives within five seconds");
    assert!(done < at(0.6), "{done:?}");
}

#[test]
fn udt_suffers_from_loss_and_we_do_not() {
    let cell = Cell::new(100.0, 50.0, 0.01, 1.0);
    let (ours, udt) = (alone(&cell, "bbr", 1), alone(&cell, "udt", 1));
    assert!(
        ours.steady > 5.0 * udt.steady,
        "{} against {}",
        ours.steady,
        udt.steady
    );
    let clean = alone(&Cell::new(100.0, 20.0, 0.0, 1.0), "udt", 1);
    assert!(clean.steady > 60.0, "{}", clean.steady);
}
