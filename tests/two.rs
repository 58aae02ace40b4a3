//! Two real processes on this machine, without root and without servers: what each user is told, and what comes out.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a run may take in all: no server answers, which costs 3 s, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    lines: Receiver<String>,
}

/// Starts the program; its standard error comes line by line.
fn start(arguments: &[&str], directory: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pcopy"));
    command.args(arguments);
    run(command, directory)
}

fn run(mut command: Command, directory: &Path) -> Running {
    let mut child = command
        .current_dir(directory)
        // The discard port: nobody answers.
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    Running { child, lines }
}

impl Running {
    /// The address it tells.
    fn address(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).expect("it tells its address");
            if let Some(address) = line.strip_prefix("Tell this to your peer: ") {
                return address.to_owned();
            }
        }
    }

    fn enter(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it reads its input");
    }

    /// Waits for its end; what it said since is the output's standard error.
    fn end(mut self) -> Output {
        let mut stdout = Vec::new();
        self.child
            .stdout
            .take()
            .expect("piped")
            .read_to_end(&mut stdout)
            .expect("its output can be read");
        let stderr: Vec<String> = self.lines.iter().collect();
        Output {
            status: self.child.wait().expect("our own child"),
            stdout,
            stderr: stderr.join("\n").into_bytes(),
        }
    }
}

/// Runs a sender and a receiver in `directory`, each with the other's address; their ends in this order.
fn both(sender: &[&str], receiver: &[&str], directory: &Path) -> [Output; 2] {
    let mut ends = [start(sender, directory), start(receiver, directory)];
    let [a, b] = [ends[0].address(), ends[1].address()];
    ends[0].enter(&b);
    ends[1].enter(&a);
    ends.map(Running::end)
}

/// The `error:` and `next:` lines.
fn verdict(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(2).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[test]
fn several_files_are_not_run_together_in_a_pipe() {
    let place = tempfile::tempdir().expect("a place for files");
    std::fs::create_dir_all(place.path().join("dir/empty")).expect("an empty place");
    for name in ["a", "b", "dir/c"] {
        #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
        std::fs::write(place.path().join(name), name).expect("room for a byte");
    }
    let receiver = ["receiver", "--yes", "--output", "-"];
    let refused = |files: &[&str]| {
        let [sender, receiver] = both(files, &receiver, place.path());
        for end in [&sender, &receiver] {
            let verdict = verdict(end);
            assert_eq!(end.status.code(), Some(4), "{files:?}: {verdict}");
            assert!(
                verdict.contains("one file") && verdict.contains("tar c "),
                "{verdict}"
            );
        }
        assert!(
            verdict(&receiver).contains("--output DIR"),
            "{}",
            verdict(&receiver)
        );
        assert!(receiver.stdout.is_empty());
    };
    // Each waits seconds for servers that do not answer.
    std::thread::scope(|scope| {
        scope.spawn(|| refused(&["sender", "a", "b"]));
        scope.spawn(|| refused(&["sender", "dir"]));
        scope.spawn(|| refused(&["sender", "dir/empty"]));
        let [sender, receiver] = both(&["sender", "a"], &receiver, place.path());
        assert_eq!([sender.status.code(), receiver.status.code()], [Some(0); 2]);
        assert_eq!(receiver.stdout, b"a");
    });
}

#[cfg(unix)]
#[test]
fn umask_holds_and_nobody_else_may_write_what_a_peer_sent() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a place for files");
    let at = |path: &str| place.path().join(path);
    std::fs::create_dir(at("tree")).expect("a directory");
    for (name, mode) in [("tree/open", 0o666), ("tree/run", 0o777), ("tree/own", 0o600)] {
        #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
        std::fs::write(at(name), name).expect("room for a few bytes");
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).expect("our own");
    }
    std::fs::set_permissions(at("tree"), PermissionsExt::from_mode(0o777)).expect("our own");
    let receives = |umask: &str, out: &str| {
        let mut receiver = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" receiver --yes --output {out}");
        receiver.args(["-c", &script, env!("CARGO_BIN_EXE_p2pcopy")]);
        let mut ends = [
            start(&["sender", "tree"], place.path()),
            run(receiver, place.path()),
        ];
        let [a, b] = [ends[0].address(), ends[1].address()];
        ends[0].enter(&b);
        ends[1].enter(&a);
        for end in ends {
            assert_eq!(end.end().status.code(), Some(0));
        }
        ["tree", "tree/open", "tree/run", "tree/own"].map(|path| {
            let found = at(out).join(path).metadata().expect("it arrived");
            found.permissions().mode() & 0o7777
        })
    };
    let narrow = receives("077", "narrow");
    assert_eq!(
        narrow.map(|mode| format!("{mode:o}")),
        ["700", "600", "700", "600"]
    );
    let wide = receives("000", "wide");
    assert_eq!(wide.map(|mode| format!("{mode:o}")), ["755", "644", "755", "600"]);
}
