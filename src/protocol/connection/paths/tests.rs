use std::collections::HashSet;
use std::net::SocketAddr;

use super::*;

const PROBE_TIMEOUT: Duration = Duration::from_millis(50);
const KEY: [u8; 32] = [7; 32];

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

/// A path of our first socket.
fn path(port: u16) -> Path {
    Path {
        local: 0,
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

const FIRST: u16 = 1;
const OTHER: u16 = 2;

fn paths() -> Paths {
    Paths::new(at(0), path(FIRST), Role::Receiver, KEY.into())
}

/// The first path is proven, and the peer was heard on the other one.
fn heard_elsewhere(bytes: usize) -> Paths {
    let mut paths = paths();
    let token = paths.token(at(0), path(FIRST), 0);
    paths.on_response(at(0), path(FIRST), token, PROBE_TIMEOUT);
    paths.on_packet(at(0), path(OTHER), bytes, PROBE_TIMEOUT);
    paths
}

fn prove(paths: &mut Paths, now: Time, port: u16) {
    let token = paths.token(now, path(port), 0);
    paths.on_response(now, path(port), token, PROBE_TIMEOUT);
}

/// The path frames sent until `end`, and when.
fn sent(paths: &mut Paths, end: Time, silent: bool) -> Vec<(Time, PathFrame)> {
    let (mut now, mut all) = (at(0), Vec::new());
    loop {
        while let Some(frame) = paths.poll(now, silent) {
            paths.on_sent(frame.path, u64::from(frame.size));
            all.push((now, frame));
        }
        match paths.timeout(silent) {
            Some(next) if next <= end => now = next.max(now + Duration::from_micros(1)),
            _ => return all,
        }
    }
}

#[test]
fn a_challenge_is_repeated_at_growing_intervals_until_it_is_answered() {
    let mut paths = heard_elsewhere(50_000);
    let times: Vec<u64> = sent(&mut paths, at(4000), false)
        .iter()
        .map(|(when, frame)| {
            assert_eq!((frame.path, frame.kind), (path(OTHER), frame::PATH_CHALLENGE));
            when.as_nanos() / 1_000_000
        })
        .collect();
    assert_eq!(times, [0, 50, 150, 350, 750, 1550, 2550, 3550]);
    prove(&mut paths, at(4000), OTHER);
    assert!(sent(&mut paths, at(60_000), false).is_empty());
}

#[test]
fn no_token_tells_another_one() {
    let hosts = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[2001:db8::1]:1"];
    let mut tokens = HashSet::new();
    let mut count = 0;
    for key in [[7; 32], [8; 32]] {
        let paths = Paths::new(at(0), path(FIRST), Role::Receiver, key.into());
        for (local, host) in [0, 1]
            .into_iter()
            .flat_map(|local| hosts.map(|host| (local, host)))
        {
            let remote = host.parse().unwrap();
            for seconds in [0, 16, 32] {
                tokens.insert(paths.probe(at(seconds * 1000), Path { local, remote }).token);
                count += 1;
            }
        }
    }
    assert_eq!(tokens.len(), count);
    // The difference between two tokens does not tell another one either.
    let paths = paths();
    let ports: Vec<u64> = (0..100)
        .map(|port| paths.probe(at(0), path(port)).token)
        .collect();
    let steps: HashSet<u64> = ports.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert_eq!(steps.len(), 99);
}

#[test]
fn a_path_that_is_not_proven_gets_three_times_what_came_from_it() {
    // This holds for the first path, too: at the beginning the bytes of the handshake count, then those that
    // come.
    for (first, came, room) in [(true, 0, 195), (true, 100, 495), (false, 100, 300)] {
        let port = if first { FIRST } else { OTHER };
        let mut paths = match (first, came) {
            (true, _) => paths(),
            (false, came) => heard_elsewhere(came),
        };
        if first && came > 0 {
            paths.on_packet(at(0), path(FIRST), came, PROBE_TIMEOUT);
        }
        if first {
            assert_eq!(paths.room(), room);
        }
        let frames = sent(&mut paths, at(50_000), false);
        let bytes: u64 = frames.iter().map(|(_, frame)| u64::from(frame.size)).sum();
        assert!(frames.iter().all(|(_, frame)| frame.path == path(port)));
        assert!(
            bytes <= room && bytes + u64::from(SMALL) > room,
            "{bytes} of {room}"
        );
        prove(&mut paths, at(0), port);
        let known = paths.known.iter().find(|k| k.path == path(port)).unwrap();
        assert_eq!(known.room(), u64::MAX);
    }
}

#[test]
fn a_silent_peer_is_asked_once_a_second_on_each_path_for_a_small_datagram() {
    let mut paths = heard_elsewhere(30);
    let frames = sent(&mut paths, at(9_500), true);
    for port in [FIRST, OTHER] {
        let there: Vec<&(Time, PathFrame)> = frames
            .iter()
            .filter(|(_, frame)| frame.path == path(port))
            .collect();
        assert_eq!(there.len(), 10);
        assert!(there.iter().all(|(_, frame)| frame.size == SMALL));
    }
}

#[test]
fn a_response_proves_the_path_its_challenge_went_to_on_whatever_path_it_comes() {
    let is_proven = |paths: &Paths, port| {
        let known = paths.known.iter().find(|k| k.path == path(port));
        known.is_some_and(|k| k.proven.is_some())
    };
    let mut paths = heard_elsewhere(100);
    paths.on_packet(at(0), path(3), 100, PROBE_TIMEOUT);
    let token = paths.token(at(0), path(OTHER), 0);
    for wrong in [0, token ^ 1, token.swap_bytes(), paths.token(at(0), path(99), 0)] {
        paths.on_response(at(1), path(OTHER), wrong, PROBE_TIMEOUT);
    }
    assert!(!is_proven(&paths, OTHER) && !is_proven(&paths, 3));
    paths.on_response(at(1), path(3), token, PROBE_TIMEOUT);
    assert!(is_proven(&paths, OTHER) && !is_proven(&paths, 3));

    // A token is valid for at least 16 s and at most 32 s.
    for (age, counts) in [(15_000, true), (31_000, true), (32_000, false), (100_000, false)] {
        let mut paths = heard_elsewhere(100);
        paths.on_response(at(age), path(OTHER), token, PROBE_TIMEOUT);
        assert_eq!(is_proven(&paths, OTHER), counts, "after {age} ms");
    }
    // A token also proves a path that was forgotten.
    let mut paths = heard_elsewhere(100);
    let token = paths.token(at(0), path(77), 0);
    paths.on_response(at(1), path(OTHER), token, PROBE_TIMEOUT);
    assert!(!is_proven(&paths, 77), "another path's response brings none back");
    paths.on_response(at(1), path(77), token, PROBE_TIMEOUT);
    assert!(is_proven(&paths, 77));
}

#[test]
fn the_path_in_use_stays_as_long_as_it_answers_or_the_other_does_not() {
    let wait = Paths::first_wait(PROBE_TIMEOUT);
    // The path in use answers, the other one does not.
    let mut paths = heard_elsewhere(100);
    paths.on_newest(at(0), PacketNumber::new(5), path(OTHER), PROBE_TIMEOUT);
    for ms in (0..8000).step_by(10) {
        assert_eq!(paths.next_move(at(ms)), None);
    }
    // Both answer.
    prove(&mut paths, at(1), OTHER);
    prove(&mut paths, at(2), FIRST);
    for ms in (2..2 + RECHECK.as_millis() as u64).step_by(10) {
        assert_eq!(paths.next_move(at(ms)), None);
    }
    // Only the other one answers.
    let end = at(2) + RECHECK + wait;
    while paths.poll(at(2) + RECHECK, false).is_some() {}
    assert_eq!(paths.next_move(end), Some(path(OTHER)));
    paths.move_to(end, path(OTHER));
    assert_eq!(paths.next_move(end), None);
    // The peer is back on the first path.
    paths.on_packet(end, path(OTHER), 100, PROBE_TIMEOUT);
    paths.on_newest(end, PacketNumber::new(4), path(FIRST), PROBE_TIMEOUT);
    assert_eq!(paths.next_move(end + wait), None, "an older packet says nothing");
    paths.on_newest(end, PacketNumber::new(6), path(FIRST), PROBE_TIMEOUT);
    assert_eq!(paths.next_move(end + wait), None, "nothing was asked");
    while paths.poll(end, false).is_some() {}
    assert_eq!(paths.next_move(end + wait), Some(path(FIRST)));
}

/// The sender waits for two answers, also when it asks again after a while, and follows only a peer that it has heard since.
#[test]
fn each_challenge_has_its_time_before_the_peer_is_followed() {
    let wait = Paths::first_wait(PROBE_TIMEOUT);
    let mut paths = Paths::new(at(0), path(FIRST), Role::Sender, KEY.into());
    prove(&mut paths, at(0), FIRST);
    paths.on_packet(at(0), path(OTHER), 100, PROBE_TIMEOUT);
    prove(&mut paths, at(0), OTHER);
    for (again, is_heard) in [(0, true), (1, true), (2, false)] {
        let began = at(0) + RECHECK * again;
        if is_heard {
            let number = PacketNumber::new(5 + u64::from(again));
            paths.on_newest(began, number, path(OTHER), PROBE_TIMEOUT);
        }
        assert!(paths.poll(began, false).is_some());
        assert!(paths.poll(began + wait, false).is_some(), "it asks again");
        let both_had_time = began + wait * 3;
        assert_eq!(paths.next_move(both_had_time - Duration::from_millis(1)), None);
        let follows = paths.next_move(both_had_time);
        assert_eq!(follows, is_heard.then_some(path(OTHER)));
        prove(&mut paths, began, FIRST);
    }
}

#[test]
fn a_packet_from_the_path_in_use_ends_the_doubt() {
    let mut paths = heard_elsewhere(100);
    prove(&mut paths, at(0), OTHER);
    paths.on_newest(at(0), PacketNumber::new(5), path(OTHER), PROBE_TIMEOUT);
    paths.on_packet(at(1), path(FIRST), 100, PROBE_TIMEOUT);
    paths.on_newest(at(1), PacketNumber::new(6), path(FIRST), PROBE_TIMEOUT);
    assert_eq!(paths.next_move(at(5000)), None);
}

#[test]
fn a_first_path_that_does_not_answer_gives_way_to_one_that_does() {
    let mut paths = paths();
    paths.on_packet(at(0), path(OTHER), 100, PROBE_TIMEOUT);
    assert_eq!(paths.next_move(at(5000)), None);
    prove(&mut paths, at(5000), OTHER);
    assert_eq!(paths.next_move(at(5000)), Some(path(OTHER)));
}

#[test]
fn a_thousand_paths_take_few_places_and_none_of_a_proven_one() {
    let mut paths = heard_elsewhere(100);
    prove(&mut paths, at(0), OTHER);
    for port in 10..1010 {
        let now = at(u64::from(port));
        paths.on_packet(now, path(port), 100, PROBE_TIMEOUT);
        while paths.poll(now, false).is_some() {}
        assert!(paths.known.len() <= MAX_PATHS);
    }
    assert!(
        [FIRST, OTHER]
            .iter()
            .all(|port| paths.known.iter().any(|k| k.path == path(*port)))
    );
}

#[test]
fn answers_are_few_and_no_larger_than_their_challenges() {
    let mut paths = heard_elsewhere(0);
    for token in 0..100 {
        let bytes = if token == 0 { 9000 } else { 100 };
        paths.on_challenge(path(99), token, bytes);
    }
    let answers = sent(&mut paths, at(1000), false);
    let answers: Vec<_> = answers
        .iter()
        .filter(|(_, frame)| frame.kind == frame::PATH_RESPONSE)
        .collect();
    let tokens: Vec<u64> = answers.iter().map(|(_, frame)| frame.token).collect();
    assert_eq!(tokens, Vec::from_iter(0..MAX_ANSWERS as u64));
    assert_eq!((answers[0].1.size, answers[1].1.size), (BASE_MTU, 100));
    assert!(
        answers
            .windows(2)
            .all(|w| w[1].0.since(w[0].0) >= ANSWER_INTERVAL)
    );
}

#[test]
fn a_path_by_way_of_a_server_is_left_for_a_direct_one_and_taken_when_that_is_silent() {
    let wait = Duration::from_millis(100);
    let at = |seconds: u64| at(seconds * 1000);
    let (relay, direct) = (path(1), path(2));
    let mut paths = Paths::new(at(0), relay, Role::Receiver, KEY.into());
    paths.set_relay(relay);
    let answer = |paths: &mut Paths, now, path| {
        paths.on_packet(now, path, 100, wait);
        let token = paths.token(now, path, 0);
        paths.on_response(now, path, token, PROBE_TIMEOUT);
    };
    answer(&mut paths, at(1), relay);
    paths.on_packet(at(1), direct, 100, wait);
    assert_eq!(paths.next_move(at(1)), None, "it has not answered");
    answer(&mut paths, at(2), direct);
    assert_eq!(paths.next_move(at(2)), Some(direct));
    paths.move_to(at(2), direct);
    // The relay still works, and the peer still uses it: there is no reason to go back.
    answer(&mut paths, at(3), relay);
    assert_eq!(paths.next_move(at(3)), None);
    // Nothing comes on the direct path.
    answer(&mut paths, at(14), relay);
    assert_eq!(paths.next_move(at(14)), Some(relay));
    paths.move_to(at(14), relay);
    answer(&mut paths, at(20), direct);
    assert_eq!(paths.next_move(at(20)), None, "it may carry small packets only");
    assert_eq!(paths.next_move(at(44)), Some(direct));
}

/// A driver that closes unused sockets must keep the one on which a silent peer was heard again.
#[test]
fn a_peer_heard_elsewhere_leaves_the_path_unsettled_until_the_move() {
    let mut paths = paths();
    assert!(paths.is_settled());
    paths.on_packet(at(9_000), path(OTHER), 1_000, PROBE_TIMEOUT);
    assert!(!paths.is_settled());
    prove(&mut paths, at(9_050), OTHER);
    paths.move_to(at(9_050), path(OTHER));
    assert!(paths.is_settled());
    paths.on_packet(at(9_100), path(FIRST), 1_000, PROBE_TIMEOUT);
    paths.on_packet(at(9_200), path(OTHER), 1_000, PROBE_TIMEOUT);
    assert!(paths.is_settled());
}
