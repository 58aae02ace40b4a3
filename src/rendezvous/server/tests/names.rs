//! Clients that meet by name.

use std::time::Duration;

use super::world::{Line, World, refusals};
use super::{RECEIVER, SENDER, seconds};
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::list::NoList;
use crate::rendezvous::meeting::refusal::Refusal;

const SECRET: &str = "sixteen bytes or more";

#[test]
fn who_waits_under_a_name_is_met_by_who_asks_for_it_whoever_comes_first() {
    for seed in 0..40 {
        let line = if seed % 2 == 0 { Line::clean() } else { Line::bad() };
        let mut world = World::new(seed, line);
        let alice = world.named(RECEIVER, "alice", "bob", SECRET);
        world.run(seconds(seed % 7));
        let bob = world.named(SENDER, "Bob", "ALICE", SECRET);
        world.run(seconds(20));
        assert_eq!(world.met(alice).peer, world.met(bob).own, "seed {seed}");
        assert_eq!(world.met(bob).peer, world.met(alice).own, "seed {seed}");
    }
}

#[test]
fn a_name_without_another_waits_for_anybody_and_one_that_is_asked_for_is_found() {
    let mut world = World::new(1, Line::clean());
    let alice = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    let stranger = world.named(SENDER, "", "alice", "");
    world.run(seconds(2));
    assert_eq!(world.met(alice).peer, world.met(stranger).own);

    // A client that waits for a certain name is met by nobody else.
    let carol = world.named(RECEIVER, "carol", "dave", "");
    world.run(seconds(1));
    let eve = world.named(SENDER, "eve", "carol", "");
    let nobody = world.named(SENDER, "", "carol", "");
    world.run(seconds(2));
    assert!(!world.has_met(carol) && !world.has_met(eve));
    assert_eq!(refusals(&world, nobody), [Refusal::NobodyNamed]);
    let dave = world.named(SENDER, "dave", "", "");
    world.run(seconds(2));
    assert_eq!(world.met(carol).peer, world.met(dave).own);
    assert_eq!(world.server.waiting(), 1, "eve");
}

#[test]
fn nobody_under_a_name_is_told_at_once() {
    let mut world = World::new(2, Line::clean());
    let sender = world.named(SENDER, "", "alice", "");
    world.run(Duration::from_millis(210));
    assert_eq!(refusals(&world, sender), [Refusal::NobodyNamed]);
}

#[test]
fn a_name_is_for_one_until_its_owner_is_gone_or_has_met_somebody() {
    let mut world = World::new(3, Line::clean());
    let alice = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    let other = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    assert_eq!(refusals(&world, other), [Refusal::NameTaken]);
    // The owner's computer dies, and the owner comes back.
    world.kill(alice);
    world.run(seconds(26));
    let again = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    let bob = world.named(SENDER, "", "alice", "");
    world.run(seconds(2));
    assert_eq!(world.met(again).peer, world.met(bob).own);
    let next = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    assert!(refusals(&world, next).is_empty());
}

#[test]
fn two_that_do_not_go_together_are_told_so() {
    let mut world = World::new(4, Line::clean());
    let alice = world.named(RECEIVER, "alice", "", "");
    world.run(seconds(1));
    for errand in [RECEIVER, Errand::Chat] {
        let other = world.named(errand, "", "alice", "");
        world.run(seconds(1));
        assert_eq!(refusals(&world, other), [Refusal::SameRole]);
    }
    assert!(refusals(&world, alice).is_empty());
}

#[test]
fn another_secret_is_told_to_both_and_who_waits_for_anybody_waits_on() {
    for secret in ["another secret of both", ""] {
        let mut world = World::new(5, Line::clean());
        let alice = world.named(RECEIVER, "alice", "", SECRET);
        world.run(seconds(1));
        let eve = world.named(SENDER, "eve", "alice", secret);
        world.run(seconds(2));
        assert_eq!(refusals(&world, eve), [Refusal::WrongSecret]);
        assert_eq!(refusals(&world, alice), [Refusal::WrongSecret]);
        let bob = world.named(SENDER, "bob", "alice", SECRET);
        world.run(seconds(2));
        assert_eq!(world.met(alice).peer, world.met(bob).own);
    }
}

#[test]
fn guessing_a_secret_is_slow() {
    let mut world = World::new(6, Line::clean());
    let alice = world.named(RECEIVER, "alice", "", SECRET);
    world.run(seconds(1));
    let eve = world.named(SENDER, "", "alice", "guess 0");
    world.run(seconds(1));
    for guess in 1..20 {
        world.again(eve, SENDER, "", "alice", &format!("guess {guess}"));
        world.run(seconds(1));
    }
    let told = refusals(&world, alice);
    assert!((4..=6).contains(&told.len()), "{told:?}");
    assert!(matches!(refusals(&world, eve).last(), Some(Refusal::TooMany(_))));
}

#[test]
fn names_are_known_again_to_a_server_that_was_started_anew() {
    let mut world = World::new(7, Line::clean());
    let alice = world.named(RECEIVER, "alice", "bob", SECRET);
    world.run(seconds(5));
    world.restart(70);
    let bob = world.named(SENDER, "", "alice", SECRET);
    let carol = world.named(SENDER, "", "carol", SECRET);
    world.run(seconds(15));
    // Bob has no name, and Alice only waits for Bob.
    assert_eq!(refusals(&world, bob), [Refusal::NobodyNamed]);
    assert_eq!(refusals(&world, carol), [Refusal::NobodyNamed]);
    let bob = world.named(SENDER, "bob", "alice", SECRET);
    world.run(seconds(3));
    assert_eq!(world.met(alice).peer, world.met(bob).own);
}

#[test]
fn those_who_know_the_servers_word_learn_who_waits_and_nobody_else_does() {
    let mut world = World::with_token(8, Line::clean(), "sesame");
    assert_eq!(world.list(), Err(NoList::WrongToken));
    world.token = Some(crate::rendezvous::meeting::wire::token_key("sesame"));
    assert_eq!(world.list(), Ok(Vec::new()));
    let mut names: Vec<String> = (0..60).map(|number| format!("name-{number:02}")).collect();
    for name in &names {
        world.named(RECEIVER, name, "", "");
        world.run(Duration::from_millis(100));
    }
    world.run(seconds(75));
    // More names than one answer holds, each from its own network.
    let listed = world.list().expect("a list");
    let listed_names: Vec<String> = listed.iter().map(|one| one.name.to_string()).collect();
    names.sort();
    assert_eq!(listed_names, names);
    assert!(listed.iter().all(|one| !one.busy && one.waited >= seconds(70)));
    let bob = world.named(SENDER, "", "name-07", "");
    world.run(seconds(2));
    assert!(world.has_met(bob));
    let listed = world.list().expect("a list");
    let busy: Vec<&str> = listed
        .iter()
        .filter(|one| one.busy)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(busy, ["name-07"]);

    let mut open = World::new(9, Line::clean());
    assert_eq!(open.list(), Err(NoList::Untold));
    let mut dead = World::new(10, Line::dead());
    assert_eq!(dead.list(), Err(NoList::Unreachable));
}
