//! Sharing with others. While they fill the queue, the window follows CUBIC's curve. If cuts are in vain, a rate is
//! held.
//!
//! The model does not make flows fair: two flows that each send at their measured rates keep the shares that they began
//! with. CUBIC's growth does not depend on the window, but its cuts do. So flows that follow CUBIC converge, with each
//! other and with CUBIC flows. The name is Copa's (Arun and Balakrishnan, 2018, section 2.2), whose competitive mode
//! imitates the flows that fill the queue.
//!
//! Flows that do not react to loss, such as the first BBR, take whatever we give up. If we probed against them for long,
//! we would take everything from them. So we hold a part of our earlier rate for a while in spite of loss, and then
//! look whether they are still there. Cuts may be in vain by chance, too. So the step up to that rate is a test: if it loses
//! little, the others have made room, and the window follows CUBIC's curve again.

use std::time::Duration;

use super::super::AckSample;
use super::super::cubic::Cubic;
use super::loss::Count;
use super::params::Params;
use super::probe_rtt::ProbeRtt;
use super::round::Interval;
use super::{Bbr, Mode};
use crate::protocol::time::Time;

/// The window while others fill the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Competitive {
    cubic: Cubic,
    /// Cuts in a row that came too soon after the one before, and the window before the first of them, packets.
    vain_cuts: u32,
    before: f64,
    /// When the window was last lowered to see whether the queue is ours alone.
    tested_at: Time,
}

impl Competitive {
    /// Begins with `window` packets in flight.
    pub(super) fn new(now: Time, window: f64, params: &Params) -> Self {
        let least = params.min_pipe_packets as f64;
        Competitive {
            cubic: Cubic::new(now, window.max(least), least),
            vain_cuts: 0,
            before: window.max(least),
            tested_at: now,
        }
    }

    /// The window, packets.
    pub(super) const fn window(&self) -> f64 {
        self.cubic.cwnd()
    }

    /// A queue has overflowed: cuts the window. If the cuts are in vain, since the others do not react, returns the window
    /// before the first of them.
    fn on_overflow(&mut self, now: Time, rtt: Duration, params: &Params) -> Option<f64> {
        // If the others had cut as well, there would be room for longer.
        let soon = self.cubic.is_recovering(now, rtt);
        self.vain_cuts = if soon { self.vain_cuts + 1 } else { 0 };
        if self.vain_cuts == 0 {
            self.before = self.cubic.cwnd();
        }
        self.cubic.cut(now);
        (self.vain_cuts >= params.vain_cuts).then_some(self.before)
    }
}

/// A rate that is held beside flows that do not react to loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// Bytes a second.
    rate: u64,
    since: Time,
    /// Delivery rate before the hold, bytes a second, until the step from it has shown the path's rate.
    step_from: Option<u64>,
    /// Packets since `seen_since`. The others need until then to react.
    seen: Count,
    seen_since: Time,
    /// Since when there was no queue.
    calm_since: Option<Time>,
}

impl Hold {
    fn new(now: Time, rate: u64, given: u64) -> Self {
        Hold {
            rate,
            since: now,
            step_from: Some(given),
            seen: Count::default(),
            seen_since: now,
            calm_since: None,
        }
    }

    /// Bytes a second.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Counts packets anew from `from` on.
    fn watch(&mut self, from: Time) {
        self.seen = Count::default();
        self.seen_since = from;
    }

    /// The delivery rate before the step to this rate, and the path's rate as the step shows it, bytes a second: others that
    /// do not react send as before, and the full queue loses the excess. `None` if the step was seen earlier, or does not show
    /// yet.
    fn take_step(&mut self, rounds: u32, params: &Params) -> Option<(u64, f64)> {
        let from = self
            .step_from
            .filter(|_| rounds >= params.patient_rounds && self.seen.is_enough(params))?;
        self.step_from = None;
        let lost = self.seen.ratio();
        let step = self.rate.saturating_sub(from) as f64;
        Some((from, step * (1.0 - lost) / lost.max(f64::EPSILON)))
    }
}

impl Bbr {
    /// Begins competitive mode, because others fill the queue; `overflow`: it has overflowed.
    pub(super) fn enter_competitive(&mut self, s: &AckSample, overflow: bool) {
        let window = s.in_flight_at_send.max(s.prior_in_flight) as f64;
        let fall = self.queue.take_fall().map_or(0.0, |fall| fall.in_flight as f64);
        let window = window.max(self.pipe(self.bw())).max(fall) / self.model.mtu() as f64;
        let mut competitive = Competitive::new(s.now, window, &self.params);
        if overflow {
            competitive.on_overflow(s.now, s.smoothed_rtt, &self.params);
        }
        self.compete(s, competitive);
    }

    fn compete(&mut self, s: &AckSample, competitive: Competitive) {
        self.last_competitive = Some(s.now);
        self.enter(Mode::Competitive(competitive), s);
    }

    /// Whether others were there a short time ago.
    pub(super) fn was_competitive(&self, now: Time) -> bool {
        self.last_competitive
            .is_some_and(|t| now.since(t) < self.params.competitive_memory)
    }

    /// An interval of competitive mode has ended.
    pub(super) fn on_competitive_interval(
        &mut self,
        s: &AckSample,
        mut competitive: Competitive,
        interval: &Interval,
    ) {
        // Between CUBIC's bursts a short buffer is empty, so the mean RTT counts and not the lowest.
        let overflow = self.fills_queue(interval)
            && (self.is_excess(&interval.count) || self.is_overflow(&interval.count));
        if !overflow {
            return;
        }
        let vain = competitive.on_overflow(s.now, s.smoothed_rtt, &self.params);
        self.mode = Mode::Competitive(competitive);
        match vain {
            Some(before) => self.hold(s, before),
            // Packets from before the cut do not show its effect.
            None => self.round.restart(s.now, s.delivered, 1),
        }
    }

    pub(super) fn on_competitive(&mut self, s: &AckSample, mut competitive: Competitive) {
        let mtu = self.model.mtu() as f64;
        let used = s.prior_in_flight as f64 + self.params.competitive_slack * mtu;
        if used >= competitive.window() * mtu && !self.leaves_room(s, competitive.window() * mtu) {
            competitive
                .cubic
                .grow(s.now, s.acked_packets as f64, s.smoothed_rtt);
        }
        if s.now.since(competitive.tested_at) > self.params.probe_rtt_interval {
            competitive.tested_at = s.now;
            self.enter(Mode::ProbeRtt(ProbeRtt::test(competitive)), s);
        } else {
            self.mode = Mode::Competitive(competitive);
        }
    }

    /// Whether a window of so many bytes is large enough for a flow that was alone, now that others fill the queue.
    fn leaves_room(&self, s: &AckSample, window: f64) -> bool {
        let most = self.params.alone_share * self.model.peak() as f64 * s.smoothed_rtt.as_secs_f64();
        self.alone && window > most && self.is_queue(s.smoothed_rtt)
    }

    /// Holds a rate, after cuts in vain from a window of `before` packets on.
    pub(super) fn hold(&mut self, s: &AckSample, before: f64) {
        let rtt = s.smoothed_rtt.max(self.params.least_rtt);
        let rate = self.params.beta * before * self.model.mtu() as f64 / rtt.as_secs_f64();
        let rate = (rate as u64).max(self.least_hold());
        self.forget_estimate(rate);
        self.enter(Mode::Hold(Hold::new(s.now, rate, self.given)), s);
    }

    /// An interval of holding has ended.
    pub(super) fn on_hold_interval(&mut self, s: &AckSample, mut hold: Hold, interval: &Interval) {
        let queued = self.queue.is_standing();
        let rounds = self.round.in_mode();
        hold.calm_since = match queued {
            true => None,
            false => hold.calm_since.or(Some(s.now)),
        };
        if s.now >= hold.seen_since {
            let seen = interval.count;
            hold.seen.add(Count {
                lost: seen.lost + seen.marked,
                ..seen
            });
        }
        if let Some((from, path)) = hold.take_step(rounds, &self.params) {
            let peaks = match self.alone {
                // The highest rate is the path's, so the path looks faster only by the error of the step.
                true => self.params.hold_peak_part * self.params.hold_peaks,
                false => self.params.hold_peaks,
            };
            if path > peaks * self.model.peak() as f64 {
                // The others have made room, so the cuts were not in vain.
                let window = from as f64 * s.smoothed_rtt.as_secs_f64() / self.model.mtu() as f64;
                self.forget_estimate(from);
                self.compete(s, Competitive::new(s.now, window, &self.params));
                return;
            }
            let peak = (path * self.params.hold_peak_part) as u64;
            self.model.set_peak(peak.max(self.model.peak()));
            hold.rate = hold.rate.max(self.least_hold());
            hold.watch(s.now + self.params.probe_wait);
        } else if hold.step_from.is_none() && s.now >= hold.seen_since + self.params.probe_wait {
            if hold.seen.ratio() > self.p0() + self.params.max_baseline {
                // The others do not give way, or they hold a rate as well.
                let less = (hold.rate as f64 * self.params.beta) as u64;
                hold.rate = less.min(self.given);
                self.model
                    .set_peak((hold.rate as f64 / self.params.hold_peak_part) as u64);
            }
            hold.watch(s.now);
        }
        self.mode = Mode::Hold(hold);
        let calm = hold
            .calm_since
            .is_some_and(|t| s.now.since(t) >= self.params.probe_wait);
        if s.now >= hold.since + self.params.hold_time || calm {
            self.resume(s, hold.rate);
        }
    }

    /// The lowest rate of a hold, bytes a second: an even share beside one other flow.
    fn least_hold(&self) -> u64 {
        (self.params.hold_peak_part * self.model.peak() as f64) as u64
    }

    /// Returns to the model from competitive mode or a hold, at `rate`. Much more may be free now, so the next probe comes
    /// soon.
    pub(super) fn resume(&mut self, s: &AckSample, rate: u64) {
        let known = if rate > 0 { rate } else { self.model.max_bw() };
        self.forget_estimate(known);
        self.plan_probe_soon();
        self.enter(Mode::Cruise, s);
    }
}
