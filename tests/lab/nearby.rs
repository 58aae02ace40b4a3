//! A network that forbids the peer's address alone and says so by ICMP: told within seconds, before the connection and in
//! mid-transfer.

use std::thread;
use std::time::{Duration, Instant};

use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::shell::{command_in, must};
use super::verdicts::{Users, says, swap, told};

const WORDS: &str = "lets nothing through to the other side";
/// Seconds after which the routers nearby are asked, and those that they may take.
const SOON: Duration = Duration::from_secs(8);
/// What a peer's router may answer: firewalls have each of them as a preset.
const ANSWERS: [&str; 3] = ["admin-prohibited", "host-prohibited", "port-unreachable"];

/// A's router rejects what goes to B.
fn forbid(network: &Network, answer: &str) {
    let rules = format!(
        "table ip forbidden {{ chain x {{ type filter hook forward priority -10;
         ip daddr 203.0.113.2 reject with icmp type {answer};
}}
}}"
    );
    network.rules(&network.edge(Side::A), &rules);
}

fn allow(network: &Network) {
    must(
        command_in(&network.edge(Side::A), "nft").args(["delete", "table", "ip", "forbidden"]),
        "",
    );
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_network_that_forbids_the_peer_by_icmp_is_told_after_the_paste_and_another_address_can_be_pasted() {
    for answer in ANSWERS {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
        forbid(&network, answer);
        let users = Users::of(&network);
        let (mut sender, mut receiver) = (users.sender(&[]), users.receiver(&[]));
        let [from_sender, from_receiver] = [&sender, &receiver].map(told);
        receiver.enter(&from_sender);
        sender.enter(&from_receiver);
        let pasted = Instant::now();
        says(&sender, WORDS, SOON);
        println!("{answer}: told after {:.1?}", pasted.elapsed());
        // The same address again stands for another one of the peer.
        allow(&network);
        sender.enter(&from_receiver);
        users.end_well(sender, receiver);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_network_that_begins_to_forbid_the_peer_in_mid_transfer_is_told_and_the_transfer_goes_on() {
    for answer in ANSWERS {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
        let users = Users::of(&network);
        // 300 kB take ten seconds.
        let (mut sender, mut receiver) = (users.sender(&["--limit", "240kbit"]), users.receiver(&[]));
        swap(&mut sender, &mut receiver);
        for peer in [&sender, &receiver] {
            peer.connected(Duration::from_secs(30))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        thread::sleep(Duration::from_secs(1));
        forbid(&network, answer);
        let forbidden = Instant::now();
        // The peer is still heard; that nothing moves shows after 8 s.
        says(&sender, WORDS, SOON * 2);
        println!("{answer}: told after {:.1?}", forbidden.elapsed());
        allow(&network);
        users.end_well(sender, receiver);
    }
}

/// Many routers refuse by ICMP what they did not ask for. That is no obstacle, and nothing is said.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn the_refusals_of_the_peers_own_router_are_not_told() {
    for answer in ANSWERS {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeAccept));
        let rules = format!(
            "table ip refuses {{ chain x {{ type filter hook input priority -10;
             iifname wan ct state new meta l4proto udp reject with icmp type {answer};
}}
}}"
        );
        network.rules(&network.edge(Side::B), &rules);
        let users = Users::of(&network);
        let (mut sender, mut receiver) = (users.sender(&[]), users.receiver(&[]));
        let [from_sender, from_receiver] = [&sender, &receiver].map(told);
        sender.enter(&from_receiver);
        thread::sleep(SOON);
        receiver.enter(&from_sender);
        for peer in [&sender, &receiver] {
            peer.connected(Duration::from_secs(30))
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(!peer.stderr().contains(WORDS), "{}", peer.stderr());
        }
        users.end_well(sender, receiver);
    }
}
