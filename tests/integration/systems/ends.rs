//! The two programs, and the files they copy.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::process;

/// How long a run may be silent: a Windows program under Wine takes seconds to start, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// The program of this tree and this system.
pub const OWN: &str = env!("CARGO_BIN_EXE_p2pcopy");

/// The two ends' ways to be started.
#[derive(Clone, Copy)]
pub enum End {
    Sender,
    Receiver,
}

impl End {
    fn line(self) -> String {
        let variable = match self {
            End::Sender => "P2PCOPY_SENDER",
            End::Receiver => "P2PCOPY_RECEIVER",
        };
        std::env::var(variable).unwrap_or_else(|_| OWN.to_owned())
    }

    fn command(self) -> Command {
        let line = self.line();
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// Whether the end is a program of Windows, be it on Windows or not.
    pub fn is_windows(self) -> bool {
        self.line().ends_with(".exe")
    }
}

pub struct Running {
    pub child: Child,
    pub input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Whether Wine runs it.
    under_wine: bool,
    output: std::thread::JoinHandle<Vec<u8>>,
    pub said: Vec<String>,
}

/// What a run left.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub said: String,
    under_wine: bool,
}

impl Ended {
    /// Whether it failed with this code. Wine may give 0, or end it by a signal, if its other threads end at the same
    /// moment; what it said counts then.
    pub fn failed_with(&self, code: i32) -> bool {
        let is_lost = self.under_wine && matches!(self.code, Some(0) | None);
        self.code == Some(code) || is_lost && self.said.contains("\nerror: ")
    }

    /// Whether it ended well, with the same doubt about its code.
    pub fn succeeded(&self) -> bool {
        let is_lost = self.under_wine && self.code.is_none();
        self.code == Some(0) || is_lost && self.said.contains("\nDone: ")
    }
}

impl Running {
    pub fn start(end: End, arguments: &[&str], directory: &Path) -> Self {
        let mut command = end.command();
        command.args(arguments);
        Running::of(command, directory)
    }

    pub fn of(command: Command, directory: &Path) -> Self {
        let is_program = |word: &std::ffi::OsStr| word.as_encoded_bytes().ends_with(b".exe");
        let under_wine = !cfg!(windows) && command.get_args().any(is_program);
        let (mut child, lines) = process::spawn(command, directory);
        let mut stdout = child.stdout.take().expect("piped");
        let output = std::thread::spawn(move || {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).expect("its output can be read");
            all
        });
        Running {
            input: child.stdin.take(),
            child,
            lines,
            under_wine,
            output,
            said: Vec::new(),
        }
    }

    /// Waits for a line that contains `part`.
    pub fn wait_for(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no \"{part}\" in\n{}", self.said.join("\n")),
            }
        }
    }

    pub fn address(&mut self) -> String {
        let line = self.wait_for("Tell this to your peer: ");
        line.rsplit(' ').next().expect("a last word").to_owned()
    }

    pub fn enter(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("still open"), "{line}").expect("it reads its input");
    }

    pub fn end(mut self) -> Ended {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.said.push(line);
        }
        let status = self.child.wait().expect("our own child");
        Ended {
            code: status.code(),
            stdout: self.output.join().expect("it only reads"),
            said: self.said.join("\n"),
            under_wine: self.under_wine,
        }
    }
}

/// Starts both with the same place for files, and gives each the other's address.
pub fn connect(sender: &[&str], receiver: &[&str], directory: &Path) -> [Running; 2] {
    introduce([
        Running::start(End::Sender, sender, directory),
        Running::start(End::Receiver, receiver, directory),
    ])
}

/// Gives each the other's address.
pub fn introduce(mut ends: [Running; 2]) -> [Running; 2] {
    let [a, b] = [ends[0].address(), ends[1].address()];
    ends[0].enter(&b);
    ends[1].enter(&a);
    ends
}

pub fn run(sender: &[&str], receiver: &[&str], directory: &Path) -> [Ended; 2] {
    connect(sender, receiver, directory).map(Running::end)
}

pub fn succeed(sender: &[&str], receiver: &[&str], directory: &Path) -> [Ended; 2] {
    succeeded(run(sender, receiver, directory))
}

/// Both ended well.
pub fn succeeded(ends: [Ended; 2]) -> [Ended; 2] {
    let codes = [ends[0].code, ends[1].code];
    assert!(
        ends.iter().all(Ended::succeeded),
        "{codes:?}, sender:\n{}\n\nreceiver:\n{}",
        ends[0].said,
        ends[1].said
    );
    ends
}

pub fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a place for files")
}

pub fn scale() -> usize {
    std::env::var("P2PCOPY_SCALE").map_or(1, |text| text.parse().expect("a number"))
}

/// Bytes that no run-length or repetition shortens.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    (0..len.div_ceil(8))
        .flat_map(|_| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)).to_le_bytes()
        })
        .take(len)
        .collect()
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a place for it");
    fs::write(path, bytes).expect("room for it");
}

pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below `root` with its content, by its path.
pub fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below it").to_string_lossy();
                found.push((name.replace('\\', "/"), read(&path)));
            }
        }
    }
    found.sort();
    found
}
