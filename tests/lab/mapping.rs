//! The router forwards a port: Debian's miniupnpd by PCP, NAT-PMP and UPnP, and routers that answer with nonsense.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::check::check;
use super::miniupnpd::{PMP_ONLY, UPNP_ONLY, daemon};
use super::pair::content;
use super::shell::{command_in, inside, must};
use super::six::{STUN, Stun, start};
use super::wires::Wires;

const LIMIT: Duration = Duration::from_secs(30);

/// `a` behind the router `na`, `b` behind `nb`, the servers on the network between them. `outside`: the address of
/// `na` there.
fn homes(outside: &str) -> Wires {
    let wires = Wires::new(
        &["a", "na", "r", "srv", "nb", "b"],
        &[
            ("a", "eth0", "na", "lan"),
            ("na", "wan", "r", "a"),
            ("r", "s", "srv", "eth0"),
            ("r", "b", "nb", "wan"),
            ("nb", "lan", "b", "eth0"),
        ],
    );
    let gateway = outside.rsplit_once('.').expect("an IPv4 address").0;
    wires.ip(
        "r",
        &format!(
            "link set lo up\nlink set dev a up\nlink set dev s up\nlink set dev b up\naddress add {gateway}.1/24 dev a\n\
             address add 5.5.5.254/24 dev s\naddress add 6.6.6.1/24 dev b"
        ),
    );
    wires.ip(
        "srv",
        "link set lo up\nlink set eth0 up\naddress add 5.5.5.1/24 dev eth0\naddress add 5.5.5.2/24 dev eth0\n\
         route add default via 5.5.5.254",
    );
    for (router, host, address, via, number) in [
        ("na", "a", outside, format!("{gateway}.1"), 1),
        ("nb", "b", "6.6.6.2", "6.6.6.1".to_owned(), 2),
    ] {
        wires.ip(
            router,
            &format!(
                "link set lo up\nlink set wan up\nlink set lan up\naddress add {address}/24 dev wan\n\
                 address add 192.168.{number}.1/24 dev lan\nroute add default via {via}"
            ),
        );
        wires.ip(
            host,
            &format!(
                "link set lo up\nlink set eth0 up\naddress add 192.168.{number}.10/24 dev eth0\n\
                 route add default via 192.168.{number}.1"
            ),
        );
        wires.wait_until_running(host, "eth0");
    }
    rules(&wires, "nb", "masquerade");
    wires
}

/// A router that translates, filters, and has the chains that miniupnpd fills.
fn rules(wires: &Wires, router: &str, masquerade: &str) {
    let rules = format!(
        "table inet filter {{
           chain forward {{ type filter hook forward priority 0; ct state established,related accept;
             jump miniupnpd; iifname wan drop;
           }}
           chain input {{ type filter hook input priority 0; ct state established,related accept; iifname wan drop;
           }}
           chain miniupnpd {{
           }}
           chain prerouting {{ type nat hook prerouting priority dstnat; jump prerouting_miniupnpd;
           }}
           chain postrouting {{ type nat hook postrouting priority srcnat; jump postrouting_miniupnpd;
             oifname wan {masquerade};
           }}
           chain prerouting_miniupnpd {{
           }}
           chain postrouting_miniupnpd {{
           }}
         }}"
    );
    must(command_in(&wires.name(router), "nft").args(["-f", "-"]), &rules);
}

fn mappings(wires: &Wires) -> String {
    must(
        command_in(&wires.name("na"), "nft").args([
            "list",
            "chain",
            "inet",
            "filter",
            "prerouting_miniupnpd",
        ]),
        "",
    )
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_port_mapped_by_each_protocol_is_told_used_and_given_back() {
    for (protocols, method, masquerade) in [
        (PMP_ONLY, "PCP", "masquerade"),
        (PMP_ONLY, "PCP", "masquerade random,fully-random"),
        (PMP_ONLY, "NAT-PMP", "masquerade"),
        (PMP_ONLY, "NAT-PMP", "masquerade random,fully-random"),
        (UPNP_ONLY, "UPnP", "masquerade"),
        (UPNP_ONLY, "UPnP", "masquerade random,fully-random"),
    ] {
        let wires = homes("4.4.4.2");
        rules(&wires, "na", masquerade);
        if method == "NAT-PMP" {
            // A router that never heard of PCP: version 2 in the first byte.
            let old = "table inet old { chain input { type filter hook input priority -1; udp dport 5351 @th,64,8 2 drop;\n}\n}";
            must(command_in(&wires.name("na"), "nft").args(["-f", "-"]), old);
        }
        let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
        let files = tempfile::tempdir().expect("room for a few small files");
        let _daemon = daemon(&wires, files.path(), protocols);
        let sent = content(300_000);
        std::fs::write(files.path().join("vm.img"), &sent).expect("room for a file");
        let mut sender = start(&wires, "a", "sender", files.path(), &["sender", "vm.img", "-v"]);
        let output = ["receiver", "--yes", "--output", "received", "--no-port-mapping"];
        let mut receiver = start(&wires, "b", "receiver", files.path(), &output);
        sender
            .wait_for(&format!("to this computer ({method})"), LIMIT)
            .unwrap_or_else(|error| {
                panic!(
                    "{error}\n{}",
                    std::fs::read_to_string(files.path().join("log")).unwrap_or_default()
                )
            });
        assert!(mappings(&wires).contains("dnat"), "{}", mappings(&wires));
        thread::sleep(Duration::from_millis(300));
        let text = sender.stderr();
        let told = text
            .rsplit("Tell this to your peer: ")
            .next()
            .and_then(|rest| rest.split_whitespace().next());
        let mapped = told.expect("an address").to_owned();
        let other = receiver.address().unwrap_or_else(|error| panic!("{error}"));
        sender.enter(&other);
        receiver.enter(&mapped);
        let pasted = Instant::now();
        let connected = receiver
            .connected(LIMIT)
            .unwrap_or_else(|error| panic!("{error}\n{}", sender.stderr()));
        println!("{method}, {masquerade}: {:.2?}", connected - pasted);
        let exits = [&mut sender, &mut receiver].map(|peer| peer.wait(LIMIT));
        let account = format!("{}\n{}", sender.stderr(), receiver.stderr());
        assert_eq!(exits, [Ok(Some(0)), Ok(Some(0))], "{account}");
        assert!(connected - pasted < Duration::from_secs(3), "{account}");
        assert!(
            !mappings(&wires).contains("dnat"),
            "given back: {}",
            mappings(&wires)
        );
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_mapping_is_given_back_when_the_user_stops_the_run() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    for (protocols, signal) in [
        (PMP_ONLY, Signal::INT),
        (UPNP_ONLY, Signal::TERM),
        (PMP_ONLY, Signal::HUP),
    ] {
        let files = tempfile::tempdir().expect("room for a few small files");
        let _daemon = daemon(&wires, files.path(), protocols);
        let mut receiver = start(&wires, "a", "receiver", files.path(), &["receiver", "-v"]);
        let told = receiver.wait_for("the router forwards port", LIMIT);
        told.unwrap_or_else(|error| panic!("{error}"));
        assert!(mappings(&wires).contains("dnat"), "{}", mappings(&wires));
        receiver.signal(signal);
        let ended = receiver.wait(Duration::from_secs(3));
        ended.unwrap_or_else(|error| panic!("{error}"));
        assert!(
            !mappings(&wires).contains("dnat"),
            "{signal:?}: {}",
            mappings(&wires)
        );
    }
}

/// miniupnpd with leases of so many seconds, by PCP.
fn with_leases(seconds: u32) -> String {
    format!("{PMP_ONLY}\nmin_lifetime={}\nmax_lifetime={seconds}", seconds - 1)
}

/// Waits until the router forwards so many ports.
fn forwards(wires: &Wires, count: usize) {
    let end = Instant::now() + LIMIT;
    while mappings(wires).matches("dnat").count() != count {
        assert!(Instant::now() < end, "{count} wanted: {}", mappings(wires));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_short_lease_is_renewed_and_a_router_that_was_restarted_is_asked_again() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a few small files");
    let first = daemon(&wires, files.path(), &with_leases(8));
    let receiver = start(&wires, "a", "receiver", files.path(), &["receiver", "-v"]);
    receiver.address().unwrap_or_else(|error| panic!("{error}"));
    forwards(&wires, 1);
    // Longer than the lease. The router replaces its rule when it renews one, so a moment without it means nothing.
    let end = Instant::now() + Duration::from_secs(20);
    let mut seen = Instant::now();
    while Instant::now() < end {
        if mappings(&wires).contains("dnat") {
            seen = Instant::now();
        }
        assert!(seen.elapsed() < Duration::from_secs(1), "the lease ran out");
        thread::sleep(Duration::from_millis(100));
    }
    drop(first);
    let forget = "flush chain inet filter prerouting_miniupnpd\nflush chain inet filter miniupnpd";
    must(command_in(&wires.name("na"), "nft").args(["-f", "-"]), forget);
    std::fs::remove_file(files.path().join("leases")).ok();
    let _second = daemon(&wires, files.path(), &with_leases(8));
    forwards(&wires, 1);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn two_runs_on_one_host_have_a_port_each_and_give_back_their_own() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    for protocols in [PMP_ONLY, UPNP_ONLY] {
        let files = tempfile::tempdir().expect("room for a few small files");
        let _daemon = daemon(&wires, files.path(), protocols);
        let mut runs = [["--localport", "4300"], ["--localport", "4310"]].map(|port| {
            let arguments = ["receiver", "-v", port[0], port[1]];
            start(&wires, "a", "receiver", files.path(), &arguments)
        });
        forwards(&wires, 2);
        let [first, second] = &mut runs;
        first.signal(Signal::INT);
        first
            .wait(Duration::from_secs(3))
            .unwrap_or_else(|error| panic!("{error}"));
        forwards(&wires, 1);
        second.signal(Signal::INT);
        second
            .wait(Duration::from_secs(3))
            .unwrap_or_else(|error| panic!("{error}"));
        forwards(&wires, 0);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn the_check_tells_by_which_protocol_the_router_forwards() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    for (protocols, method) in [(PMP_ONLY, "PCP"), (UPNP_ONLY, "UPnP")] {
        let files = tempfile::tempdir().expect("room for a few small files");
        let _daemon = daemon(&wires, files.path(), protocols);
        let found = check(&wires.name("a"), &STUN.join(","), "5.5.5.9");
        assert_eq!(found["port_mapping"], "works", "{found:#}");
        assert_eq!(found["port_mapping_by"], method, "{found:#}");
        forwards(&wires, 0);
    }
}

/// Answers at the port of PCP and NAT-PMP.
fn router(namespace: &str, answer: fn(&[u8]) -> Vec<u8>) {
    let socket = inside(namespace, || UdpSocket::bind("0.0.0.0:5351")).expect("the port is free here");
    let tick = Some(Duration::from_secs(15));
    socket.set_read_timeout(tick).expect("a time above zero");
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&buffer[..length]), from);
        }
    });
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_answers_with_nonsense_or_not_at_all_costs_nothing() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a few small files");
    let prompt = |what: &str| {
        let began = Instant::now();
        let receiver = start(&wires, "a", "receiver", files.path(), &["receiver", "-v"]);
        let address = receiver
            .address()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(address.starts_with("4.4.4.2:"), "{what}: {address}");
        assert!(
            !receiver.stderr().contains("the router forwards"),
            "{what}: {}",
            receiver.stderr()
        );
        println!("{what}: prompt after {:.1?}", began.elapsed());
    };
    let silent = "table inet deaf { chain input { type filter hook input priority -1; iifname lan udp dport 5351 drop;\n}\n}";
    prompt("port closed");
    must(command_in(&wires.name("na"), "nft").args(["-f", "-"]), silent);
    prompt("silent");
    must(
        command_in(&wires.name("na"), "nft").args(["delete", "table", "inet", "deaf"]),
        "",
    );
    router(&wires.name("na"), |_| vec![0xff; 60]);
    prompt("nonsense");
}

/// It answers ten seconds after the program's prompt, as one that is starting does.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_is_still_starting_is_asked_again() {
    let wires = homes("4.4.4.2");
    rules(&wires, "na", "masquerade");
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a few small files");
    let receiver = start(&wires, "a", "receiver", files.path(), &["receiver"]);
    receiver.address().unwrap_or_else(|error| panic!("{error}"));
    thread::sleep(Duration::from_secs(10));
    router(&wires.name("na"), |request| pmp_at(request, [4, 4, 4, 2]));
    let told = receiver.wait_for("You have a better address now", LIMIT);
    told.unwrap_or_else(|error| panic!("{error}"));
}

/// NAT-PMP alone, which maps every port to itself and says to be at `outside`.
fn pmp_at(request: &[u8], outside: [u8; 4]) -> Vec<u8> {
    match request {
        [0, 0] => [&[0, 128, 0, 0, 0, 0, 0, 9][..], &outside].concat(),
        [0, 1, _, _, rest @ ..] => {
            let mut answer = vec![0, 129, 0, 0, 0, 0, 0, 9];
            answer.extend(rest);
            answer[10..12].copy_from_slice(&rest[..2]);
            answer
        }
        _ => vec![0, 128, 0, 1, 0, 0, 0, 9],
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_is_late_or_names_another_address_is_not_believed() {
    for (what, answer, words) in [
        (
            "late",
            (|request| {
                thread::sleep(Duration::from_secs(2));
                pmp_at(request, [4, 4, 4, 2])
            }) as fn(&[u8]) -> Vec<u8>,
            None,
        ),
        (
            "another address",
            |request| pmp_at(request, [9, 9, 9, 9]),
            Some("servers see another address"),
        ),
    ] {
        let wires = homes("4.4.4.2");
        rules(&wires, "na", "masquerade");
        let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
        router(&wires.name("na"), answer);
        let files = tempfile::tempdir().expect("room for a few small files");
        let receiver = start(&wires, "a", "receiver", files.path(), &["receiver", "-v"]);
        if let Some(words) = words {
            let told = receiver.wait_for(words, LIMIT);
            told.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let address = receiver
            .address()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(address.starts_with("4.4.4.2:"), "{what}: {address}");
        assert!(
            !receiver.stderr().contains("to this computer ("),
            "{what}: {}",
            receiver.stderr()
        );
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_behind_a_router_is_told_and_its_port_is_not() {
    // The network in the middle is the second router's: the servers see its own address.
    let wires = homes("10.7.0.2");
    rules(&wires, "na", "masquerade");
    let outer = "table ip outer { chain post { type nat hook postrouting priority srcnat; oifname s masquerade;\n}\n}";
    must(command_in(&wires.name("r"), "nft").args(["-f", "-"]), outer);
    let _stun = STUN.map(|address| Stun::start(&wires.name("srv"), address));
    let files = tempfile::tempdir().expect("room for a few small files");
    router(&wires.name("na"), |request| pmp_at(request, [10, 7, 0, 2]));
    let receiver = start(&wires, "a", "receiver", files.path(), &["receiver", "-v"]);
    let told = receiver.wait_for("a second NAT stands before it", LIMIT);
    told.unwrap_or_else(|error| panic!("{error}"));
    let address = receiver.address().unwrap_or_else(|error| panic!("{error}"));
    assert!(address.starts_with("5.5.5.254:"), "{address}");
}
