//! What a sample interval shows: the path's own loss, excess loss, a queue, and whose queue it is.

use std::time::Duration;

use super::super::AckSample;
use super::loss::{Baseline, Load};
use super::queue::Fall;
use super::round::Interval;
use super::{Bbr, Mode};

impl Bbr {
    /// Judges the loss and the queue of an interval. Returns whether it lost more than the path does by itself, or `None`
    /// if no interval has ended. Excess loss in a probe is reported before its interval ends.
    pub(super) fn judge(&mut self, s: &AckSample, ended: Option<Interval>) -> Option<bool> {
        let Some(interval) = ended else {
            let early = matches!(self.mode, Mode::Up(_))
                && self.round.in_mode() >= 1
                && self.is_excess(&self.round.current().count);
            return early.then_some(true);
        };
        let excess = self.is_excess(&interval.count);
        if let Some(mean) = interval.mean() {
            self.model.on_mean_rtt(s.now, mean, &self.params);
        }
        if let Some(low) = interval.low {
            self.learn_baseline(&interval, low);
            self.queue
                .on_interval(self.is_queue(low) || interval.count.marked > 0);
            self.on_queue(s, &interval);
            let calm = matches!(self.mode, Mode::Cruise | Mode::Down);
            if calm && !self.queue.is_standing() {
                self.model.on_spread(&interval, &self.params);
            }
        }
        if self.is_queue(self.quiet_rtt) {
            // Others had filled the queue before us. What we took for the path's own loss was that queue's.
            self.baseline = Baseline::default();
            self.quiet_rtt = Duration::ZERO;
        }
        if !excess {
            self.short_term.on_no_excess(self.model.max_bw(), &self.params);
        } else if self.is_at_rate() {
            // In a probe, excess loss only ends the probe.
            let bw = self.bw();
            self.short_term.on_excess(interval.rate(), bw, &self.params);
        }
        Some(excess)
    }

    /// Whether excess loss of this interval shows that the pipe is full (section 4.3.1.3), for an application-limited rate
    /// cannot. Loss without a queue is the path's own. If the packets were far from each other, their rate is that of a waiting
    /// application, and Startup must not end with it.
    pub(super) fn is_at_full_rate(&self, s: &AckSample, interval: &Interval) -> bool {
        interval.time <= self.params.full_bw_rounds * s.smoothed_rtt && self.fills_queue(interval)
    }

    /// Learns the path's own loss from an interval in which we cannot have caused loss; `low`: its lowest RTT.
    fn learn_baseline(&mut self, interval: &Interval, low: Duration) {
        let p = &self.params;
        let min = self.model.min_rtt(p).unwrap_or(low);
        // Others' queues come and go within an interval, so the lowest RTT alone does not show a quiet path.
        let no_queue = interval.mean().is_some_and(|mean| !self.model.is_queue(mean, p));
        let quiet = low <= min + min / p.quiet_part + p.least_rtt && no_queue;
        let calm = interval.high <= min + min / p.jitter_part + p.least_rtt;
        let load = match self.mode {
            Mode::Startup if calm && self.startup.grows(self.model.max_bw(), p) => Load::Growing,
            Mode::Cruise if quiet => Load::Full,
            Mode::Down if quiet => Load::Less,
            _ => return,
        };
        self.quiet_rtt = self.quiet_rtt.max(min);
        let bw = self.bw();
        if let Some(proven) = self.baseline.on_interval(load, interval.count, bw, &self.params) {
            // The loss that lowered the estimate was not congestion.
            self.short_term.take();
            self.model.on_rate(proven);
        }
    }

    /// Draws the conclusions from a queue or its absence.
    fn on_queue(&mut self, s: &AckSample, interval: &Interval) {
        // The window of ProbeRTT is small, so its delivery rate does not show what the path gives us.
        let lowered = matches!(self.mode, Mode::ProbeRtt(_));
        if let Some(rate) = interval.rate().filter(|_| !lowered) {
            self.given = rate;
        }
        if let Mode::Competitive(competitive) = self.mode {
            self.on_competitive_interval(s, competitive, interval);
            return;
        }
        if matches!(self.mode, Mode::Cruise) {
            let bw = self.bw();
            if self.queue.has_collapsed(interval, bw, &self.params) {
                return self.on_collapse(s);
            }
            if self.queue.on_cruise(interval.time, &self.params) && self.correct_startup(s, interval) {
                return;
            }
            let packets = (self.bdp(self.bw()) / self.model.mtu() as f64).max(1.0);
            let taken = self.is_taken(interval);
            self.queue.adjust(packets, taken, &self.params);
            self.alone |= self.last_competitive.is_none() && self.queue.is_calm(&self.params);
        }
        let overflow = self.overflows(interval);
        if self.is_at_rate() && self.can_tell_queues() && self.queue.is_rivals(overflow, &self.params) {
            self.enter_competitive(s, overflow);
        }
    }

    /// Whether others have taken a part of the rate that we had alone: a queue that comes and goes within the interval, as
    /// that of CUBIC's bursts does, has overflowed, and the estimate is lower than it was.
    fn is_taken(&self, interval: &Interval) -> bool {
        let possible = self.baseline.possible(&self.params);
        let overflow = interval.count.is_overflow(possible, &self.params);
        let less = (self.bw() as f64) < self.model.peak() as f64 * self.params.pressed;
        self.alone && less && overflow && self.fills_queue(interval)
    }

    /// Lowers the estimate of Startup to the delivery rate of the first standing queue. ACKs that the return path bunched
    /// may have made the fastest train look too fast. Returns whether Drain empties the queue, since trims need a second for
    /// that and come back for seconds.
    fn correct_startup(&mut self, s: &AckSample, interval: &Interval) -> bool {
        let Some(rate) = interval.rate() else {
            return false;
        };
        let most = self.model.max_bw();
        let least = (most as f64 * self.params.train_noise) as u64;
        // `clamp` would panic where the ablation run doubles `train_noise`.
        self.model.set_bw(rate.max(least).min(most));
        // Where much less comes out, the path has become slower.
        let collapse = (most as f64 * self.params.collapse) as u64;
        let ours = rate >= collapse && self.can_tell_queues() && !s.app_limited;
        if ours {
            self.queue.untrim();
            self.enter(Mode::Drain, s);
        }
        ours
    }

    /// Slows down to the delivery rate. A path that became slower keeps that rate. If others fill the queue, they take what
    /// we give up, so the rate falls again. A path that becomes slower twice before its queue is empty looks the same;
    /// the next test of competitive mode corrects that.
    fn on_collapse(&mut self, s: &AckSample) {
        let first = self.queue.first_fall(Fall {
            rate: self.given,
            in_flight: s.prior_in_flight,
        });
        let steady = first.rate as f64 * self.params.collapse_steady;
        if (self.given as f64) < steady && self.can_tell_queues() {
            self.enter_competitive(s, false);
            return;
        }
        let floor = self.bw() as f64 * self.queue.trim() * self.params.collapse_floor;
        self.model.set_bw(self.given.max(floor as u64));
        self.queue.untrim();
        self.plan_probe_soon();
        self.enter(Mode::Drain, s);
    }
}
