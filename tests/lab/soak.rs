//! A long transfer over a bad line whose router keeps forgetting: memory and descriptors must stay where they are.

use std::time::{Duration, Instant};

use super::network::Side;
use super::rebinding::{connected, forgetful};
use super::standing::{Goods, Standing};

/// What the sender is limited to, in bits per second, and how it is told.
const RATE: u64 = 40_000_000;
const LIMIT: &str = "40mbit";
/// How much of that the content is sized for, so that it lasts the time: headers, repeats and rebindings take the rest.
const SHARE: f64 = 0.93;
/// How often A's router forgets its mappings.
const REBIND_EVERY: Duration = Duration::from_secs(120);
/// How often both processes are looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Bytes by which resident memory may grow over the last two thirds of a run: allocators and page tables breathe.
const MEMORY_SLACK: f64 = (4 << 20) as f64;

/// What one look at both processes showed.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Since the first byte could flow.
    at: Duration,
    resident: [u64; 2],
    descriptors: [usize; 2],
}

#[test]
#[ignore = "needs root, and half an hour: builds network namespaces"]
fn soak() {
    let minutes = std::env::var("SOAK_MINUTES").ok();
    let minutes: u64 = minutes.map_or(30, |text| text.parse().expect("SOAK_MINUTES is a number"));
    let size = (RATE / 8 * minutes * 60) as f64 * SHARE;
    let network = forgetful(0.01);
    let standing = Standing::new(Goods::File(size as u64), 1, [&["--limit", LIMIT], &[]]);
    let mut attempt = connected(&standing, &network);
    let start = Instant::now();
    let end = start + Duration::from_secs(minutes * 120);
    let (mut rebind_at, mut rebindings) = (start + REBIND_EVERY, 0);
    let mut samples = Vec::new();
    while attempt.sender.wait(SAMPLE_EVERY).is_err() {
        assert!(Instant::now() < end, "too slow: {}", attempt.account());
        let held = [&attempt.sender, &attempt.receiver].map(|peer| peer.holds());
        if let [Some(a), Some(b)] = held {
            let sample = Sample {
                at: start.elapsed(),
                resident: [a.0, b.0],
                descriptors: [a.1, b.1],
            };
            println!("{sample:?}");
            samples.push(sample);
        }
        if Instant::now() >= rebind_at {
            network.rebind(Side::A);
            rebind_at = Instant::now() + REBIND_EVERY;
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

/// What both hold does not grow with time once a third of the run is over.
fn is_flat(samples: &[Sample]) {
    let settled = &samples[samples.len() / 3..];
    assert!(settled.len() > 2, "the run was too short to tell");
    for side in [0, 1] {
        let memory = growth(settled, |sample| sample.resident[side] as f64);
        let descriptors = growth(settled, |sample| sample.descriptors[side] as f64);
        let most = samples.iter().map(|sample| sample.resident[side]).max();
        println!(
            "side {side}: resident at most {most:?} bytes; in the last two thirds it grew by {memory:.0} bytes, and by \
             {descriptors:.1} descriptors"
        );
        assert!(memory <= MEMORY_SLACK, "memory grew on side {side}");
        assert!(descriptors < 1.0, "descriptors grew on side {side}");
    }
}

/// By how much a quantity grew over these samples: the median slope between any two of them (Theil, 1950; Sen, 1968),
/// times their span. What a pause of the machine does once, a spike or a step to more buffers, does not move it; a
/// leak does.
fn growth(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut slopes: Vec<f64> = samples
        .iter()
        .enumerate()
        .flat_map(|(i, a)| samples[i + 1..].iter().map(move |b| (a, b)))
        .map(|(a, b)| (of(b) - of(a)) / (b.at - a.at).as_secs_f64())
        .collect();
    slopes.sort_by(f64::total_cmp);
    let span = samples[samples.len() - 1].at - samples[0].at;
    slopes[slopes.len() / 2] * span.as_secs_f64()
}

#[test]
fn growth_sees_a_leak_and_overlooks_a_spike_and_a_step() {
    let made = |resident: &dyn Fn(u64) -> u64| -> Vec<Sample> {
        let sample = |i| Sample {
            at: Duration::from_secs(10 * i),
            resident: [resident(i); 2],
            descriptors: [20; 2],
        };
        (0..60).map(sample).collect()
    };
    let grown = |resident: &dyn Fn(u64) -> u64| growth(&made(resident), |sample| sample.resident[0] as f64);
    let noise = |i: u64| i * 7919 % 4096;
    assert!(grown(&|i| 9_000_000 + noise(i) + 100_000 * i) > MEMORY_SLACK);
    assert!(grown(&|i| 9_000_000 + noise(i) + u64::from(i == 30) * 40_000_000) < MEMORY_SLACK);
    assert!(grown(&|i| 9_000_000 + noise(i) + u64::from(i > 25) * 40_000_000) < MEMORY_SLACK);
}
