//! The state machine: startup, drain, and the cycle of probes (sections 4.3.2 to 4.3.4).

use super::super::{AckSample, Phase};
use super::contest::LOOK_ROUND;
use super::filters::Stretch;
use super::loss::Place;
use super::{BETA, Bbr, LASTING};
use std::time::Duration;

/// Startup: the window against the product of bandwidth and RTT, and the pace of the first window (section 5.6.2,
/// BBRStartupPacingGain).
pub(super) const STARTUP_GAIN: f64 = 2.77;
/// Startup: pacing against the fastest train so far. A train has proven its rate, though it lasted but a part of the
/// round trip; how much more is sent than the path takes is up to the window.
const STARTUP_PACE: f64 = 4.0;
/// Share of the pipe left in flight while the unloaded RTT is measured (BBRProbeRTTCwndGain).
pub(super) const PROBE_RTT_GAIN: f64 = 0.5;
/// How often the unloaded RTT must be seen (ProbeRTTInterval).
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// How long it is measured at least (ProbeRTTDuration).
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// Growth that counts as growth in startup (section 4.3.1.2).
const STARTUP_GROWTH: f64 = 1.25;
/// Growth that keeps a probe going: well above the noise of a rate sample, half of what the probe asks for.
const PROBE_GROWTH: f64 = 1.1;
/// Share of the pipe left in flight to see whether a queue is ours alone: less would show nothing more.
const CONTEST_DIP: f64 = 0.75;
/// Below this RTT probes come more often in proportion, a hundred and more RTTs apart still: on a local network a
/// busy moment of either machine must not set the rate for seconds.
const SHORT_RTT: Duration = Duration::from_millis(20);
/// Nor on paths of fewer packets a second than these: a probe and what follows it take a few hundred.
const SHORT_PACKETS: u64 = 4000;
/// One measurement may be this much too low by chance.
const NOISE: f64 = 0.95;
/// Per clean stretch, short-term bandwidth grows back by this.
const REGAIN: f64 = 1.03;
/// Rounds without growth that end startup. The draft waits for three, because TCP's receive window may hold
/// growth up for one; ours does not, and each round more overfills the queue.
const FULL_ROUNDS: u32 = 2;
/// Rounds after which a probe ends that an idle application left without an answer.
const UNANSWERED: u32 = 8;
/// After a contest, overflowing a queue means that rivals are still there, for so long.
const MEMORY: Duration = Duration::from_secs(10);

/// Where in its life the controller is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
    Contest,
    Hold,
}

impl State {
    pub(super) fn pacing_gain(self) -> f64 {
        match self {
            State::Startup => STARTUP_PACE,
            State::Drain => 0.5,
            State::Down => 0.9,
            State::Cruise | State::Refill | State::ProbeRtt | State::Contest | State::Hold => 1.0,
            State::Up => 1.25,
        }
    }

    pub(super) fn window_gain(self) -> f64 {
        match self {
            State::Up => 2.25,
            State::Startup => STARTUP_GAIN,
            _ => 2.0,
        }
    }

    pub(super) fn phase(self) -> Phase {
        match self {
            State::Startup => Phase::Startup,
            State::Drain => Phase::Drain,
            State::Down => Phase::ProbeDown,
            State::Cruise | State::Refill | State::Contest | State::Hold => Phase::Steady,
            State::Up => Phase::ProbeUp,
            State::ProbeRtt => Phase::ProbeRtt,
        }
    }
}

impl Bbr {
    pub(super) fn on_state(&mut self, s: &AckSample, ended: Option<Stretch>) {
        let verdict = self.judge(s, ended);
        match self.state {
            State::Startup => self.on_startup(s, ended),
            State::Drain => {
                // What was lost but is not known to be counts as in flight; the RTT knows better.
                let empty = s.rtt.is_some_and(|rtt| !self.is_queue(rtt));
                if empty || s.in_flight as f64 <= self.pipe(self.max_bw.get()) || self.round.in_phase > 4 {
                    self.plan_probe();
                    self.enter(State::Cruise, s);
                }
            }
            State::Down => {
                let drained = !self.queued || s.in_flight as f64 <= self.pipe(self.bw());
                if drained && verdict.is_some() {
                    self.enter(State::Cruise, s);
                } else {
                    self.wait_for_probe(s);
                }
            }
            State::Cruise => self.wait_for_probe(s),
            State::Refill => {
                if self.round.started && self.round.in_phase >= 2 {
                    self.enter(State::Up, s);
                    self.full_bw = self.max_bw.get();
                    self.probed = 0;
                }
            }
            State::Up => self.on_up(s, verdict, ended),
            State::ProbeRtt => self.on_probe_rtt(s),
            State::Contest => self.on_contest(s),
            State::Hold => {
                if let Some(stretch) = ended {
                    self.on_hold(s, &stretch);
                }
            }
        }
        let due = s.now.since(self.min_rtt.idle_at()) > PROBE_RTT_INTERVAL;
        if due && matches!(self.state, State::Drain | State::Down | State::Cruise) {
            self.enter_probe_rtt(s);
        }
    }

    /// Whether the stretch that ended lost more than the path itself does (a probe does not wait for its end).
    /// None while there is nothing to judge.
    fn judge(&mut self, s: &AckSample, ended: Option<Stretch>) -> Option<bool> {
        let Some(stretch) = ended else {
            let early = self.state == State::Up
                && self.round.in_phase >= 1
                && self.round.current().count.exceeds(self.p0);
            return early.then_some(true);
        };
        let excess = stretch.count.exceeds(self.p0);
        if let Some(low) = stretch.low {
            let min = self.min_rtt.get().unwrap_or(low);
            // Others' queues come and go within a stretch: their troughs are not quiet.
            let quiet = low <= min + min / 20 + Duration::from_millis(1)
                && stretch.mean().is_some_and(|mean| !self.is_queue(mean));
            let grew = self.max_bw.get() as f64 >= self.full_bw as f64 * STARTUP_GROWTH;
            match self.state {
                State::Startup if stretch.high <= min + min / 4 + Duration::from_millis(2) && grew => {
                    self.baseline.on_stretch(Place::Growing, stretch.count)
                }
                State::Cruise if quiet => self.baseline.on_stretch(Place::Cruise, stretch.count),
                State::Down if quiet => self.baseline.on_stretch(Place::Down, stretch.count),
                _ => {}
            }
            self.queued = self.is_queue(low);
            self.on_queue(s, &stretch);
            if !self.queued && matches!(self.state, State::Cruise | State::Down) {
                self.jitter.on_stretch(&stretch);
            }
        }
        self.p0 = self.baseline.get();
        if excess {
            self.on_excess(stretch.rate());
        } else {
            self.on_no_excess();
        }
        Some(excess)
    }

    fn on_startup(&mut self, s: &AckSample, ended: Option<Stretch>) {
        if !self.round.started || s.app_limited {
            return;
        }
        if self.max_bw.get() as f64 >= self.full_bw as f64 * STARTUP_GROWTH {
            self.full_bw = self.max_bw.get();
            self.full_rounds = 0;
            self.grew_at = s.now;
            return;
        }
        self.full_rounds += 1;
        let low = ended.map_or(self.round.current().low, |e| e.low);
        let queue = low.is_some_and(|low| self.is_queue(low));
        let long = s.now.since(self.grew_at) >= LASTING.max(self.late * 2);
        if long && (queue || self.full_rounds >= FULL_ROUNDS) {
            self.full = true;
            self.unproven = true;
            self.enter(State::Drain, s);
        }
    }

    pub(super) fn enter_probe_rtt(&mut self, s: &AckSample) {
        self.enter(State::ProbeRtt, s);
        self.probe_rtt_done = None;
        self.dip = None;
    }

    fn on_up(&mut self, s: &AckSample, verdict: Option<bool>, ended: Option<Stretch>) {
        let recent = self.contested_at.is_some_and(|t| s.now.since(t) < MEMORY);
        let low = ended.map_or(self.round.current().low, |e| e.low);
        if verdict == Some(true) && recent && low.is_some_and(|low| self.is_queue(low)) {
            self.enter_contest(s, true);
            return;
        }
        if verdict == Some(true) {
            self.enter_down(s);
            return;
        }
        // The first stretch to begin and end inside the probe has its answer.
        if let Some(rate) = ended.and_then(|e| e.rate()) {
            self.probed = self.probed.max(rate);
            let growth = rate as f64 / (self.full_bw as f64 * self.trim).max(1.0);
            if growth >= PROBE_GROWTH && !self.queued {
                self.full_bw = rate;
                self.max_bw.reset(rate);
                self.trim = 1.0;
                // The next answer is to what is sent from now on, a quarter faster again.
                self.round.restart(s.now, s.delivered, 1);
            } else {
                self.enter_down(s);
            }
        } else if self.round.in_phase > UNANSWERED {
            self.enter_down(s);
        }
    }

    /// Excess loss at or below the path's rate: somebody else has come, or the path has become slower.
    fn on_excess(&mut self, rate: Option<u64>) {
        // In a probe it is the probe's answer, not news.
        let own = matches!(
            self.state,
            State::Startup | State::Drain | State::Up | State::ProbeRtt | State::Hold
        );
        // One bad stretch may be a burst of noise; two in a row are believed.
        if !own && std::mem::replace(&mut self.suspect, true) {
            let floor = (self.bw() as f64 * BETA) as u64;
            self.bw_lo = Some(rate.unwrap_or(0).min(self.bw()).max(floor));
        }
    }

    /// A stretch without excess: what excess loss took is given back step by step.
    fn on_no_excess(&mut self) {
        self.suspect = false;
        self.bw_lo = self
            .bw_lo
            .map(|lo| (lo as f64 * REGAIN) as u64)
            .filter(|&lo| lo < self.max_bw.get());
    }

    fn wait_for_probe(&mut self, s: &AckSample) {
        if s.now.since(self.phase_began) >= self.probe_wait {
            // What excess loss left is what is known to work. A policer's bucket once let much more through.
            if let Some(lo) = self.bw_lo.take() {
                self.max_bw.reset(lo);
            }
            if self.pressed && self.can_tell_queues() {
                self.enter_contest(s, false);
            } else {
                self.unproven = false;
                self.enter(State::Refill, s);
            }
        }
    }

    fn enter_down(&mut self, s: &AckSample) {
        // What the probe was given is what there is, within the noise of one measurement. A probe cut short, under
        // jitter, can only tell of more: much of what it was given belongs to the pace before it.
        let whole = self.probed > 0;
        let current = self.round.current();
        if current.count.is_enough()
            && let Some(rate) = current.rate()
        {
            self.probed = self.probed.max(rate);
        }
        let steady = self.jitter.get() * 4 < self.min_rtt.get().unwrap_or_default();
        let lower = whole || steady && self.probed > 0;
        let noise = if lower { NOISE } else { 1.0 };
        let known = (self.max_bw.get() as f64 * self.trim * noise) as u64;
        self.max_bw.reset(self.probed.max(known));
        self.trim = 1.0;
        self.plan_probe();
        self.enter(State::Down, s);
    }

    pub(super) fn plan_probe(&mut self) {
        self.queued_for = 0;
        self.queued_time = Duration::ZERO;
        self.pressed = false;
        self.cleared = false;
        // Two to three seconds apart, at random, so that flows do not probe in step (section 4.3.3.6).
        // Long paths wait longer, and short ones less: a probe costs some round trips.
        let rtt = self.min_rtt.get().unwrap_or_default();
        let usual = Duration::from_millis(2000 + self.rng.next_u64() % 1000);
        let packets = (SHORT_PACKETS * self.mtu) as f64 / self.bw().max(1) as f64;
        let short = (rtt.as_secs_f64() / SHORT_RTT.as_secs_f64()).max(packets);
        self.probe_wait = (usual + rtt * 6).min(usual.mul_f64(short));
    }

    /// The window that empties a queue of our own.
    pub(super) fn probe_rtt_window(&self) -> u64 {
        match self.contest {
            Some(_) => (CONTEST_DIP * self.bdp(self.rate)) as u64,
            None => (PROBE_RTT_GAIN * self.bdp(self.bw())) as u64,
        }
    }

    fn on_probe_rtt(&mut self, s: &AckSample) {
        let min_rtt = self.min_rtt.get().unwrap_or_default();
        match self.probe_rtt_done {
            None if s.in_flight <= self.probe_rtt_window() + 4 * self.mtu => {
                let time = if self.contest.is_some() {
                    min_rtt
                } else {
                    PROBE_RTT_TIME
                };
                self.probe_rtt_done = Some(s.now + time);
                self.round.restart(s.now, s.delivered, 1);
            }
            Some(at) => {
                if let Some(rtt) = s.rtt {
                    self.dip = Some(self.dip.map_or(rtt, |d| d.min(rtt)));
                }
                if s.now > at && self.round.in_phase >= 1 {
                    self.end_probe_rtt(s);
                }
            }
            None => {}
        }
    }

    fn end_probe_rtt(&mut self, s: &AckSample) {
        let empty = self.dip.is_some_and(|d| !self.is_queue(d));
        if let Some(rtt) = self.dip {
            self.min_rtt.on_probe(s.now, rtt, self.contest.is_some());
        }
        if self.contest.is_none() {
            self.enter(State::Cruise, s);
        } else if empty {
            self.resume(s, self.rate, LOOK_ROUND);
        } else {
            self.enter(State::Contest, s);
        }
    }

    pub(super) fn enter(&mut self, state: State, s: &AckSample) {
        if !(self.state == State::Down && state == State::Cruise) {
            self.phase_began = s.now;
        }
        self.state = state;
        // A probe cut short by loss has still seen the path full.
        let partial = self.round.current();
        if self.full
            && partial.count.is_enough()
            && let Some(rate) = partial.rate()
        {
            self.max_bw.on_sample(rate);
        }
        let skip = match state {
            // Loss is noticed late: that of a probe in the second round after it.
            State::Down => 2,
            _ => 1,
        };
        self.round.restart(s.now, s.delivered, skip);
    }
}
