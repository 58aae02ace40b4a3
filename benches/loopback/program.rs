//! The real program: a sender and a receiver, each its own process, one host.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::run::Cost;

/// Nobody answers there: both ends find each other by their own addresses.
const NOBODY: &str = "127.0.0.1:9";

/// One end while it runs.
struct End {
    child: Child,
    lines: io::Lines<BufReader<std::process::ChildStdout>>,
}

impl End {
    fn start(arguments: &[&str], path: &Path, offload: bool) -> io::Result<End> {
        let offload = (!offload).then_some("--no-offload");
        End::start_with(|command| {
            command
                .args(arguments)
                .arg(path)
                .args(["--stun", NOBODY, "--ntp", NOBODY])
                .args(offload);
        })
    }

    fn start_with(arguments: impl FnOnce(&mut Command)) -> io::Result<End> {
        let binary = std::env::var_os("P2PCOPY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_p2pcopy").into());
        let mut command = Command::new(binary);
        arguments(&mut command);
        let mut child = command
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(End {
            child,
            lines: BufReader::new(out).lines(),
        })
    }

    /// The value of `key` in the next event called `event`.
    fn wait_for(&mut self, event: &str, key: &str) -> io::Result<String> {
        let event = format!("\"event\":\"{event}\"");
        for line in &mut self.lines {
            let line = line?;
            if line.contains(&event)
                && let Some((_, rest)) = line.split_once(&format!("\"{key}\":"))
            {
                let value = rest.split([',', '}']).next().unwrap_or_default();
                return Ok(value.trim_matches('"').to_owned());
            }
        }
        Err(io::Error::other(format!("it ended before it said {event}")))
    }

    fn enter(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}")
    }

    /// Waits for its end; its CPU seconds.
    fn finish(&mut self) -> io::Result<f64> {
        // Its numbers can be read until it is waited for in earnest.
        let id = Pid::from_child(&self.child);
        waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let cpu = cpu_seconds(&self.child)?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(cpu)
        } else {
            Err(io::Error::other(format!("it ended with {status}")))
        }
    }

    /// The most memory it has held so far, in bytes (VmHWM of proc(5)).
    fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds of a process so far.
pub(crate) fn cpu_seconds(child: &Child) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    // utime and stime, fields 14 and 15 of proc(5), the third being the first after the name.
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|&i| fields.get(i)?.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Sends `from` into the directory `to`; `warm` is called just before it starts.
pub(crate) fn run(from: &Path, to: &Path, offload: bool, warm: impl FnOnce()) -> io::Result<Cost> {
    let mut sender = End::start(&["sender", "--file"], from, offload)?;
    let mut receiver = End::start(&["receiver", "--yes", "--output"], to, offload)?;
    let [one, other] = [&mut sender, &mut receiver].map(|end| end.wait_for("address", "address"));
    let (one, other) = (one?, other?);
    warm();
    receiver.enter(&one)?;
    sender.enter(&other)?;
    // Just before each is done.
    let mut memory = 0;
    let mut seconds = 0.0_f64;
    for end in [&mut receiver, &mut sender] {
        let took = end.wait_for("finished", "seconds")?;
        seconds = seconds.max(took.parse().map_err(io::Error::other)?);
        memory = memory.max(end.peak_memory().unwrap_or(0));
    }
    let cpu = receiver.finish()? + sender.finish()?;
    Ok(Cost {
        seconds,
        cpu,
        memory: Some(memory),
    })
}

/// The same by way of a server of its own, whose CPU time and memory are told.
pub(crate) fn run_relayed(from: &Path, to: &Path, warm: impl FnOnce()) -> io::Result<Cost> {
    let mut server = End::start_with(|command| {
        command.args([
            "server",
            "--listen",
            "127.0.0.1:0",
            "--public",
            "127.0.0.1",
            "--token",
            "bench",
        ]);
    })?;
    let word = server.wait_for("serving", "word")?;
    let meets = ["--server", &word, "--relay", "only"];
    let mut sender = End::start_with(|command| {
        command.arg("sender").arg(from).args(meets);
    })?;
    let code = sender.wait_for("code", "code")?;
    warm();
    let mut receiver = End::start_with(|command| {
        command
            .args(["receiver", &code, "--yes", "--output"])
            .arg(to)
            .args(meets);
    })?;
    let mut seconds = 0.0_f64;
    for end in [&mut receiver, &mut sender] {
        let took = end.wait_for("finished", "seconds")?;
        seconds = seconds.max(took.parse().map_err(io::Error::other)?);
    }
    let (cpu, memory) = (cpu_seconds(&server.child)?, server.peak_memory());
    receiver.finish()?;
    sender.finish()?;
    Ok(Cost { seconds, cpu, memory })
}
