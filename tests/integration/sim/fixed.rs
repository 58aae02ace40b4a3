//! A controller that keeps to a rate, for tests of what is not its matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use p2pcopy::parts::protocol::{AckSample, Controller, Stage, Time};

/// Asks for a fixed rate whatever is lost, and counts the losses that it is told of.
#[derive(Debug)]
pub(crate) struct Fixed {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Bytes.
    pub(crate) window: u64,
    /// Packets.
    pub(crate) told: Arc<AtomicU64>,
}

impl Controller for Fixed {
    fn on_ack(&mut self, sample: &AckSample) {
        self.told.fetch_add(sample.lost_packets, Ordering::Relaxed);
    }
    fn on_spurious_loss(&mut self, _now: Time, _bytes: u64) {}
    fn on_path_change(&mut self, _now: Time) {}
    fn window(&self) -> u64 {
        self.window
    }
    fn pacing_rate(&self) -> u64 {
        self.rate
    }
    fn set_mtu(&mut self, _bytes: u16) {}
    fn stage(&self) -> Stage {
        Stage::Steady
    }
    fn bandwidth(&self) -> u64 {
        self.rate
    }
}
