//! The instrument for changing the controller: what each rule and each number does.
//!
//! Every rule is switched off, every number set to half and to double, one at a time, over a sample of the grid and of
//! the sharing matches. A line says how many results move, and the largest moves. What moves nothing can go.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use p2pcopy::parts::protocol::Params;

use crate::congestion::cell::{Cell, Trouble, alone_with, parallel, params, shares_with};
use crate::congestion::goodput_after_far_move;
use crate::congestion::pauses::lost_after_fall;
use crate::congestion::start::start;

/// Seeds of the runs without a change, which show how much is chance. The first is that of the runs with one.
const SEEDS: [u64; 6] = [5, 6, 7, 8, 9, 10];
/// A mean that lies so many standard errors off is no chance.
const SIGMAS: f64 = 2.5;
/// Seconds of a sharing match, after the flows got used to each other.
const SECONDS: f64 = 20.0;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(100_000);

/// A rule, and how it is switched off.
type Rule = (&'static str, fn(&mut Params));

const RULES: [Rule; 21] = [
    ("baseline of loss", |p| p.max_baseline = 0.0),
    // Where nothing is expected the threshold is not a number, and nothing exceeds that.
    ("loss beside a queue is judged strictly", |p| {
        p.overflow_sigmas = f64::INFINITY
    }),
    ("excess loss bounds the rate", |p| p.beta = 1.0),
    ("the window covers jitter", |p| p.max_jitter = Duration::ZERO),
    ("packets in service are no queue", |p| p.service_packets = 0.0),
    ("trains in startup", |p| p.train_time = NEVER),
    ("startup ends at the first queue", |p| p.full_bw_rounds = 1),
    ("the first queue corrects startup", |p| p.train_noise = 1.0),
    ("trims in a queue", |p| p.max_trim = 0.0),
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
    ("tests in competitive mode", |p| p.dip_gain = 100.0),
    ("holding a rate", |p| p.vain_cuts = u32::MAX),
    ("a hold ends if the others make room", |p| {
        p.hold_peaks = f64::INFINITY
    }),
    ("faster probes on short paths", |p| {
        p.short_packets = u64::MAX / 1_000_000
    }),
    ("short effects are ignored", |p| {
        p.lasting = Duration::from_nanos(1)
    }),
    ("a probe may lower the estimate", |p| p.probe_noise = 1.0),
];

/// One path that is played, and how.
enum Job {
    /// One flow alone.
    Alone(Cell),
    /// The first seconds of one flow.
    Start(Cell),
    /// An application that sends bursts, on a path that becomes slow.
    Pauses,
    /// A path that moves from 20 to 200 ms.
    Moves,
    /// Flows that meet, and whose share is looked at.
    Match(&'static str, &'static [&'static str], f64, usize, Cell),
}

/// A sample of the grid: each loss, buffer and trouble, at rates that are quick to simulate.
fn cells() -> Vec<Cell> {
    let plain = [
        (1.0, 20.0, 0.0, 1.0),
        (1.0, 300.0, 0.01, 1.0),
        (1.0, 20.0, 0.05, 1.0),
        (20.0, 2.0, 0.01, 1.0),
        (20.0, 40.0, 0.0, 20.0),
        (20.0, 20.0, 0.05, 0.25),
        (50.0, 50.0, 0.1, 0.05),
        (20.0, 300.0, 0.001, 0.25),
        (100.0, 2.0, 0.0, 1.0),
        // Heavy loss.
        (2.0, 60.0, 0.4, 1.0),
        (5.0, 100.0, 0.3, 1.0),
        (20.0, 40.0, 0.3, 1.0),
        (50.0, 200.0, 0.4, 0.25),
    ];
    let troubled = [
        (20.0, 2.0, 0.0, 1.0, Trouble::Jitter(10.0)),
        (20.0, 100.0, 0.05, 1.0, Trouble::Jitter(10.0)),
        (20.0, 20.0, 0.01, 0.25, Trouble::Jitter(50.0)),
        (1.0, 20.0, 0.0, 1.0, Trouble::Policer),
        (50.0, 50.0, 0.0, 1.0, Trouble::Policer),
        (20.0, 100.0, 0.01, 1.0, Trouble::Policer),
        (20.0, 100.0, 0.0, 0.25, Trouble::Bursts),
        (20.0, 20.0, 0.01, 1.0, Trouble::Bursts),
        (1.0, 100.0, 0.0, 1.0, Trouble::Blackouts),
        (20.0, 100.0, 0.01, 1.0, Trouble::Blackouts),
        (20.0, 100.0, 0.01, 0.25, Trouble::NarrowReturn),
        (20.0, 20.0, 0.0, 20.0, Trouble::NarrowReturn),
        // Real paths.
        (20.0, 600.0, 0.02, 1.0, Trouble::Weather),
        (50.0, 40.0, 0.0, 2.0, Trouble::Cellular),
        (200.0, 2.0, 0.0, 10.0, Trouble::Cellular),
        (100.0, 20.0, 0.005, 1.0, Trouble::Wifi),
        (20.0, 40.0, 0.0, 20.0, Trouble::CoDel),
    ];
    let plain = plain.map(|(mbit, rtt, loss, buffer)| Cell::new(mbit, rtt, loss, buffer));
    let troubled = troubled.map(|(mbit, rtt, loss, buffer, t)| Cell::new(mbit, rtt, loss, buffer).with(t));
    plain.into_iter().chain(troubled).collect()
}

/// Who meets whom, how many times the RTT the last flow has, and whose share is looked at.
const MATCHES: [(&str, &[&str], f64, usize); 8] = [
    ("CUBIC later", &["bbr", "cubic"], 1.0, 0),
    ("CUBIC first", &["cubic", "bbr"], 1.0, 1),
    ("BBRv1 later", &["bbr", "bbr1"], 1.0, 0),
    ("BBRv1 first", &["bbr1", "bbr"], 1.0, 1),
    ("ours twice", &["bbr", "bbr"], 1.0, 0),
    ("four CUBIC", &["bbr", "cubic", "cubic", "cubic", "cubic"], 1.0, 0),
    ("four of ours", &["bbr"; 4], 1.0, 0),
    ("RTT x1, x5", &["bbr", "bbr"], 5.0, 0),
];

/// Where they meet.
const GROUNDS: [(f64, f64, f64); 4] = [
    (20.0, 20.0, 0.25),
    (20.0, 20.0, 1.0),
    (20.0, 20.0, 4.0),
    (20.0, 100.0, 0.5),
];

/// The whole sample. What takes longest comes first, so that no core waits for one job at the end.
fn jobs() -> Vec<Job> {
    let matches = GROUNDS.into_iter().rev().flat_map(|(mbit, rtt, buffer)| {
        let cell = Cell::new(mbit, rtt, 0.0, buffer);
        MATCHES.map(|(title, flows, farther, whose)| Job::Match(title, flows, farther, whose, cell.clone()))
    });
    let starts = [(10.0, 20.0, 1.0), (100.0, 20.0, 0.5), (300.0, 100.0, 1.0)]
        .map(|(mbit, rtt, buffer)| Job::Start(Cell::new(mbit, rtt, 0.0, buffer)));
    matches
        .chain(cells().into_iter().map(Job::Alone))
        .chain(starts)
        .chain([Job::Pauses, Job::Moves])
        .collect()
}

/// One result: what it is, its value, and what counts as a move at least.
struct Value {
    name: String,
    is: f64,
    least_move: f64,
}

fn play(job: &Job, seed: u64, params: Params) -> Vec<Value> {
    let value = |what: &str, on: &dyn Display, is, least_move| {
        let name = format!("{what}, {on}")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Value { name, is, least_move }
    };
    match job {
        Job::Alone(cell) => {
            let o = alone_with(cell, "bbr", seed, params);
            vec![
                value("steady %", cell, o.steady, 1.0),
                value("file %", cell, o.file.min(300.0), 2.0),
                value("queue ms", cell, o.queue, (cell.rtt_ms / 10.0).max(3.0)),
                value("lost %", cell, o.lost, 1.0),
            ]
        }
        Job::Start(cell) => {
            let start = start(cell, seed, params);
            vec![
                value("overrun in products", cell, start.overrun, 0.1),
                value("RTTs of 1 MB", cell, start.megabyte, 0.5),
            ]
        }
        Job::Pauses => {
            let lost = 100.0 * lost_after_fall(40, 200.0, 0.05, seed, params);
            vec![value(
                "lost %",
                &"bursts of 40 packets on a path that became slow",
                lost,
                1.0,
            )]
        }
        Job::Moves => {
            let goodput = 100.0 * goodput_after_far_move(seed, params);
            vec![value(
                "steady %",
                &"20 s after a path moved from 20 to 200 ms",
                goodput,
                1.0,
            )]
        }
        Job::Match(title, flows, farther, whose, cell) => {
            let mut rtts = [1.0; 5];
            rtts[flows.len() - 1] = *farther;
            let share = shares_with(cell, flows, &rtts, SECONDS, seed, params)[*whose];
            vec![value(&format!("share %, {title}"), cell, share, 5.0)]
        }
    }
}

/// All results of the runs so far. KEEP=FILE keeps them there, so that a run that was stopped goes on where it was.
struct Runs {
    jobs: Vec<Job>,
    file: Option<File>,
    known: HashMap<String, Vec<f64>>,
    names: Vec<(String, f64)>,
}

impl Runs {
    fn new() -> Self {
        let mut known = HashMap::new();
        let file = std::env::var_os("KEEP").map(|path| {
            let old = std::fs::read_to_string(&path).unwrap_or_default();
            for (key, values) in old.lines().filter_map(|line| line.split_once('\t')) {
                let values = values.split(' ').map(|v| v.parse().expect("a number"));
                known.insert(key.to_string(), values.collect());
            }
            let open = OpenOptions::new().create(true).append(true).open(path);
            open.expect("KEEP is a file that can be written")
        });
        Runs {
            jobs: jobs(),
            file,
            known,
            names: Vec::new(),
        }
    }

    /// The results with these numbers.
    fn run(&mut self, name: &str, seed: u64, params: Params) -> Vec<f64> {
        let key = format!("{name}, seed {seed}");
        // The first run is always played, for it also tells what the results are.
        if let Some(known) = self.known.get(&key).filter(|_| !self.names.is_empty()) {
            return known.clone();
        }
        let values = parallel(&self.jobs, |job| play(job, seed, params));
        let values: Vec<Value> = values.into_iter().flatten().collect();
        let is: Vec<f64> = values.iter().map(|v| v.is).collect();
        if let Some(file) = &mut self.file {
            let line: Vec<String> = is.iter().map(f64::to_string).collect();
            writeln!(file, "{key}\t{}", line.join(" ")).expect("KEEP can be written");
        }
        self.names = values.into_iter().map(|v| (v.name, v.least_move)).collect();
        is
    }
}

/// A line: how many results moved beyond chance, how many changed at all, and the largest moves.
fn line(name: &str, what: &[(String, f64)], base: &[Vec<f64>], now: &[Vec<f64>]) -> String {
    let mean = |runs: &[Vec<f64>], i: usize| runs.iter().map(|r| r[i]).sum::<f64>() / runs.len() as f64;
    let mut moved = Vec::new();
    for (i, (result, least_move)) in what.iter().enumerate() {
        let (was, is) = (mean(base, i), mean(now, i));
        let variance = base.iter().map(|r| (r[i] - was).powi(2)).sum::<f64>() / (base.len() - 1) as f64;
        let error = (variance * (1.0 / base.len() as f64 + 1.0 / now.len() as f64)).sqrt();
        let by = (is - was).abs() / least_move.max(SIGMAS * error);
        if by > 1.0 {
            moved.push((by, format!(" | {result}: {was:.1} -> {is:.1}")));
        }
    }
    moved.sort_by(|a, b| b.0.total_cmp(&a.0));
    let other = base[0].iter().zip(&now[0]).filter(|(a, b)| a != b).count();
    let mut out = format!(
        "{name:<44} {:>3} moved, {other:>3} changed of {}",
        moved.len(),
        what.len()
    );
    moved.iter().take(4).for_each(|(_, result)| out += result);
    out
}

/// ONLY="trim*0.5" runs the changes with that in their name. RUNS=3 plays each with so many seeds.
#[test]
#[ignore = "half an hour"]
fn ablation() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let runs_each = std::env::var("RUNS").map_or(1, |n| n.parse().expect("RUNS is a number"));
    let mut changes: Vec<(String, Params)> = Vec::new();
    for (name, off) in RULES {
        let mut params = params();
        off(&mut params);
        changes.push((format!("without: {name}"), params));
    }
    for (name, scale) in Params::SCALES {
        for by in [0.5, 2.0] {
            let mut params = params();
            scale(&mut params, by);
            changes.push((format!("{name}*{by}"), params));
        }
    }
    let mut runs = Runs::new();
    let base: Vec<_> = SEEDS
        .iter()
        .map(|&seed| runs.run("as it is", seed, params()))
        .collect();
    for (name, params) in changes.iter().filter(|(name, _)| name.contains(&only)) {
        let seeds = SEEDS.iter().take(runs_each);
        let now: Vec<_> = seeds.map(|&seed| runs.run(name, seed, *params)).collect();
        println!("{}", line(name, &runs.names, &base, &now));
    }
}
