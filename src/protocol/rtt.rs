//! Round-trip time estimation (RFC 9002, section 5).

use std::time::Duration;

/// The estimate before any sample, if the handshake gave none either.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Smoothed RTT, its variation and its minimum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    latest: Duration,
    smoothed: Duration,
    variation: Duration,
    min: Option<Duration>,
}

impl RttEstimator {
    /// Starts from the handshake's round-trip time, if it was measured.
    pub(crate) fn new(handshake: Option<Duration>) -> Self {
        let initial = handshake.unwrap_or(INITIAL_RTT);
        RttEstimator {
            latest: initial,
            smoothed: initial,
            variation: initial / 2,
            min: None,
        }
    }

    /// Takes a sample. `ack_delay` is how long the peer says it held the packet.
    pub(crate) fn on_sample(&mut self, sample: Duration, ack_delay: Duration) {
        let first = self.min.is_none();
        let min = self.min.map_or(sample, |m| m.min(sample));
        self.min = Some(min);
        // The peer's delay is subtracted only if the result is not below the minimum.
        let adjusted = if sample >= min + ack_delay {
            sample - ack_delay
        } else {
            sample
        };
        self.latest = adjusted;
        if first {
            self.smoothed = adjusted;
            self.variation = adjusted / 2;
        } else {
            self.variation = (self.variation * 3 + self.smoothed.abs_diff(adjusted)) / 4;
            self.smoothed = (self.smoothed * 7 + adjusted) / 8;
        }
    }

    /// Forgets the old path's samples, because the path changed.
    pub(crate) fn reset(&mut self) {
        *self = RttEstimator::new(Some(self.smoothed));
    }

    /// Whether a sample was taken yet.
    pub(crate) const fn is_measured(&self) -> bool {
        self.min.is_some()
    }

    pub(crate) const fn latest(&self) -> Duration {
        self.latest
    }

    pub(crate) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Lowest sample of this path.
    pub(crate) fn min(&self) -> Duration {
        self.min.unwrap_or(self.smoothed)
    }

    /// How long to wait for an acknowledgement before probing (RFC 9002, section 6.2.1).
    pub(crate) fn probe_timeout(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed + (self.variation * 4).max(Duration::from_millis(1)) + max_ack_delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_delay_is_taken_off_but_never_below_the_minimum() {
        let ms = Duration::from_millis;
        let mut rtt = RttEstimator::new(None);
        rtt.on_sample(ms(50), ms(0));
        rtt.on_sample(ms(70), ms(20));
        assert_eq!(rtt.latest(), ms(50));
        rtt.on_sample(ms(55), ms(20));
        assert_eq!((rtt.latest(), rtt.min()), (ms(55), ms(50)));
    }
}
