//! ProbeRTT (section 4.3.4): the queue is emptied on purpose, to see the unloaded RTT or whose queue it is.

use std::time::Duration;

use super::super::AckSample;
use super::params::Params;
use super::{Bbr, Mode, State};
use crate::protocol::time::Time;

/// One measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When it has lasted long enough, once the queue is empty.
    done: Option<Time>,
    /// Lowest RTT meanwhile.
    low: Option<Duration>,
}

/// What one ACK means for it.
enum Step {
    Wait,
    /// The queue should be empty from now on.
    Emptied,
    /// The lowest RTT that was seen, if there was any.
    Done(Option<Duration>),
}

impl ProbeRtt {
    fn on_ack(&mut self, s: &AckSample, emptied: bool, time: Duration, rounds: u32) -> Step {
        match self.done {
            None if emptied => {
                self.done = Some(s.now + time);
                Step::Emptied
            }
            None => Step::Wait,
            Some(at) => {
                if let Some(rtt) = s.rtt {
                    self.low = Some(self.low.map_or(rtt, |low| low.min(rtt)));
                }
                if s.now > at && rounds >= 1 {
                    Step::Done(self.low)
                } else {
                    Step::Wait
                }
            }
        }
    }
}

impl Bbr {
    /// The window that empties a queue of our own.
    pub(super) fn probe_rtt_window(&self) -> u64 {
        let Params {
            dip_gain,
            probe_rtt_cwnd_gain,
            ..
        } = self.params;
        match self.mode {
            Mode::Competitive(_) => (dip_gain * self.bdp(self.given)) as u64,
            Mode::Model(_) | Mode::Held(_) => (probe_rtt_cwnd_gain * self.bdp(self.bw())) as u64,
        }
    }

    pub(super) fn on_probe_rtt(&mut self, s: &AckSample) {
        let emptied = s.in_flight <= self.probe_rtt_window() + 4 * self.model.mtu();
        let rounds = self.round.in_state();
        let min_rtt = self.model.min_rtt(&self.params).unwrap_or_default();
        let step = match &mut self.mode {
            Mode::Model(State::ProbeRtt(probe)) => {
                probe.on_ack(s, emptied, self.params.probe_rtt_time, rounds)
            }
            Mode::Competitive(competitive) => match competitive.dip_mut() {
                Some(probe) => probe.on_ack(s, emptied, min_rtt, rounds),
                None => return,
            },
            Mode::Model(_) | Mode::Held(_) => return,
        };
        match step {
            Step::Wait => {}
            Step::Emptied => self.round.restart(s.now, s.delivered, 1),
            Step::Done(low) => self.end_probe_rtt(s, low),
        }
    }

    fn end_probe_rtt(&mut self, s: &AckSample, low: Option<Duration>) {
        let empty = low.is_some_and(|low| !self.is_queue(low));
        let competitive = match self.mode {
            Mode::Competitive(competitive) => Some(competitive),
            Mode::Model(_) | Mode::Held(_) => None,
        };
        if let Some(rtt) = low {
            self.model
                .on_probe_rtt(s.now, rtt, competitive.is_some(), &self.params);
        }
        match competitive {
            None => self.enter(Mode::Model(State::Cruise), s),
            Some(_) if empty => self.resume(s, self.given, self.params.look_rounds),
            Some(competitive) => self.enter(Mode::Competitive(competitive.after_dip()), s),
        }
    }
}
