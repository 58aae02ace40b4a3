//! A plain fuzzer: valid samples, changed by a seeded generator, given to every decoder.
//!
//! `cargo test` runs a short round. `FUZZ_EXECUTIONS=100000000 cargo test --lib tests::fuzz -- --ignored --nocapture`
//! runs a long one; `FUZZ_SEED` chooses another. For fuzzing guided by coverage see fuzz/.

use std::time::{Duration, Instant};

use super::decoders;
use super::samples::Samples;
use crate::protocol::rng::SplitMix64;

/// The longest input.
const LONGEST: usize = 1500;
/// Threads of the long run.
const THREADS: u64 = 2;

/// Chooses what to change.
struct Rng(SplitMix64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Values that break arithmetic more often than others.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, u32::MAX as u64, u64::MAX];

/// Changes `data` in one of the ways that break decoders.
fn mutate(rng: &mut Rng, data: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(data.len());
    match rng.below(8) {
        0 | 1 if !data.is_empty() => data[at] ^= 1 << rng.below(8),
        2 if !data.is_empty() => data[at] = rng.next() as u8,
        3 => data.truncate(at),
        4 => {
            let edge = EDGES[rng.below(EDGES.len())].to_be_bytes();
            let edge = &edge[8 - (1 << rng.below(4))..];
            let end = (at + edge.len()).min(data.len());
            data[at..end].copy_from_slice(&edge[..end - at]);
        }
        5 => {
            let from = rng.below(other.len());
            data.splice(at.., other[from..].iter().copied());
        }
        6 => {
            let end = (at + rng.below(40)).min(data.len());
            let piece = data[at..end].to_vec();
            data.splice(at..at, piece);
        }
        _ => data.insert(at, rng.next() as u8),
    }
    data.truncate(LONGEST);
}

/// A decoder, its samples, and how often it runs in a thousand.
type Target = (&'static str, fn(&[u8]), fn(&Samples) -> &[Vec<u8>], u64);

/// The handshake runs seldom: an input that gets far costs several scalar multiplications.
const TARGETS: [Target; 9] = [
    ("address", decoders::address, |s| &s.addresses, 60),
    ("stun", decoders::stun, |s| &s.stun, 150),
    ("frames", decoders::frames, |s| &s.frames, 360),
    ("connection", decoders::connection, |s| &s.frames, 50),
    ("handshake", decoders::handshake, |s| &s.handshake, 10),
    ("manifest", decoders::manifest, |s| &s.manifests, 120),
    ("messages", decoders::messages, |s| &s.messages, 80),
    ("meeting", decoders::meeting, |s| &s.meeting, 40),
    ("journal", decoders::journal, |s| &s.journals, 130),
];

/// How often each decoder ran and how long that took.
type Tally = [(u64, Duration); TARGETS.len()];

fn fuzz(seed: u64, executions: u64) -> Tally {
    let samples = Samples::new();
    let mut rng = Rng(SplitMix64::new(seed));
    let mut tally = Tally::default();
    let mut data = Vec::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a decoder took is told, and changes nothing"
    )]
    let now = || Instant::now();
    for round in 0..executions.div_ceil(1000) {
        for ((_, decoder, of, share), (count, took)) in TARGETS.iter().zip(&mut tally) {
            let samples = of(&samples);
            let start = now();
            for _ in 0..*share {
                data.clear();
                data.extend_from_slice(&samples[rng.below(samples.len())]);
                for _ in 0..=rng.below(4) {
                    let other = rng.below(samples.len());
                    mutate(&mut rng, &mut data, &samples[other]);
                }
                decoder(&data);
            }
            *count += share;
            *took += start.elapsed();
        }
        if round % 1000 == 999 {
            println!("seed {seed}: {} executions", (round + 1) * 1000);
        }
    }
    tally
}

fn report(tallies: &[Tally]) {
    for (i, (name, ..)) in TARGETS.iter().enumerate() {
        let count: u64 = tallies.iter().map(|t| t[i].0).sum();
        let took: Duration = tallies.iter().map(|t| t[i].1).sum();
        println!(
            "{name:<12} {count:>12} {:>10.0?} each",
            took / count.max(1) as u32
        );
    }
}

#[test]
fn every_decoder_survives_mutated_samples() {
    report(&[fuzz(1, 200_000)]);
}

#[test]
#[ignore = "takes as long as FUZZ_EXECUTIONS says"]
fn every_decoder_survives_very_many_mutated_samples() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (executions, seed) = (number("FUZZ_EXECUTIONS", 100_000_000), number("FUZZ_SEED", 1));
    println!("FUZZ_SEED={seed}");
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|i| scope.spawn(move || fuzz(seed.wrapping_add(i << 32), executions.div_ceil(THREADS))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    report(&tallies);
}
