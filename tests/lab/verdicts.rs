//! What is known is told: before the paste, at the paste or as soon as it is seen; and where a new address would help, it
//! can be pasted. Also the port that a router forwards.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::driver::Peer;
use super::matrix::TWO_ROWS;
use super::nat::Nat;
use super::network::{Network, Place, Plan, Side};
use super::pair::content;

/// From the start until what is wrong with the own network is told, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// From a paste until what both addresses tell is told.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
/// From the paste until both have ended.
const LIMIT: Duration = Duration::from_secs(40);

/// Both users of a network, and their files.
pub(crate) struct Users<'a> {
    network: &'a Network,
    files: TempDir,
}

impl Users<'_> {
    pub(crate) fn of(network: &Network) -> Users<'_> {
        let files = tempfile::tempdir().expect("room for a file");
        std::fs::write(files.path().join("vm.img"), content(300_000)).expect("room for a file");
        Users { network, files }
    }

    pub(crate) fn sender(&self, arguments: &[&str]) -> Peer {
        Peer::start(self.network, Side::A, "sender", |command| {
            command
                .args(["sender", "vm.img"])
                .args(arguments)
                .current_dir(self.files.path());
        })
    }

    pub(crate) fn receiver(&self, arguments: &[&str]) -> Peer {
        Peer::start(self.network, Side::B, "receiver", |command| {
            command
                .args(["receiver", "--yes", "--output", "received"])
                .args(arguments)
                .current_dir(self.files.path());
        })
    }

    /// Both end well, and the file is the same.
    pub(crate) fn end_well(&self, mut sender: Peer, mut receiver: Peer) {
        let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
        assert_eq!(
            exits,
            [Ok(Some(0)), Ok(Some(0))],
            "{}",
            account(&sender, &receiver)
        );
        let received = std::fs::read(self.files.path().join("received/vm.img")).expect("just received");
        assert!(received == content(300_000), "{}", account(&sender, &receiver));
    }
}

fn account(sender: &Peer, receiver: &Peer) -> String {
    format!(
        "--- sender ---\n{}\n--- receiver ---\n{}",
        sender.stderr(),
        receiver.stderr()
    )
}

pub(crate) fn told(peer: &Peer) -> String {
    peer.address().unwrap_or_else(|error| panic!("{error}"))
}

/// Each user pastes what the other's screen shows.
pub(crate) fn swap(sender: &mut Peer, receiver: &mut Peer) {
    let [from_sender, from_receiver] = [&*sender, &*receiver].map(told);
    sender.enter(&from_receiver);
    receiver.enter(&from_sender);
}

/// The same, and they are connected within three seconds.
fn swap_at_once(sender: &mut Peer, receiver: &mut Peer, what: &str) {
    swap(sender, receiver);
    let pasted = Instant::now();
    let connected = receiver.connected(LIMIT);
    let took = connected.unwrap_or_else(|error| panic!("{what}: {error}\n{}", sender.stderr())) - pasted;
    println!("{what}: connected after {took:.2?}");
    assert!(took < Duration::from_secs(3), "{}", account(sender, receiver));
}

pub(crate) fn says(peer: &Peer, words: &str, limit: Duration) {
    peer.wait_for(words, limit)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Port 4300 outside leads to port 4300 of a side's host.
fn forward(network: &Network, side: Side) {
    let host = network.host_address(side);
    let rules = format!(
        "table ip forwarded {{ chain pre {{ type nat hook prerouting priority dstnat;
           iifname wan udp dport 4300 dnat ip to {host}:4300;
}}
}}"
    );
    network.rules(&network.edge(side), &rules);
}

const FORWARDED: [&str; 4] = ["--localport", "4300", "--external-port", "4300"];

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_forwarded_port_behind_a_symmetric_router_connects_at_once() {
    for (a, b, forwarded) in [
        (Nat::Symmetric, Nat::MasqueradeDrop, [true, false]),
        (Nat::MasqueradeDrop, Nat::Symmetric, [false, true]),
        (Nat::Symmetric, Nat::Symmetric, [true, false]),
        (Nat::Symmetric, Nat::Symmetric, [true, true]),
        (Nat::MasqueradeAccept, Nat::MasqueradeAccept, [true, false]),
    ] {
        let network = Network::build(Plan::new(a, b));
        for (side, is_forwarded) in [Side::A, Side::B].into_iter().zip(forwarded) {
            if is_forwarded {
                forward(&network, side);
            }
        }
        let users = Users::of(&network);
        let arguments = forwarded.map(|is_forwarded| if is_forwarded { &FORWARDED[..] } else { &[] });
        let mut sender = users.sender(arguments[0]);
        let mut receiver = users.receiver(arguments[1]);
        swap_at_once(
            &mut sender,
            &mut receiver,
            &format!("{a} to {b}, forwarded {forwarded:?}"),
        );
        users.end_well(sender, receiver);
    }
}

/// A forward that does not lead anywhere costs a slot, not the connection.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_port_that_is_not_forwarded_after_all_leaves_the_other_pairs() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
    let users = Users::of(&network);
    let mut sender = users.sender(&FORWARDED);
    let mut receiver = users.receiver(&[]);
    swap(&mut sender, &mut receiver);
    users.end_well(sender, receiver);
}

/// Each way to block UDP, what it is told as, and how long the whole took.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn blocked_udp_is_known_before_the_address_is_pasted() {
    let ports = "table ip doors { chain pre { type nat hook prerouting priority dstnat;
                 ip daddr 192.0.2.1 udp dport { 53, 443 } dnat to 192.0.2.1:3478;
                 ip daddr 192.0.2.2 udp dport { 53, 443 } dnat to 192.0.2.2:3478;
                 }
                 }";
    for (name, rule, words) in [
        (
            "dropped",
            "forward; udp dport 1-65535 drop",
            "UDP is blocked here: no server answers",
        ),
        (
            "rejected",
            "forward; udp dport 1-65535 reject",
            "answers it with ICMP errors",
        ),
        (
            "prohibited",
            "forward; udp dport 1-65535 reject with icmp type admin-prohibited",
            "answers it with ICMP errors",
        ),
        (
            "own firewall",
            "output; udp dport 1-65535 drop",
            "a firewall on this computer forbids",
        ),
        (
            "only 443",
            "forward; iifname lan udp dport != 443 drop",
            "only to certain ports (443 is open)",
        ),
        (
            "only 53",
            "forward; iifname lan udp dport != 53 drop",
            "only to certain ports (53 is open)",
        ),
        (
            "only 123",
            "forward; iifname lan udp dport != 123 drop",
            "only to certain ports (123 is open)",
        ),
        (
            "only 53, where nobody listens",
            "forward; iifname lan udp dport != 53 drop",
            "only to certain ports (53 is open)",
        ),
        (
            "only 3478",
            "forward; iifname lan udp dport != { 123, 3478 } drop",
            "only to certain ports (3478 is open)",
        ),
    ] {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
        if !name.contains("nobody") {
            network.rules(&network.name("srv"), ports);
        }
        let (hook, rule) = rule.split_once("; ").expect("a hook and a rule");
        let place = if hook == "output" {
            network.host(Side::A)
        } else {
            network.edge(Side::A)
        };
        let rules = format!(
            "table ip block {{ chain x {{ type filter hook {hook} priority -1; {rule};
}}
}}"
        );
        network.rules(&place, &rules);
        let began = Instant::now();
        let users = Users::of(&network);
        let sender = users.sender(&[]);
        let said = sender
            .wait_for(words, SOON)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: told after {:.1?}", said - began);
    }
}

/// One network lets UDP out to port 443 alone, so the other side comes in there: without a router, or by its forward.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_port_that_is_open_is_used_where_the_other_side_can() {
    let only_443 =
        "table ip doors { chain x { type filter hook forward priority -1; iifname lan udp dport != 443 drop;
                    }
                    }";
    let stun_at_443 = "table ip doors { chain pre { type nat hook prerouting priority dstnat;
                       ip daddr 192.0.2.1 udp dport 443 dnat to 192.0.2.1:3478;
                       ip daddr 192.0.2.2 udp dport 443 dnat to 192.0.2.2:3478;
                       }
                       }";
    let inward = "table ip forwarded { chain pre { type nat hook prerouting priority dstnat;
                  iifname wan udp dport 443 dnat ip to 192.168.1.20:443;
                  }
                  }";
    for (b, arguments) in [
        (Nat::Public, &["--localport", "443"][..]),
        (
            Nat::MasqueradeDrop,
            &["--localport", "443", "--external-port", "443"],
        ),
    ] {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, b));
        network.rules(&network.name("srv"), stun_at_443);
        network.rules(&network.edge(Side::A), only_443);
        if b != Nat::Public {
            network.rules(&network.edge(Side::B), inward);
        }
        let users = Users::of(&network);
        let (mut sender, mut receiver) = (users.sender(&[]), users.receiver(arguments));
        let [_, from_receiver] = [&sender, &receiver].map(told);
        assert!(from_receiver.contains(":443/"), "{from_receiver}");
        says(&sender, "443 is open", AT_ONCE);
        swap_at_once(&mut sender, &mut receiver, &b.to_string());
        users.end_well(sender, receiver);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_peer_whose_udp_is_blocked_is_known_at_the_paste() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
    let block = "table ip block { chain x { type filter hook forward priority -1; udp dport 1-65535 drop;
}
}";
    network.rules(&network.edge(Side::A), block);
    let users = Users::of(&network);
    let sender = users.sender(&[]);
    let mut receiver = users.receiver(&[]);
    // Both homes have the same private addresses, so it takes a moment to see that they are not one network.
    let blocked = told(&sender);
    told(&receiver);
    receiver.enter(&blocked);
    says(&receiver, "neither hears the other", Duration::from_secs(5));
}

/// Two networks behind one router, which lets neither into the other.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn one_outside_address_and_two_networks_inside_are_known_at_the_paste() {
    let plan = Plan {
        place: Place::OneLan,
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    };
    let network = Network::build(plan);
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    network.configure("na", &lines(&["address add 192.168.2.1/24 dev lan"]));
    network.configure(
        "b",
        &lines(&[
            "address flush dev eth0",
            "address add 192.168.2.20/24 dev eth0",
            "route add default via 192.168.2.1",
        ]),
    );
    let guests = "table ip guests { chain x { type filter hook forward priority -1;
                  ip saddr 192.168.0.0/16 ip daddr 192.168.0.0/16 drop;
}
}";
    network.rules(&network.edge(Side::A), guests);
    let users = Users::of(&network);
    let (sender, mut receiver) = (users.sender(&[]), users.receiver(&[]));
    let address = told(&sender);
    told(&receiver);
    receiver.enter(&address);
    says(&receiver, "same outside address", AT_ONCE);
    says(&receiver, "not a guest network", AT_ONCE);
}

/// The address of a run that has ended: told at once, and the new one connects without a new start.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn an_old_address_is_told_and_the_new_one_can_be_pasted() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
    let users = Users::of(&network);
    let port = ["--localport", "4300"];
    let first = users.sender(&port);
    let old = told(&first);
    drop(first);
    let mut sender = users.sender(&port);
    let mut receiver = users.receiver(&[]);
    let [new, from_receiver] = [&sender, &receiver].map(told);
    receiver.enter(&old);
    sender.enter(&from_receiver);
    says(&receiver, "packets with another key", LIMIT);
    says(&sender, "packets with another key", LIMIT);
    receiver.enter(&new);
    users.end_well(sender, receiver);
}

/// A server with a public address whose firewall lets in replies alone, as most rented ones: behind a symmetric router on the
/// other side, ports are guessed as with any router.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_firewall_before_a_public_address_is_crossed_from_anywhere() {
    for a in [
        Nat::Public,
        Nat::MasqueradeAccept,
        Nat::SymmetricSteps,
        Nat::Symmetric,
    ] {
        let network = Network::build(Plan::new(a, Nat::Public));
        let firewall = "table ip firewall { chain x { type filter hook input priority 0;
                        ct state established,related accept; iif lo accept; icmp type echo-request accept; drop;
}
}";
        network.rules(&network.host(Side::B), firewall);
        let users = Users::of(&network);
        let (mut sender, mut receiver) = (users.sender(&[]), users.receiver(&[]));
        swap(&mut sender, &mut receiver);
        let pasted = Instant::now();
        let connected = receiver
            .connected(if a == Nat::Symmetric { TWO_ROWS } else { LIMIT })
            .unwrap_or_else(|error| panic!("{a}: {error}\n{}", sender.stderr()));
        println!("{a}: connected after {:.1?}", connected - pasted);
        users.end_well(sender, receiver);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_firewall_of_ones_own_that_forbids_the_peer_alone_is_told() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
    let forbids = "table ip own { chain x { type filter hook output priority 0; ip daddr 203.0.113.2 drop;
}
}";
    network.rules(&network.host(Side::A), forbids);
    let users = Users::of(&network);
    let (mut sender, receiver) = (users.sender(&[]), users.receiver(&[]));
    sender.enter(&told(&receiver));
    says(&sender, "A firewall on this computer forbids", SOON);
}
