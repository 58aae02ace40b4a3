//! Delivery-rate samples: how fast the path carried what one ACK acknowledged.
//!
//! The method of draft-cheng-iccrg-delivery-rate-estimation (now section 4.1 of draft-ietf-ccwg-bbr). Each packet
//! takes a [`SendStamp`] of the counters when it leaves; when it is acknowledged, the difference of the counters
//! over the longer of the two intervals (sending, acknowledging) is the rate. With the longer one, neither a burst
//! of ACKs nor a burst of packets looks faster than the path.
//!
//! It does not decide what is lost or acknowledged. It counts each packet once: pass a packet that was declared lost
//! and is acknowledged later to [`Sampler::on_spurious`], not to [`Sampler::on_ack`].

use std::time::Duration;

use crate::protocol::time::Time;

/// The sampler's counters at the time a packet left. Kept with each sent packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendStamp {
    /// When the packet left.
    pub sent_at: Time,
    /// Bytes delivered by then.
    delivered: u64,
    /// When the newest of those was acknowledged.
    delivered_at: Time,
    /// When the flight that this packet belongs to began.
    first_sent_at: Time,
    /// Bytes in flight, this packet included.
    in_flight: u64,
    /// Whether the sender had run out of data.
    app_limited: bool,
}

/// What one ACK says of the path. The fields go into [`super::AckSample`] under the same names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes a second; none if no packet was acknowledged or its flight was too short to tell.
    pub delivery_rate: Option<u64>,
    /// Whether the sender had too little data to fill the path.
    pub app_limited: bool,
    /// Bytes delivered ever, this ACK included.
    pub delivered: u64,
    /// Of those, how many were delivered when the newest packet of this ACK left.
    pub delivered_at_send: u64,
    /// Bytes that were in flight when it left, itself included.
    pub in_flight_at_send: u64,
    /// RTT of the packet in this ACK that was on its way longest: what a window must cover under jitter.
    pub max_rtt: Option<Duration>,
}

/// Counts what is delivered, and turns ACKs into rate samples.
///
/// Per packet: [`Sampler::on_sent`], then [`Sampler::on_ack`] if it arrives. After the last packet of an ACK:
/// [`Sampler::finish`].
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    /// Until `delivered` exceeds this, packets leave as application-limited; 0 if they do not.
    app_limited_until: u64,
    newest: Option<SendStamp>,
    oldest_sent_at: Option<Time>,
}

impl Sampler {
    /// A sampler for a fresh path.
    pub(crate) fn new(now: Time) -> Self {
        Sampler {
            delivered_at: now,
            first_sent_at: now,
            ..Sampler::default()
        }
    }

    /// A packet of `bytes` leaves; `in_flight` counts it already.
    pub(crate) fn on_sent(&mut self, now: Time, bytes: u64, in_flight: u64) -> SendStamp {
        if in_flight <= bytes {
            // The flow was idle. Both intervals start anew, or the pause would lower the rate.
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        SendStamp {
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight,
            app_limited: self.app_limited_until != 0,
        }
    }

    /// A packet was acknowledged for the first time.
    pub(crate) fn on_ack(&mut self, now: Time, stamp: &SendStamp, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
        if self.oldest_sent_at.is_none_or(|t| stamp.sent_at < t) {
            self.oldest_sent_at = Some(stamp.sent_at);
        }
        let newer = self
            .newest
            .is_none_or(|n| (stamp.delivered, stamp.sent_at) >= (n.delivered, n.sent_at));
        if newer {
            self.newest = Some(*stamp);
        }
    }

    /// A packet that was declared lost has arrived. It counts as delivered, but gives no rate sample.
    pub(crate) fn on_spurious(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// The sender has nothing to send though window and pacing would allow it; `in_flight` bytes are under way.
    pub(crate) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = (self.delivered + in_flight).max(1);
    }

    /// Ends an ACK (or a loss timer's run) and says what it tells.
    pub(crate) fn finish(&mut self, now: Time, min_rtt: Duration) -> RateSample {
        if self.app_limited_until != 0 && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let max_rtt = self.oldest_sent_at.take().map(|t| now.since(t));
        let Some(stamp) = self.newest.take() else {
            return RateSample {
                delivery_rate: None,
                app_limited: self.app_limited_until != 0,
                delivered: self.delivered,
                delivered_at_send: self.delivered,
                in_flight_at_send: 0,
                max_rtt,
            };
        };
        self.first_sent_at = self.first_sent_at.max(stamp.sent_at);
        let sending = stamp.sent_at.since(stamp.first_sent_at);
        let acking = self.delivered_at.since(stamp.delivered_at);
        let interval = sending.max(acking);
        let bytes = self.delivered.saturating_sub(stamp.delivered);
        // Shorter than the lowest RTT means that one of the intervals is an artefact (section 4.1.2.3).
        let measurable = !interval.is_zero() && interval >= min_rtt;
        RateSample {
            delivery_rate: measurable.then(|| rate(bytes, interval)),
            app_limited: stamp.app_limited,
            delivered: self.delivered,
            delivered_at_send: stamp.delivered,
            in_flight_at_send: stamp.in_flight,
            max_rtt,
        }
    }
}

/// Bytes a second of `bytes` in `interval`.
fn rate(bytes: u64, interval: Duration) -> u64 {
    let nanos = interval.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    /// Sends one packet of 1000 bytes each millisecond and acknowledges each 10 ms later.
    fn steady(sampler: &mut Sampler, packets: u64) -> RateSample {
        let mut stamps = Vec::new();
        let mut last = None;
        for i in 0..packets + 10 {
            if i < packets {
                let in_flight = 1000 * (i.min(9) + 1);
                stamps.push(sampler.on_sent(ms(i), 1000, in_flight));
            }
            if i >= 10 {
                let stamp = stamps[usize::try_from(i - 10).unwrap()];
                sampler.on_ack(ms(i), &stamp, 1000);
                last = Some(sampler.finish(ms(i), Duration::from_millis(10)));
            }
        }
        last.unwrap()
    }

    #[test]
    fn steady_sending_gives_its_own_rate() {
        let sample = steady(&mut Sampler::new(ms(0)), 100);
        assert_eq!(sample.delivery_rate, Some(1_000_000));
        assert_eq!(sample.max_rtt, Some(Duration::from_millis(10)));
        assert!(!sample.app_limited);
    }

    #[test]
    fn burst_of_acks_does_not_look_fast() {
        let mut s = Sampler::new(ms(0));
        let stamps: Vec<_> = (0..50).map(|i| s.on_sent(ms(i), 1000, 1000 * (i + 1))).collect();
        for stamp in &stamps {
            s.on_ack(ms(60), stamp, 1000);
        }
        let sample = s.finish(ms(60), Duration::from_millis(10));
        assert!(sample.delivery_rate.unwrap() <= 1_000_000, "{sample:?}");
    }

    #[test]
    fn pause_of_the_application_is_marked() {
        let mut s = Sampler::new(ms(0));
        s.on_app_limited(0);
        let stamp = s.on_sent(ms(5), 1000, 1000);
        s.on_ack(ms(20), &stamp, 1000);
        assert!(s.finish(ms(20), Duration::from_millis(10)).app_limited);
        let stamp = s.on_sent(ms(25), 2000, 1000);
        s.on_ack(ms(40), &stamp, 1000);
        assert!(!s.finish(ms(40), Duration::from_millis(10)).app_limited);
    }

    #[test]
    fn timer_without_acks_gives_no_rate() {
        let mut s = Sampler::new(ms(0));
        assert_eq!(s.finish(ms(20), Duration::from_millis(10)).delivery_rate, None);
    }
}
