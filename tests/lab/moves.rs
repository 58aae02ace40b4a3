//! A router gets another outside address in mid-transfer, and the other one filters: neither side finds the other by itself.

use std::time::{Duration, Instant};

use super::matrix::TWO_ROWS;
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::shell::{command_in, must};
use super::verdicts::{Users, says, swap};

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_new_outside_address_in_mid_transfer_is_told_and_pasted_and_the_transfer_goes_on() {
    moves(false);
}

/// As a phone that leaves its Wi-Fi for the carrier's network: the new router is a symmetric one, whose ports are guessed.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_new_outside_address_behind_a_symmetric_router_is_pasted_and_its_port_is_guessed() {
    moves(true);
}

fn moves(to_symmetric: bool) {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
    let users = Users::of(&network);
    // 300 kB take ten seconds.
    let slow = ["--limit", "240kbit"];
    let (mut sender, mut receiver) = (users.sender(&slow), users.receiver(&[]));
    swap(&mut sender, &mut receiver);
    for peer in [&sender, &receiver] {
        peer.connected(Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    std::thread::sleep(Duration::from_secs(2));
    let lines = [
        "address flush dev wan",
        "address add 198.51.100.77/24 dev wan",
        "route add default via 198.51.100.1",
    ];
    network.configure("na", &lines.map(str::to_owned));
    if to_symmetric {
        network.rebind(Side::A);
    } else {
        must(command_in(&network.edge(Side::A), "conntrack").arg("-F"), "");
    }
    let moved = Instant::now();
    says(
        &sender,
        "your outside address has changed",
        Duration::from_secs(25),
    );
    println!("told after {:.1?}", moved.elapsed());
    says(&sender, "198.51.100.77:", Duration::from_secs(5));
    says(
        &receiver,
        "still no sign of the other side",
        Duration::from_secs(40),
    );
    println!("asked after {:.1?}", moved.elapsed());
    let said = sender.stderr();
    let new = said
        .split_whitespace()
        .find(|word| word.starts_with("198.51.100.77:") && word.contains('/'))
        .expect("just waited for");
    receiver.enter(new);
    says(&receiver, "Connected again", TWO_ROWS);
    println!("connected again after {:.1?}", moved.elapsed());
    users.end_well(sender, receiver);
}
