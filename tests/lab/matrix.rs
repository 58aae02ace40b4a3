//! The matrix: every pair of NATs connects, whoever comes late, or is told why it cannot.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::link::LinkPlan;
use super::nat::Nat;
use super::network::{Network, Plan};
use super::pair::{Errand, Pair, run_pair};

/// When the second user pastes, in seconds after the first: at once, a little later, most of a slot later, and after
/// two slots went by in vain.
const DELAYS: [u64; 4] = [0, 1, 7, 25];
/// Cells run side by side: they mostly wait.
const WORKERS: usize = 6;
/// From the second paste until both are connected: the next slot (they are 10 s apart), and time to punch. Whoever
/// needs a second slot found the first one spoilt.
const NEXT_SLOT: Duration = Duration::from_secs(12);
/// The same where ports of a router that gives out any are guessed: 998 of 1,000 are found in 24 s, unless whoever tries
/// rests for 30 s at first. One of the cells may need another row.
const GUESSED: Duration = Duration::from_secs(60);
/// Two rows of guesses, with the rests before and between them.
pub(crate) const TWO_ROWS: Duration = Duration::from_secs(120);
/// From the paste until it is told that there is no way.
const TOLD: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    a: Nat,
    b: Nat,
    delay: u64,
}

impl Cell {
    /// What must become of it: connected so soon, or told that it cannot be.
    fn limit(self) -> Option<Duration> {
        let is_unknown = |nat: Nat| nat.is_symmetric() && nat != Nat::SymmetricMapped;
        let filters = |nat| matches!(nat, Nat::MasqueradeDrop | Nat::MasqueradeAccept);
        match (self.a, self.b) {
            (a, b) if is_unknown(a) && is_unknown(b) => None,
            (Nat::Symmetric, other) | (other, Nat::Symmetric) if filters(other) => Some(TWO_ROWS),
            _ => Some(NEXT_SLOT),
        }
    }
}

/// What became of a cell.
struct Seen {
    /// From the second paste until both were connected.
    connected: Option<Duration>,
    good: bool,
    account: String,
}

fn short(nat: Nat) -> &'static str {
    match nat {
        Nat::Public => "public",
        Nat::Cone => "cone",
        Nat::MasqueradeDrop => "masq-drop",
        Nat::MasqueradeAccept => "masq-accept",
        Nat::Symmetric => "sym-random",
        Nat::SymmetricSteps => "sym-steps",
        Nat::SymmetricBlock => "sym-block",
        Nat::SymmetricMapped => "sym-mapped",
    }
}

/// Runs something for each of `cells`, some of them side by side.
pub(crate) fn side_by_side<C: Copy + Send, R: Send>(
    cells: VecDeque<C>,
    run: impl Fn(C) -> R + Sync,
) -> Vec<(C, R)> {
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

fn run(cell: Cell) -> Seen {
    let network = Network::build(Plan::new(cell.a, cell.b));
    let errand = Errand {
        second_pastes_after: Duration::from_secs(cell.delay),
        limit: TWO_ROWS + Duration::from_secs(30),
        ..Errand::default()
    };
    let Some(limit) = cell.limit() else {
        return told(&network, &errand);
    };
    let report = run_pair(&network, &errand);
    Seen {
        connected: report.connected,
        good: report.succeeded() && report.connected.is_some_and(|time| time < limit),
        account: report.account(),
    }
}

/// Both sides must be told why there is no way.
fn told(network: &Network, errand: &Errand) -> Seen {
    let words = "both networks are symmetric NATs";
    let (good, account) = match Pair::start(network, errand) {
        Ok(pair) => {
            let peers = [&pair.sender, &pair.receiver];
            let told = peers.map(|peer| peer.wait_for(words, TOLD));
            (told.iter().all(Result::is_ok), format!("{told:?}"))
        }
        Err(error) => (false, error),
    };
    Seen {
        connected: None,
        good,
        account,
    }
}

/// `MATRIX_RUNS=3` repeats each cell, and the table has medians.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn every_pair_of_nats_connects_whoever_comes_late_or_is_told_why_not() {
    let runs = std::env::var("MATRIX_RUNS").map_or(1, |text| text.parse().expect("MATRIX_RUNS is a number"));
    let mut cells = VecDeque::new();
    // The longest first, so that no worker is left with one at the end.
    for delay in DELAYS.into_iter().rev() {
        for a in Nat::ALL {
            let row = Nat::ALL.map(|b| Cell { a, b, delay });
            cells.extend(row.into_iter().flat_map(|cell| std::iter::repeat_n(cell, runs)));
        }
    }
    let total = cells.len();
    let start = Instant::now();
    let done = side_by_side(cells, |cell| {
        let seen = run(cell);
        if !seen.good {
            println!("=== {cell:?} ===\n{}", seen.account);
        }
        seen
    });
    println!("{} cells in {:.0} s\n", done.len(), start.elapsed().as_secs_f64());
    print!("{}", table(&done));
    let count = |is: fn(&Seen) -> bool| done.iter().filter(|(_, seen)| is(seen)).count();
    assert_eq!(
        (done.len(), count(|seen| !seen.good)),
        (total, 0),
        "cells that ran, cells that failed"
    );
    let unlucky = count(|seen| seen.connected.is_some_and(|time| time >= GUESSED));
    assert!(unlucky <= runs, "{unlucky} cells needed another row of guesses");
}

/// The seconds from the second paste until both sides were connected, as the table of docs/testing.md: one number for
/// each delay, or one for all if they are equal.
fn table(done: &[(Cell, Seen)]) -> String {
    let mut table = r"| sender \ receiver |".to_owned();
    table.extend(Nat::ALL.map(|b| format!(" {} |", short(b))));
    table += &format!("\n|{}\n", "---|".repeat(Nat::ALL.len() + 1));
    for a in Nat::ALL {
        table += &format!("| {} |", short(a));
        for b in Nat::ALL {
            let texts = DELAYS.map(|delay| text(done, Cell { a, b, delay }));
            let is_one = texts.iter().all(|text| *text == texts[0]);
            let text = if is_one {
                texts[0].clone()
            } else {
                texts.join(" / ")
            };
            table += &format!(" {text} |");
        }
        table += "\n";
    }
    table
}

/// What is in the table for one cell: the median of its runs.
fn text(done: &[(Cell, Seen)], wanted: Cell) -> String {
    let runs = done.iter().filter(|(cell, _)| *cell == wanted);
    if runs.clone().any(|(_, seen)| !seen.good) {
        return "FAILED".to_owned();
    }
    let mut times: Vec<Duration> = runs.filter_map(|(_, seen)| seen.connected).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2);
    median.map_or("told".to_owned(), |median| format!("{:.1}", median.as_secs_f64()))
}

/// Three slots, and the time to punch.
const THREE_SLOTS: Duration = Duration::from_secs(35);

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
        if !report.succeeded() || report.connected.is_none_or(|time| time > THREE_SLOTS) {
            late.push(report.account());
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

/// A pair that works only in its second turn, and the time to punch (docs/design.md, "Low TTL before the slot").
const SECOND_TURN: Duration = Duration::from_secs(80);

#[test]
#[ignore = "needs root: builds network namespaces"]
fn routers_that_drop_options_of_ip_cost_time_and_no_connection() {
    let (drop, accept) = (Nat::MasqueradeDrop, Nat::MasqueradeAccept);
    let mut cells = VecDeque::new();
    for (hops, routers) in [(8, &["na", "nb"][..]), (8, &["r1", "r8"]), (0, &["na", "nb"])] {
        for (a, b) in [(accept, accept), (accept, drop), (drop, accept)] {
            for delay in [0, 1, 4, 13] {
                cells.push_back((hops, routers, a, b, delay));
            }
        }
    }
    let done = side_by_side(cells, |(hops, routers, a, b, delay)| {
        let network = Network::build(Plan {
            hops,
            ..Plan::new(a, b)
        });
        for router in routers {
            let rules =
                "table ip options { chain x { type filter hook forward priority -10; ip hdrlength > 5 drop; }
                         }";
            network.rules(&network.name(router), rules);
        }
        let errand = Errand {
            second_pastes_after: Duration::from_secs(delay),
            ..Errand::default()
        };
        run_pair(&network, &errand)
    });
    let mut late = Vec::new();
    for ((hops, routers, a, b, delay), report) in &done {
        let what = format!(
            "{hops} routers, dropped by {routers:?}, {} x {}, +{delay} s",
            short(*a),
            short(*b)
        );
        println!("{what}: {:.1?}", report.connected);
        let limit = if *hops == 0 && a == b {
            SECOND_TURN
        } else {
            THREE_SLOTS
        };
        if !report.succeeded() || report.connected.is_none_or(|time| time > limit) {
            late.push(format!("{what}\n{}", report.account()));
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}
