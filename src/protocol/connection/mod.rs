//! One sealed connection: ordered control bytes both ways, content bytes from the sender to the receiver.
//!
//! Methods are inputs (`handle_*`), outputs (`poll_*`), transfers of data by the application (`offer`,
//! `write_control`, …) and plain questions. Nothing unauthenticated changes any state. What the peer can make
//! this end remember is bounded by the control stream's window, by the ranges kept for ACKs and by the replay
//! window.
//!
//! The connection knows neither files nor hashes of blocks nor punching. After silence it sends challenges on
//! every path where the peer was heard. The driver also sends the packets of [`Connection::poll_path_probe`]
//! wherever else the peer may be. The connection moves to the path of the first answer.

mod cargo;
pub(crate) mod interface;
mod paths;
mod receive;
mod send;
mod skips;
mod timers;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use zeroize::Zeroizing;

pub(crate) use self::interface::{Closed, Config, Content, Event, Limit, Misbehaviour, Stats};
use self::paths::Paths;
use self::skips::Skips;
pub(crate) use self::timers::SILENCE;
use super::ack_tracker::AckTracker;
use super::congestion::Controller;
use super::mtu::MtuSearch;
use super::recovery::Recovery;
use super::seal::{FORGERY_LIMIT, Opener, ReplayWindow, Sealer};
use super::send_buffer::SendBuffer;
use super::stream::{RecvStream, SendStream};
use super::time::Time;
use super::wire::MAX_REASON;
use super::{Path, Role};

/// The least limit a peer may set, in bytes a second: about one packet. With less, nothing would ever move.
const LEAST_LIMIT: u64 = 1_500;
/// The time between the first two copies of CLOSE. Each further time is twice as long.
const CLOSE_INTERVAL: Duration = Duration::from_millis(30);
/// After so long without an answer the connection ends. Until then copies leave, because a path may be dark for a second.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The same if the end is no success (its code is not 0): whoever stopped the program waits for this.
const STOP_TIME: Duration = Duration::from_millis(700);
/// Copies of an answer to CLOSE. They leave at once: the end that answers must not wait.
const CLOSE_ANSWERS: u8 = 3;

/// Packets of padding before the content. With 32 the controller, which needs 20 between two ACKs, sees no rate at 300
/// Mbit/s and 100 ms; 64 save no more than 48.
const OPENING_TRAIN: u64 = 48;
/// The time between two of them, unless the pace allows less: the train lasts 8 ms, twice the shortest that the controller
/// measures. At 100 ms and more the pace of the initial window would take four times as long and show a quarter of the
/// rate.
const TRAIN_INTERVAL: Duration = Duration::from_micros(167);

#[derive(Debug)]
enum Ending {
    Open,
    /// This end sends CLOSE until the peer answers with its own, or `until` has come.
    Closing {
        code: u16,
        reason: String,
        next: Time,
        interval: Duration,
        until: Time,
    },
    /// This end must answer the peer's CLOSE with its own, so that the peer need not wait.
    Answering {
        code: u16,
        reason: String,
        copies: u8,
    },
    Over,
}

#[derive(Default, Debug)]
struct Counters {
    sent: u64,
    lost: u64,
    repeated: u64,
    received: u64,
    replays: u64,
}

/// One end of a sealed connection.
#[derive(Debug)]
pub struct Connection {
    local_id: u32,
    paths: Paths,
    /// The path that was last reported to the application, and when it may next hear of another.
    told: (Path, Time),
    sealer: Sealer,
    skips: Skips,
    opener: Opener,
    replay: ReplayWindow,
    ack_tracker: AckTracker,
    recovery: Recovery,
    mtu: MtuSearch,
    send_buffer: SendBuffer,
    control_out: SendStream,
    control_in: RecvStream,
    content_finished: bool,
    /// Packets of the opening train that may still leave, and when the next does at the latest.
    train: u64,
    train_next: Time,
    /// The content bytes that we allow the peer to send, and those that it allows us.
    our_flow_limit: u64,
    peer_flow_limit: u64,
    probes_owed: u8,
    /// No copies of packets in flight before this time.
    tail_pause: Time,
    last_heard: Time,
    last_sent: Time,
    confirmed: bool,
    silent: bool,
    limit: Limit,
    ending: Ending,
    counters: Counters,
    events: VecDeque<Event>,
    /// The users' limit and the relay's limit, in bytes a second.
    user_limit: Option<u64>,
    relay_rate: Option<u64>,
}

impl Connection {
    /// Starts a connection on a path where the handshake has succeeded.
    pub fn new(config: Config, controller: Box<dyn Controller>, now: Time) -> Self {
        let purpose = |context| Zeroizing::new(blake3::derive_key(context, &*config.seed));
        let recovery = Recovery::new(controller, config.handshake_rtt, now);
        let mut connection = Connection {
            local_id: config.local_id,
            told: (config.path, now),
            paths: Paths::new(now, config.path, config.role, purpose("p2pcopy v1 path tokens")),
            sealer: Sealer::new(config.cipher, config.send_secret, config.remote_id),
            skips: Skips::new(purpose("p2pcopy v1 skipped numbers")),
            opener: Opener::new(config.cipher, config.receive_secret),
            replay: ReplayWindow::default(),
            ack_tracker: AckTracker::default(),
            recovery,
            mtu: MtuSearch::new(now),
            send_buffer: SendBuffer::new(config.send_blocks),
            control_out: SendStream::default(),
            control_in: RecvStream::default(),
            content_finished: false,
            train: 0,
            train_next: now,
            our_flow_limit: 0,
            peer_flow_limit: 0,
            // The sender's first packet tells the receiver that its answer arrived.
            probes_owed: u8::from(config.role == Role::Sender),
            tail_pause: now,
            last_heard: now,
            last_sent: now,
            confirmed: false,
            silent: false,
            limit: Limit::Source,
            ending: Ending::Open,
            counters: Counters::default(),
            events: VecDeque::new(),
            user_limit: config.limit,
            relay_rate: None,
        };
        connection.use_limit(now);
        connection
    }

    /// Tells that `bytes` of content follow if the peer agrees. Meanwhile a train of padding shows the path's rate, so that
    /// the content need not begin with the initial window.
    pub fn expect_content(&mut self, bytes: u64) {
        self.train = OPENING_TRAIN.min(bytes / u64::from(self.mtu.current()));
    }

    /// How many more blocks of content [`offer`](Self::offer) accepts now.
    pub fn content_room(&self) -> usize {
        self.send_buffer.room()
    }

    /// Gives a block of content to send. A block that is offered again is sent again.
    pub fn offer(&mut self, offset: u64, bytes: Vec<u8>) {
        let whole = 0..bytes.len() as u64;
        self.offer_parts(offset, bytes, &[whole]);
    }

    /// Gives a block, but sends only these parts of it. Their offsets are relative to the block.
    pub(crate) fn offer_parts(&mut self, offset: u64, bytes: Vec<u8>, parts: &[Range<u64>]) {
        self.content_finished = false;
        let range = offset..offset + bytes.len() as u64;
        if self.send_buffer.offer_parts(offset, bytes, parts) {
            self.recovery.sent_packets().withdraw(&range);
        }
    }

    /// The offset of a block that must be read again. Answer with [`supply`](Self::supply).
    pub fn wanted(&self) -> Option<u64> {
        self.send_buffer.wanted()
    }

    /// Gives a block that was [`wanted`](Self::wanted).
    pub fn supply(&mut self, offset: u64, bytes: Vec<u8>) {
        self.send_buffer.supply(offset, bytes);
    }

    /// The buffer of an earlier block, for reuse.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        self.send_buffer.reclaim()
    }

    /// Tells that everything was offered: from now on, free window may carry copies of packets in flight.
    pub fn finish_content(&mut self) {
        self.content_finished = true;
    }

    /// Writes to the control stream. Returns how many bytes it took.
    pub fn write_control(&mut self, bytes: &[u8]) -> usize {
        self.control_out.write(bytes)
    }

    /// Whether everything written to the control stream has arrived.
    pub(crate) fn control_arrived(&self) -> bool {
        self.control_out.is_drained()
    }

    /// Reads from the control stream and appends to `to`. Returns how many bytes it read.
    pub fn read_control(&mut self, to: &mut Vec<u8>) -> usize {
        self.control_in.read(to)
    }

    /// Fills `to` from the control stream, or reads nothing. Returns whether enough bytes were there.
    pub(crate) fn read_control_exact(&mut self, to: &mut [u8]) -> bool {
        self.control_in.read_exact(to)
    }

    /// Sets for how many content bytes this end has room. With no room, content is dropped unacknowledged.
    pub fn set_flow_limit(&mut self, now: Time, bytes: u64) {
        // If the room was zero or far less than now, the peer must hear of it at once.
        if self.our_flow_limit < bytes / 4 && self.confirmed {
            self.ack_tracker.hurry(now);
        }
        self.our_flow_limit = bytes;
    }

    /// Closes the connection and tells the peer why. [`Event::Closed`] follows after the peer's answer, or after
    /// 2 s without one (0.7 s if the code is not 0).
    pub fn close(&mut self, now: Time, code: u16, reason: &str) {
        if matches!(self.ending, Ending::Open) {
            let mut end = reason.len().min(MAX_REASON);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            let reason = reason[..end].to_owned();
            self.ending = Ending::Closing {
                code,
                reason,
                next: now,
                interval: CLOSE_INTERVAL,
                until: now + if code == 0 { CLOSE_TIME } else { STOP_TIME },
            };
        }
    }

    /// Whether the connection has ended.
    pub const fn is_closed(&self) -> bool {
        matches!(self.ending, Ending::Over)
    }

    /// The path in use.
    pub fn path(&self) -> Path {
        self.paths.path()
    }

    /// Whether a sealed packet of the peer has arrived.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the peer was heard last on the path in use, so that no other may be needed.
    pub(crate) fn is_settled(&self) -> bool {
        self.paths.is_settled()
    }

    /// Smoothed RTT, once one was measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        let rtt = self.recovery.rtt();
        rtt.is_measured().then(|| rtt.smoothed())
    }

    /// For how long nothing has come from the peer.
    pub(crate) fn silence(&self, now: Time) -> Duration {
        now.since(self.last_heard)
    }

    /// Sets the limit of the peer's user, in bytes a second. The smaller of both users' limits applies. The least
    /// limit is one packet a second.
    pub(crate) fn lower_limit(&mut self, now: Time, bytes_per_second: u64) {
        let own = self.user_limit.unwrap_or(u64::MAX);
        self.user_limit = Some(own.min(bytes_per_second.max(LEAST_LIMIT)));
        self.use_limit(now);
    }

    /// Declares this path as a relay, which passes on at most `rate` bytes a second if it has a limit. The
    /// connection uses it only as long as no other path works.
    pub(crate) fn set_relay(&mut self, now: Time, path: Path, rate: Option<u64>) {
        self.paths.set_relay(path);
        self.relay_rate = rate;
        self.use_limit(now);
    }

    /// Whether the path in use is a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.paths.is_relayed()
    }

    fn use_limit(&mut self, now: Time) {
        let relay = self.relay_rate.filter(|_| self.paths.is_relayed());
        let limit = [self.user_limit, relay].into_iter().flatten().min();
        self.recovery.pacer().set_limit(now, limit);
    }

    /// Content bytes that the peer has acknowledged.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        self.send_buffer.arrived_bytes()
    }

    /// The counters and estimates.
    pub fn stats(&self) -> Stats {
        let (rtt, controller) = (self.recovery.rtt(), self.recovery.controller());
        Stats {
            rtt: rtt.smoothed(),
            min_rtt: rtt.min(),
            in_flight: self.recovery.in_flight(),
            window: controller.window(),
            pacing_rate: self.recovery.pacing_rate(),
            bandwidth: controller.bandwidth(),
            stage: controller.stage(),
            sent_packets: self.counters.sent,
            lost_packets: self.counters.lost,
            repeated_packets: self.counters.repeated,
            received_packets: self.counters.received,
            forgeries: self.opener.forgeries(),
            replays: self.counters.replays,
            arrived_bytes: self.arrived_bytes(),
            mtu: self.mtu.current(),
            limit: self.limit,
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn end(&mut self, how: Closed) {
        self.ending = Ending::Over;
        self.events.push_back(Event::Closed(how));
    }

    fn misbehaved(&mut self, how: Misbehaviour) {
        self.end(Closed::Misbehaved(how));
    }

    fn check_forgeries(&mut self) {
        if self.opener.forgeries() >= FORGERY_LIMIT && !self.is_closed() {
            self.end(Closed::TooManyForgeries);
        }
    }
}

#[cfg(test)]
mod tests;
