//! The grid: one flow alone on every kind of path. The quantiles of its table and its worst rows are reviewed when they
//! change.

use std::fmt::Write;

use crate::congestion::cell::{Cell, GOALS, Outcome, Trouble, alone, parallel};

/// The table's random numbers. SEED=n prints it with others, to see what is chance.
const SEED: u64 = 5;
/// Rates of the paths, Mbit/s.
const RATES: [f64; 5] = [1.0, 20.0, 100.0, 500.0, 1000.0];

fn plain_cells(rates: &[f64], losses: &[f64]) -> Vec<Cell> {
    let mut cells = Vec::new();
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

/// A table for each kind of trouble, over the same paths.
const TABLES: [(&str, Trouble); 7] = [
    ("grid", Trouble::None),
    ("grid_jitter_10", Trouble::Jitter(10.0)),
    ("grid_jitter_50", Trouble::Jitter(50.0)),
    ("grid_policer", Trouble::Policer),
    ("grid_bursts", Trouble::Bursts),
    ("grid_blackouts", Trouble::Blackouts),
    ("grid_narrow_return", Trouble::NarrowReturn),
];

/// Cells that a reviewed table shows: those farthest beyond their goals, or nearest to them.
const SHOWN: usize = 20;
/// Where the quantiles of each column are taken, percent of the cells.
const QUANTILES: [usize; 7] = [0, 5, 25, 50, 75, 95, 100];

/// The whole table, and what of it is reviewed.
fn tables(cells: &[Cell]) -> (String, String) {
    let seed = std::env::var("SEED").map_or(SEED, |s| s.parse().expect("SEED is a number"));
    let name = std::env::var("CC").unwrap_or_else(|_| "bbr".into());
    let outcomes = parallel(cells, |c| alone(c, &name, seed));
    let mut worst: Vec<_> = cells.iter().zip(&outcomes).collect();
    let whole = lines(&worst);
    worst.sort_by(|(a, x), (b, y)| y.strain(b).total_cmp(&x.strain(a)));
    worst.truncate(SHOWN);
    let reviewed = summary(cells, &outcomes) + &quantiles(&outcomes) + &lines(&worst);
    (whole, reviewed)
}

fn lines(of: &[(&Cell, &Outcome)]) -> String {
    let mut out = String::from(
        "rate, RTT, loss, buffer, trouble | steady % | file % | queue ms | lost % | in vain %\n",
    );
    for (cell, outcome) in of {
        writeln!(out, "{}", outcome.line(cell)).expect("a string takes all");
    }
    out
}

fn quantiles(outcomes: &[Outcome]) -> String {
    type Column = (&'static str, fn(&Outcome) -> f64);
    const COLUMNS: [Column; 5] = [
        ("steady %", |o| o.steady),
        ("file %", |o| o.file),
        ("queue ms", |o| o.queue),
        ("lost %", |o| o.lost),
        ("in vain %", |o| o.spurious),
    ];
    let mut out = format!("{:<10}", "quantile %");
    QUANTILES
        .iter()
        .for_each(|q| write!(out, " {q:>7}").expect("a string takes all"));
    out.push('\n');
    for (name, of) in COLUMNS {
        let mut values: Vec<f64> = outcomes.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        write!(out, "{name:<10}").expect("a string takes all");
        for q in QUANTILES {
            let value = values[(values.len() - 1) * q / 100];
            write!(out, " {value:>7.1}").expect("a string takes all");
        }
        out.push('\n');
    }
    out
}

fn summary(cells: &[Cell], outcomes: &[Outcome]) -> String {
    let mut out = format!("{} cells; goals missed (marked !):", cells.len());
    for (i, goal) in GOALS.iter().enumerate() {
        let missed = cells.iter().zip(outcomes).filter(|(c, o)| o.missed(c)[i]).count();
        write!(
            out,
            " {goal} {missed}{}",
            if i + 1 < GOALS.len() { "," } else { "\n" }
        )
        .expect("a string takes all");
    }
    out
}

/// Prints the whole table; compares what is reviewed of it unless SEED, CC or PARAMS ask for another one.
fn review(name: &str, cells: &[Cell]) {
    let (whole, reviewed) = tables(cells);
    println!("{name}: {whole}");
    if ["SEED", "CC", "PARAMS"]
        .iter()
        .all(|v| std::env::var_os(v).is_none())
    {
        insta::assert_snapshot!(name, reviewed);
    }
}

/// GRID="grid grid_policer" makes these tables only; with "1 20" beside them it prints them at these rates only.
#[test]
#[ignore = "minutes"]
fn grid() {
    let only = std::env::var("GRID").unwrap_or_default();
    let words: Vec<&str> = only.split_whitespace().collect();
    let mut rates: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let is_whole = rates.is_empty();
    if is_whole {
        rates = RATES.into();
    }
    let named = |name: &&str| TABLES.iter().any(|(table, _)| table == name);
    let names: Vec<_> = words.into_iter().filter(named).collect();
    let paths = plain_cells(&rates, &[0.0, 0.001, 0.01, 0.05, 0.1]);
    for (name, trouble) in TABLES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let cells: Vec<Cell> = paths.iter().map(|cell| cell.clone().with(trouble)).collect();
        if is_whole {
            review(name, &cells);
        } else {
            println!("{name}: {}", tables(&cells).0);
        }
    }
}

/// The same for every commit: slow paths only, since they are the quick ones to simulate.
#[test]
fn slow_part_of_the_grid() {
    review("slow", &plain_cells(&[1.0, 20.0], &[0.0, 0.05]));
}
