//! CUBIC's window (RFC 9438), in packets. Time is an argument; it knows no losses and no ACKs, only how many packets.

use crate::protocol::time::Time;
use std::time::Duration;

/// beta_cubic: what a cut leaves of the window (section 4.6).
const BETA: f64 = 0.7;
/// C: how fast the curve grows (section 4.1).
const C: f64 = 0.4;
/// alpha_cubic: additive growth per round that matches Reno's share (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Largest growth for each acknowledged packet (the bound on `target`, section 4.2).
const MAX_GROWTH: f64 = 0.5;

/// A congestion window that follows CUBIC's curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cubic {
    cwnd: f64,
    min: f64,
    /// W_est: what Reno would have.
    reno: f64,
    /// W_max: the window before the last cut.
    max: f64,
    epoch: Time,
    is_cut: bool,
}

impl Cubic {
    /// Begins with a window of `cwnd` packets, of which `min` are never cut.
    pub(super) fn new(now: Time, cwnd: f64, min: f64) -> Self {
        Cubic {
            cwnd,
            min,
            reno: cwnd,
            max: cwnd,
            epoch: now,
            is_cut: false,
        }
    }

    /// The window, packets.
    pub(super) const fn cwnd(&self) -> f64 {
        self.cwnd
    }

    /// Since when it grows, if it was cut before.
    pub(super) fn cut_at(&self) -> Option<Time> {
        self.is_cut.then_some(self.epoch)
    }

    /// Time from a cut until the window is back where it was: K of section 4.2, or sooner by additive growth.
    pub(super) fn way_back(&self, share: f64, rtt: Duration) -> f64 {
        let rounds = self.max * (1.0 - BETA) / ALPHA;
        (self.k() * share).min(rounds * rtt.as_secs_f64())
    }

    fn k(&self) -> f64 {
        (self.max * (1.0 - BETA) / C).cbrt()
    }

    /// A congestion event.
    pub(super) fn cut(&mut self, now: Time) {
        // Fast convergence (section 4.7): a flow that has less than last time leaves the room to the newcomer.
        self.max = if self.cwnd < self.max {
            self.cwnd * (1.0 + BETA) / 2.0
        } else {
            self.cwnd
        };
        self.cwnd = (self.cwnd * BETA).max(self.min);
        self.reno = self.cwnd;
        self.epoch = now;
        self.is_cut = true;
    }

    /// `acked` packets were acknowledged while the window was used.
    pub(super) fn grow(&mut self, now: Time, acked: f64, rtt: Duration) {
        let k = if self.is_cut { self.k() } else { 0.0 };
        let t = (now.since(self.epoch) + rtt).as_secs_f64();
        let target = C * (t - k).powi(3) + self.max;
        self.reno += ALPHA * acked / self.cwnd;
        let step = ((target - self.cwnd) / self.cwnd).clamp(0.0, MAX_GROWTH);
        self.cwnd = (self.cwnd + step * acked).max(self.reno);
    }
}
