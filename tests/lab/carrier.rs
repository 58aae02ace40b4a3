//! A carrier that translates once more: the NAT that matters is not the router behind which the host stands.

use std::collections::VecDeque;
use std::time::Duration;

use super::matrix::side_by_side;
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::pair::{Errand, Pair, run_pair};

/// From the second paste until both are connected: the next slot, and time to punch.
const NEXT_SLOT: Duration = Duration::from_secs(14);
/// The same where A fires before B has begun, and B's router accepts input: what A fires makes an entry there, and the next slot
/// may be that pair's.
const SECOND_SLOT: Duration = Duration::from_secs(24);
/// The same where ports are guessed, half of which are those that packets through one router alone would have opened.
/// Guesses are luck, so two of eight pairs may take up to four times as long.
const GUESSED: Duration = Duration::from_secs(75);

/// The first router of the internet gives A's whole home another address and other ports, and drops what nobody asked for.
fn carrier(network: &Network, ports: &str) {
    let address = "address add 198.51.100.100/32 dev lo".to_owned();
    network.configure("r1", &[address]);
    let rules = format!(
        "table ip carrier {{
           chain post {{ type nat hook postrouting priority srcnat; oifname r snat to 198.51.100.100 {ports}; }}
           chain input {{ type filter hook input priority filter;
             iifname r ct state established,related accept; iifname r drop; }}
         }}"
    );
    network.rules(&network.name("r1"), &rules);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_home_behind_a_carriers_nat_connects_by_the_next_slot_and_its_ports_are_guessed_if_they_have_to_be() {
    let mut cells = VecDeque::new();
    for (ports, limit) in [("", NEXT_SLOT), ("random,fully-random", GUESSED)] {
        for b in [Nat::MasqueradeDrop, Nat::MasqueradeAccept] {
            for (first, delay) in [(Side::A, 0), (Side::A, 7), (Side::B, 7), (Side::A, 45)] {
                let is_spoilt = b == Nat::MasqueradeAccept && first == Side::A && delay <= 7;
                let limit = if is_spoilt { SECOND_SLOT.max(limit) } else { limit };
                cells.push_back((ports, limit, b, first, delay));
            }
        }
    }
    let done = side_by_side(cells, |(ports, _, b, first, delay)| {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, b));
        carrier(&network, ports);
        let errand = Errand {
            first,
            second_pastes_after: Duration::from_secs(delay),
            limit: 4 * GUESSED,
            ..Errand::default()
        };
        run_pair(&network, &errand)
    });
    let (mut late, mut unlucky) = (Vec::new(), 0);
    for ((ports, limit, b, first, delay), report) in &done {
        println!(
            "ports {ports:?} x {b}, {first:?} first by {delay} s: {:.1?}",
            report.connected
        );
        let in_time = report.connected.is_some_and(|time| time <= *limit);
        unlucky += usize::from(!in_time && *limit == GUESSED);
        if !report.succeeded() || !in_time && (*limit != GUESSED || unlucky > 2) {
            late.push(report.account());
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

/// Nobody knows from which of its addresses the packets to the peer will come, so ports are not guessed in vain.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_carrier_with_several_outside_addresses_meets_whoever_lets_anybody_in_and_the_others_are_told_at_once() {
    for b in [Nat::Public, Nat::Cone, Nat::MasqueradeDrop] {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, b));
        let addresses = (100..103).map(|n| format!("address add 198.51.100.{n}/32 dev lo"));
        network.configure("r1", &addresses.collect::<Vec<_>>());
        let rules = "table ip carrier {
           chain post { type nat hook postrouting priority srcnat;
             oifname r ip daddr 192.0.2.1 snat to 198.51.100.100; oifname r ip daddr 192.0.2.2 snat to 198.51.100.101;
             oifname r snat to 198.51.100.102; }
           chain input { type filter hook input priority filter;
             iifname r ct state established,related accept; iifname r drop; }
         }";
        network.rules(&network.name("r1"), rules);
        let errand = Errand::default();
        if b == Nat::MasqueradeDrop {
            let pair = Pair::start(&network, &errand).unwrap_or_else(|error| panic!("{error}"));
            for peer in [&pair.sender, &pair.receiver] {
                peer.wait_for(
                    "one of the two networks is a symmetric NAT",
                    Duration::from_secs(2),
                )
                .unwrap_or_else(|error| panic!("{error}"));
            }
            continue;
        }
        let report = run_pair(&network, &errand);
        assert!(report.succeeded(), "{b}\n{}", report.account());
        println!("{b}: {:.1?}", report.connected);
    }
}
