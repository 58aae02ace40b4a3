use proptest::prelude::*;

use super::*;

fn sample() -> Address {
    Address {
        reflexive: "203.0.113.7:4300".parse().unwrap(),
        token: Some(Token {
            errand: Errand::Send,
            key: [7; 32],
            nat: NatClass {
                mapping: Mapping::Independent,
                filtering: Filtering::Untested,
            },
            spare_ports: [4301, 0, 65535],
            candidates: vec![
                "192.168.1.5:4300".parse().unwrap(),
                "[fd00::1]:4300".parse().unwrap(),
            ],
            guessing: Guessing::Anywhere,
            clock: Timekeeping::Told,
        }),
    }
}

fn receiver() -> Address {
    let mut address = sample();
    let token = address.token.as_mut().unwrap();
    (token.errand, token.key) = (Errand::Receive, [8; 32]);
    address
}

#[test]
fn what_chats_and_people_do_to_it_is_undone() {
    let word = sample().to_string();
    let half = word.len() / 2;
    let texts = [
        format!("Tell this to your peer: {word}"),
        format!("  \"{word}\".\r\n"),
        format!("<{word}>"),
        format!("`{word}`"),
        format!("\u{201c}{word}\u{201d},"),
        format!("> {}\n> {}", &word[..half], &word[half..]),
        format!("{} {}\u{200b}{}", &word[..9], &word[9..half], &word[half..]),
        format!("http://{word}"),
        format!("enter the IP:port of your Peer: {word}\n"),
    ];
    for text in texts {
        assert_eq!(text.parse(), Ok(sample()), "{text}");
    }
}

/// What programs do to a line that is copied from them. `cut` is a position inside the line.
fn mutilations(word: &str, cut: usize) -> Vec<String> {
    let (one, two) = word.split_at(cut);
    let wide: String = word
        .chars()
        .map(|c| match c {
            ':' => '\u{ff1a}',
            '/' => '\u{ff0f}',
            '0'..='9' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
            c => c,
        })
        .collect();
    let link = word.replace(':', "%3A").replace('/', "%2f");
    vec![
        format!("\u{1b}[200~{word}\u{1b}[201~"),
        format!("[200~{word}[201~"),
        format!("Ann: {word}"),
        format!("Ann:{word}"),
        format!("[14:02] Ann: {word}"),
        format!("[14:02, 11/27/2026] Ann B. 3: {word} thanks mate"),
        format!("14:02 {word}"),
        format!("<Ann> {word}"),
        format!("<{word}>"),
        format!("<http://{word}>"),
        format!("<http://{word}|{word}>"),
        format!("<http://{word}|{}\u{2026}>", one),
        format!("[{word}](http://{word})"),
        format!("https://safe.example/?url=http%3A%2F%2F{link}&data=05"),
        wide,
        word.replacen(':', "\u{fe55}", 1).replace('/', "\u{2215}"),
        format!("{one}\n{two}"),
        format!("{one}\r\n  {two}"),
        format!("{one}\u{2028}{two}"),
        format!("> {one}\n> {two}"),
        format!("[14:02] Ann: {one}\n[14:03] Ann: {two}"),
        format!("\u{1b}[200~Ann: {one}\nAnn: {two}\u{1b}[201~"),
        format!("\u{201c}{one}{two}\u{201d}."),
        format!("\u{300c}{word}\u{300d}\u{3002}"),
        format!("`{word}`, or what was it"),
        format!("**{word}**!"),
        format!("_{word}_"),
        word.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        format!("\u{feff}{one}\u{ad}{two}\u{fe0f}"),
        format!("{one}\\\n{two}"),
        format!("{one}=\r\n{two}"),
        format!("{one}-\n{two}"),
        format!("192.0.2.1:5/gone {word}"),
    ]
}

/// A vector for docs/protocol.md.
#[test]
fn the_wire_form_stays_what_it_is() {
    assert_eq!(
        sample().to_string(),
        "203.0.113.7:4300/CRk7nuVjDSLMZBrYdfVPPZa57YwBNtKCVxTtV5HMNo37VLMtGKvgxAaGXz6NGVKNutqGFzZ2BBo7hASpL4S89BVer89fjzbQ"
    );
}

#[test]
fn a_bare_address_parses_to_no_token() {
    for (text, front) in [
        ("203.0.113.7 : 4300.", "203.0.113.7:4300"),
        ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ("[14:02] Ann: 203.0.113.7:4300", "203.0.113.7:4300"),
        ("[14:02] Ann:[2001:db8::1]:9 !", "[2001:db8::1]:9"),
        ("\u{1b}[200~203.0.113.7:4300\u{1b}[201~", "203.0.113.7:4300"),
        ("<http://203.0.113.7:4300|203.0.113.7:4300>", "203.0.113.7:4300"),
        ("203.0.113.7\u{ff1a}4300\u{3002}", "203.0.113.7:4300"),
        ("[fe80::7%eth0]:4300", "[fe80::7]:4300"),
        ("Ann: [fe80::7%2]:4300.", "[fe80::7]:4300"),
    ] {
        assert_eq!(
            text.parse(),
            Ok(Address {
                reflexive: front.parse().unwrap(),
                token: None
            })
        );
    }
}

#[test]
fn each_mistake_is_named() {
    let own = sample();
    let word = own.to_string();
    let damaged = format!("{}9", &word[..word.len() - 2]);
    let same_role = {
        let mut other = receiver();
        other.token.as_mut().unwrap().errand = Errand::Send;
        other.to_string()
    };
    let cases = [
        ("", AddressError::Empty),
        ("  \n", AddressError::Empty),
        ("hello", AddressError::NotAnAddress),
        ("203.0.113.7", AddressError::NoPort),
        ("Ann: 203.0.113.7", AddressError::NoPort),
        ("203.0.113.7:1 or 203.0.113.7:2", AddressError::NotAnAddress),
        ("1203.0.113.7:1", AddressError::NotAnAddress),
        ("203.0.113.7:0", AddressError::Unusable),
        ("0.0.0.0:4300", AddressError::Unusable),
        ("[::ffff:224.0.0.1]:4300", AddressError::Unusable),
        ("[::ffff:255.255.255.255]:4300", AddressError::Unusable),
        ("203.0.113.7:4300/", AddressError::Damaged),
        (damaged.as_str(), AddressError::Damaged),
        (&word[..word.len() - 1], AddressError::Damaged),
        (&word.replacen('7', "8", 1), AddressError::Damaged),
        (word.as_str(), AddressError::Own),
        ("203.0.113.7:4300", AddressError::Own),
        (same_role.as_str(), AddressError::BothSend),
    ];
    for (text, error) in cases {
        assert_eq!(Address::parse_peer(text, &own), Err(error), "{text}");
    }
    assert_eq!(Address::parse_peer(&receiver().to_string(), &own), Ok(receiver()));
}

#[test]
fn without_stun_the_first_local_candidate_stands_in_front() {
    let local: SocketAddr = "192.168.1.5:4300".parse().unwrap();
    let own = Address::own(Errand::Send, [1; 32], NatClass::default(), [None; 4], vec![local]).unwrap();
    assert_eq!(own.reflexive, local);
    assert_eq!(own.pair(1), None);
    assert_eq!(
        Address::own(Errand::Send, [1; 32], NatClass::default(), [None; 4], vec![]),
        None
    );
}

#[test]
fn spare_pairs_on_another_external_ip_are_left_out() {
    let at = |text: &str| Some(text.parse().unwrap());
    let mapped = [
        at("203.0.113.7:1"),
        at("203.0.113.7:2"),
        at("203.0.113.8:3"),
        None,
    ];
    let own = Address::own(Errand::Send, [1; 32], NatClass::default(), mapped, vec![]).unwrap();
    assert_eq!(
        [0, 1, 2, 3, 4].map(|k| own.pair(k)),
        [mapped[0], mapped[1], None, None, None]
    );
}

fn any_socket_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
        (any::<[u8; 16]>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
    ]
    .prop_filter("reachable", |&a| usable(a))
}

fn any_address() -> impl Strategy<Value = Address> {
    let mapping = prop_oneof![
        Just(Mapping::Unknown),
        Just(Mapping::Public),
        Just(Mapping::Independent),
        Just(Mapping::Dependent)
    ];
    let filtering = prop_oneof![
        Just(Filtering::Untested),
        Just(Filtering::Independent),
        Just(Filtering::Address),
        Just(Filtering::AddressAndPort)
    ];
    let role = prop_oneof![Just(Errand::Send), Just(Errand::Receive), Just(Errand::Chat)];
    let candidates = proptest::collection::vec(any_socket_address(), 0..=MAX_CANDIDATES);
    let guessing = prop_oneof![
        Just(Guessing::Anywhere),
        Just(Guessing::Refused),
        (any::<u16>(), 1..i16::MAX).prop_map(|(last, step)| Guessing::Steps { last, step: -step }),
        (0..100u16, 100..u16::MAX).prop_map(|(first, last)| Guessing::Between { first, last }),
    ];
    (
        any_socket_address(),
        role,
        any::<[u8; 32]>(),
        mapping,
        filtering,
        any::<[u16; 3]>(),
        candidates,
        guessing,
        prop_oneof![Just(Timekeeping::Told), Just(Timekeeping::Untold)],
    )
        .prop_map(
            |(reflexive, role, key, mapping, filtering, spare_ports, candidates, guessing, clock)| Address {
                reflexive,
                token: Some(Token {
                    errand: role,
                    key,
                    nat: NatClass { mapping, filtering },
                    spare_ports,
                    candidates,
                    guessing,
                    clock,
                }),
            },
        )
}

#[test]
fn who_chats_and_who_sends_are_told_that_they_do_not_go_together() {
    let word = |errand| {
        let local = "192.168.1.5:4300".parse().unwrap();
        Address::own(errand, [1; 32], NatClass::default(), [None; 4], vec![local])
            .unwrap()
            .to_string()
    };
    let parse = |errand, own| Address::parse_other(&word(errand), own).map(|_| ());
    assert_eq!(parse(Errand::Send, Errand::Chat), Err(AddressError::NoChat));
    assert_eq!(parse(Errand::Chat, Errand::Receive), Err(AddressError::Chat));
    assert_eq!(parse(Errand::Chat, Errand::Chat), Ok(()));
    let bare = Address::parse_other("203.0.113.7:4300", Errand::Chat);
    assert_eq!(bare, Err(AddressError::Bare));
}

proptest! {
    #[test]
    fn every_address_survives_the_round_trip(address in any_address()) {
        prop_assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn every_address_survives_what_chats_do(address in any_address(), at in any::<prop::sample::Index>()) {
        let word = address.to_string();
        for text in mutilations(&word, 1 + at.index(word.len() - 1)) {
            let found: Result<Address, _> = text.parse();
            prop_assert_eq!(found.as_ref(), Ok(&address), "{:?}", text);
        }
    }

    #[test]
    fn of_two_addresses_the_other_one_is_taken(mine in any_address(), other in any_address(), first in any::<bool>()) {
        let role = |address: &Address| address.token.as_ref().unwrap().errand;
        prop_assume!(role(&mine).peer() == role(&other));
        let (a, b) = if first { (&mine, &other) } else { (&other, &mine) };
        let text = format!("[14:02] Ann: {a}\n[14:03] Bob: {b}\n");
        prop_assert_eq!(Address::parse_peer(&text, &mine), Ok(other));
    }

    #[test]
    fn one_changed_character_is_never_taken_for_another_token(
        address in any_address(), at in any::<prop::sample::Index>(), to in "[1-9A-HJ-NP-Za-km-z]"
    ) {
        let word = address.to_string();
        let slash = word.find('/').unwrap();
        let at = slash + 1 + at.index(word.len() - slash - 1);
        let changed = format!("{}{to}{}", &word[..at], &word[at + 1..]);
        match changed.parse::<Address>() {
            Ok(same) => prop_assert_eq!(same, address),
            Err(error) => prop_assert_eq!(error, AddressError::Damaged),
        }
    }

    #[test]
    fn any_text_is_answered_without_a_panic(text in "\\PC{0,200}", tail in "[0-9.:/\\[\\]1-9A-Za-z ]{0,60}") {
        let _ = text.parse::<Address>();
        let _ = tail.parse::<Address>();
        let _ = format!("203.0.113.7:4300/{tail}").parse::<Address>();
    }
}
