//! The vectors of the server: codes, names, lists and the relay.

use super::*;

#[test]
fn what_opens_a_meeting() {
    for vector in vectors("meeting_hello") {
        let hello = MeetingHello {
            id: vector.number("id"),
        };
        let bytes = hello.encode();
        assert_eq!(hex(&bytes[..12]), vector.text("bytes"));
        assert!(bytes[12..].iter().all(|b| *b == 0));
        assert_eq!(MeetingHello::decode(&bytes), Ok(hello));
    }
    for vector in vectors("open") {
        let session = SessionId(vector.number("session"));
        let cookie = vector.bytes("cookie").try_into().expect("16 bytes");
        let open = Open {
            errand: Errand::Receive,
            want: match vector.text("number") {
                "none" => Want::Named(Names {
                    own: Name::parse(vector.text("as")).ok(),
                    peer: Name::parse(vector.text("to")).ok(),
                }),
                _ => Want::Join(Nameplate::new(vector.number("number") as u16).expect("in range")),
            },
            session,
            cookie,
            proof: proof(&token_key(vector.text("word")), &cookie, session),
            rtt: Duration::from_micros(vector.number("rtt_us")),
            message: vector.bytes("message").try_into().expect("33 bytes"),
            sealed: vector.bytes("sealed"),
        };
        let bytes = open.encode();
        let end = vector.bytes("bytes").len();
        assert_eq!(hex(&bytes[..end]), hex(&vector.bytes("bytes")));
        assert!(bytes[end..].iter().all(|b| *b == 0));
        assert_eq!(Open::decode(&bytes), Ok(open));
    }
    for vector in vectors("state") {
        let state = State {
            session: SessionId(vector.number("session")),
            standing: Standing::Paired(End::Owner),
            unix_nanos: vector.number("unix_nanos"),
            nameplate: None,
            moment: vector.number("moment"),
            message: vector.bytes("message").try_into().expect("33 bytes"),
            sealed: vector.bytes("sealed"),
        };
        assert_eq!(hex(&state.encode()), hex(&vector.bytes("bytes")));
        assert_eq!(State::decode(&vector.bytes("bytes")), Ok(state));
    }
}

#[test]
fn lists_of_who_waits() {
    for vector in vectors("list") {
        let session = SessionId(vector.number("session"));
        let cookie = vector.bytes("cookie").try_into().expect("16 bytes");
        let list = List {
            session,
            cookie,
            proof: proof(&token_key(vector.text("word")), &cookie, session),
            after: Name::parse(vector.text("after")).ok(),
        };
        let bytes = list.encode();
        let end = vector.bytes("bytes").len();
        assert_eq!(hex(&bytes[..end]), hex(&vector.bytes("bytes")));
        assert_eq!(List::decode(&bytes), Ok(list));
    }
    for vector in vectors("listing") {
        let listed = Listed {
            session: SessionId(vector.number("session")),
            listing: Listing::All,
            present: vec![Present {
                name: Name::parse(vector.text("name")).expect("a name"),
                errand: Errand::Receive,
                busy: false,
                waited: Duration::from_secs(vector.number("waited_s")),
            }],
        };
        assert_eq!(hex(&listed.encode()), hex(&vector.bytes("bytes")));
        assert_eq!(Listed::decode(&vector.bytes("bytes")), Ok(listed));
    }
}

#[test]
fn ends_of_a_relay() {
    for vector in vectors("bind") {
        let session = SessionId(vector.number("session"));
        let cookie = vector.bytes("cookie").try_into().expect("16 bytes");
        let bind = Bind {
            end: End::Joiner,
            want: BindWant::Bind,
            session,
            cookie,
            proof: proof(&token_key(vector.text("word")), &cookie, session),
            ticket: vector.bytes("ticket").try_into().expect("16 bytes"),
        };
        assert_eq!(hex(&bind.encode()), hex(&vector.bytes("bytes")));
        assert_eq!(Bind::decode(&vector.bytes("bytes")), Ok(bind));
    }
    for vector in vectors("bound") {
        let bound = Bound {
            session: SessionId(vector.number("session")),
            binding: Binding::Joined,
        };
        assert_eq!(hex(&bound.encode()), hex(&vector.bytes("bytes")));
        assert_eq!(Bound::decode(&vector.bytes("bytes")), Ok(bound));
    }
}

#[test]
fn keys_of_a_code() {
    for vector in vectors("code_key") {
        let keys = |end| CodeKeys::new(end, vector.seed("key"));
        assert_eq!(hex(&keys(End::Owner).ticket()), vector.text("ticket"));
        let sealed = keys(End::Owner).seal(vector.text("text"));
        assert_eq!(hex(&sealed), vector.text("sealed"));
        assert_eq!(
            keys(End::Joiner).open(&sealed).as_deref(),
            Ok(vector.text("text"))
        );
    }
}
