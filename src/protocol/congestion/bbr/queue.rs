//! What a queue means while we cruise: first that our estimate is a little high, then that others are there.
//!
//! It answers questions and keeps count. What is done about a rival or a collapse is decided by the controller.

use std::time::Duration;

use super::params::Params;
use super::round::Interval;

/// How long a queue has stood, and what was done about it.
#[derive(Debug)]
pub(super) struct Queue {
    /// Whether the last interval saw a queue throughout.
    standing: bool,
    /// Intervals in a row that cruised in a queue, and the time they took.
    intervals: u32,
    time: Duration,
    /// What cruising in queues leaves of the pacing rate.
    trim: f64,
    /// Whether the queue has been empty since the last probe.
    cleared: bool,
    /// Whether cruising had to slow down for a queue that is not ours.
    pressed: bool,
    /// How long intervals have been delivered far below the estimate.
    low_time: Duration,
    /// The first verdict that the path has become slower. Forgotten when an interval of cruising sees no queue.
    fall: Option<Fall>,
    /// Whether nothing but Startup's trains speaks for the estimate yet.
    unproven: bool,
}

/// The first verdict that the path has become slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    /// What came through, bytes a second.
    pub(super) rate: u64,
    /// Bytes in flight then.
    pub(super) in_flight: u64,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue {
            standing: false,
            intervals: 0,
            time: Duration::ZERO,
            trim: 1.0,
            cleared: false,
            pressed: false,
            low_time: Duration::ZERO,
            fall: None,
            unproven: true,
        }
    }

    /// An interval has ended, in whatever state.
    pub(super) fn on_interval(&mut self, standing: bool) {
        self.standing = standing;
    }

    pub(super) const fn is_standing(&self) -> bool {
        self.standing
    }

    /// Share of the pacing rate that is used while cruising.
    pub(super) const fn trim(&self) -> f64 {
        self.trim
    }

    /// The estimate is new: trims of the old one say nothing of it.
    pub(super) fn untrim(&mut self) {
        self.trim = 1.0;
    }

    /// Whether the queue has outlived our own doing.
    pub(super) const fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// The next probe is planned: what is counted begins anew.
    pub(super) fn on_probe_planned(&mut self) {
        self.intervals = 0;
        self.time = Duration::ZERO;
        self.pressed = false;
        self.cleared = false;
    }

    /// A probe begins, whose answer replaces Startup's estimate.
    pub(super) fn on_probe(&mut self) {
        self.unproven = false;
    }

    /// Whether much less comes through than `bw`: too much for trims, which would take a second or two.
    pub(super) fn has_collapsed(&mut self, interval: &Interval, bw: u64, params: &Params) -> bool {
        let expected = bw as f64 * self.trim * params.collapse;
        let low = self.standing && interval.rate().is_some_and(|r| (r as f64) < expected);
        let before = self.low_time;
        self.low_time = if low {
            before + interval.time
        } else {
            Duration::ZERO
        };
        !before.is_zero() && self.low_time >= params.lasting
    }

    /// What the first verdict of a collapse said: this one, if there was none.
    pub(super) fn first_fall(&mut self, this: Fall) -> Fall {
        *self.fall.get_or_insert(this)
    }

    /// The same when it is used up; `None` if there was none.
    pub(super) fn take_fall(&mut self) -> Option<Fall> {
        self.fall.take()
    }

    /// Adds up the time of queues; returns whether this is the first lasting one after Startup.
    pub(super) fn on_cruise(&mut self, time: Duration, params: &Params) -> bool {
        self.time = if self.standing {
            self.time + time
        } else {
            Duration::ZERO
        };
        self.is_lasting(params) && std::mem::take(&mut self.unproven)
    }

    /// Slows down in a queue and takes it back without one; `packets` are in the pipe.
    pub(super) fn adjust(&mut self, packets: f64, params: &Params) {
        self.intervals = if self.standing { self.intervals + 1 } else { 0 };
        let step = if self.standing {
            1.0 - params.trim
        } else {
            1.0 + (params.untrim_packets / packets).max(params.untrim)
        };
        self.trim = (self.trim * step).clamp(1.0 - params.max_trim, 1.0);
        // A queue that our own probe left is no rival's: it must have gone and come back.
        self.cleared |= !self.standing;
        self.fall = self.fall.filter(|_| self.standing);
        self.pressed |= self.cleared && self.trim <= params.pressed;
    }

    fn is_lasting(&self, params: &Params) -> bool {
        self.time >= params.lasting
    }

    /// Whether the queue is somebody else's; `overflow`: it loses or marks packets.
    pub(super) fn is_rivals(&self, overflow: bool, params: &Params) -> bool {
        let soon = overflow && self.intervals >= params.rival_overflow_intervals;
        self.is_lasting(params) && (soon || self.intervals >= params.rival_intervals)
    }
}
