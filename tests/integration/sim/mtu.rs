//! Paths that carry less than is usual and say nothing of it: from the start, from some moment on, in one direction
//! or in both.

use std::time::Duration;

use p2pcopy::parts::protocol::Role;

use crate::sim::link::Profile;
use crate::sim::nat::Rebinding;
use crate::sim::pair::Pair;
use crate::sim::{MBIT, at, ms};

/// UDP payload in IPv4 packets of 576, 1000, 1200, 1220 and 1228 bytes, and in IPv6 packets of 1280 bytes.
const LIMITS: [u64; 6] = [548, 972, 1172, 1192, 1200, 1232];
/// The least size the search falls to.
const LEAST: u16 = 508;
const RATE: u64 = 20 * MBIT;
/// Two seconds of the link at its rate.
const TOTAL: u64 = 2 * RATE;

#[derive(Clone, Copy, Debug)]
enum Narrow {
    Forward,
    Back,
    Both,
}
const WAYS: [Narrow; 3] = [Narrow::Forward, Narrow::Back, Narrow::Both];

fn pair(rtt: u64, loss: f64, seed: u64) -> Pair {
    let mut link = Profile::new(RATE, ms(rtt / 2), (RATE * rtt / 1000).max(30_000));
    link.loss = loss;
    link.mtu = 1472;
    Pair::new(link.clone(), link, TOTAL, seed)
}

fn narrow(pair: &mut Pair, way: Narrow, limit: u64) {
    if !matches!(way, Narrow::Back) {
        pair.forward.profile.mtu = limit;
    }
    if !matches!(way, Narrow::Forward) {
        pair.back.profile.mtu = limit;
    }
}

/// Bytes of the control stream that each end sends beside the content.
const TALK: usize = 100_000;

/// Runs until the content and what both ends have to say have arrived; gives the time that took.
fn finish(pair: &mut Pair, limit: Duration, context: &str) -> Duration {
    let began = pair.now;
    let mut heard = [0, 0];
    for end in [&mut pair.sender, &mut pair.receiver] {
        assert_eq!(end.write_control(&[7; TALK]), TALK);
    }
    while !pair.is_complete() || heard != [TALK; 2] {
        let took = pair.now.since(began);
        assert!(
            took < limit,
            "{context}: {} of {} bytes and {heard:?} of the talk after {took:?}; {:?}",
            pair.got.count(),
            pair.total,
            pair.sender.stats()
        );
        pair.step();
        for (end, heard) in [&mut pair.sender, &mut pair.receiver].into_iter().zip(&mut heard) {
            *heard += end.read_control(&mut Vec::new());
        }
    }
    pair.now.since(began)
}

#[test]
fn a_path_that_is_narrow_from_the_start_works() {
    for limit in LIMITS {
        for way in WAYS {
            for (rtt, loss, most) in [
                (0, 0.0, 5),
                (40, 0.0, 6),
                (40, 0.05, 8),
                (200, 0.0, 9),
                (800, 0.0, 20),
            ] {
                let mut pair = pair(rtt, loss, limit + rtt);
                narrow(&mut pair, way, limit);
                let context = format!("{limit} {way:?}, {rtt} ms, {loss}");
                let took = finish(&mut pair, Duration::from_secs(most), &context);
                println!("{context}: {took:?}");
            }
        }
    }
}

#[test]
fn a_path_that_narrows_in_mid_transfer_goes_on() {
    for way in WAYS {
        for (rtt, loss) in [(0, 0.0), (40, 0.0), (40, 0.05), (200, 0.0)] {
            for steps in [&[1172_u64, 548] as &[_], &[1192], &[548]] {
                let mut pair = pair(rtt, loss, rtt);
                let context = format!("{steps:?} {way:?}, {rtt} ms, {loss}");
                for (i, limit) in steps.iter().enumerate() {
                    while pair.now < at(1600 + 3000 * i as u64) && !pair.is_complete() {
                        pair.step();
                    }
                    narrow(&mut pair, way, *limit);
                }
                let took = finish(&mut pair, Duration::from_secs(15), &context);
                println!("{context}: {took:?}");
            }
        }
    }
}

#[test]
fn a_new_path_may_be_narrower_than_the_one_before() {
    for limit in LIMITS {
        for way in WAYS {
            let mut pair = pair(40, 0.0, limit);
            while pair.now < at(1600) {
                pair.step();
            }
            pair.rebind(Role::Sender, Rebinding::AllPorts);
            narrow(&mut pair, way, limit);
            finish(&mut pair, Duration::from_secs(20), &format!("{limit} {way:?}"));
        }
    }
}

#[test]
fn an_outage_is_not_taken_for_a_narrow_path() {
    let mut pair = pair(40, 0.0, 1);
    for link in [&mut pair.forward, &mut pair.back] {
        link.profile.blackouts.push((at(2000), at(9000)));
    }
    while pair.now < at(8900) {
        pair.step();
        assert!(pair.sender.stats().mtu > LEAST);
    }
    finish(&mut pair, Duration::from_secs(20), "outage");
    assert_eq!(pair.sender.stats().mtu, 1472);
}

#[test]
fn a_path_that_narrows_before_the_last_packets_is_noticed() {
    for rtt in [40, 200, 300] {
        for seed in 1..5 {
            let mut pair = pair(rtt, 0.05, seed);
            while pair.got.count() < pair.total - 20_000 {
                pair.step();
            }
            narrow(&mut pair, Narrow::Forward, 548);
            let outcome = pair.run(Duration::from_secs(10));
            assert!(
                outcome.finished.is_some(),
                "{rtt} ms, seed {seed}: {:?}",
                pair.sender.stats()
            );
        }
    }
}
