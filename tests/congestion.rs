//! Congestion control over a simulated link: throughput, queues, fairness; floors for every commit, and the grid.
//!
//! The floors run in seconds. The grid prints a table: `cargo test --release --test congestion grid -- --ignored
//! --nocapture`, with GRID=full for every cell and CC=udt for the reference controller.

#[path = "sim/flow.rs"]
mod flow;
#[expect(dead_code, reason = "the model offers more than this test needs")]
#[path = "sim/link.rs"]
mod link;
#[path = "sim/rivals.rs"]
mod rivals;

use flow::{Flow, PACKET, World};
use link::{Bursts, Policer, Profile};
use p2pcopy::protocol::congestion::Controller;
use p2pcopy::protocol::congestion::bbr::Bbr;
use p2pcopy::protocol::congestion::udt::Udt;
use p2pcopy::protocol::time::Time;
use rivals::{BbrV1, Cubic};
use std::time::Duration;

fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

/// A cell of the grid.
#[derive(Clone, Debug)]
struct Cell {
    mbit: f64,
    rtt_ms: f64,
    loss: f64,
    buffer_bdp: f64,
    jitter_ms: f64,
    policer: Option<f64>,
    bursts: bool,
    blackout: bool,
}

impl Cell {
    fn new(mbit: f64, rtt_ms: f64, loss: f64, buffer_bdp: f64) -> Self {
        Cell {
            mbit,
            rtt_ms,
            loss,
            buffer_bdp,
            jitter_ms: 0.0,
            policer: None,
            bursts: false,
            blackout: false,
        }
    }

    fn rate(&self) -> f64 {
        self.mbit * 125_000.0
    }

    /// What arrives at best, bytes a second.
    fn ideal(&self) -> f64 {
        let mut c = self.policer.map_or(self.rate(), |p| p * 125_000.0);
        if self.bursts {
            c *= 1.0 - 0.5 * BURSTS.enter / (BURSTS.enter + BURSTS.leave);
        }
        if self.blackout {
            c *= 13.0 / 15.0;
        }
        c * (1.0 - self.loss)
    }

    fn links(&self) -> (Profile, Profile) {
        let half = Duration::from_secs_f64(self.rtt_ms / 2000.0);
        let bdp = self.rate() * self.rtt_ms / 1000.0;
        // No real queue holds less than four packets.
        let buffer = ((bdp * self.buffer_bdp) as u64).max(4 * 1500);
        let mut forth = Profile::new(self.rate() as u64, half, buffer);
        forth.loss = self.loss;
        forth.jitter = Duration::from_secs_f64(self.jitter_ms / 1000.0);
        if let Some(p) = self.policer {
            // 100 ms of burst, as routers are commonly configured.
            forth.policer = Some(Policer {
                rate: (p * 125_000.0) as u64,
                burst: (p * 12_500.0) as u64,
            });
        }
        if self.bursts {
            forth.bursts = Some(BURSTS);
        }
        if self.blackout {
            forth.blackouts = vec![(at(8.0), at(9.0)), (at(16.0), at(17.0))];
        }
        let back = Profile::new(self.rate() as u64, half, 10_000_000);
        (forth, back)
    }

    fn world(&self, seed: u64) -> World {
        let (forth, back) = self.links();
        World::new(forth, back, seed)
    }
}

/// Bursts of about 20 packets, half of them lost, one each 2000 packets.
const BURSTS: Bursts = Bursts {
    enter: 0.0005,
    leave: 0.05,
    loss: 0.5,
};

fn controller(name: &str, now: Time, rtt: Duration, seed: u64) -> Box<dyn Controller> {
    match name {
        "cubic" => Box::new(Cubic::new()),
        "udt" => Box::new(Udt::new(now, PACKET as u16, Some(rtt), seed)),
        "bbr1" => Box::new(BbrV1::new()),
        _ => Box::new(Bbr::new(now, PACKET as u16, Some(rtt), seed)),
    }
}

fn add(world: &mut World, name: &str, start: f64, rtt_ms: f64, seed: u64, goal: Option<u64>) {
    let rtt = Duration::from_secs_f64(rtt_ms / 1000.0);
    let start = at(start);
    let mut f = Flow::new(world.flows.len(), controller(name, start, rtt, seed), start, goal);
    f.paced = name != "cubic";
    f.tcp = name == "cubic" || name == "bbr1";
    world.flows.push(f);
}

#[derive(Debug)]
struct Outcome {
    /// Steady goodput, percent of the ideal.
    steady: f64,
    /// Time for ten seconds' worth, against ten seconds.
    file: f64,
    queue: Duration,
    /// Packets declared lost, percent of those sent.
    lost: f64,
    /// Of those sent, percent that had arrived all the same.
    spurious: f64,
}

/// One flow alone. Steady means after five seconds and ten round trips.
fn alone(cell: &Cell, name: &str, seed: u64) -> Outcome {
    let mut w = cell.world(seed);
    add(&mut w, name, 0.0, cell.rtt_ms, seed, None);
    let warm = 5.0 + cell.rtt_ms / 100.0;
    let end = warm + 15.0;
    let goal = (cell.ideal() * 10.0 / PACKET as f64) as u64;
    let mut file = f64::INFINITY;
    let mut mark = None;
    let mut t = 0.0;
    while t < end {
        t += 0.05;
        w.run(at(t));
        if w.flows[0].stats.useful >= goal && file.is_infinite() {
            file = t / 10.0;
        }
        if t >= warm && mark.is_none() {
            mark = Some((t, w.flows[0].stats));
            w.delays.clear();
        }
    }
    let (t0, before) = mark.expect("the run outlasts the warm-up");
    let s = w.flows[0].stats;
    let sent = (s.sent - before.sent).max(1) as f64;
    Outcome {
        steady: 100.0 * ((s.useful - before.useful) * PACKET) as f64 / (t - t0) / cell.ideal(),
        file,
        queue: w.median_delay(),
        lost: 100.0 * (s.lost - before.lost) as f64 / sent,
        spurious: 100.0 * (s.spurious - before.spurious) as f64 / sent,
    }
}

/// Percent of the link that each flow has, after 10 s of getting used to each other.
fn shares(cell: &Cell, names: &[&str], seconds: f64, seed: u64) -> Vec<f64> {
    let runs = 3;
    let mut sum = vec![0.0; names.len()];
    for i in 0..runs {
        for (s, one) in sum.iter_mut().zip(shares_once(cell, names, seconds, seed + i)) {
            *s += one / runs as f64;
        }
    }
    sum
}

fn shares_once(cell: &Cell, names: &[&str], seconds: f64, seed: u64) -> Vec<f64> {
    let mut w = cell.world(seed);
    for (i, name) in names.iter().enumerate() {
        add(
            &mut w,
            name,
            2.0 * i as f64,
            cell.rtt_ms,
            seed * 31 + i as u64,
            None,
        );
    }
    w.run(at(10.0 + 2.0 * names.len() as f64));
    let before: Vec<u64> = w.flows.iter().map(|f| f.stats.useful).collect();
    let t0 = w.now;
    w.run(t0 + Duration::from_secs_f64(seconds));
    w.flows
        .iter()
        .zip(before)
        .map(|(f, b)| 100.0 * ((f.stats.useful - b) * PACKET) as f64 / seconds / cell.ideal())
        .collect()
}

fn print(cell: &Cell, o: &Outcome) {
    println!(
        "{:>5} Mbit {:>4} ms  p {:>4}%  buf {:>5} BDP  jit {:>3}  {}{}{}  | steady {:>5.1}%  file {:>5.2}x  queue {:>7.2} ms  lost {:>5.2}%  spurious {:>5.2}%{}",
        cell.mbit,
        cell.rtt_ms,
        cell.loss * 100.0,
        cell.buffer_bdp,
        cell.jitter_ms,
        cell.policer.map_or(String::new(), |p| format!("policer {p} ")),
        if cell.bursts { "bursts " } else { "" },
        if cell.blackout { "blackout " } else { "" },
        o.steady,
        o.file,
        o.queue.as_secs_f64() * 1000.0,
        o.lost,
        o.spurious,
        if o.steady < floor(cell) || o.file > 1.15 {
            "  <<<"
        } else {
            ""
        }
    );
}

fn floor(cell: &Cell) -> f64 {
    if cell.jitter_ms >= 50.0 || cell.policer.is_some() || cell.blackout {
        90.0
    } else {
        95.0
    }
}

fn grid_cells(full: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    let rates: &[f64] = if full {
        &[1.0, 20.0, 100.0, 500.0, 1000.0]
    } else {
        &[1.0, 20.0, 100.0]
    };
    let losses: &[f64] = if full {
        &[0.0, 0.001, 0.01, 0.05, 0.1]
    } else {
        &[0.0, 0.01, 0.1]
    };
    for &mbit in rates {
        for rtt in [2.0, 20.0, 100.0, 300.0] {
            for &loss in losses {
                for buffer in [0.05, 0.25, 1.0, 20.0] {
                    cells.push(Cell::new(mbit, rtt, loss, buffer));
                }
            }
        }
    }
    cells
}

fn special_cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (mbit, rtt) in [(20.0, 20.0), (100.0, 50.0), (100.0, 100.0), (500.0, 20.0)] {
        for loss in [0.0, 0.01] {
            for jitter in [10.0, 50.0] {
                cells.push(Cell {
                    jitter_ms: jitter,
                    ..Cell::new(mbit, rtt, loss, 1.0)
                });
            }
            cells.push(Cell {
                policer: Some(mbit / 5.0),
                ..Cell::new(mbit, rtt, loss, 1.0)
            });
            cells.push(Cell {
                bursts: true,
                ..Cell::new(mbit, rtt, loss, 1.0)
            });
            cells.push(Cell {
                blackout: true,
                ..Cell::new(mbit, rtt, loss, 1.0)
            });
        }
    }
    cells
}

/// Runs cells and reports all that miss `floor` percent, or `most` times ten seconds for ten seconds' worth.
fn hold(cells: &[Cell], floor: f64, most: f64) {
    let missed: Vec<_> = cells
        .iter()
        .map(|c| (c, alone(c, "bbr", 7)))
        .filter(|(_, o)| o.steady < floor || o.file > most || o.spurious > 1.0)
        .collect();
    for (cell, o) in &missed {
        print(cell, o);
    }
    assert!(
        missed.is_empty(),
        "{} cells miss {floor}% or {most}x; printed above",
        missed.len()
    );
}

#[test]
fn random_loss_costs_no_more_than_itself() {
    let cells: Vec<_> = [0.0, 0.001, 0.01, 0.05, 0.1]
        .map(|p| Cell::new(100.0, 50.0, p, 1.0))
        .into();
    hold(&cells, 95.0, 1.15);
}

#[test]
fn shallow_buffers_are_filled_to_the_link() {
    let cells = [
        Cell::new(100.0, 50.0, 0.0, 0.05),
        Cell::new(20.0, 100.0, 0.01, 0.05),
        Cell::new(20.0, 20.0, 0.0, 0.25),
    ];
    hold(&cells, 94.0, 1.15);
}

#[test]
fn slow_and_short_paths_are_no_exception() {
    let cells = [
        Cell::new(1.0, 2.0, 0.0, 1.0),
        Cell::new(1.0, 100.0, 0.01, 1.0),
        Cell::new(20.0, 2.0, 0.01, 1.0),
    ];
    hold(&cells, 94.0, 1.15);
}

#[test]
fn jitter_that_reorders_is_not_taken_for_loss() {
    let jitter = |ms, loss| Cell {
        jitter_ms: ms,
        ..Cell::new(100.0, 50.0, loss, 1.0)
    };
    hold(
        &[jitter(10.0, 0.0), jitter(50.0, 0.0), jitter(50.0, 0.01)],
        90.0,
        1.25,
    );
}

#[test]
fn policed_rate_is_reached() {
    hold(
        &[Cell {
            policer: Some(20.0),
            ..Cell::new(100.0, 50.0, 0.0, 1.0)
        }],
        90.0,
        1.2,
    );
}

#[test]
fn blackouts_and_bursts_are_got_over() {
    let cell = Cell::new(100.0, 50.0, 0.0, 1.0);
    hold(
        &[
            Cell {
                blackout: true,
                ..cell.clone()
            },
            Cell { bursts: true, ..cell },
        ],
        90.0,
        1.3,
    );
}

#[test]
fn bloated_buffers_stay_empty() {
    for cell in [
        Cell::new(20.0, 40.0, 0.0, 20.0),
        Cell::new(100.0, 50.0, 0.01, 20.0),
    ] {
        let o = alone(&cell, "bbr", 3);
        let most = (cell.rtt_ms * 0.25).max(10.0) / 1000.0;
        print(&cell, &o);
        assert!(o.queue.as_secs_f64() < most, "median queue {:?}", o.queue);
    }
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
fn two_flows_share_a_link() {
    for buffer in [0.25, 1.0] {
        let shares = shares(&Cell::new(100.0, 50.0, 0.0, buffer), &["bbr", "bbr"], 60.0, 1);
        println!("{buffer} BDP: {shares:.1?}");
        assert!(
            shares.iter().all(|s| (27.0..73.0).contains(s)),
            "{buffer} BDP: {shares:?}"
        );
    }
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
    assert!(clean.steady > 80.0, "{}", clean.steady);
}

#[test]
#[ignore = "prints a table; minutes"]
fn grid() {
    let full = std::env::var("GRID").is_ok_and(|v| v == "full");
    let name = std::env::var("CC").unwrap_or_else(|_| "bbr".into());
    let only_bad = std::env::var("BAD").is_ok();
    let mut worst = f64::INFINITY;
    let mut bad = 0;
    let mut cells = special_cells();
    cells.extend(grid_cells(full));
    let total = cells.len();
    for cell in cells {
        let o = alone(&cell, &name, 1);
        let fails = o.steady < floor(&cell) || o.file > 1.15;
        if !only_bad || fails {
            print(&cell, &o);
        }
        worst = worst.min(o.steady);
        bad += usize::from(fails);
    }
    println!("{bad} of {total} cells miss a floor; lowest steady {worst:.1}%");
}

#[test]
#[ignore = "prints a table; minutes"]
fn fairness() {
    let name = std::env::var("CC").unwrap_or_else(|_| "bbr".into());
    let name = name.as_str();
    let rates: Vec<(f64, f64)> = vec![(20.0, 20.0), (100.0, 50.0)];
    for (mbit, rtt) in rates {
        for buffer in [0.25, 0.5, 1.0, 2.0, 4.0] {
            let cell = Cell::new(mbit, rtt, 0.0, buffer);
            let fmt = |v: &[f64]| v.iter().map(|x| format!("{x:5.1}")).collect::<Vec<_>>().join(" ");
            println!(
                "{mbit} Mbit {rtt} ms {buffer} BDP | cubic² {} | cubic {} | cubic first {} | bbr1 {} | self {} | four cubic {}",
                fmt(&shares(&cell, &["cubic", "cubic"], 60.0, 1)),
                fmt(&shares(&cell, &[name, "cubic"], 60.0, 1)),
                fmt(&shares(&cell, &["cubic", name], 60.0, 2)),
                fmt(&shares(&cell, &[name, "bbr1"], 60.0, 1)),
                fmt(&shares(&cell, &[name, name], 60.0, 1)),
                fmt(&shares(
                    &cell,
                    &[name, "cubic", "cubic", "cubic", "cubic"],
                    60.0,
                    1
                )),
            );
        }
    }
}

/// TRACE="mbit rtt loss% buffer jitter" prints a run, one line each STEP ms.
#[test]
#[ignore = "prints a run"]
fn trace() {
    let spec = std::env::var("TRACE").unwrap_or_else(|_| "100 50 0 1 0".into());
    let v: Vec<f64> = spec.split(' ').map(|x| x.parse().unwrap()).collect();
    let step = std::env::var("STEP").map_or(0.1, |s| s.parse::<f64>().unwrap() / 1000.0);
    let mut cell = Cell {
        jitter_ms: v[4],
        ..Cell::new(v[0], v[1], v[2] / 100.0, v[3])
    };
    cell.bursts = std::env::var("BURSTS").is_ok();
    cell.blackout = std::env::var("BLACKOUT").is_ok();
    cell.policer = std::env::var("POLICER").ok().map(|p| p.parse().unwrap());
    let names = std::env::var("FLOWS").unwrap_or_else(|_| "bbr".into());
    let mut w = cell.world(1);
    for (i, name) in names.split(' ').enumerate() {
        add(&mut w, name, 2.0 * i as f64, v[1], 31 + i as u64, None);
    }
    let change: Option<Vec<f64>> = std::env::var("CHANGE")
        .ok()
        .map(|c| c.split(' ').map(|x| x.parse().unwrap()).collect());
    let change = change.as_ref();
    let mut last = vec![Default::default(); w.flows.len()];
    let mut t = 0.0;
    while t < std::env::var("END").map_or(12.0, |s| s.parse().unwrap()) {
        t += step;
        w.run(at(t));
        if let Some(mbit) = change.filter(|c| c[0] <= t).map(|c| c[1]) {
            w.forth.set_rate((mbit * 125_000.0) as u64);
        }
        for (f, l) in w.flows.iter().zip(&mut last) {
            let l: &mut flow::Stats = l;
            let c = &f.controller;
            let debug = format!("{c:?}");
            let field = |name: &str| {
                debug
                    .split(name)
                    .nth(1)
                    .map_or(String::new(), |s| s.chars().take_while(|&c| c != ',').collect())
            };
            println!(
                "{t:7.2} {:?} good {:5.1}% lost {:5.1}% bw {:5.1}% pace {:5.1}% win {:6} q {:6.2}ms lo{} hi{} jit{} {}",
                c.phase(),
                100.0 * ((f.stats.useful - l.useful) * PACKET) as f64 / step / cell.ideal(),
                100.0 * (f.stats.lost - l.lost) as f64 / (f.stats.sent - l.sent).max(1) as f64,
                100.0 * c.bandwidth() as f64 / cell.ideal(),
                100.0 * c.pacing_rate() as f64 / cell.rate(),
                c.window() / PACKET,
                w.forth.queue_delay(w.now).as_secs_f64() * 1000.0,
                field("bw_lo:"),
                field("inflight_hi:"),
                field("jitter:"),
                field("p0:") + &field("contest:") + &field("trim:"),
            );
            *l = f.stats;
        }
    }
}
