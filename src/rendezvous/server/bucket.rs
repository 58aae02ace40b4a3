//! Limits bytes a second.

use std::time::Duration;

use crate::protocol::time::Time;

/// The time over which a rate is enforced, so that the bursts of a paced sender pass.
const BURST: Duration = Duration::from_millis(100);
/// The least bytes that may pass at once: some bursts of segmentation offload.
const LEAST_BURST: u64 = 256 << 10;

/// A token bucket in bytes.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    room: u64,
    filled: Time,
}

impl Bucket {
    pub(super) fn new(rate: Option<u64>, now: Time) -> Self {
        let room = rate.map_or(u64::MAX, Self::depth);
        Bucket {
            rate,
            room,
            filled: now,
        }
    }

    fn depth(rate: u64) -> u64 {
        worth(rate, BURST).max(LEAST_BURST)
    }

    /// Bytes that may pass now.
    pub(super) fn room(&mut self, now: Time) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let earned = worth(rate, now.since(self.filled));
        // Time that has not earned a whole byte is kept.
        if earned > 0 {
            self.room = self.room.saturating_add(earned).min(Self::depth(rate));
            self.filled = now;
        }
        self.room
    }

    pub(super) fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.room = self.room.saturating_sub(bytes);
        }
    }
}

fn worth(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}
