//! Transfers over played links, one after the other: p2pcopy, and beside it what else is installed.
//!
//! `cargo bench --bench wan`, as root, on Linux, with nothing else running. The laboratory of tests/lab is the ground:
//! two public hosts, so that punching costs a slot and nothing else; files lie in memory, so that no disk is measured.
//! Every tool crosses the same link before the next link is built, in rounds, so that what changes on the machine
//! meanwhile hits all of them alike.

#[path = "../../../tests/integration/sim/codel.rs"]
mod codel;
#[path = "../../../tests/lab/driver.rs"]
mod driver;
#[path = "../../../tests/lab/headers.rs"]
mod headers;
#[path = "../../../tests/lab/link.rs"]
mod link;
#[path = "../../../tests/lab/nat.rs"]
mod nat;
#[path = "../../../tests/lab/network.rs"]
mod network;
#[path = "../../../tests/lab/pair.rs"]
mod pair;
#[path = "../../../tests/lab/ping.rs"]
mod ping;
#[path = "../../../tests/lab/queue.rs"]
mod queue;
#[path = "../../../tests/lab/services.rs"]
mod services;
#[path = "../../../tests/lab/shell.rs"]
mod shell;
#[path = "../../../tests/lab/sweep.rs"]
mod sweep;

mod contest;
mod links;
mod load;
mod ours;
mod peers;
mod picture;
mod sharing;
mod table;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use self::contest::{Tool, Track, Verdict};
use self::links::{CELLS, Cell};
use self::peers::PEERS;
use self::table::{Board, Entrant, Row, line, median};

const USAGE: &str =
    "cargo bench --bench wan -- [WORD...] [--only TOOL,...] [--relay] [--quick] [--rounds N] [--pictures DIR]

  WORD            only links whose names contain one of the words
  --only TOOL,..  only tools whose names contain one of these, in any case
  --relay         p2pcopy by way of a server's relay, too, which stands in the middle of the path
  --quick         only the most telling links
  --rounds N      each tool, or each match of --sharing, N times over each link; the median counts (default 1)
  --pictures DIR  write the pictures of docs/performance.md there
  --sharing       instead: what share of a link p2pcopy has beside TCP, and beside itself; --only picks rivals
  --traces DIR    with --sharing: leave the first p2pcopy's traces there, for p2pcopy plot";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    links: Vec<String>,
    tools: Vec<String>,
    quick: bool,
    relay: bool,
    rounds: usize,
    pictures: Option<PathBuf>,
    sharing: bool,
    traces: Option<PathBuf>,
}

impl Wanted {
    /// Reads the arguments; an error names the one that is not understood.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Wanted, String> {
        let mut wanted = Wanted {
            rounds: 1,
            ..Wanted::default()
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--quick" => wanted.quick = true,
                "--relay" => wanted.relay = true,
                "--sharing" => wanted.sharing = true,
                "--traces" => wanted.traces = Some(PathBuf::from(value()?)),
                "--only" => wanted.tools.extend(value()?.split(',').map(str::to_lowercase)),
                "--rounds" => {
                    let rounds: NonZero<usize> = value()?
                        .parse()
                        .map_err(|_| "--rounds needs a number from 1 on")?;
                    wanted.rounds = rounds.get();
                }
                "--pictures" => wanted.pictures = Some(PathBuf::from(value()?)),
                option if option.starts_with('-') => return Err(format!("{option} is unknown")),
                _ => wanted.links.push(word),
            }
        }
        Ok(wanted)
    }

    fn has_link(&self, cell: &Cell) -> bool {
        // A word that is a whole name means that link, not those whose names go on.
        let whole = |word: &String| CELLS.iter().any(|cell| cell.name == word);
        let means = |word: &String| match whole(word) {
            true => cell.name == word,
            false => cell.name.contains(word.as_str()),
        };
        let named = self.links.iter().any(means);
        (self.links.is_empty() || named) && (!self.quick || cell.telling)
    }

    fn has_tool(&self, tool: Tool) -> bool {
        let name = tool.name().to_lowercase();
        self.tools.is_empty() || self.tools.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Runs what the command line picks and prints the tables; fails if p2pcopy stalled or failed somewhere.
pub(crate) fn main() -> ExitCode {
    let wanted = match Wanted::parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if wanted.sharing {
        if let Some(directory) = &wanted.traces
            && let Err(error) = std::fs::create_dir_all(directory)
        {
            eprintln!("cannot write the traces to {}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
        println!(
            "{}",
            sharing::table(
                &wanted.links,
                &wanted.tools,
                wanted.rounds,
                wanted.traces.as_deref()
            )
        );
        return ExitCode::SUCCESS;
    }
    let board = measure(&wanted);
    println!("{}", board.markdown());
    if let Some(directory) = &wanted.pictures
        && let Err(error) = board.draw(directory)
    {
        eprintln!("cannot write the pictures to {}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    let ours = board
        .entrants
        .iter()
        .position(|entrant| matches!(entrant.tool, Tool::P2pcopy));
    let fell_short = ours.is_some_and(|at| {
        let runs = board.rows.iter().filter_map(|row| row.runs[at].as_ref());
        runs.into_iter().any(|run| run.measured.verdict != Verdict::Done)
    });
    ExitCode::from(u8::from(fell_short))
}

fn measure(wanted: &Wanted) -> Board {
    let relayed = wanted.relay.then_some(Tool::Relayed);
    let tools = [Tool::P2pcopy]
        .into_iter()
        .chain(relayed)
        .chain(PEERS.map(Tool::Peer));
    let entrants: Vec<Entrant> = tools
        .filter(|tool| wanted.has_tool(*tool))
        .map(|tool| Entrant {
            tool,
            installed: match tool {
                Tool::P2pcopy | Tool::Relayed => true,
                Tool::Peer(peer) => (peer.is_installed)(),
            },
        })
        .collect();
    let cells = CELLS.iter().filter(|cell| wanted.has_link(cell));
    let rows = cells
        .filter_map(|cell| cross(cell, &entrants, wanted.rounds))
        .collect();
    Board { entrants, rows }
}

/// Every entrant over one link, round by round; none if the link cannot be had.
fn cross(cell: &'static Cell, entrants: &[Entrant], rounds: usize) -> Option<Row> {
    let track = Track::build(cell)
        .map_err(|error| eprintln!("{}: {error}", cell.name))
        .ok()?;
    let mut runs: Vec<Vec<_>> = entrants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (entrant, runs) in entrants.iter().zip(&mut runs) {
            let in_vain = matches!(entrant.tool, Tool::Peer(peer) if peer.ecn) && !cell.marks();
            if !entrant.installed || in_vain {
                continue;
            }
            let run = track.run(entrant.tool);
            let name = entrant.tool.name();
            eprintln!("{} | {name}: {}", cell.name, line(cell, track.base(), &run));
            if let Verdict::Failed(account) = &run.measured.verdict {
                eprintln!("{account}");
            }
            runs.push(run);
        }
    }
    Some(Row {
        cell,
        base: track.base(),
        runs: runs.into_iter().map(median).collect(),
    })
}
