//! The grid: one flow alone on every kind of path, as a table that is reviewed when it changes.

use crate::cell::{Cell, GOALS, Outcome, Trouble, alone, parallel};
use std::fmt::Write;

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

fn table(cells: &[Cell]) -> String {
    let seed = std::env::var("SEED").map_or(SEED, |s| s.parse().expect("SEED is a number"));
    let name = std::env::var("CC").unwrap_or_else(|_| "bbr".into());
    let outcomes = parallel(cells, |c| alone(c, &name, seed));
    let mut out = summary(cells, &outcomes);
    out.push_str("rate, RTT, loss, buffer, trouble | steady % | file % | queue ms | lost % | in vain %\n");
    for (cell, o) in cells.iter().zip(&outcomes) {
        writeln!(out, "{}", o.line(cell)).expect("a string takes all");
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

/// Prints the table; compares it unless SEED, CC or GRID ask for another one.
fn review(name: &str, cells: &[Cell]) {
    let table = table(cells);
    println!("{name}: {table}");
    if ["SEED", "CC", "GRID"]
        .iter()
        .all(|v| std::env::var_os(v).is_none())
    {
        insta::assert_snapshot!(name, table);
    }
}

/// GRID="grid grid_policer 1 20" prints these tables only, at these rates only.
#[test]
#[ignore = "minutes"]
fn grid() {
    let only = std::env::var("GRID").unwrap_or_default();
    let words: Vec<&str> = only.split_whitespace().collect();
    let mut rates: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    if rates.is_empty() {
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
        review(name, &cells);
    }
}

/// The same for every commit: slow paths only, since they are the quick ones to simulate.
#[test]
fn slow_part_of_the_grid() {
    review("slow", &plain_cells(&[1.0, 20.0], &[0.0, 0.05]));
}
