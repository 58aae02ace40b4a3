use std::net::IpAddr;

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn servers() -> Vec<SocketAddr> {
    ["192.0.2.1:3478", "192.0.2.2:3478", "192.0.2.3:3478"]
        .map(at)
        .to_vec()
}

/// Servers behind a NAT. `map` returns the external address for a path, or `None` for no answer.
struct World<F: FnMut(Time, Path) -> Option<SocketAddr>> {
    client: StunClient,
    now: Time,
    map: F,
    sent: usize,
}

impl<F: FnMut(Time, Path) -> Option<SocketAddr>> World<F> {
    fn new(map: F) -> Self {
        let client = StunClient::new(
            &servers(),
            4,
            None,
            &[at("198.51.100.9:4300")],
            &[3; 32],
            Time::ZERO,
        );
        World {
            client,
            now: Time::ZERO,
            map,
            sent: 0,
        }
    }

    fn run(&mut self, until: Duration) -> Vec<StunEvent> {
        let mut events = Vec::new();
        loop {
            while let Some((path, request)) = self.client.poll_transmit() {
                self.sent += 1;
                if let Some(mapped) = (self.map)(self.now, path) {
                    let answer = respond(&request, mapped).unwrap();
                    assert!(self.client.handle_datagram(self.now, path, &answer));
                }
            }
            while let Some(event) = self.client.poll_event() {
                events.push(event);
            }
            let next = self.client.poll_timeout().unwrap();
            if next > Time::ZERO + until {
                return events;
            }
            self.now = next;
            self.client.handle_timeout(next);
        }
    }
}

fn port(path: Path, base: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(
        at("203.0.113.7:1").ip(),
        base + u16::from(path.local),
    ))
}

fn gathered(events: &[StunEvent]) -> StunReport {
    let told = |event: &&StunEvent| !matches!(event, StunEvent::Answered { .. });
    match events.iter().find(told) {
        Some(StunEvent::Gathered(report)) => report.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_answers_are_an_independent_mapping_and_every_socket_gets_its_port() {
    let mut world = World::new(|_, path| port(path, 4300));
    let report = gathered(&world.run(Duration::ZERO));
    assert_eq!(report.mapping, Mapping::Independent);
    let ports: Vec<u16> = report.mapped.iter().map(|m| m.unwrap().port()).collect();
    assert_eq!(ports, [4300, 4301, 4302, 4303]);
}

#[test]
fn different_answers_are_a_dependent_mapping() {
    let mut world =
        World::new(|_, path| port(path, 1000 + 10 * u16::from(path.remote.to_string().as_bytes()[8])));
    assert_eq!(gathered(&world.run(Duration::ZERO)).mapping, Mapping::Dependent);
}

#[test]
fn ports_that_are_equal_by_chance_on_one_socket_alone_are_a_dependent_mapping() {
    let second = servers()[1];
    let mut world = World::new(move |_, path| match path.local {
        0 => port(path, 4300),
        _ => port(path, if path.remote == second { 5000 } else { 6000 }),
    });
    assert_eq!(gathered(&world.run(Duration::ZERO)).mapping, Mapping::Dependent);
}

/// The lie of the first server, told with the truth of the two others.
fn beside_a_liar(lie: &'static str) -> StunReport {
    let liar = servers()[0];
    let mut world = World::new(move |_, path| match path.remote == liar {
        true => Some(at(lie)),
        false => port(path, 4300),
    });
    gathered(&world.run(Duration::from_secs(3)))
}

#[test]
fn a_server_that_names_an_impossible_address_or_one_inside_is_not_believed() {
    for lie in [
        "[2001:db8::7]:4300",
        "203.0.113.7:0",
        "10.0.0.7:4300",
        "100.64.0.7:4300",
        "127.0.0.1:4300",
        "0.0.0.0:4300",
        "224.0.0.1:4300",
        "255.255.255.255:9",
    ] {
        let report = beside_a_liar(lie);
        assert_eq!(report.mapping, Mapping::Independent, "{lie}");
        let ports: Vec<u16> = report.mapped.iter().map(|m| m.unwrap().port()).collect();
        assert_eq!(ports, [4300, 4301, 4302, 4303], "{lie}");
        assert!(
            report
                .seen
                .iter()
                .all(|seen| seen.ip() == at("203.0.113.7:1").ip())
        );
    }
}

#[test]
fn where_servers_name_different_addresses_more_are_heard_and_most_are_believed() {
    let report = beside_a_liar("203.0.113.99:4300");
    let ips: Vec<String> = report
        .mapped
        .iter()
        .map(|m| m.unwrap().ip().to_string())
        .collect();
    assert_eq!(ips, ["203.0.113.7"; 4]);
    // Perhaps it is no lie, and the network has several addresses.
    assert_eq!((report.answered, report.mapping), (3, Mapping::Dependent));
}

#[test]
fn inside_a_network_of_its_own_the_address_there_is_the_right_one() {
    let mut world = World::new(|_, path| {
        Some(SocketAddr::new(
            at("10.0.0.7:1").ip(),
            4300 + u16::from(path.local),
        ))
    });
    let report = gathered(&world.run(Duration::ZERO));
    assert_eq!(
        (report.mapping, report.mapped[3]),
        (Mapping::Independent, Some(at("10.0.0.7:4303")))
    );
}

#[test]
fn our_own_address_is_no_nat() {
    let mut world = World::new(|_, path| {
        Some(SocketAddr::new(
            at("198.51.100.9:1").ip(),
            4300 + u16::from(path.local),
        ))
    });
    assert_eq!(gathered(&world.run(Duration::ZERO)).mapping, Mapping::Public);
}

#[test]
fn a_dead_first_server_and_a_lost_first_answer_cost_a_retransmission_only() {
    let dead = servers()[0];
    let mut world = World::new(move |now, path| {
        if now == Time::ZERO || path.remote == dead {
            None
        } else {
            port(path, 4300)
        }
    });
    let report = gathered(&world.run(Duration::from_millis(250)));
    assert_eq!((report.mapping, report.answered), (Mapping::Independent, 2));
    assert!(report.mapped.iter().all(Option::is_some));
}

#[test]
fn silence_ends_after_three_seconds_and_a_late_answer_is_still_told() {
    let mut world = World::new(|now, path| {
        if now.since(Time::ZERO).as_secs() < 20 {
            None
        } else {
            port(path, 1)
        }
    });
    let events = world.run(Duration::from_secs(3));
    let report = gathered(&events);
    assert_eq!(
        (report.mapping, report.mapped, report.answered),
        (Mapping::Unknown, [None; 4], 0)
    );
    let events = world.run(Duration::from_secs(40));
    let late = StunEvent::MappingChanged {
        socket: 0,
        from: None,
        to: at("203.0.113.7:1"),
    };
    assert!(events.contains(&late), "{events:?}");
}

#[test]
fn keepalive_is_one_request_per_socket_and_reports_a_changed_mapping_once() {
    let mut world = World::new(|now, path| {
        port(
            path,
            if now.since(Time::ZERO).as_secs() < 40 {
                10
            } else {
                20
            },
        )
    });
    world.run(Duration::from_secs(1));
    let before = world.sent;
    let events = world.run(Duration::from_secs(100));
    assert_eq!(world.sent - before, 6 * 4);
    assert_eq!(events.len(), 4);
    let changed = StunEvent::MappingChanged {
        socket: 0,
        from: Some(at("203.0.113.7:10")),
        to: at("203.0.113.7:20"),
    };
    assert!(events.contains(&changed));
}

#[test]
fn answers_from_elsewhere_or_damaged_or_to_another_socket_change_nothing() {
    let mut client = StunClient::new(&servers(), 1, None, &[], &[3; 32], Time::ZERO);
    let (path, request) = client.poll_transmit().unwrap();
    let answer = respond(&request, at("203.0.113.7:1")).unwrap();
    let wrong_source = Path {
        remote: at("192.0.2.99:3478"),
        ..path
    };
    assert!(client.handle_datagram(Time::ZERO, wrong_source, &answer));
    assert!(client.handle_datagram(Time::ZERO, Path { local: 1, ..path }, &answer));
    assert!(client.handle_datagram(Time::ZERO, path, &request));
    for i in 8..answer.len() {
        let mut bad = answer.clone();
        bad[i] ^= 0x40;
        if i < 20 {
            assert!(client.handle_datagram(Time::ZERO, path, &bad));
        }
        let _ = client.handle_datagram(Time::ZERO, path, &answer[..i]);
    }
    assert_eq!(client.answered(0).count(), 0);
    assert!(!client.handle_datagram(Time::ZERO, path, b"@ours"));
    client.handle_datagram(Time::ZERO, path, &answer);
    assert_eq!(client.answered(0).count(), 1);
}

#[test]
fn without_ipv4_the_servers_of_ipv6_tell_the_outside_address_and_nothing_is_waited_for() {
    let server = at("[2001:db8::53]:3478");
    let mut client = StunClient::new(&[server], 4, Some(4), &[], &[3; 32], Time::ZERO);
    let (path, request) = client.poll_transmit().unwrap();
    assert_eq!((path.local, path.remote), (4, server));
    let mapped = at("[2001:db8::7]:4300");
    let answer = respond(&request, mapped).unwrap();
    let elsewhere = Path { local: 0, ..path };
    client.handle_datagram(Time::ZERO, elsewhere, &answer);
    assert_eq!(client.poll_event(), None, "not from the socket that asked");
    client.handle_datagram(Time::ZERO, path, &answer);
    let report = gathered(&[client.poll_event().unwrap()]);
    assert_eq!(
        (report.mapped_ipv6, report.answered, report.asked),
        (Some(mapped), 1, 1)
    );
    assert_eq!(report.mapped, [None; 4]);
}

/// The answer of a server that also tells from where it answers if asked to (RFC 5780, section 7.4).
pub(super) fn telling(mut answer: Vec<u8>, other: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = other.ip() else {
        panic!("only IPv4 is played");
    };
    answer.extend([0x80, 0x2c, 0, 8, 0, 1]);
    answer.extend(other.port().to_be_bytes());
    answer.extend(ip.octets());
    let length = u16::try_from(answer.len() - 20).unwrap();
    answer[2..4].copy_from_slice(&length.to_be_bytes());
    answer
}
