use std::sync::{Arc, Mutex};

use super::*;
use crate::protocol::congestion::Stage;
use crate::protocol::ecn::EcnCounts;
use crate::protocol::ranges::RangeSet;
use crate::protocol::wire::{Frame, Frames};

/// A controller that asks for a fixed rate and records what it is told.
#[derive(Debug)]
struct Paced(u64, Arc<Mutex<Vec<AckSample>>>);

impl Controller for Paced {
    fn on_ack(&mut self, sample: &AckSample) {
        self.1.lock().unwrap().push(*sample);
    }
    fn on_spurious_loss(&mut self, _now: Time, _bytes: u64) {}
    fn on_path_change(&mut self, _now: Time) {}
    fn window(&self) -> u64 {
        u64::MAX
    }
    fn pacing_rate(&self) -> u64 {
        self.0
    }
    fn set_mtu(&mut self, _bytes: u16) {}
    fn stage(&self) -> Stage {
        Stage::Steady
    }
    fn bandwidth(&self) -> u64 {
        self.0
    }
}

const RTT: Duration = Duration::from_millis(20);

fn recovery(rate: u64) -> (Recovery, Arc<Mutex<Vec<AckSample>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let controller = Box::new(Paced(rate, told.clone()));
    (Recovery::new(controller, Some(RTT), Time::ZERO), told)
}

fn send(recovery: &mut Recovery, now: Time) {
    recovery.on_packet(now, 1200, Carries::Nothing);
}

/// Takes an ACK of one packet.
fn acknowledge(recovery: &mut Recovery, now: Time, packet: u64) {
    let mut set = RangeSet::default();
    set.insert(packet..packet + 1);
    let mut buf = Vec::new();
    Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0, EcnCounts::default());
    let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
        panic!("an ACK")
    };
    recovery.on_ack(now, &ack, |_, _| ()).expect("it was sent");
}

#[test]
fn what_the_pacer_lets_go_soon_needs_no_probe() {
    let (mut fast, _) = recovery(1_000_000);
    send(&mut fast, Time::ZERO);
    assert!(fast.timeout().is_some_and(|t| t < Time::ZERO + RTT * 5));
    let (mut slow, _) = recovery(20_000);
    send(&mut slow, Time::ZERO);
    assert_eq!(slow.timeout(), Some(Time::ZERO + Duration::from_millis(120)));
}

#[test]
fn silence_is_probed_ten_times_a_second_and_proves_nothing_of_the_path() {
    let (mut r, told) = recovery(1_000_000);
    send(&mut r, Time::ZERO);
    send(&mut r, Time::ZERO);
    let (mut now, mut probes) = (Time::ZERO, Vec::new());
    while now < Time::ZERO + Duration::from_secs(1) {
        let due = r.timeout().expect("packets are in flight");
        assert!(due.since(now) <= Duration::from_millis(100));
        now = due;
        probes.push(r.on_timeout(now, |_, _| panic!("nothing was acknowledged")));
        send(&mut r, now);
    }
    assert!(probes.len() >= 10 && probes[0] == 2 && probes[1..].iter().all(|n| *n == 1));
    acknowledge(&mut r, now + RTT, 2 + probes.len() as u64 - 1);
    let told = told.lock().unwrap();
    let [sample] = &told[..] else {
        panic!("one ACK: {told:?}")
    };
    assert!(sample.after_outage && sample.lost_packets == 0, "{sample:?}");
}

#[test]
fn losses_that_a_timer_excuses_are_told_with_the_next_ack() {
    let (mut r, told) = recovery(1_000_000);
    send(&mut r, Time::ZERO);
    let first = r.timeout().expect("a packet is in flight");
    assert_eq!(r.on_timeout(first, |_, _| ()), 2);
    send(&mut r, first);
    send(&mut r, first);
    let second = r.timeout().expect("three are");
    assert_eq!(r.on_timeout(second, |_, _| ()), 1);
    send(&mut r, second);
    let third = second + RTT / 20;
    send(&mut r, third);
    // Both of the first probes are lost, and the second was not late enough to be so yet.
    acknowledge(&mut r, third + RTT, 4);
    let mut lost = 0;
    let late = r.timeout().expect("one is");
    r.on_timeout(late, |fate, _| lost += u32::from(fate == Fate::Lost));
    assert_eq!(lost, 1);
    send(&mut r, late);
    acknowledge(&mut r, late + RTT, 5);
    let told = told.lock().unwrap();
    let outages: Vec<_> = told.iter().map(|s| (s.after_outage, s.lost_packets)).collect();
    assert_eq!(outages, [(true, 0), (true, 0)]);
}

#[test]
fn a_path_that_answers_the_first_probe_was_not_dark() {
    let far = Duration::from_millis(800);
    let (mut r, told) = recovery(1_000_000);
    send(&mut r, Time::ZERO);
    acknowledge(&mut r, Time::ZERO + far, 0);
    send(&mut r, Time::ZERO + far);
    let first = r.timeout().expect("a packet is in flight");
    let mut now = first;
    while now < first + far {
        r.on_timeout(now, |_, _| panic!("nothing was acknowledged"));
        send(&mut r, now);
        now = r.timeout().expect("probes are in flight");
    }
    assert!(r.probe_timeouts() >= 8);
    assert_eq!(r.ecn(), Ecn::Ect0, "no answer can have come yet");
    acknowledge(&mut r, now, 2);
    let told = told.lock().unwrap();
    assert!(!told[1].after_outage && told[1].lost_packets == 1, "{told:?}");
}

#[test]
fn what_was_sent_on_another_path_tells_nothing_of_this_one() {
    let (mut r, told) = recovery(1_000_000);
    send(&mut r, Time::ZERO);
    let moved = Time::ZERO + RTT / 2;
    r.on_path_change(moved);
    send(&mut r, moved);
    // Its answer came by the new path, which is ten times as long.
    acknowledge(&mut r, moved + RTT * 5, 0);
    assert!(!r.rtt().is_measured());
    acknowledge(&mut r, moved + RTT * 10, 1);
    assert_eq!(r.rtt().min(), RTT * 10);
    let told = told.lock().unwrap();
    let [sample] = &told[..] else {
        panic!("one packet took this path: {told:?}")
    };
    assert_eq!((sample.acked_packets, sample.delivered), (1, 1200));
}
