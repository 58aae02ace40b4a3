//! Two people who meet by a code at a server, through every pair of NATs that can be punched.

use std::collections::VecDeque;
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
const SOON: Duration = Duration::from_secs(3);
/// Networks side by side. Few, as a busy machine would be what is measured.
const WORKERS: usize = 2;
const LIMIT: Duration = Duration::from_secs(20);

/// Symmetric NATs connect with whoever lets strangers in, and with nobody else.
fn pairs() -> Vec<(Nat, Nat)> {
    let mut pairs = Vec::new();
    for a in Nat::ORDINARY {
        pairs.extend(Nat::ORDINARY.map(|b| (a, b)));
    }
    for open in [Nat::Public, Nat::Cone] {
        pairs.extend([(Nat::Symmetric, open), (open, Nat::Symmetric)]);
    }
    pairs
}

/// How long it took from the typed code until both were connected.
fn meet(a: Nat, b: Nat) -> Result<Duration, String> {
    let plan = Plan {
        link: LinkPlan::distance(DISTANCE),
        ..Plan::new(a, b)
    };
    let network = Network::build(plan);
    let files = tempfile::tempdir().map_err(|e| e.to_string())?;
    let sent = content(300_000);
    std::fs::write(files.path().join("vm.img"), &sent).map_err(|e| e.to_string())?;
    let address = format!("{}:4300", Services::STUN[0]);
    let server = Peer::start_in(&network.name("srv"), "server", |command| {
        command.args(["server", "--public", Services::STUN[0], "--listen", &address]);
    });
    server.wait_for("Clients use: --server", LIMIT)?;
    let start = |side, name, arguments: &[&str]| {
        Peer::start(&network, side, name, |command| {
            command.args(arguments).current_dir(files.path());
            command.args(["--server", Services::STUN[0]]);
        })
    };
    let mut sender = start(Side::A, "sender", &["sender", "vm.img"]);
    let mut receiver = start(
        Side::B,
        "receiver",
        &["receiver", "--yes", "--output", "received"],
    );
    let code = sender.told()?;
    receiver.wait_for("Enter the code", LIMIT)?;
    receiver.enter(&code);
    let typed = Instant::now();
    let account = |sender: &Peer, receiver: &Peer| {
        format!(
            "--- sender ---\n{}\n--- receiver ---\n{}",
            sender.stderr(),
            receiver.stderr()
        )
    };
    let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
    let received = std::fs::read(files.path().join("received/vm.img")).ok();
    if exits != [Ok(Some(0)), Ok(Some(0))] || received != Some(sent) {
        return Err(format!("{exits:?}\n{}", account(&sender, &receiver)));
    }
    let connected = sender.connected_at().zip(receiver.connected_at());
    let later = connected
        .map(|(a, b)| a.max(b))
        .ok_or("nobody said to be connected")?;
    Ok(later.saturating_duration_since(typed))
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_code_connects_every_pair_that_can_be_punched_within_three_seconds() {
    let cells = Mutex::new(VecDeque::from(pairs()));
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
    assert!(failed.is_empty(), "{} of {} pairs", failed.len(), pairs().len());
}
