//! ProbeBW (section 4.3.3): sends at the estimate, and every few seconds faster, to see whether the path has more.

use std::time::Duration;

use super::super::AckSample;
use super::round::Interval;
use super::{Bbr, Mode};

/// A probe for more bandwidth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// The rate that the next answer must exceed (BBR.full_bw), bytes a second.
    full_bw: u64,
    /// The highest delivery rate of the probe, bytes a second.
    best: u64,
}

impl Bbr {
    /// Whether ProbeBW_DOWN may end after an interval.
    pub(super) fn on_down(&mut self, s: &AckSample, judged: bool) {
        let drained = !self.queue.is_standing() || s.in_flight as f64 <= self.pipe(self.bw());
        if drained && judged {
            self.enter(Mode::Cruise, s);
        } else {
            self.wait_for_probe(s);
        }
    }

    pub(super) fn wait_for_probe(&mut self, s: &AckSample) {
        if s.now.since(self.waiting_since) < self.probe_wait {
            return;
        }
        // The bound after excess loss is known to work. A higher estimate may come from a policer's full bucket.
        if let Some(bw) = self.short_term.take() {
            self.model.set_bw(bw);
        }
        if self.queue.is_pressed() && self.can_tell_queues() {
            self.enter_competitive(s, false);
        } else {
            self.queue.on_probe();
            self.enter(Mode::Refill, s);
        }
    }

    pub(super) fn on_refill(&mut self, s: &AckSample) {
        if self.round.has_started() && self.round.in_mode() >= self.params.refill_rounds {
            self.note_round_in_progress();
            let full_bw = self.model.max_bw();
            self.enter(Mode::Up(Probe { full_bw, best: 0 }), s);
        }
    }

    /// A probe ends at the first excess loss, or after an interval within it that shows no growth or a queue.
    pub(super) fn on_up(&mut self, s: &AckSample, mut probe: Probe, excess: bool, ended: Option<Interval>) {
        let low = ended.map_or(self.round.current().low, |e| e.low);
        if excess && self.was_competitive(s.now) && low.is_some_and(|low| self.is_queue(low)) {
            self.enter_competitive(s, true);
            return;
        }
        let answer = ended.and_then(|e| e.rate()).filter(|_| !excess);
        let Some(rate) = answer else {
            // At a few packets a second, an interval takes many rounds.
            let idle = s.app_limited && self.round.in_mode() > self.params.patient_rounds;
            if excess || idle {
                self.end_probe(s, probe);
            }
            return;
        };
        probe.best = probe.best.max(rate);
        let growth = rate as f64 / (probe.full_bw as f64 * self.queue.trim()).max(1.0);
        self.alone = growth < self.params.alone_growth && (self.alone || self.last_competitive.is_none());
        if growth < self.params.probe_growth || self.queue.is_standing() {
            self.end_probe(s, probe);
            return;
        }
        probe.full_bw = rate;
        self.mode = Mode::Up(probe);
        self.model.set_bw(rate);
        self.queue.untrim();
        // What is sent from now on, a quarter faster again, gives the next answer.
        self.round.restart(s.now, s.delivered, 1);
    }

    fn end_probe(&mut self, s: &AckSample, probe: Probe) {
        // The probe's highest rate is the path's, within the noise of one measurement. If jitter is large, a probe
        // that was cut short can only raise the estimate, because its samples contain packets from before it.
        let whole = probe.best > 0;
        let partial = self.round.current().sure_rate(&self.params).unwrap_or(0);
        let best = probe.best.max(partial);
        let min_rtt = self.model.min_rtt(&self.params).unwrap_or_default();
        let steady = self.model.jitter() * self.params.jitter_part < min_rtt;
        let lower = whole || steady && best > 0;
        let noise = if lower { self.params.probe_noise } else { 1.0 };
        let known = (self.model.max_bw() as f64 * self.queue.trim() * noise) as u64;
        self.model.set_bw(best.max(known));
        self.queue.untrim();
        self.plan_probe();
        self.enter(Mode::Down, s);
    }

    /// Draws the wait for the next probe, two to three seconds (section 4.3.3.6). On long paths the wait is longer, since a
    /// probe takes some round trips. On short paths it is shorter.
    pub(super) fn plan_probe(&mut self) {
        self.queue.on_probe_planned();
        let p = &self.params;
        let rtt = self.model.min_rtt(p).unwrap_or_default();
        let spread = u64::try_from(p.probe_spread.as_millis()).unwrap_or(u64::MAX);
        let random = Duration::from_millis(self.rng.next_u64() % spread.max(1));
        let usual = p.probe_wait + random;
        let packets = (p.short_packets * self.model.mtu()) as f64 / self.bw().max(1) as f64;
        let short = (rtt.as_secs_f64() / p.lasting.as_secs_f64()).max(packets);
        self.probe_wait = (usual + rtt * p.probe_rounds).min(usual.mul_f64(short));
    }

    /// Plans the next probe in a few round trips.
    pub(super) fn plan_probe_soon(&mut self) {
        self.plan_probe();
        self.probe_wait = self.model.min_rtt(&self.params).unwrap_or_default() * self.params.look_rounds;
    }
}
