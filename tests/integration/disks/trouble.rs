//! Calls that fail or take their time, on a real file system of the tests' own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use p2pcopy::parts::app::failure_of;
use p2pcopy::parts::transfer::{
    Conflicts, DiskLayer, Links, OwnerKey, ScanOptions, Source, TransferError, scan,
};
use rustix::process::{Pid, Signal, kill_process};

use super::fuse::Troubled;
use super::programs::{Ended, Programs, Running, Side, files};
use super::wire::Call;
use crate::pair::{self, Fault, Outcome, Rng, Setup};

/// Errors, and what must be said of each.
const ERRORS: [(i32, &str); 11] = [
    (libc::EIO, "input/output error"),
    (libc::ENOSPC, "the disk is full"),
    (libc::EDQUOT, "quota"),
    (libc::EFBIG, "more than a file can hold"),
    // cap-std, which opens what is below the output directory, takes it for a way out of there.
    (libc::EXDEV, ""),
    (libc::EPERM, "permission"),
    // The kernel itself tries once more after it, and may then find what it has just made: two names that are one, it
    // seems, and so it is told.
    (libc::ESTALE, ""),
    (libc::ETXTBSY, "a program that runs"),
    (libc::EROFS, "read-only"),
    (libc::ENODEV, "the disk is gone"),
    (libc::ETIMEDOUT, "does not answer"),
];

/// Of the calls of a run, every so-manieth is failed with an error other than EIO.
const STRIDE: usize = 13;

fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("a"), Rng::new(1).bytes(1_100_000)).unwrap();
    fs::write(tree.join("sub/b"), Rng::new(2).bytes(900)).unwrap();
    fs::write(tree.join("sub/empty"), b"").unwrap();
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    tree
}

/// Which call to fail with which error: each with EIO, and a share of them with each other one.
fn plan(calls: u64) -> impl Iterator<Item = (u64, i32, &'static str)> {
    (1..=calls).flat_map(|at| {
        let is_due = move |(i, _): &(usize, (i32, &str))| *i == 0 || (at as usize + i).is_multiple_of(STRIDE);
        let due = ERRORS.into_iter().enumerate().filter(is_due);
        due.map(move |(_, (error, words))| (at, error, words))
    })
}

/// What is said of it holds path, cause and next step.
fn assert_told(error: TransferError, words: &str, place: &Path, context: &str) {
    assert!(matches!(error, TransferError::Local(_)), "{context}: {error:?}");
    let failure = failure_of(error);
    let said = failure.to_string();
    let has_path = words.is_empty() || said.contains(place.to_str().unwrap());
    assert!(has_path && said.contains(words), "{context}: {said}");
    assert!(!failure.next_step().is_empty(), "{context}");
}

fn same(one: &Path, other: &Path) -> bool {
    files(one) == files(other)
}

#[test]
#[ignore = "mounts, which only root may"]
fn whatever_call_of_a_receive_fails_it_is_told_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [tree(dir.path())];
    let disk = Troubled::new();
    let receive = || -> Result<Outcome, Fault> {
        let setup = Setup {
            conflicts: Conflicts::Overwrite,
            ..Setup::default()
        };
        let key = OwnerKey::from_bytes([9; 32]);
        let failed = |e| {
            Fault::Receiver(TransferError::Local(p2pcopy::parts::transfer::LocalError::Io {
                action: "open",
                path: disk.path(),
                error: e,
            }))
        };
        pair::send(&paths, DiskLayer::new(&disk.path(), key).map_err(failed)?, setup)
    };
    let empty = || {
        for entry in fs::read_dir(disk.below()).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    };
    let before = disk.calls();
    receive().unwrap();
    let calls = disk.calls() - before;
    println!("{calls} calls of a receive");
    for (at, error, words) in plan(calls) {
        empty();
        disk.fail_at(at, error);
        let ended = receive();
        let failed = disk.calm();
        let context = format!(
            "call {at} of {calls}, {failed:?}, {}",
            io::Error::from_raw_os_error(error)
        );
        match ended {
            Ok(_) => {}
            Err(Fault::Receiver(error)) => assert_told(error, words, &disk.path(), &context),
            Err(other) => panic!("{context}: {other:?}"),
        }
        let placed = disk.below().join("t");
        assert!(
            !placed.exists() || same(&paths[0], &placed),
            "{context}: something wrong is there"
        );
        receive().unwrap_or_else(|fault| panic!("{context}, again: {fault:?}"));
        assert!(same(&paths[0], &placed), "{context}, again");
        let left = fs::read_dir(disk.below()).unwrap().count();
        assert_eq!(left, 1, "{context}: something is left");
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn whatever_call_of_a_send_fails_it_is_told_or_left_out_and_completed() {
    let disk = Troubled::new();
    let sent = tree(&disk.below());
    let out = tempfile::tempdir().unwrap();
    let path = disk.path().join("t");
    let send = || -> Result<Outcome, Fault> {
        let options = ScanOptions {
            links: Links::Keep,
            ..ScanOptions::default()
        };
        let scanned = scan(std::slice::from_ref(&path), &options).map_err(Fault::Sender)?;
        let setup = Setup {
            conflicts: Conflicts::Overwrite,
            ..Setup::default()
        };
        let layer = DiskLayer::new(out.path(), OwnerKey::from_bytes([9; 32])).unwrap();
        pair::run(scanned.manifest.clone(), Source::files(scanned), layer, setup)
    };
    let before = disk.calls();
    send().unwrap();
    let calls = disk.calls() - before;
    println!("{calls} calls of a send");
    for (at, error, words) in plan(calls) {
        let placed = out.path().join("t");
        fs::remove_dir_all(&placed).unwrap();
        disk.fail_at(at, error);
        let ended = send();
        let failed = disk.calm();
        let context = format!(
            "call {at} of {calls}, {failed:?}, {}",
            io::Error::from_raw_os_error(error)
        );
        match ended {
            // What could not be read is left out, and told; the rest is right.
            Ok(outcome) => {
                let found = files(&placed);
                let right = files(&sent);
                assert!(
                    found.iter().all(|file| right.contains(file)),
                    "{context}: {:?}",
                    outcome.missing
                );
            }
            Err(Fault::Sender(error)) => {
                assert!(failed != Some(Call::READLINK), "{context}: one link ends all");
                assert_told(error, words, &disk.path(), &context);
            }
            Err(other) => panic!("{context}: {other:?}"),
        }
        send().unwrap_or_else(|fault| panic!("{context}, again: {fault:?}"));
        assert!(same(&sent, &placed), "{context}, again");
    }
}

fn signal(running: &Running, signal: Signal) -> Instant {
    kill_process(Pid::from_raw(running.child.id() as i32).unwrap(), signal).unwrap();
    Instant::now()
}

/// The end of a program, and how long after `since` it came.
fn timed(running: Running, since: Instant) -> (Ended, Duration) {
    let ended = running.end();
    (ended, since.elapsed())
}

/// A transfer whose receiver's disk does not answer such a call from now on, or from its middle on.
fn stuck(programs: &Programs, disk: &Troubled, from: &Path, call: Call, phase: &str) -> [Running; 2] {
    let side = |arguments, directory| Side {
        user: 0,
        arguments,
        directory,
    };
    let long = Duration::from_secs(40);
    if phase == "preparing" {
        disk.slow(call, long);
    }
    let [mut sender, mut receiver] = programs.pair(
        &side(&["sender", "one.bin", "--limit", "3MB/s"], from),
        None,
        &side(&["receiver", "--yes"], &disk.path()),
    );
    if phase == "finishing" {
        while receiver.wait_for("progress")["phase"] != "moving" {}
        disk.slow(call, long);
    }
    // Both sides tell again and again what they wait for.
    let is_known_there = phase == "finishing" && call == Call::FSYNC;
    for _ in 0..4 {
        while receiver.wait_for("progress")["phase"] != phase {}
        while is_known_there && sender.wait_for("progress")["phase"] != phase {}
    }
    [sender, receiver]
}

#[test]
#[ignore = "mounts, which only root may"]
fn a_disk_that_takes_its_time_has_a_phase_that_moves_and_ends_at_once_when_told_to() {
    let programs = Programs::new();
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("one.bin"), Rng::new(1).bytes(3 << 20)).unwrap();
    for (kind, call, phase) in [
        (Signal::INT, Call::FSYNC, "finishing"),
        (Signal::TERM, Call::FSYNC, "finishing"),
        (Signal::HUP, Call::FSYNC, "finishing"),
        (Signal::INT, Call::FSYNC, "preparing"),
        (Signal::INT, Call::CREATE, "preparing"),
        (Signal::INT, Call::WRITE, "finishing"),
    ] {
        let disk = Troubled::new();
        let [sender, receiver] = stuck(&programs, &disk, from.path(), call, phase);
        let told = signal(&receiver, kind);
        let (sender, receiver) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| timed(sender, told));
            let receiver = timed(receiver, told);
            (sender.join().unwrap(), receiver)
        });
        for ((ended, after), code) in [(sender, 4), (receiver, 130)] {
            assert_eq!(ended.code, Some(code), "{kind:?}: {}", ended.said);
            assert!(
                after < Duration::from_secs(2),
                "{kind:?}: after {after:?}: {}",
                ended.said
            );
            println!("{kind:?}, {phase}: {code} after {after:?}");
        }
        disk.calm();
        assert!(!disk.path().join("one.bin").exists());
    }
}

/// The same on the other side: a disk that gives nothing.
#[test]
#[ignore = "mounts, which only root may"]
fn a_disk_that_takes_its_time_to_read_ends_at_once_when_told_to() {
    let programs = Programs::new();
    let [disk, to] = [Troubled::new(), Troubled::new()];
    fs::write(disk.below().join("one.bin"), Rng::new(1).bytes(30 << 20)).unwrap();
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (from, to) = (disk.path(), to.path());
        let side = |arguments, directory| Side {
            user: 0,
            arguments,
            directory,
        };
        let [sender, mut receiver] = programs.pair(
            &side(&["sender", "one.bin", "--limit", "3MB/s"], &from),
            None,
            &side(&["receiver", "--yes"], &to),
        );
        while receiver.wait_for("progress")["phase"] != "moving" {}
        disk.slow(Call::READ, Duration::from_secs(40));
        for _ in 0..12 {
            receiver.wait_for("progress");
        }
        let told = signal(&sender, kind);
        let (sender, receiver) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| timed(sender, told));
            let receiver = timed(receiver, told);
            (sender.join().unwrap(), receiver)
        });
        for ((ended, after), code) in [(sender, 130), (receiver, 4)] {
            assert_eq!(ended.code, Some(code), "{kind:?}: {}", ended.said);
            assert!(
                after < Duration::from_secs(2),
                "{kind:?}: after {after:?}: {}",
                ended.said
            );
        }
        disk.calm();
    }
}

/// What the disk takes for its calls is all that a transfer takes more than with a quick one.
#[test]
#[ignore = "mounts, which only root may"]
fn a_slow_disk_costs_no_more_than_its_own_time() {
    let programs = Programs::new();
    let from = tempfile::tempdir().unwrap();
    let tree = from.path().join("t");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("big"), Rng::new(1).bytes(12 << 20)).unwrap();
    for n in 0..300 {
        fs::write(tree.join(format!("{n}")), Rng::new(n).bytes(3000)).unwrap();
    }
    // Seconds of a transfer with this call slowed, and those that the disk took for it.
    let transfer = |call, by| {
        let disk = Troubled::new();
        disk.slow(call, Duration::from_millis(by));
        let side = |arguments, directory| Side {
            user: 0,
            arguments,
            directory,
        };
        let [sender, receiver] = programs.run(
            &side(&["sender", "t"], from.path()),
            None,
            &side(&["receiver", "--yes"], &disk.path()),
        );
        assert_eq!(
            (sender.code, receiver.code),
            (Some(0), Some(0)),
            "{}",
            receiver.said
        );
        let took = receiver.event("finished").unwrap()["seconds"].as_f64().unwrap();
        let own = disk.slowed().as_secs_f64();
        println!("{call:?}: {took:.1} s, of which the disk took {own:.1} s");
        assert!(same(&tree, &disk.below().join("t")));
        (took, own)
    };
    for (call, by) in [
        (Call::WRITE, 20),
        (Call::CREATE, 20),
        (Call::SETATTR, 10),
        (Call::FSYNC, 500),
    ] {
        let costs_its_own_time = || {
            let (quick, _) = transfer(Call::INIT, 0);
            let (took, own) = transfer(call, by);
            assert!(own > 0.4, "{call:?}: {own}");
            took < own * 1.3 + quick * 2.0 + 1.0
        };
        // The machine may be busy with something else for a moment.
        assert!(costs_its_own_time() || costs_its_own_time(), "{call:?}");
    }
}
