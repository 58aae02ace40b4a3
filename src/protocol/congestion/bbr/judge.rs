//! What an interval of rounds tells: the path's own loss, excess loss, a queue, and whose it is.

use std::time::Duration;

use super::super::AckSample;
use super::loss::{Baseline, Load};
use super::queue::Fall;
use super::round::Interval;
use super::{Bbr, Mode};

impl Bbr {
    /// Judges what an interval lost and what queue it saw. Returns whether it lost more than the path does by itself;
    /// `None` while there is nothing to judge. A probe does not wait for its interval's end.
    pub(super) fn judge(&mut self, s: &AckSample, ended: Option<Interval>) -> Option<bool> {
        let Some(interval) = ended else {
            let early = matches!(self.mode, Mode::Up(_))
                && self.round.in_mode() >= 1
                && self.is_excess(&self.round.current().count);
            return early.then_some(true);
        };
        let excess = self.is_excess(&interval.count);
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
            // What seemed an idle path was a queue that others had filled before us, and the loss was theirs.
            self.baseline = Baseline::default();
            self.quiet_rtt = Duration::ZERO;
        }
        if !excess {
            self.short_term.on_no_excess(self.model.max_bw(), &self.params);
        } else if self.is_at_rate() {
            // In a probe excess loss is the probe's answer.
            let bw = self.bw();
            self.short_term.on_excess(interval.rate(), bw, &self.params);
        }
        Some(excess)
    }

    /// An interval whose lowest RTT is `low` tells of the path's own loss if we cannot have caused it.
    fn learn_baseline(&mut self, interval: &Interval, low: Duration) {
        let p = &self.params;
        let min = self.model.min_rtt(p).unwrap_or(low);
        // Others' queues come and go within an interval: their troughs are not quiet.
        let no_queue = interval.mean().is_some_and(|mean| !self.model.is_queue(mean, p));
        let quiet = low <= min + min / p.quiet_part + p.quiet_slack && no_queue;
        let calm = interval.high <= min + min / p.growing_part + p.growing_slack;
        let load = match self.mode {
            Mode::Startup if calm && self.startup.grows(self.model.max_bw(), p) => Load::Growing,
            Mode::Cruise if quiet => Load::Full,
            Mode::Down if quiet => Load::Less,
            _ => return,
        };
        self.quiet_rtt = self.quiet_rtt.max(min);
        let bw = self.bw();
        if let Some(proven) = self.baseline.on_interval(load, interval.count, bw, &self.params) {
            // It was no congestion that lowered the estimate.
            self.short_term.take();
            self.model.on_rate(proven);
        }
    }

    /// Draws the conclusions from a queue, or its absence.
    fn on_queue(&mut self, s: &AckSample, interval: &Interval) {
        // A window that was lowered on purpose says nothing of what we are given.
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
            if self.queue.on_cruise(interval.time, &self.params) {
                self.correct_startup(interval);
            }
            let packets = (self.bdp(self.bw()) / self.model.mtu() as f64).max(1.0);
            self.queue.adjust(packets, &self.params);
        }
        let overflow = self.overflows(interval);
        if self.is_at_rate() && self.can_tell_queues() && self.queue.is_rivals(overflow, &self.params) {
            self.enter_competitive(s, overflow);
        }
    }

    /// ACKs that the way back pushed together may have made the fastest train too fast. What comes out of a full queue is
    /// the path's rate, whoever filled it.
    fn correct_startup(&mut self, interval: &Interval) {
        let most = self.model.max_bw();
        if let Some(rate) = interval.rate() {
            let least = (most as f64 * self.params.train_noise) as u64;
            self.model.set_bw(rate.clamp(least, most));
        }
    }

    /// Slows down to what comes through. A path that became slower goes on giving that; what others fill gives less and
    /// less, and they get what we gave up. A path that falls again before its queue has gone is taken for the latter;
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
        self.plan_probe_in(self.params.look_rounds);
        self.enter(Mode::Drain, s);
    }
}
