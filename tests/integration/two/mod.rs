//! Two real processes on this machine, without root and without servers: what each user reads, and which files arrive.

mod again;
#[cfg(target_os = "linux")]
mod attributes;
mod meeting;
#[cfg(unix)]
mod shell;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::process;

/// How long a run may take in all: no server answers, which costs 3 s, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    lines: Receiver<String>,
}

/// A server on this machine, and the word its clients need.
fn server(arguments: &[&str], directory: &Path) -> (Running, String) {
    let usual = ["server", "--listen", "127.0.0.1:0", "--public", "127.0.0.1"];
    let server = start(&[&usual, arguments].concat(), directory);
    let word = server.told("Clients use: --server ");
    (server, word)
}

/// Starts the program; its standard error comes line by line.
fn start(arguments: &[&str], directory: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pcopy"));
    command.args(arguments);
    run(command, directory)
}

fn run(command: Command, directory: &Path) -> Running {
    let (child, lines) = process::spawn(command, directory);
    Running { child, lines }
}

impl Drop for Running {
    /// A server, or a side whose peer failed a test, would go on for ever.
    fn drop(&mut self) {
        // It may have ended of itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The address it tells, or the code.
    fn address(&self) -> String {
        self.told("Tell this to your peer: ")
    }

    /// What follows these words where it says them next.
    fn told(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).expect("it says more");
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }

    fn enter(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it reads its input");
    }

    /// Waits for its end. The output's standard error holds the lines that were not read yet.
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
    introduce([start(sender, directory), start(receiver, directory)]).map(Running::end)
}

/// Gives each the other's address.
fn introduce(mut ends: [Running; 2]) -> [Running; 2] {
    let [a, b] = [ends[0].address(), ends[1].address()];
    ends[0].enter(&b);
    ends[1].enter(&a);
    ends
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

/// A place with a file to send, and what is in it.
fn place_with_a_file() -> (tempfile::TempDir, Vec<u8>) {
    let place = tempfile::tempdir().expect("a place for files");
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(place.path().join("vm.img"), &content).expect("room for it");
    (place, content)
}

/// Both sides end well, and the receiver's standard output is what was sent.
fn both_end_well(sender: Running, receiver: Running, content: &[u8]) {
    // The receiver writes into a pipe that must be read.
    let receiver = receiver.end();
    let sender = sender.end();
    assert_eq!(
        [sender.status.code(), receiver.status.code()],
        [Some(0); 2],
        "{}",
        verdict(&receiver)
    );
    assert_eq!(receiver.stdout, content);
}

#[test]
fn a_code_is_all_that_one_tells_the_other_where_there_is_a_server() {
    let (place, content) = place_with_a_file();
    let (_server, word) = server(&["--token", "sesame"], place.path());
    assert!(word.ends_with("/sesame"), "{word}");
    let sender = start(&["sender", "vm.img", "--server", &word], place.path());
    let code = sender.address();
    assert_eq!(code.split('-').count(), 3, "{code}");
    let receiver = start(
        &["receiver", &code, "--server", &word, "--yes", "--output", "-"],
        place.path(),
    );
    both_end_well(sender, receiver, &content);
}

#[test]
fn the_code_can_be_typed_and_a_wrong_one_is_told_on_both_screens() {
    let (place, content) = place_with_a_file();
    let (_server, word) = server(&[], place.path());
    let sender = start(&["sender", "vm.img", "--server", &word], place.path());
    let mut receiver = start(
        &["receiver", "--server", &word, "--yes", "--output", "-"],
        place.path(),
    );
    let code = sender.address();
    receiver.address();
    let number = code.split('-').next().expect("a number");
    let wrong = if code.ends_with("zebra-zebra") {
        "yellow-yellow"
    } else {
        "zebra-zebra"
    };
    receiver.enter(&format!("{number}-{wrong}"));
    receiver.told("the words of the code were wrong");
    sender.told("the words of the code were wrong");
    let code = sender.address();
    receiver.enter(&code.to_uppercase());
    both_end_well(sender, receiver, &content);
}

#[test]
fn what_is_wrong_with_a_server_or_a_code_is_told_with_what_to_do() {
    let (place, _) = place_with_a_file();
    let (mut server, word) = server(&["--token", "sesame"], place.path());
    let ended = |arguments: &[&str]| {
        let output = start(arguments, place.path()).end();
        (output.status.code(), verdict(&output))
    };
    let (code, said) = ended(&["receiver", "7-guitar-harbor"]);
    assert!(code == Some(2) && said.contains("--server"), "{said}");
    let named = ["receiver", "7-guitar-harbor", "--as", "alice", "--server", &word];
    let (code, said) = ended(&named);
    assert!(code == Some(2) && said.contains("--as"), "{said}");
    let (code, said) = ended(&["receiver", "7-guitar-xylophone", "--server", &word]);
    assert!(code == Some(2) && said.contains("xylophone"), "{said}");
    let (code, said) = ended(&["receiver", "--server", word.trim_end_matches("/sesame")]);
    assert!(code == Some(3) && said.contains("know its token"), "{said}");
    // The discard port: nobody answers.
    let (code, said) = ended(&["receiver", "7-guitar-harbor", "--server", "127.0.0.1:9"]);
    assert!(
        code == Some(3) && said.contains("does not answer") && said.contains("swap"),
        "{said}"
    );
    let seen = start(
        &["check", "--server", word.trim_end_matches("/sesame")],
        place.path(),
    );
    seen.told("It sees socket 0 at 127.0.0.1:");
    let (code, said) = ended(&["check", "--server", &word.replace("/sesame", "/rice")]);
    assert!(code == Some(3) && said.contains("a wrong one"), "{said}");
    let right = start(&["check", "--server", &word, "--json"], place.path()).end();
    assert!(right.status.success(), "{right:?}");
    let events = String::from_utf8_lossy(&right.stdout);
    assert!(events.contains(r#""word":"right""#), "{events}");
    let (code, said) = ended(&["check", "--server", "127.0.0.1:9"]);
    assert!(code == Some(3) && said.contains("does not answer"), "{said}");
    // Without a code there is still the old way.
    let waits = start(&["receiver", "--server", "127.0.0.1:9"], place.path());
    waits.told("Asking the server 127.0.0.1:9");
    waits.told("swap addresses instead");
    assert!(waits.address().contains('/'));
    server.child.kill().expect("our own child");
}

#[test]
fn once_the_two_have_met_the_server_may_go() {
    let (place, content) = place_with_a_file();
    let (mut server, word) = server(&[], place.path());
    let limit = ["--limit", "1MB/s"];
    let sender = start(
        &[&["sender", "vm.img", "--server", &word], &limit[..]].concat(),
        place.path(),
    );
    let code = sender.address();
    let receiver = start(
        &["receiver", &code, "--server", &word, "--yes", "--output", "-"],
        place.path(),
    );
    receiver.told("Connected successfully");
    server.child.kill().expect("our own child");
    both_end_well(sender, receiver, &content);
}

/// A slow machine makes it slower, never faster.
#[test]
fn the_receivers_limit_holds_the_sender_back() {
    let (place, content) = place_with_a_file();
    let receiver = ["receiver", "--yes", "--output", "out", "--limit", "1MB/s"];
    let [sender, receiver] = both(&["sender", "vm.img"], &receiver, place.path());
    assert_eq!([sender.status.code(), receiver.status.code()], [Some(0); 2]);
    let arrived = std::fs::read(place.path().join("out/vm.img")).expect("it arrived");
    assert!(arrived == content);
    let told = String::from_utf8_lossy(&receiver.stderr);
    let (_, rest) = told
        .split_once("3000000 bytes in ")
        .expect("it says how long it took");
    let (seconds, _) = rest.split_once(" s,").expect("seconds");
    // 3 MB at 1 MB/s, less what may leave at once.
    let seconds: f64 = seconds.parse().expect("a number");
    assert!(seconds > 2.5, "{seconds} s");
}

/// Two that chat, and what each of them hears.
fn chat(arguments: [&[&str]; 2], directory: &Path) -> [(Running, BufReader<std::process::ChildStdout>); 2] {
    arguments.map(|arguments| {
        let mut end = start(&[&["chat"], arguments].concat(), directory);
        let heard = BufReader::new(end.child.stdout.take().expect("piped"));
        (end, heard)
    })
}

/// Each says lines, the other hears them, and then `first` ends it.
fn talk(ends: [(Running, BufReader<std::process::ChildStdout>); 2], first: usize) {
    let [(mut a, mut a_hears), (mut b, mut b_hears)] = ends;
    a.told("Connected successfully to");
    b.told("Connected successfully to");
    for (number, (speaker, hears)) in [(&mut a, &mut b_hears), (&mut b, &mut a_hears)]
        .into_iter()
        .enumerate()
    {
        speaker.enter(&format!("hello {number}"));
        speaker.enter("");
        speaker.enter("red \u{1b}[31m and \u{202e}back");
        let mut heard = String::new();
        for _ in 0..2 {
            hears.read_line(&mut heard).expect("it can be read");
        }
        assert_eq!(
            heard,
            format!("hello {number}\nred \\u{{1b}}[31m and \\u{{202e}}back\n")
        );
    }
    let (leaver, other) = if first == 0 {
        (&mut a, &mut b)
    } else {
        (&mut b, &mut a)
    };
    drop(leaver.child.stdin.take());
    for end in [leaver, other] {
        end.told("The chat has ended");
        assert_eq!(end.child.wait().expect("our own child").code(), Some(0));
    }
}

#[test]
fn two_people_chat_by_name_with_a_secret_or_with_six_words() {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("secret"), "sixteen bytes or more\n").expect("room");
    let (_server, word) = server(&["--token", "sesame"], place.path());
    let both =
        |own, peer, secret: &[&'static str]| [&["--as", own, "--to", peer, "--server"][..], secret].concat();
    let secret = ["--secret-file", "secret"];
    let [mut a, mut b] = [both("Alice", "bob", &[]), both("bob", "alice", &[])];
    a.insert(5, &word);
    b.insert(5, &word);
    let (with_a, with_b) = ([&a[..], &secret].concat(), [&b[..], &secret].concat());
    talk(chat([&with_a, &with_b], place.path()), 0);

    // Who waits is seen by those who know the server's word.
    let alice = start(&["receiver", "--as", "alice", "--server", &word], place.path());
    alice.told("Waiting under the name alice");
    let listed = start(&["list", "--server", &word], place.path()).end();
    let listed = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(
        listed.contains("alice") && listed.contains("receives"),
        "{listed}"
    );
    drop(alice);

    let [mut c, mut d] = [both("carol", "dave", &[]), both("dave", "carol", &[])];
    c.insert(5, &word);
    d.insert(5, &word);
    let mut ends = chat([&c, &d], place.path());
    let words = ends.each_mut().map(|(end, _)| {
        end.told("Connected successfully to");
        end.told("does the other screen show ")
    });
    assert_eq!(words[0], words[1]);
    for (end, _) in &mut ends {
        end.enter("y");
        end.told("Type lines");
    }
    let [(mut c, _), (mut d, mut heard)] = ends;
    c.enter("hello");
    let mut line = String::new();
    heard.read_line(&mut line).expect("it can be read");
    assert_eq!(line, "hello\n");
    drop(d.child.stdin.take());
    c.told("The chat has ended");
    assert_eq!(d.child.wait().expect("our own child").code(), Some(0));
}

#[test]
fn two_people_chat_without_a_server() {
    let place = tempfile::tempdir().expect("a directory");
    let mut ends = chat([&[], &[]], place.path());
    let addresses = ends.each_mut().map(|(end, _)| end.address());
    for ((end, _), address) in ends.iter_mut().zip(addresses.iter().rev()) {
        end.enter(address);
    }
    talk(ends, 1);
}

#[test]
fn an_update_says_on_both_screens_how_much_was_here_though_it_has_moved() {
    let place = tempfile::tempdir().expect("a place for files");
    let mut old = vec![0; 5_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut old);
    let write = |path: &str, bytes: &[u8]| std::fs::write(place.path().join(path), bytes).expect("room");
    std::fs::create_dir(place.path().join("out")).expect("a place");
    write("out/vm.img", &old);
    write("vm.img", &[b"x", &old[..]].concat());
    let receiver = ["receiver", "--yes", "--update", "--output", "out"];
    for end in both(&["sender", "vm.img"], &receiver, place.path()) {
        let told = verdict(&end);
        assert!(told.contains("(4.9 MB were here already)"), "{told}");
    }
    // One line tells of any number of equal files.
    write("a", b"a");
    write("b", b"b");
    let again = || both(&["sender", "vm.img", "a", "b"], &receiver, place.path());
    again();
    let [_, end] = again();
    let told = String::from_utf8_lossy(&end.stderr);
    let first = std::path::Path::new("out").join("vm.img");
    let line = format!("{} and 2 more were here already, identical", first.display());
    assert!(told.contains(&line), "{told}");
}
