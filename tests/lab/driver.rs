//! One running program, driven as a person would: read what it prints, type into its prompts, press Ctrl-C.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::network::{Network, Side};
use super::shell::command_in;

/// The line that carries the address to hand over.
const TELL: &str = "Tell this to your peer: ";
/// The prompt for the other's address; no line end follows it.
const ENTER: &str = "Enter the ip:port of your peer: ";
/// The line that says the punch succeeded.
const CONNECTED: &str = "Connected successfully to ";
/// How long the program may take from its start to its prompt: STUN and NTP with a dead server each, and some room
/// for a busy machine.
const PROMPT_LIMIT: Duration = Duration::from_secs(20);

/// The program under test: `P2PCOPY_BIN`, or the one Cargo has just built beside this test, so never an old one.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let named = std::env::var_os("P2PCOPY_BIN").map(PathBuf::from);
        named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_p2pcopy")))
    })
}

/// One running program: what it printed so far, and when.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    text: Mutex<Text>,
    more: Condvar,
}

/// Standard error so far, and when each piece of it came.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    arrivals: Vec<(usize, Instant)>,
    ended: bool,
}

impl Text {
    /// When the first occurrence of `needle` at or after `from` was complete, and where it ends.
    fn find(&self, needle: &str, from: usize) -> Option<(usize, Instant)> {
        let needle = needle.as_bytes();
        let start = self
            .bytes
            .get(from..)?
            .windows(needle.len())
            .position(|window| window == needle)?
            + from;
        let end = start + needle.len();
        let (_, when) = self.arrivals.iter().find(|(length, _)| *length >= end)?;
        Some((end, *when))
    }
}

impl Peer {
    /// Starts the program on a side's host, with that side's STUN and NTP servers in its environment; `arrange` may
    /// change anything.
    pub(crate) fn start(
        network: &Network,
        side: Side,
        name: &'static str,
        arrange: impl FnOnce(&mut Command),
    ) -> Peer {
        Peer::start_in(&network.host(side), name, |command| {
            command
                .env("P2PCOPY_STUN", network.stun())
                .env("P2PCOPY_NTP", network.ntp(side));
            arrange(command);
        })
    }

    /// Starts the program in a namespace, with nothing of the network in its environment.
    pub(crate) fn start_in(namespace: &str, name: &'static str, arrange: impl FnOnce(&mut Command)) -> Peer {
        let mut command = command_in(namespace, binary());
        // The test waits for plain lines.
        command.env("NO_COLOR", "1");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        arrange(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let mut stderr = child.stderr.take().expect("piped above");
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                let length = stderr.read(&mut piece).unwrap_or(0);
                let mut text = heard.text.lock().expect("no reader panics");
                text.bytes.extend_from_slice(&piece[..length]);
                let total = text.bytes.len();
                text.arrivals.push((total, Instant::now()));
                text.ended = length == 0;
                heard.more.notify_all();
                if length == 0 {
                    break;
                }
            }
        });
        Peer {
            name,
            child,
            stdin,
            said,
        }
    }

    /// Everything it printed on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.text().bytes).into_owned()
    }

    /// Waits until it has printed `needle`; the time it did so, or what it printed instead.
    pub(crate) fn wait_for(&self, needle: &str, limit: Duration) -> Result<Instant, String> {
        self.wait_for_after(needle, 0, limit).map(|(_, when)| when)
    }

    /// The address it tells, once its prompt stands.
    pub(crate) fn address(&self) -> Result<String, String> {
        self.wait_for(ENTER, PROMPT_LIMIT)?;
        self.told()
    }

    /// The address it tells, whether or not it will ask for the other's.
    pub(crate) fn told(&self) -> Result<String, String> {
        let (start, _) = self.wait_for_after(TELL, 0, PROMPT_LIMIT)?;
        self.wait_for_after("\n", start, PROMPT_LIMIT)?;
        let text = self.stderr();
        let word = text[start..]
            .split_whitespace()
            .next()
            .ok_or("no address was told")?;
        Ok(word.to_owned())
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input stays open");
        // It may have ended already; its exit code will tell.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// When it said it was connected.
    pub(crate) fn connected(&self, limit: Duration) -> Result<Instant, String> {
        self.wait_for(CONNECTED, limit)
    }

    /// Whether it has said so already, and when.
    pub(crate) fn connected_at(&self) -> Option<Instant> {
        self.text().find(CONNECTED, 0).map(|(_, when)| when)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a number");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// The most memory it has held so far, in bytes (VmHWM of proc(5)); none once it has ended.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// What it holds now: resident memory in bytes and open descriptors; none once it has ended.
    pub(crate) fn holds(&self) -> Option<(u64, usize)> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        let descriptors = std::fs::read_dir(process.join("fd")).ok()?.count();
        Some((kibibytes * 1024, descriptors))
    }

    /// Waits for its end; its exit code (none: ended by a signal), or an account of what it was doing.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<i32>, String> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                self.hear_the_end();
                return Ok(ExitStatus::code(&status));
            }
            if Instant::now() >= end {
                return Err(format!(
                    "{} still runs after {limit:?}; it said:\n{}",
                    self.name,
                    self.stderr()
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn hear_the_end(&self) {
        let text = self.text();
        let _ = self
            .said
            .more
            .wait_timeout_while(text, Duration::from_secs(1), |text| !text.ended);
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.said.text.lock().expect("no reader panics")
    }

    fn wait_for_after(&self, needle: &str, from: usize, limit: Duration) -> Result<(usize, Instant), String> {
        let waiting = |text: &mut Text| text.find(needle, from).is_none() && !text.ended;
        let (text, _) = self
            .said
            .more
            .wait_timeout_while(self.text(), limit, waiting)
            .expect("no reader panics");
        text.find(needle, from).ok_or_else(|| {
            let said = String::from_utf8_lossy(&text.bytes);
            format!(
                "{} never said {needle:?} within {limit:?}; it said:\n{said}",
                self.name
            )
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
