//! Sharing with flows that fill queues: while one is seen, the window follows CUBIC's curve (RFC 9438).
//!
//! A model of the path says nothing of fairness: two flows that each hold to what they measured keep whatever
//! division they began with. CUBIC's growth does not depend on the window and its cuts do, so flows that follow
//! it converge, with each other and with those that never do anything else.

use crate::protocol::time::Time;
use std::time::Duration;

/// CUBIC's cut and growth (RFC 9438, sections 4.1 and 4.6), in packets and seconds.
const BETA: f64 = 0.7;
const C: f64 = 0.4;
/// Additive growth per round that matches Reno's share (section 4.3): 3 (1 - beta) / (1 + beta).
const FRIENDLY: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// An overflow within so many round trips of a cut: flows that cut as well would have left more room.
const SOON: u32 = 9;
/// Cuts in vain, one after another, until we stop.
const VAIN: u32 = 4;

/// How often the queue is tested for rivals.
const TEST_INTERVAL: Duration = Duration::from_secs(5);

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
    /// When the window was last lowered to see whether the queue is ours alone.
    pub(super) tested_at: Time,
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
            tested_at: now,
        }
    }

    /// A queue has overflowed. Returns whether cutting is in vain, because whoever fills it does not care.
    pub(super) fn on_overflow(&mut self, now: Time, rtt: Duration) -> bool {
        let soon = now.since(self.cut_at) < rtt * SOON;
        self.in_vain = if soon { self.in_vain + 1 } else { 0 };
        self.cut(now);
        self.in_vain >= VAIN
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
        let k = if self.is_cut {
            (self.most * (1.0 - BETA) / C).cbrt()
        } else {
            0.0
        };
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
