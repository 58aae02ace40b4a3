//! Two punches over simulated NATs, in virtual time. A failing case prints its scene, and the seed replays
//! it.

mod again;
mod clockless;
mod guesses;
mod nat;
mod scene;
mod strangers;
mod verdicts;
mod world;

use std::net::{IpAddr, SocketAddr};

use self::nat::{NatKind, Ports};
use self::scene::Scene;
use self::world::{BASE_PORT, World, millis};
use super::paths::{is_private, paths};
use super::*;
use crate::protocol::handshake::bare::BareHeader;
use crate::rendezvous::address::Filtering;
use crate::rendezvous::address::Mapping;
use crate::rendezvous::schedule::Content;

/// Seeds for each pair of NATs: few enough for every commit. Raise the number to look for rare failures (2000
/// have passed).
const SEEDS: u64 = 25;

const OPEN: NatKind = NatKind::Public { firewall: false };
const FIREWALL: NatKind = NatKind::Public { firewall: true };
const FULL: NatKind = NatKind::Cone(Filtering::Independent);
const RESTRICTED: NatKind = NatKind::Cone(Filtering::Address);
const PORT_RESTRICTED: NatKind = NatKind::Cone(Filtering::AddressAndPort);
const DROPS: NatKind = NatKind::Masquerade {
    wan_input_accepted: false,
};
const ACCEPTS: NatKind = NatKind::Masquerade {
    wan_input_accepted: true,
};
const ALL: [NatKind; 7] = [OPEN, FIREWALL, FULL, RESTRICTED, PORT_RESTRICTED, DROPS, ACCEPTS];

const SYMMETRIC: NatKind = NatKind::Symmetric(Ports::Random);

const FILTER_BY_PORT: [NatKind; 3] = [PORT_RESTRICTED, DROPS, ACCEPTS];

/// The end of the second slot after the later paste, including the clocks' error and the delay of the last
/// answer.
fn two_slots(scene: &Scene) -> Time {
    let paste = scene.paste[0].max(scene.paste[1]);
    millis((paste + 1000).div_ceil(10_000) * 10_000 + 10_000 + 4_000 + 2_000)
}

fn vary(scene: &mut Scene, seed: u64) {
    let mut rng = SeedRng::new(blake3::hash(&seed.to_be_bytes()).as_bytes(), "test scene");
    let mut below = |n: u64| rng.next_u64() % n;
    scene.seed = seed;
    scene.paste = [below(60_000), below(60_000)];
    scene.skew = [below(1001), below(1001)].map(|s| i64::try_from(s).unwrap() - 500);
    scene.loss_percent = below(6);
    scene.delay_millis = 2 + below(150);
}

#[test]
fn every_pair_without_a_symmetric_nat_connects_within_two_slots() {
    for a in ALL {
        for b in ALL {
            for seed in 0..SEEDS {
                let mut scene = Scene::new(a, b);
                vary(&mut scene, seed);
                let mut world = World::new(scene.clone());
                world.run();
                let what = format!("{a:?} x {b:?} seed {seed} {:?} {:?}", scene.paste, scene.skew);
                let outcomes = world
                    .connected()
                    .unwrap_or_else(|| panic!("not connected: {what}"));
                for outcome in outcomes {
                    assert!(outcome.at <= two_slots(&scene), "late: {what}: {outcome:?}");
                    assert_ne!(outcome.kind, PathKind::Lan, "{what}");
                }
            }
        }
    }
}

/// Two slots and their windows, in seconds.
const TWO_SLOTS: f64 = 25.0;
/// Three slots and their windows, in seconds. If few routers lie between, the opening of one pair may spoil
/// it at a NAT that accepts input. A second pair may be spoilt by packets that were sent before its owner was
/// there.
const THREE_SLOTS: f64 = 35.0;

/// Seconds from the later paste until both are connected, for many pastes. If packets take only a few
/// milliseconds, a clock error of that size decides who is first.
fn seconds_to_connect(place: &Scene) -> Vec<f64> {
    let mut seconds = Vec::new();
    for late in [0, 7_000, 25_000] {
        for (i, offset) in (500..80_500).step_by(7_300).enumerate() {
            let paste = if i % 2 == 0 {
                [offset, offset + late]
            } else {
                [offset + late, offset]
            };
            let skew = [[0, 0], [8, 0], [0, 8], [250, 0], [0, 250]][i % 5];
            let scene = Scene {
                paste,
                skew,
                seed: i as u64,
                ..place.clone()
            };
            let mut world = World::new(scene);
            world.run();
            let what = format!(
                "{:?}, {} routers, {} ms, {paste:?}, {skew:?}",
                place.nats, place.routers, place.delay_millis
            );
            let outcomes = world
                .connected()
                .unwrap_or_else(|| panic!("not connected: {what}"));
            let at = outcomes[0].at.max(outcomes[1].at);
            seconds.push(at.since(millis(paste[0].max(paste[1]))).as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    seconds
}

#[test]
fn any_number_of_routers_between_two_nats_will_do() {
    for routers in [0, 1, 2, 3, 4, 8] {
        for delay_millis in [0, 1, 20] {
            for a in FILTER_BY_PORT {
                for b in FILTER_BY_PORT {
                    let place = Scene {
                        routers,
                        delay_millis,
                        ..Scene::new(a, b)
                    };
                    let seconds = seconds_to_connect(&place);
                    let (median, most) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
                    println!(
                        "{routers} routers, {delay_millis:2} ms, {a:?} x {b:?}: median {median:.1}, at most {most:.1}"
                    );
                    let late = seconds.iter().filter(|&&s| s > TWO_SLOTS).count();
                    assert!(
                        median < 0.5 && late <= 1 && most <= THREE_SLOTS,
                        "{routers} routers, {delay_millis} ms, {a:?} x {b:?}: {seconds:.1?}"
                    );
                }
            }
        }
    }
}

/// There, only a packet that crosses the other's helps, or the pair's next turn.
#[test]
fn two_nats_side_by_side_that_drop_options_of_ip_connect_in_a_pairs_next_turn() {
    for (a, b, limit) in [
        (ACCEPTS, ACCEPTS, 75.0),
        (ACCEPTS, DROPS, THREE_SLOTS),
        (DROPS, ACCEPTS, THREE_SLOTS),
    ] {
        let place = Scene {
            routers: 0,
            delay_millis: 1,
            drops_ip_options: true,
            ..Scene::new(a, b)
        };
        let seconds = seconds_to_connect(&place);
        assert!(
            seconds.iter().all(|&s| s <= limit),
            "{a:?} x {b:?}: {seconds:.1?}"
        );
    }
}

#[test]
fn the_pastes_of_the_laboratory_connect_behind_routers_that_accept_input() {
    for late in [0, 1_000, 7_000, 25_000] {
        for offset in [0, 2_000, 5_000, 9_000, 9_900] {
            for paste in [[offset, offset + late], [offset + late, offset]] {
                let scene = Scene {
                    paste,
                    ..Scene::new(ACCEPTS, ACCEPTS)
                };
                let mut world = World::new(scene.clone());
                world.run();
                let outcomes = world.connected().unwrap_or_else(|| panic!("{paste:?}"));
                assert!(outcomes[0].at <= two_slots(&scene), "{paste:?}");
                assert_eq!(outcomes[0].kind, PathKind::Direct);
            }
        }
    }
}

#[test]
fn without_low_ttl_the_same_model_shows_the_clash() {
    // A side that is half a second early spoils the other's NAT, unless its first packets die on the way.
    for (low_ttl, connects) in [(Some(64), false), (Some(5), true), (None, true)] {
        // Bare addresses are only tried in slots.
        let timeout = Duration::from_secs(40);
        let scene = Scene {
            skew: [0, 200],
            bare: [true, true],
            low_ttl,
            timeout,
            ..Scene::new(ACCEPTS, ACCEPTS)
        };
        let mut world = World::new(scene);
        world.run();
        assert_eq!(world.connected().is_some(), connects, "TTL {low_ttl:?}");
    }
}

#[test]
fn a_symmetric_nat_meets_whoever_does_not_filter_by_port() {
    for other in [OPEN, FULL, RESTRICTED] {
        for (a, b) in [(SYMMETRIC, other), (other, SYMMETRIC)] {
            for seed in 0..10 {
                let mut scene = Scene::new(a, b);
                vary(&mut scene, seed);
                let mut world = World::new(scene.clone());
                world.run();
                let outcomes = world
                    .connected()
                    .unwrap_or_else(|| panic!("{a:?} x {b:?} seed {seed}"));
                assert!(outcomes[0].at <= two_slots(&scene), "{a:?} x {b:?} seed {seed}");
            }
        }
    }
}

#[test]
fn one_lan_behind_one_nat_connects_at_once_without_a_slot() {
    for nat in [PORT_RESTRICTED, ACCEPTS, SYMMETRIC] {
        let scene = Scene {
            paste: [0, 4_200],
            same_lan: true,
            ..Scene::new(nat, nat)
        };
        let mut world = World::new(scene);
        world.run();
        let [s, r] = world.connected().unwrap();
        assert_eq!((s.kind, r.kind), (PathKind::Lan, PathKind::Lan));
        assert!(s.at < millis(4_300), "{s:?}");
    }
}

#[test]
fn bare_addresses_connect_with_the_same_six_words() {
    for a in ALL {
        for b in ALL {
            for seed in 0..4 {
                let mut scene = Scene {
                    bare: [true, true],
                    ..Scene::new(a, b)
                };
                vary(&mut scene, seed);
                let mut world = World::new(scene.clone());
                world.run();
                let [s, r] = world
                    .connected()
                    .unwrap_or_else(|| panic!("{a:?} x {b:?} seed {seed}"));
                assert!(s.six_words().is_some() && s.six_words() == r.six_words());
                let paste = scene.paste[0].max(scene.paste[1]);
                assert!(
                    s.at <= millis(paste + 40_000 + 46_000),
                    "{a:?} x {b:?} seed {seed} {s:?}"
                );
            }
        }
    }
}

#[test]
fn a_public_peer_is_reached_without_a_slot() {
    for (nats, paste) in [
        ([OPEN, ACCEPTS], [0, 4_200]),
        ([ACCEPTS, OPEN], [0, 4_200]),
        ([OPEN, OPEN], [4_200, 0]),
    ] {
        let mut world = World::new(Scene {
            paste,
            ..Scene::new(nats[0], nats[1])
        });
        world.run();
        let [s, r] = world.connected().unwrap();
        assert!(s.at < millis(5_600), "{s:?}");
        match nats {
            [OPEN, OPEN] => assert_eq!(s.kind, PathKind::Open, "{r:?}"),
            [_, OPEN] => assert_eq!(s.kind, PathKind::Direct, "{r:?}"),
            _ => {}
        }
    }
}

#[test]
fn ipv6_and_lan_candidates_go_through_their_own_sockets_and_never_to_ourselves() {
    let mut world = World::new(Scene::new(PORT_RESTRICTED, PORT_RESTRICTED));
    let (mut own, mut peer) = (world.address(0), world.address(1));
    let six: SocketAddr = "[2001:db8::7]:4300".parse().unwrap();
    let shared: SocketAddr = "192.168.1.5:4300".parse().unwrap();
    own.token.as_mut().unwrap().candidates = vec![shared];
    peer.token.as_mut().unwrap().candidates = vec![shared, six, peer.reflexive];
    let ipv6 = Ipv6Socket {
        socket: 4,
        zones: vec![2, 7],
    };
    let (pairs, candidates) = paths(&own, &peer, Some(&ipv6));
    assert_eq!(pairs.map(|p| p.unwrap().local), [0, 1, 2, 3]);
    assert_eq!(
        candidates,
        [Path {
            local: 4,
            remote: six
        }]
    );
    assert_eq!(paths(&own, &peer, None).1, []);
    own.token.as_mut().unwrap().spare_ports[1] = 0;
    assert_eq!(
        paths(&own, &peer, None).0[2],
        Some(Path {
            local: 0,
            remote: peer.pair(2).unwrap()
        }),
        "who lacks a port uses the first one"
    );
    peer.token.as_mut().unwrap().spare_ports[1] = 0;
    assert_eq!(
        paths(&own, &peer, None).0[2],
        None,
        "and if both lack it, it is not used"
    );
    assert!(world.config(0).ipv6.is_none());
    peer.token.as_mut().unwrap().candidates = vec!["[fe80::7]:4300".parse().unwrap()];
    let on_cables: Vec<SocketAddr> = paths(&own, &peer, Some(&ipv6))
        .1
        .iter()
        .map(|p| p.remote)
        .collect();
    let zoned = ["[fe80::7%2]:4300", "[fe80::7%7]:4300"].map(|at| at.parse::<SocketAddr>().unwrap());
    assert_eq!(on_cables, zoned, "a link-local address is tried on every cable");
}

/// A punch whose peer is elsewhere. Its own first packets are drained.
fn lonely(i: usize, bare: bool) -> (Punch, Path) {
    let mut world = World::new(Scene {
        bare: [bare, bare],
        ..Scene::new(PORT_RESTRICTED, PORT_RESTRICTED)
    });
    let config = world.config(i);
    let remote = config.peer.reflexive;
    let mut punch = Punch::new(config, Time::ZERO).unwrap();
    drain(&mut punch);
    (punch, Path { local: 0, remote })
}

fn drain(punch: &mut Punch) -> (usize, usize) {
    let transmits = std::iter::from_fn(|| punch.poll_transmit()).count();
    let connected = std::iter::from_fn(|| punch.poll_event())
        .filter(|e| !matches!(e, PunchEvent::Schedule(_) | PunchEvent::Hint(_)));
    (transmits, connected.count())
}

#[test]
fn the_first_exchange_on_a_lan_yields_a_round_trip() {
    let scene = Scene {
        paste: [1_000, 0],
        same_lan: true,
        ..Scene::new(PORT_RESTRICTED, PORT_RESTRICTED)
    };
    let mut world = World::new(scene);
    world.run();
    let [s, _] = world.connected().unwrap();
    assert!(s.rtt.is_none_or(|rtt| rtt < Duration::from_millis(1)), "{s:?}");
    assert_eq!(s.path.remote.port(), BASE_PORT);
}

/// Holds for full and for bare addresses.
#[test]
fn copies_of_a_handshake_message_are_answered_only_until_the_peer_is_heard_on_the_connection() {
    for bare in [[false, false], [true, true]] {
        let scene = Scene {
            bare,
            ..Scene::new(OPEN, OPEN)
        };
        let mut world = World::new(scene);
        world.run();
        world.connected().unwrap();
        let last = if bare[0] {
            packet::BARE_3
        } else {
            packet::MESSAGE_1
        };
        let copies = world.delivered.clone();
        let answered = |responder: &mut LateResponder| {
            let copies = copies.iter().filter(|(i, _, m)| *i == 1 && m[0] == last);
            copies
                .filter(|(_, path, m)| responder.handle_datagram(millis(900_000), *path, m).is_some())
                .count()
        };
        let responder = world.responder(1);
        assert!(answered(responder) > 0);
        responder.confirm();
        assert_eq!(answered(responder), 0);
    }
}

/// The driver takes the punch apart as soon as it reports the connection.
#[test]
fn the_answer_that_makes_the_connection_is_handed_over_if_it_has_not_left() {
    let (mut receiver, back) = lonely(1, false);
    let (mut sender, _) = lonely(0, false);
    let message_1 = sender.engine.datagram(back, Content::Handshake, 0, 0);
    receiver.handle_datagram(Time::ZERO, back, &mut message_1.clone());
    assert!(std::iter::from_fn(|| receiver.poll_event()).any(|e| matches!(e, PunchEvent::Connected { .. })));
    let (mut responder, _, answer) = receiver.into_parts();
    let answer = answer.expect("an answer");
    assert_eq!((answer.path, answer.payload[0]), (back, packet::MESSAGE_2));
    let again = responder.handle_datagram(Time::ZERO, back, &message_1);
    assert_eq!(again.as_ref(), Some(&answer.payload));
}

#[test]
fn a_peer_that_has_moved_is_looked_for_at_its_new_address_alone() {
    let (punch, _) = lonely(0, false);
    let (_, mut search, _) = punch.into_parts();
    let mut peer = search.peer.clone();
    peer.reflexive = SocketAddr::from(([198, 51, 100, 77], 5000));
    search.relocate(peer);
    let mut schedule = search.begin(Time::ZERO);
    let mut sent = 0;
    while let Some(now) = schedule.poll_timeout().filter(|at| *at < millis(60_000)) {
        while let Some(send) = schedule.poll(now) {
            let ip = send.path.remote.ip();
            assert!(is_private(ip) || ip == IpAddr::from([198, 51, 100, 77]), "{ip}");
            sent += u32::from(!is_private(ip));
        }
    }
    assert!(sent > 50, "{sent}");
}
