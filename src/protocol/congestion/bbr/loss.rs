//! Telling the loss of a noisy path from the loss of a full queue.
//!
//! A path that loses 3% whatever we send has a baseline of 3%; only loss beyond the baseline says that we send
//! too much. The baseline is learnt where we cannot be its cause: at or below the path's rate, with the RTT near
//! its minimum. BBRv3 as published takes any loss above 2% for congestion, and starves on such paths.

/// Loss beyond the baseline that is borne, as BBRv3 bears it beyond none (BBRLossThresh).
const TOLERANCE: f64 = 0.02;
/// Confidence, in standard deviations, that loss beyond it is no chance.
const SIGMAS: f64 = 3.0;
/// The same for loss beside a queue, which is judged hundreds of times a second on short paths and has no tolerance
/// of its own: one stretch in a million.
const OVERFLOW_SIGMAS: f64 = 5.0;
/// A baseline above this is not believed: noisy radio paths lose up to a tenth, worse means a broken path or a
/// full one, and believing it would push others aside.
const MOST: f64 = 0.12;
/// Baselines below this are taken for none: they cost nothing, and their estimate is mostly noise.
const LEAST: f64 = 0.002;
/// Packets after which an average weighs old and new alike. Long enough to know 1% to a fifth.
const MEMORY: f64 = 2000.0;

/// Acknowledged and lost packets of some stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) acked: u64,
    pub(super) lost: u64,
}

impl Count {
    /// Packets needed before a loss ratio means anything.
    pub(super) const FEWEST: u64 = 20;

    pub(super) fn add(&mut self, acked: u64, lost: u64) {
        self.acked += acked;
        self.lost += lost;
    }

    pub(super) fn total(&self) -> u64 {
        self.acked + self.lost
    }

    pub(super) fn ratio(&self) -> f64 {
        self.lost as f64 / self.total().max(1) as f64
    }

    /// Whether there are enough packets to judge by.
    pub(super) fn is_enough(&self) -> bool {
        self.total() >= Self::FEWEST
    }

    /// Whether anything was lost that chance does not explain, given the path's own loss `p`: for use where a
    /// queue is seen as well, which is the better half of the proof.
    pub(super) fn is_overflow(&self, p: f64) -> bool {
        let expected = self.total() as f64 * p;
        self.lost as f64 > expected + OVERFLOW_SIGMAS * expected.sqrt()
    }

    /// Whether so little was lost that `baseline` cannot be the path's own.
    fn refutes(&self, baseline: f64) -> bool {
        let expected = self.total() as f64 * baseline;
        expected - self.lost as f64 > SIGMAS * (expected * (1.0 - baseline)).sqrt()
    }

    /// Whether the loss is more than `baseline` explains.
    pub(super) fn exceeds(&self, baseline: f64) -> bool {
        // One percent for the spread of an unknown baseline: two losses in twenty packets prove nothing.
        let p = baseline.max(0.01);
        let sigma = (p * (1.0 - p) / self.total().max(1) as f64).sqrt();
        self.is_enough() && self.ratio() > baseline + TOLERANCE + SIGMAS * sigma
    }
}

/// A fading average of the loss ratio.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    packets: f64,
    lost: f64,
}

impl Average {
    fn add(&mut self, c: Count) {
        self.packets += c.total() as f64;
        self.lost += c.lost as f64;
        if self.packets > MEMORY {
            let fade = MEMORY / self.packets;
            self.packets *= fade;
            self.lost *= fade;
        }
    }

    fn get(&self) -> Option<f64> {
        (self.packets >= Count::FEWEST as f64).then(|| self.lost / self.packets)
    }
}

/// Where a round's loss was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// While the rate still grew: there was room, so loss was not ours.
    Growing,
    /// At the path's rate.
    Cruise,
    /// Below it.
    Down,
}

/// The loss of the path itself.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    growing: Average,
    cruise: Average,
    down: Average,
}

impl Baseline {
    /// A stretch without a queue lost this. Clearly more than any baseline is no baseline, but a shallow buffer.
    pub(super) fn on_stretch(&mut self, place: Place, count: Count) {
        if count.exceeds(MOST) {
            return;
        }
        if place == Place::Down && count.refutes(self.get()) {
            *self = Baseline::default();
        }
        match place {
            Place::Growing => self.growing.add(count),
            Place::Cruise => self.cruise.add(count),
            Place::Down => self.down.add(count),
        }
    }

    /// The smaller of what was seen at and below the path's rate: if slowing down lowers it, it is congestion.
    pub(super) fn get(&self) -> f64 {
        let p = self.raw();
        if p < LEAST { 0.0 } else { p.min(MOST) }
    }

    /// The same, however small.
    pub(super) fn raw(&self) -> f64 {
        match (self.cruise.get(), self.down.get()) {
            (Some(c), Some(d)) => c.min(d),
            (Some(p), None) | (None, Some(p)) => self.growing.get().map_or(p, |g| g.min(p)),
            (None, None) => self.growing.get().unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(acked: u64, lost: u64) -> Count {
        Count { acked, lost }
    }

    #[test]
    fn loss_that_goes_away_below_the_rate_was_no_baseline() {
        let mut b = Baseline::default();
        b.on_stretch(Place::Cruise, count(900, 100));
        b.on_stretch(Place::Down, count(95, 5));
        assert!(b.get() > 0.04, "{}: five of a hundred may be chance", b.get());
        b.on_stretch(Place::Down, count(200, 0));
        assert_eq!(b.get(), 0.0);
    }

    #[test]
    fn baseline_is_the_smaller_of_both_places() {
        let mut b = Baseline::default();
        b.on_stretch(Place::Cruise, count(900, 100));
        b.on_stretch(Place::Down, count(950, 50));
        assert!((b.get() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn loss_that_vanishes_below_the_rate_is_no_baseline() {
        let mut b = Baseline::default();
        b.on_stretch(Place::Cruise, count(900, 100));
        b.on_stretch(Place::Down, count(1000, 0));
        assert_eq!(b.get(), 0.0);
    }

    #[test]
    fn more_than_any_noise_is_not_believed() {
        let mut b = Baseline::default();
        b.on_stretch(Place::Cruise, count(100, 900));
        assert_eq!(b.get(), 0.0);
        b.on_stretch(Place::Cruise, count(870, 130));
        assert_eq!(b.get(), MOST);
    }

    #[test]
    fn few_losses_prove_nothing_many_do() {
        assert!(!count(18, 2).exceeds(0.0) || 0.1 > TOLERANCE + SIGMAS * 0.0223);
        assert!(!count(19, 1).exceeds(0.0));
        assert!(count(900, 100).exceeds(0.0));
        assert!(!count(900, 100).exceeds(0.1));
    }
}
