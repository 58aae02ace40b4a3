//! Tests of when a schedule sends where, and how far.

use super::*;

/// Lifetime of unreplied UDP entries in Linux (`nf_conntrack_udp_timeout`). A pair that was spoilt recovers
/// after this.
const LINUX_ENTRY_LIFETIME: Duration = Duration::from_secs(30);

const UNIX: u64 = 1_795_236_100_000_000_000;

fn pairs(n: usize) -> [Option<Path>; PAIRS] {
    std::array::from_fn(|k| {
        let local = u8::try_from(k).unwrap();
        (k < n).then(|| Path {
            local,
            remote: SocketAddr::from(([203, 0, 113, 7], 4300 + u16::from(local))),
        })
    })
}

/// Everything sent and all events within `seconds`. Times are relative to the beginning.
fn run(mut schedule: Schedule, seconds: u64) -> (Vec<(f64, Outgoing)>, Vec<ScheduleEvent>) {
    let (mut sends, mut events) = (Vec::new(), Vec::new());
    let mut now = Time::ZERO;
    while now < Time::ZERO + Duration::from_secs(seconds) {
        while let Some(send) = schedule.poll(now) {
            sends.push((now.since(Time::ZERO).as_secs_f64(), send));
        }
        while let Some(event) = schedule.poll_event() {
            events.push(event);
        }
        match schedule.poll_timeout() {
            Some(next) => {
                assert!(next > now, "a timeout in the past would spin: {next:?} {now:?}");
                now = next;
            }
            None => break,
        }
    }
    (sends, events)
}

fn schedule(n: usize, candidates: &[Path], offset_millis: u64) -> Schedule {
    let clock = WallClock::system(UNIX + offset_millis * 1_000_000, Time::ZERO);
    Schedule::new(
        Role::Sender,
        pairs(n),
        candidates,
        clock,
        None,
        &[1; 32],
        Time::ZERO,
    )
}

#[test]
fn low_ttl_goes_before_the_slot_and_full_ttl_only_inside_its_window() {
    for offset in [0, 1, 2500, 4500, 6100, 9100, 9900] {
        let (sends, _) = run(schedule(4, &[], offset), 120);
        assert!(sends.len() > 300);
        for (at, send) in sends {
            let in_slot = (at + offset as f64 / 1000.0) % 10.0;
            match send.reach {
                Reach::Low(HOLD_TTL) => continue,
                Reach::Routers(count) => assert!(count == 1 && !(0.5..5.5 - 1e-6).contains(&in_slot), "{at}"),
                Reach::Low(ttl) => assert!(ttl >= 2 && !(0.5..6.0 - 1e-6).contains(&in_slot), "{at}"),
                Reach::Full => assert!(!(4.0..10.0 - 1e-6).contains(&in_slot), "{at} {in_slot}"),
            }
            assert_eq!(send.slot.pair(PAIRS), usize::from(send.path.local));
        }
    }
}

#[test]
fn every_slot_is_opened_first_however_late_the_paste() {
    for offset in [0, 5900, 8000, 9300, 9950, 9999] {
        let (sends, _) = run(schedule(4, &[], offset), 45);
        for pair in 0..4 {
            let first = sends
                .iter()
                .find(|(_, s)| usize::from(s.path.local) == pair)
                .unwrap();
            assert_eq!(first.1.reach, Reach::Routers(1), "offset {offset}");
        }
    }
}

#[test]
fn a_pair_rests_longer_than_a_poisoned_entry_lives() {
    let (sends, _) = run(schedule(4, &[], 0), 200);
    for pair in 0..4 {
        let full: Vec<f64> = sends
            .iter()
            .filter(|(_, s)| usize::from(s.path.local) == pair && s.reach == Reach::Full)
            .map(|(at, _)| *at)
            .collect();
        let low: Vec<f64> = sends
            .iter()
            .filter(|(_, s)| usize::from(s.path.local) == pair && s.reach == Reach::Routers(1))
            .map(|(at, _)| *at)
            .collect();
        let rests = full
            .iter()
            .map(|f| low.iter().copied().filter(|l| l > f).fold(f64::MAX, f64::min) - f);
        assert!(rests.fold(f64::MAX, f64::min) > LINUX_ENTRY_LIFETIME.as_secs_f64());
    }
}

#[test]
fn with_another_clock_the_slots_are_others() {
    let mut schedule = schedule(4, &[], 0);
    assert!(schedule.poll_timeout().is_some());
    let at = Time::ZERO + Duration::from_secs(2);
    // The machine slept for 103 s: now it is 5 s into a slot.
    let clock = WallClock::system(UNIX + 105_000_000_000, at);
    schedule.set_clock(clock, at);
    let Some(ScheduleEvent::Waiting { until }) = schedule.poll_event() else {
        panic!("a wait for the new slot");
    };
    assert_eq!(until.since(at), Duration::from_secs(5));
    assert_eq!(clock.slot(until), SlotIndex::containing(UNIX + 110_000_000_000));
    assert!(schedule.poll_event().is_none());
}

#[test]
fn the_sides_take_turns_in_leading_and_whoever_led_holds_its_pair_and_comes_second_there() {
    let ends = [Role::Sender, Role::Receiver].map(|role| {
        let clock = WallClock::system(UNIX, Time::ZERO);
        let schedule = Schedule::new(role, pairs(4), &[], clock, None, &[1; 32], Time::ZERO);
        run(schedule, 100).0
    });
    let first = |sends: &[(f64, Outgoing)], slot: SlotIndex| {
        let of_slot = sends
            .iter()
            .find(|(_, s)| s.slot == slot && s.reach == Reach::Full);
        of_slot.map(|(at, _)| *at)
    };
    let mut slot = SlotIndex::containing(UNIX).next();
    let mut turns = 0;
    while let (Some(sender), Some(receiver)) = (first(&ends[0], slot), first(&ends[1], slot)) {
        let sender_leads = slot.leader() == Role::Sender;
        assert_eq!(
            sender < receiver,
            sender_leads == (turns < 4),
            "{turns}: {sender} {receiver}"
        );
        assert_ne!(slot.leader(), slot.next().leader());
        slot = slot.next();
        turns += 1;
    }
    assert!(turns >= 8, "{turns}");
    for (sends, role) in ends.iter().zip([Role::Sender, Role::Receiver]) {
        let holds: Vec<&(f64, Outgoing)> = sends
            .iter()
            .filter(|(_, s)| s.reach == Reach::Low(HOLD_TTL))
            .collect();
        assert!(holds.len() > 6, "{holds:?}");
        let parity = usize::from(SlotIndex::containing(UNIX).leader() != role);
        assert!(
            holds.iter().all(|(_, s)| usize::from(s.path.local) % 2
                == (parity + SlotIndex::containing(UNIX).pair(PAIRS)) % 2)
        );
    }
}

#[test]
fn a_paste_inside_a_running_slot_waits_for_the_next() {
    let (_, events) = run(schedule(4, &[], 2500), 20);
    assert!(
        matches!(events[0], ScheduleEvent::Waiting { until } if until.since(Time::ZERO) == Duration::from_millis(7500)),
        "{events:?}"
    );
    assert!(matches!(events[1], ScheduleEvent::Attempt { number: 0, .. }));
    let next = Duration::from_millis(17_500);
    assert!(matches!(events[2], ScheduleEvent::Waiting { until } if until.since(Time::ZERO) == next));
}

#[test]
fn with_pair_0_alone_every_fourth_slot_is_used() {
    let (sends, events) = run(schedule(1, &[], 0), 200);
    assert!(sends.iter().all(|(_, s)| s.slot.pair(PAIRS) == 0));
    let attempts = events
        .iter()
        .filter(|e| matches!(e, ScheduleEvent::Attempt { .. }))
        .count();
    assert_eq!(attempts, 5);
}

#[test]
fn whoever_fills_the_learnt_addresses_does_not_keep_the_real_one_out() {
    let learnt = |port| Path {
        local: 0,
        remote: SocketAddr::from(([203, 0, 113, 7], port)),
    };
    let mut schedule = schedule(0, &[], 0);
    for port in 1..=20_000 {
        assert!(schedule.add_reflexive(learnt(port), Time::ZERO));
    }
    assert!(schedule.add_reflexive(learnt(30_000), Time::ZERO));
    assert_eq!(schedule.streams().count(), MAX_REFLEXIVE);
    let (sends, _) = run(schedule, 1);
    assert!(sends.iter().any(|(_, s)| s.path == learnt(30_000)));
}

#[test]
fn candidates_and_reflexive_addresses_need_no_slot() {
    let lan = Path {
        local: 0,
        remote: "192.168.1.5:4300".parse().unwrap(),
    };
    let mut only_lan = schedule(0, &[lan], 0);
    let sent = only_lan.poll(Time::ZERO).unwrap();
    assert_eq!((sent.path, sent.reach), (lan, Reach::Full));
    let other = Path {
        local: 2,
        remote: "203.0.113.7:9999".parse().unwrap(),
    };
    assert!(only_lan.add_reflexive(other, Time::ZERO));
    assert!(!only_lan.add_reflexive(other, Time::ZERO));
    assert_eq!(only_lan.poll(Time::ZERO).unwrap().path, other);
    let (sends, _) = run(schedule(0, &[lan], 0), 60);
    assert!((50..90).contains(&sends.len()), "{}", sends.len());
}

#[test]
fn a_named_moment_comes_before_the_slots_and_is_opened_first() {
    for offset in [0, 2500, 9700] {
        let mut schedule = schedule(4, &[], offset);
        let moment = Time::ZERO + Duration::from_millis(400);
        schedule.meet_at(moment, Time::ZERO);
        let pair = SlotIndex::containing(UNIX + (offset + 400) * 1_000_000).pair(PAIRS);
        let (sends, events) = run(schedule, 20);
        assert!(matches!(events[0], ScheduleEvent::Waiting { until } if until == moment));
        assert_eq!((sends[0].0, sends[0].1.reach), (0.0, Reach::Routers(1)));
        let first_full = sends.iter().find(|(_, s)| s.reach == Reach::Full).unwrap();
        let leads = first_full.1.slot.leader() == Role::Sender;
        let expected = if leads { 0.4 } else { 0.9 };
        assert!((first_full.0 - expected).abs() < 1e-6, "{first_full:?}");
        assert_eq!(usize::from(first_full.1.path.local), pair);
        assert!(
            matches!(events[2], ScheduleEvent::Waiting { .. }),
            "then slots follow: {events:?}"
        );
    }
}

#[test]
fn at_once_each_side_fires_at_one_pair_and_opens_another_and_slots_leave_those_to_it() {
    for (role, own, other) in [(Role::Sender, 0, 1), (Role::Receiver, 1, 0)] {
        for offset in [0, 6_000, 17_000, 31_000] {
            let clock = WallClock::system(UNIX + offset * 1_000_000, Time::ZERO);
            let mut schedule = Schedule::new(role, pairs(4), &[], clock, None, &[1; 32], Time::ZERO);
            schedule.at_once(Time::ZERO);
            let (sends, _) = run(schedule, 200);
            let of = |pair: u8, reach: Reach| {
                let of = sends
                    .iter()
                    .filter(move |(_, s)| s.path.local == pair && s.reach == reach);
                of.map(|(at, _)| *at)
            };
            assert!(of(own, Reach::Full).next().unwrap() < 0.1);
            assert!(of(other, Reach::Routers(1)).next().unwrap() < 0.1);
            assert_eq!(
                of(other, Reach::Full).count(),
                0,
                "the other NAT stays clean there"
            );
            for pair in [own, 2, 3] {
                let late = of(pair, Reach::Full).filter(|at| *at > 50.0).count();
                assert!(late > 50, "its slots: {pair}");
            }
            // Open ports are renewed within the lifetime of an unreplied entry.
            let opened: Vec<f64> = of(other, Reach::Routers(1)).collect();
            assert!(opened.windows(2).all(|two| two[1] - two[0] <= 20.1), "{opened:?}");
        }
    }
}

#[test]
fn with_one_pair_alone_both_sides_fire_at_once_and_in_its_slots() {
    for role in [Role::Sender, Role::Receiver] {
        let clock = WallClock::system(UNIX, Time::ZERO);
        let mut schedule = Schedule::new(role, pairs(1), &[], clock, None, &[1; 32], Time::ZERO);
        schedule.at_once(Time::ZERO);
        let (sends, _) = run(schedule, 120);
        let full: Vec<f64> = sends
            .iter()
            .filter(|(_, s)| s.reach == Reach::Full)
            .map(|(at, _)| *at)
            .collect();
        assert!(full[0] < 0.1 && full.iter().any(|at| *at > 60.0), "{full:?}");
    }
}

#[test]
fn a_named_moment_takes_the_place_of_what_would_begin_at_once() {
    let mut schedule = schedule(4, &[], 0);
    schedule.at_once(Time::ZERO);
    assert!(schedule.poll(Time::ZERO).is_none());
    schedule.meet_at(Time::ZERO + Duration::from_millis(400), Time::ZERO);
    let (sends, _) = run(schedule, 10);
    let first = sends.iter().find(|(_, s)| s.reach == Reach::Full).unwrap();
    assert!(first.0 >= 0.4, "{first:?}");
}

#[test]
fn without_a_clock_a_named_moment_is_left_alone() {
    let mut schedule = schedule(4, &[], 0);
    schedule.without_clock(Time::ZERO);
    schedule.meet_at(Time::ZERO + Duration::from_millis(400), Time::ZERO);
    let (sends, events) = run(schedule, 20);
    assert!(
        events.iter().all(|e| matches!(e, ScheduleEvent::Attempt { .. })),
        "{events:?}"
    );
    let full = sends.iter().filter(|(_, s)| s.reach == Reach::Full);
    assert!(full.clone().count() > 20);
    assert!(
        full.clone().all(|(at, _)| *at < WINDOW.as_secs_f64()),
        "it began at once"
    );
}

#[test]
fn a_peer_that_was_connected_is_looked_for_through_each_pair_before_anything_else() {
    let path = pairs(3);
    let candidate = Path {
        local: 9,
        remote: ([192, 168, 1, 7], 4300).into(),
    };
    let mut schedule = schedule(3, &[candidate], 2500);
    schedule.claim_ports();
    let (sends, _) = run(schedule, 40);
    for ((at, send), path) in sends.iter().zip(path.iter().flatten()) {
        assert_eq!(
            (*at, send.path, send.reach, send.content),
            (0.0, *path, Reach::Routers(1), Content::Probe)
        );
    }
    assert_eq!((sends[3].1.path, sends[3].1.reach), (candidate, Reach::Full));
}
