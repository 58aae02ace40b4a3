//! What users do beside the plain errand: give the same commands again after a crash, or read out ip:port alone.

use std::time::Duration;

use super::nat::Nat;
use super::network::{Network, Place, Plan};
use super::pair::{Consent, Errand, Pair, Swap};

/// Kills of one run, unless `LAB_KILLS` names another number.
const KILLS: u64 = 10;
/// Content a run of kills moves, at [`RATE`]: about five seconds, if nobody died.
const SIZE: usize = 50_000_000;
const RATE: &str = "80mbit";

/// Each transfer is killed after a while that is different each time; when one is complete, the next begins anew.
#[test]
#[ignore = "needs root: builds network namespaces"]
fn killed_at_any_time_a_transfer_is_taken_up_by_the_same_commands() {
    let kills =
        std::env::var("LAB_KILLS").map_or(KILLS, |kills| kills.parse().expect("LAB_KILLS is a number"));
    let network = Network::build(Plan {
        place: Place::OneHost,
        ..Plan::new(Nat::MasqueradeDrop, Nat::MasqueradeDrop)
    });
    let errand = Errand {
        size: SIZE,
        arguments: vec!["--limit".to_owned(), RATE.to_owned()],
        ..Errand::default()
    };
    let start = |pair: Option<Pair>| {
        match pair {
            Some(pair) => pair.again(&network, &errand),
            None => Pair::start(&network, &errand),
        }
        .unwrap_or_else(|error| panic!("{error}"))
    };
    // How many were killed, came to resume what was there, and became complete.
    let (mut killed, mut resumed, mut completed) = (0, 0, 0);
    let mut look = |stderr: &str| resumed += u64::from(stderr.contains("Resuming: "));
    let mut pair = start(None);
    for kill in 0..kills {
        // The golden ratio spreads the moments evenly over the first 2.5 s after the paste.
        let moment = Duration::from_millis(kill.wrapping_mul(1545) % 2500);
        std::thread::sleep(moment);
        let there = pair.received().exists();
        if there {
            // Final names hold whole files only.
            let report = pair.finish();
            assert!(report.succeeded(), "{}", report.account());
            look(&report.stderr[1]);
            completed += 1;
            pair = start(None);
            continue;
        }
        look(&pair.receiver.stderr());
        pair = start(Some(pair));
        killed += 1;
    }
    let report = pair.finish();
    assert!(report.succeeded(), "{}", report.account());
    look(&report.stderr[1]);
    completed += 1;
    println!("{killed} kills, {resumed} resumed, {completed} files complete and exact");
    assert!(resumed > 0, "{}", report.account());
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
        let asked = peer.wait_for("same words: ", Duration::from_secs(60));
        asked.unwrap_or_else(|error| panic!("{error}"));
        peer.wait_for("[y/N]", Duration::from_secs(1))
            .unwrap_or_else(|error| panic!("{error}"));
        let said = peer.stderr();
        let words = said
            .split("same words: ")
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
