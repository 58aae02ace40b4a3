//! Congestion control behind one small trait: how fast to send, and how much may be in flight.
//!
//! A controller is called once for each ACK, not for each packet. It owns no clock and no randomness: time is an
//! argument and randomness a seed.

pub(crate) mod bbr;
pub(crate) mod cubic;
pub(crate) mod sampler;
pub(crate) mod udt;

use std::time::Duration;

use super::time::Time;

/// What one acknowledgement told the sender, all its packets together.
///
/// Bytes are UDP payload bytes (header, frames and tag), the unit pacing and windows use as well.
#[derive(Clone, Copy, Debug)]
pub struct AckSample {
    /// When the ACK was processed.
    pub now: Time,
    /// Bytes newly acknowledged.
    pub acked_bytes: u64,
    /// Packets newly acknowledged.
    pub acked_packets: u64,
    /// Packets newly declared lost with this ACK (or, with `acked_bytes == 0`, by the loss timer).
    pub lost_packets: u64,
    /// Packets that the peer says arrived with a mark of congestion (CE), since the last ACK that told of any.
    pub marked_packets: u64,
    /// Round-trip time of the newest packet acknowledged, the peer's delay taken off; none if the ACK gave none.
    pub rtt: Option<Duration>,
    /// Longest RTT among the packets newly acknowledged, ACK delay included ([`sampler::RateSample::max_rtt`]):
    /// what the window must cover when jitter reorders; none if nothing was acknowledged.
    pub max_rtt: Option<Duration>,
    /// Age at which packets that others had overtaken arrived within the last second or two; zero if none did.
    pub late: Duration,
    /// Lowest RTT seen on this path, over its whole life.
    pub min_rtt: Duration,
    /// Smoothed RTT (RFC 9002, section 5.3).
    pub smoothed_rtt: Duration,
    /// Delivery rate in bytes a second over the newest packet's flight
    /// (draft-cheng-iccrg-delivery-rate-estimation); none if not measurable.
    pub delivery_rate: Option<u64>,
    /// Whether that rate was bounded by the application having nothing to send.
    pub app_limited: bool,
    /// Total bytes ever delivered, this ACK included.
    pub delivered: u64,
    /// `delivered` at the time the newest acknowledged packet was sent: a round ends when it passes the mark.
    pub delivered_at_send: u64,
    /// Packets of an outage were declared lost and are not counted in `lost_packets`. So what arrived beside them
    /// tells nothing about the path's loss.
    pub after_outage: bool,
    /// Bytes in flight before this ACK was processed.
    pub prior_in_flight: u64,
    /// Bytes in flight after it.
    pub in_flight: u64,
    /// In flight at the time the newest acknowledged packet was sent.
    pub in_flight_at_send: u64,
}

/// Why a sender is not sending faster, for people and traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Looking for the path's rate, which grows every round.
    Startup,
    /// Emptying the queue that the start built.
    Drain,
    /// At the path's rate.
    Steady,
    /// Looking for more.
    ProbeUp,
    /// Making room below the path's rate.
    ProbeDown,
    /// Measuring the unloaded RTT.
    ProbeRtt,
}

/// A congestion controller.
pub trait Controller: Send + std::fmt::Debug {
    /// An ACK was processed, or the loss timer declared packets lost.
    fn on_ack(&mut self, sample: &AckSample);
    /// Packets that were declared lost have arrived (reordering). They no longer count as lost.
    fn on_spurious_loss(&mut self, now: Time, bytes: u64);
    /// The path changed (rebinding, migration): forget what was learnt of the old path.
    fn on_path_change(&mut self, now: Time);
    /// Bytes allowed in flight.
    fn window(&self) -> u64;
    /// Bytes a second to pace at.
    fn pacing_rate(&self) -> u64;
    /// The largest datagram changed, in bytes.
    fn set_mtu(&mut self, bytes: u16);
    /// The state, for people and traces.
    fn stage(&self) -> Stage;
    /// Its current estimate of the path's bandwidth, bytes a second.
    fn bandwidth(&self) -> u64;
}
