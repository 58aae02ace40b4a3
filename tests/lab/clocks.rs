//! Clocks that are minutes off and that nobody corrects, and computers that slept: libfaketime sets the program's wall clock
//! apart and leaves its monotonic one alone, as a sleep does.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::driver::Peer;
use super::nat::Nat;
use super::network::{HOPS, Network, Plan, Side};
use super::pair::content;
use super::verdicts::told;

/// From the second paste until both are connected where no slot is waited for.
const AT_ONCE: Duration = Duration::from_secs(4);
/// The next slot, and time to punch, on a busy machine.
const NEXT_SLOT: Duration = Duration::from_secs(14);
const LIMIT: Duration = Duration::from_secs(60);

/// Debian keeps it below the machine's triplet.
fn libfaketime() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").expect("a directory of every system");
    let mut places = found
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    places
        .find(|path| path.exists())
        .expect("the package faketime is installed")
}

/// One user whose program believes the wall clock that a file sets.
struct Sleeper {
    peer: Peer,
    files: TempDir,
}

impl Sleeper {
    /// Sends `size` bytes, its clock so far ahead, and asks `ntp` if given.
    fn start(network: &Network, size: usize, ahead: &str, ntp: Option<&str>) -> Sleeper {
        let files = tempfile::tempdir().expect("room for a file");
        std::fs::write(files.path().join("vm.img"), content(size)).expect("room for a file");
        let clock = files.path().join("clock");
        std::fs::write(&clock, ahead).expect("room for a file");
        let peer = Peer::start(network, Side::A, "sender", |command| {
            command
                .args(["sender", "vm.img"])
                .current_dir(files.path())
                .env("LD_PRELOAD", libfaketime())
                .env("FAKETIME_TIMESTAMP_FILE", &clock)
                .env("FAKETIME_NO_CACHE", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
            if let Some(ntp) = ntp {
                command.env("P2PCOPY_NTP", ntp);
            }
        });
        Sleeper { peer, files }
    }

    /// The computer sleeps so many seconds, of which the test waits two.
    fn sleeps(&self, seconds: u32) {
        self.peer.signal(Signal::STOP);
        thread::sleep(Duration::from_secs(2));
        std::fs::write(self.files.path().join("clock"), format!("+{seconds}s")).expect("room for a file");
        self.peer.signal(Signal::CONT);
        // Both clocks are looked at once a second.
        thread::sleep(Duration::from_millis(2500));
    }

    fn receiver(&self, network: &Network) -> Peer {
        Peer::start(network, Side::B, "receiver", |command| {
            command
                .args(["receiver", "--yes", "--output", "received"])
                .current_dir(self.files.path());
        })
    }

    /// Both have connected within `limit` of `pasted` and end well.
    fn ends_well(mut self, mut receiver: Peer, size: usize, pasted: Instant, limit: Duration) {
        let account = |sender: &Peer, receiver: &Peer| {
            format!(
                "--- sender ---\n{}\n--- receiver ---\n{}",
                sender.stderr(),
                receiver.stderr()
            )
        };
        let connected = [&self.peer, &receiver].map(|peer| peer.connected(LIMIT));
        let [Ok(sender), Ok(other)] = connected else {
            panic!("{}", account(&self.peer, &receiver))
        };
        let took = sender.max(other).saturating_duration_since(pasted);
        println!("connected after {took:.2?}");
        assert!(took < limit, "{took:?}\n{}", account(&self.peer, &receiver));
        let exits = [&mut self.peer, &mut receiver].map(|peer| peer.wait(LIMIT));
        assert_eq!(
            exits,
            [Ok(Some(0)), Ok(Some(0))],
            "{}",
            account(&self.peer, &receiver)
        );
        let received = std::fs::read(self.files.path().join("received/vm.img")).expect("just received");
        assert!(received == content(size));
    }
}

const SMALL: usize = 300_000;
const ROUTERS: [(Nat, Nat); 4] = [
    (Nat::MasqueradeDrop, Nat::MasqueradeDrop),
    (Nat::MasqueradeAccept, Nat::MasqueradeAccept),
    (Nat::MasqueradeDrop, Nat::MasqueradeAccept),
    (Nat::MasqueradeAccept, Nat::MasqueradeDrop),
];

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_clock_five_minutes_off_and_no_ntp_connect_as_the_second_user_pastes() {
    connect_without_clocks(HOPS);
}

/// Where few routers lie between, what opens a NAT farther away reaches the other one.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn few_routers_between_and_no_ntp_connect_as_the_second_user_pastes() {
    for hops in [0, 1, 2] {
        connect_without_clocks(hops);
    }
}

fn connect_without_clocks(hops: u8) {
    for (n, (a, b)) in ROUTERS.into_iter().enumerate() {
        let network = Network::build(Plan {
            hops,
            ..Plan::new(a, b)
        });
        let mut sleeper = Sleeper::start(
            &network,
            SMALL,
            ["+300s", "-313s"][n % 2],
            Some(network.dead_stun()),
        );
        let mut receiver = sleeper.receiver(&network);
        let [from_sender, from_receiver] = [&sleeper.peer, &receiver].map(told);
        let (first, second) = if n < 2 {
            ((&mut sleeper.peer, from_receiver), (&mut receiver, from_sender))
        } else {
            ((&mut receiver, from_sender), (&mut sleeper.peer, from_receiver))
        };
        first.0.enter(&first.1);
        thread::sleep(Duration::from_secs([0, 3, 12, 25][n]));
        second.0.enter(&second.1);
        sleeper.ends_well(receiver, SMALL, Instant::now(), AT_ONCE);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_computer_that_slept_between_its_address_and_the_paste_or_while_it_waited_meets_its_peer() {
    for sleeps_before_its_paste in [true, false] {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeAccept));
        let mut sleeper = Sleeper::start(&network, SMALL, "+0s", None);
        let mut receiver = sleeper.receiver(&network);
        let [from_sender, from_receiver] = [&sleeper.peer, &receiver].map(told);
        if sleeps_before_its_paste {
            sleeper.sleeps(303);
            sleeper.peer.enter(&from_receiver);
        } else {
            sleeper.peer.enter(&from_receiver);
            sleeper.sleeps(303);
        }
        receiver.enter(&from_sender);
        sleeper.ends_well(receiver, SMALL, Instant::now(), NEXT_SLOT);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_computer_that_sleeps_in_mid_transfer_goes_on() {
    const SIZE: usize = 30_000_000;
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeAccept));
    let mut sleeper = Sleeper::start(&network, SIZE, "+0s", None);
    let mut receiver = Peer::start(&network, Side::B, "receiver", |command| {
        command
            .args(["receiver", "--yes", "--output", "received", "--limit", "16mbit"])
            .current_dir(sleeper.files.path());
    });
    let [from_sender, from_receiver] = [&sleeper.peer, &receiver].map(told);
    sleeper.peer.enter(&from_receiver);
    receiver.enter(&from_sender);
    let pasted = Instant::now();
    for peer in [&sleeper.peer, &receiver] {
        peer.connected(LIMIT).unwrap_or_else(|error| panic!("{error}"));
    }
    thread::sleep(Duration::from_secs(3));
    sleeper.sleeps(303);
    sleeper.peer.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(12));
    sleeper.peer.signal(Signal::CONT);
    sleeper.ends_well(receiver, SIZE, pasted, NEXT_SLOT);
}
