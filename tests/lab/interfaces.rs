//! Which of a machine's own addresses are told, and that two machines with nothing but a cable between them connect.

use std::fmt::Write;
use std::time::Duration;

use p2pcopy::parts::rendezvous::Address;

use super::driver::Peer;
use super::pair::content;
use super::wires::Wires;

/// Nobody answers there.
const NOWHERE: &str = "192.0.2.9";
/// From the second paste until both have ended.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends a file from namespace `a` to namespace `b`, with no server that answers; gives both addresses.
fn send(wires: &Wires) -> [Address; 2] {
    for short in ["a", "b"] {
        wires.wait_until_running(short, "eth0");
    }
    let files = tempfile::tempdir().expect("room for a file");
    let sent = content(300_000);
    std::fs::write(files.path().join("vm.img"), &sent).expect("room for a file");
    let start = |short: &str, name, arguments: &[&str]| {
        Peer::start_in(&wires.name(short), name, |command| {
            command.args(arguments).current_dir(files.path());
            command.env("P2PCOPY_STUN", NOWHERE).env("P2PCOPY_NTP", NOWHERE);
        })
    };
    let mut sender = start("a", "sender", &["sender", "vm.img"]);
    let mut receiver = start("b", "receiver", &["receiver", "--yes", "--output", "received"]);
    let addresses = [&sender, &receiver].map(|peer| peer.address().unwrap_or_else(|error| panic!("{error}")));
    sender.enter(&addresses[1]);
    receiver.enter(&addresses[0]);
    let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
    let account = format!(
        "{exits:?}\n--- sender ---\n{}\n--- receiver ---\n{}",
        sender.stderr(),
        receiver.stderr()
    );
    assert_eq!(exits, [Ok(Some(0)), Ok(Some(0))], "{account}");
    let received = std::fs::read(files.path().join("received/vm.img")).expect("just received");
    assert!(received == sent, "{account}");
    addresses.map(|address| address.parse().expect("what the program tells can be read"))
}

fn candidates(address: &Address) -> Vec<String> {
    let token = address.token.as_ref().expect("a whole address");
    token.candidates.iter().map(|c| c.ip().to_string()).collect()
}

/// Both machines have eight interfaces that lead nowhere, all of lower index than the one that matters.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn of_ten_interfaces_the_network_is_told_first() {
    let wires = Wires::new(&["a", "b"], &[]);
    for short in ["a", "b"] {
        let mut lines = String::from("link set lo up\n");
        for number in 17..21 {
            let _ = writeln!(
                lines,
                "link add br-{number} type bridge\naddress add 172.{number}.0.1/16 dev br-{number}"
            );
        }
        lines += "link add docker0 type bridge\naddress add 172.16.0.1/16 dev docker0\nlink set docker0 up\n";
        for number in 0..4 {
            let _ = writeln!(
                lines,
                "link add wg{number} type bridge\naddress add 10.8.{number}.2/24 dev wg{number}\nlink set wg{number} up"
            );
        }
        wires.ip(short, &lines);
    }
    let (a, b) = (wires.name("a"), wires.name("b"));
    wires.ip(
        "a",
        &format!("link add name eth0 netns {a} type veth peer name eth0 netns {b}"),
    );
    for (short, host) in [("a", 10), ("b", 20)] {
        wires.ip(
            short,
            &format!("address add 192.168.1.{host}/24 dev eth0\nlink set eth0 up\nroute add default via 192.168.1.1"),
        );
    }
    for (address, host) in send(&wires).iter().zip(["192.168.1.10", "192.168.1.20"]) {
        let told = candidates(address);
        assert_eq!((told[0].as_str(), told.len()), (host, 8), "{told:?}");
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn two_machines_on_one_cable_connect_by_link_local_addresses() {
    for family in [4, 6] {
        let wires = Wires::new(&["a", "b"], &[("a", "eth0", "b", "eth0")]);
        for (short, host) in [("a", 10), ("b", 20)] {
            wires.ip(
                short,
                // A bridge of lower index, whose own link-local addresses are of no use.
                "link set lo up\nlink add docker0 type bridge\naddress add 172.17.0.1/16 dev docker0\nlink set docker0 up\n\
                 link set eth0 up",
            );
            if family == 4 {
                wires.ip(
                    short,
                    &format!("address flush dev eth0\naddress add 169.254.7.{host}/16 dev eth0"),
                );
            }
        }
        for address in send(&wires) {
            let told = candidates(&address);
            let lead = if family == 4 { "169.254.7." } else { "fe80::" };
            assert!(told[0].starts_with(lead), "{told:?}");
        }
    }
}

/// A stable global address behind newer local ones and ones that will not stay. There is no IPv4.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_stable_global_ipv6_address_is_told_first() {
    let wires = Wires::new(
        &["a", "r", "b"],
        &[("a", "eth0", "r", "a"), ("r", "b", "b", "eth0")],
    );
    wires.ip(
        "r",
        "link set lo up\nlink set dev a up\nlink set dev b up\naddress add 2001:db8:a::1/64 dev a\naddress add 2001:db8:b::1/64 dev b",
    );
    for short in ["a", "b"] {
        let net = format!("2001:db8:{short}:");
        wires.ip(
            short,
            &format!(
                "link set lo up\nlink set eth0 up\naddress add {net}:10/64 dev eth0\naddress add fd00:1::{short}/64 dev eth0\n\
                 address add fd00:2::{short}/64 dev eth0\n\
                 address add {net}:dead/64 dev eth0 preferred_lft 0\nroute add default via {net}:1"
            ),
        );
    }
    for (address, short) in send(&wires).iter().zip(["a", "b"]) {
        let told = candidates(address);
        assert_eq!(told[0], format!("2001:db8:{short}::10"), "{told:?}");
        assert_eq!(told.last(), Some(&format!("2001:db8:{short}::dead")), "{told:?}");
    }
}
