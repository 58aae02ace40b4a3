//! Clients and a server in virtual time, over links that lose, duplicate and reorder.

mod names;
mod relay;
mod world;

use self::world::{Line, World, code, refusals};
use super::*;
use crate::rendezvous::address::Mapping;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::{Code, Nameplate, Words};
use crate::rendezvous::meeting::refusal::Refusal;

const SENDER: Errand = Errand::Send;
const RECEIVER: Errand = Errand::Receive;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_typed_code_brings_both_each_others_address_and_one_moment() {
    let mut world = World::new(1, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    let typed = world.now;
    world.run(seconds(2));
    let (a, b) = (world.met(sender), world.met(receiver));
    assert_eq!(a.peer, b.own);
    assert_eq!(b.peer, a.own);
    assert!(
        a.moment.as_nanos().abs_diff(b.moment.as_nanos()) < 2_000_000,
        "{a:?} {b:?}"
    );
    // Hello, open and the sealed address take three round trips of 100 ms. Two more and a spare time follow
    // until the moment.
    assert!(
        a.moment.since(typed) < Duration::from_millis(800),
        "{:?}",
        a.moment.since(typed)
    );
    assert!(
        a.moment > a.at && b.moment > b.at,
        "both know the moment before it comes"
    );
    assert_eq!(world.server.waiting(), 0);
}

#[test]
fn who_is_seen_elsewhere_by_the_next_port_tells_the_peer_that_its_nat_is_symmetric() {
    for (has_next, mappings) in [
        (true, [Mapping::Dependent, Mapping::Independent]),
        (false, [Mapping::Unknown; 2]),
    ] {
        let mut world = World::new(4, Line::clean());
        let sender = world.behind(SENDER, None, 1000, has_next);
        world.run(seconds(1));
        let code = code(&world, sender);
        let receiver = world.behind(RECEIVER, Some(code), 0, has_next);
        world.run(seconds(2));
        let (a, b) = (world.met(sender), world.met(receiver));
        assert_eq!([b.peer.nat().mapping, a.peer.nat().mapping], mappings);
        let waited = a.moment.since(world.now - seconds(2));
        assert!(
            waited < Duration::from_millis(800),
            "nothing waits for the next port: {waited:?}"
        );
    }
}

#[test]
fn who_asks_a_server_that_was_just_started_is_told_to_wait_and_then_that_nobody_is_there() {
    let mut world = World::new(5, Line::clean());
    world.restart(80);
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let code = code(&world, sender);
    world.leave(sender);
    let receiver = world.client(
        RECEIVER,
        Some(Code {
            nameplate: Nameplate::new(9_999).unwrap(),
            ..code
        }),
    );
    world.run(seconds(2));
    assert!(world.is_told_to_wait(receiver) && refusals(&world, receiver).is_empty());
    world.run(seconds(13));
    assert_eq!(refusals(&world, receiver), [Refusal::Nobody]);
}

#[test]
fn who_waits_and_comes_from_another_port_keeps_its_code_and_is_met_there() {
    let mut world = World::new(2, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(6));
    world.restart(79);
    world.reroute(sender);
    world.run(seconds(1));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(3));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
    assert_eq!(world.met(receiver).peer, world.met(sender).own);
}

#[test]
fn whatever_the_line_does_to_datagrams_both_meet() {
    for seed in 0..60 {
        let mut world = World::new(seed, Line::bad());
        let sender = world.client(SENDER, None);
        world.run(seconds(6));
        let receiver = world.client(RECEIVER, Some(code(&world, sender)));
        world.run(seconds(15));
        assert_eq!(world.met(sender).peer, world.met(receiver).own, "seed {seed}");
        assert_eq!(world.met(receiver).peer, world.met(sender).own, "seed {seed}");
    }
}

#[test]
fn two_people_who_type_each_others_code_at_the_same_moment_meet_once() {
    for seed in 0..40 {
        let mut world = World::new(seed, if seed % 2 == 0 { Line::clean() } else { Line::bad() });
        let ends = [world.client(SENDER, None), world.client(RECEIVER, None)];
        world.run(seconds(6));
        let codes = ends.map(|end| code(&world, end));
        world.join(ends[0], codes[1]);
        world.run(Duration::from_millis(seed * 7));
        world.join(ends[1], codes[0]);
        world.run(seconds(20));
        assert_eq!(world.met(ends[0]).peer, world.met(ends[1]).own, "seed {seed}");
        let apart = world
            .met(ends[0])
            .moment
            .as_nanos()
            .abs_diff(world.met(ends[1]).moment.as_nanos());
        assert!(apart < 300_000_000, "seed {seed}: one moment for both, {apart}");
    }
}

#[test]
fn a_wrong_guess_spoils_the_code_and_both_are_told() {
    let mut world = World::new(3, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let right = code(&world, sender);
    let wrong = Code {
        words: Words::new([1, 2]),
        ..right
    };
    let guesser = world.client(RECEIVER, Some(wrong));
    world.run(seconds(2));
    assert_eq!(refusals(&world, guesser), [Refusal::WrongWords]);
    assert_eq!(refusals(&world, sender), [Refusal::WrongWords]);
    let next = code(&world, sender);
    assert_ne!(next.words, right.words);
    // The right words come too late: the code was burnt, and its number rests.
    let late = world.client(RECEIVER, Some(right));
    world.run(seconds(2));
    assert_eq!(refusals(&world, late), [Refusal::Nobody]);
    let third = world.client(RECEIVER, Some(next));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(third).own);
}

#[test]
fn a_code_is_for_two() {
    let mut world = World::new(4, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let shown = code(&world, sender);
    let both = [
        world.client(RECEIVER, Some(shown)),
        world.client(RECEIVER, Some(shown)),
    ];
    world.run(seconds(3));
    let met: Vec<usize> = both.into_iter().filter(|&end| world.has_met(end)).collect();
    assert_eq!(met.len(), 1);
    let other = both.into_iter().find(|end| !met.contains(end)).unwrap();
    assert_eq!(refusals(&world, other), [Refusal::Nobody]);
    let again = world.client(RECEIVER, Some(shown));
    world.run(seconds(3));
    assert_eq!(refusals(&world, again), [Refusal::Nobody], "used");
}

#[test]
fn two_of_one_role_are_told_so_and_the_code_stays_good() {
    let mut world = World::new(5, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let shown = code(&world, sender);
    let another = world.client(SENDER, Some(shown));
    world.run(seconds(2));
    assert_eq!(refusals(&world, another), [Refusal::SameRole]);
    let receiver = world.client(RECEIVER, Some(shown));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
}

#[test]
fn after_eleven_minutes_another_code_is_shown_and_the_old_one_meets_nobody() {
    let mut world = World::new(6, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let old = code(&world, sender);
    world.run(seconds(11 * 60 + 2));
    assert_eq!(refusals(&world, sender), [Refusal::Expired]);
    let new = code(&world, sender);
    assert_ne!(new, old);
    let late = world.client(RECEIVER, Some(old));
    world.run(seconds(2));
    assert_eq!(refusals(&world, late), [Refusal::Nobody]);
    let receiver = world.client(RECEIVER, Some(new));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
}

#[test]
fn who_offered_and_left_is_gone_at_once_although_a_goodbye_is_lost() {
    for line in [Line::clean(), Line::dead()] {
        let mut world = World::new(7, Line::clean());
        let sender = world.client(SENDER, None);
        world.run(seconds(1));
        world.becomes(line);
        world.leave(sender);
        world.run(Duration::from_millis(150));
        world.becomes(Line::clean());
        world.run(seconds(1));
        let receiver = world.client(RECEIVER, Some(code(&world, sender)));
        world.run(seconds(2));
        assert_eq!(refusals(&world, receiver), [Refusal::Nobody]);
        assert_eq!(world.server.known(), 0);
    }
}

#[test]
fn who_dies_in_mid_pairing_is_told_to_have_left() {
    let mut world = World::new(8, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(Duration::from_millis(180));
    world.kill(receiver);
    world.run(seconds(30));
    assert_eq!(refusals(&world, sender), [Refusal::Gone]);
    assert!(!world.has_met(sender));
}

#[test]
fn clients_register_again_with_a_server_that_was_started_anew() {
    for at in [500, 2000, 2150, 2250, 2350, 2450] {
        let mut world = World::new(9, Line::clean());
        let sender = world.client(SENDER, None);
        world.run(seconds(1));
        let shown = code(&world, sender);
        let mut receiver = None;
        if at >= 2000 {
            world.run(seconds(1));
            receiver = Some(world.client(RECEIVER, Some(shown)));
        }
        world.run(Duration::from_millis(at % 500));
        world.restart(100 + at);
        world.run(seconds(12));
        let receiver = receiver.unwrap_or_else(|| {
            assert_eq!(code(&world, sender), shown, "the code is still good");
            world.client(RECEIVER, Some(shown))
        });
        world.run(seconds(5));
        assert!(
            world.has_met(sender) && world.has_met(receiver),
            "restart at {at} ms"
        );
    }
}

#[test]
fn only_whoever_knows_the_servers_word_is_served() {
    let mut world = World::with_token(10, Line::clean(), "sesame");
    let stranger = world.client(RECEIVER, None);
    world.run(seconds(2));
    assert_eq!(refusals(&world, stranger), [Refusal::WrongToken]);
    assert_eq!(world.server.known(), 0);
    world.token = Some(crate::rendezvous::meeting::wire::token_key("sesame"));
    let sender = world.client(SENDER, None);
    world.run(seconds(2));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
}

#[test]
fn a_server_that_is_not_there_is_told_within_three_seconds_and_found_a_second_after_it_came() {
    let mut world = World::new(11, Line::dead());
    let sender = world.client(SENDER, None);
    world.run(Duration::from_millis(3010));
    assert!(world.is_unreachable(sender));
    world.run(seconds(60));
    world.becomes(Line::clean());
    world.run(Duration::from_millis(1310));
    // Two round trips after the hello.
    code(&world, sender);
}

#[test]
fn who_waits_is_told_that_the_server_fell_silent_and_that_it_answers_again() {
    let mut world = World::new(13, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    world.becomes(Line::dead());
    world.run(seconds(25));
    assert_eq!(
        world.is_silent(sender),
        None,
        "a lost keepalive or two are nothing"
    );
    world.run(seconds(15));
    assert_eq!(world.is_silent(sender), Some(true));
    world.becomes(Line::clean());
    world.run(Duration::from_millis(1310));
    assert_eq!(world.is_silent(sender), Some(false));
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(2));
    assert!(world.has_met(receiver), "the code is still good");
}

#[test]
fn guessing_numbers_is_slow_and_strangers_networks_do_not_pay_for_it() {
    let mut world = World::new(12, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let shown = code(&world, sender);
    let guesser = world.client(RECEIVER, None);
    world.run(seconds(1));
    for number in 20..30 {
        let nameplate = Nameplate::new(number).unwrap();
        world.join(guesser, Code { nameplate, ..shown });
        world.run(seconds(1));
    }
    let told = refusals(&world, guesser);
    assert_eq!(told[..5], [Refusal::Nobody; 5]);
    assert!(matches!(told[5], Refusal::TooMany(30..=60)), "{told:?}");
    let receiver = world.client(RECEIVER, Some(shown));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
}

#[test]
fn more_who_wait_than_there_is_room_push_out_the_oldest_and_memory_stays_flat() {
    let mut world = World::new(13, Line::clean());
    let first = world.client(SENDER, None);
    world.run(seconds(1));
    for _ in 0..100 {
        world.client(SENDER, None);
        world.run(Duration::from_millis(50));
    }
    world.run(seconds(5));
    assert!(refusals(&world, first).contains(&Refusal::Expired));
    assert!(world.server.waiting() <= world::WAITING);
    assert!(world.server.known() <= 4 * world::WAITING);
}

#[test]
fn one_network_pushes_out_nobody_else() {
    let mut world = World::new(14, Line::clean());
    let others = [world.client(SENDER, None), world.client(SENDER, None)];
    world.run(seconds(1));
    let first = world.client(SENDER, None);
    for _ in 0..world::WAITING {
        world.beside(first, SENDER);
        // One network may begin only a limited number in a minute.
        world.run(seconds(3));
    }
    assert!(refusals(&world, first).contains(&Refusal::Expired));
    for other in others {
        assert_eq!(refusals(&world, other), []);
    }
}

#[test]
fn a_flood_costs_no_memory_gets_no_long_answer_and_disturbs_no_pair() {
    let mut world = World::new(14, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let known = world.server.known();
    let answered = world.flood(200_000);
    assert_eq!(world.server.known(), known);
    assert!(answered.replies > 0 && answered.longer == 0, "{answered:?}");
    let receiver = world.client(RECEIVER, Some(code(&world, sender)));
    world.run(seconds(2));
    assert_eq!(world.met(sender).peer, world.met(receiver).own);
}

#[test]
fn a_lying_server_has_one_guess_for_each_code() {
    // The server answers a client that waits as if somebody had joined, with a message made from a guess of
    // its own.
    let mut world = World::new(15, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let shown = code(&world, sender);
    for guess in [[7, 7], [8, 8]] {
        let before = code(&world, sender);
        let learnt = world.impersonate(sender, Words::new(guess), "");
        assert_eq!(learnt, None, "a wrong guess opens nothing");
        world.run(seconds(2));
        assert_ne!(
            code(&world, sender).words,
            before.words,
            "and the code is not used again"
        );
    }
    assert_eq!(refusals(&world, sender), [Refusal::WrongWords; 2]);
    assert!(!world.has_met(sender));
    // With the right words (one guess in 65,536) the server would be taken for the peer.
    let right = code(&world, sender);
    assert_ne!(right, shown);
    assert!(world.impersonate(sender, right.words, "").is_some());
}

/// Each guess leads to another code. Without a limit, a server would soon have guessed one.
#[test]
fn a_lying_server_has_five_guesses_in_a_run() {
    let mut world = World::new(17, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    for guess in 0..5 {
        assert_eq!(refusals(&world, sender).len(), guess);
        let wrong = code(&world, sender).words.to_string() == Words::new([7, 7]).to_string();
        let words = Words::new(if wrong { [8, 8] } else { [7, 7] });
        assert_eq!(world.impersonate(sender, words, ""), None);
        world.run(seconds(2));
    }
    assert_eq!(refusals(&world, sender).last(), Some(&Refusal::Guessed));
    let last = code(&world, sender);
    world.run(seconds(60));
    assert_eq!(code(&world, sender), last, "no further code is shown");
    assert!(!world.has_met(sender));
}

#[test]
fn a_moment_far_ahead_is_not_believed() {
    let mut world = World::new(16, Line::clean());
    let sender = world.client(SENDER, None);
    world.run(seconds(1));
    let words = code(&world, sender).words;
    world.impersonate(sender, words, "203.0.113.99:4300");
    world.run(Duration::from_millis(1));
    let met = world.met(sender);
    assert!(met.moment.since(met.at) <= seconds(5), "{met:?}");
}
