//! The queue before the bottleneck of a played link, in virtual time: one packet is served at a time.
//!
//! Whoever owns it takes out what has begun to leave by now before it adds a packet. So what happens depends on the
//! times alone, and not on how late the owner is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use p2pcopy::parts::protocol::Time;

use super::codel::CoDel;
use super::headers::{self, Origin};
use super::link::Direction;

/// The bytes of one turn (RFC 8290, section 5.2).
const QUANTUM: i64 = 1514;
/// Room that even the smallest queue has.
const ONE_PACKET: usize = 1500;

/// How a queue is managed. `Direction::queue` bounds each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Discipline {
    /// One queue in order; what does not fit is lost.
    #[default]
    Fifo,
    /// A policer in place of a queue: a bucket of `queue` bytes filled at `rate`. What fits goes on at once, what does
    /// not is lost.
    Policer,
    /// One queue in order. What has waited longer than this is marked if it may be, and goes on in any case: the step of
    /// DCTCP (RFC 8257), and of the simplest L4S queue (RFC 9331).
    Step(Duration),
    /// FQ-CoDel (RFC 8290): a queue for each flow, with CoDel in each. What may be marked is marked in place of dropped. It
    /// hashes flows into 1,024 queues; here no two share one by chance.
    FqCodel,
    /// Like CAKE: FQ-CoDel, but hosts that send share the link evenly, and the flows of each share what it gets. Unlike
    /// CAKE: plain CoDel in place of COBALT, flows in the queues of FQ-CoDel, no classes, and no filter for ACKs.
    HostFair,
}

/// A packet in a buffer that may be longer.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) length: usize,
}

/// What one flow has waiting.
#[derive(Debug, Default)]
struct Flow {
    waiting: VecDeque<(Time, Packet)>,
    bytes: usize,
    /// Bytes it may still send in this turn.
    credit: i64,
    /// Whether it is in one of the two lists.
    listed: bool,
    host: u64,
    codel: CoDel,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    flows: BTreeMap<u64, Flow>,
    /// Flows that have begun to send, and those that had a turn since.
    new: VecDeque<u64>,
    old: VecDeque<u64>,
    /// Bytes waiting in all flows.
    bytes: usize,
    /// When the bottleneck will have sent what it serves now.
    idle_at: Time,
    pub(crate) dropped: u64,
    pub(crate) marked: u64,
}

impl Queue {
    /// When the next packet begins to leave; none if nothing waits.
    pub(crate) fn next_at(&self) -> Option<Time> {
        (self.bytes > 0).then_some(self.idle_at)
    }

    /// Adds a packet, and hands it back if nothing holds it up.
    pub(crate) fn enqueue(&mut self, plan: &Direction, now: Time, packet: Packet) -> Option<Packet> {
        if plan.rate == 0 {
            return Some(packet);
        }
        let sending = self.idle_at.since(now).as_secs_f64() * plan.rate as f64 / 8.0;
        let is_full = |waiting: usize| {
            waiting as f64 + sending + packet.length as f64 > plan.queue.max(ONE_PACKET) as f64
        };
        let origin = match plan.discipline {
            Discipline::FqCodel | Discipline::HostFair => headers::origin(&packet.bytes[..packet.length]),
            _ if is_full(self.bytes) => {
                self.dropped += 1;
                return None;
            }
            _ => Origin::default(),
        };
        if self.bytes == 0 {
            self.idle_at = self.idle_at.max(now);
        }
        if plan.discipline == Discipline::Policer {
            self.idle_at += on_the_wire(plan, packet.length);
            return Some(packet);
        }
        while self.bytes > 0 && is_full(self.bytes) {
            self.drop_from_the_longest();
        }
        let id = origin.flow;
        let flow = self.flows.entry(id).or_default();
        flow.host = origin.host;
        flow.bytes += packet.length;
        self.bytes += packet.length;
        flow.waiting.push_back((now, packet));
        if !flow.listed {
            flow.listed = true;
            flow.credit = QUANTUM;
            self.new.push_back(id);
        }
        None
    }

    /// The next packet whose turn has come by `now`, and when its last bit has left.
    pub(crate) fn dequeue(&mut self, plan: &Direction, now: Time) -> Option<(Time, Packet)> {
        let begin = self.next_at().filter(|at| *at <= now)?;
        let packet = self.pick(plan, begin)?;
        self.idle_at = begin + on_the_wire(plan, packet.length);
        Some((self.idle_at, packet))
    }

    /// Deficit round robin with new flows first (RFC 8290, section 4.2). With one flow it is a queue in order.
    fn pick(&mut self, plan: &Direction, now: Time) -> Option<Packet> {
        loop {
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let id = list.pop_front()?;
            let sharing = match plan.discipline {
                Discipline::HostFair => self.of_the_same_host(id),
                _ => 1,
            };
            let flow = self.flows.get_mut(&id).expect("what is listed is there");
            if flow.credit <= 0 {
                flow.credit += (QUANTUM / sharing).max(1);
                self.old.push_back(id);
                continue;
            }
            let before = flow.bytes;
            let taken = flow.take(plan.discipline, now, &mut self.dropped, &mut self.marked);
            self.bytes -= before - flow.bytes;
            match taken {
                Some(packet) => {
                    flow.credit -= packet.length as i64;
                    let list = if is_new { &mut self.new } else { &mut self.old };
                    list.push_front(id);
                    return Some(packet);
                }
                // It has to wait for the others before it counts as new again.
                None if is_new => self.old.push_back(id),
                None => flow.listed = false,
            }
        }
    }

    /// How many flows with something to send come from the host of this one.
    fn of_the_same_host(&self, id: u64) -> i64 {
        let host = self.flows[&id].host;
        let active = self
            .flows
            .values()
            .filter(|flow| flow.bytes > 0 && flow.host == host);
        active.count().max(1) as i64
    }

    fn drop_from_the_longest(&mut self) {
        let longest = self.flows.values_mut().max_by_key(|flow| flow.bytes);
        if let Some((_, packet)) = longest.and_then(Flow::pop) {
            self.bytes -= packet.length;
            self.dropped += 1;
        }
    }
}

impl Flow {
    fn pop(&mut self) -> Option<(Time, Packet)> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.1.length;
        Some(first)
    }

    /// The first packet that is not dropped.
    fn take(&mut self, how: Discipline, now: Time, dropped: &mut u64, marked: &mut u64) -> Option<Packet> {
        while let Some((since, mut packet)) = self.pop() {
            let waited = now.since(since);
            let hit = match how {
                Discipline::Fifo | Discipline::Policer => false,
                Discipline::Step(most) => waited > most,
                Discipline::FqCodel | Discipline::HostFair => {
                    self.codel.drops(now, waited, self.bytes as f64)
                }
            };
            if hit && headers::mark(&mut packet.bytes[..packet.length]) {
                *marked += 1;
            } else if hit && !matches!(how, Discipline::Step(_)) {
                *dropped += 1;
                continue;
            }
            return Some(packet);
        }
        None
    }
}

/// How long the bottleneck takes for so many bytes.
fn on_the_wire(plan: &Direction, bytes: usize) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / plan.rate)
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::packet;
    use super::*;

    const ECT: u8 = 2;
    /// 8 Mbit/s: 1000 bytes take a millisecond.
    fn plan(discipline: Discipline, queue: usize) -> Direction {
        Direction {
            rate: 8_000_000,
            queue,
            discipline,
            ..Direction::default()
        }
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// Sends so many bytes at a time.
    #[derive(Default)]
    struct Sender {
        host: u8,
        port: u16,
        length: usize,
        ecn: u8,
        /// Its packets that came out, those of them that were marked, and how long the last one took.
        out: u64,
        marked: u64,
        took: Duration,
    }

    fn sender(host: u8, port: u16, length: usize, ecn: u8) -> Sender {
        Sender {
            host,
            port,
            length,
            ecn,
            ..Sender::default()
        }
    }

    /// Each sender sends so many packets each millisecond, from the first until the last one.
    fn play(queue: &mut Queue, plan: &Direction, ms: std::ops::Range<u64>, senders: &mut [(usize, Sender)]) {
        for now in ms {
            serve(queue, plan, now, senders);
            for (index, (packets, sender)) in senders.iter().enumerate() {
                for _ in 0..*packets {
                    let mut bytes = packet(4, sender.ecn, sender.host, sender.port, sender.length);
                    // Who sent it, and when.
                    bytes[28] = index as u8;
                    bytes[29..37].copy_from_slice(&now.to_be_bytes());
                    let length = bytes.len();
                    bytes.resize(2048, 0);
                    assert!(queue.enqueue(plan, at(now), Packet { bytes, length }).is_none());
                }
            }
            serve(queue, plan, now, senders);
        }
    }

    fn serve(queue: &mut Queue, plan: &Direction, now: u64, senders: &mut [(usize, Sender)]) {
        while let Some((left, packet)) = queue.dequeue(plan, at(now)) {
            let sender = &mut senders[usize::from(packet.bytes[28])].1;
            let sent = u64::from_be_bytes(std::array::from_fn(|byte| packet.bytes[29 + byte]));
            assert_eq!(packet.length, sender.length);
            sender.out += 1;
            sender.marked += u64::from(packet.bytes[1] & 3 == 3);
            sender.took = left.since(at(sent));
        }
    }

    #[test]
    fn a_fifo_serves_in_order_at_its_rate_and_loses_what_does_not_fit() {
        let plan = plan(Discipline::Fifo, 10_000);
        let mut queue = Queue::default();
        let mut senders = [(2, sender(1, 1, 1000, ECT))];
        play(&mut queue, &plan, 0..1000, &mut senders);
        let (_, only) = &senders[0];
        assert_eq!((only.out, only.marked), (1000, 0));
        assert!(only.took <= Duration::from_millis(10), "{:?}", only.took);
        assert!((985..=995).contains(&queue.dropped), "{}", queue.dropped);
    }

    #[test]
    fn a_late_owner_changes_nothing() {
        let plan = plan(Discipline::FqCodel, 100_000);
        let run = |every: u64| {
            let mut queue = Queue::default();
            let mut left = Vec::new();
            for ms in 0..2000 {
                let bytes = packet(4, ECT, 1, (ms % 3) as u16, 1200);
                let now = at(ms);
                let mut serve = |queue: &mut Queue| {
                    left.extend(
                        std::iter::from_fn(|| queue.dequeue(&plan, now)).map(|(at, p)| (at, p.bytes)),
                    );
                };
                serve(&mut queue);
                queue.enqueue(&plan, now, Packet { bytes, length: 1200 });
                // Between two arrivals the owner looks, or does not.
                if ms % every == 0 {
                    serve(&mut queue);
                }
            }
            (
                left.len(),
                queue.marked,
                left.into_iter().map(|(at, _)| at).collect::<Vec<_>>(),
            )
        };
        let (often, seldom) = (run(1), run(7));
        assert!(often.1 > 0, "nothing was marked");
        assert_eq!(often, seldom);
    }

    #[test]
    fn a_step_marks_what_waited_too_long_and_drops_nothing() {
        let plan = plan(Discipline::Step(Duration::from_millis(5)), 1_000_000);
        let mut queue = Queue::default();
        // As fast as the link: a queue of four packets stands, and none of them waits longer than the step.
        let mut slow = [(4, sender(1, 1, 1000, ECT))];
        play(&mut queue, &plan, 0..1, &mut slow);
        slow[0].0 = 1;
        play(&mut queue, &plan, 1..500, &mut slow);
        assert_eq!(queue.marked, 0);
        // Twice as fast.
        let mut fast = [(1, sender(1, 1, 1000, ECT)), (1, sender(2, 1, 1000, 0))];
        play(&mut queue, &plan, 500..700, &mut fast);
        assert_eq!((fast[1].1.marked, queue.dropped), (0, 0));
        assert!(fast[0].1.marked > 90, "{}", fast[0].1.marked);
        assert_eq!(fast[0].1.marked, queue.marked);
    }

    #[test]
    fn a_sparse_flow_does_not_wait_for_others_and_greedy_ones_share_by_bytes() {
        for discipline in [Discipline::FqCodel, Discipline::HostFair] {
            let mut queue = Queue::default();
            let plan = plan(discipline, 1_000_000);
            let mut greedy = [
                (4, sender(1, 1, 500, ECT)),
                (2, sender(1, 2, 1000, ECT)),
                (0, sender(1, 3, 100, 0)),
            ];
            for second in 0..20 {
                play(&mut queue, &plan, second * 50..second * 50 + 49, &mut greedy);
                greedy[2].0 = 1;
                play(&mut queue, &plan, second * 50 + 49..second * 50 + 50, &mut greedy);
                greedy[2].0 = 0;
                let took = greedy[2].1.took;
                assert!(took <= Duration::from_millis(2), "{discipline:?} {took:?}");
            }
            let [small, large] = [0, 1].map(|i| greedy[i].1.out as f64 * greedy[i].1.length as f64);
            assert!(
                (0.98..1.02).contains(&(small / large)),
                "{discipline:?}: {small} {large}"
            );
        }
    }

    #[test]
    fn flows_that_are_new_again_and_again_starve_nobody() {
        let mut queue = Queue::default();
        // Together they have nearly the whole rate, and never more than a packet waiting.
        let mut senders: Vec<_> = (1..=12).map(|port| (1, sender(1, port, 80, ECT))).collect();
        senders.push((4, sender(1, 99, 1000, ECT)));
        play(
            &mut queue,
            &plan(Discipline::FqCodel, 1_000_000),
            0..1000,
            &mut senders,
        );
        assert!(senders[12].1.out > 1000 / 13, "{}", senders[12].1.out);
    }

    #[test]
    fn codel_marks_what_may_be_marked_and_drops_the_rest() {
        let plan = plan(Discipline::FqCodel, 1_000_000);
        let mut queue = Queue::default();
        let mut senders = [(1, sender(1, 1, 1000, ECT)), (1, sender(1, 2, 1000, 0))];
        // Both wait longer than 5 ms from the start; nothing happens for 100 ms.
        play(&mut queue, &plan, 0..100, &mut senders);
        assert_eq!((queue.marked, queue.dropped), (0, 0));
        play(&mut queue, &plan, 100..1000, &mut senders);
        assert_eq!((senders[0].1.marked, senders[1].1.marked), (queue.marked, 0));
        // The n-th comes 100 ms / sqrt(n) after the one before: 27 of them take 890 ms.
        for count in [queue.marked, queue.dropped] {
            assert!((25..=29).contains(&count), "{} {}", queue.marked, queue.dropped);
        }
    }

    #[test]
    fn hosts_share_evenly_whatever_their_number_of_flows() {
        for (discipline, share) in [(Discipline::FqCodel, 0.8), (Discipline::HostFair, 0.5)] {
            let plan = plan(discipline, 1_000_000);
            let mut queue = Queue::default();
            let of = |host, port| (1, sender(host, port, 1000, ECT));
            let mut senders = [of(1, 1), of(1, 2), of(1, 3), of(1, 4), of(2, 1)];
            play(&mut queue, &plan, 0..2000, &mut senders);
            let out = senders.each_ref().map(|(_, sender)| sender.out as f64);
            let first: f64 = out[..4].iter().sum();
            let of_all = first / (first + out[4]);
            assert!((of_all - share).abs() < 0.02, "{discipline:?}: {out:?}");
        }
    }

    #[test]
    fn a_full_queue_drops_from_its_longest_flow() {
        let plan = plan(Discipline::FqCodel, 20_000);
        let mut queue = Queue::default();
        let mut senders = [(5, sender(1, 1, 1000, 0)), (1, sender(1, 2, 400, 0))];
        play(&mut queue, &plan, 0..90, &mut senders);
        assert!(queue.dropped > 300, "{}", queue.dropped);
        // None of the other's: the last ones wait for their turn.
        assert!((86..=90).contains(&senders[1].1.out), "{}", senders[1].1.out);
    }

    #[test]
    fn a_policer_holds_nothing_up() {
        let plan = plan(Discipline::Policer, 5_000);
        let mut queue = Queue::default();
        let mut passes = |ms| {
            let packet = Packet {
                bytes: packet(4, ECT, 1, 1, 1000),
                length: 1000,
            };
            queue.enqueue(&plan, at(ms), packet).is_some()
        };
        let first = (0..10).filter(|_| passes(0)).count();
        let later = (0..10).filter(|_| passes(3)).count();
        assert_eq!((first, later), (5, 3));
    }
}
