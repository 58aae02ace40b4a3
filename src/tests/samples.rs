//! Valid inputs of every decoder.

use std::time::Duration;

use super::decoders::{meeting_pair, path, punch, stun_client};
use crate::protocol::Role;
use crate::protocol::ecn::EcnCounts;
use crate::protocol::handshake::keys::StaticKeypair;
use crate::protocol::ranges::RangeSet;
use crate::protocol::time::Time;
use crate::protocol::wire::Ack;
use crate::rendezvous::address::{Address, NatClass};
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::pake::End;
use crate::rendezvous::meeting::wire::{
    Bind, BindWant, Binding, Bound, Closed, List, Listed, Listing, Names, Open, Present, SessionId, Want,
};
use crate::rendezvous::punch::Punch;
use crate::rendezvous::stun::respond;
use crate::transfer::manifest::builder::{ManifestBuilder, Trust};
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
use crate::transfer::session::messages::{self, Message};

/// By decoder.
pub(super) struct Samples {
    pub addresses: Vec<Vec<u8>>,
    pub stun: Vec<Vec<u8>>,
    pub frames: Vec<Vec<u8>>,
    pub handshake: Vec<Vec<u8>>,
    pub manifests: Vec<Vec<u8>>,
    pub messages: Vec<Vec<u8>>,
    pub journals: Vec<Vec<u8>>,
    pub meeting: Vec<Vec<u8>>,
}

impl Samples {
    pub(super) fn new() -> Self {
        Samples {
            addresses: addresses(),
            stun: stun_messages(),
            frames: frames(),
            handshake: handshake(),
            manifests: vec![wire(&tree()), wire(&one_file())],
            messages: messages(),
            journals: vec![journal()],
            meeting: meeting(),
        }
    }
}

fn addresses() -> Vec<Vec<u8>> {
    let key = *StaticKeypair::from_seed(&[1; 32]).public();
    let parse = |text: &str| text.parse().unwrap();
    let mapped = ["203.0.113.7:4300", "203.0.113.7:4301"].map(|a| Some(parse(a)));
    let candidates = vec![parse("192.168.1.10:4300"), parse("[2001:db8::1]:4300")];
    let mapped = [mapped[0], mapped[1], None, None];
    let whole = Address::own(Errand::Send, key, NatClass::default(), mapped, candidates).unwrap();
    let mut token = vec![1, 0];
    token.extend(key);
    token.extend([0, 1, 0, 2, 0, 3, 2, 4, 192, 168, 1, 10, 16, 204]);
    token.extend([6, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 16, 204]);
    // The first half is taken for a token if the length is even.
    let len = token.len();
    token.resize(2 * len, 0);
    vec![
        whole.to_string().into_bytes(),
        b"203.0.113.7:4300".to_vec(),
        b" <[2001:db8::7]:4300>\n".to_vec(),
        token,
    ]
}

fn stun_messages() -> Vec<Vec<u8>> {
    let mut client = stun_client();
    let requests: Vec<Vec<u8>> = std::iter::from_fn(|| client.poll_transmit())
        .map(|(_, request)| request)
        .collect();
    let answers: Vec<Vec<u8>> = requests
        .iter()
        .filter_map(|request| respond(request, path().remote))
        .collect();
    assert!(!answers.is_empty());
    requests.into_iter().chain(answers).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let mut heard = RangeSet::default();
    for start in [0, 7, 100, 5000, 1 << 40] {
        heard.insert(start..start + 3);
    }
    let mut ack = Vec::new();
    Ack::encode(
        &mut ack,
        1200,
        heard.iter().rev(),
        7,
        1 << 20,
        EcnCounts { ect0: 900, ce: 1 },
    );
    let mut small = RangeSet::default();
    small.insert(0..2);
    let mut first = Vec::new();
    Ack::encode(
        &mut first,
        1200,
        small.iter().rev(),
        7,
        1 << 20,
        EcnCounts { ect0: 900, ce: 1 },
    );
    let mut data = vec![3, 0, 0, 0, 0, 0, 0, 1, 0];
    data.extend([9; 100]);
    let control = vec![4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];
    let close = vec![7, 0, 4, 0, 2, b'n', b'o'];
    let both = [
        ack.clone(),
        control.clone(),
        vec![1, 5, 1, 2, 3, 4, 5, 6, 7, 8],
        data.clone(),
    ]
    .concat();
    let mut header = vec![0x51, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5];
    header.extend([0; 20]);
    vec![
        ack,
        first,
        data,
        control,
        close,
        both,
        header,
        vec![6, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0],
    ]
}

/// All that two punches say to each other until they are connected, with whole addresses and with bare ones.
fn handshake() -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    for bare in [false, true] {
        let mut ends = [punch(Role::Sender, bare), punch(Role::Receiver, bare)];
        let mut now = Time::from_nanos(1_000_000_000);
        for _ in 0..400 {
            for from in 0..2 {
                let [one, other] = &mut ends;
                let (one, other): (&mut Punch, &mut Punch) =
                    if from == 0 { (one, other) } else { (other, one) };
                while let Some(sent) = one.poll_transmit() {
                    said.push(sent.payload.clone());
                    other.handle_datagram(now, path(), &mut sent.payload.clone());
                }
            }
            let due = ends.iter().filter_map(Punch::poll_timeout).min();
            let Some(due) = due else { break };
            now = due.max(now);
            ends.iter_mut().for_each(|end| end.handle_timeout(now));
        }
    }
    // One of each kind and length is enough.
    said.sort_by_key(|payload| (payload.first().copied(), payload.len()));
    said.dedup_by_key(|payload| (payload.first().copied(), payload.len()));
    assert!(said.len() >= 5, "the handshakes did not come about");
    said
}

fn entry<'a>(kind: Kind, parent: Option<EntryIndex>, name: &'a [u8], size: u64) -> Entry<'a> {
    Entry {
        kind,
        parent,
        name,
        size,
        mtime: 1_700_000_000_000_000_000,
        mode: 0o644,
        target: if kind == Kind::Symlink { b"vm.img" } else { b"" },
    }
}

fn tree() -> Manifest {
    let mut builder = ManifestBuilder::new(Trust::Own);
    let top = builder.add(entry(Kind::Dir, None, b"photos", 0)).unwrap();
    builder
        .add(entry(Kind::File, Some(top), b"a.jpg", 70_000))
        .unwrap();
    builder.add(entry(Kind::File, Some(top), b"empty", 0)).unwrap();
    builder.add(entry(Kind::Symlink, Some(top), b"link", 0)).unwrap();
    let below = builder.add(entry(Kind::Dir, Some(top), b"2026", 0)).unwrap();
    let again = Kind::HardLink(EntryIndex::new(1));
    builder.add(entry(again, Some(below), b"again.jpg", 0)).unwrap();
    builder
        .add(entry(Kind::File, Some(below), b"b.jpg", 3 << 20))
        .unwrap();
    builder.finish().unwrap()
}

fn one_file() -> Manifest {
    let mut builder = ManifestBuilder::new(Trust::Own);
    builder.add(entry(Kind::File, None, b"vm.img", 5 << 30)).unwrap();
    builder.finish().unwrap()
}

fn wire(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    manifest.encode(EntryIndex::new(0), usize::from(u16::MAX), &mut out);
    out
}

fn messages() -> Vec<Vec<u8>> {
    let offers = [tree(), one_file()].map(|list| Message::Offer(ListHead::of(&list)));
    let all = offers.into_iter().chain(messages::tests::samples());
    let mut whole = Vec::new();
    let mut samples: Vec<Vec<u8>> = Vec::new();
    for message in all {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        whole.extend_from_slice(&bytes);
        samples.push(bytes);
    }
    samples.push(whole);
    samples
}

/// A header and five records; their checksums are put right where they are used.
fn journal() -> Vec<u8> {
    let mut bytes = b"p2pcopy journal\x01".to_vec();
    bytes.extend([1; 64]);
    bytes.extend(77_u64.to_be_bytes());
    for index in 0..5_u32 {
        bytes.push(1);
        bytes.extend(index.to_be_bytes());
        bytes.extend([7; 32]);
    }
    bytes
}

/// What a client and a server say to each other at first.
fn meeting() -> Vec<Vec<u8>> {
    let (mut client, mut server) = meeting_pair();
    let now = Time::from_nanos(1_000_000_000);
    let mut said = Vec::new();
    for _ in 0..4 {
        while let Some((path, payload)) = client.poll_transmit() {
            server.handle_datagram(now, path, &payload);
            said.push(payload);
        }
        while let Some((path, payload)) = server.poll_transmit() {
            client.handle_datagram(now, path, &payload);
            said.push(payload);
        }
    }
    let (session, cookie, proof) = (SessionId(7), [1; 16], [0; 16]);
    let name = Name::parse("alice").unwrap();
    let (end, want, ticket) = (End::Owner, BindWant::Bind, [4; 16]);
    let bind = Bind {
        end,
        want,
        session,
        cookie,
        proof,
        ticket,
    };
    let list = List {
        session,
        cookie,
        proof,
        after: Some(name.clone()),
    };
    let present = Present {
        name: name.clone(),
        errand: Errand::Chat,
        busy: true,
        waited: Duration::from_secs(75),
    };
    let listed = Listed {
        session,
        listing: Listing::More,
        present: vec![present],
    };
    let names = Names {
        own: Some(name),
        peer: None,
    };
    let open = Open {
        errand: Errand::Receive,
        want: Want::Named(names),
        session,
        cookie,
        proof,
        rtt: Duration::ZERO,
        message: [1; _],
        sealed: vec![2; 100],
    };
    let bound = Bound {
        session,
        binding: Binding::Closed(Closed::TooMany(9)),
    };
    said.extend([
        bind.encode(),
        bound.encode(),
        list.encode(),
        listed.encode(),
        open.encode(),
    ]);
    said
}
