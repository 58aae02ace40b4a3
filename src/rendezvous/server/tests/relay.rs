//! Two clients that have met and cannot reach each other directly.

use std::time::Duration;

use super::super::RelayLimits;
use super::world::{Line, World, code};
use super::{RECEIVER, SENDER, seconds};
use crate::rendezvous::meeting::relay::RelayRefusal;

/// A world in which a sender and a receiver have met.
fn met(seed: u64, line: Line, limits: Option<RelayLimits>) -> (World, [usize; 2]) {
    let mut world = World::with_relay(seed, line, limits);
    let sender = world.client(SENDER, None);
    world.run(seconds(6));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(15));
    (world, [sender, receiver])
}

/// A world in which both are also bound to the relay.
fn bound(seed: u64, line: Line, limits: Option<RelayLimits>) -> (World, [usize; 2]) {
    let (mut world, ends) = met(seed, line, limits);
    for end in ends {
        world.bind(end);
    }
    world.run(seconds(10));
    for end in ends {
        assert!(world.is_relayed(end), "seed {seed}");
    }
    (world, ends)
}

#[test]
fn what_one_says_reaches_the_other_whatever_the_line_does() {
    for seed in 0..30 {
        let (mut world, [sender, receiver]) = bound(seed, Line::bad(), Some(RelayLimits::STRANGERS));
        for number in 0..100u8 {
            world.say(sender, &[0x50, number]);
            world.say(receiver, &[0x51, number]);
        }
        world.run(seconds(2));
        // 56 of 100 datagrams pass two lossy lines, some of them twice.
        for (end, first) in [(sender, 0x51), (receiver, 0x50)] {
            let passed = world.passed(end);
            assert!((35..120).contains(&passed.len()), "seed {seed}: {}", passed.len());
            assert!(passed.iter().all(|bytes| bytes.len() == 2 && bytes[0] == first));
        }
    }
}

#[test]
fn both_are_bound_within_two_round_trips() {
    let (mut world, ends) = met(1, Line::clean(), Some(RelayLimits::STRANGERS));
    for end in ends {
        world.bind(end);
    }
    world.run(Duration::from_millis(210));
    assert!(ends.iter().all(|end| world.is_relayed(*end)));
    assert_eq!(world.server.joined(), 1);
}

#[test]
fn a_server_that_was_started_anew_relays_again_within_a_keepalive() {
    let (mut world, [sender, receiver]) = bound(2, Line::clean(), Some(RelayLimits::STRANGERS));
    world.restart(77);
    world.say(sender, b"lost");
    world.run(seconds(17));
    world.say(sender, b"\x50found");
    world.run(seconds(1));
    assert_eq!(world.passed(receiver), [b"\x50found"]);
}

#[test]
fn who_finds_the_peer_silent_is_bound_again_at_once() {
    let (mut world, [sender, receiver]) = bound(3, Line::clean(), Some(RelayLimits::STRANGERS));
    world.restart(78);
    let now = world.now;
    world.relay(sender).rouse(now);
    world.relay(receiver).rouse(now);
    world.run(Duration::from_millis(450));
    assert!(world.is_relayed(sender) && world.is_relayed(receiver));
}

#[test]
fn who_comes_from_another_port_is_bound_again_within_two_round_trips() {
    let (mut world, [sender, receiver]) = bound(8, Line::clean(), Some(RelayLimits::STRANGERS));
    world.reroute(sender);
    world.run(Duration::from_millis(210));
    assert!(world.is_relayed(sender));
    world.say(receiver, b"\x50x");
    world.say(sender, b"\x51y");
    world.run(seconds(1));
    assert_eq!(world.passed(sender), [b"\x50x"]);
    assert_eq!(world.passed(receiver), [b"\x51y"]);
}

#[test]
fn who_finds_no_room_is_told_once_and_gets_it_when_there_is_some() {
    let limits = RelayLimits {
        pairs: 1,
        ..RelayLimits::FRIENDS
    };
    let (mut world, first) = bound(9, Line::clean(), Some(limits));
    let sender = world.client(SENDER, None);
    world.run(seconds(6));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(15));
    for end in [sender, receiver] {
        world.bind(end);
    }
    world.run(seconds(60));
    for end in [sender, receiver] {
        assert_eq!(world.relay_refusals(end), [RelayRefusal::Full]);
    }
    for end in first {
        let now = world.now;
        world.relay(end).rest(now);
    }
    world.run(seconds(11));
    assert!(world.is_relayed(sender) && world.is_relayed(receiver));
}

#[test]
fn who_has_a_direct_path_is_forgotten_at_once_although_a_goodbye_is_lost() {
    for line in [Line::clean(), Line::dead()] {
        let (mut world, ends) = bound(4, Line::clean(), Some(RelayLimits::STRANGERS));
        let now = world.now;
        world.becomes(line);
        for end in ends {
            world.relay(end).rest(now);
        }
        world.run(Duration::from_millis(150));
        world.becomes(Line::clean());
        world.run(seconds(1));
        assert!(ends.iter().all(|end| world.relay(*end).has_left()));
        assert_eq!(world.server.joined(), 0);
        world.say(ends[0], b"\x50x");
        world.run(seconds(1));
        assert!(world.passed(ends[1]).is_empty());
    }
}

#[test]
fn a_pair_at_its_limit_is_told_why_nothing_passes() {
    let limits = RelayLimits {
        pair_bytes: Some(10_000),
        ..RelayLimits::FRIENDS
    };
    let (mut world, ends) = bound(5, Line::clean(), Some(limits));
    for _ in 0..20 {
        world.say(ends[0], &[0x50; 1_200]);
    }
    world.run(seconds(1));
    assert_eq!(world.passed(ends[1]).len(), 8);
    for end in ends {
        assert_eq!(world.relay_refusals(end), [RelayRefusal::Spent]);
    }
}

#[test]
fn a_server_without_a_relay_offers_none() {
    let (world, ends) = met(6, Line::clean(), None);
    for end in ends {
        assert!(world.met(end).pass.is_none());
    }
}

#[test]
fn a_flood_of_what_is_not_bound_passes_nowhere_and_disturbs_no_pair() {
    let (mut world, [sender, receiver]) = bound(7, Line::clean(), Some(RelayLimits::STRANGERS));
    let flooded = world.flood(200_000);
    assert_eq!(flooded.longer, 0);
    assert_eq!(world.server.joined(), 1);
    world.say(sender, b"\x50x");
    world.run(seconds(1));
    assert_eq!(world.passed(receiver), [b"\x50x"]);
}
