//! Two people who meet by a code at a server, through every pair of NATs: directly where that can be, and otherwise by
//! way of the server.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::driver::Peer;
use super::link::LinkPlan;
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::pair::content;
use super::services::Services;

/// The receiver's distance from the server and from the sender, one way.
const DISTANCE: Duration = Duration::from_millis(50);
/// From the typed code until both are connected.
pub(crate) const SOON: Duration = Duration::from_secs(3);
/// Networks side by side. Few, as a busy machine would be what is measured.
const WORKERS: usize = 2;
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// How the screen says that a server passes on what is sent.
pub(crate) const RELAYED: &str = "(relayed by the server";

/// All kinds of NAT.
const ALL: [Nat; 5] = [
    Nat::Public,
    Nat::Cone,
    Nat::MasqueradeDrop,
    Nat::MasqueradeAccept,
    Nat::Symmetric,
];

/// A symmetric NAT connects directly with whoever lets strangers in, and with nobody else.
fn is_direct(a: Nat, b: Nat) -> bool {
    let lets_in = |nat| matches!(nat, Nat::Public | Nat::Cone);
    match (a, b) {
        (Nat::Symmetric, other) | (other, Nat::Symmetric) => lets_in(other),
        _ => true,
    }
}

/// Two people at a server who have begun, and the network they are in.
pub(crate) struct Met {
    pub(crate) sender: Peer,
    pub(crate) receiver: Peer,
    pub(crate) server: Peer,
    /// When the code was typed.
    typed: Instant,
    sent: Vec<u8>,
    files: tempfile::TempDir,
    pub(crate) network: Network,
}

impl Met {
    /// Waits for both to end: how long it took from the typed code until both were connected.
    pub(crate) fn finish(&mut self) -> Result<Duration, String> {
        let exits = [&mut self.sender, &mut self.receiver].map(|peer| peer.wait(LIMIT));
        let received = std::fs::read(self.files.path().join("received/vm.img")).ok();
        if exits != [Ok(Some(0)), Ok(Some(0))] || received.as_ref() != Some(&self.sent) {
            return Err(format!("{exits:?}\n{}", self.account()));
        }
        let connected = self.sender.connected_at().zip(self.receiver.connected_at());
        let later = connected
            .map(|(a, b)| a.max(b))
            .ok_or("nobody said to be connected")?;
        Ok(later.saturating_duration_since(self.typed))
    }

    pub(crate) fn account(&self) -> String {
        format!(
            "--- sender ---\n{}\n--- receiver ---\n{}\n--- server ---\n{}",
            self.sender.stderr(),
            self.receiver.stderr(),
            self.server.stderr()
        )
    }
}

/// Starts a server and two people who swap a code, with these further arguments for the sender and the server.
fn begin(a: Nat, b: Nat, size: usize, sending: &[&str], serving: &[&str]) -> Result<Met, String> {
    begin_in(network(a, b), size, sending, serving)
}

pub(crate) fn network(a: Nat, b: Nat) -> Network {
    Network::build(Plan {
        link: LinkPlan::distance(DISTANCE),
        ..Plan::new(a, b)
    })
}

/// Starts a server, with these arguments too.
pub(crate) fn serve(network: &Network, serving: &[&str]) -> Result<Peer, String> {
    let address = format!("{}:4300", Services::STUN[0]);
    let server = Peer::start_in(&network.name("srv"), "server", |command| {
        command.args(["server", "--public", Services::STUN[0], "--listen", &address]);
        command.args(serving);
    });
    server.wait_for("Clients use: --server", LIMIT)?;
    Ok(server)
}

/// The same in this network.
pub(crate) fn begin_in(
    network: Network,
    size: usize,
    sending: &[&str],
    serving: &[&str],
) -> Result<Met, String> {
    let files = tempfile::tempdir().map_err(|e| e.to_string())?;
    let sent = content(size);
    std::fs::write(files.path().join("vm.img"), &sent).map_err(|e| e.to_string())?;
    let server = serve(&network, serving)?;
    let start = |side, name, arguments: &[&str]| {
        Peer::start(&network, side, name, |command| {
            command.args(arguments).current_dir(files.path());
            command.args(["--server", Services::STUN[0]]);
        })
    };
    let sending = [&["sender", "vm.img"], sending].concat();
    let sender = start(Side::A, "sender", &sending);
    let mut receiver = start(
        Side::B,
        "receiver",
        &["receiver", "--yes", "--output", "received"],
    );
    let code = sender.told()?;
    receiver.wait_for("Enter the code", LIMIT)?;
    receiver.enter(&code);
    let typed = Instant::now();
    Ok(Met {
        sender,
        receiver,
        server,
        typed,
        sent,
        files,
        network,
    })
}

/// How long it took from the typed code until both were connected, in the way that this pair should.
fn meet(a: Nat, b: Nat) -> Result<Duration, String> {
    let mut met = begin(a, b, 300_000, &[], &[])?;
    let took = met.finish()?;
    let relayed = met.sender.stderr().contains(RELAYED);
    // A port restricted NAT and a symmetric one may find a path by a lucky guess.
    let both_symmetric = [a, b] == [Nat::Symmetric; 2];
    if relayed && is_direct(a, b) || !relayed && both_symmetric {
        return Err(format!("relayed: {relayed}\n{}", met.account()));
    }
    Ok(took)
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_code_connects_every_pair_of_nats_within_three_seconds() {
    let cells = Mutex::new(
        ALL.iter()
            .flat_map(|a| ALL.map(|b| (*a, b)))
            .collect::<VecDeque<_>>(),
    );
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = cells.lock().expect("no worker panics here").pop_front();
                    let Some((a, b)) = next else { break };
                    let result = meet(a, b);
                    println!("{a} to {b}: {:.2?}", result.as_ref().ok());
                    match result {
                        Ok(time) if time < SOON => {}
                        other => failed.lock().expect("no worker panics here").push((a, b, other)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no worker panicked");
    for (a, b, why) in &failed {
        match why {
            Ok(time) => println!("=== {a} to {b}: only after {time:.1?} ==="),
            Err(account) => println!("=== {a} to {b} ===\n{account}"),
        }
    }
    assert!(failed.is_empty(), "{} pairs", failed.len());
}

/// What goes to the server and comes from it passes where the least packets that IPv4 promises do.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_code_connects_homes_whose_packets_have_576_bytes_at_most() {
    let network = network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
    network.set_mtu(("na", "port1"), ("a", "eth0"), 576);
    network.set_mtu(("nb", "port1"), ("b", "eth0"), 576);
    let mut met = begin_in(network, 300_000, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
    let took = met.finish().unwrap_or_else(|account| panic!("{account}"));
    println!("{took:.2?}");
    assert!(took < SOON, "{}", met.account());
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_transfer_that_is_relayed_moves_to_a_direct_path_when_a_router_lets_the_peer_in() {
    let mut met = begin(
        Nat::Symmetric,
        Nat::MasqueradeDrop,
        6_000_000,
        &["--limit", "4mbit", "--no-guess"],
        &[],
    )
    .expect("both start");
    for peer in [&met.sender, &met.receiver] {
        peer.wait_for(RELAYED, LIMIT).expect("no direct path at first");
    }
    met.network.befriend(Side::B);
    // The next slot is at most ten seconds away.
    for peer in [&met.sender, &met.receiver] {
        peer.wait_for("Connected again to", LIMIT)
            .unwrap_or_else(|_| panic!("{}", met.account()));
    }
    assert!(met.sender.stderr().contains("(direct"), "{}", met.account());
    met.server.signal(rustix::process::Signal::TERM);
    met.finish().expect("the server is of no more use");
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn only_by_the_server_and_never_by_it() {
    let mut met = begin(Nat::Public, Nat::Public, 300_000, &["--relay", "only"], &[]).expect("both start");
    met.finish().expect("both ends are bound");
    // What both have sent before has arrived when the server answers, which tells nobody who waits.
    for side in [Side::A, Side::B] {
        let mut list = Peer::start(&met.network, side, "list", |command| {
            command.args(["list", "--server", Services::STUN[0]]);
        });
        assert_eq!(list.wait(LIMIT), Ok(Some(3)), "{}", list.stderr());
    }
    met.server.signal(rustix::process::Signal::TERM);
    met.server
        .wait_for(" 0 relayed pairs", LIMIT)
        .expect("they said goodbye");
    assert!(met.sender.stderr().contains(RELAYED), "{}", met.account());
    assert!(
        !met.receiver.stderr().contains("198.51.100.2"),
        "{}",
        met.account()
    );

    for (sending, serving) in [(&["--relay", "never"][..], &[][..]), (&[], &["--no-relay"])] {
        let sending = [sending, &["--timeout", "6s"]].concat();
        let mut met = begin(Nat::Symmetric, Nat::Symmetric, 300_000, &sending, serving).expect("both start");
        assert_eq!(met.sender.wait(LIMIT), Ok(Some(3)), "{}", met.account());
    }
}

/// The server's machine has six addresses. Clients ask one that its system would not answer from.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_server_answers_from_the_address_that_was_asked() {
    let network = network(Nat::MasqueradeDrop, Nat::Symmetric);
    let server = Peer::start_in(&network.name("srv"), "server", |command| {
        command.args(["server", "--public", Services::STUN[1]]);
    });
    server
        .wait_for("Clients use: --server", LIMIT)
        .expect("it starts");
    for side in [Side::A, Side::B] {
        let mut client = Peer::start(&network, side, "client", |command| {
            command.args(["check", "--server", Services::STUN[1]]);
        });
        assert_eq!(client.wait(LIMIT), Ok(Some(0)), "{}", client.stderr());
        assert!(client.stderr().contains("answers after"), "{}", client.stderr());
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn who_has_sent_all_that_the_server_relays_is_told_so() {
    let serving = ["--pair-bytes", "1MB"];
    let met = begin(Nat::Symmetric, Nat::Symmetric, 4_000_000, &[], &serving).expect("both start");
    for peer in [&met.sender, &met.receiver] {
        let told = peer.wait_for("the server relays no more for you", LIMIT);
        assert!(told.is_ok(), "{}", met.account());
    }
}

/// Pairs of people for the median, one after the other.
const MEETINGS: usize = 50;
/// As many of them at one server, which bounds what it takes from one network in a minute.
const AT_ONE_SERVER: usize = 10;

/// Two people meet by a code: how long after it was typed both are connected.
fn meets(network: &Network, word: &str, files: &Path, number: usize) -> Duration {
    let start = |side, name, arguments: &[&str]| {
        Peer::start(network, side, name, |command| {
            command
                .args(arguments)
                .args(["--server", word])
                .current_dir(files);
        })
    };
    let mut sender = start(Side::A, "sender", &["sender", "vm.img"]);
    let code = sender.told().expect("a code");
    let output = format!("received-{number}");
    let mut receiver = start(Side::B, "receiver", &["receiver", "--yes", "--output", &output]);
    receiver.wait_for("Enter the code", LIMIT).expect("it asks");
    receiver.enter(&code);
    let typed = Instant::now();
    for peer in [&mut sender, &mut receiver] {
        peer.wait(LIMIT).expect("it ends");
    }
    let later = sender
        .connected_at()
        .max(receiver.connected_at())
        .expect("both were connected");
    later.saturating_duration_since(typed)
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn from_the_code_to_the_connection_it_takes_little_longer_than_its_round_trips() {
    // Hello, open, and the sealed address; two to the moment; the handshake.
    let round_trips = 7 * 2 * DISTANCE;
    for (a, b) in [
        (Nat::MasqueradeDrop, Nat::MasqueradeDrop),
        (Nat::Symmetric, Nat::Symmetric),
    ] {
        let network = network(a, b);
        let files = tempfile::tempdir().expect("a directory");
        std::fs::write(files.path().join("vm.img"), content(1000)).expect("room");
        let address = format!("{}:4300", Services::STUN[0]);
        let word = format!("{}/lab", Services::STUN[0]);
        let mut took: Vec<Duration> = Vec::new();
        while took.len() < MEETINGS {
            let server = Peer::start_in(&network.name("srv"), "server", |command| {
                command.args([
                    "server",
                    "--public",
                    Services::STUN[0],
                    "--listen",
                    &address,
                    "--token",
                    "lab",
                ]);
            });
            server
                .wait_for("Clients use: --server", LIMIT)
                .expect("it starts");
            for _ in 0..AT_ONE_SERVER {
                took.push(meets(&network, &word, files.path(), took.len()));
            }
        }
        took.sort();
        let median = took[MEETINGS / 2];
        let beyond = match (a, b) {
            // Nobody waits for a direct path.
            (Nat::Symmetric, Nat::Symmetric) => Duration::from_secs(1),
            _ => Duration::from_millis(1500),
        };
        println!(
            "{a} to {b}: median {median:.2?}, longest {:.2?}",
            took[MEETINGS - 1]
        );
        assert!(median <= round_trips + beyond, "{took:?}");
    }
}
