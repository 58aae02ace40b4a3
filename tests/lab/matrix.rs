//! The matrix: every ordinary pair of NATs connects, whoever comes late.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::link::LinkPlan;
use super::nat::Nat;
use super::network::{Network, Plan};
use super::pair::{Errand, Report, run_pair};

/// When the second user pastes, in seconds after the first: at once, a little later, most of a slot later, and after
/// two slots went by in vain.
const DELAYS: [u64; 4] = [0, 1, 7, 25];
/// Cells run side by side: they mostly wait for the next slot.
const WORKERS: usize = 6;
/// From the second paste until both are connected: the next slot (they are 10 s apart), and time to punch. Whoever
/// needs a second slot found the first one spoilt.
const NEXT_SLOT: Duration = Duration::from_secs(12);

#[derive(Clone, Copy, Debug)]
struct Cell {
    a: Nat,
    b: Nat,
    delay: u64,
}

fn short(nat: Nat) -> &'static str {
    match nat {
        Nat::Public => "public",
        Nat::Cone => "cone",
        Nat::MasqueradeDrop => "masq-drop",
        Nat::MasqueradeAccept => "masq-accept",
        Nat::Symmetric => "symmetric",
        Nat::SymmetricSteps => "steps",
        Nat::SymmetricBlock => "block",
    }
}

/// Whether a cell did what every cell must.
fn good(report: &Report) -> bool {
    report.succeeded() && report.connected.is_some_and(|time| time < NEXT_SLOT)
}

/// Runs something for each of `cells`, some of them side by side.
pub(crate) fn side_by_side<C: Copy + Send>(
    cells: VecDeque<C>,
    run: impl Fn(C) -> Report + Sync,
) -> Vec<(C, Report)> {
    let (cells, done) = (Mutex::new(cells), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = cells.lock().expect("no worker panics here").pop_front();
                    let Some(cell) = next else { break };
                    let report = run(cell);
                    done.lock().expect("no worker panics here").push((cell, report));
                }
            });
        }
    });
    done.into_inner().expect("no worker panicked")
}

fn run(cell: Cell) -> Report {
    let network = Network::build(Plan::new(cell.a, cell.b));
    run_pair(
        &network,
        &Errand {
            second_pastes_after: Duration::from_secs(cell.delay),
            ..Errand::default()
        },
    )
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn every_ordinary_pair_connects_whoever_comes_late() {
    let mut cells = VecDeque::new();
    // The longest first, so that no worker is left with one at the end.
    for delay in DELAYS.into_iter().rev() {
        for a in Nat::ORDINARY {
            cells.extend(Nat::ORDINARY.map(|b| Cell { a, b, delay }));
        }
    }
    let total = cells.len();
    let start = Instant::now();
    let done = side_by_side(cells, |cell| {
        let report = run(cell);
        if !good(&report) {
            println!("=== {cell:?} ===\n{}", report.account());
        }
        report
    });
    println!("{} cells in {:.0} s\n", done.len(), start.elapsed().as_secs_f64());
    print!("{}", table(&done));
    let failed = done.iter().filter(|(_, report)| !good(report)).count();
    assert_eq!(
        (done.len(), failed),
        (total, 0),
        "cells that ran, cells that failed"
    );
}

/// The seconds from the second paste until both sides were connected, as a table for docs/testing.md.
fn table(done: &[(Cell, Report)]) -> String {
    let mut table = "| sender behind | receiver behind |".to_owned();
    for delay in DELAYS {
        table += &format!(" +{delay} s |");
    }
    table += "\n|---|---|---|---|---|---|\n";
    for a in Nat::ORDINARY {
        for b in Nat::ORDINARY {
            table += &format!("| {} | {} |", short(a), short(b));
            for delay in DELAYS {
                let report = done
                    .iter()
                    .find(|(cell, _)| (cell.a, cell.b, cell.delay) == (a, b, delay))
                    .map(|(_, report)| report);
                let text = match report {
                    Some(report) if report.succeeded() => report
                        .connected
                        .map_or("?".to_owned(), |time| format!("{:.1}", time.as_secs_f64())),
                    Some(_) => "FAILED".to_owned(),
                    None => "not run".to_owned(),
                };
                table += &format!(" {text} |");
            }
            table += "\n";
        }
    }
    table
}

/// Two slots, and the time to punch.
const TWO_SLOTS: Duration = Duration::from_secs(25);

#[test]
#[ignore = "needs root: builds network namespaces"]
fn any_number_of_routers_between_two_homes_will_do() {
    let (drop, accept) = (Nat::MasqueradeDrop, Nat::MasqueradeAccept);
    let mut cells = VecDeque::new();
    for hops in [0, 1, 2, 3, 4, 8] {
        for delay in [0, 1, 20] {
            for (a, b) in [(accept, accept), (accept, drop), (drop, accept)] {
                cells.push_back((hops, delay, a, b));
            }
        }
    }
    let done = side_by_side(cells, |(hops, delay, a, b)| {
        let plan = Plan {
            hops,
            link: LinkPlan::distance(Duration::from_millis(delay)),
            ..Plan::new(a, b)
        };
        run_pair(&Network::build(plan), &Errand::default())
    });
    let mut late = Vec::new();
    for ((hops, delay, a, b), report) in &done {
        println!(
            "{hops} routers, {delay} ms, {} x {}: {:.1?}",
            short(*a),
            short(*b),
            report.connected
        );
        if !report.succeeded() || report.connected.is_none_or(|time| time > TWO_SLOTS) {
            late.push(report.account());
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}
