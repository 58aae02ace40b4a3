//! Being told to end, by the signals of Unix. Under Wine an interrupt is a Ctrl-C; others reach only programs of this system.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::ends::{End, OWN, Running, connect, content, introduce, place, succeeded, write};

/// The arguments of both, with the file to send in its place.
fn prepare(directory: &Path) -> [&'static [&'static str]; 2] {
    write(&directory.join("vm.img"), &content(9, 30_000_000));
    fs::create_dir(directory.join("here")).expect("a new place");
    [
        &["sender", "vm.img", "--limit", "4MB/s"],
        &["receiver", "--yes", "--output", "here"],
    ]
}

/// Two programs of this system in mid-transfer, the sender started by `shell` or `env`.
fn in_midst(shell: Option<&str>, directory: &Path) -> [Running; 2] {
    let [send, receive] = prepare(directory);
    let mut sender;
    match shell {
        Some(line) => {
            sender = Command::new("sh");
            sender.args(["-c", line, OWN]);
        }
        // The program that runs the tests may ignore hang-ups, and its children inherit that.
        None if cfg!(target_os = "linux") => {
            sender = Command::new("env");
            sender.args(["--default-signal=HUP", OWN]);
        }
        None => sender = Command::new(OWN),
    }
    sender.args(send);
    let mut receiver = Command::new(OWN);
    receiver.args(receive);
    let mut ends = introduce([sender, receiver].map(|command| Running::of(command, directory)));
    ends[0].wait_for("ETA");
    ends
}

fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(running.child.id() as i32).expect("a process");
    kill_process(pid, signal).expect("our own child");
}

#[test]
fn ctrl_c_ends_both_with_codes_that_say_who_wanted_it() {
    std::thread::scope(|scope| {
        for who in [End::Sender, End::Receiver] {
            scope.spawn(move || {
                let place = place();
                let [send, receive] = prepare(place.path());
                let mut ends = connect(send, receive, place.path());
                ends[0].wait_for("ETA");
                signal(&ends[who as usize], Signal::INT);
                let ends = ends.map(Running::end);
                for (end, ended) in [End::Sender, End::Receiver].into_iter().zip(&ends) {
                    let expected = if end as usize == who as usize { 130 } else { 4 };
                    assert!(ended.failed_with(expected), "{:?}: {}", ended.code, ended.said);
                }
                assert!(!place.path().join("here/vm.img").exists());
            });
        }
    });
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
        for kind in [Signal::HUP, Signal::QUIT, Signal::TERM] {
            scope.spawn(move || ended_by(kind));
        }
    });
}

#[test]
fn a_transfer_under_nohup_outlives_its_terminal() {
    let place = place();
    let ends = in_midst(Some("trap '' HUP; exec \"$0\" \"$@\""), place.path());
    signal(&ends[0], Signal::HUP);
    succeeded(ends.map(Running::end));
}
