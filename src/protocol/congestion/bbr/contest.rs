//! Sharing with flows that fill queues: while one is seen, the window follows CUBIC's curve (RFC 9438).
//!
//! A model of the path says nothing of fairness: two flows that each hold to what they measured keep whatever
//! division they began with. CUBIC's growth does not depend on the window and its cuts do, so flows that follow
//! it converge, with each other and with those that never do anything else.

use super::super::AckSample;
use super::filters::Stretch;
use super::probe::State;
use super::{Bbr, LASTING, MOST_TRIM, RIVAL, TRIM, UNTRIM, UNTRIM_PACKETS};
use crate::protocol::time::Time;
use std::time::Duration;

/// CUBIC's cut and growth (RFC 9438, sections 4.1 and 4.6), in packets and seconds.
const BETA: f64 = 0.7;
const C: f64 = 0.4;
/// Additive growth per round that matches Reno's share (section 4.3): 3 (1 - beta) / (1 + beta).
const FRIENDLY: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// An overflow before so much of the way back from a cut: flows that cut as well would have left more room.
const SOON: f64 = 0.5;
/// Cuts in vain, one after another, until we stop.
const VAIN: u32 = 4;

/// Round trips after a contest until the next probe: a rival that is still there shows by then.
pub(super) const LOOK_ROUND: u32 = 16;

/// With fewer packets in the pipe cuts come as often among flows of our own kind, and tell nothing.
const HOLD_PACKETS: f64 = 48.0;

/// How often the queue is tested for rivals.
const TEST_INTERVAL: Duration = Duration::from_secs(5);

/// Less than this part of the bandwidth for two stretches, with a queue: the path has become slower, or others fill a
/// deep buffer. After that verdict one such stretch is enough for the next.
const COLLAPSE: f64 = 0.7;
/// What one such verdict leaves at least: a rival's burst can shut us out for a moment.
const FALL: f64 = 0.5;
/// On a path that merely became slower every later verdict finds at least this part of the first one's rate.
const STEADY: f64 = 0.8;

/// What startup's fastest train may be worth at least.
const TRAIN_NOISE: f64 = 0.8;

/// A trim that our own error does not explain: probing by a quarter would only take from others.
const PRESSED: f64 = 0.92;

/// With fewer packets in the pipe a queue is hard to tell from a packet or two in service.
const FEW_PACKETS: f64 = 12.0;

/// A window on CUBIC's curve, in packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    pub(super) window: f64,
    friendly: f64,
    /// The window before the last cut.
    most: f64,
    cut_at: Time,
    is_cut: bool,
    /// Cuts in a row that did not help.
    in_vain: u32,
    /// The window before the first of those.
    before: f64,
    /// When the window was last lowered to see whether the queue is ours alone.
    pub(super) tested_at: Time,
}

/// The first verdict that the path has become slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    rate: u64,
    in_flight: u64,
}

impl Contest {
    /// Begins with `window` packets in flight.
    pub(super) fn new(now: Time, window: f64) -> Self {
        Contest {
            window,
            friendly: window,
            most: window,
            cut_at: now,
            is_cut: false,
            in_vain: 0,
            before: window,
            tested_at: now,
        }
    }

    /// A queue has overflowed. Returns whether cutting is in vain, because whoever fills it does not care.
    pub(super) fn on_overflow(&mut self, now: Time, rtt: Duration) -> bool {
        // To windows so small additive growth is the faster way back.
        let rounds = self.most * (1.0 - BETA) / FRIENDLY;
        let way_back = (self.regain() * SOON).min(rounds * rtt.as_secs_f64());
        let soon = self.is_cut && now.since(self.cut_at).as_secs_f64() < way_back;
        self.in_vain = if soon { self.in_vain + 1 } else { 0 };
        if self.in_vain == 0 {
            self.before = self.window;
        }
        self.cut(now);
        self.in_vain >= VAIN
    }

    /// Seconds that the curve takes back to where it was cut (K of section 4.2).
    fn regain(&self) -> f64 {
        (self.most * (1.0 - BETA) / C).cbrt()
    }

    fn cut(&mut self, now: Time) {
        // Fast convergence (section 4.7): who has less than last time leaves the room to the newcomer.
        self.most = if self.window < self.most {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(4.0);
        self.friendly = self.window;
        self.cut_at = now;
        self.is_cut = true;
    }

    /// `acked` packets were acknowledged and the window was used.
    pub(super) fn grow(&mut self, now: Time, acked: f64, rtt: Duration) {
        let k = if self.is_cut { self.regain() } else { 0.0 };
        let t = (now.since(self.cut_at) + rtt).as_secs_f64();
        let goal = C * (t - k).powi(3) + self.most;
        self.friendly += FRIENDLY * acked / self.window;
        let step = ((goal - self.window) / self.window).clamp(0.0, 0.5);
        self.window = (self.window + step * acked).max(self.friendly);
    }

    /// Whether it is time to look for rivals again.
    pub(super) fn is_test_due(&self, now: Time) -> bool {
        now.since(self.tested_at) > TEST_INTERVAL
    }
}

impl Bbr {
    /// Whether this RTT, the lowest of some time, tells of a queue.
    pub(super) fn is_queue(&self, low: Duration) -> bool {
        low > self.min_rtt.get().unwrap_or(low) + self.queue_noise()
    }

    /// How far the lowest RTT of a stretch may lie above the minimum without a queue: timers and ACKs, jitter that
    /// not every stretch escapes, and a packet and a half in service.
    fn queue_noise(&self) -> Duration {
        let min_rtt = self.min_rtt.get().unwrap_or_default();
        // ACKs are up to an eighth of the RTT apart, and as late again: that much spread is none of the path's.
        let jitter = self.jitter.get().saturating_sub(min_rtt / 4);
        min_rtt / 16 + Duration::from_micros(500) + jitter / 2 + self.service()
    }

    /// Draws the conclusions from a queue, or its absence.
    pub(super) fn on_queue(&mut self, s: &AckSample, stretch: &Stretch) {
        // A shallow queue need not show all the time; then the loss must.
        let count = &stretch.count;
        let filled = stretch.mean().is_some_and(|mean| self.is_queue(mean));
        let contested = self.contest.is_some() && filled && count.exceeds(self.p0);
        let overflow = contested || self.queued && count.is_overflow(self.baseline.raw());
        // The dip that looks for rivals says nothing of what we had.
        if self.state != State::ProbeRtt
            && let Some(rate) = stretch.rate()
        {
            self.rate = rate;
        }
        let telling = self.bdp(self.peak) >= HOLD_PACKETS * self.mtu as f64;
        if let Some(c) = self.contest.as_mut() {
            if overflow && c.on_overflow(s.now, s.smoothed_rtt) && telling {
                let before = c.before;
                self.enter_hold(s, before);
            } else if overflow {
                // What was sent before the cut does not tell of it.
                self.round.restart(s.now, s.delivered, 1);
            }
            return;
        }
        if self.state == State::Cruise && self.has_collapsed(stretch) {
            self.on_collapse(s);
            return;
        }
        if self.state == State::Cruise {
            self.queued_time = if self.queued {
                self.queued_time + stretch.time
            } else {
                Duration::ZERO
            };
            if self.queued_time >= LASTING && std::mem::take(&mut self.unproven) {
                self.on_first_queue(stretch);
            }
            self.queued_for = if self.queued { self.queued_for + 1 } else { 0 };
            let packets = (self.bdp(self.bw()) / self.mtu as f64).max(1.0);
            let step = if self.queued {
                1.0 - TRIM
            } else {
                1.0 + (UNTRIM_PACKETS / packets).max(UNTRIM)
            };
            self.trim = (self.trim * step).clamp(1.0 - MOST_TRIM, 1.0);
            // What is left of our own probe is no rival's: the queue must have gone and come back.
            self.cleared |= !self.queued;
            self.fallen = self.fallen.filter(|_| self.queued);
            self.pressed |= self.cleared && self.trim <= PRESSED;
        }
        let able =
            matches!(self.state, State::Cruise | State::Down | State::Refill) && self.can_tell_queues();
        let lasting = self.queued_time >= LASTING;
        if able && lasting && (overflow && self.queued_for >= 3 || self.queued_for >= RIVAL) {
            self.enter_contest(s, overflow);
        }
    }

    /// ACKs that the way back pushed together may have made the fastest train too fast. What comes out of a full queue is
    /// the path's rate, whoever filled it.
    fn on_first_queue(&mut self, stretch: &Stretch) {
        let most = self.max_bw.get();
        if let Some(rate) = stretch.rate() {
            self.max_bw
                .reset(rate.clamp((most as f64 * TRAIN_NOISE) as u64, most));
        }
    }

    /// Whether much less comes through than the estimate: too much for trims, which would take a second or two.
    fn has_collapsed(&mut self, stretch: &Stretch) -> bool {
        let expected = self.bw() as f64 * self.trim * COLLAPSE;
        let low = self.queued && stretch.rate().is_some_and(|r| (r as f64) < expected);
        let before = self.low_time;
        self.low_time = if low {
            before + stretch.time
        } else {
            Duration::ZERO
        };
        !before.is_zero() && self.low_time >= LASTING
    }

    /// Slows down to what comes through. A path that became slower goes on giving that; what others fill gives less and
    /// less, and they get what we gave up. A path that falls again before its queue has gone is taken for the latter; the
    /// contest's next test corrects that.
    fn on_collapse(&mut self, s: &AckSample) {
        let first = *self.fallen.get_or_insert(Fall {
            rate: self.rate,
            in_flight: s.prior_in_flight,
        });
        if (self.rate as f64) < first.rate as f64 * STEADY && self.can_tell_queues() {
            self.enter_contest(s, false);
            return;
        }
        let most = self.bw() as f64 * self.trim * FALL;
        self.max_bw.reset(self.rate.max(most as u64));
        self.trim = 1.0;
        self.enter(State::Drain, s);
    }

    /// Whether enough packets are in the pipe to tell a queue from packets in service.
    pub(super) fn can_tell_queues(&self) -> bool {
        self.bdp(self.bw()) >= FEW_PACKETS * self.mtu as f64
    }

    /// Back to the model, from a contest or a hold, at the rate that it left us. What is free now may be much more: look
    /// again in `rounds` round trips.
    pub(super) fn resume(&mut self, s: &AckSample, rate: u64, rounds: u32) {
        self.contest = None;
        self.hold = None;
        if rate > 0 {
            self.max_bw.reset(rate);
        }
        self.bw_lo = None;
        self.trim = 1.0;
        self.plan_probe();
        self.probe_wait = self.min_rtt.get().unwrap_or_default() * rounds;
        self.enter(State::Cruise, s);
    }

    pub(super) fn enter_contest(&mut self, s: &AckSample, overflow: bool) {
        let window = s.in_flight_at_send.max(s.prior_in_flight) as f64;
        let fallen = self.fallen.take().map_or(0.0, |fall| fall.in_flight as f64);
        let window = window.max(self.pipe(self.bw())).max(fallen) / self.mtu as f64;
        let mut contest = Contest::new(s.now, window.max(4.0));
        if overflow {
            contest.on_overflow(s.now, s.smoothed_rtt);
        }
        self.contest = Some(contest);
        self.contested_at = Some(s.now);
        self.enter(State::Contest, s);
    }

    pub(super) fn on_contest(&mut self, s: &AckSample) {
        let now = s.now;
        let Some(c) = self.contest.as_mut() else { return };
        if s.prior_in_flight as f64 + 16.0 * self.mtu as f64 >= c.window * self.mtu as f64 {
            c.grow(now, s.acked_packets as f64, s.smoothed_rtt);
        }
        if c.is_test_due(now) {
            c.tested_at = now;
            self.enter_probe_rtt(s);
        }
    }
}
