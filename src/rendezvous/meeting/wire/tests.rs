//! Every layout is encoded and decoded, and wrong lengths are rejected.

use super::*;
use crate::rendezvous::address::{Address, NatClass};
use crate::rendezvous::meeting::pake::CodeKeys;

fn state(standing: Standing) -> State {
    State {
        session: SessionId(7),
        standing,
        unix_nanos: 9,
        nameplate: Nameplate::new(7),
        moment: 11,
        message: [3; MESSAGE_LEN],
        sealed: vec![5; MAX_SEALED],
    }
}

#[test]
fn every_layout_is_read_back_and_no_answer_is_longer_than_its_request() {
    let hello = Hello { id: 3 };
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    for seen in ["203.0.113.7:4300", "[2001:db8::1]:9"] {
        let welcome = Welcome {
            id: 3,
            cookie: [1; 16],
            unix_nanos: 5,
            seen: seen.parse().unwrap(),
            terms: Terms {
                wants_token: true,
                relays: true,
                pair_rate: 6,
                pair_bytes: 7,
            },
        };
        let bytes = welcome.encode();
        assert!(bytes.len() <= Hello::LEN, "no reply is longer than its request");
        assert_eq!(Welcome::decode(&bytes), Ok(welcome));
    }
    let nameplate = Nameplate::new(7).unwrap();
    for want in [
        Want::Wait(None),
        Want::Wait(Some(nameplate)),
        Want::Join(nameplate),
        Want::Leave,
        Want::Burn,
    ] {
        let open = Open {
            errand: Errand::Receive,
            want,
            session: SessionId(7),
            cookie: [1; 16],
            proof: [2; 16],
            rtt: Duration::from_micros(1234),
            message: [3; MESSAGE_LEN],
            sealed: vec![4; MAX_SEALED],
        };
        assert_eq!(Open::decode(&open.encode()), Ok(open));
    }
    for standing in [
        Standing::Closed(Closed::StaleCookie),
        Standing::Closed(Closed::WrongToken),
        Standing::Closed(Closed::TooMany(9)),
        Standing::Waiting,
        Standing::Paired(End::Owner),
        Standing::Paired(End::Joiner),
        Standing::Nobody,
        Standing::SameRole,
        Standing::Gone,
        Standing::Burnt,
        Standing::Expired,
        Standing::Fresh,
        Standing::NameTaken,
    ] {
        let bytes = state(standing).encode();
        assert!(bytes.len() <= Open::LEN);
        assert_eq!(State::decode(&bytes), Ok(state(standing)));
    }
}

#[test]
fn the_longest_address_and_the_longest_names_fit_together() {
    let six = |n: u16| {
        SocketAddr::new(
            Ipv6Addr::from([0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, n]).into(),
            65_535,
        )
    };
    let candidates = (0xff01..).take(8).map(six).collect();
    let nat = NatClass::default();
    let mapped = [Some(six(0xff00)); 4];
    let address = Address::own(Errand::Chat, [255; 32], nat, mapped, candidates).unwrap();
    let sealed = CodeKeys::new(End::Owner, [7; 32]).seal(&address.to_string());
    assert!(sealed.len() <= MAX_SEALED, "{}", sealed.len());
    let name = || Name::parse(&"n".repeat(Name::MAX)).ok();
    let open = Open {
        errand: Errand::Chat,
        want: Want::Named(Names {
            own: name(),
            peer: name(),
        }),
        session: SessionId(7),
        cookie: [1; 16],
        proof: [2; 16],
        rtt: Duration::from_micros(1234),
        message: [3; MESSAGE_LEN],
        sealed: vec![4; MAX_SEALED],
    };
    assert_eq!(open.encode().len(), LONGEST);
    assert_eq!(Open::decode(&open.encode()), Ok(open));
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut bytes = state(Standing::Waiting).encode();
    bytes.push(0);
    assert_eq!(State::decode(&bytes), Err(Malformed));
    bytes.truncate(60);
    assert_eq!(State::decode(&bytes), Err(Malformed));
    assert_eq!(Hello::decode(&[packet::HELLO; 95]), Err(Malformed));
}
