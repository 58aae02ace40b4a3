//! The sending half of a connection without the contents of packets: which packets arrived, what the path is
//! like, how much may leave and when (the scope of RFC 9002).
//!
//! It joins the sent packets, the RTT, the rate sampler, the congestion controller and the pacer. Both the
//! connection and the tests of congestion control use it, so both follow the same rules.

use std::time::Duration;

use super::ack_tracker::MAX_ACK_DELAY;
use super::congestion::sampler::Sampler;
use super::congestion::{AckSample, Controller};
use super::ecn::{Ecn, EcnPath};
use super::pacing::Pacer;
use super::rtt::RttEstimator;
use super::sent_packets::{Carries, FalseAck, SentPackets, Settled};
use super::time::Time;
use super::wire::Ack;

/// The longest time between probes of a silent peer, so that a path that works again is noticed at once. Ten
/// packets a second do no harm.
const MAX_PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// What happened to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrived, perhaps after it was declared lost.
    Arrived,
    /// It was declared lost.
    Lost,
}

/// What one ACK reported.
#[derive(Clone, Copy, Default)]
struct Told {
    packets: u64,
    bytes: u64,
    rtt: Option<Duration>,
    /// Packets that a growing queue has marked.
    marked: u64,
}

/// Tracks the packets in flight and decides what may follow them.
#[derive(Debug)]
pub struct Recovery {
    sent_packets: SentPackets,
    rtt: RttEstimator,
    sampler: Sampler,
    controller: Box<dyn Controller>,
    pacer: Pacer,
    ecn: EcnPath,
    probe_timeouts: u32,
    /// When the first and the second probe of this silence left. They hold if `probe_timeouts` is at least 1 and 2.
    first_probe: Time,
    second_probe: Time,
    /// When the path changed last. What was sent before that tells nothing of the new path (RFC 9000, section 9.4).
    path_since: Time,
    /// Packets sent before this time and lost belong to an outage, which says nothing about congestion.
    outage_before: Time,
    /// Whether such losses were declared since the controller was told last.
    excused: bool,
}

impl Recovery {
    /// Starts with no packet sent. `handshake` is the round-trip time of the handshake, if one was measured.
    pub fn new(controller: Box<dyn Controller>, handshake: Option<Duration>, now: Time) -> Self {
        let mut pacer = Pacer::new(now);
        pacer.set_rate(now, controller.pacing_rate());
        Recovery {
            sent_packets: SentPackets::new(now),
            rtt: RttEstimator::new(handshake),
            sampler: Sampler::new(now),
            controller,
            pacer,
            ecn: EcnPath::new(now),
            probe_timeouts: 0,
            first_probe: Time::ZERO,
            second_probe: Time::ZERO,
            path_since: Time::ZERO,
            outage_before: Time::ZERO,
            excused: false,
        }
    }

    pub(crate) fn sent_packets(&mut self) -> &mut SentPackets {
        &mut self.sent_packets
    }

    /// The pacer.
    pub fn pacer(&mut self) -> &mut Pacer {
        &mut self.pacer
    }

    /// The pacing rate in force, in bytes a second.
    pub(crate) fn pacing_rate(&self) -> u64 {
        self.pacer.rate()
    }

    pub(crate) const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// The congestion controller.
    pub fn controller(&self) -> &dyn Controller {
        &*self.controller
    }

    /// Bytes in flight.
    pub const fn in_flight(&self) -> u64 {
        self.sent_packets.in_flight()
    }

    /// Content bytes in flight.
    pub(crate) const fn content_in_flight(&self) -> u64 {
        self.sent_packets.content_in_flight()
    }

    /// The bytes for which the congestion window has room.
    pub fn window_room(&self) -> u64 {
        self.controller
            .window()
            .saturating_sub(self.sent_packets.in_flight())
    }

    /// The mark of the next ack-eliciting packets.
    pub const fn ecn(&self) -> Ecn {
        self.ecn.mark()
    }

    /// Records a packet that left. `bytes` is 0 if it asks for no ACK.
    pub fn on_packet(&mut self, now: Time, bytes: u16, carries: Carries) {
        let in_flight = self.sent_packets.in_flight() + u64::from(bytes);
        let stamp = self.sampler.on_sent(now, u64::from(bytes), in_flight);
        if bytes > 0 {
            self.ecn.on_sent();
            self.pacer.on_sent(u64::from(bytes));
        }
        self.sent_packets.on_sent(stamp, bytes, carries);
    }

    /// Records that the next packet number is skipped.
    pub(crate) fn on_skipped(&mut self, now: Time) {
        let stamp = self.sampler.on_sent(now, 0, self.sent_packets.in_flight());
        self.sent_packets.on_skipped(stamp);
    }

    /// Records that there is less to send than window and pacer allow.
    pub fn on_app_limited(&mut self) {
        self.sampler.on_app_limited(self.sent_packets.in_flight());
    }

    /// Sets the size of the largest datagram, in bytes.
    pub fn set_mtu(&mut self, bytes: u16) {
        self.pacer.set_mtu(bytes);
        self.controller.set_mtu(bytes);
    }

    /// Forgets the old path's estimates, because the path changed.
    pub(crate) fn on_path_change(&mut self, now: Time) {
        self.path_since = now;
        self.rtt.reset();
        self.sampler = Sampler::new(now);
        self.controller.on_path_change(now);
        self.ecn.on_path_change(now);
        self.probe_timeouts = 0;
        self.outage_before = now;
        self.follow_controller(now);
    }

    fn follow_controller(&mut self, now: Time) {
        self.pacer.set_rtt(self.rtt.min());
        self.pacer.set_rate(now, self.controller.pacing_rate());
    }

    /// A packet of the peer arrived.
    pub(crate) const fn on_heard(&mut self) {
        self.ecn.on_heard();
    }

    /// The number of probes in a row without an answer.
    pub(crate) const fn probe_timeouts(&self) -> u32 {
        self.probe_timeouts
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn timeout(&mut self) -> Option<Time> {
        let loss = self.sent_packets.loss_time(&self.rtt);
        loss.into_iter().chain(self.probe_time()).min()
    }

    /// How long to wait for an answer on this path.
    pub(crate) fn probe_timeout(&self) -> Duration {
        self.rtt.probe_timeout(MAX_ACK_DELAY)
    }

    /// When to probe a peer that does not acknowledge.
    fn probe_time(&self) -> Option<Time> {
        if self.sent_packets.in_flight() == 0 {
            return None;
        }
        let first = self.probe_timeout();
        let wait = match self.probe_timeouts {
            0 => first,
            n => (first * (1 << n.min(6))).min(MAX_PROBE_TIMEOUT),
        };
        // Packets that the pacer is about to release serve as well as a probe, and cost nothing.
        let wait = wait.max(self.pacer.interval() * 2);
        Some(self.sent_packets.last_eliciting() + wait)
    }

    /// Does what is due at a time that [`timeout`](Self::timeout) gave: calls `each` for the packets that are
    /// lost now. Returns how many packets must leave at once as probes.
    pub fn on_timeout(&mut self, now: Time, each: impl FnMut(Fate, Settled)) -> u8 {
        if self.sent_packets.loss_time(&self.rtt).is_some_and(|t| t <= now) {
            let prior = self.sent_packets.in_flight();
            self.settle_losses(now, prior, Told::default(), each);
            return 0;
        }
        if self.probe_time().is_none_or(|t| t > now) {
            return 0;
        }
        self.probe_timeouts += 1;
        self.ecn.on_probe(now, self.probe_timeouts, self.probe_timeout());
        if self.probe_timeouts == 1 {
            self.first_probe = now;
            // One alone may be lost by chance.
            return 2;
        }
        if self.probe_timeouts == 2 {
            self.second_probe = now;
        }
        1
    }

    /// Takes an ACK, and calls `each` for the packets whose fate it decides. Returns whether it was the first
    /// ACK of any packet. An ACK of a packet that was never sent is an error.
    pub fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack<'_>,
        mut each: impl FnMut(Fate, Settled),
    ) -> Result<bool, FalseAck> {
        let prior = self.sent_packets.in_flight();
        let mut told = Told::default();
        let (mut late, mut is_news) = (0, false);
        let path_since = self.path_since;
        let (first_probe, mut answer) = (self.first_probe, None::<Time>);
        let (sampler, ecn) = (&mut self.sampler, &mut self.ecn);
        let rtt = self.sent_packets.on_ack(now, ack, |packet| {
            if packet.carries != Carries::Nothing {
                ecn.on_acked(packet.stamp.sent_at);
            }
            let sent_at = packet.stamp.sent_at;
            if sent_at >= first_probe {
                answer = Some(answer.map_or(sent_at, |at| at.min(sent_at)));
            }
            is_news |= !packet.was_lost;
            if sent_at < path_since {
                // It took another path.
            } else if packet.was_lost {
                late += packet.bytes;
                sampler.on_spurious(packet.bytes);
            } else {
                told.packets += 1;
                told.bytes += packet.bytes;
                sampler.on_ack(now, &packet.stamp, packet.bytes);
            }
            each(Fate::Arrived, packet);
        })?;
        if let Some(sample) = rtt.filter(|rtt| *rtt <= now.since(path_since)) {
            self.rtt
                .on_sample(sample, Duration::from_micros(u64::from(ack.delay_us)));
            told.rtt = Some(self.rtt.latest());
        }
        told.marked = self.ecn.on_counts(ack.ecn);
        // The answer to a probe takes a round trip, so more probes alone prove nothing. The path was dark if no
        // packet arrived that left between the first probe and the second.
        if self.probe_timeouts >= 2
            && let Some(at) = answer.filter(|at| *at >= self.second_probe)
        {
            self.outage_before = at;
        }
        if is_news {
            self.probe_timeouts = 0;
        }
        if late > 0 {
            self.controller.on_spurious_loss(now, late);
        }
        self.settle_losses(now, prior, told, each);
        Ok(is_news)
    }

    /// Declares losses, then tells the controller of them and of what an ACK reported.
    fn settle_losses(
        &mut self,
        now: Time,
        prior_in_flight: u64,
        acked: Told,
        mut each: impl FnMut(Fate, Settled),
    ) {
        let mut lost_packets = 0;
        let (outage_before, excused) = (self.outage_before, &mut self.excused);
        self.sent_packets.detect_losses(now, &self.rtt, |packet| {
            // An MTU probe is lost because of its size.
            let is_probe = matches!(packet.carries, Carries::MtuProbe(_));
            if packet.stamp.sent_at < outage_before {
                *excused = true;
            } else if !is_probe {
                lost_packets += 1;
            }
            each(Fate::Lost, packet);
        });
        if acked.packets + lost_packets + acked.marked == 0 {
            return;
        }
        let rate = self.sampler.finish(now, self.rtt.min());
        self.controller.on_ack(&AckSample {
            now,
            acked_bytes: acked.bytes,
            acked_packets: acked.packets,
            lost_packets,
            marked_packets: acked.marked,
            rtt: acked.rtt,
            max_rtt: rate.max_rtt,
            late: self.sent_packets.late(),
            min_rtt: self.rtt.min(),
            smoothed_rtt: self.rtt.smoothed(),
            delivery_rate: rate.delivery_rate,
            app_limited: rate.app_limited,
            delivered: rate.delivered,
            delivered_at_send: rate.delivered_at_send,
            after_outage: std::mem::take(&mut self.excused),
            prior_in_flight,
            in_flight: self.sent_packets.in_flight(),
            in_flight_at_send: rate.in_flight_at_send,
        });
        self.follow_controller(now);
    }
}

#[cfg(test)]
mod tests;
