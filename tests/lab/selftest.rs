//! The laboratory proves itself: the network is what the tests believe it to be.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{HOPS, Network, Place, Plan, Side};
use super::queue::Discipline;
use super::shell::{Daemon, command, command_in, inside, must, run};

/// Longer than any round trip of the network.
const PATIENCE: Duration = Duration::from_millis(300);

/// A UDP socket on a side's host.
fn socket(network: &Network, side: Side) -> UdpSocket {
    let socket = inside(&network.host(side), || UdpSocket::bind(("0.0.0.0", 0))).expect("ports are free");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a time above zero");
    socket
}

/// The address a STUN server sees a socket at (XOR-MAPPED-ADDRESS, RFC 8489, section 14.2).
fn mapping(socket: &UdpSocket, server: &str) -> SocketAddr {
    let mut request = [7; 20];
    request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    socket
        .send_to(&request, (server, 3478))
        .expect("the network is up");
    let mut answer = [0; 500];
    let length = socket.recv(&mut answer).expect("the STUN server answers");
    let at = answer[20..length]
        .windows(4)
        .position(|window| window == [0, 0x20, 0, 8])
        .expect("an answer carries the mapped address")
        + 24;
    let port = u16::from_be_bytes([answer[at + 2], answer[at + 3]]) ^ 0x2112;
    let xor = [0x21, 0x12, 0xa4, 0x42];
    let ip: [u8; 4] = std::array::from_fn(|byte| answer[at + 4 + byte] ^ xor[byte]);
    SocketAddr::from((ip, port))
}

fn hears(socket: &UdpSocket) -> Option<SocketAddr> {
    socket.recv_from(&mut [0; 1500]).ok().map(|(_, from)| from)
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_network_leaves_nothing() {
    let network = Network::build(Plan::new(Nat::Cone, Nat::MasqueradeDrop));
    let name = network.name("a");
    assert!(must(command("ip").args(["netns", "list"]), "").contains(&name));
    drop(network);
    assert!(!must(command("ip").args(["netns", "list"]), "").contains(&name));
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn clearing_a_host_ends_what_runs_there_and_nothing_else() {
    let network = Network::build(Plan::new(Nat::Cone, Nat::Cone));
    let [mut here, mut there] = [Side::A, Side::B].map(|side| {
        let mut sleeper = command_in(&network.host(side), "sleep");
        Daemon(sleeper.arg("60").spawn().expect("every system has sleep"))
    });
    // They have to have arrived: the child is a program that enters the namespace first.
    for side in [Side::A, Side::B] {
        let pids = || must(command("ip").args(["netns", "pids", &network.host(side)]), "");
        let end = Instant::now() + Duration::from_secs(10);
        while pids().trim().is_empty() {
            assert!(Instant::now() < end, "nobody came");
        }
    }
    network.clear(Side::A);
    let status = here.0.wait().expect("our own child");
    assert!(!status.success(), "{status}");
    assert!(there.0.try_wait().expect("our own child").is_none());
    mapping(&socket(&network, Side::A), "192.0.2.1");
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn each_nat_maps_and_filters_as_its_name_says() {
    for nat in [
        Nat::Public,
        Nat::Cone,
        Nat::MasqueradeDrop,
        Nat::MasqueradeAccept,
        Nat::Symmetric,
        Nat::SymmetricSteps,
        Nat::SymmetricBlock,
    ] {
        let network = Network::build(Plan::new(nat, Nat::Public));
        let inner = socket(&network, Side::A);
        let seen = ["192.0.2.1", "192.0.2.2"].map(|server| mapping(&inner, server));
        assert_eq!(seen[0].ip().to_string(), network.public_address(Side::A), "{nat}");
        // A router that gives out another port to each server may give the same one by chance, but not again and again.
        let is_symmetric = seen[0] != seen[1]
            || (0..2).any(|_| {
                let another = socket(&network, Side::A);
                mapping(&another, "192.0.2.1") != mapping(&another, "192.0.2.2")
            });
        assert_eq!(is_symmetric, nat.is_symmetric(), "{nat}: {seen:?}");

        let stranger = socket(&network, Side::B);
        stranger
            .send_to(b"anyone there?", seen[0])
            .expect("the network is up");
        let open = matches!(nat, Nat::Public | Nat::Cone);
        assert_eq!(hears(&inner).is_some(), open, "{nat}: lets strangers in");

        // Once we have written to the stranger, its answers come in.
        let friend = socket(&network, Side::B);
        let port = friend.local_addr().expect("bound").port();
        inner
            .send_to(b"hello", (network.public_address(Side::B), port))
            .expect("the network is up");
        let from = hears(&friend).unwrap_or_else(|| panic!("{nat}: nothing gets out"));
        friend.send_to(b"hello", from).expect("the network is up");
        assert!(hears(&inner).is_some(), "{nat}: the answer got lost");
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn low_ttl_packets_die_between_the_nats() {
    let network = Network::build(Plan::new(Nat::Public, Nat::Public));
    let (a, b) = (socket(&network, Side::A), socket(&network, Side::B));
    let port = b.local_addr().expect("bound").port();
    let arrives = |ttl: u32| {
        a.set_ttl(ttl).expect("a lawful TTL");
        a.send_to(b"probe", (network.public_address(Side::B), port))
            .expect("the network is up");
        hears(&b).is_some()
    };
    assert!(!arrives(5));
    assert!(!arrives(HOPS.into()));
    assert!(arrives(u32::from(HOPS) + 1));
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_lost_stun_answer_is_one_answer() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::Public));
    network.lose_a_stun_answer(Side::A);
    let inner = socket(&network, Side::A);
    let request = [
        0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    let heard: [bool; 3] = std::array::from_fn(|_| {
        inner
            .send_to(&request, ("192.0.2.1", 3478))
            .expect("the network is up");
        hears(&inner).is_some()
    });
    assert_eq!(heard, [false, true, true]);
}

/// The clash that the slots and the low-TTL packets exist for. If a kernel ever stops doing this, we want to know.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn an_early_packet_spoils_a_masquerade_that_accepts_wan_input() {
    for (nat, low_ttl_first, port_kept) in [
        (Nat::MasqueradeDrop, false, true),
        (Nat::MasqueradeAccept, false, false),
        (Nat::MasqueradeAccept, true, true),
    ] {
        let network = Network::build(Plan::new(nat, Nat::Public));
        let (a, b) = (socket(&network, Side::A), socket(&network, Side::B));
        let mapped = mapping(&a, "192.0.2.1");
        let port = b.local_addr().expect("bound").port();
        let to_b = (network.public_address(Side::B), port);
        if low_ttl_first {
            a.set_ttl(5).expect("a lawful TTL");
            a.send_to(b"opens our own NAT", to_b).expect("the network is up");
            a.set_ttl(64).expect("a lawful TTL");
        }
        b.send_to(b"early", mapped).expect("the network is up");
        assert_eq!(hears(&a).is_some(), low_ttl_first, "{nat}");
        a.send_to(b"on time", to_b).expect("the network is up");
        let from = hears(&b).expect("it arrives, from whatever port");
        assert_eq!(
            from == mapped,
            port_kept,
            "{nat}: mapped {mapped}, came from {from}"
        );
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_restarted_router_gives_out_another_port() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::Cone));
    let (a, b) = (socket(&network, Side::A), socket(&network, Side::B));
    let to_b = mapping(&b, "192.0.2.1");
    let source = || {
        a.send_to(b"still me", to_b).expect("the network is up");
        hears(&b).expect("a cone lets it in")
    };
    let before = source();
    assert_eq!(source(), before);
    network.rebind(Side::A);
    assert_ne!(source(), before);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn the_tools_of_the_trade_find_the_servers_through_a_nat() {
    let plan = Plan {
        clock_offset_ms: [-400, 600],
        ..Plan::new(Nat::MasqueradeDrop, Nat::Cone)
    };
    let network = Network::build(plan);
    let files = tempfile::tempdir().expect("room for a small file");
    for side in [Side::A, Side::B] {
        let host = network.host(side);
        let stun = run(
            command_in(&host, "turnutils_stunclient").arg("192.0.2.1"),
            "",
            Duration::from_secs(5),
        );
        assert!(stun.text.contains(network.public_address(side)), "{}", stun.text);
        for (server, offset) in [("192.0.2.3", 0.0), ("192.0.2.4", -0.4), ("192.0.2.5", 0.6)] {
            let pid_file = format!("pidfile {}", files.path().join("pid").display());
            let once = format!("server {server} iburst maxsamples 1");
            let mut chrony = command_in(&host, "chronyd");
            chrony.args([
                "-Q",
                "-t",
                "8",
                "-u",
                "root",
                "-f",
                "/dev/null",
                &once,
                &pid_file,
                "cmdport 0",
            ]);
            let said = run(&mut chrony, "", Duration::from_secs(10)).text;
            let wrong: f64 = said
                .split("wrong by ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or_else(|| panic!("no time from {server}: {said}"));
            assert!((wrong - offset).abs() < 0.1, "{server}: {said}");
        }
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn hosts_in_one_home_reach_each_other_inside_but_not_by_their_public_address() {
    let network = Network::build(Plan {
        place: Place::OneLan,
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    });
    let (a, b) = (socket(&network, Side::A), socket(&network, Side::B));
    let (to_a, to_b) = (mapping(&a, "192.0.2.1"), mapping(&b, "192.0.2.1"));
    for _ in 0..2 {
        a.send_to(b"outside", to_b).expect("the network is up");
        b.send_to(b"outside", to_a).expect("the network is up");
    }
    assert_eq!(
        (hears(&a), hears(&b)),
        (None, None),
        "this router must not hairpin"
    );
    let port = b.local_addr().expect("bound").port();
    a.send_to(b"inside", (network.host_address(Side::B), port))
        .expect("the network is up");
    assert!(hears(&b).is_some());
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn the_link_plays_delay_loss_rate_queue_policer_and_black_out() {
    let direction = Direction {
        delay: Duration::from_millis(40),
        ..Direction::default()
    };
    let plan = LinkPlan::symmetric(direction);
    let network = Network::build(Plan {
        link: plan,
        hops: 1,
        ..Plan::new(Nat::Public, Nat::Public)
    });
    let (a, b) = (socket(&network, Side::A), socket(&network, Side::B));
    let to_b = (
        network.public_address(Side::B),
        b.local_addr().expect("bound").port(),
    );
    let send = |packets: usize| {
        for _ in 0..packets {
            a.send_to(&[0; 972], to_b).expect("the network is up");
        }
        let start = Instant::now();
        let heard = std::iter::from_fn(|| hears(&b).map(|_| start.elapsed())).collect::<Vec<_>>();
        (
            heard.len(),
            heard.first().copied().unwrap_or_default(),
            heard.last().copied().unwrap_or_default(),
        )
    };

    let (count, first, _) = send(1);
    assert_eq!(count, 1);
    assert!((38..60).contains(&first.as_millis()), "{first:?}");

    // 50 packets of 1000 bytes through 8 Mbit/s take 50 ms; a queue of 30,000 bytes keeps 30 of them.
    let slow = Direction {
        rate: 8_000_000,
        queue: 100_000,
        ..direction
    };
    network.link().replan(LinkPlan::symmetric(slow));
    let (count, first, last) = send(50);
    assert_eq!(count, 50);
    assert!(
        (40..70).contains(&(last - first).as_millis()),
        "{first:?} to {last:?}"
    );
    network.link().replan(LinkPlan::symmetric(Direction {
        queue: 30_000,
        ..slow
    }));
    let (count, _, _) = send(50);
    assert!((29..35).contains(&count), "{count} of 50 passed the queue");
    // A policer with a bucket of that size lets as many pass, and none of them waits.
    network.link().replan(LinkPlan::symmetric(Direction {
        queue: 30_000,
        discipline: Discipline::Policer,
        ..slow
    }));
    let (count, first, last) = send(50);
    assert!((29..35).contains(&count), "{count} of 50 passed the policer");
    assert!((last - first).as_millis() < 15, "{first:?} to {last:?}");

    network.link().replan(LinkPlan::symmetric(Direction {
        loss: 0.5,
        ..direction
    }));
    let (count, _, _) = send(200);
    assert!((60..140).contains(&count), "{count} of 200 passed 50% loss");

    network.link().replan(plan);
    network.link().black_out(true);
    assert_eq!(send(20).0, 0);
    network.link().black_out(false);
    assert_eq!(send(20).0, 20);
}
