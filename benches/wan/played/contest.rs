//! One transfer of one tool over one link, and what is seen of it from outside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::link::Counters;
use super::links::Cell;
use super::load::Load;
use super::network::Network;
use super::ours;
use super::pair::content;
use super::peers::{Ground, Peer};
use super::ping::{Delay, Pings};

/// Files lie in memory, so that no disk is measured.
pub(crate) const MEMORY: &str = "/dev/shm";
/// Start of the name of a run's directory there; the process identifier follows.
const PREFIX: &str = "p2pcopy-wan-";
/// How often the black-out looks how far the file is.
const LOOK: Duration = Duration::from_millis(5);

/// Who carries the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    P2pcopy,
    /// The same by way of a server's relay.
    Relayed,
    Peer(&'static Peer),
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::P2pcopy => "p2pcopy",
            Tool::Relayed => "p2pcopy, relayed",
            Tool::Peer(peer) => peer.name,
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// Not done within the link's bound, or next to nothing done in a third of it.
    Stalled,
    /// It ended, but not well; what was printed.
    Failed(String),
}

/// What a tool's own run yields.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) verdict: Verdict,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    /// Content of the whole file, from the transfer's begin to its end.
    pub(crate) mbit: f64,
    pub(crate) insight: Option<Insight>,
}

/// What only p2pcopy tells about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Insight {
    /// Share of the sent packets that repeated others, 0 to 1; none if it was not told.
    pub(crate) repeated: Option<f64>,
    /// The most memory sender and receiver held, in bytes.
    pub(crate) memory: [u64; 2],
    /// Mbit/s between the first and the last tenth of the file.
    pub(crate) middle: Option<f64>,
}

impl Measured {
    pub(crate) fn done(begin: Instant, end: Instant, size: u64) -> Measured {
        Measured {
            verdict: Verdict::Done,
            begin,
            end,
            mbit: size as f64 * 8e-6 / (end - begin).as_secs_f64(),
            insight: None,
        }
    }

    pub(crate) fn stalled(begin: Instant, end: Instant) -> Measured {
        Measured {
            verdict: Verdict::Stalled,
            begin,
            end,
            mbit: 0.0,
            insight: None,
        }
    }

    pub(crate) fn failed(account: String) -> Measured {
        Measured {
            verdict: Verdict::Failed(account),
            ..Measured::stalled(Instant::now(), Instant::now())
        }
    }
}

/// A transfer, and what the link and the pings beside it saw.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) measured: Measured,
    /// Mbit/s that left the link, headers included; none without a played link.
    pub(crate) crossed: Option<f64>,
    /// Bytes put on the link for each byte of the file: headers, repetitions and all.
    pub(crate) spent: Option<f64>,
    /// Packets that the link's queue marked.
    pub(crate) marked: Option<u64>,
    pub(crate) pings: Option<Delay>,
    /// CPU seconds of the whole machine for each gigabyte; none with a played link, which costs more than all.
    pub(crate) cpu: Option<f64>,
}

/// A link that is up, its file, and the round trip while nothing else is on it.
#[derive(Debug)]
pub(crate) struct Track<'a> {
    cell: &'a Cell,
    network: Network,
    file: PathBuf,
    base: Option<Duration>,
    /// Where all files of all tools lie.
    files: TempDir,
}

impl<'a> Track<'a> {
    pub(crate) fn build(cell: &'a Cell) -> io::Result<Track<'a>> {
        sweep()?;
        let files = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(MEMORY)?;
        let file = files.path().join("vm.img");
        let network = Network::build(cell.plan());
        let base = Pings::start(&network)?.idle();
        std::fs::write(&file, content(usize::try_from(cell.size()).unwrap_or(usize::MAX)))?;
        Ok(Track {
            cell,
            network,
            file,
            base,
            files,
        })
    }

    /// The round trip while nothing else is on the link.
    pub(crate) fn base(&self) -> Option<Duration> {
        self.base
    }

    /// Has one tool carry the file once.
    pub(crate) fn run(&self, tool: Tool) -> Run {
        self.try_run(tool).unwrap_or_else(|error| Run {
            measured: Measured::failed(error.to_string()),
            crossed: None,
            spent: None,
            marked: None,
            pings: None,
            cpu: None,
        })
    }

    fn try_run(&self, tool: Tool) -> io::Result<Run> {
        let pings = Pings::start(&self.network)?;
        if let Some(base) = self.base {
            pings.wait_for_quiet(base);
        }
        if !self.cell.is_played() {
            self.warm()?;
        }
        let load = Load::watch();
        let before = self.towards_b();
        let over = AtomicBool::new(false);
        let measured = thread::scope(|scope| {
            scope.spawn(|| self.darken(&over));
            let measured = match tool {
                Tool::P2pcopy => Ok(ours::run(&self.network, self.cell, self.files.path())),
                Tool::Relayed => Ok(ours::run_relayed(
                    &self.network,
                    self.cell,
                    self.files.path(),
                    &self.file,
                )),
                Tool::Peer(peer) => Ground::new(&self.network, &self.file, self.cell.mbit)
                    .map(|ground| peer.run(&ground, self.cell.bound())),
            };
            over.store(true, Ordering::Relaxed);
            measured
        })?;
        let wire = before.zip(self.towards_b());
        let wire = wire.map(|(then, now)| Wire::between(then, now));
        let time = (measured.end - measured.begin).as_secs_f64();
        Ok(Run {
            crossed: wire.map(|wire| wire.left * 8e-6 / time),
            spent: wire.map(|wire| wire.entered / self.cell.size() as f64),
            marked: wire.map(|wire| wire.marked),
            pings: pings.between(measured.begin, measured.end),
            cpu: (!self.cell.is_played())
                .then(|| load.between(measured.begin, measured.end))
                .flatten()
                .map(|seconds| seconds * 1e9 / self.cell.size() as f64),
            measured,
        })
    }

    /// Takes the memory of a copy and gives it back, right before it is needed: a virtual machine hands memory that was
    /// free for seconds to its host, and at this rate page faults there would be most of what is measured.
    fn warm(&self) -> io::Result<()> {
        let path = self.files.path().join("warm");
        std::fs::copy(&self.file, &path)?;
        std::fs::remove_file(path)
    }

    /// What the link has carried towards B so far; none without one.
    fn towards_b(&self) -> Option<Counters> {
        self.cell.is_played().then(|| self.network.link().counters()[0])
    }

    /// Turns the link dark for a while once a third of the file has crossed it, if the cell wants that.
    fn darken(&self, over: &AtomicBool) {
        if self.cell.dark.is_zero() {
            return;
        }
        let link = self.network.link();
        let crossed = || link.counters()[0].delivered_bytes;
        let third = crossed() + self.cell.size() / 3;
        while crossed() < third {
            if over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(LOOK);
        }
        link.black_out(true);
        thread::sleep(self.cell.dark);
        link.black_out(false);
    }
}

/// Removes the files of runs that were killed: they would hold memory until the next start of the machine.
fn sweep() -> io::Result<()> {
    for entry in std::fs::read_dir(MEMORY)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Bytes towards B, and marked packets.
#[derive(Clone, Copy, Debug)]
struct Wire {
    entered: f64,
    left: f64,
    marked: u64,
}

impl Wire {
    /// What came between two looks at the counters. The link does not weigh what it loses; those packets are taken to
    /// be like the others.
    fn between(then: Counters, now: Counters) -> Wire {
        let left = (now.delivered_bytes - then.delivered_bytes) as f64;
        let lost = (now.lost + now.overflowed - then.lost - then.overflowed) as f64;
        let delivered = (now.delivered - then.delivered).max(1) as f64;
        Wire {
            entered: left * (1.0 + lost / delivered),
            left,
            marked: now.marked - then.marked,
        }
    }
}
