//! Whole connections beside the packet-level flow model that the grid of `tests/integration/congestion` is made with: if the
//! model left out what matters, the two would differ.

use std::fmt::Write;
use std::time::Duration;

use p2pcopy::parts::protocol::{Bbr, Time};

use crate::sim::flow::{Flow, PACKET, World};
use crate::sim::link::Profile;
use crate::sim::pair::Pair;
use crate::sim::{MBIT, ms};

/// Mbit/s, RTT in ms, random loss, buffer in products of both.
const CELLS: [(u64, u64, f64, f64); 18] = [
    (1, 20, 0.0, 20.0),
    (1, 100, 0.01, 1.0),
    (1, 300, 0.0, 1.0),
    (20, 2, 0.0, 1.0),
    (20, 20, 0.0, 0.25),
    (20, 40, 0.1, 1.0),
    (20, 100, 0.01, 0.05),
    (20, 300, 0.0, 20.0),
    (100, 2, 0.0, 1.0),
    (100, 20, 0.05, 1.0),
    (100, 50, 0.0, 0.25),
    (100, 100, 0.0, 1.0),
    (100, 100, 0.01, 1.0),
    (100, 300, 0.0, 1.0),
    (100, 300, 0.01, 0.25),
    (500, 20, 0.0, 0.25),
    (500, 100, 0.001, 1.0),
    (500, 300, 0.0, 1.0),
];
/// What the largest packet of the connection carries of its 1500 bytes on the wire.
const PAYLOAD: f64 = 0.955;

fn links(mbit: u64, rtt: u64, loss: f64, buffer: f64) -> (Profile, Profile) {
    let rate = mbit * MBIT;
    let bdp = (rate * rtt / 1000) as f64;
    let mut forth = Profile::new(rate, ms(rtt / 2), ((bdp * buffer) as u64).max(6000));
    forth.loss = loss;
    forth.mtu = 1472;
    let mut back = Profile::new(rate, ms(rtt / 2), 10_000_000);
    back.mtu = 1472;
    (forth, back)
}

/// Time for ten seconds' worth, percent of ten seconds: connection and model. Where packets are lost at random, a run of
/// either differs from the next by some points: the mean of three counts.
fn times(cell: &(u64, u64, f64, f64)) -> (f64, f64) {
    let seeds = if cell.2 > 0.0 { 7..10 } else { 7..8 };
    let count = seeds.clone().count() as f64;
    let sums = seeds.fold((0.0, 0.0), |sums, seed| {
        let (whole, model) = run(cell, seed);
        (sums.0 + whole, sums.1 + model)
    });
    (sums.0 / count, sums.1 / count)
}

fn run(&(mbit, rtt, loss, buffer): &(u64, u64, f64, f64), seed: u64) -> (f64, f64) {
    let (forth, back) = links(mbit, rtt, loss, buffer);
    let worth = (mbit * MBIT * 10) as f64 * (1.0 - loss);
    let mut pair = Pair::new(forth.clone(), back.clone(), (worth * PAYLOAD) as u64, seed);
    pair.check_nonces = false;
    // The first round trip proves the path; the program offers its files meanwhile.
    let start = ms(rtt * 3 / 2);
    pair.offer_from = pair.now + start;
    let whole = pair
        .run(Duration::from_secs(40))
        .finished
        .map(|took| took - start);
    let mut world = World::new(forth, back, seed);
    let controller = Bbr::new(Time::ZERO, PACKET as u16, Some(ms(rtt)), seed);
    let goal = worth as u64 / PACKET;
    world.flows.push(Flow::new(
        0,
        Box::new(controller),
        ms(rtt),
        Time::ZERO,
        Some(goal),
        seed,
    ));
    world.run(Time::ZERO + Duration::from_secs(40));
    let model = world.flows[0].stats.done_at;
    (
        whole.map_or(f64::INFINITY, |d| d.as_secs_f64() * 10.0),
        model.map_or(f64::INFINITY, |t| t.since(Time::ZERO).as_secs_f64() * 10.0),
    )
}

#[test]
fn connections_are_as_fast_as_the_model_of_the_grid() {
    let (left, right) = CELLS.split_at(CELLS.len() * 3 / 4);
    let rows: Vec<_> = std::thread::scope(|scope| {
        let halves =
            [left, right].map(|cells| scope.spawn(move || cells.iter().map(times).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    let mut table = String::from("rate, RTT, loss, buffer | file %: connection | model\n");
    let mut apart = Vec::new();
    for ((mbit, rtt, loss, buffer), (whole, model)) in CELLS.iter().zip(&rows) {
        let line = format!(
            "{mbit:>4} Mbit/s {rtt:>3} ms {:>4}% {buffer:>4} BDP | {whole:>3.0} | {model:>3.0}",
            loss * 100.0
        );
        writeln!(table, "{line}").unwrap();
        // The connection has exchanged packets before its content, and measured the RTT; the model starts cold. Copies of what
        // is lost at the end save the connection another round trip.
        let round_trip = *rtt as f64 / 100.0;
        if whole - model > 3.0 + round_trip || model - whole > 3.0 + 2.0 * round_trip {
            apart.push(line);
        }
    }
    println!("{table}");
    assert!(
        apart.is_empty(),
        "more than 3 points and a round trip later, or two earlier:\n{}",
        apart.join("\n")
    );
}

/// A connection whose path is proven after one round trip, and whose offer is answered after the second one.
fn asking((forth, back): (Profile, Profile), rtt: u64, bytes: u64, seed: u64) -> Pair {
    let mut pair = Pair::new(forth, back, bytes, seed);
    pair.check_nonces = false;
    pair.offer_from = pair.now + ms(rtt * 2);
    pair
}

/// How long so many bytes take, after an offer that was accepted at once. The question goes with a train or without.
fn answered(cell: &(u64, u64, f64, f64), bytes: u64, train: bool, seed: u64) -> Duration {
    let &(mbit, rtt, loss, buffer) = cell;
    let mut pair = asking(links(mbit, rtt, loss, buffer), rtt, bytes, seed);
    let start = pair.offer_from.since(pair.now);
    if train {
        pair.sender.expect_content(bytes);
    }
    pair.run(Duration::from_secs(40)).finished.expect("it arrives") - start
}

/// The same in round trips.
fn round_trips(cell: &(u64, u64, f64, f64), bytes: u64, train: bool, seed: u64) -> f64 {
    answered(cell, bytes, train, seed).as_secs_f64() * 1e3 / cell.1 as f64
}

/// The most of all paths that ten seconds' worth takes, percent of ten seconds.
fn ten_seconds(cells: &[(u64, u64, f64, f64)]) -> f64 {
    let mut most = 0.0_f64;
    println!("rate, RTT, loss, buffer | file %");
    // One after another, because each holds what it carries.
    for cell in cells {
        let (mbit, rtt, loss, buffer) = cell;
        let worth = (mbit * MBIT * 10) as f64 * (1.0 - loss) * PAYLOAD;
        let file = answered(cell, worth as u64, true, 7).as_secs_f64() * 10.0;
        let loss = loss * 100.0;
        println!("{mbit:>4} Mbit/s {rtt} ms {loss:>4}% {buffer:>4} BDP | {file:.1}");
        most = most.max(file);
    }
    most
}

/// Here a few losses keep many blocks in memory. When that stopped new ones, 500 Mbit/s with 1% of loss took 1.34 of the ideal.
/// The model of the grid knows neither blocks nor the train, and takes 1.11 to 1.18.
#[test]
fn ten_seconds_over_far_and_fast_paths_take_a_tenth_more_at_most() {
    let most = ten_seconds(&[
        (100, 300, 0.0, 0.05),
        (500, 300, 0.0, 0.25),
        (500, 300, 0.01, 1.0),
        (1000, 300, 0.0, 1.0),
    ]);
    assert!(most <= 110.0, "{most}");
}

/// All on which the model misses the goal.
#[test]
#[ignore = "minutes"]
fn ten_seconds_over_all_far_and_fast_paths() {
    let mut cells = Vec::new();
    for mbit in [500, 1000] {
        for loss in [0.0, 0.001, 0.01, 0.05, 0.1] {
            cells.extend([0.05, 0.25, 1.0, 20.0].map(|buffer| (mbit, 300, loss, buffer)));
        }
    }
    let most = ten_seconds(&cells);
    assert!(most <= 118.0, "{most}");
}

#[test]
fn a_train_beside_the_question_saves_a_round_trip() {
    let mut table = String::from("Mbit/s, RTT | 1 MB in RTT without | with a train\n");
    let mut best = Vec::new();
    for (mbit, rtt) in [(20, 100), (100, 50), (100, 100), (300, 100), (500, 50)] {
        let cell = (mbit, rtt, 0.0, 1.0);
        let [without, with] = [false, true].map(|train| round_trips(&cell, 1_000_000, train, 7));
        writeln!(table, "{mbit:>4} {rtt:>4} ms | {without:.1} | {with:.1}").unwrap();
        best.push(with < without && (mbit < 100 || with <= 2.4 && with <= without - 1.0));
    }
    println!("{table}");
    assert!(best.iter().all(|b| *b), "{table}");
}

/// What is lost of the last window would come a round trip later. Copies that begin with the oldest packet overtake nothing,
/// because that one is acknowledged or lost by then: they take 18.7 and 3.8 round trips.
#[test]
fn the_end_of_a_lossy_file_is_copied_from_the_newest_packet_on() {
    for (loss, bytes, most) in [(0.01, 20_000_000, 18.5), (0.2, 1_000_000, 3.65)] {
        let seeds = 1..=20;
        let trips = seeds.map(|seed| round_trips(&(100, 100, loss, 1.0), bytes, true, seed));
        let mean = trips.sum::<f64>() / 20.0;
        println!("{loss}: {mean:.2}");
        assert!(mean <= most, "{loss}: {mean}");
    }
}

/// Where the proof of the path is lost at first, PINGs go on without any content. When their rate counted as that of a full
/// pipe, Startup ended with it, at 1.5 kB/s: none of these was done after a minute.
#[test]
fn what_is_sent_before_the_path_is_proven_does_not_show_its_rate() {
    for (cell, seeds) in [
        ((50, 30, 0.2, 1.0), &[82][..]),
        ((100, 20, 0.3, 1.0), &[131]),
        ((100, 20, 0.4, 1.0), &[23, 113, 178, 196, 200]),
    ] {
        for &seed in seeds {
            let (mbit, rtt, loss, buffer) = cell;
            let (forth, mut back) = links(mbit, rtt, loss, buffer);
            back.loss = loss;
            let mut pair = asking((forth, back), rtt, 3_000_000, seed);
            pair.sender.expect_content(3_000_000);
            let took = pair.run(Duration::from_secs(60)).finished;
            println!("{cell:?}, seed {seed}: {took:.1?}");
            assert!(
                took.is_some_and(|took| took < Duration::from_secs(10)),
                "{took:?}"
            );
        }
    }
}
