//! A connection that is lost, and lines on which one is nearly lost: with the real programs, and an exact file in the end.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ends::under_way;
use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::pair::{Errand, Pair, run_pair};

/// What is left of a transfer takes up to 15 s; whoever has to find the other again may need two slots for it.
const SOON: Duration = Duration::from_secs(90);

/// Both end well, and soon.
fn goes_on(pair: Pair) {
    let began = Instant::now();
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    let took = began.elapsed();
    println!("done after {took:.1?}");
    assert!(took < SOON, "{took:?}\n{}", report.account());
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// Unlike a line that goes dark elsewhere, this one takes the route with it: every send fails.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_cable_pulled_for_twenty_seconds_does_not_end_a_transfer() {
    for (side, host) in [(Side::A, "a"), (Side::B, "b")] {
        let (network, pair) = under_way();
        assert_eq!(network.host(side), network.name(host));
        network.configure(host, &lines(&["link set dev eth0 down"]));
        thread::sleep(Duration::from_secs(20));
        network.configure(
            host,
            &lines(&["link set dev eth0 up", "route replace default via 192.168.1.1"]),
        );
        goes_on(pair);
    }
}

/// The same home, but another address in it, as when a laptop leaves the Wi-Fi for a cable.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn another_address_in_the_same_home_does_not_end_a_transfer() {
    for (side, host, old) in [(Side::A, "a", "192.168.1.10"), (Side::B, "b", "192.168.1.20")] {
        let (network, pair) = under_way();
        assert_eq!(network.host_address(side), old);
        network.configure(
            host,
            &lines(&[
                &format!("address del {old}/24 dev eth0"),
                "address add 192.168.1.77/24 dev eth0",
                "route add default via 192.168.1.1",
            ]),
        );
        goes_on(pair);
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn both_programs_stopped_at_different_times_go_on() {
    let (_network, pair) = under_way();
    pair.sender.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(12));
    pair.receiver.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(12));
    pair.sender.signal(Signal::CONT);
    thread::sleep(Duration::from_secs(12));
    pair.receiver.signal(Signal::CONT);
    goes_on(pair);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn thirty_percent_loss_and_a_round_trip_of_800_ms_carry_a_file() {
    let line = Direction {
        rate: 20_000_000,
        queue: 200_000,
        ..Direction::default()
    };
    for (loss, delay) in [(0.3, 20), (0.0, 400), (0.05, 400)] {
        let direction = Direction {
            loss,
            delay: Duration::from_millis(delay),
            queue: if delay > 100 { 2_000_000 } else { line.queue },
            ..line
        };
        let plan = Plan {
            link: LinkPlan::symmetric(direction),
            ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
        };
        let network = Network::build(plan);
        let errand = Errand {
            size: 5_000_000,
            ..Errand::default()
        };
        let report = run_pair(&network, &errand);
        assert!(report.succeeded(), "{loss} {delay}\n{}", report.account());
        let took = report.took - report.connected.expect("it succeeded");
        println!("loss {loss}, one way {delay} ms: {took:.1?} from the connection to the end");
        assert!(
            took < Duration::from_secs(30),
            "{loss} {delay}\n{}",
            report.account()
        );
    }
}
