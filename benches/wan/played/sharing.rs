//! One link and several flows: what share p2pcopy has beside the kernel's TCP, and beside itself.
//!
//! The simulator's table of shares has far more links and runs, but models of the rivals; this one has the real ones.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::contest::MEMORY;
use super::links::{CELLS, Cell};
use super::network::Network;
use super::pair::{Errand, Pair};
use super::peers::tcp;

/// From the start of the first flow to that of the second, or longer if that takes a slot.
const HEAD_START: Duration = Duration::from_secs(3);
/// What the flows may take to get used to each other.
const SETTLE: Duration = Duration::from_secs(10);
/// What is measured.
const MEASURE: Duration = Duration::from_secs(40);
/// The longest that p2pcopy takes from its start to its connection: prompts, a slot, a punch.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How long all of it takes at most.
const LONGEST: Duration = CONNECT_LIMIT
    .saturating_mul(2)
    .saturating_add(HEAD_START)
    .saturating_add(SETTLE)
    .saturating_add(MEASURE);
/// Links at a time: they are slow, so the machine has room for some.
const AT_ONCE: u32 = 4;
/// Between two of them. All wait for the same slots: without it rounds would be alike, each at the same point of a
/// rival's curve.
const STAGGER: Duration = Duration::from_millis(2300);
/// Buffers, in products of bandwidth and round trip.
const BUFFERS: [f64; 3] = [0.25, 1.0, 4.0];
/// Mbit/s and milliseconds.
const PATHS: [(u64, u64); 3] = [(20, 20), (40, 30), (100, 50)];

/// Bytes on the link for each byte of content of ours.
const HEADERS: f64 = 1.05;

/// Who else is on the link.
#[derive(Clone, Copy, Debug)]
enum Rival {
    /// So many TCP connections with this congestion control, before or after p2pcopy.
    Tcp {
        control: &'static str,
        count: usize,
        first: bool,
    },
    /// Another p2pcopy, later.
    Ours,
}

/// A column of the table.
#[derive(Debug)]
struct Match {
    title: &'static str,
    rival: Rival,
}

const MATCHES: [Match; 6] = [
    Match {
        title: "CUBIC comes later",
        rival: Rival::Tcp {
            control: "cubic",
            count: 1,
            first: false,
        },
    },
    Match {
        title: "CUBIC was first",
        rival: Rival::Tcp {
            control: "cubic",
            count: 1,
            first: true,
        },
    },
    Match {
        title: "BBR comes later",
        rival: Rival::Tcp {
            control: "bbr",
            count: 1,
            first: false,
        },
    },
    Match {
        title: "two of ours",
        rival: Rival::Ours,
    },
    Match {
        title: "four CUBIC later",
        rival: Rival::Tcp {
            control: "cubic",
            count: 4,
            first: false,
        },
    },
    Match {
        title: "BBR was first",
        rival: Rival::Tcp {
            control: "bbr",
            count: 1,
            first: true,
        },
    },
];

/// What our first flow and all others got, in percent of the link.
type Shares = Result<[f64; 2], String>;

/// The links, with their names: plain buffers first, then the managed queues of the other tables.
fn links() -> Vec<(String, Cell)> {
    let plain = PATHS.iter().flat_map(|&(mbit, rtt)| {
        BUFFERS.map(|buffer| {
            let product = (mbit * rtt * 125) as f64;
            let cell = Cell::clean(mbit, rtt, (product * buffer) as usize);
            (format!("{mbit} Mbit/s, {rtt} ms, {buffer} BDP"), cell)
        })
    });
    let managed = CELLS.iter().filter(|cell| cell.marks());
    plain
        .chain(managed.map(|cell| (cell.name.to_owned(), *cell)))
        .collect()
}

/// Every match with one of `rivals` in its name on every link with one of `words` in its own, each `rounds` times, as a
/// table; none of them stands for all. Traces of our first flow are left in `traces`.
pub(crate) fn table(words: &[String], rivals: &[String], rounds: usize, traces: Option<&Path>) -> String {
    let matches: Vec<&Match> = MATCHES
        .iter()
        .filter(|m| !m.title.contains("BBR") || tcp::has_bbr())
        .filter(|m| rivals.is_empty() || rivals.iter().any(|r| m.title.to_lowercase().contains(r.as_str())))
        .collect();
    let mut links = links();
    links.retain(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())));
    let jobs: Vec<_> = links
        .iter()
        .flat_map(|link| matches.iter().map(move |m| (link, *m)))
        .flat_map(|job| (1..=rounds).map(move |round| (job, round)))
        .collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; jobs.len()]);
    thread::scope(|scope| {
        let (next, results, jobs) = (&next, &results, &jobs);
        for place in 0..AT_ONCE {
            scope.spawn(move || {
                while let Some((at, (((name, cell), m), round))) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(at).map(|job| (at, job))
                } {
                    let title = format!("{name}, {}", m.title);
                    let file = format!("{title}, {round}.jsonl").replace('/', "p");
                    let trace = traces.map(|directory| directory.join(&file));
                    thread::sleep(STAGGER * place);
                    let shares = run(cell, m.rival, trace.as_deref());
                    eprintln!("{title}: {}", brief(std::slice::from_ref(&shares)));
                    if let Err(account) = &shares {
                        eprintln!("{account}");
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(shares);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let results: Vec<Shares> = results.into_iter().flatten().collect();
    let mut cells = results.chunks(rounds);
    let mut text = "Percent of the link: p2pcopy (the first of them) / the others.\n\n| link |".to_owned();
    for m in &matches {
        let _ = write!(text, " {} |", m.title);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(matches.len()));
    for (name, _) in &links {
        let _ = write!(text, "| {name} |");
        for shares in cells.by_ref().take(matches.len()) {
            let _ = write!(text, " {} |", brief(shares));
        }
        text.push('\n');
    }
    text
}

/// The run in the middle, and with several also the least and the most that we had.
fn brief(rounds: &[Shares]) -> String {
    let mut done: Vec<&[f64; 2]> = rounds.iter().flatten().collect();
    done.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let failed = match rounds.len() - done.len() {
        0 => String::new(),
        some => format!(" ({some} failed)"),
    };
    match done[..] {
        [] => "failed".to_owned(),
        [[ours, theirs]] => format!("{ours:.0} / {theirs:.0}{failed}"),
        [least, .., most] => {
            let [ours, theirs] = done[done.len() / 2];
            format!(
                "{ours:.0} ({:.0} to {:.0}) / {theirs:.0}{failed}",
                least[0], most[0]
            )
        }
    }
}

/// One match on one link. Where the queue marks, TCP asks for marks.
fn run(cell: &Cell, rival: Rival, trace: Option<&Path>) -> Shares {
    let rate = cell.mbit * 1_000_000;
    let network = Network::build(cell.plan());
    let tcp = |control, count| {
        tcp::flows(&network, control, count, cell.marks(), LONGEST.as_secs())
            .map_err(|error| error.to_string())
    };
    let ours = || Ours::start(&network, rate);
    let shares = |flows: &[&Ours]| {
        let shares = watch(&network, rate, flows);
        if let (Some(path), [first, ..]) = (trace, flows)
            && let Err(error) = std::fs::copy(first.trace.path(), path)
        {
            eprintln!("{}: {error}", path.display());
        }
        shares
    };
    match rival {
        Rival::Tcp {
            control,
            count,
            first: false,
        } => {
            let flow = ours()?;
            thread::sleep(HEAD_START);
            let _flows = tcp(control, count)?;
            shares(&[&flow])
        }
        Rival::Tcp { control, count, .. } => {
            let _flows = tcp(control, count)?;
            thread::sleep(HEAD_START);
            let flow = ours()?;
            shares(&[&flow])
        }
        Rival::Ours => {
            let first = ours()?;
            thread::sleep(HEAD_START);
            let second = ours()?;
            shares(&[&first, &second])
        }
    }
}

/// A pair that is sending, and what it writes down of that.
struct Ours {
    _pair: Pair,
    trace: NamedTempFile,
}

impl Ours {
    /// Connects a pair that has more to send than there is time for.
    fn start(network: &Network, rate: u64) -> Result<Ours, String> {
        let trace = NamedTempFile::new().map_err(|error| error.to_string())?;
        let seconds = LONGEST.as_secs();
        let pair = Pair::start(
            network,
            &Errand {
                size: usize::try_from(rate / 8 * seconds).unwrap_or(usize::MAX),
                directory: Some(MEMORY.into()),
                trace: Some(trace.path().to_owned()),
                ..Errand::default()
            },
        )?;
        pair.sender.connected(CONNECT_LIMIT)?;
        Ok(Ours { _pair: pair, trace })
    }

    /// Bytes of content that the receiver has acknowledged so far; none before the trace's first line.
    fn arrived(&self) -> Option<u64> {
        let trace = std::fs::read_to_string(self.trace.path()).ok()?;
        let (_, last) = trace.rsplit_once("\"arrived\":")?;
        last.split_once(',')?.0.parse().ok()
    }
}

/// Lets the flows settle, then measures. What the pair does not have of the link, others have.
fn watch(network: &Network, rate: u64, flows: &[&Ours]) -> Shares {
    thread::sleep(SETTLE);
    let look = || -> Option<(Instant, u64, Vec<u64>)> {
        let arrived = flows.iter().map(|flow| flow.arrived()).collect::<Option<_>>()?;
        Some((
            Instant::now(),
            network.link().counters()[0].delivered_bytes,
            arrived,
        ))
    };
    let before = look().ok_or("no trace")?;
    thread::sleep(MEASURE);
    let after = look().ok_or("no trace")?;
    let whole = rate as f64 / 8.0 * (after.0 - before.0).as_secs_f64();
    let mut shares = after
        .2
        .iter()
        .zip(&before.2)
        .map(|(now, then)| 100.0 * (now - then) as f64 / whole);
    let all = 100.0 * (after.1 - before.1) as f64 / whole;
    let first = shares.next().unwrap_or_default();
    Ok([first, shares.next().unwrap_or(all - first * HEADERS)])
}
