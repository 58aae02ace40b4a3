//! Peers that lie about what blocks are made of, and about what they found of them.

use std::ops::Range;
use std::time::Duration;

use p2pcopy::parts::transfer::{Chunk, Chunker, Conflicts};

use crate::evil::act::{Act, receiver, sender};
use crate::evil::list::{Entry, List};
use crate::evil::peer::Evil;
use crate::evil::wire::{self, message};

const MIB: usize = 1 << 20;
const NOT_ASKED: &str = "chunks that were not asked for";
const NO_SUCH_CHUNKS: &str = "a request for chunks that cannot be needed";
const NO_SUCH_PART: &str = "a request for parts of a block that cannot be needed";

/// Bytes without a pattern.
fn random(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn cut(bytes: &[u8]) -> Vec<Chunk> {
    let (mut chunker, mut chunks) = (Chunker::default(), Vec::new());
    chunker.push(bytes, |chunk| chunks.push(chunk));
    chunks.extend(chunker.finish());
    chunks
}

fn chunks(start: u64, chunks: &[Chunk]) -> Vec<u8> {
    let mut body = start.to_be_bytes().to_vec();
    for chunk in chunks {
        body.extend(chunk.len.to_be_bytes());
        body.extend(chunk.hash);
    }
    body
}

fn unknown(len: usize) -> Chunk {
    Chunk {
        len: len as u32,
        hash: [7; 16],
    }
}

/// An old file of three blocks, the second of them zeros, and what is sent instead.
fn old() -> Vec<u8> {
    [random(1, MIB), vec![0; MIB], random(3, MIB)].concat()
}

/// What zeros are cut into.
fn zeros() -> Chunk {
    Chunk {
        len: 256 << 10,
        hash: *blake3::hash(&[0; 256 << 10]).as_bytes().first_chunk().unwrap(),
    }
}

fn sent() -> List {
    List(vec![Entry::file("a", random(2, 3 * MIB))])
}

/// An evil sender whose victim wants `a` updated and has asked what its three blocks are made of.
fn described(play: impl FnOnce(&mut Evil) + 'static) -> Act {
    sender(|evil| {
        evil.offers(&sent());
        evil.is_accepted();
        evil.announces(&sent());
        assert_eq!(evil.awaits(message::DESCRIBE), wire::runs(&[0..3]));
        play(evil);
    })
    .against(|victim| {
        victim.conflicts = Conflicts::Update;
        victim.plants("out/a", &old());
    })
    .within(32)
}

/// What the victim needs of block 0 after it was told that it is made of `list`: in parts, or whole.
fn needs_after(evil: &mut Evil, list: &[Chunk]) -> Option<Vec<u8>> {
    evil.says(message::CHUNKS, chunks(0, list));
    evil.settles();
    let found = |kind| evil.heard.messages.iter().find(|(found, _)| *found == kind);
    match (found(message::PARTS), found(message::NEED)) {
        (Some((_, body)), None) => Some(body.clone()),
        (None, Some(_)) => None,
        other => panic!("{other:?}"),
    }
}

/// Gives all content; and block 0 once more when it is asked for whole.
fn gives_all(evil: &mut Evil, asks_again: bool) {
    let list = sent();
    evil.says(message::CHUNKS, chunks(MIB as u64, &[unknown(256 << 10); 8]));
    evil.settles();
    evil.sends(0, &list.content());
    if asks_again {
        while evil.awaits(message::NEED)[..4] != [0; 4] {}
        evil.sends(0, &list.content()[..MIB]);
    }
    evil.says(message::DONE, list.root());
    evil.awaits(message::FINISHED);
    evil.packet(&wire::close(0, b""));
}

#[test]
fn chunks_that_nobody_asked_for_end_it() {
    sender(|evil| {
        evil.offers(&sent());
        evil.is_accepted();
        evil.announces(&sent());
        evil.says(message::CHUNKS, chunks(0, &[unknown(100_000)]));
    })
    .ends(6, NOT_ASKED);
    // Chunks of a block that was not asked for, of one that was described before, and from the middle of a block.
    for start in [3 * MIB as u64, u64::MAX, 0, MIB as u64 + 5] {
        described(move |evil| {
            evil.says(message::CHUNKS, chunks(0, &[unknown(256 << 10); 4]));
            evil.says(message::CHUNKS, chunks(start, &[unknown(100_000)]));
        })
        .ends(6, NOT_ASKED);
    }
}

#[test]
fn chunks_of_a_length_that_none_has_end_it() {
    for len in [0, 1, 16 << 10, (256 << 10) + 1, 3 * MIB, u32::MAX as usize] {
        described(move |evil| evil.says(message::CHUNKS, chunks(0, &[unknown(len)]))).ends(6, NOT_ASKED);
    }
    for body in [
        chunks(0, &[]),
        vec![0; 7],
        [chunks(0, &[unknown(1)]), vec![0]].concat(),
    ] {
        described(move |evil| evil.says(message::CHUNKS, body)).ends(6, "");
    }
}

#[test]
fn chunks_that_overlap_or_leave_a_gap_end_it() {
    for start in [0, 100_000 - 1, 100_000 + 1, MIB as u64] {
        described(move |evil| {
            evil.says(message::CHUNKS, chunks(0, &[unknown(100_000)]));
            evil.says(message::CHUNKS, chunks(start, &[unknown(100_000)]));
        })
        .ends(6, NOT_ASKED);
    }
}

#[test]
fn chunks_without_end_end_it() {
    described(|evil| {
        let endless = [unknown((16 << 10) + 1); 1024];
        for at in 0..200 {
            evil.says(message::CHUNKS, chunks(at * 1024 * ((16 << 10) + 1), &endless));
        }
    })
    .ends(6, NOT_ASKED);
}

#[test]
fn a_block_that_is_not_what_its_chunks_say_comes_whole_and_nothing_else_is_placed() {
    described(|evil| {
        // Every chunk is one that lies here, and none belongs there.
        let here = cut(&old())[1];
        let mut list = vec![here; MIB / here.len as usize];
        list.push(unknown(MIB - list.len() * here.len as usize));
        let lacks = needs_after(evil, &list);
        let lacks = lacks.expect("most of it is said to lie here");
        assert_eq!(lacks[..4], [0; 4], "of block 0");
        gives_all(evil, true);
    })
    .completes();
    // All of it is said to lie here.
    described(|evil| {
        assert_eq!(needs_after(evil, &[zeros(); 4]), None);
        gives_all(evil, false);
    })
    .completes();
}

#[test]
fn other_content_than_was_announced_ends_it_however_much_of_it_was_found() {
    described(|evil| {
        assert!(needs_after(evil, &[zeros(), zeros(), unknown(256 << 10), zeros()]).is_some());
        for _ in 0..2 {
            evil.sends(0, &random(9, MIB));
            evil.settles();
        }
    })
    .ends(4, "arrived damaged twice");
}

#[test]
fn a_chunk_that_lies_here_a_thousand_times_costs_no_more_than_the_file_it_is_said_to_make() {
    const BLOCKS: usize = 16;
    let list = List(vec![Entry::file("a", vec![1; BLOCKS * MIB])]);
    sender(move |evil| {
        evil.offers(&list);
        evil.is_accepted();
        evil.announces(&list);
        evil.awaits(message::DESCRIBE);
        evil.says(message::CHUNKS, chunks(0, &[zeros(); 4 * BLOCKS]));
        evil.awaits(message::NEED);
        evil.settles();
    })
    .against(|victim| {
        victim.conflicts = Conflicts::Update;
        victim.plants("out/a", &vec![0; BLOCKS * MIB]);
    })
    // Most of it are the copies that the evil one makes of its list.
    .within(64)
    .changes_nothing();
}

/// Otherwise a peer could try out what a short file holds, many guesses at once.
#[test]
fn a_short_chunk_is_only_found_at_its_place() {
    let fill = || vec![unknown(256 << 10), unknown(256 << 10), unknown(256 << 10)];
    let short = |bytes: &[u8]| Chunk {
        len: bytes.len() as u32,
        hash: *blake3::hash(bytes).as_bytes().first_chunk().unwrap(),
    };
    for (from, is_found) in [
        (MIB - 100, true),
        (MIB - 101, false),
        (0, false),
        (3 * MIB - 100, false),
    ] {
        described(move |evil| {
            let mut list = fill();
            list.push(unknown((256 << 10) - 100));
            list.push(short(&old()[from..from + 100]));
            assert_eq!(needs_after(evil, &list).is_some(), is_found, "{from}");
        })
        .changes_nothing();
    }
}

/// An evil receiver that claims to hold these blocks of a file of four, and has heard their hashes.
fn claims(evil: &mut Evil, run: Range<u32>) {
    evil.awaits(message::OFFER);
    evil.says(message::ACCEPT, [0; 4]);
    evil.says(message::HAVE, [&[1], &wire::runs(&[run])[..]].concat());
    evil.awaits(message::DONE);
}

fn parts(block: u32, runs: &[Range<u32>]) -> Vec<u8> {
    [&block.to_be_bytes()[..], &wire::runs(runs)].concat()
}

#[test]
fn chunks_of_blocks_that_were_not_claimed_or_do_not_exist_are_not_told() {
    for run in [0..1, 3..5, 0..u32::MAX, u32::MAX - 1..u32::MAX] {
        receiver(move |evil| {
            claims(evil, 1..4);
            evil.says(message::DESCRIBE, wire::runs(&[run]));
        })
        .against(|victim| victim.sends(4 * MIB))
        .ends(6, NO_SUCH_CHUNKS);
    }
    // A pipe cannot be read twice.
    receiver(|evil| {
        claims(evil, 0..1);
        evil.says(message::DESCRIBE, wire::runs(&[0..1]));
    })
    .against(|victim| victim.pipe = Some(Box::new(&b"what comes out of it"[..])))
    .ends(6, NO_SUCH_CHUNKS);
}

#[test]
fn a_block_is_described_once() {
    receiver(|evil| {
        claims(evil, 0..4);
        evil.says(message::DESCRIBE, wire::runs(&[0..4]));
        evil.awaits(message::CHUNKS);
        evil.says(message::DESCRIBE, wire::runs(&[3..4]));
    })
    .against(|victim| victim.sends(4 * MIB))
    .ends(6, NO_SUCH_CHUNKS);
}

#[test]
fn parts_that_cannot_be_needed_are_not_sent() {
    let many: Vec<Range<u32>> = (0..65).map(|i| 2 * i..2 * i + 1).collect();
    let bad = [
        // A block that was not described, of no part, beyond its end, of too many parts.
        parts(2, &[0..5]),
        parts(u32::MAX, &[0..5]),
        parts(0, &[]),
        parts(0, &[0..MIB as u32 + 1]),
        parts(0, &many),
    ];
    for body in bad {
        receiver(move |evil| {
            claims(evil, 0..4);
            evil.says(message::DESCRIBE, wire::runs(&[0..2]));
            evil.says(message::PARTS, body);
        })
        .against(|victim| victim.sends(4 * MIB))
        .ends(6, NO_SUCH_PART);
    }
    receiver(|evil| {
        claims(evil, 0..4);
        evil.says(message::DESCRIBE, wire::runs(&[0..2]));
        for _ in 0..2 {
            evil.says(message::PARTS, parts(1, &[0..5]));
        }
    })
    .against(|victim| victim.sends(4 * MIB))
    .ends(6, NO_SUCH_PART);
}

#[test]
fn only_the_parts_that_were_asked_for_are_sent() {
    receiver(|evil| {
        claims(evil, 0..4);
        evil.says(message::DESCRIBE, wire::runs(&[0..4]));
        evil.awaits(message::CHUNKS);
        evil.says(message::PARTS, parts(1, &[10..20, 70..100]));
        evil.waits(Duration::from_secs(2));
        let came: usize = evil.heard.content.values().map(Vec::len).sum();
        assert_eq!(came, 40, "{:?}", evil.victim.verdict);
    })
    .against(|victim| victim.sends(4 * MIB))
    .within(24)
    .changes_nothing();
}

#[test]
fn a_receiver_that_asks_for_all_chunks_and_parts_and_reads_nothing_costs_what_is_stated() {
    const BLOCKS: u32 = 100;
    receiver(|evil| {
        claims(evil, 0..BLOCKS);
        evil.heard.forgets_content = true;
        let most: Vec<Range<u32>> = (0..64).map(|i| 2 * i..2 * i + 1).collect();
        evil.says(message::DESCRIBE, wire::runs(&[0..BLOCKS]));
        evil.alive = false;
        for block in 0..BLOCKS {
            evil.says(message::PARTS, parts(block, &most));
        }
        evil.waits(Duration::from_secs(5));
    })
    .against(|victim| victim.sends(BLOCKS as usize * MIB))
    .within(64)
    .changes_nothing();
}
