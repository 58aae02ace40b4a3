//! Two programs, each of this system or of another: what arrives, and what both users are told.
//!
//! They are this tree's, unless `P2PCOPY_SENDER` and `P2PCOPY_RECEIVER` name commands to run in their place, such as
//! `packaging/wine target/x86_64-pc-windows-gnu/release/p2pcopy.exe`. `P2PCOPY_SCALE` (1) multiplies sizes and counts.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a run may be silent: a Windows program under Wine takes seconds to start, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// The two ends' ways to be started.
#[derive(Clone, Copy)]
enum End {
    Sender,
    Receiver,
}

impl End {
    fn command(self) -> Command {
        let variable = match self {
            End::Sender => "P2PCOPY_SENDER",
            End::Receiver => "P2PCOPY_RECEIVER",
        };
        let line = std::env::var(variable).unwrap_or_else(|_| env!("CARGO_BIN_EXE_p2pcopy").to_owned());
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command
    }
}

struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    output: std::thread::JoinHandle<Vec<u8>>,
    said: Vec<String>,
}

/// What a run left.
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    said: String,
}

impl Running {
    fn start(end: End, arguments: &[&str], directory: &Path) -> Self {
        let mut command = end.command();
        command.args(arguments);
        Running::of(command, directory)
    }

    fn of(mut command: Command, directory: &Path) -> Self {
        let mut child = command
            .current_dir(directory)
            // The discard port: nobody answers.
            .env("P2PCOPY_STUN", "127.0.0.1:9")
            .env("P2PCOPY_NTP", "127.0.0.1:9")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut stdout = child.stdout.take().expect("piped");
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tell.send(line))
        });
        let output = std::thread::spawn(move || {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).expect("its output can be read");
            all
        });
        Running {
            input: child.stdin.take(),
            child,
            lines,
            output,
            said: Vec::new(),
        }
    }

    /// Waits for a line that contains `part`.
    fn wait_for(&mut self, part: &str) -> String {
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

    fn address(&mut self) -> String {
        let line = self.wait_for("Tell this to your peer: ");
        line.rsplit(' ').next().expect("a last word").to_owned()
    }

    fn enter(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("still open"), "{line}").expect("it reads its input");
    }

    fn end(mut self) -> Ended {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.said.push(line);
        }
        let status = self.child.wait().expect("our own child");
        Ended {
            code: status.code(),
            stdout: self.output.join().expect("it only reads"),
            said: self.said.join("\n"),
        }
    }
}

/// Starts both with the same place for files, and gives each the other's address.
fn connect(sender: &[&str], receiver: &[&str], directory: &Path) -> [Running; 2] {
    let mut ends = [
        Running::start(End::Sender, sender, directory),
        Running::start(End::Receiver, receiver, directory),
    ];
    let [a, b] = [ends[0].address(), ends[1].address()];
    ends[0].enter(&b);
    ends[1].enter(&a);
    ends
}

fn run(sender: &[&str], receiver: &[&str], directory: &Path) -> [Ended; 2] {
    connect(sender, receiver, directory).map(Running::end)
}

fn succeed(sender: &[&str], receiver: &[&str], directory: &Path) -> [Ended; 2] {
    let ends = run(sender, receiver, directory);
    let codes = [ends[0].code, ends[1].code];
    assert_eq!(
        codes,
        [Some(0); 2],
        "sender:\n{}\n\nreceiver:\n{}",
        ends[0].said,
        ends[1].said
    );
    ends
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a place for files")
}

fn scale() -> usize {
    std::env::var("P2PCOPY_SCALE").map_or(1, |text| text.parse().expect("a number"))
}

/// Bytes that no run-length or repetition shortens.
fn content(seed: u64, len: usize) -> Vec<u8> {
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

#[expect(clippy::disallowed_methods, reason = "a test makes its files")]
fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a place for it");
    fs::write(path, bytes).expect("room for it");
}

#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below `root` with its content, by its path.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
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

#[test]
fn a_file_arrives_whatever_way_datagrams_are_sent() {
    for (sender, receiver) in [(false, false), (true, true), (true, false), (false, true)] {
        let place = place();
        let bytes = content(1, 5_000_001 * scale());
        write(&place.path().join("vm.img"), &bytes);
        let mut send = vec!["sender", "vm.img"];
        let mut receive = vec!["receiver", "--yes", "--output", "here"];
        fs::create_dir(place.path().join("here")).expect("a new place");
        send.extend(sender.then_some("--no-offload"));
        receive.extend(receiver.then_some("--no-offload"));
        let ends = succeed(&send, &receive, place.path());
        assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
        for end in &ends {
            assert!(end.said.contains("Done: "), "{}", end.said);
            assert!(end.stdout.is_empty());
        }
    }
}

#[test]
fn a_tree_with_odd_names_arrives_with_its_times() {
    let place = place();
    let tree = place.path().join("tree");
    let long = "l".repeat(120);
    let names = [
        "plain.txt".to_owned(),
        "with a space and 'quotes'".to_owned(),
        "größe/ÅÄÖ.txt".to_owned(),
        "日本語/写真.jpg".to_owned(),
        "emoji \u{1f600}.png".to_owned(),
        ".hidden/.deeper".to_owned(),
        // A path of more than 260 characters, the limit of old Windows calls.
        format!("{long}/{long}/{long}.txt"),
        "percent %TEMP% and $HOME".to_owned(),
        "empty".to_owned(),
    ];
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (i, name) in names.iter().enumerate() {
        let bytes = if name == "empty" {
            Vec::new()
        } else {
            content(i as u64, 1_000 * i + 1)
        };
        write(&tree.join(name), &bytes);
    }
    for i in 0..200 * scale() {
        write(
            &tree.join(format!("many/{}/file {i}", i % 10)),
            &content(i as u64, i % 5_000),
        );
    }
    fs::File::options()
        .write(true)
        .open(tree.join("plain.txt"))
        .and_then(|file| file.set_modified(old))
        .expect("its own file");
    fs::create_dir(place.path().join("here")).expect("a new place");
    succeed(
        &["sender", "tree"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    let arrived = place.path().join("here/tree");
    assert_eq!(files(&arrived), files(&tree));
    let time = fs::metadata(arrived.join("plain.txt"))
        .and_then(|m| m.modified())
        .expect("it is there");
    assert_eq!(time, old);
}

#[test]
fn what_a_killed_sender_had_sent_is_not_sent_again() {
    let place = place();
    let bytes = content(7, 40_000_000);
    write(&place.path().join("vm.img"), &bytes);
    fs::create_dir(place.path().join("here")).expect("a new place");
    let receive = ["receiver", "--yes", "--output", "here", "--json"];
    let [mut sender, mut receiver] =
        connect(&["sender", "vm.img", "--limit", "8MB/s"], &receive, place.path());
    // A line of progress: some seconds after the start, and seconds before the end.
    sender.wait_for("ETA");
    sender.child.kill().expect("our own child");
    receiver.child.kill().expect("our own child");
    drop(sender.end());
    drop(receiver.end());
    assert!(!place.path().join("here/vm.img").exists());
    let [_, receiver] = succeed(&["sender", "vm.img"], &receive, place.path());
    let told = String::from_utf8(receiver.stdout).expect("JSON is UTF-8");
    let resumed = told
        .lines()
        .find(|line| line.contains("\"resumed\""))
        .unwrap_or_else(|| panic!("{told}"));
    assert!(resumed.contains("\"total\":40000000"), "{resumed}");
    assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
}

#[test]
fn a_stream_passes_from_pipe_to_pipe_unchanged() {
    let place = place();
    let bytes = content(3, 3_000_000 * scale());
    let mut receiver = Running::start(
        End::Receiver,
        &["receiver", "--yes", "--output", "-"],
        place.path(),
    );
    let address = receiver.address();
    let mut sender = Running::start(
        End::Sender,
        &["sender", "--file", "-", "--name", "s", "--peer", &address],
        place.path(),
    );
    let peer = sender.address();
    receiver.enter(&peer);
    let mut input = sender.input.take().expect("piped");
    // Line ends of other systems must not be touched either.
    input
        .write_all(b"a\r\nb\n\x1a")
        .and_then(|()| input.write_all(&bytes))
        .expect("it reads its input");
    drop(input);
    let [sender, receiver] = [sender, receiver].map(Running::end);
    assert_eq!(
        [sender.code, receiver.code],
        [Some(0); 2],
        "{}\n{}",
        sender.said,
        receiver.said
    );
    assert_eq!(receiver.stdout, [b"a\r\nb\n\x1a".as_slice(), &bytes].concat());
}

#[test]
fn an_update_sends_what_differs_and_replaces_the_old_file() {
    let place = place();
    let mut bytes = content(5, 8 << 20);
    write(&place.path().join("here/vm.img"), &bytes);
    bytes[5 << 20] ^= 1;
    write(&place.path().join("vm.img"), &bytes);
    let [_, receiver] = succeed(
        &["sender", "vm.img"],
        &["receiver", "--yes", "--update", "--output", "here", "--json"],
        place.path(),
    );
    let told = String::from_utf8(receiver.stdout).expect("JSON is UTF-8");
    let last = told.lines().last().expect("events");
    assert!(
        last.contains("\"finished\"") && last.contains(&format!("\"reused\":{}", 7 << 20)),
        "{last}"
    );
    assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
}

#[test]
fn a_file_that_is_there_already_stays_and_the_new_one_takes_another_name() {
    let place = place();
    write(&place.path().join("vm.img"), b"new");
    write(&place.path().join("here/vm.img"), b"old");
    succeed(
        &["sender", "vm.img"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    let expected = [
        ("vm (1).img".to_owned(), b"new".to_vec()),
        ("vm.img".to_owned(), b"old".to_vec()),
    ];
    assert_eq!(files(&place.path().join("here")), expected);
}

/// Signals reach only programs of this system.
#[cfg(unix)]
mod signals {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};

    fn in_midst(shell: Option<&str>, directory: &Path) -> [Running; 2] {
        write(&directory.join("vm.img"), &content(9, 30_000_000));
        fs::create_dir(directory.join("here")).expect("a new place");
        let send = ["sender", "vm.img", "--limit", "4MB/s"];
        let receive = ["receiver", "--yes", "--output", "here"];
        let program = env!("CARGO_BIN_EXE_p2pcopy");
        let sender = match shell {
            Some(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", line, program]).args(send);
                command
            }
            // Whoever runs the tests may ignore hang-ups.
            None if cfg!(target_os = "linux") => {
                let mut command = Command::new("env");
                command.args(["--default-signal=HUP", program]).args(send);
                command
            }
            None => {
                let mut command = Command::new(program);
                command.args(send);
                command
            }
        };
        let mut receiver = Command::new(program);
        receiver.args(receive);
        let mut ends = [sender, receiver].map(|command| Running::of(command, directory));
        let [a, b] = [ends[0].address(), ends[1].address()];
        ends[0].enter(&b);
        ends[1].enter(&a);
        ends[0].wait_for("ETA");
        ends
    }

    fn signal(running: &Running, signal: Signal) {
        let pid = Pid::from_raw(running.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("our own child");
    }

    #[test]
    fn whoever_closes_the_terminal_tells_the_peer() {
        let ended_by = |kind| {
            let place = place();
            let ends = in_midst(None, place.path());
            signal(&ends[0], kind);
            let [sender, receiver] = ends.map(Running::end);
            let codes = [sender.code, receiver.code];
            assert_eq!(codes, [Some(130), Some(4)], "{kind:?}\n{}", receiver.said);
        };
        std::thread::scope(|scope| {
            for kind in [Signal::HUP, Signal::QUIT, Signal::INT, Signal::TERM] {
                scope.spawn(move || ended_by(kind));
            }
        });
    }

    #[test]
    fn a_transfer_under_nohup_outlives_its_terminal() {
        let place = place();
        let ends = in_midst(Some("trap '' HUP; exec \"$0\" \"$@\""), place.path());
        signal(&ends[0], Signal::HUP);
        let [sender, receiver] = ends.map(Running::end);
        assert_eq!(
            [sender.code, receiver.code],
            [Some(0); 2],
            "{}\n{}",
            sender.said,
            receiver.said
        );
    }
}
