//! What goes wrong on the way to a connection, and what must connect all the same; and the one pair of NATs that
//! cannot, and must say so.

use std::time::Duration;

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Network, Place, Plan, Side};
use super::pair::{Consent, Errand, Pair, Report, Swap, run_pair};

/// The hardest ordinary pair: both routers can be spoilt by an early packet.
fn hard() -> Plan {
    Plan::new(Nat::MasqueradeAccept, Nat::MasqueradeAccept)
}

/// From the second paste until both are connected where no slot is waited for, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Builds a network, runs one pair in it and expects success.
fn succeeds(plan: Plan, errand: &Errand) -> Report {
    succeeds_on(&Network::build(plan), errand)
}

fn succeeds_on(network: &Network, errand: &Errand) -> Report {
    let report = run_pair(network, errand);
    assert!(report.succeeded(), "{errand:?}\n{}", report.account());
    println!("connected {:.1?} after the second paste", report.connected);
    report
}

fn with_environment(name: &str, value: &str) -> Errand {
    Errand {
        environment: vec![(name.to_owned(), value.to_owned())],
        ..Errand::default()
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn clocks_a_second_apart_connect() {
    for clock_offset_ms in [[-500, 500], [0, 1000], [1000, 0]] {
        let plan = Plan {
            clock_offset_ms,
            ..hard()
        };
        succeeds(
            plan,
            &Errand {
                second_pastes_after: Duration::from_secs(1),
                ..Errand::default()
            },
        );
    }
}

/// Offices that let one UDP port out and in, and the time.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn one_udp_port_allowed_on_both_sides_connects_as_the_second_user_pastes() {
    for (first, seconds) in [(Side::A, 7), (Side::B, 13)] {
        let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop));
        for side in [Side::A, Side::B] {
            let rules = "table ip office { chain x { type filter hook forward priority -1;
                         udp sport 4300 accept; udp dport 4300 accept; udp sport 123 accept; udp dport 123 accept;
                         meta l4proto udp drop;
}
}";
            network.rules(&network.edge(side), rules);
        }
        let errand = Errand {
            arguments: ["--localport", "4300"].map(str::to_owned).to_vec(),
            second_pastes_after: Duration::from_secs(seconds),
            first,
            ..Errand::default()
        };
        let report = succeeds_on(&network, &errand);
        assert!(
            report.connected.is_some_and(|time| time < AT_ONCE),
            "{}",
            report.account()
        );
        // They go by the port of this computer, and not by the one that is sent to.
        assert!(
            !report.stderr.concat().contains("only to certain ports"),
            "{}",
            report.account()
        );
    }
}

/// Servers of the time answer, and one is minutes off.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn ntp_servers_that_are_minutes_apart_do_not_keep_the_second_user_waiting() {
    let (drop, accept) = (Nat::MasqueradeDrop, Nat::MasqueradeAccept);
    for (n, (a, b)) in [(drop, drop), (accept, accept), (drop, accept), (accept, drop)]
        .into_iter()
        .enumerate()
    {
        let report = succeeds(
            Plan {
                clock_offset_ms: [[0, 300_000], [-313_000, 0]][n % 2],
                ..Plan::new(a, b)
            },
            &Errand {
                second_pastes_after: Duration::from_secs([25, 7, 0, 12][n]),
                first: [Side::A, Side::B][n / 2],
                ..Errand::default()
            },
        );
        assert!(
            report.connected.is_some_and(|time| time < AT_ONCE),
            "{}",
            report.account()
        );
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn without_ntp_the_system_clock_serves() {
    succeeds(hard(), &with_environment("P2PCOPY_NTP", "192.0.2.9"));
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_dead_stun_server_in_front_is_passed_over() {
    let network = Network::build(hard());
    let servers = format!("{},{}", network.dead_stun(), network.stun());
    succeeds_on(&network, &with_environment("P2PCOPY_STUN", &servers));
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_lost_stun_answer_is_asked_for_again() {
    let network = Network::build(hard());
    network.lose_a_stun_answer(Side::A);
    network.lose_a_stun_answer(Side::B);
    succeeds_on(&network, &Errand::default());
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn five_percent_loss_does_not_stop_a_punch() {
    for seed in [1, 2] {
        let direction = Direction {
            delay: Duration::from_millis(40),
            loss: 0.05,
            ..Direction::default()
        };
        let link = LinkPlan {
            seed,
            ..LinkPlan::symmetric(direction)
        };
        succeeds(Plan { link, ..hard() }, &Errand::default());
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_late_second_user_meets_a_first_one_that_gave_up_no_slot() {
    let errand = Errand {
        first: Side::B,
        second_pastes_after: Duration::from_secs(47),
        ..Errand::default()
    };
    succeeds(hard(), &errand);
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn two_hosts_on_one_lan_connect_without_a_slot() {
    for nat in [Nat::MasqueradeDrop, Nat::MasqueradeAccept] {
        let plan = Plan {
            place: Place::OneLan,
            ..Plan::new(nat, nat)
        };
        at_once(&succeeds(plan, &Errand::default()));
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn two_programs_on_one_host_connect_without_a_slot() {
    for nat in [Nat::MasqueradeDrop, Nat::Public] {
        let plan = Plan {
            place: Place::OneHost,
            ..Plan::new(nat, nat)
        };
        at_once(&succeeds(plan, &Errand::default()));
    }
}

/// Well below the mean wait for a slot, and above what a busy machine needs to start a process.
fn at_once(report: &Report) {
    let limit = Duration::from_secs(2);
    assert!(
        report.connected.is_some_and(|time| time < limit),
        "{}",
        report.account()
    );
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_symmetric_nat_connects_to_whoever_filters_nothing() {
    for open in [Nat::Public, Nat::Cone] {
        succeeds(Plan::new(Nat::Symmetric, open), &Errand::default());
        succeeds(Plan::new(open, Nat::Symmetric), &Errand::default());
    }
}

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_symmetric_nat_against_a_filtering_one_without_guesses_fails_in_time_and_says_why() {
    for (a, b) in [
        (Nat::Symmetric, Nat::MasqueradeDrop),
        (Nat::MasqueradeDrop, Nat::Symmetric),
    ] {
        let network = Network::build(Plan::new(a, b));
        let errand = Errand {
            arguments: ["--timeout", "40s", "--no-guess"].map(str::to_owned).to_vec(),
            ..Errand::default()
        };
        let report = run_pair(&network, &errand);
        assert_eq!(report.exits, [Ok(Some(3)), Ok(Some(3))], "{}", report.account());
        assert!(report.took < Duration::from_secs(45), "{}", report.account());
        for said in &report.stderr {
            assert!(
                said.to_lowercase().contains("symmetric"),
                "the reason is missing: {}",
                report.account()
            );
        }
    }
}

/// Nothing but the words vouches for the other side then, so both users compare them.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn with_ip_and_port_alone_both_users_compare_words() {
    let network = Network::build(Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeAccept));
    let errand = Errand {
        swap: Swap::Bare,
        consent: Consent::Beforehand,
        limit: Duration::from_secs(120),
        ..Errand::default()
    };
    let mut pair = Pair::start(&network, &errand).unwrap_or_else(|error| panic!("{error}"));
    // Only one port pair is known, and its slot comes every 40 s.
    let words = [&pair.sender, &pair.receiver].map(|peer| {
        let asked = peer.wait_for("other screen show ", Duration::from_secs(60));
        asked.unwrap_or_else(|error| panic!("{error}"));
        peer.wait_for("[y/N]", Duration::from_secs(1))
            .unwrap_or_else(|error| panic!("{error}"));
        let said = peer.stderr();
        let words = said
            .split("other screen show ")
            .nth(1)
            .and_then(|rest| rest.split('?').next());
        words.map(str::to_owned).expect("just seen")
    });
    assert_eq!(words[0], words[1]);
    pair.sender.enter("y");
    pair.receiver.enter("y");
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    println!("{:?}, connected after {:.1?}", words[0], report.connected);
}
