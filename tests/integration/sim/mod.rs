//! Whole connections over seeded links, in virtual time.
//!
//! Every network is drawn from a seed; a failing run prints it, and `SIM_SEED=n cargo test --test integration sim::` runs just
//! that one.
mod attack;
mod chains;
mod codel;
pub(crate) mod fixed;
pub(crate) mod flow;
pub(crate) mod link;
mod mtu;
mod nat;
pub(crate) mod pair;
mod rebinding;
pub(crate) mod rivals;
mod whole;

use std::time::Duration;

use p2pcopy::parts::protocol::{Closed, Event, Role, Time};

use link::{Bursts, Profile, Rng};
use nat::Rebinding;
use pair::Pair;

const MBIT: u64 = 125_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(n: u64) -> Time {
    Time::ZERO + ms(n)
}

fn wan(mbit: u64, rtt: u64, loss: f64) -> (Profile, Profile) {
    let rate = mbit * MBIT;
    let bdp = rate * rtt / 1000;
    let mut p = Profile::new(rate, ms(rtt / 2), bdp.max(30_000));
    p.loss = loss;
    p.mtu = 1472;
    (p.clone(), p)
}

/// Draws a network: anything from a LAN to a bad mobile line.
fn draw(rng: &mut Rng) -> (Profile, Profile) {
    let pick = |rng: &mut Rng, from: &[u64]| from[(rng.next() % from.len() as u64) as usize];
    let rate = pick(rng, &[1, 5, 20, 100, 1000]) * MBIT;
    let delay = ms(pick(rng, &[0, 1, 10, 50, 150]));
    let buffer = (rate / 1000 * pick(rng, &[2, 20, 100, 1000])).max(6000);
    let mut forward = Profile::new(rate, delay, buffer);
    if rng.chance(0.5) {
        forward.loss = rng.unit() * 0.15;
    }
    if rng.chance(0.2) {
        forward.bursts = Some(Bursts {
            enter: 0.002,
            leave: 0.2,
            loss: 0.8,
        });
    }
    if rng.chance(0.4) {
        forward.jitter = ms(pick(rng, &[1, 10, 50]));
        forward.reorder = rng.chance(0.7);
    }
    if rng.chance(0.3) {
        forward.duplicate = 0.02;
    }
    if rng.chance(0.3) {
        forward.corrupt = 0.01;
    }
    if rng.chance(0.2) {
        let start = 1000 + rng.next() % 1500;
        forward
            .blackouts
            .push((at(start), at(start + 200 + rng.next() % 3000)));
    }
    forward.mtu = pick(rng, &[548, 1192, 1200, 1280, 1472, 9000]);
    let mut back = forward.clone();
    if rng.chance(0.3) {
        back.rate = (back.rate / 20).max(MBIT / 4);
    }
    (forward, back)
}

fn one(seed: u64) {
    let mut rng = Rng::new(seed);
    let (forward, back) = draw(&mut rng);
    // A second's worth or so, never a whole multiple of anything.
    let total = 1 + rng.next() % (forward.rate / 2).clamp(20_000, 3_000_000);
    let mut rebind = rng.chance(0.2).then(|| at(1000 + rng.next() % 2000));
    let mtu_drop = rng.chance(0.1).then(|| at(1000 + rng.next() % 2000));
    let context = format!("seed {seed}: {total} bytes over {forward:?}");
    let mut pair = Pair::new(forward, back, total, seed);
    let mut most = 0;
    while !pair.is_complete() {
        assert!(
            pair.now < at(180_000),
            "not done after 3 minutes; {context}; {:?}",
            pair.sender.stats()
        );
        if rebind.is_some_and(|t| pair.now >= t) {
            pair.rebind(Role::Sender, Rebinding::AllPorts);
            rebind = None;
        }
        if mtu_drop.is_some_and(|t| pair.now >= t) {
            pair.forward.profile.mtu = 548;
        }
        pair.step();
        most = most.max(pair.sender.stats().in_flight);
    }
    assert_eq!(pair.got.count(), total, "{context}");
    assert!(most <= 50 << 20, "{most} bytes in flight; {context}");
    // The end is told, and both sides see it.
    let now = pair.now;
    pair.receiver.close(now, 7, "done");
    for _ in 0..200_000 {
        if pair.sender.is_closed() && pair.receiver.is_closed() {
            break;
        }
        pair.step_if_alive();
    }
    let told = |role| {
        pair.events
            .iter()
            .any(|(_, r, e)| *r == role && matches!(e, Event::Closed(_)))
    };
    assert!(told(Role::Receiver), "{context}");
}

#[test]
fn content_arrives_exactly_over_two_thousand_drawn_networks() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        return one(seed);
    }
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (0..1000).for_each(|i| one(i * 2 + half)));
        }
    });
}

/// Two machines of a local network that stop again and again in the first 40 ms, each time for `stop` of `period`
/// microseconds. Gives the share of the link that was used in the first 300 ms.
fn busy_start(stop: u64, period: u64) -> f64 {
    let trip = Duration::from_micros(20);
    let link = Profile::new(1000 * MBIT, trip, 1_000_000);
    let mut pair = Pair::new(link.clone(), link, 1000 * MBIT, 1);
    let began = pair.now;
    while pair.now < began + ms(300) {
        let since = pair.now.since(began).as_micros() as u64;
        let left = if since < 40_000 {
            stop.saturating_sub(since % period)
        } else {
            0
        };
        let delay = trip + Duration::from_micros(left);
        pair.forward.profile.delay = delay;
        pair.back.profile.delay = delay;
        pair.step();
    }
    pair.got.count() as f64 / (1000 * MBIT) as f64 / 0.3
}

#[test]
fn a_busy_machine_does_not_end_startup_on_a_local_network() {
    for stop in [1500, 3000, 6000] {
        for period in [stop + 500, stop + 1000, stop + 2000, stop * 2] {
            let share = busy_start(stop, period);
            assert!(
                share > 0.7,
                "{share:.2} of the link with stops of {stop} in {period} us"
            );
        }
    }
}

/// A sender that loses what it could have sent until a late timer fires takes that for the rate of the path, asks for
/// less, waits longer, and ends at a packet for each late timer. One that sends more than it could have overruns short buffers.
#[test]
fn late_timers_cost_no_speed() {
    fn with_the_tick_of_windows(_: Time, due: Time) -> Time {
        let tick = Duration::from_micros(15_625);
        let ticks = due.since(Time::ZERO).as_nanos().div_ceil(tick.as_nanos());
        Time::ZERO + tick * u32::try_from(ticks).expect("a run of seconds")
    }
    let on_a_busy_machine: fn(Time, Time) -> Time = |_, due| due + ms(4);
    let on_a_busier_one: fn(Time, Time) -> Time = |_, due| due + ms(10);
    let timers = [with_the_tick_of_windows, on_a_busy_machine, on_a_busier_one];
    for (mbit, rtt, buffer) in [
        (100, 300, 200_000),
        (100, 20_000, 250_000),
        (100, 20_000, 30_000),
        (1000, 20_000, 500_000),
    ] {
        for fire in timers {
            let mut link = Profile::new(mbit * MBIT, Duration::from_micros(rtt / 2), buffer);
            link.mtu = 1472;
            let mut pair = Pair::new(link.clone(), link, mbit * MBIT * 4, 7);
            pair.check_nonces = false;
            pair.timers = Some(fire);
            let outcome = pair.run(Duration::from_secs(20));
            let share = outcome.finished.map_or(0.0, |took| 4.0 / took.as_secs_f64());
            assert!(share > 0.85, "{mbit} Mbit/s, {rtt} us: {share:.2} of the link");
            let lost = outcome.sender_loss as f64 / outcome.sent_packets as f64;
            assert!(lost < 0.03, "{mbit} Mbit/s, {rtt} us: {lost:.3} lost");
        }
    }
}

#[test]
fn close_says_why() {
    let (forward, back) = wan(20, 40, 0.0);
    let mut pair = Pair::new(forward, back, 1000, 1);
    pair.run(Duration::from_secs(5));
    let now = pair.now;
    pair.receiver.close(now, 4, "no thanks");
    while !pair.sender.is_closed() {
        pair.step_if_alive();
    }
    let said = Closed::ByPeer {
        code: 4,
        reason: "no thanks".into(),
    };
    assert!(
        pair.events
            .iter()
            .any(|(_, r, e)| *r == Role::Sender && *e == Event::Closed(said.clone()))
    );
}

#[test]
fn whoever_closes_waits_for_one_round_trip_and_without_an_answer_for_two_seconds_or_less() {
    for (answered, code, least, most) in [(true, 0, 40, 45), (false, 0, 2000, 2005), (false, 4, 700, 705)] {
        let (forward, back) = wan(20, 40, 0.0);
        let mut pair = Pair::new(forward, back, 1000, 1);
        pair.run(Duration::from_secs(5));
        let began = pair.now;
        if !answered {
            let dark = (began, began + Duration::from_secs(9));
            pair.forward.profile.blackouts.push(dark);
        }
        pair.receiver.close(began, code, "");
        while !pair.receiver.is_closed() {
            pair.step_if_alive();
        }
        let took = pair.now.since(began).as_millis();
        assert!(
            (least..=most).contains(&took),
            "answered {answered}, {code}: {took} ms"
        );
    }
}

#[test]
fn a_close_is_heard_after_a_dark_second_and_its_answer_through_loss() {
    let ends = |code, loss, dark, seed| {
        let reason = "all is here";
        let (forward, back) = wan(20, 40, loss);
        let mut pair = Pair::new(forward, back, 1000, seed);
        pair.run(Duration::from_secs(5));
        let began = pair.now;
        for link in [&mut pair.forward, &mut pair.back] {
            let until = began + Duration::from_millis(dark);
            link.profile.blackouts.push((began, until));
        }
        pair.receiver.close(began, code, reason);
        while !pair.receiver.is_closed() {
            pair.step_if_alive();
        }
        let reason = reason.into();
        let heard = Event::Closed(Closed::ByPeer { code, reason });
        let is_told = pair
            .events
            .iter()
            .any(|(_, r, e)| *r == Role::Sender && *e == heard);
        (is_told, pair.now.since(began).as_millis())
    };
    for (code, dark, most) in [
        (0, 20, 75),
        (0, 300, 500),
        (0, 1000, 1950),
        (0, 1700, 1950),
        (4, 430, 500),
    ] {
        let (is_told, took) = ends(code, 0.0, dark, 1);
        assert!(is_told && took < most, "dark for {dark} ms: {is_told}, {took} ms");
    }
    // One end in forty loses all its answers.
    let waits = (0..40).filter(|seed| {
        let (is_told, took) = ends(0, 0.3, 0, *seed);
        assert!(is_told, "seed {seed}");
        took >= 2000
    });
    assert!(waits.count() <= 4);
}

#[test]
fn silence_is_noticed_on_both_sides_and_so_is_its_end() {
    let (mut forward, mut back) = wan(20, 40, 0.0);
    for link in [&mut forward, &mut back] {
        link.blackouts.push((at(2000), at(22_000)));
    }
    let mut pair = Pair::new(forward, back, 40 * MBIT, 1);
    let outcome = pair.run(Duration::from_secs(60));
    assert!(outcome.finished.is_some());
    for role in [Role::Sender, Role::Receiver] {
        let events: Vec<_> = pair
            .events
            .iter()
            .filter(|(_, r, _)| *r == role)
            .map(|(_, _, e)| e)
            .collect();
        let silent = events
            .iter()
            .position(|e| **e == Event::Silent)
            .expect("silence is told");
        assert!(events[silent..].contains(&&Event::Back), "{role:?}: {events:?}");
    }
}

/// Floors for the links of the issue list; docs/performance.md has the measured values.
#[test]
fn goodput_on_the_usual_paths() {
    for (mbit, rtt, loss, floor) in [
        (100, 100, 0.0, 0.85),
        (100, 100, 0.01, 0.85),
        (100, 20, 0.05, 0.85),
        (20, 40, 0.1, 0.85),
        (1000, 20, 0.0, 0.85),
    ] {
        let (f, b) = wan(mbit, rtt, loss);
        let total = mbit * MBIT * 10;
        let mut pair = Pair::new(f, b, total, 7);
        pair.check_nonces = false;
        let o = pair.run(Duration::from_secs(40));
        let ideal = 10.0 / (1.0 - loss);
        let share = o.finished.map_or(0.0, |d| ideal / d.as_secs_f64());
        println!(
            "{mbit} Mbit {rtt} ms {loss}: {:.1}% sent {} lost {} repeated {} queue median {:?}",
            share * 100.0,
            o.sent_packets,
            o.sender_loss,
            o.repeated,
            o.queue[o.queue.len() / 2]
        );
        assert!(share >= floor, "{mbit} Mbit/s, {rtt} ms, {loss}: {share}");
    }
}
