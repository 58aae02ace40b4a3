//! The relay alone.

use super::*;
use crate::rendezvous::meeting::wire::BindWant;

fn path(number: u16) -> Path {
    Path {
        local: 0,
        remote: std::net::SocketAddr::from(([203, 0, 113, 7], number)),
    }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn wish(number: u16, end: End, ticket: u8) -> Bind {
    Bind {
        end,
        want: BindWant::Bind,
        session: SessionId(u64::from(number)),
        cookie: [0; 16],
        proof: [0; 16],
        ticket: [ticket; 16],
    }
}

fn bind(relay: &mut Relay, now: Time, number: u16, end: End, ticket: u8) -> Vec<Binding> {
    let answers = relay.bind(now, path(number), &wish(number, end, ticket));
    answers.into_iter().map(|(_, answer)| answer.binding).collect()
}

/// A relay with two joined ends: ports 1 and 2.
fn joined(limits: RelayLimits) -> Relay {
    let mut relay = Relay::new(limits, at(0));
    assert_eq!(bind(&mut relay, at(0), 1, End::Owner, 7), [Binding::Waiting]);
    let told = bind(&mut relay, at(0), 2, End::Joiner, 7);
    assert_eq!(told, [Binding::Joined, Binding::Joined]);
    relay
}

fn left(relay: &mut Relay) -> Vec<(u16, usize, Vec<u8>)> {
    let mut buf = Vec::new();
    std::iter::from_fn(|| {
        let (to, segment) = relay.poll(&mut buf)?;
        Some((to.remote.port(), segment, buf.clone()))
    })
    .collect()
}

#[test]
fn what_one_end_sends_leaves_unchanged_to_the_other_and_nobody_elses_does() {
    let mut relay = joined(RelayLimits::FRIENDS);
    let bytes: Vec<u8> = (0..=255).cycle().take(3_300).collect();
    relay.pass(at(1), path(1), &bytes, 1_200);
    relay.pass(at(1), path(2), b"back", 4);
    relay.pass(at(1), path(3), b"a stranger's", 12);
    assert_eq!(left(&mut relay), [(2, 1_200, bytes), (1, 4, b"back".to_vec())]);
}

#[test]
fn ends_of_different_tickets_and_an_end_twice_are_not_joined() {
    let mut relay = Relay::new(RelayLimits::FRIENDS, at(0));
    bind(&mut relay, at(0), 1, End::Owner, 7);
    assert_eq!(bind(&mut relay, at(0), 2, End::Joiner, 8), [Binding::Waiting]);
    // The same end binds from another address, so it has moved there.
    assert_eq!(bind(&mut relay, at(0), 3, End::Owner, 7), [Binding::Waiting]);
    relay.pass(at(1), path(1), b"x", 1);
    assert_eq!(left(&mut relay), []);
    assert_eq!(relay.ends.len(), 2);
}

#[test]
fn an_end_that_moved_is_reached_at_its_new_address() {
    let mut relay = joined(RelayLimits::FRIENDS);
    assert_eq!(
        bind(&mut relay, at(1), 5, End::Joiner, 7),
        [Binding::Joined, Binding::Joined]
    );
    relay.pass(at(1), path(1), b"x", 1);
    relay.pass(at(1), path(2), b"y", 1);
    assert_eq!(left(&mut relay), [(5, 1, b"x".to_vec())]);
}

#[test]
fn a_pair_sends_at_its_rate_and_keeps_whole_datagrams() {
    let mut relay = joined(RelayLimits {
        pair_rate: Some(1_000_000),
        ..RelayLimits::FRIENDS
    });
    for millis in 0..10_000 {
        relay.pass(at(millis), path(1), &[0; 12_000], 1_200);
        for (_, segment, bytes) in left(&mut relay) {
            assert_eq!(bytes.len() % segment, 0);
        }
    }
    let passed = relay.relayed();
    assert!((9_900_000..10_300_000).contains(&passed.bytes), "{passed:?}");
    assert_eq!(passed.bytes + passed.dropped, 120_000_000);
}

#[test]
fn all_pairs_together_send_at_the_total_rate() {
    let mut relay = joined(RelayLimits {
        total_rate: Some(1_000_000),
        ..RelayLimits::FRIENDS
    });
    bind(&mut relay, at(0), 3, End::Owner, 9);
    bind(&mut relay, at(0), 4, End::Joiner, 9);
    for millis in 0..10_000 {
        relay.pass(at(millis), path(1), &[0; 1_200], 1_200);
        relay.pass(at(millis), path(3), &[0; 1_200], 1_200);
        left(&mut relay);
    }
    assert!((9_900_000..10_300_000).contains(&relay.relayed().bytes));
}

#[test]
fn two_hundred_pairs_send_a_megabit_a_second_each_and_lose_nothing() {
    let mut relay = Relay::new(RelayLimits::STRANGERS, at(0));
    let pairs = 200;
    let path = |number: u16| Path {
        local: 0,
        remote: std::net::SocketAddr::from(([203, 0, 113, number as u8], number)),
    };
    for number in 0..2 * pairs {
        let end = if number % 2 == 0 { End::Owner } else { End::Joiner };
        relay.bind(at(0), path(number), &wish(number, end, (number / 2) as u8));
    }
    // 1,250 bytes each 10 ms, both ways in turn, and all pairs at the same moment: the worst that can be.
    for tick in 0..1_000 {
        for pair in 0..pairs {
            let from = 2 * pair + tick % 2;
            assert!(
                relay
                    .pass(at(10 * u64::from(tick)), path(from), &[0; 1_250], 1_250)
                    .is_empty()
            );
        }
        assert_eq!(left(&mut relay).len(), usize::from(pairs));
    }
    assert_eq!(relay.relayed().dropped, 0);
    assert_eq!(relay.relayed().bytes, 200 * 1_250_000);
}

#[test]
fn a_pair_that_has_sent_all_it_may_is_told_so_and_sends_no_more() {
    let mut relay = joined(RelayLimits {
        pair_bytes: Some(5_000),
        ..RelayLimits::FRIENDS
    });
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(relay.pass(at(1), path(1), &[0; 1_200], 1_200));
    }
    let told: Vec<_> = told
        .into_iter()
        .map(|(to, b)| (to.remote.port(), b.binding))
        .collect();
    assert_eq!(told, [(1, Binding::Spent), (2, Binding::Spent)]);
    assert_eq!(left(&mut relay).len(), 4);
    assert_eq!(bind(&mut relay, at(2), 1, End::Owner, 7), [Binding::Spent]);
    assert_eq!(relay.joined(), 0);
}

#[test]
fn a_queue_that_nobody_empties_drops_and_takes_no_more_memory() {
    let mut relay = joined(RelayLimits::FRIENDS);
    for _ in 0..10_000 {
        relay.pass(at(1), path(1), &[0; 12_000], 1_200);
    }
    assert!(relay.queued <= MAX_QUEUED && relay.relayed().bytes > 1 << 20);
    assert!(relay.relayed().dropped > 100_000_000);
    left(&mut relay);
    assert_eq!(relay.queued, 0);
    for _ in 0..100_000 {
        relay.pass(at(1), path(1), b"x", 1);
    }
    assert!(relay.queue.len() <= MAX_QUEUED / BURST, "{}", relay.queue.len());
}

#[test]
fn who_sends_but_does_not_show_again_that_it_receives_is_forgotten() {
    let mut relay = joined(RelayLimits::FRIENDS);
    for second in 1..60 {
        relay.pass(at(1_000 * second), path(1), b"x", 1);
    }
    assert_eq!(bind(&mut relay, at(59_000), 2, End::Joiner, 7), [Binding::Joined]);
    relay.sweep(at(60_000));
    assert_eq!(relay.ends.keys().collect::<Vec<_>>(), [&path(2)]);
}

#[test]
fn one_network_cannot_take_all_the_room() {
    let mut relay = Relay::new(RelayLimits::FRIENDS, at(0));
    let begun = (0..RelayLimits::FRIENDS.pairs as u16)
        .filter(|number| {
            let wish = Bind {
                ticket: u128::from(*number).to_be_bytes(),
                ..wish(*number, End::Owner, 0)
            };
            relay.bind(at(0), path(*number), &wish)[0].1.binding == Binding::Waiting
        })
        .count();
    assert_eq!(begun, MOST_OF_ONE_NETWORK);
    let elsewhere = Path {
        local: 0,
        remote: std::net::SocketAddr::from(([203, 0, 113, 8], 1)),
    };
    let answers = relay.bind(at(0), elsewhere, &wish(1, End::Owner, 255));
    assert_eq!(answers[0].1.binding, Binding::Waiting);
}

#[test]
fn who_is_silent_or_leaves_is_forgotten_and_there_is_room_for_so_many_only() {
    let mut relay = Relay::new(
        RelayLimits {
            pairs: 2,
            ..RelayLimits::FRIENDS
        },
        at(0),
    );
    bind(&mut relay, at(0), 1, End::Owner, 7);
    bind(&mut relay, at(0), 2, End::Owner, 8);
    assert_eq!(bind(&mut relay, at(0), 3, End::Owner, 9), [Binding::Full]);
    relay.leave(path(1));
    assert_eq!(bind(&mut relay, at(30_000), 3, End::Owner, 9), [Binding::Waiting]);
    relay.sweep(at(60_000));
    assert_eq!((relay.pairs.len(), relay.ends.len()), (1, 1));
    relay.sweep(at(90_000));
    assert_eq!((relay.pairs.len(), relay.ends.len()), (0, 0));
}
