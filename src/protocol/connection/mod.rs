//! One sealed connection: ordered control bytes both ways, content bytes from the sender to the receiver.
//!
//! Methods sort into inputs (`handle_*`), outputs (`poll_*`), what the application gives and takes
//! (`offer`, `write_control`, …) and plain questions. Nothing unauthenticated changes any state; what the peer may
//! make this end remember is bounded by the control stream's window, by
//! the ranges kept for ACKs and by the replay window.
//!
//! It does not know files, blocks' hashes or punching. After silence the driver finds a new path by sending
//! [`Connection::poll_path_probe`]'s packets wherever the peer may be; the first answer moves the connection there.

mod receive;
mod send;

use super::congestion::sampler::Sampler;
use super::congestion::{AckSample, Controller, Phase};
use super::ledger::Ledger;
use super::mtu::MtuSearch;
use super::outgoing::Outgoing;
use super::pacing::Pacer;
use super::received::{MAX_ACK_DELAY, Received};
use super::rtt::RttEstimator;
use super::seal::{Cipher, FORGERY_LIMIT, Opener, ReplayWindow, Sealer};
use super::spread::SplitMix64;
use super::stream::{RecvStream, SendStream};
use super::time::Time;
use super::wire::MAX_REASON;
use super::{Path, Role};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Quiet ends keep NAT mappings and each other's certainty alive this often. Shorter than a NAT needs, so that a
/// dead peer shows within [`SILENCE`].
const KEEPALIVE: Duration = Duration::from_secs(3);
/// Nothing heard for this long: look for the peer on other paths.
pub const SILENCE: Duration = Duration::from_secs(8);
/// Longest wait between probes of a silent peer, so that a path that comes back is noticed at once.
const MAX_PROBE_TIMEOUT: Duration = Duration::from_millis(250);
/// Probes without an answer after which large packets are suspected of vanishing.
const BLACK_HOLE_TIMEOUTS: u32 = 3;
/// And for so long nothing may have been heard: a busy machine misses probes, too.
const BLACK_HOLE_SILENCE: Duration = Duration::from_secs(1);
/// Copies of CLOSE, in case some are lost.
const CLOSE_COPIES: u8 = 4;
/// Time between those copies.
const CLOSE_INTERVAL: Duration = Duration::from_millis(30);
/// Path challenges remembered at once.
const MAX_CHALLENGES: usize = 16;

/// What a connection is made from.
#[derive(Debug)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// The AEAD agreed on.
    pub cipher: Cipher,
    /// Secret for what this end seals.
    pub send_secret: [u8; 32],
    /// Secret for what the peer seals.
    pub receive_secret: [u8; 32],
    /// Connection ID in packets to this end.
    pub local_id: u32,
    /// Connection ID in packets to the peer.
    pub remote_id: u32,
    /// Where the handshake succeeded.
    pub path: Path,
    /// Round trip of the handshake, if this end saw one.
    pub handshake_rtt: Option<Duration>,
    /// Seed for path challenges.
    pub seed: u64,
    /// Blocks of content to hold while sending.
    pub send_blocks: usize,
    /// User's limit, bytes a second.
    pub limit: Option<u64>,
}

/// Content bytes that arrived, in the datagram they came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Place in the content space.
    pub offset: u64,
    /// Place in the datagram given to `handle_datagram`.
    pub range: Range<usize>,
}

/// What the application should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer's first sealed packet arrived: it has the keys and hears us.
    Confirmed,
    /// The connection now uses another path.
    Moved(Path),
    /// Nothing heard for [`SILENCE`].
    Silent,
    /// Heard again after silence.
    Back,
    /// It ended.
    Closed(Closed),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer ended it.
    ByPeer {
        /// A number for programs.
        code: u16,
        /// A text for people; untrusted.
        reason: String,
    },
    /// This end did, on the application's word; all copies of the message have left.
    ByUs,
    /// The peer broke the protocol.
    Misbehaved(&'static str),
    /// So many forgeries that the AEAD's promise ends.
    TooManyForgeries,
}

/// What keeps the sender from sending faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The path: its rate or its window.
    Path,
    /// The receiver has no room: its disk is slow.
    Peer,
    /// Nothing to send at hand: our own disk is slow.
    Source,
    /// The user's limit.
    User,
}

/// Counters and estimates, for people and traces.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Smoothed RTT.
    pub rtt: Duration,
    /// Lowest RTT.
    pub min_rtt: Duration,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Congestion window.
    pub window: u64,
    /// Pacing rate, bytes a second.
    pub pacing_rate: u64,
    /// Bandwidth estimate, bytes a second.
    pub bandwidth: u64,
    /// What the controller is doing.
    pub phase: Phase,
    /// Packets sent that asked for an ACK.
    pub sent_packets: u64,
    /// Of those, declared lost (late arrivals taken off).
    pub lost_packets: u64,
    /// Content packets that repeated earlier content.
    pub repeated_packets: u64,
    /// Packets received and authenticated.
    pub received_packets: u64,
    /// Datagrams that were not the peer's.
    pub forgeries: u64,
    /// Duplicates and replays dropped.
    pub replays: u64,
    /// Content bytes acknowledged by the peer.
    pub arrived_bytes: u64,
    /// Size of datagrams.
    pub mtu: u16,
    /// What binds.
    pub limit: Limit,
}

#[derive(Debug)]
struct Challenge {
    path: Path,
    token: u64,
}

#[derive(Debug)]
enum Ending {
    Open,
    Closing {
        code: u16,
        reason: String,
        copies: u8,
        next: Time,
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

/// The connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    local_id: u32,
    path: Path,
    sealer: Sealer,
    opener: Opener,
    replay: ReplayWindow,
    received: Received,
    ledger: Ledger,
    rtt: RttEstimator,
    sampler: Sampler,
    pacer: Pacer,
    controller: Box<dyn Controller>,
    mtu: MtuSearch,
    outgoing: Outgoing,
    control_out: SendStream,
    control_in: RecvStream,
    content_finished: bool,
    /// Room we grant the peer, and what it grants us, in content bytes.
    our_credit: u64,
    peer_credit: u64,
    challenges: VecDeque<Challenge>,
    answers: VecDeque<Challenge>,
    tokens: SplitMix64,
    probe_timeouts: u32,
    probes_owed: u8,
    /// No copies of what is under way before this.
    tail_pause: Time,
    /// Packets sent before this and lost fell into a silence, which says nothing of congestion.
    outage_before: Time,
    last_heard: Time,
    last_sent: Time,
    confirmed: bool,
    silent: bool,
    limit: Limit,
    ending: Ending,
    counters: Counters,
    events: VecDeque<Event>,
}

impl Connection {
    /// A connection on a path where the handshake has succeeded.
    pub fn new(config: Config, controller: Box<dyn Controller>, now: Time) -> Self {
        let mut pacer = Pacer::new(now);
        pacer.set_limit(now, config.limit);
        pacer.set_rate(now, controller.pacing_rate());
        Connection {
            role: config.role,
            local_id: config.local_id,
            path: config.path,
            sealer: Sealer::new(config.cipher, config.send_secret, config.remote_id),
            opener: Opener::new(config.cipher, config.receive_secret),
            replay: ReplayWindow::default(),
            received: Received::default(),
            ledger: Ledger::new(now),
            rtt: RttEstimator::new(config.handshake_rtt),
            sampler: Sampler::new(now),
            pacer,
            controller,
            mtu: MtuSearch::new(now),
            outgoing: Outgoing::new(config.send_blocks),
            control_out: SendStream::default(),
            control_in: RecvStream::default(),
            content_finished: false,
            our_credit: 0,
            peer_credit: 0,
            challenges: VecDeque::new(),
            answers: VecDeque::new(),
            tokens: SplitMix64::new(config.seed),
            probe_timeouts: 0,
            // The first packet tells the receiver that its answer arrived.
            probes_owed: u8::from(config.role == Role::Sender),
            tail_pause: now,
            outage_before: Time::ZERO,
            last_heard: now,
            last_sent: now,
            confirmed: false,
            silent: false,
            limit: Limit::Source,
            ending: Ending::Open,
            counters: Counters::default(),
            events: VecDeque::new(),
        }
    }

    // ---- what the application gives and takes ----

    /// How many more blocks of content [`offer`](Self::offer) takes now.
    pub fn content_room(&self) -> usize {
        self.outgoing.room()
    }

    /// Gives a block of content to send. Offering one again sends it again.
    pub fn offer(&mut self, offset: u64, bytes: Vec<u8>) {
        self.content_finished = false;
        self.outgoing.offer(offset, bytes);
    }

    /// Content that has to be read again; answer with [`supply`](Self::supply).
    pub fn wanted(&self) -> Option<u64> {
        self.outgoing.wanted()
    }

    /// Gives a block that was [`wanted`](Self::wanted).
    pub fn supply(&mut self, offset: u64, bytes: Vec<u8>) {
        self.outgoing.supply(offset, bytes);
    }

    /// A buffer of an earlier block, free for the next.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        self.outgoing.reclaim()
    }

    /// Says that everything was offered: a window with nothing left to carry may repeat what is under way.
    pub fn finish_content(&mut self) {
        self.content_finished = true;
    }

    /// Whether everything offered has arrived.
    pub fn content_arrived(&self) -> bool {
        self.outgoing.is_idle() && self.ledger.content_in_flight() == 0
    }

    /// Writes to the control stream; says how much was taken.
    pub fn write_control(&mut self, bytes: &[u8]) -> usize {
        self.control_out.write(bytes)
    }

    /// Whether everything written has arrived.
    pub fn control_drained(&self) -> bool {
        self.control_out.is_drained()
    }

    /// Reads from the control stream to the end of `to`; says how much.
    pub fn read_control(&mut self, to: &mut Vec<u8>) -> usize {
        self.control_in.read(to)
    }

    /// Says how many content bytes this end has room for. With no room, content is dropped unacknowledged.
    pub fn set_credit(&mut self, now: Time, bytes: u64) {
        // News of room after there was none, or far less than told, must not wait for the next packet.
        if self.our_credit < bytes / 4 && self.confirmed {
            self.received.hurry(now);
        }
        self.our_credit = bytes;
    }

    /// Ends the connection, telling the peer why. [`Event::Closed`] follows when it was told often enough.
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
                copies: CLOSE_COPIES,
                next: now,
            };
        }
    }

    /// Whether it has ended.
    pub const fn is_closed(&self) -> bool {
        matches!(self.ending, Ending::Over)
    }

    /// The path in use.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Smoothed RTT, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.is_measured().then(|| self.rtt.smoothed())
    }

    /// How long nothing was heard.
    pub fn silence(&self, now: Time) -> Duration {
        now.since(self.last_heard)
    }

    /// Sets the user's limit, bytes a second.
    pub fn set_limit(&mut self, now: Time, bytes_per_second: Option<u64>) {
        self.pacer.set_limit(now, bytes_per_second);
    }

    /// Counters and estimates.
    pub fn stats(&self) -> Stats {
        Stats {
            rtt: self.rtt.smoothed(),
            min_rtt: self.rtt.min(),
            in_flight: self.ledger.in_flight(),
            window: self.controller.window(),
            pacing_rate: self.pacer.rate(),
            bandwidth: self.controller.bandwidth(),
            phase: self.controller.phase(),
            sent_packets: self.counters.sent,
            lost_packets: self.counters.lost,
            repeated_packets: self.counters.repeated,
            received_packets: self.counters.received,
            forgeries: self.opener.forgeries(),
            replays: self.counters.replays,
            arrived_bytes: self.outgoing.arrived_bytes(),
            mtu: self.mtu.current(),
            limit: self.limit,
        }
    }

    // ---- inputs and outputs beside datagrams ----

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or `poll_transmit` has something to do next.
    pub fn poll_timeout(&mut self, now: Time) -> Option<Time> {
        match &self.ending {
            Ending::Over => return None,
            Ending::Closing { next, .. } => return Some(*next),
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
    fn settle_losses(&mut self, now: Time, acked: Option<AckTally>) {
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
            use super::ledger::Carries;
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

    fn use_mtu(&mut self) {
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

    fn misbehaved(&mut self, what: &'static str) {
        self.ending = Ending::Over;
        self.events.push_back(Event::Closed(Closed::Misbehaved(what)));
    }

    fn check_forgeries(&mut self) {
        if self.opener.forgeries() >= FORGERY_LIMIT && !self.is_closed() {
            self.ending = Ending::Over;
            self.events.push_back(Event::Closed(Closed::TooManyForgeries));
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

#[derive(Clone, Copy, Default)]
struct AckTally {
    tally: Tally,
    rtt: Option<Duration>,
    prior_in_flight: u64,
}
