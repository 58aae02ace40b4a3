//! A long transfer over a bad line whose router keeps forgetting: memory and descriptors must stay where they are.

use std::time::{Duration, Instant};

use super::link::{Direction, LinkPlan};
use super::nat::Nat;
use super::network::{Network, Plan, Side};
use super::standing::Standing;

/// What the sender is limited to, in bits per second, and how it is told.
const RATE: u64 = 40_000_000;
const LIMIT: &str = "40mbit";
/// How much of that the content is sized for: headers, repeats and rebindings take the rest.
const SHARE: f64 = 0.85;
/// How often A's router forgets its mappings.
const REBIND_EVERY: Duration = Duration::from_secs(120);
/// How often both processes are looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// What resident memory may differ by between two thirds of a run: allocators and page tables breathe.
const MEMORY_SLACK: u64 = 4 << 20;

/// What one look at both processes showed.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: [u64; 2],
    descriptors: [usize; 2],
}

#[test]
#[ignore = "needs root, and half an hour: builds network namespaces"]
fn soak() {
    let minutes = std::env::var("SOAK_MINUTES").ok();
    let minutes: u64 = minutes.map_or(30, |text| text.parse().expect("SOAK_MINUTES is a number"));
    let direction = Direction {
        delay: Duration::from_millis(15),
        loss: 0.01,
        ..Direction::default()
    };
    // B's router lets strangers in; behind one that filters, A's new port could not be learnt.
    let network = Network::build(Plan {
        link: LinkPlan::symmetric(direction),
        ..Plan::new(Nat::MasqueradeDrop, Nat::Cone)
    });
    let size = (RATE / 8 * minutes * 60) as f64 * SHARE;
    let standing = Standing::new(size as u64, 1, [&["--limit", LIMIT], &[]]);
    let mut attempt = standing
        .attempt(&network)
        .unwrap_or_else(|error| panic!("{error}"));
    for peer in [&attempt.sender, &attempt.receiver] {
        peer.connected(Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let start = Instant::now();
    let end = start + Duration::from_secs(minutes * 90);
    let (mut rebind_at, mut rebindings) = (start + REBIND_EVERY, 0);
    let mut samples = Vec::new();
    while attempt.sender.wait(SAMPLE_EVERY).is_err() {
        assert!(Instant::now() < end, "too slow: {}", attempt.account());
        let held = [&attempt.sender, &attempt.receiver].map(|peer| peer.holds());
        if let [Some(a), Some(b)] = held {
            let sample = Sample {
                resident: [a.0, b.0],
                descriptors: [a.1, b.1],
            };
            println!("{:>4} s: {sample:?}", start.elapsed().as_secs());
            samples.push(sample);
        }
        if Instant::now() >= rebind_at {
            network.rebind(Side::A);
            rebind_at += REBIND_EVERY;
            rebindings += 1;
        }
    }
    attempt.succeeds(Duration::from_secs(30));
    assert!(standing.exact(), "{}", attempt.account());
    println!(
        "{size} bytes in {:?}, {rebindings} rebindings, {} samples",
        start.elapsed(),
        samples.len()
    );
    is_flat(&samples);
}

/// The last third of a run holds no more than the second one.
fn is_flat(samples: &[Sample]) {
    let third = samples.len() / 3;
    assert!(third > 0, "the run was too short to tell");
    let most = |from: usize, of: &dyn Fn(&Sample) -> u64| {
        let part = samples.iter().skip(from).take(third);
        part.map(of).max().unwrap_or(0)
    };
    for side in [0, 1] {
        let resident = |sample: &Sample| sample.resident[side];
        let (second, last) = (most(third, &resident), most(samples.len() - third, &resident));
        println!("side {side}: resident {second} bytes in the second third, {last} in the last");
        assert!(last <= second + MEMORY_SLACK, "memory grew on side {side}");
        let descriptors = |sample: &Sample| sample.descriptors[side] as u64;
        let (second, last) = (
            most(third, &descriptors),
            most(samples.len() - third, &descriptors),
        );
        println!("side {side}: {second} descriptors in the second third, {last} in the last");
        assert!(last <= second, "descriptors grew on side {side}");
    }
}
