//! CUBIC's window (RFC 9438), in packets. The caller says when to cut it and how many packets were acknowledged.
//!
//! The default controller follows it while others fill the queue. The tests' CUBIC flow has the same window.

use std::time::Duration;

use crate::protocol::time::Time;

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
pub struct Cubic {
    cwnd: f64,
    min: f64,
    /// W_est: what Reno would have.
    reno: f64,
    /// cwnd_prior: the window before the last cut.
    prior: f64,
    /// W_max: the same, or less after fast convergence (section 4.7).
    max: f64,
    epoch: Time,
    is_cut: bool,
}

impl Cubic {
    /// Begins with a window of `cwnd` packets, of which `min` are never cut.
    pub fn new(now: Time, cwnd: f64, min: f64) -> Self {
        Cubic {
            cwnd,
            min,
            reno: cwnd,
            prior: cwnd,
            max: cwnd,
            epoch: now,
            is_cut: false,
        }
    }

    /// The window, packets.
    pub const fn cwnd(&self) -> f64 {
        self.cwnd
    }

    /// Whether the last cut was so recent that the window is not back yet: it is after K (section 4.2), or sooner if additive
    /// growth is faster.
    pub(super) fn is_recovering(&self, now: Time, rtt: Duration) -> bool {
        let rounds = self.max * (1.0 - BETA) / ALPHA;
        let way_back = self.k().min(rounds * rtt.as_secs_f64());
        self.is_cut && now.since(self.epoch).as_secs_f64() < way_back
    }

    fn k(&self) -> f64 {
        (self.max * (1.0 - BETA) / C).cbrt()
    }

    /// A congestion event.
    pub fn cut(&mut self, now: Time) {
        // Fast convergence (section 4.7): a flow that has less than last time leaves the room to the newcomer.
        self.max = if self.cwnd < self.max {
            self.cwnd * (1.0 + BETA) / 2.0
        } else {
            self.cwnd
        };
        self.prior = self.cwnd;
        self.cwnd = (self.cwnd * BETA).max(self.min);
        self.reno = self.cwnd;
        self.epoch = now;
        self.is_cut = true;
    }

    /// `acked` packets were acknowledged while the window was used.
    pub fn grow(&mut self, now: Time, acked: f64, rtt: Duration) {
        let k = if self.is_cut { self.k() } else { 0.0 };
        let t = (now.since(self.epoch) + rtt).as_secs_f64();
        let target = C * (t - k).powi(3) + self.max;
        // From the old window on, additive growth is Reno's own (section 4.3).
        let alpha = if self.reno < self.prior { ALPHA } else { 1.0 };
        self.reno += alpha * acked / self.cwnd;
        let step = ((target - self.cwnd) / self.cwnd).clamp(0.0, MAX_GROWTH);
        self.cwnd = (self.cwnd + step * acked).max(self.reno);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// Seconds after a cut from `cwnd` packets until the window is there again.
    fn way_back(cwnd: f64) -> f64 {
        let mut cubic = Cubic::new(Time::ZERO, cwnd, 2.0);
        cubic.cut(Time::ZERO);
        let mut now = Time::ZERO;
        while cubic.cwnd() < cwnd * 0.999 {
            now += RTT;
            cubic.grow(now, cubic.cwnd(), RTT);
        }
        now.since(Time::ZERO).as_secs_f64()
    }

    #[test]
    fn a_large_window_is_back_after_k() {
        // Figures 1 and 4 of RFC 9438: the cube root of W_max (1 - beta) / C.
        let k = (1000.0_f64 * 0.3 / 0.4).cbrt();
        let took = way_back(1000.0);
        assert!((took - k).abs() < 1.5, "{took} s, K is {k} s");
    }

    #[test]
    fn a_small_window_is_back_as_soon_as_renos() {
        // 0.3 of 20 packets at 0.53 a round.
        let took = way_back(20.0);
        assert!((0.8..1.4).contains(&took), "{took} s");
    }

    #[test]
    fn no_window_grows_by_more_than_half_a_round() {
        let mut cubic = Cubic::new(Time::ZERO, 10.0, 2.0);
        cubic.grow(Time::ZERO + Duration::from_secs(60), 10.0, RTT);
        assert!(cubic.cwnd() <= 15.0);
    }

    #[test]
    fn the_window_stays_at_its_least() {
        let mut cubic = Cubic::new(Time::ZERO, 10.0, 4.0);
        for _ in 0..9 {
            cubic.cut(Time::ZERO);
        }
        assert!((cubic.cwnd() - 4.0).abs() < f64::EPSILON);
    }
}
