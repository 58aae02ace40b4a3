//! What else shares links: CUBIC and the first BBR, as plain as their effect on others allows.

use std::collections::VecDeque;
use std::time::Duration;

use p2pcopy::parts::protocol::{AckSample, Controller, Cubic as Window, Stage, Time};

use super::flow::PACKET;

/// CUBIC: the window of RFC 9438, after a slow start that ends by delay (HyStart, as Linux has it); sends unpaced.
#[derive(Debug)]
pub(crate) struct Cubic {
    /// The window in slow start, packets.
    slow_start: f64,
    /// After it.
    window: Option<Window>,
    recover_until: u64,
}

impl Cubic {
    pub(crate) fn new() -> Self {
        Cubic {
            slow_start: 10.0,
            window: None,
            recover_until: 0,
        }
    }

    fn packets(&self) -> f64 {
        self.window.map_or(self.slow_start, |w| w.cwnd())
    }
}

impl Controller for Cubic {
    fn on_ack(&mut self, s: &AckSample) {
        let recovering = s.delivered_at_send < self.recover_until;
        let begin = Window::new(s.now, self.slow_start, 2.0);
        if s.lost_packets + s.marked_packets > 0 && !recovering {
            // As RFC 3168 asks: Linux takes a mark for a loss.
            self.window.get_or_insert(begin).cut(s.now);
            // Until what is sent from now on comes back.
            self.recover_until = s.delivered + s.in_flight;
            return;
        }
        let acked = s.acked_packets as f64;
        let filled = s.prior_in_flight + 4 * PACKET >= self.window();
        if acked == 0.0 || recovering || !filled {
            return;
        }
        if let Some(window) = &mut self.window {
            window.grow(s.now, acked, s.smoothed_rtt);
            return;
        }
        self.slow_start += acked;
        let wait = (s.min_rtt / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        if s.rtt.is_some_and(|r| r > s.min_rtt + wait) && self.slow_start > 16.0 {
            self.window = Some(begin);
        }
    }

    fn on_spurious_loss(&mut self, _now: Time, _bytes: u64) {}
    fn on_path_change(&mut self, _now: Time) {}
    fn window(&self) -> u64 {
        (self.packets() * PACKET as f64) as u64
    }
    fn pacing_rate(&self) -> u64 {
        u64::MAX
    }
    fn set_mtu(&mut self, _bytes: u16) {}
    fn stage(&self) -> Stage {
        Stage::Steady
    }
    fn bandwidth(&self) -> u64 {
        0
    }
}

/// BBR of 2016 (draft-cardwell-iccrg-bbr-congestion-control-00): blind to loss, window of two products.
#[derive(Debug)]
pub(crate) struct BbrV1 {
    rates: VecDeque<(u64, u64)>,
    round: u64,
    round_end: u64,
    min_rtt: Duration,
    min_at: Time,
    full: u64,
    full_rounds: u32,
    mode: Mode,
    phase: usize,
    phase_at: Time,
    done_at: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    Startup,
    Drain,
    Probe,
    Rtt,
}

const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

impl BbrV1 {
    pub(crate) fn new() -> Self {
        BbrV1 {
            rates: VecDeque::new(),
            round: 0,
            round_end: 0,
            min_rtt: Duration::MAX,
            min_at: Time::ZERO,
            full: 0,
            full_rounds: 0,
            mode: Mode::Startup,
            phase: 0,
            phase_at: Time::ZERO,
            done_at: None,
        }
    }

    fn bw(&self) -> u64 {
        self.rates.iter().map(|r| r.1).max().unwrap_or(0)
    }

    fn bdp(&self) -> f64 {
        self.bw() as f64 * self.min_rtt.min(Duration::from_secs(1)).as_secs_f64()
    }
}

impl Controller for BbrV1 {
    fn on_ack(&mut self, s: &AckSample) {
        let started = s.acked_bytes > 0 && s.delivered_at_send >= self.round_end;
        if started {
            self.round += 1;
            self.round_end = s.delivered;
        }
        if let Some(rate) = s.delivery_rate {
            while self.rates.back().is_some_and(|r| r.1 <= rate) {
                self.rates.pop_back();
            }
            self.rates.push_back((self.round, rate));
        }
        while self.rates.front().is_some_and(|r| r.0 + 10 < self.round) {
            self.rates.pop_front();
        }
        let expired = s.now.since(self.min_at) > Duration::from_secs(10);
        if let Some(rtt) = s.rtt
            && (rtt <= self.min_rtt || expired)
        {
            self.min_rtt = rtt;
            self.min_at = s.now;
        }
        match self.mode {
            Mode::Startup if started => {
                if self.bw() as f64 > 1.25 * self.full as f64 {
                    self.full = self.bw();
                    self.full_rounds = 0;
                } else {
                    self.full_rounds += 1;
                    if self.full_rounds >= 3 {
                        self.mode = Mode::Drain;
                    }
                }
            }
            Mode::Drain if (s.in_flight as f64) < self.bdp() => {
                self.mode = Mode::Probe;
                self.phase = 2 + (s.delivered / PACKET) as usize % 6;
                self.phase_at = s.now;
            }
            Mode::Probe => {
                let long = s.now.since(self.phase_at) > self.min_rtt;
                let next = match self.phase {
                    0 => long && (s.lost_packets > 0 || s.prior_in_flight as f64 >= 1.25 * self.bdp()),
                    1 => long || s.in_flight as f64 <= self.bdp(),
                    _ => long,
                };
                if next {
                    self.phase = (self.phase + 1) % 8;
                    self.phase_at = s.now;
                }
                if expired {
                    self.mode = Mode::Rtt;
                    self.done_at = None;
                }
            }
            Mode::Rtt => {
                if s.in_flight <= 5 * PACKET && self.done_at.is_none() {
                    self.done_at = Some(s.now + Duration::from_millis(200));
                }
                if self.done_at.is_some_and(|t| s.now > t) {
                    self.min_at = s.now;
                    self.mode = Mode::Probe;
                    self.phase = 2;
                    self.phase_at = s.now;
                }
            }
            _ => {}
        }
    }

    fn on_spurious_loss(&mut self, _now: Time, _bytes: u64) {}
    fn on_path_change(&mut self, _now: Time) {}
    fn window(&self) -> u64 {
        match self.mode {
            Mode::Rtt => 4 * PACKET,
            Mode::Startup | Mode::Drain => ((2.89 * self.bdp()) as u64).max(16 * PACKET),
            Mode::Probe => (2.0 * self.bdp()) as u64 + 4 * PACKET,
        }
    }
    fn pacing_rate(&self) -> u64 {
        let gain = match self.mode {
            Mode::Startup => 2.89,
            Mode::Drain => 1.0 / 2.89,
            Mode::Probe => GAINS[self.phase],
            Mode::Rtt => 1.0,
        };
        if self.bw() == 0 {
            1_000_000
        } else {
            (gain * self.bw() as f64) as u64
        }
    }
    fn set_mtu(&mut self, _bytes: u16) {}
    fn stage(&self) -> Stage {
        Stage::Steady
    }
    fn bandwidth(&self) -> u64 {
        self.bw()
    }
}
