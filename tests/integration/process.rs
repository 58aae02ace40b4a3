//! The program as another process of this machine that reaches no server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Starts it with pipes; its standard error comes line by line.
pub fn spawn(mut command: Command, directory: &Path) -> (Child, Receiver<String>) {
    let mut child = command
        .current_dir(directory)
        // The discard port: nobody answers.
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    (child, lines)
}

/// A pipe with a name. Made without a program where that is possible: until it runs, a child shares the locks of all
/// other tests of this process.
#[cfg(unix)]
pub fn fifo(path: &Path) {
    #[cfg(not(target_vendor = "apple"))]
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).expect("a new name");
    #[cfg(target_vendor = "apple")]
    {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.expect("a program of every Unix").success());
    }
}
