//! The test vectors of docs/protocol.md, read from there, so that the document cannot drift from the code.

mod meeting;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::protocol::Role;
use crate::protocol::ecn::EcnCounts;
use crate::protocol::handshake::compare::{commitment, six_words};
use crate::protocol::handshake::hello::Hello;
use crate::protocol::handshake::keys::{Cipher, StaticKeypair};
use crate::protocol::handshake::probe::{Probe, ProbeKey};
use crate::protocol::handshake::prologue;
use crate::protocol::seal::{Opener, Sealer};
use crate::protocol::wire::{Ack, Frame, Frames, HEADER_LEN, Header, PacketNumber, TAG_LEN};
use crate::rendezvous::address::{Address, Filtering, Guessing, Mapping};
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::code::Nameplate;
use crate::rendezvous::meeting::name::Name;
use crate::rendezvous::meeting::pake::{CodeKeys, End};
use crate::rendezvous::meeting::wire::{
    Bind, BindWant, Binding, Bound, Hello as MeetingHello, List, Listed, Listing, Names, Open, Present,
    SessionId, Standing, State, Want, proof, token_key,
};
use crate::transfer::chunks::{Chunk, ChunkList, Chunker};
use crate::transfer::hash::{Root, RootBuilder, hash_block};
use crate::transfer::manifest::builder::{ManifestBuilder, Trust};
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::manifest::{Entry, EntryIndex, Kind};
use crate::transfer::ranges::Run;
use crate::transfer::session::messages::{Message, MessageReader};
use crate::transfer::{BLOCK_LEN, BlockIndex};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// One block of the document: `name = value` lines.
struct Vector(HashMap<&'static str, &'static str>);

impl Vector {
    fn text(&self, name: &str) -> &'static str {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("the vector has no {name}"))
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("a number")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }

    fn seed(&self, name: &str) -> [u8; 32] {
        self.bytes(name).try_into().expect("32 bytes")
    }
}

fn vectors(kind: &str) -> Vec<Vector> {
    let opening = format!("```vector {kind}\n");
    let found: Vec<Vector> = DOCUMENT
        .split(opening.as_str())
        .skip(1)
        .map(|rest| {
            let block = rest.split("```").next().unwrap_or_default();
            Vector(block.lines().filter_map(|line| line.split_once(" = ")).collect())
        })
        .collect();
    assert!(!found.is_empty(), "docs/protocol.md has no vector {kind}");
    found
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn header() {
    for vector in vectors("header") {
        let header = Header {
            key_phase: vector.number("key_phase") == 1,
            connection_id: vector.number("connection_id") as u32,
            number: PacketNumber::new(vector.number("packet_number")),
        };
        let mut bytes = [0; HEADER_LEN];
        header.encode(&mut bytes);
        assert_eq!(hex(&bytes), hex(&vector.bytes("bytes")));
    }
}

#[test]
fn sealed_packet() {
    for vector in vectors("sealed") {
        let cipher = match vector.text("cipher") {
            "AES-256-GCM" => Cipher::Aes256Gcm,
            _ => Cipher::ChaCha20Poly1305,
        };
        let plaintext = vector.bytes("plaintext");
        let mut packet = [vec![0; HEADER_LEN], plaintext.clone(), vec![0; TAG_LEN]].concat();
        let mut sealer = Sealer::new(
            cipher,
            vector.seed("secret").into(),
            vector.number("connection_id") as u32,
        );
        assert_eq!(
            sealer.seal(&mut packet),
            PacketNumber::new(vector.number("packet_number"))
        );
        assert_eq!(hex(&packet), hex(&vector.bytes("bytes")));
        let header = Header::decode(&packet).expect("a header");
        let opened = Opener::new(cipher, vector.seed("secret").into())
            .open(&header, &mut packet)
            .map(|p| p.to_vec());
        assert_eq!(opened, Some(plaintext));
    }
}

#[test]
fn ack_frame() {
    for vector in vectors("ack") {
        let mut ranges: Vec<Range<u64>> = vector
            .text("ranges")
            .split(' ')
            .filter_map(|range| range.split_once(".."))
            .map(|(start, end)| start.parse().expect("a start")..end.parse().expect("an end"))
            .collect();
        ranges.reverse();
        let mut bytes = Vec::new();
        let (delay_us, flow_limit) = (vector.number("delay_us"), vector.number("flow_limit"));
        let ecn = EcnCounts {
            ect0: vector.number("ect0"),
            ce: vector.number("ce"),
        };
        Ack::encode(&mut bytes, 1000, ranges.iter(), delay_us as u32, flow_limit, ecn);
        assert_eq!(hex(&bytes), hex(&vector.bytes("bytes")));
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&bytes).next() else {
            panic!("not an ACK frame");
        };
        assert_eq!(ack.ranges().collect::<Vec<_>>(), ranges);
        assert_eq!(
            (u64::from(ack.delay_us), ack.flow_limit, ack.ecn),
            (delay_us, flow_limit, ecn)
        );
    }
}

#[test]
fn address() {
    for vector in vectors("address") {
        let address: Address = vector.text("address").parse().expect("the address parses");
        assert_eq!(address.to_string(), vector.text("address"));
        let token = address.token.as_ref().expect("a token");
        assert_eq!(address.reflexive.to_string(), vector.text("front"));
        assert_eq!(token.errand, Errand::Send);
        assert_eq!(vector.text("role"), "sender");
        assert_eq!(hex(&token.key), vector.text("key"));
        assert_eq!(token.nat.filtering, Filtering::Untested);
        let mapping = match token.nat.mapping {
            Mapping::Independent => "independent",
            Mapping::Dependent => "dependent",
            other => panic!("no vector has {other:?}"),
        };
        assert_eq!(mapping, vector.text("mapping"));
        let guessing = match token.guessing {
            Guessing::Steps { last, step } => format!("steps of {step} from {last}"),
            other => format!("{other:?}").to_lowercase(),
        };
        assert_eq!(guessing, vector.text("guessing"));
        assert_eq!(format!("{:?}", token.clock).to_lowercase(), vector.text("clock"));
        let spare: Vec<String> = token.spare_ports.iter().map(u16::to_string).collect();
        assert_eq!(spare.join(" "), vector.text("spare_ports"));
        let candidates: Vec<String> = token.candidates.iter().map(ToString::to_string).collect();
        assert_eq!(candidates.join(" "), vector.text("candidates"));
    }
}

#[test]
fn hello() {
    for vector in vectors("hello") {
        let hello = Hello {
            oldest: vector.number("oldest") as u8,
            newest: vector.number("newest") as u8,
            hardware_aes: vector.number("aes") == 1,
            verify: vector.number("verify") == 1,
            cid: vector.number("connection_id") as u32,
        };
        assert_eq!(hex(&hello.encode()), hex(&vector.bytes("bytes")));
        assert_eq!(Hello::decode(&vector.bytes("bytes")), Ok(hello));
    }
}

#[test]
fn probe() {
    for vector in vectors("probe") {
        let sender = StaticKeypair::from_seed(&vector.seed("sender_seed"));
        let receiver = StaticKeypair::from_seed(&vector.seed("receiver_seed"));
        assert_eq!(hex(sender.public()), vector.text("sender_key"));
        assert_eq!(hex(receiver.public()), vector.text("receiver_key"));
        let context = prologue(
            &[&[1, 0], &sender.public()[..]].concat(),
            &[&[1, 1], &receiver.public()[..]].concat(),
        );
        let key = ProbeKey::new(&sender, receiver.public(), &context).expect("a good key");
        let probe = Probe {
            role: Role::Sender,
            heard: vector.number("heard") == 1,
            slot: vector.number("slot") as u32,
            unix_nanos: vector.number("unix_nanos"),
            random: vector.bytes("random").try_into().expect("8 bytes"),
        };
        assert_eq!(hex(&probe.encode(&key)), hex(&vector.bytes("bytes")));
        let other = ProbeKey::new(&receiver, sender.public(), &context).expect("a good key");
        assert_eq!(Probe::decode(&vector.bytes("bytes"), &other), Some(probe));
    }
}

#[test]
fn words_to_compare() {
    for vector in vectors("words") {
        let nonce = vector.seed("sender_nonce");
        let committed = commitment(&nonce, &vector.seed("sender_key"), &vector.bytes("sender_hello"));
        assert_eq!(hex(&committed), vector.text("commitment"));
        let words = six_words(
            &vector.bytes("handshake_hash"),
            &nonce,
            &vector.seed("receiver_nonce"),
        );
        assert_eq!(words.join(" "), vector.text("words"));
    }
}

#[test]
fn messages() {
    for vector in vectors("message") {
        let message = match vector.text("message") {
            "Offer" => Message::Offer(ListHead {
                entries: 3,
                bytes: 70_000,
                manifest_bytes: 97,
                manifest_hash: [7; 32],
                stream: false,
                holes: 65_536,
            }),
            "Limit" => Message::Limit {
                rate: 2_500_000.try_into().expect("not zero"),
            },
            "Accept" => Message::Accept { window: None },
            "Need" => Message::Need {
                runs: vec![Run { start: 2, end: 5 }, Run { start: 9, end: 10 }],
            },
            "Missing" => Message::Missing {
                entries: vec![Run { start: 2, end: 5 }],
            },
            "Describe" => Message::Describe {
                runs: vec![Run { start: 2, end: 5 }],
            },
            "Chunks" => Message::Chunks(ChunkList {
                start: 2 << 20,
                chunks: vec![Chunk {
                    len: 1 << 16,
                    hash: [7; 16],
                }],
            }),
            "Parts" => Message::Parts {
                block: BlockIndex::new(2),
                parts: vec![Run {
                    start: 0,
                    end: 0xffff,
                }],
            },
            "Zeros" => Message::Hashes {
                first: BlockIndex::new(5),
                cvs: vec![[7; 32]],
                zeros: true,
            },
            "Verified" => Message::Verified { low: 3, blocks: 7 },
            other => panic!("no such message here: {other}"),
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(hex(&bytes), hex(&vector.bytes("bytes")));
        let mut reader = MessageReader::default();
        reader.feed(&bytes);
        assert_eq!(reader.poll_message(), Ok(Some(message)));
    }
}

/// A directory, a file in it, and one more name of that file.
#[test]
fn entries() {
    let found = vectors("entry");
    let entries: Vec<Entry<'_>> = found
        .iter()
        .map(|vector| Entry {
            kind: match vector.number("kind") {
                1 => Kind::Dir,
                5 => Kind::HardLink(EntryIndex::new(vector.number("size") as u32)),
                other => panic!("no such kind here: {other}"),
            },
            parent: (vector.number("parent") as u32)
                .checked_sub(1)
                .map(EntryIndex::new),
            name: vector.text("name").as_bytes(),
            size: 0,
            mtime: vector.number("mtime") as i64,
            mode: vector.number("mode") as u16,
            target: b"",
        })
        .collect();
    let file = Entry {
        kind: Kind::File,
        name: b"a.jpg",
        size: 70_000,
        ..entries[1]
    };
    let mut builder = ManifestBuilder::new(Trust::Own);
    for entry in [entries[0], file, entries[1]] {
        builder.add(entry).expect("it goes with the others");
    }
    let (manifest, mut wire) = (builder.finish().expect("a list"), Vec::new());
    manifest.encode(EntryIndex::new(0), usize::MAX, &mut wire);
    let [first, last] = [&found[0], &found[1]].map(|vector| vector.bytes("bytes"));
    assert!(
        wire.starts_with(&first) && wire.ends_with(&last),
        "{}",
        hex(&wire)
    );
    let mut builder = ManifestBuilder::new(Trust::Peer);
    builder.add_wire(&wire).expect("as it was written");
    assert_eq!(
        builder
            .finish()
            .expect("a list")
            .iter()
            .nth(2)
            .expect("three")
            .1
            .kind,
        entries[1].kind
    );
}

#[test]
fn chunks() {
    for vector in vectors("chunks") {
        let mut content = vec![0; vector.number("length") as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let (mut chunker, mut chunks) = (Chunker::default(), Vec::new());
        for piece in content.chunks(1000) {
            chunker.push(piece, |chunk| chunks.push(chunk));
        }
        chunks.extend(chunker.finish());
        let told = |chunk: &Chunk| format!("{} {}", chunk.len, hex(&chunk.hash));
        let chunks: Vec<_> = chunks.iter().map(told).collect();
        assert_eq!(chunks.join(", "), vector.text("chunks"));
    }
}

#[test]
fn root_of_three_blocks_is_the_hash_of_the_content() {
    for vector in vectors("root") {
        // The content of BLAKE3's own vectors: bytes count from 0 to 250, again and again.
        let content: Vec<u8> = (0..vector.number("length")).map(|i| (i % 251) as u8).collect();
        let mut builder = RootBuilder::default();
        let mut blocks = 0;
        for (index, block) in content.chunks(BLOCK_LEN).enumerate() {
            let index = BlockIndex::new(u32::try_from(index).expect("few blocks"));
            builder.insert(index, &hash_block(index, block));
            blocks += 1;
        }
        let root: Root = builder.root(blocks).expect("all blocks are there");
        assert_eq!(root.to_string(), vector.text("root"));
        assert_eq!(blake3::hash(&content).to_hex().as_str(), vector.text("root"));
    }
}
