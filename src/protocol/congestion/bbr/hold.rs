//! Sharing with flows that do not react to loss: the first BBR, which most of the world's BBR still is.
//!
//! Giving way to such a flow gives it everything, and probing against it for long takes everything from it. So once
//! giving way has shown to be in vain, a part of what we had is held for a while, whatever is lost; then we look
//! again who is there.

use super::super::AckSample;
use super::Bbr;
use super::filters::Stretch;
use super::probe::State;
use crate::protocol::time::Time;
use std::time::Duration;

/// What is held of the rate before we gave way. Between holds the rate grows by a probe or two.
const PART: f64 = 0.7;
/// And at least this of the most that the path has ever given us: an even share beside one such flow.
const HALF: f64 = 0.5;
/// How long.
const TIME: Duration = Duration::from_secs(8);
/// After this the others have taken note.
const SETTLE: Duration = Duration::from_secs(2);
/// Without a queue for so long, nobody is there any more.
const CALM: Duration = Duration::from_secs(1);

/// Round trips after a hold until the next probe.
const LOOK: u32 = 4;

/// A rate that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// Bytes a second.
    pub(super) rate: u64,
    since: Time,
    /// Since when there was no queue.
    calm_since: Option<Time>,
}

impl Bbr {
    /// Gave way in vain from a window of `before` packets on: hold a rate from here on.
    pub(super) fn enter_hold(&mut self, s: &AckSample, before: f64) {
        let rtt = s.smoothed_rtt.max(Duration::from_millis(1));
        let rate = PART * before * self.mtu as f64 / rtt.as_secs_f64();
        let rate = rate.max(HALF * self.peak as f64);
        self.contest = None;
        self.hold = Some(Hold {
            rate: rate as u64,
            since: s.now,
            calm_since: None,
        });
        self.max_bw.reset(rate as u64);
        self.bw_lo = None;
        self.trim = 1.0;
        self.enter(State::Hold, s);
    }

    /// A stretch of holding has ended.
    pub(super) fn on_hold(&mut self, s: &AckSample, stretch: &Stretch) {
        let Some(hold) = self.hold.as_mut() else { return };
        let calm = match self.queued {
            true => None,
            false => hold.calm_since.or(Some(s.now)),
        };
        hold.calm_since = calm;
        // Still hardly anything gets through: this is not the path that the peak was seen on.
        let settled = s.now >= hold.since + SETTLE;
        let futile = stretch.rate().filter(|rate| settled && *rate < hold.rate / 2);
        let over = s.now >= hold.since + TIME || calm.is_some_and(|t| s.now.since(t) >= CALM);
        if over || futile.is_some() {
            let rate = futile.unwrap_or(hold.rate);
            self.peak = futile.unwrap_or(self.peak);
            self.resume(s, rate, LOOK);
        }
    }
}
