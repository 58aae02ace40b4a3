//! The default controller: the skeleton of BBRv3 (draft-ietf-ccwg-bbr), which also tells loss from congestion.
//!
//! It models the path by its bandwidth and its unloaded RTT. It paces at that bandwidth, keeps about one product of
//! both in flight, and probes for more every few seconds. These parts differ from the draft:
//!
//! 1. `loss`: loss counts only beyond the path's own, and the pacing rate makes up for that loss. BBRv3 takes any loss
//!    above 2% for congestion.
//! 2. `round`: bandwidth is the mean of rate samples over whole rounds with at least 100 packets. The maximum of noisy
//!    samples is several percent too high and fills buffers.
//! 3. `model`: the window covers the jitter that is seen while we build no queue. Otherwise reordering would leave the
//!    path idle. ProbeRTT is left out while the path shows its unloaded RTT anyway.
//! 4. `startup`: follows the rate of trains of packets, which are shorter than a round.
//! 5. `queue`: a queue in cruise lowers the pace step by step. If the queue stays, it belongs to others.
//! 6. `competitive`: while others fill the queue, the window follows CUBIC's curve (`cubic`). Two flows of the draft's
//!    kind keep the shares that they began with, and push CUBIC aside in shallow buffers. If cuts are in vain, a rate
//!    is held.
//!
//! `judge` draws the conclusions from an interval. `probe_bw` and `probe_rtt` are the draft's states. `params` has all
//! numbers. Section numbers in this folder are those of draft-ietf-ccwg-bbr. Each part writes its own fields only, and
//! this file joins the parts.

mod competitive;
mod judge;
mod loss;
mod model;
mod params;
mod probe_bw;
mod probe_rtt;
mod queue;
mod round;
mod startup;

use std::time::Duration;

pub use self::params::Params;
use super::{AckSample, Controller, Stage};
use crate::protocol::rng::SplitMix64;
use crate::protocol::time::Time;
use competitive::{Competitive, Hold};
use loss::{Baseline, Count, ShortTerm};
use model::Model;
use probe_bw::Probe;
use probe_rtt::ProbeRtt;
use queue::Queue;
use round::{Interval, Round};
use startup::Startup;

/// What sets window and pace: the states of the draft (section 3.3), which follow the model of the path, and two more.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up(Probe),
    ProbeRtt(ProbeRtt),
    /// A window on CUBIC's curve, while others fill the queue.
    Competitive(Competitive),
    /// A rate, beside flows that do not react to loss.
    Hold(Hold),
}

/// BBR with a loss baseline.
#[derive(Debug)]
pub struct Bbr {
    params: Params,
    rng: SplitMix64,
    mode: Mode,
    startup: Startup,
    round: Round,
    model: Model,
    baseline: Baseline,
    /// Highest unloaded RTT that was known while the baseline was learnt.
    quiet_rtt: Duration,
    short_term: ShortTerm,
    queue: Queue,
    /// How long to wait for the next probe, and since when.
    probe_wait: Duration,
    waiting_since: Time,
    last_competitive: Option<Time>,
    /// Whether the path's highest rate was measured while nobody else was there.
    alone: bool,
    /// Delivery rate of the last interval, bytes a second.
    given: u64,
    window: u64,
    pacing_rate: u64,
}

impl Bbr {
    /// A controller for a new path. `initial_rtt` is the handshake's, if known. `seed` spreads the probes of several
    /// flows in time.
    pub fn new(now: Time, mtu: u16, initial_rtt: Option<Duration>, seed: u64) -> Self {
        Bbr::with_params(now, mtu, initial_rtt, seed, Params::DEFAULT)
    }

    /// The same with other numbers, for the ablation run.
    pub fn with_params(
        now: Time,
        mtu: u16,
        initial_rtt: Option<Duration>,
        seed: u64,
        params: Params,
    ) -> Self {
        let mtu = u64::from(mtu);
        let rtt = initial_rtt.unwrap_or(params.initial_rtt);
        let rate = params.initial_rate as f64 * rtt.as_secs_f64();
        let window = (params.initial_packets * mtu).max(rate as u64);
        let mut bbr = Bbr {
            rng: SplitMix64::new(seed),
            mode: Mode::Startup,
            startup: Startup::new(now),
            round: Round::default(),
            model: Model::new(now, mtu),
            baseline: Baseline::default(),
            quiet_rtt: Duration::ZERO,
            short_term: ShortTerm::default(),
            queue: Queue::new(),
            probe_wait: params.probe_wait,
            waiting_since: now,
            last_competitive: None,
            alone: false,
            given: 0,
            window,
            pacing_rate: 0,
            params,
        };
        bbr.pacing_rate = bbr.initial_pacing_rate(rtt);
        bbr
    }

    /// The pace of the first window (BBRInitPacingRate), bytes a second.
    fn initial_pacing_rate(&self, rtt: Duration) -> u64 {
        let rtt = rtt.max(self.params.least_rtt).as_secs_f64();
        (self.params.startup_pacing_gain * self.window as f64 / rtt) as u64
    }

    // ---- what follows from the model ----

    const fn is_starting(&self) -> bool {
        matches!(self.mode, Mode::Startup)
    }

    /// Whether we send at the estimated rate or a little below.
    const fn is_at_rate(&self) -> bool {
        matches!(self.mode, Mode::Down | Mode::Cruise | Mode::Refill)
    }

    /// Whether the newest train of Startup shows a queue. Until it is gone, we send no faster than that train.
    fn has_filled_the_pipe(&self) -> bool {
        let low = self.startup.low(self.model.mtu(), &self.params);
        let queue = |low: Duration| self.is_queue(low.saturating_sub(self.model.late()));
        self.is_starting() && low.is_some_and(queue)
    }

    /// Bandwidth to act on (BBR.bw): the maximum, or the bound after excess loss.
    fn bw(&self) -> u64 {
        self.short_term.bound(self.model.max_bw())
    }

    /// The path's own loss, 0 to 1.
    fn p0(&self) -> f64 {
        self.baseline.get(&self.params)
    }

    /// Bytes sent to have `bw` delivered.
    fn gross(&self, bw: u64) -> f64 {
        bw as f64 / (1.0 - self.p0())
    }

    /// Bandwidth-delay product in bytes, of the unloaded RTT.
    fn bdp(&self, bw: u64) -> f64 {
        let rtt = self
            .model
            .min_rtt(&self.params)
            .unwrap_or(self.params.initial_rtt);
        self.gross(bw) * rtt.as_secs_f64()
    }

    /// Bytes in flight at `bw` without a queue of ours. Jitter delays a packet by half its range on average.
    fn pipe(&self, bw: u64) -> f64 {
        self.bdp(bw) + self.gross(bw) * self.model.jitter().as_secs_f64() / 2.0
    }

    /// Time that the window must cover beside the unloaded RTT. In Startup the spread of RTTs may be a queue of ours, so
    /// only reordering counts as jitter.
    const fn spread(&self) -> Duration {
        if self.is_starting() {
            self.model.late()
        } else {
            self.model.jitter()
        }
    }

    fn is_queue(&self, low: Duration) -> bool {
        self.model.is_queue(low, &self.params)
    }

    /// Whether the mean RTT of this interval shows a queue.
    fn fills_queue(&self, interval: &Interval) -> bool {
        interval.mean().is_some_and(|mean| self.is_queue(mean))
    }

    /// Whether more was lost than the path loses by itself, or a queue marked packets: a mark is worth a loss (RFC 3168).
    fn is_excess(&self, count: &Count) -> bool {
        count.marked > 0 || count.exceeds(self.p0(), &self.params)
    }

    /// Whether a queue stood during the whole interval and lost or marked packets.
    fn overflows(&self, interval: &Interval) -> bool {
        let possible = self.baseline.possible(&self.params);
        let overflow = interval.count.is_overflow(possible, &self.params);
        self.queue.is_standing() && (interval.count.marked > 0 || overflow)
    }

    /// Whether more was lost than the baseline explains, as far as it is learnt.
    fn is_overflow(&self, count: &Count) -> bool {
        count.is_overflow(self.baseline.raw(&self.params), &self.params)
    }

    /// Whether enough packets fit the pipe to tell a queue from packets in service.
    fn can_tell_queues(&self) -> bool {
        self.bdp(self.model.peak()) >= self.params.few_packets * self.model.mtu() as f64
    }

    // ---- what an ACK changes ----

    fn update_model(&mut self, s: &AckSample) -> Option<Interval> {
        if let Some(rtt) = s.rtt
            && self.model.min_rtt(&self.params).is_none()
        {
            self.pacing_rate = self.pacing_rate.max(self.initial_pacing_rate(rtt));
        }
        self.model.on_ack(s, &self.params);
        let min_rtt = self.model.min_rtt(&self.params).unwrap_or_default();
        let ended = self.round.on_ack(s, min_rtt + self.spread(), &self.params);
        if self.is_starting() {
            let rate = self.startup.rate(s, min_rtt, self.model.mtu(), &self.params);
            self.model.on_measured_rate(rate);
        } else if let Some(rate) = ended.and_then(|e| e.rate()) {
            self.model.on_measured_rate(rate);
        }
        ended
    }

    fn run_mode(&mut self, s: &AckSample, ended: Option<Interval>) {
        let verdict = self.judge(s, ended);
        match self.mode {
            Mode::Startup => self.on_startup(s, verdict == Some(true), ended),
            Mode::Drain => self.on_drain(s),
            Mode::Down => self.on_down(s, verdict.is_some()),
            Mode::Cruise => self.wait_for_probe(s),
            Mode::Refill => self.on_refill(s),
            Mode::Up(probe) => self.on_up(s, probe, verdict == Some(true), ended),
            Mode::ProbeRtt(probe) => self.on_probe_rtt(s, probe),
            Mode::Competitive(competitive) => self.on_competitive(s, competitive),
            Mode::Hold(hold) => {
                if let Some(interval) = ended {
                    self.on_hold_interval(s, hold, &interval);
                }
            }
        }
        let may_probe = matches!(self.mode, Mode::Drain | Mode::Down | Mode::Cruise);
        if may_probe && s.now.since(self.model.idle_at()) > self.params.probe_rtt_interval {
            self.enter(Mode::ProbeRtt(ProbeRtt::default()), s);
        }
    }

    fn on_startup(&mut self, s: &AckSample, excess: bool, ended: Option<Interval>) {
        let at_full_rate = |interval| self.is_at_full_rate(s, &interval);
        if s.app_limited && excess && ended.is_some_and(at_full_rate) {
            self.plan_probe();
            self.enter(Mode::Drain, s);
            return;
        }
        if !self.round.has_started() || s.app_limited {
            return;
        }
        let low = ended.map_or(self.round.current().low, |e| e.low);
        let queue = low.is_some_and(|low| self.is_queue(low));
        let (max_bw, late) = (self.model.max_bw(), self.model.late());
        if self.startup.on_round(s.now, max_bw, queue, late, &self.params) {
            self.plan_probe();
            self.enter(Mode::Drain, s);
        }
    }

    fn on_drain(&mut self, s: &AckSample) {
        // Lost packets count as in flight until they are declared lost, so the RTT counts as well.
        let empty = s.rtt.is_some_and(|rtt| !self.is_queue(rtt));
        let drained = s.in_flight as f64 <= self.pipe(self.model.max_bw());
        if empty || drained || self.round.in_mode() > self.params.drain_rounds {
            self.enter(Mode::Cruise, s);
        }
    }

    /// Sets the estimate to `rate` and removes the bounds of the old one.
    fn forget_estimate(&mut self, rate: u64) {
        self.model.set_bw(rate);
        self.short_term.take();
        self.queue.untrim();
    }

    /// A new mode ends the interval early. The path was full until then, so its rate counts.
    fn note_round_in_progress(&mut self) {
        if let Some(rate) = self.round.current().sure_rate(&self.params) {
            self.model.on_rate(rate);
        }
    }

    fn enter(&mut self, mode: Mode, s: &AckSample) {
        // ProbeBW_CRUISE continues the wait of ProbeBW_DOWN for a probe.
        if !matches!((self.mode, mode), (Mode::Down, Mode::Cruise)) {
            self.waiting_since = s.now;
        }
        self.note_round_in_progress();
        self.mode = mode;
        // A probe's loss is declared in the second round after it.
        let skip = if matches!(mode, Mode::Down) { 2 } else { 1 };
        self.round.restart(s.now, s.delivered, skip);
    }

    /// Competitive mode, also during its test.
    const fn competitive(&self) -> Option<Competitive> {
        match self.mode {
            Mode::Competitive(competitive) => Some(competitive),
            Mode::ProbeRtt(probe) => probe.competitive,
            _ => None,
        }
    }

    // ---- window and pace ----

    fn pacing_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup if self.has_filled_the_pipe() => 1.0,
            Mode::Startup => self.params.startup_pacing_gain,
            Mode::Drain => self.params.drain_pacing_gain,
            Mode::Down => self.params.down_pacing_gain,
            Mode::Up(_) => self.params.up_pacing_gain,
            Mode::Cruise => self.queue.trim(),
            _ => 1.0,
        }
    }

    fn cwnd_gain(&self) -> f64 {
        match self.mode {
            Mode::Up(_) => self.params.up_cwnd_gain,
            _ => self.params.cwnd_gain,
        }
    }

    fn set_pacing_rate(&mut self, s: &AckSample) {
        if let Some(competitive) = self.competitive() {
            let srtt = s.smoothed_rtt.as_secs_f64().max(1e-4);
            let window = competitive.window() * self.model.mtu() as f64;
            self.pacing_rate = (self.params.competitive_pacing_gain * window / srtt) as u64;
        } else if let Mode::Hold(hold) = self.mode {
            self.pacing_rate = hold.rate();
        } else {
            let rate = self.pacing_gain() * self.gross(self.bw()) * self.params.pacing_margin;
            let rate = (rate as u64).max(self.model.mtu());
            // Until the pipe is full, a lower rate only means too few samples (section 4.6.2).
            let believed = !self.is_starting() || self.has_filled_the_pipe() || rate > self.pacing_rate;
            if self.model.max_bw() > 0 && believed {
                self.pacing_rate = rate;
            }
        }
    }

    fn set_window(&mut self) {
        let mtu = self.model.mtu();
        let target = match self.competitive() {
            Some(competitive) => competitive.window() * mtu as f64,
            None => {
                let quantum = (self.pacing_rate / 1000).max(self.params.quantum_packets * mtu);
                let jitter = self.gross(self.bw()) * self.spread().as_secs_f64();
                let (bdp, mut quanta) = (self.bdp(self.bw()), (self.params.quanta * quantum) as f64);
                if self.is_starting() {
                    // The second product holds most of them. With more, a buffer of one product would overflow.
                    quanta = quanta.min((quanta - bdp).max(self.params.startup_quanta * bdp));
                }
                self.cwnd_gain() * bdp + jitter + quanta
            }
        } as u64;
        let window = match self.mode {
            Mode::Startup if self.has_filled_the_pipe() => self.window,
            Mode::Startup => target.max(self.window),
            Mode::ProbeRtt(probe) => target.min(self.probe_rtt_window(&probe)),
            _ => target,
        };
        self.window = window.max(self.params.min_pipe_packets * mtu);
    }
}

impl Controller for Bbr {
    fn on_ack(&mut self, sample: &AckSample) {
        if sample.after_outage {
            // The outage's losses are not counted, so the interval would look like one without loss.
            self.round.restart(sample.now, sample.delivered, 1);
        }
        let ended = self.update_model(sample);
        self.run_mode(sample, ended);
        self.set_pacing_rate(sample);
        self.set_window();
    }

    fn on_spurious_loss(&mut self, _now: Time, bytes: u64) {
        self.round
            .on_spurious_loss(bytes.div_ceil(self.model.mtu().max(1)));
    }

    fn on_path_change(&mut self, now: Time) {
        let mtu = u16::try_from(self.model.mtu()).unwrap_or(u16::MAX);
        *self = Bbr::with_params(now, mtu, None, self.rng.next_u64(), self.params);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    fn set_mtu(&mut self, bytes: u16) {
        self.model.set_mtu(u64::from(bytes));
    }

    fn stage(&self) -> Stage {
        match self.mode {
            Mode::Startup => Stage::Startup,
            Mode::Drain => Stage::Drain,
            Mode::Down => Stage::ProbeDown,
            Mode::Up(_) => Stage::ProbeUp,
            Mode::ProbeRtt(_) => Stage::ProbeRtt,
            Mode::Cruise | Mode::Refill | Mode::Competitive(_) | Mode::Hold(_) => Stage::Steady,
        }
    }

    fn bandwidth(&self) -> u64 {
        self.bw()
    }
}

#[cfg(test)]
mod tests;
