//! Networks that let no UDP through: the server is reached over TCP.

use std::thread;
use std::time::{Duration, Instant};

use super::driver::Peer;
use super::meeting::{self, LIMIT, RELAYED, SOON, begin_in, serve};
use super::nat::Nat;
use super::network::{Network, Side};
use super::pair::content;
use super::services::Services;
use super::shell::{command_in, must};

/// A's router forgets the streams of TCP that there are, and does this with what still comes of them.
fn forget_tcp(network: &Network, verdict: &str) {
    let rules = format!(
        "table ip forgets {{ set old {{ type inet_service; }}
         chain forward {{ type filter hook forward priority -10;
         tcp flags syn / syn,ack accept;
         tcp sport @old {verdict}; tcp dport @old {verdict}; }}
         }}"
    );
    let edge = network.edge(Side::A);
    network.rules(&edge, &rules);
    let known = must(command_in(&edge, "conntrack").args(["-L", "-p", "tcp"]), "");
    for port in known
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("sport="))
    {
        if port != "443" {
            network.rules(&edge, &format!("add element ip forgets old {{ {port} }}"));
        }
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_network_without_udp_is_served_over_tcp_and_told_what_is_blocked_where_it_is_not() {
    let network = meeting::network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
    network.block_udp(Side::A);
    let mut met = begin_in(network, 300_000, &[], &["--tcp", "443"]).expect("both start");
    let took = met.finish().unwrap_or_else(|_| panic!("{}", met.account()));
    assert!(took < SOON, "{took:?}");
    assert!(
        met.sender.stderr().contains(":443 (relayed by the server"),
        "{}",
        met.account()
    );

    let network = meeting::network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
    network.block_udp(Side::A);
    let server = format!("{}:4300", Services::STUN[0]);
    let receiver = Peer::start(&network, Side::A, "receiver", |command| {
        command.args(["receiver", "7-guitar-harbor", "--server", &server]);
    });
    receiver
        .wait_for(
            "neither on UDP nor on TCP ports 4300 and 443",
            Duration::from_secs(10),
        )
        .expect("it says what is blocked");
}

/// What may break in the middle of a transfer over TCP.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Break {
    /// The server is stopped, and started again.
    Restart,
    /// The router forgets the stream, and says so to whoever goes on with it.
    Reset,
    /// It forgets it, and lets nothing more of it through.
    Silence,
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_stream_to_the_server_that_breaks_is_opened_again_and_the_transfer_goes_on() {
    for how in [Break::Restart, Break::Reset, Break::Silence] {
        let network = meeting::network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
        network.block_udp(Side::A);
        let serving = ["--tcp", "443"];
        let mut met = begin_in(network, 3_000_000, &["--limit", "3mbit"], &serving).expect("both start");
        met.sender.wait_for(RELAYED, LIMIT).expect("it is relayed");
        thread::sleep(Duration::from_secs(1));
        let mut broke = Instant::now();
        match how {
            Break::Restart => {
                met.server.signal(rustix::process::Signal::TERM);
                met.server.wait(LIMIT).expect("it ends");
            }
            Break::Reset => forget_tcp(&met.network, "reject with tcp reset"),
            Break::Silence => {
                forget_tcp(&met.network, "drop");
                broke = Instant::now();
            }
        }
        let told = met
            .sender
            .wait_for("the TCP connection to the server broke", LIMIT);
        let told = told.unwrap_or_else(|_| panic!("{how:?}\n{}", met.account()));
        let soon = match how {
            Break::Silence => Duration::from_secs(4),
            Break::Restart | Break::Reset => Duration::from_secs(2),
        };
        let took = told.saturating_duration_since(broke);
        assert!(took < soon, "{how:?}: {took:?}");
        if how == Break::Restart {
            met.server = serve(&met.network, &serving).expect("it starts again");
        }
        met.sender
            .wait_for("The TCP connection to the server is there again", LIMIT)
            .unwrap_or_else(|_| panic!("{how:?}\n{}", met.account()));
        met.finish()
            .unwrap_or_else(|account| panic!("{how:?}\n{account}"));
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn who_waits_over_tcp_is_found_after_the_server_was_started_again() {
    let network = meeting::network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
    network.block_udp(Side::A);
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("vm.img"), content(1000)).expect("room");
    let serving = ["--tcp", "443"];
    let mut server = serve(&network, &serving).expect("it starts");
    let start = |side, name, arguments: &[&str]| {
        Peer::start(&network, side, name, |command| {
            command.args(arguments).current_dir(files.path());
            command.args(["--server", Services::STUN[0]]);
        })
    };
    let mut sender = start(Side::A, "sender", &["sender", "vm.img"]);
    let code = sender.told().expect("a code");
    server.signal(rustix::process::Signal::TERM);
    server.wait(LIMIT).expect("it ends");
    sender
        .wait_for("the TCP connection to the server broke", Duration::from_secs(2))
        .expect("it says so");
    let _server = serve(&network, &serving).expect("it starts again");
    let mut receiver = start(
        Side::B,
        "receiver",
        &["receiver", &code, "--yes", "--output", "got"],
    );
    for peer in [&mut sender, &mut receiver] {
        assert_eq!(peer.wait(LIMIT), Ok(Some(0)), "{}", peer.stderr());
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_server_is_asked_who_waits_and_what_it_sees_over_tcp_where_udp_is_blocked() {
    let network = meeting::network(Nat::MasqueradeDrop, Nat::MasqueradeDrop);
    network.block_udp(Side::A);
    let _server = serve(&network, &["--tcp", "443", "--token", "lab"]).expect("it starts");
    let word = format!("{}/lab", Services::STUN[0]);
    for (command, expected) in [("list", "Nobody waits"), ("check", "answers at TCP port 443")] {
        let mut client = Peer::start(&network, Side::A, "client", |started| {
            started.args([command, "--server", &word]);
        });
        assert_eq!(client.wait(LIMIT), Ok(Some(0)), "{}", client.stderr());
        let said = client.stderr();
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("trying its TCP port 443"), "{said}");
    }
}
