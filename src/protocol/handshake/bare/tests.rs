use std::net::IpAddr;

use super::super::rng::Seed;
use super::super::{HandshakeError, Local, SessionKeys, SixWords, StaticKeypair, Words};
use super::*;

const PATH: Path = Path {
    local: 0,
    remote: std::net::SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)), 4300),
};

fn local(n: u8) -> Local {
    Local {
        keypair: StaticKeypair::from_seed(&[n; 32]),
        hello: Hello {
            oldest: 1,
            newest: 1,
            hardware_aes: true,
            verify: false,
            cid: u32::from(n),
        },
        seed: Seed::new([n ^ 0x80; 32]),
    }
}

fn ends(sender: u8, receiver: u8) -> (BareInitiator, BareResponder) {
    (
        BareInitiator::new(local(sender)).unwrap(),
        BareResponder::new(local(receiver)),
    )
}

fn six(keys: &SessionKeys) -> SixWords {
    match keys.comparison.as_ref().unwrap().words {
        Words::Known(six) => six,
        _ => panic!("both ends know the words"),
    }
}

/// Runs the handshake up to message 3.
fn bind(i: &mut BareInitiator, r: &BareResponder) -> Vec<u8> {
    let cookie = r.cookie(PATH);
    let m2 = r.read_hello(PATH, &i.datagram(&cookie)).unwrap();
    i.read_message_2(&m2).unwrap();
    i.datagram(&cookie)
}

#[test]
fn both_ends_show_the_same_six_words_and_hold_the_same_keys() {
    let (mut i, mut r) = ends(1, 2);
    let m3 = bind(&mut i, &r);
    let (rk, m4) = r.read_message_3(&m3).unwrap();
    let sk = i.read_message_4(&m4).unwrap();
    assert_eq!((sk.send, sk.receive), (rk.receive, rk.send));
    assert_eq!(six(&sk), six(&rk));
    let confirmed = r.confirmed().unwrap();
    assert_eq!(confirmed.answer(PATH, &m3), Some(m4.as_slice()));
    let elsewhere = Path {
        remote: "203.0.113.7:9".parse().unwrap(),
        ..PATH
    };
    assert_eq!(
        confirmed.answer(elsewhere, &m3),
        None,
        "a copy with another's cookie"
    );
    assert_eq!(r.read_message_3(&m3).err(), Some(HandshakeError::Replayed));
}

#[test]
fn no_answer_is_larger_than_what_it_answers() {
    let (mut i, mut r) = ends(1, 2);
    let hello = i.first_datagram();
    assert_eq!((hello.len(), r.hello(PATH).len()), (HELLO_LEN, HELLO_LEN));
    let m2 = r.read_hello(PATH, &i.datagram(&r.cookie(PATH))).unwrap();
    assert!(m2.len() == MESSAGE_2_LEN && m2.len() <= hello.len());
    let m3 = bind(&mut i, &r);
    assert_eq!(m3.len(), HELLO_LEN, "it may also answer a receiver's hello");
    let (_, m4) = r.read_message_3(&m3).unwrap();
    assert!(m4.len() == MESSAGE_4_LEN && m4.len() <= m3.len());
}

#[test]
fn someone_in_the_middle_makes_the_words_differ() {
    let (mut i, mut r) = ends(1, 2);
    let (mut mi, mut mr) = ends(3, 4);
    let to_mr = bind(&mut i, &mr);
    let (_, m4) = mr.read_message_3(&to_mr).unwrap();
    let at_sender = i.read_message_4(&m4).unwrap();
    let to_r = bind(&mut mi, &r);
    let (at_receiver, _) = r.read_message_3(&to_r).unwrap();
    assert_ne!(six(&at_sender), six(&at_receiver));
}

/// An attacker in the middle asks for a thousand answers. None of them reveals the nonce, so no words can be
/// computed, and the handshake can go on with only one of them.
#[test]
fn words_are_unknown_until_the_one_message_3_of_a_run_is_taken() {
    let r0 = local(2);
    let mut r = BareResponder::new(r0);
    let mut bound = Vec::new();
    for n in 0..100u8 {
        let mut l = local(3);
        l.seed = Seed::new([n; 32]);
        let mut mi = BareInitiator::new(l).unwrap();
        let m3 = bind(&mut mi, &r);
        bound.push((mi, m3));
    }
    let mut taken = 0;
    for (mi, m3) in &bound {
        if let Ok((_, m4)) = r.read_message_3(m3) {
            taken += 1;
            assert!(mi.read_message_4(&m4).is_ok());
            // Another session has another nonce, which reveals nothing about this one.
            let others = bound
                .iter()
                .filter(|(other, _)| other.read_message_4(&m4).is_ok());
            assert_eq!(others.count(), 1);
        }
    }
    assert_eq!(taken, 1);
}

#[test]
fn message_3_must_reveal_what_was_committed() {
    let (mut i, mut r) = ends(1, 2);
    let cookie = r.cookie(PATH);
    let m2 = r.read_hello(PATH, &i.datagram(&cookie)).unwrap();
    i.cheat_with_another_hello();
    i.read_message_2(&m2).unwrap();
    assert_eq!(
        r.read_message_3(&i.datagram(&cookie)).err(),
        Some(HandshakeError::Forged)
    );
}

/// A receiver holds the keys but reveals another nonce than it committed to.
#[test]
fn message_4_must_reveal_what_was_committed() {
    let (mut i, mut r) = ends(1, 2);
    let m3 = bind(&mut i, &r);
    let (_, mut m4) = r.read_message_3(&m3).unwrap();
    let split = i.split();
    m4[1] ^= 1;
    let nonce: [u8; NONCE_LEN] = m4[1..=NONCE_LEN].try_into().unwrap();
    let mac = message_4_mac((&split.0, &split.1), &nonce);
    m4[1 + NONCE_LEN..].copy_from_slice(&mac.as_bytes()[..MAC_LEN]);
    assert_eq!(i.read_message_4(&m4).err(), Some(HandshakeError::Forged));
    m4[1] ^= 1;
    assert!(i.read_message_4(&m4).is_err(), "the MAC is the other nonce's");
}

#[test]
fn damaged_messages_change_nothing() {
    let (mut i, mut r) = ends(1, 2);
    let cookie = r.cookie(PATH);
    let m2 = r.read_hello(PATH, &i.datagram(&cookie)).unwrap();
    // The header is in the clear: the cookie and the author's version decide nothing here.
    let flips = |of: &[u8], from: usize| {
        let of = of.to_vec();
        (from * 8..of.len() * 8).map(move |bit| {
            let mut bad = of.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        })
    };
    for bad in flips(&m2, HEADER) {
        assert!(i.read_message_2(&bad).is_err());
    }
    i.read_message_2(&m2).unwrap();
    let m3 = i.datagram(&cookie);
    for bad in flips(&m3, HEADER) {
        assert!(r.read_message_3(&bad).is_err());
    }
    let (_, m4) = r.read_message_3(&m3).unwrap();
    for bad in flips(&m4, 0) {
        assert!(i.read_message_4(&bad).is_err());
    }
    assert!(i.read_message_4(&m4).is_ok());
}

#[test]
fn every_address_has_a_cookie_of_its_own_and_every_run_others() {
    let cookies = Cookies::new([1; 32]);
    let path = |local, remote: &str| Path {
        local,
        remote: remote.parse().unwrap(),
    };
    let all = [
        cookies.of(path(0, "203.0.113.7:1")),
        cookies.of(path(1, "203.0.113.7:1")),
        cookies.of(path(0, "203.0.113.7:2")),
        cookies.of(path(0, "203.0.113.8:1")),
        cookies.of(path(0, "[2001:db8::1]:1")),
        Cookies::new([2; 32]).of(path(0, "203.0.113.7:1")),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(all[i + 1..].iter().all(|other| one != other));
    }
}
