//! The played link: two TUN devices and a program between them that delays, loses and reorders.
//!
//! The kernel of a test machine may have no netem, so each direction is played by two threads: one reads packets from
//! a TUN device and decides their fate, the other writes them into the opposite device when they are due. The model of
//! a direction is a queue drained at `rate`, then a wire with delay, jitter and loss. The link neither decrements TTLs
//! nor corrupts; all that it writes into a packet is the mark of a queue that marks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use p2pcopy::parts::protocol::{SplitMix64, Time};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tappers::{Interface, Tun};

use super::queue::{Discipline, Packet, Queue};
use super::shell::{command, inside, must};

/// Larger than any packet of a 1500-byte device.
const PACKET_ROOM: usize = 2048;
/// How often an idle reader looks whether the link was taken down.
const STOP_CHECK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// The link comes before all else on a busy machine: whoever reads packets late makes a burst of them, and a queue.
const NICE: i32 = -15;
/// How close to its due time a packet leaves: the kernel's default slack of 50 us would be visible as jitter.
const TIMER_SLACK_NS: u64 = 2_000;

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Direction {
    /// Bits per second at the bottleneck, IP headers included; 0 = as fast as it goes.
    pub(crate) rate: u64,
    /// Time on the wire, one way.
    pub(crate) delay: Duration,
    /// Further time on the wire, uniform between zero and this. Packets may overtake each other.
    pub(crate) jitter: Duration,
    /// Probability that the wire loses a packet, each by itself.
    pub(crate) loss: f64,
    /// Mean number of packets in a burst of losses; 0 or 1 = none but single losses. With bursts, `loss` stays the
    /// overall share (Gilbert's two-state model that loses everything in the bad state).
    pub(crate) burst: f64,
    /// Bytes the queue before the bottleneck holds; packets beyond are lost. Without a rate there is no queue.
    pub(crate) queue: usize,
    /// How that queue is managed.
    pub(crate) discipline: Discipline,
}

impl Default for Direction {
    fn default() -> Self {
        Direction {
            rate: 0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 0.0,
            queue: 1 << 20,
            discipline: Discipline::Fifo,
        }
    }
}

/// Both directions of a link, and the seed of its dice.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct LinkPlan {
    /// From A to B.
    pub(crate) forth: Direction,
    /// From B to A.
    pub(crate) back: Direction,
    /// Seed of the losses and the jitter.
    pub(crate) seed: u64,
}

impl LinkPlan {
    /// The same in both directions.
    pub(crate) fn symmetric(direction: Direction) -> Self {
        LinkPlan {
            forth: direction,
            back: direction,
            seed: 1,
        }
    }

    /// Nothing but distance: `delay` one way.
    pub(crate) fn distance(delay: Duration) -> Self {
        Self::symmetric(Direction {
            delay,
            ..Direction::default()
        })
    }
}

/// What a direction did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
    /// Lost to chance or to a black-out.
    pub(crate) lost: u64,
    /// Lost because the queue was full, or because CoDel managed it.
    pub(crate) overflowed: u64,
    /// Packets that the queue marked.
    pub(crate) marked: u64,
}

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From A to B.
    Forth,
    /// From B to A.
    Back,
}

/// Sees every packet at the moment it leaves the link.
pub(crate) type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// A running link; it stops when dropped.
pub(crate) struct Link {
    lanes: [Arc<Lane>; 2],
    /// Where each direction ends.
    ends: [Arc<Tun>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Creates TUN device `near.1` in namespace `near.0`, `far.1` in `far.0`, and plays `plan` between them (`forth`
    /// is near to far). The devices still need addresses, and go away with the link.
    pub(crate) fn start(near: (&str, &str), far: (&str, &str), plan: LinkPlan) -> Link {
        let near = open_tun(near.0, near.1);
        let far = open_tun(far.0, far.1);
        let seed = plan.seed.wrapping_mul(2);
        let lanes = [
            Lane::new(plan.forth, seed),
            Lane::new(plan.back, seed.wrapping_add(1)),
        ];
        let mut threads = Vec::new();
        for (lane, from, to) in [(&lanes[0], &near, &far), (&lanes[1], &far, &near)] {
            let (lane_in, from) = (Arc::clone(lane), Arc::clone(from));
            threads.push(thread::spawn(move || lane_in.admit_all(&from)));
            let (lane_out, to) = (Arc::clone(lane), Arc::clone(to));
            threads.push(thread::spawn(move || lane_out.deliver_all(&to)));
        }
        Link {
            lanes,
            ends: [far, near],
            threads,
        }
    }

    /// From now on `tap` sees what comes out of the link in this direction.
    pub(crate) fn tap(&self, way: Way, tap: Tap) {
        self.lanes[way as usize].state().tap = Some(tap);
    }

    /// Puts a packet at the end of this direction, beyond queue and wire. False if the device refuses it.
    pub(crate) fn inject(&self, way: Way, packet: &[u8]) -> bool {
        self.ends[way as usize].send(packet).is_ok()
    }

    /// Changes the plan of both directions from now on; packets that have left the queue keep their fate.
    pub(crate) fn replan(&self, plan: LinkPlan) {
        self.lanes[0].state().plan = plan.forth;
        self.lanes[1].state().plan = plan.back;
    }

    /// While dark, both directions lose everything that enters.
    pub(crate) fn black_out(&self, dark: bool) {
        for lane in &self.lanes {
            lane.dark.store(dark, Ordering::Relaxed);
        }
    }

    /// What both directions did so far: forth, back.
    pub(crate) fn counters(&self) -> [Counters; 2] {
        self.lanes.each_ref().map(|lane| {
            let state = lane.state();
            Counters {
                overflowed: state.queue.dropped,
                marked: state.queue.marked,
                ..state.counters
            }
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.stop.store(true, Ordering::Relaxed);
            lane.woken.notify_all();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open_tun(namespace: &str, name: &str) -> Arc<Tun> {
    let interface = Interface::new(name).expect("a short name");
    let mut tun = inside(namespace, move || Tun::new_named(interface)).expect("root may create a TUN device");
    // The default of 500 packets would be a second, hidden queue that overflows when this process has to wait.
    must(
        command("ip").args(["-n", namespace, "link", "set", "dev", name, "txqueuelen", "5000"]),
        "",
    );
    tun.set_nonblocking(true).expect("a TUN device can be polled");
    Arc::new(tun)
}

/// A packet on its way, ordered by due time, then by arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Time,
    order: u64,
    length: usize,
    bytes: Vec<u8>,
}

struct LaneState {
    plan: Direction,
    queue: Queue,
    dice: Dice,
    flight: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    spare: Vec<Vec<u8>>,
    counters: Counters,
    tap: Option<Tap>,
}

impl LaneState {
    /// Takes out of the queue what has begun to leave it.
    fn serve(&mut self, now: Time) {
        while let Some((leaves, packet)) = self.queue.dequeue(&self.plan, now) {
            self.fly(leaves, packet);
        }
    }

    /// Puts a packet on the wire.
    fn fly(&mut self, leaves: Time, packet: Packet) {
        if self.dice.loses(self.plan) {
            self.counters.lost += 1;
            self.spare.push(packet.bytes);
            return;
        }
        self.order += 1;
        self.flight.push(Reverse(InFlight {
            due: leaves + self.plan.delay + self.plan.jitter.mul_f64(self.dice.unit()),
            order: self.order,
            length: packet.length,
            bytes: packet.bytes,
        }));
    }

    /// When there is something to do. Serving the queue may wait for part of the delay: before that nothing is due.
    fn next(&self) -> Option<Time> {
        let due = self.flight.peek().map(|first| first.0.due);
        let turn = self.queue.next_at().map(|at| at + self.plan.delay / 2);
        due.into_iter().chain(turn).min()
    }
}

struct Lane {
    state: Mutex<LaneState>,
    woken: Condvar,
    dark: AtomicBool,
    stop: AtomicBool,
    begin: Instant,
}

impl Lane {
    fn new(plan: Direction, seed: u64) -> Arc<Lane> {
        Arc::new(Lane {
            state: Mutex::new(LaneState {
                plan,
                queue: Queue::default(),
                dice: Dice::new(seed),
                flight: BinaryHeap::new(),
                order: 0,
                spare: Vec::new(),
                counters: Counters::default(),
                tap: None,
            }),
            woken: Condvar::new(),
            dark: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            begin: Instant::now(),
        })
    }

    fn now(&self) -> Time {
        Time::ZERO + self.begin.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().expect("no lane thread panics")
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn admit_all(&self, from: &Tun) {
        let _ = rustix::process::nice(NICE);
        let mut buffer = vec![0; PACKET_ROOM];
        while !self.stopped() {
            match from.recv(&mut buffer) {
                Ok(length) => buffer = self.admit(buffer, length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&STOP_CHECK));
                }
                // The device is still down, or its namespace is going.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Takes in one packet; hands back a buffer for the next.
    fn admit(&self, bytes: Vec<u8>, length: usize) -> Vec<u8> {
        let now = self.now();
        let mut state = self.state();
        if self.dark.load(Ordering::Relaxed) {
            state.counters.lost += 1;
            return bytes;
        }
        let before = state.next();
        let plan = state.plan;
        state.serve(now);
        if let Some(packet) = state.queue.enqueue(&plan, now, Packet { bytes, length }) {
            state.fly(now, packet);
        }
        state.serve(now);
        let wake = state
            .next()
            .is_some_and(|next| before.is_none_or(|then| next < then));
        let spare = state.spare.pop();
        drop(state);
        if wake {
            self.woken.notify_one();
        }
        spare.unwrap_or_else(|| vec![0; PACKET_ROOM])
    }

    fn deliver_all(&self, to: &Tun) {
        let _ = rustix::process::nice(NICE);
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
        let mut due = Vec::new();
        let mut state = self.state();
        while !self.stopped() {
            let now = self.now();
            state.serve(now);
            while state.flight.peek().is_some_and(|first| first.0.due <= now) {
                due.push(state.flight.pop().expect("just seen").0);
            }
            if due.is_empty() {
                let wait = state
                    .next()
                    .map_or(Duration::from_millis(50), |next| next.since(now));
                state = self
                    .woken
                    .wait_timeout(state, wait)
                    .expect("no lane thread panics")
                    .0;
                continue;
            }
            drop(state);
            let mut delivered = Counters::default();
            for packet in &due {
                // A device that is down or full refuses: lost, as on any wire that leads nowhere.
                match to.send(&packet.bytes[..packet.length]) {
                    Ok(_) => {
                        delivered.delivered += 1;
                        delivered.delivered_bytes += packet.length as u64;
                    }
                    Err(_) => delivered.lost += 1,
                }
            }
            state = self.state();
            if let Some(tap) = &mut state.tap {
                due.iter().for_each(|packet| tap(&packet.bytes[..packet.length]));
            }
            state.counters.delivered += delivered.delivered;
            state.counters.delivered_bytes += delivered.delivered_bytes;
            state.counters.lost += delivered.lost;
            state.spare.extend(due.drain(..).map(|packet| packet.bytes));
        }
    }
}

/// Seeded randomness, and the state of a burst.
#[derive(Debug)]
struct Dice {
    random: SplitMix64,
    in_burst: bool,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Dice {
            random: SplitMix64::new(seed),
            in_burst: false,
        }
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn loses(&mut self, plan: Direction) -> bool {
        if plan.burst <= 1.0 {
            return self.unit() < plan.loss;
        }
        let leave = 1.0 / plan.burst;
        let enter = plan.loss * leave / (1.0 - plan.loss).max(1e-9);
        let flip = self.unit() < if self.in_burst { leave } else { enter };
        self.in_burst ^= flip;
        self.in_burst
    }
}

#[test]
fn dice_lose_the_stated_share_alone_and_in_bursts() {
    for burst in [0.0, 8.0] {
        let plan = Direction {
            loss: 0.05,
            burst,
            ..Direction::default()
        };
        let mut dice = Dice::new(7);
        let lost = (0..200_000).filter(|_| dice.loses(plan)).count();
        assert!((8_500..11_500).contains(&lost), "burst {burst}: {lost} of 200000");
    }
}
