//! Tells the loss of a noisy path from the loss of a full queue.
//!
//! A path that loses 3% at any rate has a baseline of 3%. Only more loss than that means that we send too much. The
//! baseline is learnt while we cannot be its cause: at or below the path's rate, with the RTT near its minimum.
//! BBRv3 as published takes any loss above 2% for congestion, and starves on such paths.

use super::params::Params;

/// Acknowledged and lost packets of some interval of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) acked: u64,
    pub(super) lost: u64,
    /// Acknowledged packets that a queue had marked.
    pub(super) marked: u64,
}

impl Count {
    pub(super) fn add(&mut self, more: Count) {
        self.acked += more.acked;
        self.lost += more.lost;
        self.marked += more.marked;
    }

    pub(super) fn total(&self) -> u64 {
        self.acked + self.lost
    }

    pub(super) fn ratio(&self) -> f64 {
        self.lost as f64 / self.total().max(1) as f64
    }

    /// Whether there are enough packets to judge by.
    pub(super) fn is_enough(&self, params: &Params) -> bool {
        self.total() >= params.fewest_packets
    }

    /// Whether more was lost than chance explains if the path loses `p` by itself. This test is stricter than
    /// [`exceeds`](Self::exceeds) on small losses, so use it only where a queue is seen as well.
    pub(super) fn is_overflow(&self, p: f64, params: &Params) -> bool {
        let expected = self.total() as f64 * p;
        self.lost as f64 > expected + params.overflow_sigmas * expected.sqrt()
    }

    /// Whether so little was lost that the path's own loss is below `baseline`.
    fn refutes(&self, baseline: f64, params: &Params) -> bool {
        let expected = self.total() as f64 * baseline;
        expected - self.lost as f64 > params.loss_sigmas * (expected * (1.0 - baseline)).sqrt()
    }

    /// Whether the loss is more than `baseline` explains.
    pub(super) fn exceeds(&self, baseline: f64, params: &Params) -> bool {
        let p = baseline.max(params.least_deviation);
        let sigma = (p * (1.0 - p) / self.total().max(1) as f64).sqrt();
        self.is_enough(params) && self.ratio() > baseline + params.loss_threshold + params.loss_sigmas * sigma
    }
}

/// A fading average of the loss ratio.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    packets: f64,
    lost: f64,
}

impl Average {
    fn add(&mut self, c: Count, memory: f64) {
        self.packets += c.total() as f64;
        self.lost += c.lost as f64;
        if self.packets > memory {
            let fade = memory / self.packets;
            self.packets *= fade;
            self.lost *= fade;
        }
    }

    fn get(&self, params: &Params) -> Option<f64> {
        (self.packets >= params.fewest_packets as f64).then(|| self.ratio())
    }

    fn ratio(&self) -> f64 {
        self.lost / self.packets.max(1.0)
    }
}

/// The load of the path when loss was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// The rate still grew, so there was room and the loss was not ours.
    Growing,
    /// The path's rate.
    Full,
    /// Less.
    Less,
}

/// The loss of the path itself.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    growing: Average,
    full: Average,
    less: Average,
    /// Loss beyond [`Params::max_baseline`], which must be proven.
    heavy: Option<Heavy>,
}

/// Loss beyond [`Params::max_baseline`]. It is the path's own if a lower rate does not lower it. A policer or a full
/// buffer would lose much less, or nothing.
#[derive(Debug)]
struct Heavy {
    /// Lowest bandwidth at which `full` was seen until it was known, bytes a second.
    bw: u64,
    /// Loss near that bandwidth or above it, and clearly below it.
    full: Average,
    below: Average,
    proven: bool,
}

impl Heavy {
    fn new(bw: u64) -> Self {
        Heavy {
            bw,
            full: Average::default(),
            below: Average::default(),
            proven: false,
        }
    }

    fn add(&mut self, count: Count, bw: u64, params: &Params) {
        let known = self.full.packets >= params.heavy_packets;
        if !known {
            // On a slow path the rate falls after a few packets. Then the next rates count as the first.
            self.bw = self.bw.min(bw);
        }
        let below = bw as f64 <= self.bw as f64 * params.heavy_share;
        let at = if known && below && !self.proven {
            &mut self.below
        } else {
            &mut self.full
        };
        at.add(count, params.baseline_memory);
    }

    /// Whether the loss has just been proven to be the path's.
    fn proves(&mut self, params: &Params) -> bool {
        let enough = |a: &Average| a.packets >= params.heavy_packets;
        if self.proven || !enough(&self.full) || !enough(&self.below) {
            return false;
        }
        let (full, below) = (self.full.ratio(), self.below.ratio());
        self.proven = full <= params.max_heavy && below >= full * params.heavy_steady;
        self.proven
    }
}

impl Baseline {
    /// An interval without a queue lost this at bandwidth `bw`. Returns the bandwidth to go back to when that proves
    /// heavy loss to be the path's own.
    pub(super) fn on_interval(&mut self, load: Load, count: Count, bw: u64, params: &Params) -> Option<u64> {
        let too_much = count.exceeds(params.max_baseline, params);
        let proven = self.on_heavy(count, too_much, bw, params);
        if too_much {
            return proven;
        }
        if load == Load::Less && count.refutes(self.get(params), params) {
            *self = Baseline::default();
        }
        let average = match load {
            Load::Growing => &mut self.growing,
            Load::Full => &mut self.full,
            Load::Less => &mut self.less,
        };
        average.add(count, params.baseline_memory);
        proven
    }

    /// Watches loss beyond [`Params::max_baseline`].
    fn on_heavy(&mut self, count: Count, too_much: bool, bw: u64, params: &Params) -> Option<u64> {
        let gone = |heavy: &Heavy| {
            count.refutes(heavy.full.ratio(), params) || heavy.full.ratio() < params.max_baseline
        };
        if self
            .heavy
            .as_ref()
            .is_some_and(|heavy| heavy.full.packets > 0.0 && gone(heavy))
        {
            self.heavy = None;
        }
        let suspect = too_much || self.raw(params) > params.max_baseline + params.loss_threshold;
        if self.heavy.is_none() && suspect {
            self.heavy = Some(Heavy::new(bw));
        }
        let heavy = self.heavy.as_mut()?;
        heavy.add(count, bw, params);
        heavy.proves(params).then_some(heavy.bw)
    }

    /// The path's own loss, 0 to 1: the smaller of the loss at the path's rate and the loss below it, because loss that
    /// a lower rate lowers is congestion.
    pub(super) fn get(&self, params: &Params) -> f64 {
        if let Some(heavy) = self.heavy.as_ref().filter(|heavy| heavy.proven) {
            return heavy.full.ratio().min(params.max_heavy);
        }
        self.raw(params).min(params.max_baseline)
    }

    /// The highest loss that the path may have. Startup alone has so few packets that a small loss may not have occurred
    /// yet.
    pub(super) fn possible(&self, params: &Params) -> f64 {
        let is_learnt = self.full.get(params).or(self.less.get(params)).is_some();
        let least = if is_learnt {
            0.0
        } else {
            1.0 / params.baseline_memory
        };
        self.raw(params).max(least)
    }

    /// The same as [`get`](Self::get) without its limits, and without heavy loss.
    pub(super) fn raw(&self, params: &Params) -> f64 {
        let growing = self.growing.get(params);
        match (self.full.get(params), self.less.get(params)) {
            (Some(c), Some(d)) => c.min(d),
            (Some(p), None) | (None, Some(p)) => growing.map_or(p, |g| g.min(p)),
            (None, None) => growing.unwrap_or(0.0),
        }
    }
}

/// The bound that excess loss puts on the bandwidth until the next probe (BBR.bw_shortterm).
#[derive(Debug, Default)]
pub(super) struct ShortTerm {
    bw: Option<u64>,
    /// Whether the last interval lost too much.
    suspect: bool,
}

impl ShortTerm {
    /// The bandwidth to act on, of `max_bw`.
    pub(super) fn bound(&self, max_bw: u64) -> u64 {
        self.bw.map_or(max_bw, |bw| bw.min(max_bw))
    }

    /// An interval lost more than the path does by itself; `rate` was delivered and `bw` was acted on. Somebody else has
    /// come, or the path has become slower. One such interval may be a burst of noise, so two in a row count.
    pub(super) fn on_excess(&mut self, rate: Option<u64>, bw: u64, params: &Params) {
        if std::mem::replace(&mut self.suspect, true) {
            let floor = (bw as f64 * params.beta) as u64;
            self.bw = Some(rate.unwrap_or(0).min(bw).max(floor));
        }
    }

    /// An interval lost no more than the path does by itself: the bound rises.
    pub(super) fn on_no_excess(&mut self, max_bw: u64, params: &Params) {
        self.suspect = false;
        self.bw = self
            .bw
            .map(|bw| (bw as f64 * (1.0 + params.trim)) as u64)
            .filter(|&bw| bw < max_bw);
    }

    /// Removes the bound and returns it.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.bw.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Params = Params::DEFAULT;
    const BW: u64 = 1_000_000;

    fn count(acked: u64, lost: u64) -> Count {
        Count {
            acked,
            lost,
            marked: 0,
        }
    }

    #[test]
    fn loss_that_goes_away_below_the_rate_was_no_baseline() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(900, 100), BW, &P);
        b.on_interval(Load::Less, count(95, 5), BW, &P);
        assert!(b.get(&P) > 0.04, "{}: five of a hundred may be chance", b.get(&P));
        b.on_interval(Load::Less, count(200, 0), BW, &P);
        assert_eq!(b.get(&P), 0.0);
    }

    #[test]
    fn baseline_is_the_smaller_of_both_loads() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(900, 100), BW, &P);
        b.on_interval(Load::Less, count(950, 50), BW, &P);
        assert!((b.get(&P) - 0.05).abs() < 1e-9);
    }

    #[test]
    fn loss_that_vanishes_below_the_rate_is_no_baseline() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(900, 100), BW, &P);
        b.on_interval(Load::Less, count(1000, 0), BW, &P);
        assert_eq!(b.get(&P), 0.0);
    }

    #[test]
    fn more_than_any_noise_is_not_believed() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(100, 900), BW, &P);
        assert_eq!(b.get(&P), 0.0);
        b.on_interval(Load::Full, count(870, 130), BW, &P);
        assert_eq!(b.get(&P), P.max_baseline);
    }

    #[test]
    fn heavy_loss_that_a_lower_rate_does_not_lower_is_the_paths() {
        let mut b = Baseline::default();
        assert_eq!(b.on_interval(Load::Full, count(210, 90), BW, &P), None);
        assert_eq!(b.get(&P), 0.0, "it may be a full buffer");
        assert_eq!(
            b.on_interval(Load::Full, count(210, 90), BW * 7 / 10, &P),
            Some(BW)
        );
        assert!((b.get(&P) - 0.3).abs() < 1e-9);
        b.on_interval(Load::Full, count(300, 0), BW, &P);
        assert!(b.get(&P) < 0.01, "it is gone");
    }

    #[test]
    fn heavy_loss_is_judged_though_the_first_rate_was_left_after_a_few_packets() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(18, 27), BW, &P);
        b.on_interval(Load::Full, count(36, 24), BW * 7 / 10, &P);
        let proven = b.on_interval(Load::Full, count(33, 27), BW / 2, &P);
        assert_eq!(proven, Some(BW * 7 / 10));
    }

    #[test]
    fn heavy_loss_that_a_lower_rate_lowers_is_a_policers() {
        let mut b = Baseline::default();
        b.on_interval(Load::Full, count(200, 200), BW, &P);
        // The same rate gets through.
        assert_eq!(b.on_interval(Load::Full, count(200, 80), BW * 7 / 10, &P), None);
        assert!(b.get(&P) <= P.max_baseline);
    }

    #[test]
    fn small_loss_is_possible_until_the_path_was_seen_without_a_queue() {
        let mut b = Baseline::default();
        b.on_interval(Load::Growing, count(500, 0), BW, &P);
        assert!(!count(4460, 4).is_overflow(b.possible(&P), &P));
        assert!(count(4400, 60).is_overflow(b.possible(&P), &P));
        b.on_interval(Load::Full, count(2000, 0), BW, &P);
        assert!(count(4460, 4).is_overflow(b.possible(&P), &P));
    }

    #[test]
    fn few_losses_prove_nothing_many_do() {
        // 2% and three standard deviations of 2.2% are 8.7%.
        assert!(count(18, 2).exceeds(0.0, &P));
        assert!(!count(19, 1).exceeds(0.0, &P));
        assert!(count(900, 100).exceeds(0.0, &P));
        assert!(!count(900, 100).exceeds(0.1, &P));
    }
}
