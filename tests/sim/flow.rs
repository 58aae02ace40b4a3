//! A packet-level flow: the least sender and receiver that a congestion controller needs around it.
//!
//! Every packet carries 1400 bytes of a file without end or of a given size; what a lost packet carried goes into
//! a new packet. Acknowledgement, loss detection and rate sampling follow the connection's rules.

use super::link::{Link, Profile};
use p2pcopy::protocol::congestion::sampler::{Sampler, SendStamp};
use p2pcopy::protocol::congestion::{AckSample, Controller};
use p2pcopy::protocol::pacing::Pacer;
use p2pcopy::protocol::time::Time;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// UDP payload bytes of every packet.
pub(crate) const PACKET: u64 = 1400;

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Flying,
    Acked,
    Lost,
}

struct Sent {
    stamp: SendStamp,
    fate: Fate,
}

/// What travels back.
#[derive(Clone)]
pub(crate) struct Ack {
    flow: usize,
    largest: u64,
    delay: Duration,
    packets: Rc<Vec<u64>>,
}

/// What a flow did.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct Stats {
    pub(crate) sent: u64,
    /// Packets that brought something new.
    pub(crate) useful: u64,
    pub(crate) lost: u64,
    pub(crate) spurious: u64,
    pub(crate) done_at: Option<Time>,
}

pub(crate) struct Flow {
    pub(crate) controller: Box<dyn Controller>,
    pub(crate) stats: Stats,
    /// Packets to deliver.
    pub(crate) goal: Option<u64>,
    pub(crate) start: Time,
    /// Whether packets are spread over time; window-driven rivals send bursts, as TCP does.
    pub(crate) paced: bool,
    /// Whether its receiver acknowledges every second packet, as TCP does.
    pub(crate) tcp: bool,
    id: usize,
    pacer: Pacer,
    sampler: Sampler,
    sent: VecDeque<Sent>,
    first: u64,
    in_flight: u64,
    min_rtt: Duration,
    srtt: Duration,
    latest_rtt: Duration,
    rttvar: Duration,
    largest_acked: Option<(u64, Time)>,
    /// The age at which a packet still arrived, if later than expected.
    reorder_extra: Duration,
    lost_late: HashMap<u64, Time>,
    loss_timer: Option<Time>,
    pto_base: Time,
    pto_count: u32,
    probes: u32,
    // The receiver's side.
    received: u64,
    expected: u64,
    pending: Vec<u64>,
    recent: VecDeque<Vec<u64>>,
    newest: (u64, Time),
    acked_at: Time,
    ack_due: Option<Time>,
}

impl Flow {
    pub(crate) fn new(id: usize, controller: Box<dyn Controller>, start: Time, goal: Option<u64>) -> Self {
        Flow {
            controller,
            stats: Stats::default(),
            goal,
            start,
            paced: true,
            tcp: false,
            id,
            pacer: Pacer::new(start),
            sampler: Sampler::new(start),
            sent: VecDeque::new(),
            first: 0,
            in_flight: 0,
            min_rtt: Duration::MAX,
            srtt: Duration::ZERO,
            latest_rtt: Duration::ZERO,
            rttvar: Duration::ZERO,
            largest_acked: None,
            reorder_extra: Duration::ZERO,
            lost_late: HashMap::new(),
            loss_timer: None,
            pto_base: start,
            pto_count: 0,
            probes: 0,
            received: 0,
            expected: 0,
            pending: Vec::new(),
            recent: VecDeque::new(),
            newest: (0, start),
            acked_at: start,
            ack_due: None,
        }
    }

    fn next_number(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    fn pto(&self) -> Option<Time> {
        let rtt = if self.srtt.is_zero() {
            Duration::from_millis(500)
        } else {
            self.srtt
        };
        let span = rtt + (self.rttvar * 4).max(Duration::from_millis(1)) + Duration::from_millis(25);
        // Backing off beyond a quarter of a second would only lengthen an outage: two packets hurt nobody.
        let span = (span * 2_u32.pow(self.pto_count.min(6))).min(span.max(Duration::from_millis(250)));
        (self.in_flight > 0).then(|| self.pto_base + span)
    }

    /// Whether anything is left to send.
    fn has_data(&self) -> bool {
        self.goal
            .is_none_or(|g| self.stats.useful + self.in_flight / PACKET < g)
    }

    fn may_send(&self, now: Time) -> bool {
        now >= self.start
            && self.has_data()
            && (self.in_flight + PACKET <= self.controller.window() || self.probes > 0)
    }

    /// When this flow wants to act next.
    pub(crate) fn next_time(&mut self, now: Time) -> Option<Time> {
        if now < self.start {
            return Some(self.start);
        }
        let mut at = [self.ack_due, self.loss_timer, self.pto()]
            .into_iter()
            .flatten()
            .min();
        if self.may_send(now) {
            let due = if self.paced {
                self.pacer.next(now, self.pacer.quantum())
            } else {
                now
            };
            at = Some(at.map_or(due, |a| a.min(due)));
        }
        at
    }

    pub(crate) fn on_time(&mut self, now: Time, link: &mut Link<(usize, u64)>, back: &mut Link<Ack>) {
        if self.ack_due.is_some_and(|t| t <= now) {
            self.send_ack(now, back);
        }
        if self.loss_timer.is_some_and(|t| t <= now) {
            self.finish_ack(now, 0, 0, None);
        }
        if self.pto().is_some_and(|t| t <= now) {
            self.pto_count += 1;
            self.pto_base = now;
            self.probes = 2;
        }
        self.send(now, link);
    }

    fn send(&mut self, now: Time, link: &mut Link<(usize, u64)>) {
        self.pacer.set_rate(now, self.controller.pacing_rate());
        let mut burst = 0;
        while self.may_send(now) && (!self.paced || self.probes > 0 || self.pacer.budget(now) >= PACKET) {
            self.probes = self.probes.saturating_sub(1);
            if self.in_flight == 0 {
                self.pto_base = now;
            }
            self.in_flight += PACKET;
            let stamp = self.sampler.on_sent(now, PACKET, self.in_flight);
            let number = self.next_number();
            self.sent.push_back(Sent {
                stamp,
                fate: Fate::Flying,
            });
            self.pacer.on_sent(PACKET);
            self.stats.sent += 1;
            burst += PACKET;
            link.send(now, PACKET, (self.id, number));
        }
        if burst > 0 {
            self.controller.on_sent(now, burst, self.in_flight);
        }
        if !self.has_data() {
            self.sampler.on_app_limited(self.in_flight);
        }
    }

    /// A data packet arrived at the receiver.
    pub(crate) fn on_packet(&mut self, now: Time, number: u64, base_rtt: Duration, back: &mut Link<Ack>) {
        self.received += 1;
        self.pending.push(number);
        if number >= self.newest.0 {
            self.newest = (number, now);
        }
        let gap = number > self.expected;
        self.expected = self.expected.max(number + 1);
        let interval = (base_rtt / 8).clamp(Duration::from_millis(1), Duration::from_millis(25));
        // One packet waits an interval; of several, the newest is reported an interval after the last ACK; a gap
        // is a millisecond after it.
        let due = if gap {
            now.max(self.acked_at + Duration::from_millis(1))
        } else if self.pending.len() >= 2 {
            now.max(self.acked_at + interval)
        } else {
            now + interval
        };
        self.ack_due = Some(self.ack_due.map_or(due, |d| d.min(due)));
        if self.tcp && self.pending.len() >= 2 || self.ack_due.is_some_and(|t| t <= now) {
            self.send_ack(now, back);
        }
    }

    fn send_ack(&mut self, now: Time, back: &mut Link<Ack>) {
        self.ack_due = None;
        self.acked_at = now;
        // Each ACK repeats the intervals before it, against loss of ACKs.
        self.recent.push_back(std::mem::take(&mut self.pending));
        if self.recent.len() > 4 {
            self.recent.pop_front();
        }
        let packets = if back.profile.loss > 0.0 || !back.profile.jitter.is_zero() {
            self.recent.iter().flatten().copied().collect()
        } else {
            self.recent.back().cloned().unwrap_or_default()
        };
        let ack = Ack {
            flow: self.id,
            largest: self.newest.0,
            delay: now.since(self.newest.1),
            packets: Rc::new(packets),
        };
        back.send(now, 60 + ack.packets.len() as u64 / 8, ack);
    }

    pub(crate) fn on_ack(&mut self, now: Time, ack: &Ack) {
        let (mut bytes, mut packets, mut rtt) = (0, 0, None);
        for &n in ack.packets.iter() {
            if let Some(sent_at) = self.lost_late.remove(&n) {
                self.stats.spurious += 1;
                self.sampler.on_spurious(PACKET);
                self.controller.on_spurious_loss(now, PACKET);
                // Wide enough for this one, next time.
                self.reorder_extra = self
                    .reorder_extra
                    .max(now.since(sent_at))
                    .min(Duration::from_millis(400));
            }
            let Some(i) = n.checked_sub(self.first) else {
                continue;
            };
            let Some(sent) = self.sent.get_mut(i as usize) else {
                continue;
            };
            if sent.fate != Fate::Flying {
                continue;
            }
            sent.fate = Fate::Acked;
            bytes += PACKET;
            packets += 1;
            self.stats.useful += 1;
            let stamp = sent.stamp;
            self.sampler.on_ack(now, &stamp, PACKET);
            if n == ack.largest {
                rtt = Some(now.since(stamp.sent_at).saturating_sub(ack.delay));
            }
            if self.largest_acked.is_none_or(|(l, _)| n > l) {
                self.largest_acked = Some((n, stamp.sent_at));
            }
        }
        if let Some(rtt) = rtt {
            self.on_rtt(rtt);
        }
        if packets > 0 {
            self.pto_base = now;
            self.pto_count = 0;
        }
        if self.goal.is_some_and(|g| self.stats.useful >= g) && self.stats.done_at.is_none() {
            self.stats.done_at = Some(now);
        }
        self.finish_ack(now, bytes, packets, rtt);
    }

    fn on_rtt(&mut self, rtt: Duration) {
        self.min_rtt = self.min_rtt.min(rtt);
        self.latest_rtt = rtt;
        if self.srtt.is_zero() {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
        } else {
            self.rttvar = (self.rttvar * 3 + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = (self.srtt * 7 + rtt) / 8;
        }
    }

    /// Declares what is lost, and tells the controller.
    fn finish_ack(&mut self, now: Time, bytes: u64, packets: u64, rtt: Option<Duration>) {
        let prior = self.in_flight;
        let mut lost = 0;
        self.loss_timer = None;
        if let Some((_, newest_sent)) = self.largest_acked {
            let base = self.srtt.max(self.latest_rtt);
            let millisecond = Duration::from_millis(1);
            let wait =
                (base + (base / 8).max(millisecond)).max(self.reorder_extra.min(base * 4) + millisecond);
            while let Some(s) = self.sent.front_mut() {
                let (sent_at, fate) = (s.stamp.sent_at, s.fate);
                if fate == Fate::Flying {
                    if sent_at > newest_sent {
                        break;
                    }
                    if now.since(sent_at) < wait {
                        self.loss_timer = Some(sent_at + wait);
                        break;
                    }
                    s.fate = Fate::Lost;
                    lost += 1;
                    self.sampler.on_lost(PACKET);
                    self.lost_late.insert(self.first, sent_at);
                }
                self.sent.pop_front();
                self.first += 1;
            }
        }
        if self.lost_late.len() > 100_000 {
            self.lost_late.clear();
        }
        self.stats.lost += lost;
        self.in_flight -= bytes + lost * PACKET;
        if packets == 0 && lost == 0 {
            return;
        }
        let r = self.sampler.finish(now, self.min_rtt);
        self.controller.on_ack(&AckSample {
            now,
            acked_bytes: bytes,
            acked_packets: packets,
            lost_bytes: lost * PACKET,
            lost_packets: lost,
            rtt,
            max_rtt: r.max_rtt,
            min_rtt: self.min_rtt,
            smoothed_rtt: self.srtt,
            delivery_rate: r.delivery_rate,
            app_limited: r.app_limited,
            delivered: r.delivered,
            delivered_at_send: r.delivered_at_send,
            lost_since_send: r.lost_since_send,
            prior_in_flight: prior,
            in_flight: self.in_flight,
            in_flight_at_send: r.in_flight_at_send,
        });
        self.pacer.set_rtt(self.min_rtt);
    }
}

/// Flows over one pair of links.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) forth: Link<(usize, u64)>,
    pub(crate) back: Link<Ack>,
    pub(crate) flows: Vec<Flow>,
    /// Queueing delay that packets met, microseconds, since [`World::clear_delays`].
    pub(crate) delays: Vec<u32>,
    base_rtt: Duration,
    tick: u32,
}

impl World {
    pub(crate) fn new(forth: Profile, back: Profile, seed: u64) -> Self {
        let base_rtt = forth.delay + back.delay;
        World {
            now: Time::ZERO,
            forth: Link::new(forth, seed),
            back: Link::new(back, seed ^ 0x5bd1_e995),
            flows: Vec::new(),
            delays: Vec::new(),
            base_rtt,
            tick: 0,
        }
    }

    /// Runs until `end`, or until every flow with a goal has reached it.
    pub(crate) fn run(&mut self, end: Time) {
        loop {
            let now = self.now;
            let links = [self.forth.next_time(), self.back.next_time()]
                .into_iter()
                .flatten()
                .min();
            let flows = self.flows.iter_mut().filter_map(|f| f.next_time(now)).min();
            let Some(at) = links.into_iter().chain(flows).min() else {
                break;
            };
            if at > end {
                self.now = end;
                break;
            }
            self.now = at.max(now);
            let now = self.now;
            while let Some(a) = self.forth.poll(now) {
                let (flow, number) = a.tag;
                self.flows[flow].on_packet(now, number, self.base_rtt, &mut self.back);
            }
            while let Some(a) = self.back.poll(now) {
                self.flows[a.tag.flow].on_ack(now, &a.tag);
            }
            for f in &mut self.flows {
                f.on_time(now, &mut self.forth, &mut self.back);
            }
            self.tick += 1;
            if self.tick.is_multiple_of(4) {
                self.delays.push(self.forth.queue_delay(now).as_micros() as u32);
            }
            if !self.flows.is_empty() && self.flows.iter().all(|f| f.stats.done_at.is_some()) {
                break;
            }
        }
    }

    pub(crate) fn median_delay(&mut self) -> Duration {
        if self.delays.is_empty() {
            return Duration::ZERO;
        }
        let mid = self.delays.len() / 2;
        let (_, m, _) = self.delays.select_nth_unstable(mid);
        Duration::from_micros(u64::from(*m))
    }
}
