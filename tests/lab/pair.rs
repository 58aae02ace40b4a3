//! Two people and a file: each starts the program, tells the other the address, and pastes the other's.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::driver::Peer;
use super::network::{Network, Side};

/// When the receiver says that it wants the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// On the command line.
    Beforehand,
    /// When asked; the test types the answer.
    WhenAsked,
}

/// What of the line one program tells is pasted into the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// All of it.
    Whole,
    /// Only ip:port, as somebody reads it out.
    Bare,
}

/// A pair to run: what is sent, how, and when the second user pastes.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    /// Bytes of the file.
    pub(crate) size: usize,
    /// How long after the first user's paste the second one pastes.
    pub(crate) second_pastes_after: Duration,
    /// Which side pastes first.
    pub(crate) first: Side,
    /// What of the told line is pasted.
    pub(crate) swap: Swap,
    /// Whether the receiver agreed beforehand (`--yes`) or will be asked.
    pub(crate) consent: Consent,
    /// Further arguments for both sides.
    pub(crate) arguments: Vec<String>,
    /// Environment for both sides, over the network's own.
    pub(crate) environment: Vec<(String, String)>,
    /// How long after the second paste both programs may still run.
    pub(crate) limit: Duration,
    /// Where both files lie; none: wherever temporary files go.
    pub(crate) directory: Option<PathBuf>,
    /// Where the sender writes a trace, if it should.
    pub(crate) trace: Option<PathBuf>,
}

impl Default for Errand {
    fn default() -> Self {
        Errand {
            size: 300_000,
            second_pastes_after: Duration::ZERO,
            first: Side::A,
            swap: Swap::Whole,
            consent: Consent::Beforehand,
            arguments: Vec::new(),
            environment: Vec::new(),
            limit: Duration::from_secs(90),
            directory: None,
            trace: None,
        }
    }
}

/// A pair that runs: A sends, B receives.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) sender: Peer,
    pub(crate) receiver: Peer,
    /// When the second user pasted: from here on it is up to the program.
    pub(crate) pasted: Instant,
    limit: Duration,
    files: TempDir,
}

/// What became of a pair.
#[derive(Debug)]
pub(crate) struct Report {
    /// Exit codes of sender and receiver, or why there is none.
    pub(crate) exits: [Result<Option<i32>, String>; 2],
    /// From the second paste until the later of both said it was connected.
    pub(crate) connected: Option<Duration>,
    /// From the second paste until both had ended.
    pub(crate) took: Duration,
    /// Standard error of sender and receiver.
    pub(crate) stderr: [String; 2],
    /// The most memory sender and receiver held, in bytes, as far as it was seen.
    pub(crate) peak_memory: [u64; 2],
    /// Whether the received file holds exactly what was sent.
    pub(crate) exact: bool,
}

impl Report {
    /// Done and verified on both sides, and the file is the same, byte for byte.
    pub(crate) fn succeeded(&self) -> bool {
        self.exact && self.exits.iter().all(|exit| *exit == Ok(Some(0)))
    }

    /// Everything that is needed to understand a failure.
    pub(crate) fn account(&self) -> String {
        format!(
            "exits {:?}, connected after {:?}, took {:?}, peak memory {:?}, file exact: {}\n--- sender ---\n{}\n--- receiver ---\n{}\n",
            self.exits,
            self.connected,
            self.took,
            self.peak_memory,
            self.exact,
            self.stderr[0],
            self.stderr[1]
        )
    }
}

impl Pair {
    /// Starts both programs, waits for both prompts and pastes each address on the other side.
    pub(crate) fn start(network: &Network, errand: &Errand) -> Result<Pair, String> {
        let directory = errand.directory.clone().unwrap_or_else(std::env::temp_dir);
        let files = tempfile::tempdir_in(directory).map_err(|error| error.to_string())?;
        std::fs::write(files.path().join("vm.img"), content(errand.size))
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(files.path().join("received")).map_err(|error| error.to_string())?;
        let (file, output) = (files.path().join("vm.img"), files.path().join("received"));
        let both = |command: &mut Command| {
            command.args(&errand.arguments);
            command.envs(errand.environment.iter().map(|(name, value)| (name, value)));
        };
        let mut sender = Peer::start(network, Side::A, "sender", |command| {
            command.args(["sender", "--file"]).arg(&file);
            if let Some(trace) = &errand.trace {
                command.arg("--trace").arg(trace);
            }
            both(command);
        });
        let mut receiver = Peer::start(network, Side::B, "receiver", |command| {
            command.args(["receiver", "--output"]).arg(&output);
            if errand.consent == Consent::Beforehand {
                command.arg("--yes");
            }
            both(command);
        });
        let [tell_receiver, tell_sender] = [sender.address()?, receiver.address()?].map(|address| {
            let bare = address.split_once('/').map(|(bare, _)| bare.to_owned());
            bare.filter(|_| errand.swap == Swap::Bare).unwrap_or(address)
        });
        let wait = || thread::sleep(errand.second_pastes_after);
        match errand.first {
            Side::A => {
                sender.enter(&tell_sender);
                wait();
                receiver.enter(&tell_receiver);
            }
            Side::B => {
                receiver.enter(&tell_receiver);
                wait();
                sender.enter(&tell_sender);
            }
        }
        Ok(Pair {
            sender,
            receiver,
            pasted: Instant::now(),
            limit: errand.limit,
            files,
        })
    }

    /// Waits for both to end and compares the files.
    pub(crate) fn finish(mut self) -> Report {
        let end = self.pasted + self.limit;
        let mut peak_memory = [0; 2];
        let mut look = |pair: &Pair| {
            for (peak, peer) in peak_memory.iter_mut().zip([&pair.sender, &pair.receiver]) {
                *peak = peer.peak_memory().unwrap_or(0).max(*peak);
            }
        };
        while self.sender.wait(Duration::from_millis(50)).is_err() && Instant::now() < end {
            look(&self);
        }
        let exits = [&mut self.sender, &mut self.receiver]
            .map(|peer| peer.wait(end.saturating_duration_since(Instant::now())));
        let took = self.pasted.elapsed();
        let at = self
            .sender
            .connected_at()
            .zip(self.receiver.connected_at())
            .map(|(a, b)| a.max(b));
        let read = |path: PathBuf| std::fs::read(path).ok();
        let sent = read(self.files.path().join("vm.img"));
        let received = read(self.received());
        Report {
            exits,
            connected: at.map(|at| at.saturating_duration_since(self.pasted)),
            took,
            stderr: [self.sender.stderr(), self.receiver.stderr()],
            peak_memory,
            exact: received.is_some() && sent == received,
        }
    }

    /// Where the received file will stand when it is whole.
    pub(crate) fn received(&self) -> PathBuf {
        self.files.path().join("received/vm.img")
    }
}

/// Runs a pair from its start to its end.
pub(crate) fn run_pair(network: &Network, errand: &Errand) -> Report {
    let start = Instant::now();
    match Pair::start(network, errand) {
        Ok(pair) => pair.finish(),
        Err(error) => Report {
            exits: [Err(error.clone()), Err(error)],
            connected: None,
            took: start.elapsed(),
            stderr: Default::default(),
            peak_memory: [0; 2],
            exact: false,
        },
    }
}

/// Bytes without a pattern a transfer could get right by accident.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ size as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
