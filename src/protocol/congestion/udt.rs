//! UDT's congestion control (draft-gg-udt-03, section 4), as a reference to compare the default with.
//!
//! It sets the time between two packets, the sending period. Every 10 ms the period becomes shorter, by more if the rate is
//! far below the link's capacity. The first loss of a congestion epoch makes it an eighth longer, and some of the later
//! losses, chosen at random, do so again. UDT takes every loss for congestion. The comparison shows what that costs.
//!
//! Known faults of UDT4 are not copied: the period is a float and not whole microseconds; slow start ends with the
//! received rate, or with window/(RTT + SYN) and not its inverse; a timeout in the first packets does not leave a rate
//! of 16 packets a second; a loss that is reported again counts once.

use std::time::Duration;

use super::{AckSample, Controller, Stage};
use crate::protocol::rng::SplitMix64;
use crate::protocol::time::Time;

/// Rate-control interval (section 4).
const SYN: Duration = Duration::from_millis(10);
/// A decrease stretches the period by this (section 4.2: 1.125).
const DECREASE: f64 = 1.125;
/// The most decreases in one epoch, the first included (section 4.2).
const MOST_DECREASES: u32 = 5;
/// Flow window at the beginning of slow start, packets (section 4.1).
const INITIAL_WINDOW: f64 = 16.0;
/// Least rate after slow start, packets per SYN. UDT4 could stay at 16 packets a second; this is 100.
const LEAST_PER_SYN: f64 = 1.0;
/// Weight of a new sample in the averages of received rate and capacity (section 3.3).
const SMOOTHING: f64 = 1.0 / 8.0;

/// UDT's DAIMD.
#[derive(Debug)]
pub struct Udt {
    mtu: f64,
    rng: SplitMix64,
    slow_start: bool,
    /// Flow window, packets.
    window: f64,
    /// Sending period, seconds a packet.
    period: f64,
    rtt: Duration,
    /// The received rate and its maximum, packets a second. The maximum replaces the capacity that UDT4 measures with pairs
    /// of packets.
    received: f64,
    capacity: f64,
    last_increase: Time,
    lost_since_increase: bool,
    /// The congestion epoch ends when a packet that was sent after this much was delivered is acknowledged.
    epoch_ends: u64,
    /// Losses and decreases in this epoch, and how many losses there are for each decrease.
    losses: u32,
    decreases: u32,
    every: u32,
}

impl Udt {
    /// A controller for a new path. `seed` decides which later losses of an epoch decrease the rate.
    pub fn new(now: Time, mtu: u16, initial_rtt: Option<Duration>, seed: u64) -> Self {
        let rtt = initial_rtt.unwrap_or(Duration::from_millis(100));
        Udt {
            mtu: f64::from(mtu),
            rng: SplitMix64::new(seed),
            slow_start: true,
            window: INITIAL_WINDOW,
            period: 0.0,
            rtt,
            received: 0.0,
            capacity: 0.0,
            last_increase: now,
            lost_since_increase: false,
            epoch_ends: 0,
            losses: 0,
            decreases: 0,
            every: 1,
        }
    }

    fn end_slow_start(&mut self) {
        self.slow_start = false;
        let by_window = self.window / (self.rtt + SYN).as_secs_f64();
        let rate = if self.received > 0.0 {
            self.received
        } else {
            by_window
        };
        self.set_rate(rate);
    }

    fn set_rate(&mut self, packets_per_second: f64) {
        let least = LEAST_PER_SYN / SYN.as_secs_f64();
        self.period = 1.0 / packets_per_second.max(least);
    }

    /// Packets to add per SYN: a power of ten, by the capacity that is left (section 4.1).
    fn increase(&self) -> f64 {
        let rate = 1.0 / self.period;
        let spare = self.capacity - rate;
        // After a loss it uses a ninth of the capacity at most, as the published code does.
        let spare = if self.lost_since_increase {
            spare.min(self.capacity / 9.0)
        } else {
            spare
        };
        let bits = spare * self.mtu * 8.0;
        let least = 1.0 / self.mtu;
        if bits <= 1.0 {
            return least;
        }
        let step = 10_f64.powf(bits.log10().ceil()) * 1.5e-6 / self.mtu;
        step.max(least)
    }

    fn on_loss(&mut self, s: &AckSample) {
        if self.slow_start {
            self.end_slow_start();
        }
        self.lost_since_increase = true;
        if s.delivered_at_send >= self.epoch_ends {
            self.epoch_ends = s.delivered + s.in_flight;
            self.period *= DECREASE;
            self.losses = 0;
            self.decreases = 1;
            self.every = 1 + u32::try_from(self.rng.next_u64() % 16).unwrap_or(0);
        } else {
            self.losses += 1;
            if self.decreases < MOST_DECREASES && self.losses.is_multiple_of(self.every) {
                self.period *= DECREASE;
                self.decreases += 1;
            }
        }
        self.set_rate(1.0 / self.period);
    }
}

impl Controller for Udt {
    fn on_ack(&mut self, s: &AckSample) {
        // The RTT of the slowest packet: with jitter, the newest acknowledged packet was a fast one.
        if let Some(rtt) = s.max_rtt {
            self.rtt = (self.rtt * 7 + rtt) / 8;
        }
        if let Some(rate) = s.delivery_rate {
            let packets = rate as f64 / self.mtu;
            self.received += (packets - self.received) * if self.received > 0.0 { SMOOTHING } else { 1.0 };
            self.capacity = self.capacity.max(packets);
        }
        if self.slow_start {
            self.window += s.acked_packets as f64;
        } else {
            self.window = self.received * (self.rtt + SYN).as_secs_f64() + INITIAL_WINDOW;
        }
        if s.lost_packets + s.marked_packets > 0 {
            self.on_loss(s);
        }
        while !self.slow_start && s.now.since(self.last_increase) >= SYN {
            let packets = SYN.as_secs_f64() / self.period + self.increase();
            self.set_rate(packets / SYN.as_secs_f64());
            self.last_increase = s.now.min(self.last_increase + SYN).max(s.now - SYN * 10);
            self.lost_since_increase = false;
        }
        if self.slow_start {
            self.last_increase = s.now;
        }
    }

    fn on_spurious_loss(&mut self, _now: Time, _bytes: u64) {}

    fn on_path_change(&mut self, now: Time) {
        *self = Udt::new(now, self.mtu as u16, None, self.rng.next_u64());
    }

    fn window(&self) -> u64 {
        (self.window * self.mtu) as u64
    }

    fn pacing_rate(&self) -> u64 {
        if self.slow_start {
            // UDT does not pace slow start. Here the window leaves in half an RTT, so that bursts do not decide the comparison.
            return (2.0 * self.window * self.mtu / self.rtt.as_secs_f64().max(1e-4)) as u64;
        }
        (self.mtu / self.period) as u64
    }

    fn set_mtu(&mut self, bytes: u16) {
        self.mtu = f64::from(bytes);
    }

    fn stage(&self) -> Stage {
        if self.slow_start {
            Stage::Startup
        } else {
            Stage::Steady
        }
    }

    fn bandwidth(&self) -> u64 {
        (self.received * self.mtu) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(now: Time, lost: u64, delivered: u64) -> AckSample {
        AckSample {
            now,
            acked_bytes: 1400,
            acked_packets: 1,
            lost_packets: lost,
            marked_packets: 0,
            rtt: Some(Duration::from_millis(50)),
            max_rtt: Some(Duration::from_millis(50)),
            late: Duration::ZERO,
            min_rtt: Duration::from_millis(50),
            smoothed_rtt: Duration::from_millis(50),
            delivery_rate: Some(1_400_000),
            app_limited: false,
            delivered,
            delivered_at_send: delivered,
            after_outage: false,
            prior_in_flight: 14_000,
            in_flight: 12_600,
            in_flight_at_send: 14_000,
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn first_loss_leaves_slow_start_at_the_received_rate() {
        let mut udt = Udt::new(at(0), 1400, None, 1);
        udt.on_ack(&sample(at(50), 0, 1400));
        assert_eq!(udt.stage(), Stage::Startup);
        udt.on_ack(&sample(at(51), 1, 2800));
        assert_eq!(udt.stage(), Stage::Steady);
        let want = 1_400_000.0 / DECREASE;
        assert!(
            (udt.pacing_rate() as f64 - want).abs() < want * 0.01,
            "{}",
            udt.pacing_rate()
        );
    }

    #[test]
    fn losses_of_one_epoch_cut_five_times_at_most() {
        let mut udt = Udt::new(at(0), 1400, None, 1);
        udt.on_ack(&sample(at(50), 1, 1400));
        let mut s = sample(at(51), 1, 2800);
        s.delivered_at_send = 0;
        for _ in 0..200 {
            udt.on_ack(&s);
        }
        let floor = 1_400_000.0 / DECREASE.powi(5);
        assert!(udt.pacing_rate() as f64 >= floor * 0.99, "{}", udt.pacing_rate());
    }

    #[test]
    fn loss_before_any_sample_does_not_strangle_the_rate() {
        let mut udt = Udt::new(at(0), 1400, None, 1);
        let mut s = sample(at(500), 16, 0);
        s.delivery_rate = None;
        s.acked_packets = 0;
        udt.on_ack(&s);
        assert!(udt.pacing_rate() >= 100_000, "{}", udt.pacing_rate());
    }
}
