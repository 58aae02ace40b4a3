//! Both programs, run by root or by nobody, and what they tell in JSON.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::mounts::NOBODY;

/// How long a program may say nothing.
const LIMIT: Duration = Duration::from_secs(60);

/// Pairs that meet at one server: it takes 30 wishes of one network in a minute, and each client repeats some.
const MOST_PAIRS: u32 = 7;

/// The program, and servers by which two of them meet in a second.
pub struct Programs {
    place: TempDir,
    servers: Mutex<Vec<Server>>,
}

/// One that runs, until it has served as many as it may.
struct Server {
    child: Child,
    word: String,
    pairs: u32,
}

impl Server {
    fn start(place: &Path) -> Server {
        let child = program(place, 0)
            .args(["server", "--listen", "127.0.0.1:0", "--public", "127.0.0.1"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            word: String::new(),
            pairs: 0,
        };
        let lines = lines(server.child.stderr.take().unwrap());
        loop {
            let line = lines.recv_timeout(LIMIT).unwrap();
            if let Some((_, word)) = line.split_once("Clients use: --server ") {
                word.clone_into(&mut server.word);
                // What it says later goes nowhere, and does not stop it.
                std::thread::spawn(move || lines.iter().for_each(drop));
                return server;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is left of a run.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub events: Vec<Value>,
    /// Standard error.
    pub said: String,
}

impl Ended {
    /// The last event of this name.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.events.iter().rev().find(|event| event["event"] == name)
    }
}

/// What one side does.
pub struct Side<'a> {
    pub user: u32,
    pub arguments: &'a [&'a str],
    pub directory: &'a Path,
}

impl Programs {
    /// `P2PCOPY_BIN`, or what was built for this test.
    pub fn new() -> Programs {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let built = std::env::var_os("P2PCOPY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_p2pcopy").into());
        // Where it was built, nobody may come. Another process copies: what we hold open for writing is
        // inherited by what other tests start at that moment, and such a file cannot be executed (ETXTBSY).
        let copied = Command::new("cp")
            .arg(built)
            .arg(place.path().join("p2pcopy"))
            .status();
        assert!(copied.unwrap().success());
        for user in [0, NOBODY] {
            let home = place.path().join(user.to_string());
            fs::create_dir(&home).unwrap();
            chown(&home, Some(user), Some(user)).unwrap();
        }
        Programs {
            place,
            servers: Mutex::default(),
        }
    }

    /// A server's word for one pair more.
    fn word(&self) -> String {
        let mut servers = self.servers.lock().unwrap();
        if servers.last().is_none_or(|server| server.pairs == MOST_PAIRS) {
            servers.push(Server::start(self.place.path()));
        }
        let server = servers.last_mut().unwrap();
        server.pairs += 1;
        server.word.clone()
    }

    fn start(&self, side: &Side<'_>, more: &[&str]) -> Running {
        let mut child = program(self.place.path(), side.user)
            .args(side.arguments)
            .arg("--json")
            .args(more)
            .current_dir(side.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        Running {
            lines: lines(child.stdout.take().unwrap()),
            said: std::thread::spawn(move || {
                let mut said = Vec::new();
                stderr.read_to_end(&mut said).unwrap();
                String::from_utf8_lossy(&said).into_owned()
            }),
            child,
            events: Vec::new(),
        }
    }

    /// Starts a sender and a receiver who knows its code. `input` is what the sender reads.
    pub fn pair(&self, sender: &Side<'_>, input: Option<Vec<u8>>, receiver: &Side<'_>) -> [Running; 2] {
        let word = self.word();
        let mut sender = self.start(sender, &["--server", &word]);
        let mut stdin = sender.child.stdin.take().unwrap();
        std::thread::spawn(move || {
            if let Some(input) = input {
                // A receiver that refuses ends the sender before it has read all.
                let _ = stdin.write_all(&input);
            }
        });
        let code = sender.wait_for("code")["code"].as_str().unwrap().to_owned();
        let receiver = self.start(receiver, &["--server", &word, "--peer", &code]);
        [sender, receiver]
    }

    /// Runs both to their ends. A sender that the receiver never met is ended.
    pub fn run(&self, sender: &Side<'_>, input: Option<Vec<u8>>, receiver: &Side<'_>) -> [Ended; 2] {
        let [mut sender, receiver] = self.pair(sender, input, receiver);
        let receiver = receiver.end();
        if receiver.event("connected").is_none() {
            sender.child.kill().unwrap();
        }
        [sender.end(), receiver]
    }

    /// Runs one program that needs no peer.
    pub fn alone(&self, side: &Side<'_>) -> Ended {
        self.start(side, &[]).end()
    }
}

fn program(place: &Path, user: u32) -> Command {
    let mut command = Command::new(place.join("p2pcopy"));
    command
        .env_clear()
        .env("HOME", place.join(user.to_string()))
        .env("P2PCOPY_NO_PORT_MAPPING", "1");
    if user != 0 {
        command.uid(user).gid(user);
    }
    command
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        let mut all = BufReader::new(from).lines().map_while(Result::ok);
        all.try_for_each(|line| tell.send(line))
    });
    lines
}

/// A program that runs.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
    said: std::thread::JoinHandle<String>,
    events: Vec<Value>,
}

impl Running {
    /// Its next event; `None` when it has ended.
    pub fn next(&mut self) -> Option<&Value> {
        let line = match self.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(_) => panic!("it says nothing more after {:?}", self.events.last()),
        };
        let event = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.events.push(event);
        self.events.last()
    }

    /// # Panics
    /// If it ends without this event.
    pub fn wait_for(&mut self, name: &str) -> Value {
        loop {
            match self.next() {
                Some(event) if event["event"] == name => return event.clone(),
                Some(_) => {}
                None => panic!("no {name} in {:?}", self.events),
            }
        }
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.end();
    }

    pub fn end(mut self) -> Ended {
        while self.next().is_some() {}
        let status = self.child.wait().unwrap();
        Ended {
            code: status.code(),
            events: self.events,
            said: self.said.join().unwrap(),
        }
    }
}

/// Every file below `root` by its path from there.
pub fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{directory:?}: {e}")) {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
                found.push((path.strip_prefix(root).unwrap().to_owned(), content));
            }
        }
    }
    found.sort();
    found
}
