//! The sending half: decides what goes into the next packets, and seals them in place.

use std::ops::Range;
use std::time::Duration;

use super::paths::PathFrame;
use super::timers::KEEPALIVE;
use super::{Closed, Connection, Ending, Limit, TRAIN_INTERVAL};
use crate::protocol::ecn::Ecn;
use crate::protocol::pacing::CATCH_UP;
use crate::protocol::sent_packets::Carries;
use crate::protocol::time::Time;
use crate::protocol::wire::{ACK_HEAD_LEN, CONTROL_HEADER_LEN, DATA_HEADER_LEN, HEADER_LEN, TAG_LEN, frame};
use crate::protocol::{Path, Transmit};

/// Bytes of a CLOSE frame before its reason: type, code, length.
const CLOSE_HEADER_LEN: usize = 5;
/// Most bytes of a datagram with a PING and an ACK of one range. The least datagram, one with a PING alone, allows
/// three times its size, which is more.
pub(super) const SMALL_PACKET: u64 = (HEADER_LEN + 1 + ACK_HEAD_LEN + TAG_LEN) as u64;

/// A packet with less room than this carries no control bytes: the header would take most of it.
const LEAST_CONTROL: usize = 64;

/// Below this share of lost packets, copies of unacknowledged content at the end cost more than they save.
const TAIL_COPY_LOSS: f64 = 0.002;

/// The shortest time before looking again for content to copy.
const TAIL_PAUSE: Duration = Duration::from_millis(1);

impl Connection {
    /// Writes the next datagrams to `buf`, which is cleared first: one burst of at most `segments` datagrams.
    pub fn poll_transmit(&mut self, now: Time, buf: &mut Vec<u8>, segments: usize) -> Option<Transmit> {
        buf.clear();
        if !matches!(self.ending, Ending::Open) {
            return self.send_close(now, buf);
        }
        if let Some(frame) = self.paths.poll(now, self.silent) {
            return Some(self.write_path_frame(now, buf, &frame));
        }
        if !self.paths.is_proven() {
            return self.send_unproven(now, buf);
        }
        let rtt = self.recovery.rtt().smoothed();
        let ack_due = self.ack_tracker.due(rtt).is_some_and(|t| t <= now);
        let has_control = self.control_out.has_pending() && self.recovery.window_room() > 0;
        if ack_due || has_control {
            return Some(self.send_control(now, buf, ack_due));
        }
        if self.probes_owed > 0 {
            self.probes_owed -= 1;
            return Some(self.send_probe(now, buf));
        }
        if self.confirmed
            && let Some(size) = self.mtu.poll_probe(now, self.recovery.controller().bandwidth())
        {
            return Some(self.send_padding(now, buf, size, Carries::MtuProbe(size)));
        }
        if let Some(transmit) = self.send_content(now, buf, segments) {
            self.train = 0;
            return Some(transmit);
        }
        if self.next_of_train(now).is_some_and(|due| due <= now) {
            self.train -= 1;
            self.train_next = self.train_next.max(now - CATCH_UP) + TRAIN_INTERVAL;
            return Some(self.send_padding(now, buf, self.mtu.current(), Carries::Nothing));
        }
        if now >= self.last_sent + KEEPALIVE {
            let packet = self.begin(buf);
            buf.push(frame::PING);
            return Some(self.finish(now, buf, packet, Carries::Nothing, true));
        }
        None
    }

    /// Writes one datagram that asks for an answer on `path`, for a driver that looks for a silent peer.
    pub fn poll_path_probe(&mut self, now: Time, path: Path, buf: &mut Vec<u8>) -> Transmit {
        buf.clear();
        let frame = self.paths.probe(now, path);
        self.write_path_frame(now, buf, &frame)
    }

    /// Sends on a path that has not answered yet, as far as the received bytes allow: PINGs, so that the RTT
    /// is measured soon, and ACKs.
    fn send_unproven(&mut self, now: Time, buf: &mut Vec<u8>) -> Option<Transmit> {
        // The limit of a path without proof says nothing about its rate.
        self.recovery.on_app_limited();
        let room = self.paths.room();
        if room < SMALL_PACKET {
            return None;
        }
        let packet = self.begin(buf);
        if self.probes_owed > 0 {
            self.probes_owed -= 1;
            buf.push(frame::PING);
            return Some(self.finish(now, buf, packet, Carries::Nothing, true));
        }
        let rtt = self.recovery.rtt().smoothed();
        if self.ack_tracker.due(rtt).is_some_and(|t| t <= now) {
            self.write_ack(now, room, buf);
            return Some(self.finish_ack(now, buf, packet));
        }
        buf.clear();
        None
    }

    /// Whether content could leave now if the pacer allowed it.
    pub(super) fn may_send_content(&mut self, now: Time) -> bool {
        self.recovery.window_room() > 0
            && self.recovery.content_in_flight() < self.peer_flow_limit
            && (self.send_buffer.is_ready() || self.wants_tail_copies(now))
    }

    /// When the next packet of the opening train leaves. What a user's limit or content could use is not spent on it.
    pub(super) fn next_of_train(&mut self, now: Time) -> Option<Time> {
        let may = self.train > 0
            && self.confirmed
            && !self.send_buffer.is_ready()
            && !self.recovery.pacer().is_limited()
            && self.recovery.window_room() > 0;
        let packet = u64::from(self.mtu.current());
        may.then(|| self.recovery.pacer().next(now, packet).min(self.train_next))
    }

    /// Copies stop if nothing comes back, because each one delays the probes, which find out why: the path may carry only
    /// smaller packets now.
    fn wants_tail_copies(&self, now: Time) -> bool {
        self.content_finished
            && self.silence(now) <= self.recovery.probe_timeout()
            && self.recovery.content_in_flight() > 0
            && self.counters.lost as f64 > self.counters.sent as f64 * TAIL_COPY_LOSS
    }

    /// Sends a PING in a datagram of `size` bytes.
    fn send_padding(&mut self, now: Time, buf: &mut Vec<u8>, size: u16, carries: Carries) -> Transmit {
        let packet = self.begin(buf);
        buf.push(frame::PING);
        buf.resize(packet + usize::from(size) - TAG_LEN, frame::PADDING);
        self.finish(now, buf, packet, carries, true)
    }

    /// Starts a packet at the end of `buf`. Returns its position.
    fn begin(&self, buf: &mut Vec<u8>) -> usize {
        let start = buf.len();
        buf.resize(start + HEADER_LEN, 0);
        start
    }

    /// Seals the packet that starts at `start`, and records it as sent.
    fn finish(
        &mut self,
        now: Time,
        buf: &mut Vec<u8>,
        start: usize,
        carries: Carries,
        eliciting: bool,
    ) -> Transmit {
        let path = self.paths.path();
        self.book(now, buf, start, carries, eliciting);
        let bytes = (buf.len() - start) as u64;
        self.paths.on_sent(path, bytes);
        let ecn = if eliciting {
            self.recovery.ecn()
        } else {
            Ecn::NotEct
        };
        Transmit {
            ecn,
            ..Transmit::new(path, buf.len() - start)
        }
    }

    fn book(&mut self, now: Time, buf: &mut Vec<u8>, start: usize, carries: Carries, eliciting: bool) {
        if self.skips.is_due(self.sealer.next_number()) {
            self.sealer.skip();
            self.recovery.on_skipped(now);
        }
        buf.resize(buf.len() + TAG_LEN, 0);
        self.sealer.seal(&mut buf[start..]);
        let bytes = if eliciting { buf.len() - start } else { 0 };
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.recovery.on_packet(now, bytes, carries);
        self.last_sent = now;
        self.counters.sent += u64::from(eliciting);
    }

    /// Sends CLOSE, or the answer to it. Then the connection ends.
    fn send_close(&mut self, now: Time, buf: &mut Vec<u8>) -> Option<Transmit> {
        match &mut self.ending {
            Ending::Open | Ending::Over => None,
            Ending::Closing { next, .. } if now < *next => None,
            Ending::Closing { until, .. } if now >= *until => {
                self.end(Closed::ByUs);
                None
            }
            Ending::Closing {
                code,
                reason,
                next,
                interval,
                until,
            } => {
                *next = (now + *interval).min(*until);
                *interval *= 2;
                let (code, reason) = (*code, reason.clone());
                self.write_close(now, buf, code, &reason)
            }
            Ending::Answering { code, reason, copies } => {
                *copies -= 1;
                let (code, last) = (*code, *copies == 0);
                let reason = last.then(|| std::mem::take(reason));
                let transmit = self.write_close(now, buf, code, "");
                if let Some(reason) = reason {
                    self.end(Closed::ByPeer { code, reason });
                }
                transmit
            }
        }
    }

    fn write_close(&mut self, now: Time, buf: &mut Vec<u8>, code: u16, reason: &str) -> Option<Transmit> {
        let bare = (HEADER_LEN + CLOSE_HEADER_LEN + TAG_LEN) as u64;
        let reason = match self.paths.room() {
            room if room < bare => return None,
            room if room < bare + reason.len() as u64 => "",
            _ => reason,
        };
        buf.resize(HEADER_LEN, 0);
        buf.push(frame::CLOSE);
        buf.extend_from_slice(&code.to_be_bytes());
        let len = u16::try_from(reason.len()).expect("cut to MAX_REASON");
        buf.extend_from_slice(&len.to_be_bytes());
        buf.extend_from_slice(reason.as_bytes());
        Some(self.finish(now, buf, 0, Carries::Nothing, false))
    }

    fn write_path_frame(&mut self, now: Time, buf: &mut Vec<u8>, frame: &PathFrame) -> Transmit {
        let packet = self.begin(buf);
        buf.push(frame.kind);
        buf.extend_from_slice(&frame.token.to_be_bytes());
        buf.resize(packet + usize::from(frame.size) - TAG_LEN, frame::PADDING);
        self.book(now, buf, packet, Carries::Nothing, false);
        self.paths.on_sent(frame.path, u64::from(frame.size));
        Transmit::new(frame.path, buf.len())
    }

    /// Sends an ACK, control stream bytes, or both.
    fn send_control(&mut self, now: Time, buf: &mut Vec<u8>, ack: bool) -> Transmit {
        let packet = self.begin(buf);
        if ack {
            self.write_ack(now, u64::MAX, buf);
        }
        let room = self
            .control_room()
            .saturating_sub(buf.len() - packet - HEADER_LEN);
        let mut carries = Carries::Nothing;
        if room > LEAST_CONTROL
            && self.recovery.window_room() > 0
            && let Some(range) = self.control_out.next(room)
        {
            self.write_control_frame(&range, buf);
            carries = Carries::Control(range);
        }
        match carries {
            Carries::Nothing => self.finish_ack(now, buf, packet),
            carries => self.finish(now, buf, packet, carries, true),
        }
    }

    /// Finishes a packet that carries only an ACK, and a PING while the RTT is unknown: an end that only receives
    /// measures the RTT only by ack-eliciting packets. The packet has no ECN mark. While one such packet follows
    /// another, no probe is due, so nothing would show that the network drops marked ones.
    fn finish_ack(&mut self, now: Time, buf: &mut Vec<u8>, packet: usize) -> Transmit {
        let eliciting = !self.recovery.rtt().is_measured();
        if eliciting {
            buf.push(frame::PING);
        }
        Transmit {
            ecn: Ecn::NotEct,
            ..self.finish(now, buf, packet, Carries::Nothing, eliciting)
        }
    }

    /// The most bytes of the control stream in one packet.
    fn control_room(&self) -> usize {
        usize::from(self.mtu.current()) - (HEADER_LEN + CONTROL_HEADER_LEN + TAG_LEN)
    }

    /// Writes an ACK into a datagram of at most `room` bytes, and leaves room for a PING.
    fn write_ack(&mut self, now: Time, room: u64, buf: &mut Vec<u8>) {
        let most = u64::from(self.mtu.certain()).min(room) as usize - (HEADER_LEN + 1 + TAG_LEN);
        self.ack_tracker.write_ack(now, self.our_flow_limit, most, buf);
    }

    fn write_control_frame(&self, range: &Range<u64>, buf: &mut Vec<u8>) {
        buf.push(frame::CONTROL);
        buf.extend_from_slice(&range.start.to_be_bytes());
        buf.extend_from_slice(&((range.end - range.start) as u16).to_be_bytes());
        self.control_out.copy(range, buf);
    }

    /// Sends a probe after silence, whatever window and pacer allow: the oldest data in flight. Every second
    /// probe is only a PING: on a path that passes only small packets, its answer shows that the large ones
    /// were lost.
    fn send_probe(&mut self, now: Time, buf: &mut Vec<u8>) -> Transmit {
        let packet = self.begin(buf);
        let mut carries = Carries::Nothing;
        let is_small = self.recovery.probe_timeouts().is_multiple_of(2);
        let oldest = self.recovery.sent_packets().oldest_in_flight();
        match oldest.filter(|_| !is_small) {
            // This content may have arrived meanwhile. A copy of it would only cause further copies.
            Some(Carries::Content(range)) => {
                let range = self.send_buffer.outstanding(&range);
                if let Some(range) = range.filter(|r| r.end - r.start <= self.payload()) {
                    buf.push(frame::DATA);
                    buf.extend_from_slice(&range.start.to_be_bytes());
                    if self.send_buffer.copy(&range, buf) {
                        self.counters.repeated += 1;
                        carries = Carries::Content(range);
                    } else {
                        buf.truncate(packet + HEADER_LEN);
                    }
                }
            }
            Some(Carries::Control(range)) => {
                if let Some(mut range) = self.control_out.outstanding(&range) {
                    range.end = range.end.min(range.start + self.control_room() as u64);
                    self.write_control_frame(&range, buf);
                    carries = Carries::Control(range);
                }
            }
            _ => {}
        }
        if carries == Carries::Nothing {
            buf.push(frame::PING);
        }
        self.finish(now, buf, packet, carries, true)
    }

    /// The most content bytes in one packet.
    fn payload(&self) -> u64 {
        u64::from(self.mtu.current()) - (HEADER_LEN + DATA_HEADER_LEN + TAG_LEN) as u64
    }

    /// Sends a burst of content: as much as the congestion window, the flow-control limit and the pacer
    /// allow.
    fn send_content(&mut self, now: Time, buf: &mut Vec<u8>, segments: usize) -> Option<Transmit> {
        let window = self.recovery.window_room();
        let flow_limit = self
            .peer_flow_limit
            .saturating_sub(self.recovery.content_in_flight());
        if window == 0 || flow_limit == 0 {
            self.limit = if window == 0 { Limit::Path } else { Limit::Peer };
            if window > 0 {
                self.recovery.on_app_limited();
            }
            return None;
        }
        let paced = self.recovery.pacer().budget(now);
        let mtu = u64::from(self.mtu.current());
        if paced < mtu.min(self.recovery.pacer().quantum()) {
            self.limit = if self.recovery.pacer().is_limited() {
                Limit::User
            } else {
                Limit::Path
            };
            return None;
        }
        let room = window.min(paced).min(flow_limit.max(mtu)).max(mtu);
        let segments = (room / mtu)
            .min(segments as u64)
            .min(self.recovery.pacer().max_segments())
            .max(1);
        let payload = self.payload();
        let path = self.paths.path();
        let mut first = 0;
        for _ in 0..segments {
            let Some(range) = self.next_content(now, payload) else {
                break;
            };
            let start = self.begin(buf);
            buf.push(frame::DATA);
            buf.extend_from_slice(&range.start.to_be_bytes());
            if !self.send_buffer.copy(&range, buf) {
                // Only a copy of content in flight can have lost its block, and such a copy is not needed.
                buf.truncate(start);
                break;
            }
            self.book(now, buf, start, Carries::Content(range), true);
            let size = buf.len() - start;
            if start == 0 {
                first = size;
            }
            // Only the last segment of a burst may be shorter.
            if size < mtu as usize {
                break;
            }
        }
        if buf.is_empty() {
            self.limit = Limit::Source;
            self.recovery.on_app_limited();
            return None;
        }
        if self.recovery.pacer().is_limited() {
            self.recovery.on_app_limited();
        }
        Some(Transmit {
            ecn: self.recovery.ecn(),
            ..Transmit::new(path, first)
        })
    }

    fn next_content(&mut self, now: Time, payload: u64) -> Option<Range<u64>> {
        if let Some((range, again)) = self.send_buffer.next(payload) {
            self.counters.repeated += u64::from(again);
            return Some(range);
        }
        if !self.wants_tail_copies(now) || now < self.tail_pause {
            return None;
        }
        let copy = self.recovery.sent_packets().newest_uncopied();
        let copy = copy.filter(|r| r.end - r.start <= payload);
        if copy.is_none() {
            self.tail_pause = now + (self.recovery.rtt().smoothed() / 4).max(TAIL_PAUSE);
        } else {
            self.counters.repeated += 1;
        }
        copy
    }
}
