//! Clocks that NTP has not confirmed, and that may be minutes apart.

use super::*;

/// Seconds from the later paste until both sides are connected.
fn seconds(scene: &Scene) -> f64 {
    let mut world = World::new(scene.clone());
    world.run();
    let at = world.connected().map(|[s, r]| s.at.max(r.at));
    let pasted = millis(scene.paste[0].max(scene.paste[1]));
    at.map_or(300.0, |at| at.since(pasted).as_secs_f64())
}

#[test]
fn whatever_the_clocks_say_every_pair_without_a_symmetric_nat_connects_as_the_second_user_pastes() {
    for a in ALL {
        for b in ALL {
            let mut took = Vec::new();
            for seed in 0..SEEDS {
                let mut scene = Scene::new(a, b);
                vary(&mut scene, seed);
                scene.untold[seed as usize % 2] = true;
                scene.skew[seed as usize % 2] += 300_000 + i64::try_from(seed).unwrap() * 1_777;
                took.push((seconds(&scene), seed));
            }
            took.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (median, last) = (took[took.len() / 2].0, took[took.len() - 1]);
            println!("{a:?} x {b:?}: median {median:.2} s, last {:.2} s", last.0);
            assert!(median < 1.5 && last.0 < 5.0, "{a:?} x {b:?}: {took:.2?}");
        }
    }
}

/// NTP servers answered, but their time is wrong.
#[test]
fn clocks_that_are_told_and_minutes_apart_do_not_keep_the_second_user_waiting() {
    for apart in [1_700, 5_000, 20_000, 300_000, -313_000] {
        for a in ALL {
            for b in ALL {
                let mut took = Vec::new();
                for seed in 0..8 {
                    let mut scene = Scene::new(a, b);
                    vary(&mut scene, seed);
                    scene.skew[seed as usize % 2] += apart;
                    took.push(seconds(&scene));
                }
                took.sort_by(f64::total_cmp);
                assert!(took[7] < 5.0, "{apart} ms, {a:?} x {b:?}: {took:.1?}");
            }
        }
    }
}

/// On both sides, a firewall lets out only one port.
#[test]
fn with_one_pair_alone_the_second_user_connects_at_once_where_no_nat_can_be_spoilt() {
    for (a, b, limit) in [
        (PORT_RESTRICTED, DROPS, 1.0),
        (DROPS, DROPS, 1.0),
        (DROPS, ACCEPTS, 90.0),
        (ACCEPTS, ACCEPTS, 90.0),
    ] {
        let place = Scene {
            one_port: true,
            ..Scene::new(a, b)
        };
        let took = seconds_to_connect(&place);
        println!("{a:?} x {b:?}: {took:.1?}");
        assert!(took[took.len() - 1] < limit, "{a:?} x {b:?}: {took:.1?}");
    }
}

/// Such a firewall does not let out what asks for the time either.
#[test]
fn with_one_pair_alone_and_no_clock_a_spoilt_nat_recovers() {
    for (a, b) in [
        (DROPS, DROPS),
        (DROPS, ACCEPTS),
        (ACCEPTS, DROPS),
        (ACCEPTS, ACCEPTS),
    ] {
        for skew in [[0, 0], [0, 313_000]] {
            let place = Scene {
                one_port: true,
                untold: [true, false],
                ..Scene::new(a, b)
            };
            let mut took = Vec::new();
            for apart in (0..120_000).step_by(3_700) {
                for first in 0..2 {
                    let mut scene = Scene {
                        skew,
                        ..place.clone()
                    };
                    scene.paste[1 - first] = apart;
                    took.push(seconds(&scene));
                }
            }
            took.sort_by(f64::total_cmp);
            let (median, last) = (took[took.len() / 2], took[took.len() - 1]);
            println!("{a:?} x {b:?}: median {median:.1} s, last {last:.1} s");
            assert!(last < 130.0, "{a:?} x {b:?}: {took:.1?}");
        }
    }
}

#[test]
fn two_pastes_at_one_moment_meet_though_no_clock_is_known() {
    for apart in [0, 1, 5, 19, 20, 21, 60, 300] {
        for first in 0..2 {
            let mut scene = Scene {
                untold: [true, true],
                ..Scene::new(ACCEPTS, ACCEPTS)
            };
            scene.paste[first] = apart;
            let took = seconds(&scene);
            assert!(took < 2.0, "{apart} ms apart: {took:.2} s");
        }
    }
}

/// Seconds from the later paste, sorted, for pastes up to 21 s apart and with three of ten packets lost.
fn at_a_distance(place: &Scene) -> Vec<f64> {
    let mut took: Vec<f64> = (0..12)
        .map(|seed| {
            seconds(&Scene {
                paste: [seed * 1_300, seed % 4 * 7_000],
                loss_percent: 30,
                untold: [true, false],
                seed,
                ..place.clone()
            })
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let [a, b] = place.nats;
    println!(
        "{} routers, {a:?} x {b:?}: median {:.1} s, last {:.1} s",
        place.routers, took[6], took[11]
    );
    took
}

#[test]
fn neither_lost_packets_nor_few_routers_cost_much_time() {
    for routers in [0, 1, 2, 3, 8] {
        for delay_millis in [0, 20] {
            for a in FILTER_BY_PORT {
                for b in FILTER_BY_PORT {
                    let took = at_a_distance(&Scene {
                        routers,
                        delay_millis,
                        ..Scene::new(a, b)
                    });
                    assert!(took[11] < 5.0, "{routers} routers, {a:?} x {b:?}: {took:.1?}");
                }
            }
        }
    }
}

#[test]
fn routers_that_drop_options_of_ip_cost_time_only_where_few_lie_between() {
    for routers in [0, 1, 2, 3, 8] {
        for (a, b) in [
            (DROPS, DROPS),
            (DROPS, ACCEPTS),
            (ACCEPTS, DROPS),
            (ACCEPTS, ACCEPTS),
        ] {
            let took = at_a_distance(&Scene {
                routers,
                drops_ip_options: true,
                ..Scene::new(a, b)
            });
            let clean = routers > 3 || (a, b) == (DROPS, DROPS);
            // A packet that reaches the other router spoils its pair there, and only one pair can get through
            // at all.
            let in_time = if clean { took[11] < 100.0 } else { took[10] < 290.0 };
            assert!(in_time, "{routers} routers, {a:?} x {b:?}: {took:.1?}");
        }
    }
}
