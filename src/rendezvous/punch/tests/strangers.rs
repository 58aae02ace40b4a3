//! Datagrams that strangers, neighbours and the peer itself may send to a punch. They get no answer that they
//! should not have.

use super::*;
use crate::protocol::handshake::bare::HELLO_LEN;

#[test]
fn garbage_gets_no_answer_and_has_no_effect() {
    let mut rng = SeedRng::new(&[9; 32], "test garbage");
    for i in 0..2 {
        for bare in [false, true] {
            let (mut punch, path) = lonely(i, bare);
            let timeout = punch.poll_timeout();
            for _ in 0..3_000 {
                let mut bytes: Vec<u8> = rng.array::<200>().to_vec();
                bytes.truncate(usize::try_from(rng.next_u64() % 201).unwrap());
                if let Some(first) = bytes.first_mut() {
                    *first = packet::PROBE + (*first % 7);
                }
                let heard = punch.handle_datagram(Time::ZERO, path, &mut bytes);
                assert_eq!(heard, !bytes.is_empty());
            }
            assert_eq!(drain(&mut punch), (0, 0));
            assert_eq!(punch.poll_timeout(), timeout);
            assert_eq!(punch.report(Time::ZERO).received, 0);
        }
    }
}

#[test]
fn mutated_and_replayed_datagrams_of_the_peer_get_no_answer() {
    let mut world = World::new(Scene::new(OPEN, OPEN));
    world.run();
    assert!(world.connected().is_some());
    let recorded = world.delivered.clone();
    assert!(recorded.len() >= 2);
    for (i, _, payload) in recorded {
        let (mut punch, path) = lonely(i, false);
        for bit in 0..payload.len() * 8 {
            let mut bad = payload.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            punch.handle_datagram(Time::ZERO, path, &mut bad);
        }
        assert_eq!(drain(&mut punch), (0, 0), "{payload:02x?}");
        punch.handle_datagram(Time::ZERO, path, &mut payload.clone());
        let (answers, _) = drain(&mut punch);
        if payload[0] == packet::PROBE {
            assert!(answers > 0);
            let mut copy = payload.clone();
            punch.handle_datagram(Time::ZERO, path, &mut copy);
            assert_eq!(drain(&mut punch).0, 0, "a copy of a probe is not answered");
        }
    }
}

#[test]
fn a_bare_punch_hears_nobody_but_the_pasted_ip() {
    let (mut punch, path) = lonely(1, true);
    let (mut sender, _) = lonely(0, true);
    let mut hello = loop {
        sender.handle_timeout(sender.poll_timeout().unwrap());
        if let Some(transmit) = sender.poll_transmit() {
            break transmit.payload;
        }
    };
    let stranger = Path {
        local: 0,
        remote: SocketAddr::from(([198, 51, 100, 1], BASE_PORT)),
    };
    punch.handle_datagram(Time::ZERO, stranger, &mut hello);
    assert_eq!(drain(&mut punch), (0, 0));
    punch.handle_datagram(Time::ZERO, path, &mut hello);
    assert!(drain(&mut punch).0 > 0);
}

/// The answers of a punch to one datagram.
fn answers(punch: &mut Punch, now: Time, path: Path, datagram: &[u8]) -> Vec<Vec<u8>> {
    punch.handle_datagram(now, path, &mut datagram.to_vec());
    while punch.poll_event().is_some() {}
    std::iter::from_fn(|| punch.poll_transmit())
        .map(|t| t.payload)
        .collect()
}

/// A hello of bare mode that neither of the two ends made.
fn forged_hello(rng: &mut SeedRng, role: u8) -> Vec<u8> {
    let mut hello = vec![packet::HELLO, PROTOCOL_VERSION, role, 0];
    hello.extend(rng.array::<{ HELLO_LEN - 4 }>());
    hello
}

#[test]
fn a_flood_of_forged_hellos_gets_few_answers_fills_no_memory_and_the_real_peer_still_connects() {
    let mut rng = SeedRng::new(&[11; 32], "test flood");
    for flooded in 0..2 {
        let (mut punch, _) = lonely(flooded, true);
        let from = punch.search.peer.reflexive;
        let start = millis(1);
        let mut answered = 0;
        for n in 0..100_000u64 {
            // 10,000 datagrams a second for ten seconds. Half of them claim to come from the pasted port.
            let now = start + Duration::from_micros(n * 100);
            let port = if n % 2 == 0 {
                from.port()
            } else {
                u16::try_from(1 + n % 60_000).unwrap()
            };
            let path = Path {
                local: 0,
                remote: SocketAddr::new(from.ip(), port),
            };
            let datagram = forged_hello(&mut rng, u8::try_from(1 - flooded).unwrap());
            for answer in answers(&mut punch, now, path, &datagram) {
                answered += 1;
                assert!(answer.len() <= datagram.len());
            }
        }
        assert!(
            (100..=2_500).contains(&answered),
            "{answered} answers in ten seconds"
        );
        assert!(punch.first_sent.is_empty() && punch.outbox.is_empty());
        let (mut other, path) = lonely(1 - flooded, true);
        let now = start + Duration::from_secs(11);
        let back = Path {
            local: 0,
            remote: other.search.peer.reflexive,
        };
        let mut under_way = vec![(1 - flooded, punch.engine.datagram(path, Content::Handshake, 0, 0))];
        let mut connected = [false; 2];
        for _ in 0..20 {
            for (to, datagram) in std::mem::take(&mut under_way) {
                let (end, path) = if to == flooded {
                    (&mut punch, Path { remote: from, ..path })
                } else {
                    (&mut other, back)
                };
                end.handle_datagram(now, path, &mut datagram.clone());
                while let Some(event) = end.poll_event() {
                    connected[to] |= matches!(event, PunchEvent::Connected { .. });
                }
                under_way.extend(std::iter::from_fn(|| end.poll_transmit()).map(|t| (1 - to, t.payload)));
            }
        }
        assert_eq!(connected, [true; 2], "flooded: {flooded}");
    }
}

/// Somebody behind the peer's NAT receives at its IP, so their hellos carry the right cookies.
#[test]
fn a_neighbour_of_the_peer_takes_a_bounded_share_of_work_and_none_of_the_pasted_ports() {
    let (mut punch, told) = lonely(1, true);
    let (mut sender, back) = lonely(0, true);
    let hello = |punch: &mut Punch, path: Path, noise: &mut SeedRng| {
        let cookie = BareHeader::decode(&punch.engine.datagram(path, Content::Handshake, 0, 0))
            .unwrap()
            .cookie;
        let mut hello = forged_hello(noise, 0);
        hello[4..20].copy_from_slice(&cookie);
        hello
    };
    let mut rng = SeedRng::new(&[12; 32], "test neighbour");
    let mut computed = 0;
    for n in 0..3_000u64 {
        let now = millis(1) + Duration::from_micros(n * 330);
        let path = Path {
            remote: SocketAddr::new(told.remote.ip(), u16::try_from(10_000 + n).unwrap()),
            ..told
        };
        let datagram = hello(&mut punch, path, &mut rng);
        let got = answers(&mut punch, now, path, &datagram);
        computed += got.iter().filter(|a| a[0] == packet::BARE_2).count();
    }
    assert!(
        (15..=60).contains(&computed),
        "{computed} computations in a second"
    );
    let now = millis(1000);
    let real = sender.engine.datagram(told, Content::Handshake, 0, 0);
    let cookie = answers(&mut punch, now, told, &real).remove(0);
    let with_cookie = answers(&mut sender, now, back, &cookie).remove(0);
    let message_2 = answers(&mut punch, now, told, &with_cookie).remove(0);
    assert_eq!(
        message_2[0],
        packet::BARE_2,
        "the pasted port has a budget of its own"
    );
}

/// Message 3 with the right cookie but a wrong content: each would cost a handshake, so only few are read.
#[test]
fn forged_messages_3_cost_a_bounded_number_of_handshakes() {
    let (mut punch, told) = lonely(1, true);
    let cookie = BareHeader::decode(&punch.engine.datagram(told, Content::Handshake, 0, 0))
        .unwrap()
        .cookie;
    let mut rng = SeedRng::new(&[13; 32], "test message 3");
    let before = punch.report(Time::ZERO).forged;
    for n in 0..10_000u64 {
        let mut datagram = forged_hello(&mut rng, 0);
        datagram[0] = packet::BARE_3;
        datagram[4..20].copy_from_slice(&cookie);
        let now = millis(1) + Duration::from_micros(n * 100);
        assert!(answers(&mut punch, now, told, &datagram).is_empty());
    }
    // The messages that were read and found forged. The others were dropped unread.
    let read = punch.report(Time::ZERO).forged - before;
    assert!((30..=100).contains(&read), "{read} read in a second");
}
