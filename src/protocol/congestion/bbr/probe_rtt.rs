//! ProbeRTT (section 4.3.4): a small window empties the queue, to see the unloaded RTT or whose queue it is.

use std::time::Duration;

use super::super::AckSample;
use super::competitive::Competitive;
use super::{Bbr, Mode};
use crate::protocol::time::Time;

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeRtt {
    /// Competitive mode, if this is its test: if a smaller window of ours empties the queue, the queue is ours.
    pub(super) competitive: Option<Competitive>,
    /// When it ends; set when the window is reached.
    done: Option<Time>,
    /// Lowest RTT meanwhile.
    low: Option<Duration>,
}

impl ProbeRtt {
    /// The test of competitive mode, to which it returns.
    pub(super) fn test(competitive: Competitive) -> Self {
        ProbeRtt {
            competitive: Some(competitive),
            ..ProbeRtt::default()
        }
    }
}

impl Bbr {
    /// The window meanwhile, which empties a queue of our own.
    pub(super) fn probe_rtt_window(&self, probe: &ProbeRtt) -> u64 {
        let (gain, bw) = match probe.competitive {
            Some(_) => (self.params.dip_gain, self.given),
            None => (self.params.probe_rtt_cwnd_gain, self.bw()),
        };
        (gain * self.bdp(bw)) as u64
    }

    pub(super) fn on_probe_rtt(&mut self, s: &AckSample, mut probe: ProbeRtt) {
        let Some(done) = probe.done else {
            if s.in_flight <= self.probe_rtt_window(&probe) + 4 * self.model.mtu() {
                let time = match probe.competitive {
                    Some(_) => self.model.min_rtt(&self.params).unwrap_or_default(),
                    None => self.params.probe_rtt_time,
                };
                probe.done = Some(s.now + time);
                self.mode = Mode::ProbeRtt(probe);
                self.round.restart(s.now, s.delivered, 1);
            }
            return;
        };
        probe.low = probe.low.into_iter().chain(s.rtt).min();
        self.mode = Mode::ProbeRtt(probe);
        if s.now > done && self.round.in_mode() >= 1 {
            self.end_probe_rtt(s, &probe);
        }
    }

    fn end_probe_rtt(&mut self, s: &AckSample, probe: &ProbeRtt) {
        if let Some(rtt) = probe.low {
            let competitive = probe.competitive.is_some();
            self.model.on_probe_rtt(s.now, rtt, competitive, &self.params);
        }
        let empty = probe.low.is_some_and(|low| !self.is_queue(low));
        match probe.competitive {
            None => self.enter(Mode::Cruise, s),
            Some(_) if empty => self.resume(s, self.given),
            Some(competitive) => self.enter(Mode::Competitive(competitive), s),
        }
    }
}
