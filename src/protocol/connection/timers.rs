//! Time: when to act next, silence, probes of a peer that does not acknowledge, and what counts as lost.

use super::{Connection, Ending, Event};
use crate::protocol::congestion::AckSample;
use crate::protocol::ledger::Carries;
use crate::protocol::received::MAX_ACK_DELAY;
use crate::protocol::time::Time;
use std::time::Duration;

/// Quiet ends keep NAT mappings and each other's certainty alive this often. Shorter than a NAT needs, so that a
/// dead peer shows within [`SILENCE`].
pub(super) const KEEPALIVE: Duration = Duration::from_secs(3);
/// Nothing heard for this long: look for the peer on other paths.
pub const SILENCE: Duration = Duration::from_secs(8);
/// Longest wait between probes of a silent peer, so that a path that comes back is noticed at once.
const MAX_PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// Probes without an answer after which large packets are suspected of vanishing.
const BLACK_HOLE_TIMEOUTS: u32 = 3;
/// And for so long nothing may have been heard: a busy machine misses probes, too.
const BLACK_HOLE_SILENCE: Duration = Duration::from_secs(1);

/// Packets of one kind, and their bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// What one ACK told.
#[derive(Clone, Copy, Default)]
pub(super) struct AckTally {
    pub(super) tally: Tally,
    pub(super) rtt: Option<Duration>,
    pub(super) prior_in_flight: u64,
}

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) or `poll_transmit` has something to do next.
    pub fn poll_timeout(&mut self, now: Time) -> Option<Time> {
        match &self.ending {
            // Whoever drives it has yet to hear of the end.
            Ending::Over => return (!self.events.is_empty()).then_some(now),
            Ending::Closing { next, .. } => return Some(*next),
            Ending::Answering { .. } => return Some(now),
            Ending::Open => {}
        }
        let mut next = (self.last_sent + KEEPALIVE).min(self.last_heard + SILENCE);
        if self.silent {
            next = self.last_sent + KEEPALIVE;
        }
        let mut sooner = |t: Option<Time>| next = t.map_or(next, |t| t.min(next));
        sooner(self.received.due(self.rtt.smoothed()));
        sooner(self.ledger.loss_time(&self.rtt));
        sooner(self.probe_time());
        if self.may_send_content() {
            let quantum = self.pacer.quantum();
            let earliest = if self.outgoing.is_ready() {
                now
            } else {
                self.tail_pause
            };
            sooner(Some(self.pacer.next(now, quantum).max(earliest)));
        }
        if self.confirmed {
            sooner(self.mtu.next_probe());
        }
        Some(next)
    }

    /// When to probe a peer that does not acknowledge.
    fn probe_time(&self) -> Option<Time> {
        if self.ledger.in_flight() == 0 {
            return None;
        }
        let wait = self.rtt.probe_timeout(MAX_ACK_DELAY) * (1 << self.probe_timeouts.min(6));
        let most = MAX_PROBE_TIMEOUT.max(self.rtt.smoothed() * 2 + MAX_ACK_DELAY);
        Some(self.ledger.last_eliciting() + wait.min(most))
    }

    /// The clock passed a time that `poll_timeout` gave.
    pub fn handle_timeout(&mut self, now: Time) {
        if !matches!(self.ending, Ending::Open) {
            return;
        }
        if !self.silent && now >= self.last_heard + SILENCE {
            self.silent = true;
            self.events.push_back(Event::Silent);
        }
        if self.ledger.loss_time(&self.rtt).is_some_and(|t| t <= now) {
            self.settle_losses(now, None);
        } else if self.probe_time().is_some_and(|t| t <= now) {
            self.probe_timeouts += 1;
            self.probes_owed = 2;
            if self.probe_timeouts >= 2 {
                self.outage_before = now;
            }
            // Perhaps only small packets still pass; what is under way is then too large to get through.
            let unheard = now.since(self.last_heard) >= BLACK_HOLE_SILENCE;
            if self.probe_timeouts >= BLACK_HOLE_TIMEOUTS && unheard && self.mtu.fall_back(now) {
                self.use_mtu();
            }
        }
    }

    /// Lets the clock or an ACK declare losses, then tells the controller of both.
    pub(super) fn settle_losses(&mut self, now: Time, acked: Option<AckTally>) {
        let mut lost = Tally::default();
        let mut told = Tally::default();
        let prior = acked.map_or(self.ledger.in_flight(), |a| a.prior_in_flight);
        let (outgoing, control, mtu, sampler) = (
            &mut self.outgoing,
            &mut self.control_out,
            &mut self.mtu,
            &mut self.sampler,
        );
        let outage_before = self.outage_before;
        let mut black_hole = false;
        self.ledger.detect_losses(now, &self.rtt, |packet| {
            lost.add(packet.bytes);
            match packet.carries {
                Carries::Content(range) => outgoing.on_lost(range),
                Carries::Control(range) => control.on_lost(range),
                Carries::MtuProbe(size) => {
                    mtu.on_probe_lost(now, size);
                    return;
                }
                Carries::Nothing => {}
            }
            black_hole |= mtu.on_lost(now, packet.stamp.sent_at, packet.bytes);
            if packet.stamp.sent_at >= outage_before {
                told.add(packet.bytes);
                sampler.on_lost(packet.bytes);
            }
        });
        self.counters.lost += lost.packets;
        if black_hole {
            self.use_mtu();
        }
        if acked.is_none() && told.packets == 0 {
            return;
        }
        let rate = self.sampler.finish(now, self.rtt.min());
        let acked = acked.unwrap_or_default();
        self.controller.on_ack(&AckSample {
            now,
            acked_bytes: acked.tally.bytes,
            acked_packets: acked.tally.packets,
            lost_bytes: told.bytes,
            lost_packets: told.packets,
            rtt: acked.rtt,
            max_rtt: rate.max_rtt,
            min_rtt: self.rtt.min(),
            smoothed_rtt: self.rtt.smoothed(),
            delivery_rate: rate.delivery_rate,
            app_limited: rate.app_limited,
            delivered: rate.delivered,
            delivered_at_send: rate.delivered_at_send,
            lost_since_send: rate.lost_since_send,
            prior_in_flight: prior,
            in_flight: self.ledger.in_flight(),
            in_flight_at_send: rate.in_flight_at_send,
        });
        self.pacer.set_rtt(self.rtt.min());
        self.pacer.set_rate(now, self.controller.pacing_rate());
    }

    pub(super) fn use_mtu(&mut self) {
        let mtu = self.mtu.current();
        self.pacer.set_mtu(mtu);
        self.controller.set_mtu(mtu);
    }

    /// The system refused a datagram as too large for the interface.
    pub fn on_too_large(&mut self, now: Time, size: u16) {
        self.mtu.on_probe_lost(now, size);
        if size <= self.mtu.current() && self.mtu.fall_back(now) {
            self.use_mtu();
        }
    }
}
