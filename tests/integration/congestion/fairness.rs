//! Sharing a link with others and with our own kind, as a table that is reviewed when it changes.

use crate::congestion::cell::{Cell, parallel, shares};
use std::fmt::Write;

/// Runs of each row, each with the next seed.
const RUNS: u64 = 3;
/// Seconds of each run, after the flows got used to each other.
const SECONDS: f64 = 60.0;

/// Who shares a link, and what of it is shown.
struct Match {
    title: &'static str,
    /// In the order of starting.
    flows: &'static [&'static str],
    /// Whose share is shown.
    shown: &'static [usize],
    /// What is aimed at, percent of the link.
    goal: [f64; 2],
}

const MATCHES: [Match; 7] = [
    Match {
        title: "CUBIC twice",
        flows: &["cubic", "cubic"],
        shown: &[0, 1],
        goal: [0.0, 100.0],
    },
    Match {
        title: "CUBIC comes later",
        flows: &["bbr", "cubic"],
        shown: &[0],
        goal: [30.0, 70.0],
    },
    Match {
        title: "CUBIC was first",
        flows: &["cubic", "bbr"],
        shown: &[1],
        goal: [30.0, 70.0],
    },
    Match {
        title: "BBRv1 comes later",
        flows: &["bbr", "bbr1"],
        shown: &[0],
        goal: [30.0, 70.0],
    },
    Match {
        title: "BBRv1 was first",
        flows: &["bbr1", "bbr"],
        shown: &[1],
        goal: [30.0, 70.0],
    },
    Match {
        title: "twice ours",
        flows: &["bbr", "bbr"],
        shown: &[0, 1],
        goal: [35.0, 65.0],
    },
    Match {
        title: "four CUBIC",
        flows: &["bbr", "cubic", "cubic", "cubic", "cubic"],
        shown: &[0],
        goal: [10.0, 40.0],
    },
];

/// The last two were never looked at while constants were chosen.
const PATHS: [(f64, f64); 4] = [(20.0, 20.0), (100.0, 50.0), (40.0, 30.0), (200.0, 40.0)];

fn table(paths: &[(f64, f64)], seed: u64) -> String {
    let mut rows = Vec::new();
    for &(mbit, rtt) in paths {
        for buffer in [0.25, 0.5, 1.0, 2.0, 4.0] {
            rows.push(Cell::new(mbit, rtt, 0.0, buffer));
        }
    }
    let jobs: Vec<_> = rows
        .iter()
        .flat_map(|cell| MATCHES.iter().map(move |m| (cell, m)))
        .flat_map(|(cell, m)| (0..RUNS).map(move |i| (cell, m, seed + i)))
        .collect();
    let runs = parallel(&jobs, |(cell, m, seed)| shares(cell, m.flows, SECONDS, *seed));
    let mut runs = runs.chunks(RUNS as usize);
    let mut out = String::from(
        "Percent of the link, mean of three runs (least and most of any run); ! misses its goal.\n",
    );
    for m in &MATCHES {
        let (low, high) = (m.goal[0], m.goal[1]);
        writeln!(out, "{}: {low} to {high}", m.title).expect("a string takes all");
    }
    for cell in &rows {
        write!(
            out,
            "{:>3} Mbit/s {:>2} ms {:>4} BDP",
            cell.mbit, cell.rtt_ms, cell.buffer_bdp
        )
        .expect("a string takes all");
        for m in &MATCHES {
            let runs = runs.next().expect("each match was run");
            write!(out, " | {}", m.title).expect("a string takes all");
            for &i in m.shown {
                let of: Vec<f64> = runs.iter().map(|r| r[i]).collect();
                let mean = of.iter().sum::<f64>() / of.len() as f64;
                let low = of.iter().copied().fold(f64::INFINITY, f64::min);
                let high = of.iter().copied().fold(0.0, f64::max);
                let mark = if mean < m.goal[0] || mean > m.goal[1] {
                    "!"
                } else {
                    ""
                };
                write!(out, " {mean:.0}{mark} ({low:.0}-{high:.0})").expect("a string takes all");
            }
        }
        out.push('\n');
    }
    out
}

#[test]
#[ignore = "minutes"]
fn fairness() {
    let seed = std::env::var("SEED").map_or(1, |s| s.parse().expect("SEED is a number"));
    let paths = if std::env::var_os("TUNE").is_some() {
        &PATHS[..2]
    } else {
        &PATHS[..]
    };
    let table = table(paths, seed);
    println!("{table}");
    if std::env::var_os("SEED").is_none() && std::env::var_os("TUNE").is_none() {
        insta::assert_snapshot!("fairness", table);
    }
}

/// A guard, not the goal: the goal is 35-65% each in every run, which single runs still miss in buffers of a
/// quarter of the product.
#[test]
fn two_flows_share_a_link() {
    let jobs: Vec<_> = [0.25, 1.0]
        .into_iter()
        .flat_map(|buffer| [1, 2, 3, 11, 12, 13, 21, 22, 23].map(|seed| (buffer, seed)))
        .collect();
    let runs = parallel(&jobs, |&(buffer, seed)| {
        shares(
            &Cell::new(100.0, 50.0, 0.0, buffer),
            &["bbr", "bbr"],
            SECONDS,
            seed,
        )
    });
    for ((buffer, seed), shares) in jobs.iter().zip(&runs) {
        println!("{buffer} BDP, seed {seed}: {shares:.1?}");
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(least > 15.0, "{buffer} BDP, seed {seed}: {shares:.1?}");
    }
}
