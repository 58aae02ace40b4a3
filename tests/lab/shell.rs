//! Running the system's tools, in a namespace or out of one, never longer than a stated time.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a tool that only configures the kernel may take before it counts as hung.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// The path of a named network namespace, as `ip netns` keeps it.
pub(crate) fn namespace_path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// Where a program lies; none: not installed. `PATH` counts, and where administrators' and Cargo's programs lie.
pub(crate) fn find(program: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
    ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(cargo)
        .map(|directory| directory.join(&program))
        .find(|path| path.is_file())
}

/// A program's whole path; its name if it is not installed.
fn whole_path(program: impl AsRef<Path>) -> PathBuf {
    find(&program).unwrap_or_else(|| program.as_ref().to_owned())
}

/// A command named by its whole path. For a name to be looked up in a `PATH` of the child's, the standard library would
/// fork, and to copy the page tables of this process takes most of the time of a start.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    Command::new(whole_path(program))
}

/// A command that runs inside a network namespace. `nsenter` replaces itself by the program, so that the process
/// identifier of the child is the program's own and a signal reaches it.
pub(crate) fn command_in(namespace: &str, program: impl AsRef<Path>) -> Command {
    let mut command = command("nsenter");
    command
        .arg(format!("--net={}", namespace_path(namespace).display()))
        .arg("--")
        .arg(whole_path(program));
    command
}

/// What a tool printed and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) text: String,
}

/// Runs a command to its end with `input` on its standard input; kills it after `limit`.
pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // A tool that does not read its input closes the pipe: no failure of ours.
    let _ = child
        .stdin
        .take()
        .expect("piped above")
        .write_all(input.as_bytes());
    let mut success = false;
    let mut timed_out = true;
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("our own child") {
            success = status.success();
            timed_out = false;
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    let mut text = String::new();
    let _ = child
        .stdout
        .take()
        .expect("piped above")
        .read_to_string(&mut text);
    let _ = child
        .stderr
        .take()
        .expect("piped above")
        .read_to_string(&mut text);
    if timed_out {
        text.push_str("\n(killed: out of time)");
    }
    Outcome { success, text }
}

/// Runs a configuring tool and panics with its output if it fails.
pub(crate) fn must(command: &mut Command, input: &str) -> String {
    let outcome = run(command, input, TOOL_LIMIT);
    assert!(
        outcome.success,
        "{command:?} failed: {}\ninput:\n{input}",
        outcome.text
    );
    outcome.text
}

/// Runs a closure on a thread of its own inside a namespace and hands back what it returns. Sockets and TUN devices
/// made there stay there, whichever thread uses them afterwards.
pub(crate) fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = namespace_path(namespace);
    let thread = thread::spawn(move || {
        let file = File::open(&path).unwrap_or_else(|error| panic!("no namespace {path:?}: {error}"));
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a namespace");
        work()
    });
    thread.join().expect("work inside a namespace panicked")
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
