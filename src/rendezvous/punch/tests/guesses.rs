//! A symmetric NAT and one that filters by port: how often guesses succeed.

use super::*;
use crate::rendezvous::schedule::ScheduleEvent;
use crate::rendezvous::schedule::guess_times::Task;

/// What filters by port. Most homes have the first kind.
const OTHERS: [NatKind; 4] = [DROPS, ACCEPTS, PORT_RESTRICTED, FIREWALL];
/// The most packets that may go to one address in a second.
const MOST_A_SECOND: usize = 100;

fn scene(ports: Ports, other: NatKind, symmetric_sends: bool, seed: u64) -> Scene {
    let symmetric = NatKind::Symmetric(ports);
    let (a, b) = if symmetric_sends {
        (symmetric, other)
    } else {
        (other, symmetric)
    };
    Scene {
        seed,
        loss_percent: seed % 3,
        delay_millis: 5 + seed % 100,
        ..Scene::new(a, b)
    }
}

/// Seconds from the later paste until both are connected; five minutes if they are not connected by then.
fn seconds(scene: Scene) -> f64 {
    let pasted = millis(scene.paste[0].max(scene.paste[1]));
    let mut world = World::new(scene);
    world.run();
    for side in 0..2 {
        let busiest = world.busiest_second(side);
        assert!(busiest <= MOST_A_SECOND, "side {side}: {busiest} in a second");
    }
    let at = world.connected().map(|[s, r]| s.at.max(r.at).since(pasted));
    at.map_or(300.0, |at| at.as_secs_f64())
}

#[test]
fn nineteen_of_twenty_symmetric_nats_are_found_in_time() {
    for (ports, limit) in [
        (Ports::Steps(1), 5.0),
        (Ports::Steps(-2), 5.0),
        (Ports::Steps(7), 5.0),
        (Ports::Block, 5.0),
        (Ports::Random, 30.0),
    ] {
        let mut took: Vec<f64> = (0..60)
            .map(|seed| seconds(scene(ports, OTHERS[seed as usize % 4], seed / 4 % 2 == 0, seed)))
            .collect();
        took.sort_by(f64::total_cmp);
        println!(
            "{ports:?}: median {:.1} s, 57th of 60 {:.1} s, last {:.1} s",
            took[30], took[56], took[59]
        );
        assert!(took[56] <= limit, "{ports:?}: {took:.1?}");
    }
}

#[test]
fn whoever_pastes_first_the_ports_are_found_within_a_rest_and_a_round() {
    for (ports, late) in [
        (Ports::Random, 7_000),
        (Ports::Random, 40_000),
        (Ports::Block, 40_000),
        (Ports::Steps(1), 20_000),
    ] {
        for seed in 0..8 {
            let mut scene = scene(ports, OTHERS[seed as usize % 4], seed / 4 % 2 == 0, seed);
            scene.paste[seed as usize / 2 % 2] = late;
            let took = seconds(scene);
            assert!(took < 75.0, "{ports:?}, {late} ms, seed {seed}: {took:.1} s");
        }
    }
}

/// Where the other NAT lets in anybody, nobody has to guess or to wait for a slot.
#[test]
fn a_nat_that_lets_in_anybody_is_reached_at_once_whoever_pastes_when() {
    for (i, first) in (0..40_000).step_by(1_900).enumerate() {
        let late = first + [7_000, 25_000][i % 2];
        let ports = [Ports::Random, Ports::Block, Ports::Steps(2)][i % 3];
        for paste in [[first, late], [late, first]] {
            for (other, symmetric_sends) in [OPEN, FULL, RESTRICTED]
                .into_iter()
                .zip([true, false].into_iter().cycle())
            {
                let scene = Scene {
                    paste,
                    ..scene(ports, other, symmetric_sends ^ (i % 2 == 0), first)
                };
                let what = format!("{:?}, {paste:?}", scene.nats);
                let took = seconds(scene);
                assert!(took < 3.0, "{what}: {took:.1} s");
            }
        }
    }
}

#[test]
fn clocks_that_are_minutes_apart_do_not_keep_ports_from_being_guessed() {
    for seed in 0..6 {
        let mut scene = scene(Ports::Block, OTHERS[seed as usize % 4], seed / 4 % 2 == 0, seed);
        scene.skew = [0, 303_000];
        assert!(seconds(scene) < 8.0, "seed {seed}");
    }
}

#[test]
fn any_number_of_routers_between_takes_the_same_time() {
    for routers in [0, 1, 2, 3] {
        for other in OTHERS {
            let mut took: Vec<f64> = (0..20)
                .map(|seed| {
                    let ports = [Ports::Random, Ports::Block, Ports::Steps(2)][seed as usize % 3];
                    seconds(Scene {
                        routers,
                        ..scene(ports, other, seed / 4 % 2 == 0, seed)
                    })
                })
                .collect();
            took.sort_by(f64::total_cmp);
            println!(
                "{routers} routers, {other:?}: median {:.1} s, last {:.1} s",
                took[10], took[19]
            );
            assert!(took[18] <= 30.0, "{routers} routers, {other:?}: {took:.1?}");
        }
    }
}

/// If the other router accepts input, a packet that reaches it spoils the pair there, but only for a while.
#[test]
fn routers_that_drop_options_of_ip_leave_the_pair_that_gets_farther() {
    for routers in [0, 3, 8] {
        for other in OTHERS {
            let took = seconds(Scene {
                routers,
                drops_ip_options: true,
                ..scene(Ports::Random, other, false, 5)
            });
            println!("{routers} routers, {other:?}: {took:.1} s");
            let limit = if routers < 3 && other == ACCEPTS {
                240.0
            } else {
                60.0
            };
            assert!(took < limit, "{routers} routers, {other:?}: {took:.1} s");
        }
    }
}

#[test]
fn a_guess_that_leads_nowhere_is_told_after_half_a_minute_and_stays_bounded() {
    let mut world = World::new(Scene {
        timeout: Duration::from_secs(100),
        ..Scene::new(SYMMETRIC, DROPS)
    });
    let mut punch = Punch::new(world.config(1), Time::ZERO).unwrap();
    let (mut told, mut sent, mut guessing) = (None, 0, 0);
    while let Some(now) = punch.poll_timeout() {
        punch.handle_timeout(now);
        sent += std::iter::from_fn(|| punch.poll_transmit()).count();
        while let Some(event) = punch.poll_event() {
            match event {
                PunchEvent::Hint(Hint::Obstacle(obstacle)) => told = Some((now, obstacle)),
                PunchEvent::Schedule(ScheduleEvent::Guessing(Task::Try { .. })) => guessing += 1,
                _ => {}
            }
        }
    }
    assert_eq!(told, Some((millis(30_000), Obstacle::PerhapsSymmetric)));
    assert_eq!(guessing, 1, "it is told once that ports are tried");
    assert!((4_000..6_000).contains(&sent), "{sent} in 100 s");
    assert!(
        punch
            .report(millis(100_000))
            .to_string()
            .contains("guessed ports")
    );
}

#[test]
fn whoever_refuses_is_not_probed_and_probes_nobody() {
    for guess in [[false, true], [true, false]] {
        let scene = Scene {
            guess,
            timeout: Duration::from_secs(30),
            ..Scene::new(SYMMETRIC, DROPS)
        };
        let mut world = World::new(scene);
        world.run();
        assert!(world.connected().is_none());
        assert!((0..2).all(|side| world.busiest_second(side) < 30));
        assert_eq!(world.hints(0), [Hint::Obstacle(Obstacle::PerhapsSymmetric)]);
    }
}
