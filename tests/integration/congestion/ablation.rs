//! The instrument for changing the controller: what each rule and each number does.
//!
//! Every rule is switched off, every number set to half and to double, one at a time, over a sample of the grid and of
//! the sharing matches. A line says how many results move, and the largest moves. What moves nothing can go.
//! `ONLY=trim` runs the rules and numbers whose names contain that word.

use std::fmt::Write;
use std::time::Duration;

use p2pcopy::parts::protocol::Params;

use crate::congestion::cell::{Cell, Outcome, Trouble, alone_with, parallel, params, shares_with};

/// Seeds of each run with a change.
const SEEDS: [u64; 1] = [5];
/// Seeds of the runs without one, which show how much is chance.
const BASE_SEEDS: [u64; 6] = [5, 6, 7, 8, 9, 10];
/// A run that lies so many deviations off is no chance.
const SIGMAS: f64 = 2.5;
/// Seconds of a sharing match, after the flows got used to each other.
const SECONDS: f64 = 25.0;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(100_000);

/// A rule, and how it is switched off.
type Rule = (&'static str, fn(&mut Params));

const RULES: [Rule; 20] = [
    ("baseline of loss", |p| p.max_baseline = 0.0),
    // Where nothing is expected the threshold is not a number, and nothing exceeds that.
    ("loss beside a queue is judged strictly", |p| {
        p.overflow_sigmas = f64::INFINITY
    }),
    ("excess loss bounds the rate", |p| p.beta = 1.0),
    ("the window covers jitter", |p| p.max_jitter = Duration::ZERO),
    ("packets in service are no queue", |p| p.service_packets = 0.0),
    ("trains in startup", |p| p.train_packets = u64::MAX / 1_000_000),
    ("startup ends at the first queue", |p| p.full_bw_rounds = 1),
    ("the first queue corrects startup", |p| p.train_noise = 1.0),
    ("trims in a queue", |p| p.trim = 0.0),
    ("competitive mode", |p| {
        (p.rival_intervals, p.rival_overflow_intervals, p.pressed) = (u32::MAX, u32::MAX, 0.0);
        p.collapse_steady = 0.0;
        p.competitive_memory = Duration::ZERO;
    }),
    ("a pressed flow does not probe", |p| p.pressed = 0.0),
    ("a collapse is believed", |p| p.collapse = 0.0),
    ("a collapse may be a rival's", |p| p.collapse_steady = 0.0),
    ("a flow that was alone leaves room", |p| {
        p.alone_share = f64::INFINITY
    }),
    ("memory of competitive mode", |p| {
        p.competitive_memory = Duration::ZERO
    }),
    ("tests in competitive mode", |p| p.dip_interval = NEVER),
    ("holding a rate", |p| p.vain_cuts = u32::MAX),
    ("faster probes on short paths", |p| {
        p.short_packets = u64::MAX / 1_000_000
    }),
    ("short effects are ignored", |p| p.lasting = Duration::ZERO),
    ("a probe may lower the estimate", |p| p.probe_noise = 1.0),
];

/// A sample of the grid: each loss, buffer and trouble, at rates that are quick to simulate.
fn cells() -> Vec<Cell> {
    let plain = [
        (1.0, 20.0, 0.0, 1.0),
        (20.0, 2.0, 0.01, 1.0),
        (20.0, 40.0, 0.0, 20.0),
        (20.0, 40.0, 0.3, 1.0),
        (50.0, 50.0, 0.1, 0.05),
    ];
    let troubled = [
        (20.0, 2.0, 0.0, 1.0, Trouble::Jitter(10.0)),
        (1.0, 20.0, 0.0, 1.0, Trouble::Policer),
        (50.0, 50.0, 0.0, 1.0, Trouble::Policer),
        (20.0, 100.0, 0.0, 0.25, Trouble::Bursts),
        (20.0, 100.0, 0.01, 1.0, Trouble::Blackouts),
        (20.0, 100.0, 0.01, 0.25, Trouble::NarrowReturn),
        (20.0, 600.0, 0.02, 1.0, Trouble::Weather),
        (50.0, 40.0, 0.0, 2.0, Trouble::Cellular),
        (200.0, 2.0, 0.0, 10.0, Trouble::Cellular),
    ];
    let plain = plain.map(|(mbit, rtt, loss, buffer)| Cell::new(mbit, rtt, loss, buffer));
    let troubled = troubled.map(|(mbit, rtt, loss, buffer, t)| Cell::new(mbit, rtt, loss, buffer).with(t));
    plain.into_iter().chain(troubled).collect()
}

/// Who meets whom, and whose share is looked at.
const MATCHES: [(&str, &[&str], usize); 6] = [
    ("CUBIC later", &["bbr", "cubic"], 0),
    ("CUBIC first", &["cubic", "bbr"], 1),
    ("BBRv1 later", &["bbr", "bbr1"], 0),
    ("BBRv1 first", &["bbr1", "bbr"], 1),
    ("ours twice", &["bbr", "bbr"], 0),
    ("four CUBIC", &["bbr", "cubic", "cubic", "cubic", "cubic"], 0),
];

/// Where they meet.
const GROUNDS: [(f64, f64, f64); 4] = [
    (20.0, 20.0, 0.25),
    (20.0, 20.0, 1.0),
    (40.0, 30.0, 0.5),
    (100.0, 50.0, 0.25),
];

#[derive(Clone, Copy)]
enum Job {
    Cell(usize),
    Match(usize, usize),
}

/// One result: what it is, its mean, how far runs with other seeds lie from that, and what counts as a move at least.
struct Result {
    name: String,
    mean: f64,
    deviation: f64,
    least_move: f64,
}

impl Result {
    fn new(name: String, of: &[f64], least_move: f64) -> Self {
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of.len() as f64;
        Result {
            name,
            mean,
            deviation: variance.sqrt(),
            least_move,
        }
    }

    /// How far `now` lies from this result, in units of what counts as a move: beyond chance, and beyond what matters.
    fn moved(&self, now: &Result) -> f64 {
        (now.mean - self.mean).abs() / self.least_move.max(SIGMAS * self.deviation)
    }
}

/// All results with these numbers.
fn run(cells: &[Cell], seeds: &[u64], params: Params) -> Vec<Result> {
    let matches = (0..MATCHES.len()).flat_map(|m| (0..GROUNDS.len()).map(move |g| Job::Match(m, g)));
    let jobs: Vec<Job> = (0..cells.len()).map(Job::Cell).chain(matches).collect();
    let results = parallel(&jobs, |job| match *job {
        Job::Cell(i) => {
            let cell = &cells[i];
            let runs: Vec<Outcome> = seeds
                .iter()
                .map(|seed| alone_with(cell, "bbr", *seed, params))
                .collect();
            let name = cell.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            let result = |what: &str, of: fn(&Outcome) -> f64, least| {
                let of: Vec<f64> = runs.iter().map(of).collect();
                Result::new(format!("{what}, {name}"), &of, least)
            };
            vec![
                result("steady %", |o| o.steady, 1.0),
                result("file %", |o| o.file.min(300.0), 2.0),
                result("queue ms", |o| o.queue, (cell.rtt_ms / 10.0).max(3.0)),
                result("lost %", |o| o.lost, 1.0),
            ]
        }
        Job::Match(m, g) => {
            let ((title, flows, whose), (mbit, rtt, buffer)) = (MATCHES[m], GROUNDS[g]);
            let cell = Cell::new(mbit, rtt, 0.0, buffer);
            let of: Vec<f64> = seeds
                .iter()
                .map(|seed| shares_with(&cell, flows, &[1.0; 5], SECONDS, *seed, params)[whose])
                .collect();
            let name = format!("share %, {title}, {mbit} Mbit/s {rtt} ms {buffer} BDP");
            vec![Result::new(name, &of, 5.0)]
        }
    });
    results.into_iter().flatten().collect()
}

/// A line: how many results moved, and the largest moves.
fn line(name: &str, base: &[Result], now: &[Result]) -> String {
    let mut moved: Vec<_> = base
        .iter()
        .zip(now)
        .map(|(a, b)| (a.moved(b), a, b))
        .filter(|(by, ..)| *by > 1.0)
        .collect();
    moved.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut out = format!("{name:<44} {:>3} of {}", moved.len(), base.len());
    for (_, a, b) in moved.iter().take(3) {
        write!(out, " | {}: {:.1} -> {:.1}", a.name, a.mean, b.mean).expect("a string takes all");
    }
    out
}

#[test]
#[ignore = "a quarter of an hour"]
fn ablation() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let cells = cells();
    let base = run(&cells, &BASE_SEEDS, params());
    let changed = |change: &dyn Fn(&mut Params)| {
        let mut params = params();
        change(&mut params);
        run(&cells, &SEEDS, params)
    };
    for (name, off) in RULES.iter().filter(|(name, _)| name.contains(&only)) {
        println!("{}", line(&format!("without: {name}"), &base, &changed(off)));
    }
    for (name, scale) in Params::SCALES.iter().filter(|(name, _)| name.contains(&only)) {
        for by in [0.5, 2.0] {
            let now = changed(&|p| scale(p, by));
            println!("{}", line(&format!("{name} x {by}"), &base, &now));
        }
    }
}
