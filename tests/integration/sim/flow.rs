//! A flow of packets without content: the connection's own recovery, pacing and acknowledgements around a
//! congestion controller.
//!
//! Every packet stands for 1400 bytes of a file without end or of a given size; what a lost packet stood for goes
//! into a new packet.

use std::rc::Rc;
use std::time::Duration;

use p2pcopy::parts::protocol::{
    AckTracker, Carries, Controller, Ecn, Fate, Frame, Frames, PacketNumber, Recovery, Settled, Time,
};

use super::link::{Link, Profile, Rng};

/// UDP payload bytes of every packet.
pub(crate) const PACKET: u64 = 1400;

/// What an ACK takes up beside its frame: IP and UDP headers, ours, and the tag.
const ACK_HEADERS: u64 = 57;

/// How late a burst leaves at most: what the pacer makes up for.
const LATEST: Duration = Duration::from_millis(1);

/// What travels back.
#[derive(Clone)]
pub(crate) struct Ack {
    flow: usize,
    frame: Rc<[u8]>,
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

impl Stats {
    fn count(&mut self, fate: Fate, packet: &Settled) {
        match fate {
            Fate::Arrived if packet.was_lost => self.spurious += 1,
            Fate::Arrived => self.useful += 1,
            Fate::Lost => self.lost += 1,
        }
    }
}

pub(crate) struct Flow {
    pub(crate) recovery: Recovery,
    pub(crate) stats: Stats,
    /// Packets to deliver.
    pub(crate) goal: Option<u64>,
    pub(crate) start: Time,
    /// Whether packets are spread over time; window-driven rivals send bursts, as TCP does.
    pub(crate) paced: bool,
    /// How much longer than the link's its own round trip is.
    pub(crate) farther: Duration,
    /// Whether its packets may be marked.
    pub(crate) ecn: bool,
    /// Whether its receiver acknowledges every second packet, as TCP does.
    pub(crate) tcp: bool,
    id: usize,
    /// How late the next burst leaves, as timers and machines have it. Without it flows fall into step with the
    /// bottleneck, and which of them is asked first decides whose packets find the queue full (the phase effects of Floyd
    /// and Jacobson, 1992).
    lateness: Duration,
    /// When the next burst was due.
    due: Option<Time>,
    rng: Rng,
    /// Of the path when nothing queues.
    rtt: Duration,
    probes: u8,
    ack_tracker: AckTracker,
    /// Packets received since the last ACK.
    unacked: u32,
}

impl Flow {
    /// `rtt` is that of the path when nothing queues, as the handshake met it.
    pub(crate) fn new(
        id: usize,
        controller: Box<dyn Controller>,
        rtt: Duration,
        start: Time,
        goal: Option<u64>,
        seed: u64,
    ) -> Self {
        let mut recovery = Recovery::new(controller, Some(rtt), start);
        recovery.set_mtu(PACKET as u16);
        Flow {
            recovery,
            stats: Stats::default(),
            goal,
            start,
            paced: true,
            ecn: true,
            tcp: false,
            farther: Duration::ZERO,
            id,
            lateness: Duration::ZERO,
            due: None,
            rng: Rng::new(seed),
            rtt,
            probes: 0,
            ack_tracker: AckTracker::default(),
            unacked: 0,
        }
    }

    /// Whether anything is left to send.
    fn has_data(&self) -> bool {
        self.goal
            .is_none_or(|g| self.stats.useful + self.recovery.in_flight() / PACKET < g)
    }

    fn may_send(&self, now: Time) -> bool {
        now >= self.start && (self.probes > 0 || self.has_data() && self.recovery.window_room() >= PACKET)
    }

    /// When this flow wants to act next.
    pub(crate) fn next_time(&mut self, now: Time) -> Option<Time> {
        if now < self.start {
            return Some(self.start);
        }
        let mut at = self
            .ack_tracker
            .due(self.rtt)
            .into_iter()
            .chain(self.recovery.timeout())
            .min();
        if let Some(due) = self.next_burst(now) {
            at = Some(at.map_or(due, |a| a.min(due)));
        }
        at
    }

    /// When the next burst leaves.
    fn next_burst(&mut self, now: Time) -> Option<Time> {
        if !self.may_send(now) {
            self.due = None;
            return None;
        }
        if self.probes > 0 {
            return Some(now);
        }
        let pacer = self.recovery.pacer();
        let due = if self.paced {
            pacer.next(now, pacer.quantum())
        } else {
            now
        };
        let was_due = self.due.filter(|was| *was <= now && due <= now);
        let due = was_due.unwrap_or(due);
        self.due = Some(due);
        Some(due + self.lateness)
    }

    pub(crate) fn on_time(&mut self, now: Time, link: &mut Link<(usize, u64)>, back: &mut Link<Ack>) {
        if self.ack_tracker.due(self.rtt).is_some_and(|t| t <= now) {
            self.send_ack(now, back);
        }
        if self.recovery.timeout().is_some_and(|t| t <= now) {
            let stats = &mut self.stats;
            self.probes += self
                .recovery
                .on_timeout(now, |fate, packet| stats.count(fate, &packet));
        }
        if self.next_burst(now).is_some_and(|t| t <= now) {
            self.send(now, link);
            let service = Duration::from_secs_f64(PACKET as f64 / link.profile.rate as f64);
            self.lateness = service.min(LATEST).mul_f64(self.rng.unit());
            self.due = None;
        }
        if !self.has_data() {
            self.recovery.on_app_limited();
        }
    }

    fn send(&mut self, now: Time, link: &mut Link<(usize, u64)>) {
        while self.may_send(now)
            && (!self.paced || self.probes > 0 || self.recovery.pacer().budget(now) >= PACKET)
        {
            self.probes = self.probes.saturating_sub(1);
            self.recovery
                .on_packet(now, PACKET as u16, Carries::Content(0..0));
            let ecn = if self.ecn {
                self.recovery.ecn()
            } else {
                Ecn::NotEct
            };
            link.send(now, PACKET, ecn, (self.id, self.stats.sent));
            self.stats.sent += 1;
        }
    }

    /// A data packet arrived at the receiver.
    pub(crate) fn on_packet(&mut self, now: Time, number: u64, ecn: Ecn, back: &mut Link<Ack>) {
        self.ack_tracker
            .on_packet(now, PacketNumber::new(number), ecn, PACKET as usize, true);
        self.unacked += 1;
        if self.tcp && self.unacked >= 2 || self.ack_tracker.due(self.rtt).is_some_and(|t| t <= now) {
            self.send_ack(now, back);
        }
    }

    fn send_ack(&mut self, now: Time, back: &mut Link<Ack>) {
        self.unacked = 0;
        let mut frame = Vec::new();
        self.ack_tracker.write_ack(now, 0, usize::MAX, &mut frame);
        let ack = Ack {
            flow: self.id,
            frame: frame.into(),
        };
        let bytes = ACK_HEADERS + ack.frame.len() as u64;
        back.send_farther(now, bytes, Ecn::NotEct, ack, self.farther);
    }

    pub(crate) fn on_ack(&mut self, now: Time, ack: &Ack) {
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&ack.frame).next() else {
            panic!("an ACK frame")
        };
        let stats = &mut self.stats;
        self.recovery
            .on_ack(now, &ack, |fate, packet| stats.count(fate, &packet))
            .expect("all of it was sent");
        if self.goal.is_some_and(|g| self.stats.useful >= g) && self.stats.done_at.is_none() {
            self.stats.done_at = Some(now);
        }
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
    tick: u32,
}

impl World {
    pub(crate) fn new(forth: Profile, back: Profile, seed: u64) -> Self {
        World {
            now: Time::ZERO,
            forth: Link::new(forth, seed),
            back: Link::new(back, seed ^ 0x5bd1_e995),
            flows: Vec::new(),
            delays: Vec::new(),
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
                self.flows[flow].on_packet(now, number, a.ecn, &mut self.back);
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
