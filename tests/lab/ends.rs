//! How a transfer ends early: a peer that is killed, one that is told to stop, a line that goes dark.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::driver::Peer;
use super::link::{Direction, LinkPlan};
use super::matrix::TWO_ROWS;
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::pair::{Consent, Errand, Pair};

/// How long the other side may take to notice a peer that vanished, or to say so.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// A pair in mid-transfer between two plain home routers.
pub(crate) fn under_way() -> (Network, Pair) {
    under_way_between(Nat::MasqueradeDrop, Nat::MasqueradeDrop, &[])
}

/// A pair in mid-transfer: 20 MB through 10 Mbit/s take over 16 s.
fn under_way_between(a: Nat, b: Nat, arguments: &[&str]) -> (Network, Pair) {
    let direction = Direction {
        rate: 10_000_000,
        delay: Duration::from_millis(20),
        queue: 100_000,
        ..Direction::default()
    };
    let plan = Plan {
        link: LinkPlan::symmetric(direction),
        ..Plan::new(a, b)
    };
    let network = Network::build(plan);
    let errand = Errand {
        size: 20_000_000,
        limit: Duration::from_secs(240),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        ..Errand::default()
    };
    let pair = Pair::start(&network, &errand).unwrap_or_else(|error| panic!("{error}"));
    for peer in [&pair.sender, &pair.receiver] {
        peer.connected(Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let before = network.link().counters()[0].delivered_bytes;
    let end = Instant::now() + Duration::from_secs(10);
    while network.link().counters()[0].delivered_bytes < before + 2_000_000 {
        let (sender, receiver) = (pair.sender.stderr(), pair.receiver.stderr());
        assert!(
            Instant::now() < end,
            "no data flows\n--- sender ---\n{sender}\n--- receiver ---\n{receiver}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (network, pair)
}

/// The survivor ends with a failure, or says that its peer fell silent, while it tries to find it again.
fn notices(survivor: &mut Peer) {
    let start = Instant::now();
    while start.elapsed() < NOTICE_LIMIT {
        if let Ok(code) = survivor.wait(Duration::from_millis(200)) {
            assert!(
                !matches!(code, Some(0) | None),
                "ended with {code:?}:\n{}",
                survivor.stderr()
            );
            println!("ended with {code:?} after {:.1?}", start.elapsed());
            return;
        }
        let said = survivor.stderr().to_lowercase();
        if [
            "silent",
            "silence",
            "lost the",
            "was lost",
            "is gone",
            "no answer",
        ]
        .iter()
        .any(|word| said.contains(word))
        {
            println!("said so after {:.1?}", start.elapsed());
            return;
        }
    }
    panic!(
        "still believes in its peer after {NOTICE_LIMIT:?}:\n{}",
        survivor.stderr()
    );
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_killed_receiver_is_noticed() {
    let (_network, mut pair) = under_way();
    pair.receiver.signal(Signal::KILL);
    notices(&mut pair.sender);
    assert!(
        !pair.received().exists(),
        "the final name must not hold part of a file"
    );
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_killed_sender_is_noticed() {
    let (_network, mut pair) = under_way();
    pair.sender.signal(Signal::KILL);
    notices(&mut pair.receiver);
    assert!(
        !pair.received().exists(),
        "the final name must not hold part of a file"
    );
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn ctrl_c_and_a_closed_terminal_end_both_sides_at_once() {
    for (sender_stops, signal) in [
        (true, Signal::INT),
        (false, Signal::INT),
        (true, Signal::HUP),
        (false, Signal::HUP),
    ] {
        let (_network, mut pair) = under_way();
        if sender_stops {
            &pair.sender
        } else {
            &pair.receiver
        }
        .signal(signal);
        let received = pair.received().exists();
        let exits = [&mut pair.sender, &mut pair.receiver].map(|peer| peer.wait(Duration::from_secs(5)));
        let expected = if sender_stops {
            [Ok(Some(130)), Ok(Some(4))]
        } else {
            [Ok(Some(4)), Ok(Some(130))]
        };
        let (sender, receiver) = (pair.sender.stderr(), pair.receiver.stderr());
        assert_eq!(
            exits, expected,
            "\n--- sender ---\n{sender}\n--- receiver ---\n{receiver}"
        );
        assert!(!received, "the final name must not hold part of a file");
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_lost_peer_is_looked_for_as_long_as_timeout_says() {
    let (_network, mut pair) =
        under_way_between(Nat::MasqueradeDrop, Nat::MasqueradeDrop, &["--timeout", "15s"]);
    let start = Instant::now();
    pair.receiver.signal(Signal::KILL);
    let exit = pair.sender.wait(Duration::from_secs(40));
    assert!(
        matches!(exit, Ok(Some(code)) if code != 0),
        "{exit:?}\n{}",
        pair.sender.stderr()
    );
    let took = start.elapsed();
    println!("given up after {took:.1?}");
    // Silence shows after 8 s.
    assert!((22..30).contains(&took.as_secs()), "{took:?}");
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_program_stopped_for_over_two_minutes_goes_on() {
    let (_network, pair) = under_way();
    pair.receiver.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(130));
    pair.receiver.signal(Signal::CONT);
    let light = Instant::now();
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    println!("done {:.1?} after it went on", light.elapsed());
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_line_dark_for_ten_seconds_costs_no_more_than_that() {
    goes_on_after_darkness_of(Duration::from_secs(10));
}

/// Longer than an unanswered NAT entry lives (30 s): it takes more than waiting.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_line_dark_for_a_minute_does_not_end_a_transfer() {
    goes_on_after_darkness_of(Duration::from_secs(60));
}

fn goes_on_after_darkness_of(time: Duration) {
    let (network, pair) = under_way();
    network.link().black_out(true);
    std::thread::sleep(time);
    network.link().black_out(false);
    let light = Instant::now();
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    // What was left takes up to 15 s; to find each other again, no more than a slot may be lost.
    let rest = light.elapsed();
    println!("done {rest:.1?} after the light came back");
    assert!(rest < Duration::from_secs(30), "{}", report.account());
}

/// B's router lets strangers in; behind one that filters, the new port could not be learnt.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_gives_out_a_new_port_does_not_end_a_transfer() {
    let (network, pair) = under_way_between(Nat::MasqueradeDrop, Nat::Cone, &[]);
    network.rebind(Side::A);
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
}

/// Behind two routers that filter, the new ports have to be guessed, on either side.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_router_that_becomes_symmetric_in_mid_transfer_is_found_again_by_guesses() {
    for (side, other) in [
        (Side::A, Nat::MasqueradeDrop),
        (Side::B, Nat::MasqueradeDrop),
        (Side::A, Nat::MasqueradeAccept),
    ] {
        let (network, pair) = under_way_between(other, other, &[]);
        network.rebind(side);
        let changed = Instant::now();
        let report = pair.finish();
        assert!(report.succeeded(), "{side:?} {other}: {}", report.account());
        // Tries begin after 16 s, and what was left takes up to 15 s.
        let rest = changed.elapsed();
        println!("{side:?} {other}: done after {rest:.1?}");
        assert!(rest < TWO_ROWS + Duration::from_secs(31), "{}", report.account());
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_receiver_who_is_asked_decides() {
    for (answer, exit, there) in [("n", 4, false), ("y", 0, true)] {
        let network = Network::build(Plan::new(Nat::Cone, Nat::MasqueradeDrop));
        let errand = Errand {
            consent: Consent::WhenAsked,
            ..Errand::default()
        };
        let mut pair = Pair::start(&network, &errand).unwrap_or_else(|error| panic!("{error}"));
        let asked = pair
            .receiver
            .wait_for("Accept vm.img, 300.0 kB? [Y/n]", Duration::from_secs(30));
        asked.unwrap_or_else(|error| panic!("{error}\n--- sender ---\n{}", pair.sender.stderr()));
        pair.receiver.enter(answer);
        let report = pair.finish();
        assert_eq!(
            report.exits,
            [Ok(Some(exit)), Ok(Some(exit))],
            "{}",
            report.account()
        );
        assert_eq!(report.exact, there, "{}", report.account());
    }
}
