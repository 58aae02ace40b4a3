//! CoDel (RFC 8289): drops packets when even the shortest wait in the queue stays too long.
//!
//! The simulator asks it when a packet joins the queue instead of when it leaves: in a queue that is served in order, what
//! came before decides both how long the packet will wait and whether it will be dropped, so both ways are the same. The
//! lab's played link shares this file and asks it when a packet leaves.

use std::time::Duration;

use p2pcopy::parts::protocol::Time;

/// TARGET and INTERVAL (sections 4.2 and 4.3).
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

/// The state of one queue. fq_codel and CAKE give each flow one of its own.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct CoDel {
    /// When the wait will have been above the target for an interval.
    first_above: Option<Time>,
    dropping: bool,
    drop_next: Time,
    count: u32,
    last_count: u32,
}

impl CoDel {
    /// Whether a packet is dropped that leaves the queue at `now`, after `sojourn`, with `backlog` bytes behind it.
    pub(crate) fn drops(&mut self, now: Time, sojourn: Duration, backlog: f64) -> bool {
        let ok = self.is_time_to_drop(now, sojourn, backlog);
        if self.dropping {
            if !ok {
                self.dropping = false;
                return false;
            }
            if now < self.drop_next {
                return false;
            }
            self.count += 1;
            self.drop_next += control_law(self.count);
            return true;
        }
        if !ok {
            return false;
        }
        self.dropping = true;
        // Section 5.5: start where the last episode ended, if that was a short time ago.
        let recent = now.since(self.drop_next) < INTERVAL * 16;
        let delta = self.count.saturating_sub(self.last_count);
        self.count = if recent && delta > 1 { delta } else { 1 };
        self.last_count = self.count;
        self.drop_next = now + control_law(self.count);
        true
    }

    fn is_time_to_drop(&mut self, now: Time, sojourn: Duration, backlog: f64) -> bool {
        if sojourn < TARGET || backlog <= 1500.0 {
            self.first_above = None;
            return false;
        }
        let first_above = *self.first_above.get_or_insert(now + INTERVAL);
        now >= first_above
    }
}

/// When the next packet is dropped (section 3.3).
fn control_law(count: u32) -> Duration {
    INTERVAL.div_f64(f64::from(count).sqrt())
}
