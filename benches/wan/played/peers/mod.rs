//! The programs p2pcopy is measured beside, where they are installed. Each carries the file from A to B.
//!
//! One end is started first and waits (`far`); the other does the work and ends with the transfer (`near`). Nothing
//! is tuned: every program runs with its own defaults, and the namespaces with the kernel's.

pub(crate) mod tcp;
mod udp;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::contest::Measured;
use super::network::{Network, Side};
use super::shell::{Daemon, command, command_in, find, inside, run};

/// How long the waiting end may take to be ready: sendme hashes the file first.
const READY_LIMIT: Duration = Duration::from_secs(15);
/// How often a process, a socket table or a log is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Every peer, in the order of the table.
pub(crate) const PEERS: [&Peer; 10] = [
    &tcp::IPERF3_CUBIC,
    &tcp::IPERF3_ECN,
    &tcp::IPERF3_BBR,
    &tcp::RSYNC_CUBIC,
    &tcp::RSYNC_BBR,
    &tcp::SCP,
    &udp::UDT4,
    &udp::SRT,
    &udp::SENDME,
    &udp::UFTP,
];

/// One program, and how it is made to carry a file.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What makes it available, for whoever reads that it is missing.
    pub(crate) install: &'static str,
    /// Whether it is there.
    pub(crate) is_installed: fn() -> bool,
    /// The congestion control of TCP on both hosts, for those who use TCP.
    tcp: Option<&'static str>,
    /// Whether TCP asks for marks. Such a peer takes part only where a queue marks.
    pub(crate) ecn: bool,
    /// Where the end stands that waits.
    waits_at: Side,
    /// The end that waits.
    far: fn(&Ground) -> io::Result<Command>,
    /// When it can be spoken to.
    ready: Ready,
    /// The end whose start and end are the transfer's. It gets what the other one has printed so far.
    near: fn(&Ground, &str) -> io::Result<Command>,
    ends: Ends,
    proof: Proof,
}

/// When the waiting end can be spoken to.
#[derive(Clone, Copy, Debug)]
enum Ready {
    /// A TCP socket listens on this port.
    Tcp(u16),
    /// A UDP socket is bound to this port.
    Udp(u16),
    /// It has printed this.
    Said(&'static str),
}

/// Whose end is the transfer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The waiting end goes on waiting for others.
    Near,
    Both,
}

/// How it is known that the transfer did what it should.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// The received file is compared with the sent one.
    File,
    /// The program keeps no file; it prints a rate in Mbit/s.
    Rate(fn(&str) -> Option<f64>),
}

/// Where a peer works: the two hosts, and a directory in memory that goes away with it.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    network: &'a Network,
    /// The file to send.
    file: &'a Path,
    size: u64,
    /// Rate of the link in Mbit/s, for whoever must be told.
    mbit: u64,
    home: TempDir,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(network: &'a Network, file: &'a Path, mbit: u64) -> io::Result<Ground<'a>> {
        let parent = file.parent().unwrap_or(Path::new("/"));
        let home = tempfile::tempdir_in(parent)?;
        for name in ["received", "a", "b"] {
            std::fs::create_dir(home.path().join(name))?;
        }
        Ok(Ground {
            network,
            file,
            size: file.metadata()?.len(),
            mbit,
            home,
        })
    }

    /// Bytes that have left the link towards B since it was built; none without a played link.
    fn crossed(&self) -> Option<u64> {
        (self.mbit > 0).then(|| self.network.link().counters()[0].delivered_bytes)
    }

    fn address(&self, side: Side) -> &'static str {
        self.network.host_address(side)
    }

    /// A program on a side's host, in a working directory of its own.
    fn command(&self, side: Side, program: impl AsRef<std::path::Path>) -> Command {
        let mut command = command_in(&self.network.host(side), program);
        command.current_dir(self.home.path().join(match side {
            Side::A => "a",
            Side::B => "b",
        }));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The directory the file should arrive in.
    fn received(&self) -> PathBuf {
        self.path("received")
    }

    /// The name the file should arrive under.
    fn arrived(&self) -> PathBuf {
        self.received().join(self.file.file_name().unwrap_or_default())
    }

    fn log(&self, end: &str) -> String {
        std::fs::read(self.path(end))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Starts one end; what it prints goes to a file of that name.
    fn spawn(&self, mut command: Command, end: &str) -> io::Result<Daemon> {
        let log = File::create(self.path(end))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map(Daemon)
    }
}

impl Peer {
    /// Carries the file once. Whatever it started is killed before this returns.
    pub(crate) fn run(&self, ground: &Ground, bound: Duration) -> Measured {
        let measured = self.carry(ground, bound);
        for side in [Side::A, Side::B] {
            ground.network.clear(side);
        }
        measured.unwrap_or_else(|error| Measured::failed(error.to_string()))
    }

    fn carry(&self, ground: &Ground, bound: Duration) -> io::Result<Measured> {
        // Without a word of its own, a peer over TCP gets what nearly every system uses.
        prepare_tcp(ground.network, self.tcp.unwrap_or("cubic"), self.ecn)?;
        let mut far = ground.spawn((self.far)(ground)?, "far.log")?;
        self.ready.wait(&mut far.0, || ground.log("far.log"))?;
        let command = (self.near)(ground, &ground.log("far.log"))?;
        let begin = Instant::now();
        let mut near = ground.spawn(command, "near.log")?;
        let mut open = vec![&mut near.0];
        if self.ends == Ends::Both {
            open.push(&mut far.0);
        }
        let third = begin + bound / 3;
        let before = ground.crossed();
        let hopeless = || {
            let few = ground.crossed().zip(before);
            Instant::now() > third && few.is_some_and(|(now, then)| now - then < ground.size / 20)
        };
        let in_time = wait_for_all(&mut open, begin + bound, hopeless)?;
        let end = Instant::now();
        let account = || {
            let (near, far) = (ground.log("near.log"), ground.log("far.log"));
            format!("--- near end ---\n{near}\n--- far end ---\n{far}")
        };
        Ok(match in_time {
            None => Measured::stalled(begin, end),
            Some(false) => Measured::failed(account()),
            Some(true) => match self.proof {
                Proof::File if same(ground.file, &ground.arrived())? => {
                    Measured::done(begin, end, ground.size)
                }
                Proof::File => Measured::failed(format!("the file arrived damaged\n{}", account())),
                Proof::Rate(read) => match read(&ground.log("near.log")) {
                    Some(mbit) => Measured {
                        mbit,
                        ..Measured::done(begin, end, ground.size)
                    },
                    None => Measured::failed(account()),
                },
            },
        })
    }
}

impl Ready {
    /// Waits for the process; `said` is what it has printed so far.
    fn wait(self, far: &mut Child, said: impl Fn() -> String) -> io::Result<()> {
        let end = Instant::now() + READY_LIMIT;
        while !self.is_so(far.id(), &said) {
            let ended = far.try_wait()?.is_some();
            if ended || Instant::now() > end {
                let what = if ended { "ended" } else { "was not ready in time" };
                return Err(io::Error::other(format!("the waiting end {what}:\n{}", said())));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn is_so(self, pid: u32, said: impl Fn() -> String) -> bool {
        /// The state of a listening socket in /proc/net/tcp, and of a bound one in /proc/net/udp.
        const LISTEN: &str = "0A";
        const UNCONNECTED: &str = "07";
        let (table, port, state) = match self {
            Ready::Said(words) => return said().contains(words),
            Ready::Tcp(port) => ("tcp", port, LISTEN),
            Ready::Udp(port) => ("udp", port, UNCONNECTED),
        };
        let lines = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let ending = format!(":{port:04X}");
        lines.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace();
            words.nth(1).is_some_and(|local| local.ends_with(&ending)) && words.nth(1) == Some(state)
        })
    }
}

/// Waits for processes to end: whether all succeeded, none if time ran out or waiting has become hopeless.
fn wait_for_all(
    open: &mut Vec<&mut Child>,
    limit: Instant,
    hopeless: impl Fn() -> bool,
) -> io::Result<Option<bool>> {
    let mut well = true;
    while !open.is_empty() {
        if Instant::now() > limit || hopeless() {
            return Ok(None);
        }
        let mut waiting = Vec::new();
        for child in open.drain(..) {
            match child.try_wait()? {
                Some(status) => well &= status.success(),
                None => waiting.push(child),
            }
        }
        *open = waiting;
        thread::sleep(LOOK);
    }
    Ok(Some(well))
}

/// Gives both hosts a route to each other with this congestion control, ECN if asked for (else the default, which only
/// answers to it), and has TCP forget what earlier connections learnt of the path. (The namespace's own default may be set to few: the kernel allows what it calls unrestricted.)
fn prepare_tcp(network: &Network, control: &str, ecn: bool) -> io::Result<()> {
    for (side, peer) in [(Side::A, Side::B), (Side::B, Side::A)] {
        let (host, peer) = (network.host(side), network.host_address(peer));
        for (setting, value) in [
            ("tcp_no_metrics_save", "1"),
            ("tcp_ecn", if ecn { "1" } else { "2" }),
        ] {
            inside(&host, move || {
                std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value)
            })?;
        }
        let ip = |words: &[&str]| run(command("ip").args(["-n", &host]).args(words), "", READY_LIMIT);
        let known = ip(&["-oneline", "route", "get", peer]);
        let mut route = vec!["route", "replace", peer];
        let mut words = known.text.split_whitespace();
        while let Some(word) = words.next() {
            if ["via", "dev"].contains(&word) {
                route.extend([word, words.next().unwrap_or_default()]);
            }
        }
        route.extend(["congctl", control]);
        let outcome = ip(&route);
        if !outcome.success {
            return Err(io::Error::other(outcome.text));
        }
    }
    Ok(())
}

/// Whether two files hold the same; a missing second one does not.
fn same(sent: &Path, received: &Path) -> io::Result<bool> {
    const PIECE: usize = 1 << 20;
    let Ok(mut received) = File::open(received) else {
        return Ok(false);
    };
    let mut sent = File::open(sent)?;
    let mut pieces = [Vec::new(), Vec::new()];
    loop {
        for (file, piece) in [&mut sent, &mut received].into_iter().zip(&mut pieces) {
            piece.clear();
            file.take(PIECE as u64).read_to_end(piece)?;
        }
        match &pieces {
            [a, b] if a != b => return Ok(false),
            [a, _] if a.is_empty() => return Ok(true),
            _ => {}
        }
    }
}
