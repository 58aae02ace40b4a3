//! What a punch reports about the networks when it fails or when it is asked.

use super::*;

#[test]
fn a_symmetric_nat_against_port_restriction_fails_in_time_without_guesses_and_says_why() {
    for other in [PORT_RESTRICTED, DROPS, ACCEPTS, SYMMETRIC] {
        let scene = Scene {
            timeout: Duration::from_secs(60),
            guess: [true, false],
            ..Scene::new(SYMMETRIC, other)
        };
        let mut world = World::new(scene);
        world.run();
        assert!(world.connected().is_none());
        let text = world.report(0).to_string();
        assert!(text.contains("symmetric NAT"), "{text}");
        assert!(text.contains("another network"), "{text}");
        assert_eq!(world.report(0).elapsed, Duration::from_secs(60));
        assert!(matches!(
            world.hints(0),
            [Hint::Obstacle(
                Obstacle::PerhapsSymmetric | Obstacle::BothSymmetric
            )]
        ));
        assert!(world.report(0).sent > 100);
    }
}

#[test]
fn where_a_server_relays_the_networks_are_no_obstacle_that_a_user_hears_of() {
    let hints = |relay| {
        let mut config = World::new(Scene::new(SYMMETRIC, SYMMETRIC)).config(0);
        config.around.relay = relay;
        let mut punch = Punch::new(config, Time::ZERO).unwrap();
        punch.handle_timeout(Time::ZERO);
        std::iter::from_fn(|| punch.poll_event())
            .filter(|event| matches!(event, PunchEvent::Hint(_)))
            .count()
    };
    assert_eq!(hints(None), 1);
    let remote = "198.51.100.1:4300".parse().unwrap();
    assert_eq!(hints(Some(Path { local: 0, remote })), 0);
}

#[test]
fn one_bare_and_one_whole_address_fail_and_both_are_told() {
    for bare in [[true, false], [false, true]] {
        let scene = Scene {
            bare,
            timeout: Duration::from_secs(100),
            ..Scene::new(PORT_RESTRICTED, ACCEPTS)
        };
        let mut world = World::new(scene);
        world.run();
        assert!(world.connected().is_none());
        let (whoever_pasted_bare, other) = if bare[0] { (0, 1) } else { (1, 0) };
        assert!(world.hints(whoever_pasted_bare).contains(&Hint::WePastedBare));
        assert!(world.hints(other).contains(&Hint::PeerPastedBare));
        assert!(world.report(other).hints.contains(&Hint::PeerPastedBare));
        assert!(world.report(other).diagnosis().1.contains("whole address"));
        assert!(
            world
                .report(whoever_pasted_bare)
                .diagnosis()
                .1
                .contains("whole address")
        );
    }
}

#[test]
fn a_bare_peer_at_an_address_of_our_own_is_not_said_to_be_behind_a_nat() {
    let mut world = World::new(Scene::new(OPEN, PORT_RESTRICTED));
    let mut config = world.config(0);
    let outside = config.own.reflexive.ip();
    let inside: IpAddr = [192, 0, 2, 2].into();
    let token = config.own.token.as_mut().unwrap();
    token.candidates = vec![SocketAddr::new(inside, BASE_PORT)];
    config.peer.token = None;
    let punch = Punch::new(config, Time::ZERO).unwrap();
    let kind = |ip| {
        punch.search.kind(Path {
            local: 0,
            remote: SocketAddr::new(ip, BASE_PORT + 9),
        })
    };
    assert_eq!([kind(inside), kind(outside)], [PathKind::Lan; 2]);
    assert_eq!(kind([198, 51, 100, 7].into()), PathKind::PeerReflexive);
}

#[test]
fn a_nat_is_named_only_where_one_is_known() {
    let mut world = World::new(Scene::new(OPEN, PORT_RESTRICTED));
    let mut config = world.config(0);
    config.peer.token = None;
    config.peer.reflexive = SocketAddr::from(([198, 51, 100, 7], BASE_PORT));
    let mut kind = |mapping| {
        config.own.token.as_mut().unwrap().nat.mapping = mapping;
        let path = Path {
            local: 0,
            remote: config.peer.reflexive,
        };
        PathKind::of(path, &config.own, &config.peer, None)
    };
    assert_eq!(kind(Mapping::Public), PathKind::Open);
    assert_eq!(kind(Mapping::Unknown), PathKind::Open);
    assert_eq!(kind(Mapping::Independent), PathKind::Direct);
}

/// A firewall on this computer forbids to send to the peer, but not to its private address, where nobody is here.
#[test]
fn a_system_that_refuses_all_that_leads_to_the_peer_is_named() {
    let mut world = World::new(Scene::new(DROPS, DROPS));
    let mut punch = Punch::new(world.config(0), Time::ZERO).unwrap();
    for second in 0..12 {
        punch.handle_timeout(millis(second * 1000));
        while let Some(Datagram { path, reach, .. }) = punch.poll_transmit() {
            if !is_private(path.remote.ip()) && !matches!(reach, Reach::Routers(_)) {
                punch.on_refused(path, std::io::ErrorKind::PermissionDenied);
            }
        }
    }
    let mut events = std::iter::from_fn(|| punch.poll_event());
    let refused = Hint::Refused(std::io::ErrorKind::PermissionDenied);
    assert!(events.any(|event| matches!(event, PunchEvent::Hint(hint) if hint == refused)));
    assert!(
        punch
            .report(millis(12_000))
            .diagnosis()
            .0
            .contains("forbids p2pcopy to send")
    );
}
