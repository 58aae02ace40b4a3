//! What a queue in cruise means: at first that our estimate is a little high, later that others are there.
//!
//! It counts and answers questions. `judge` decides what follows.

use std::time::Duration;

use super::params::Params;
use super::round::Interval;

/// How long a queue has stood, and how far the pace was lowered for it.
#[derive(Default, Debug)]
pub(super) struct Queue {
    /// Whether a queue stood during the whole last interval.
    standing: bool,
    /// Intervals of cruise in a row with a standing queue, and their time.
    intervals: u32,
    time: Duration,
    /// Intervals of cruise in a row without one.
    calm_intervals: u32,
    /// Factor of the pacing rate in cruise.
    trim: f64,
    /// Whether the queue has been empty since the last probe.
    cleared: bool,
    /// Whether cruise had to slow down for a queue that is not ours.
    pressed: bool,
    /// For how long the delivery rate has been far below the estimate.
    low_time: Duration,
    /// The first verdict that the path has become slower. An interval of cruise without a queue clears it.
    fall: Option<Fall>,
    /// Whether the estimate rests on Startup's trains alone.
    unproven: bool,
}

/// The first verdict that the path has become slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    /// Delivery rate then, bytes a second.
    pub(super) rate: u64,
    /// Bytes in flight then.
    pub(super) in_flight: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue {
            trim: 1.0,
            unproven: true,
            ..Queue::default()
        }
    }

    /// An interval has ended, in whatever state.
    pub(super) fn on_interval(&mut self, standing: bool) {
        self.standing = standing;
    }

    pub(super) const fn is_standing(&self) -> bool {
        self.standing
    }

    /// Factor of the pacing rate in cruise.
    pub(super) const fn trim(&self) -> f64 {
        self.trim
    }

    /// The estimate is new, so trims of the old one do not apply.
    pub(super) fn untrim(&mut self) {
        self.trim = 1.0;
    }

    /// Whether cruise had to slow down for a queue that is not ours.
    pub(super) const fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// The next probe is planned: counting begins anew.
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

    /// The first verdict of a collapse: `this`, if there was none.
    pub(super) fn first_fall(&mut self, this: Fall) -> Fall {
        *self.fall.get_or_insert(this)
    }

    /// Takes the first verdict of a collapse, if there was one.
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

    /// Lowers the pace in a queue and raises it again without one; `packets` are in the pipe. `taken`: others have taken a
    /// part of our rate.
    pub(super) fn adjust(&mut self, packets: f64, taken: bool, params: &Params) {
        (self.intervals, self.calm_intervals) = if self.standing {
            (self.intervals + 1, 0)
        } else {
            (0, self.calm_intervals + 1)
        };
        let step = if self.standing {
            1.0 - params.trim
        } else {
            1.0 + (params.untrim_packets / packets).max(params.untrim)
        };
        self.trim = (self.trim * step).clamp(1.0 - params.max_trim, 1.0);
        // A queue that our own probe left is not a rival's. So the queue must have been empty since the probe.
        self.cleared |= !self.standing;
        self.fall = self.fall.filter(|_| self.standing);
        self.pressed |= taken || self.cleared && self.trim <= params.pressed;
    }

    fn is_lasting(&self, params: &Params) -> bool {
        self.time >= params.lasting
    }

    /// Whether there was no queue for so long that nobody else is there.
    pub(super) const fn is_calm(&self, params: &Params) -> bool {
        self.calm_intervals >= params.rival_intervals
    }

    /// Whether the queue is somebody else's; `overflow`: it loses or marks packets.
    pub(super) fn is_rivals(&self, overflow: bool, params: &Params) -> bool {
        let soon = overflow && self.intervals >= params.rival_overflow_intervals;
        self.is_lasting(params) && (soon || self.intervals >= params.rival_intervals)
    }
}
