//! Tests with peers that break the rules of the conversation.

use std::sync::Arc;

use proptest::prelude::*;

use crate::transfer::breach::Breach;
use crate::transfer::error::TransferError;
use crate::transfer::hash::Root;
use crate::transfer::hash::hash_block;
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest, ManifestBuilder, Trust};
use crate::transfer::ranges::Run;
use crate::transfer::session::messages::Message;
use crate::transfer::session::receive::{ReceiveEvent, ReceiveSession};
use crate::transfer::session::send::{Purpose, SendEvent, SendSession, Work};
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::source::BlockRead;
use crate::transfer::{BLOCK_LEN, BlockIndex, bytes_of};

fn wire(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|m| m.encode(&mut out));
    out
}

fn manifest(files: &[(&str, u64)]) -> Arc<Manifest> {
    let mut b = ManifestBuilder::new(Trust::Own);
    for &(name, size) in files {
        let (name, kind) = (name.as_bytes(), Kind::File);
        b.add(Entry {
            kind,
            parent: None,
            name,
            size,
            mtime: 0,
            mode: 0o644,
            target: b"",
        })
        .unwrap();
    }
    Arc::new(b.finish().unwrap())
}

fn listing(m: &Manifest) -> Message {
    let mut chunk = Vec::new();
    m.encode(EntryIndex::new(0), 60_000, &mut chunk);
    Message::ManifestChunk(chunk)
}

/// A receiver that got the list and whose user has accepted it.
fn accepted(m: &Manifest) -> Result<ReceiveSession, TransferError> {
    let mut r = listed(&ListHead::of(m), &[listing(m)])?;
    r.accept(None);
    Ok(r)
}

/// A receiver that got a list head and these messages.
fn listed(head: &ListHead, messages: &[Message]) -> Result<ReceiveSession, TransferError> {
    let mut r = ReceiveSession::default();
    r.handle_bytes(&wire(&[Message::Offer(head.clone())]))?;
    r.handle_bytes(&wire(messages))?;
    looked_over(&mut r)?;
    Ok(r)
}

/// Does the check of the list, if all of it is here.
fn looked_over(r: &mut ReceiveSession) -> Result<(), TransferError> {
    if let Some(ReceiveEvent::Listed(list)) = r.poll_event() {
        let (offer, manifest) = list.look_over()?;
        r.on_looked_over(offer, manifest);
    }
    Ok(())
}

#[test]
fn a_list_that_is_not_what_was_announced_is_refused_by_what_differs() {
    let honest = manifest(&[("a", 1), ("b", 2)]);
    let head = ListHead::of(&honest);
    let chunk = listing(&honest);
    let breach = |head: &ListHead, m: &[Message]| match listed(head, m) {
        Err(TransferError::PeerMisbehaved(breach)) => breach,
        other => panic!("{other:?}"),
    };
    assert!(listed(&head, std::slice::from_ref(&chunk)).is_ok());
    let other = listing(&manifest(&[("a", 1), ("c", 2)]));
    assert_eq!(breach(&head, &[other]), Breach::ListHash);
    let longer = listing(&manifest(&[("a", 1), ("bb", 2)]));
    assert_eq!(breach(&head, &[longer]), Breach::ListTooLong);
    let twice = [chunk.clone(), chunk.clone()];
    assert_eq!(breach(&head, &twice), Breach::OutOfTurn("a part of a list"));
    let early = [Message::Done { root: Root([0; 32]) }];
    assert_eq!(breach(&head, &early), Breach::OutOfTurn("an end"));
    let lie = |change: fn(&mut ListHead)| {
        let mut lying = head.clone();
        change(&mut lying);
        breach(&lying, std::slice::from_ref(&chunk))
    };
    assert_eq!(lie(|h| h.bytes += 1), Breach::ListBytes);
    assert_eq!(lie(|h| h.entries += 1), Breach::ListEntries);
    assert_eq!(lie(|h| h.manifest_hash[0] ^= 1), Breach::ListHash);
    assert_eq!(lie(|h| (h.stream, h.bytes) = (true, 0)), Breach::ListKind);
}

#[test]
fn nobody_is_asked_before_the_whole_list_is_here() {
    let m = manifest(&[("a", 1), (".zshenv", 2)]);
    let mut r = ReceiveSession::default();
    let mut bytes = wire(&[Message::Offer(ListHead::of(&m)), listing(&m)]);
    let last = bytes.pop().unwrap();
    r.handle_bytes(&bytes).unwrap();
    assert!(r.poll_event().is_none() && r.offer().is_none() && r.listing().is_some());
    // Accepting an offer that was never shown has no effect.
    r.accept(None);
    assert!(!r.poll_output(&mut Vec::new()));
    r.handle_bytes(&[last]).unwrap();
    r.accept(None);
    assert!(!r.poll_output(&mut Vec::new()) && r.offer().is_none() && r.listing().is_some());
    looked_over(&mut r).unwrap();
    let Some(ReceiveEvent::Offer(offer)) = r.poll_event() else {
        panic!("asked")
    };
    assert_eq!((offer.entries, offer.bytes), (2, 3));
}

#[test]
fn an_answer_before_the_end_of_the_list_is_out_of_turn() {
    let mut s = SendSession::new(manifest(&[("a", 1)]));
    let accept = wire(&[Message::Accept { window: None }]);
    assert!(matches!(
        s.handle_bytes(&accept),
        Err(TransferError::PeerMisbehaved(Breach::OutOfTurn("an acceptance")))
    ));
    let mut s = offering(manifest(&[("a", 1)]));
    assert_eq!(s.poll_event(), Some(SendEvent::Listed));
    assert!(s.handle_bytes(&accept).is_ok());
}

#[test]
fn ten_million_claimed_entries_cost_nothing() {
    let mut head = ListHead::of(&manifest(&[("a", 1)]));
    head.entries = 10_000_000;
    assert!(listed(&head, &[]).is_err());
}

/// A sender that has sent its whole list.
fn offering(manifest: Arc<Manifest>) -> SendSession {
    let mut s = SendSession::new(manifest);
    while s.poll_output(&mut Vec::new()) {}
    s
}

fn flowing(blocks: u64, have: &[Run]) -> SendSession {
    let mut s = offering(manifest(&[("a", blocks * BLOCK_LEN as u64)]));
    let accept = [
        Message::Accept { window: None },
        Message::Have {
            runs: have.to_vec(),
            last: true,
        },
    ];
    s.handle_bytes(&wire(&accept)).unwrap();
    s
}

fn answer(s: &mut SendSession, block: BlockIndex) {
    let hash = hash_block(block, &[block.get() as u8; 9]);
    s.on_read(
        block,
        &BlockRead {
            len: BLOCK_LEN,
            hash,
            is_zeros: false,
            stream_end: None,
        },
    );
}

#[test]
fn held_blocks_are_only_hashed_unless_needed() {
    let mut s = flowing(4, &[Run { start: 1, end: 3 }]);
    let mut order = Vec::new();
    while let Some(Work::Read { block, purpose }) = s.next_work(true) {
        order.push((block.get(), purpose == Purpose::Send));
        answer(&mut s, block);
        if (block.get(), purpose) == (1, Purpose::HashOnly) {
            s.handle_bytes(&wire(&[Message::Need {
                runs: vec![Run { start: 1, end: 3 }],
            }]))
            .unwrap();
        }
    }
    assert_eq!(order, [(0, true), (3, true), (1, false), (1, true), (2, true)]);
}

#[test]
fn a_receiver_that_never_has_enough_is_cut_off() {
    let mut s = flowing(2, &[]);
    let outcome = (0..1000).try_for_each(|_| {
        while let Some(Work::Read { block, .. }) = s.next_work(true) {
            answer(&mut s, block);
        }
        s.handle_bytes(&wire(&[Message::Need {
            runs: vec![Run { start: 0, end: 2 }],
        }]))
    });
    assert!(matches!(outcome, Err(TransferError::PeerMisbehaved(_))));
}

#[test]
fn without_room_only_hashing_goes_on() {
    let mut s = flowing(3, &[Run { start: 2, end: 3 }]);
    let hash = Work::Read {
        block: BlockIndex::new(2),
        purpose: Purpose::HashOnly,
    };
    assert_eq!((s.next_work(false), s.next_work(false)), (Some(hash), None));
    assert!(s.next_work(true).is_some());
}

#[test]
fn a_receiver_that_lies_is_caught() {
    let run = |start, end| vec![Run { start, end }];
    let lies = [
        Message::Need { runs: run(4, 5) },
        Message::Verified { low: 1, blocks: 1 },
        Message::Finished { root: Root([0; 32]) },
        Message::Have {
            runs: run(0, 1),
            last: true,
        },
        Message::Accept { window: None },
        Message::Done { root: Root([0; 32]) },
    ];
    for lie in lies {
        assert!(
            flowing(4, &[])
                .handle_bytes(&wire(std::slice::from_ref(&lie)))
                .is_err(),
            "{lie:?}"
        );
    }
    let mut s = offering(manifest(&[("a", 5)]));
    let too_many = Message::Have {
        runs: run(0, 2),
        last: true,
    };
    assert!(
        s.handle_bytes(&wire(&[Message::Accept { window: None }, too_many]))
            .is_err()
    );
}

#[test]
fn the_window_bounds_how_far_the_sender_reads() {
    let mut s = offering(manifest(&[("a", 100 * BLOCK_LEN as u64)]));
    let accept = [
        Message::Accept { window: Some(3) },
        Message::Have {
            runs: vec![],
            last: true,
        },
    ];
    s.handle_bytes(&wire(&accept)).unwrap();
    let read = |s: &mut SendSession| {
        let mut n = 0;
        while let Some(Work::Read { block, .. }) = s.next_work(true) {
            answer(s, block);
            n += 1;
        }
        n
    };
    assert_eq!(read(&mut s), 3);
    s.handle_bytes(&wire(&[Message::Verified { low: 2, blocks: 2 }]))
        .unwrap();
    assert_eq!(read(&mut s), 2);
}

#[test]
fn store_events_out_of_turn_do_not_matter() {
    let mut r = ReceiveSession::default();
    r.on_opened(&[]);
    r.on_store_event(&StoreEvent::Need(BlockIndex::new(7)));
    let mut out = Vec::new();
    assert!(!r.poll_output(&mut out));
}

proptest! {
    #[test]
    fn random_streams_do_not_panic_either_side(
        messages in proptest::collection::vec((0u8..15, proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
    ) {
        let mut bytes = Vec::new();
        for (kind, body) in &messages {
            bytes.push(*kind);
            bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        let _ = flowing(9, &[]).handle_bytes(&bytes);
        let _ = ReceiveSession::default().handle_bytes(&bytes);
        let mut r = accepted(&manifest(&[("a", 1)])).unwrap();
        let _ = r.handle_bytes(&bytes);
    }
}

#[test]
fn bytes_of_blocks_end_with_the_content() {
    let run = |start, end| Run { start, end };
    let block = BLOCK_LEN as u64;
    assert_eq!(bytes_of([], Some(7)), 0);
    assert_eq!(bytes_of([run(0, 1), run(2, 3)], Some(2 * block + 7)), block + 7);
    assert_eq!(bytes_of([run(0, 2)], None), 2 * block);
}

/// A sender whose receiver has accepted and holds nothing.
fn accepted_by(m: Arc<Manifest>, before: &[Message]) -> SendSession {
    let mut s = SendSession::new(m);
    let mut out = Vec::new();
    while s.poll_output(&mut out) {}
    let have = Message::Have {
        runs: vec![],
        last: true,
    };
    s.handle_bytes(&wire(before)).unwrap();
    s.handle_bytes(&wire(&[Message::Accept { window: None }, have]))
        .unwrap();
    s
}

fn read_of(block: BlockIndex) -> BlockRead {
    BlockRead {
        len: BLOCK_LEN,
        hash: hash_block(block, &vec![0; BLOCK_LEN]),
        is_zeros: false,
        stream_end: None,
    }
}

#[test]
fn progress_only_grows_and_what_says_nothing_new_is_no_event() {
    let four = 4 * BLOCK_LEN as u64;
    let read = |blocks: &[u32]| {
        let mut s = accepted_by(manifest(&[("a", four)]), &[]);
        for &block in blocks {
            s.on_read(BlockIndex::new(block), &read_of(BlockIndex::new(block)));
        }
        while s.poll_event().is_some() {}
        s
    };
    let verified = |low, blocks| wire(&[Message::Verified { low, blocks }]);
    let mut s = read(&[0, 1, 3]);
    for (low, blocks, news) in [
        (0, 0, false),
        (1, 2, true),
        (1, 2, false),
        (1, 3, true),
        (2, 3, true),
    ] {
        s.handle_bytes(&verified(low, blocks)).unwrap();
        assert_eq!(
            s.poll_event(),
            news.then_some(SendEvent::Progress { blocks }),
            "{low} {blocks}"
        );
    }
    assert_eq!(s.verified_below(), BlockIndex::new(2));
    // One of the numbers goes backwards; `low` is above the total; it skips a gap; it is beyond what was
    // read.
    for (low, blocks) in [(1, 3), (2, 2), (3, 2), (3, 3), (2, 4)] {
        let mut s = read(&[0, 1, 3]);
        s.handle_bytes(&verified(2, 3)).unwrap();
        let outcome = s.handle_bytes(&verified(low, blocks));
        assert!(
            matches!(outcome, Err(TransferError::PeerMisbehaved(Breach::Progress))),
            "{low} {blocks}"
        );
    }
}

#[test]
fn a_receiver_that_reads_nothing_is_told_only_so_much() {
    let blocks = 1000;
    let m = manifest(&[("a", u64::from(blocks) * BLOCK_LEN as u64)]);
    let mut s = accepted_by(m, &[]);
    let mut read = 0;
    // Every other block is read, so that no two hashes fit into one message.
    while let Some(Work::Read { block, .. }) = s.next_work(true) {
        let scattered = BlockIndex::new((block.get() * 2) % (blocks - 1));
        s.on_read(scattered, &read_of(scattered));
        read += 1;
        assert!(read < 100, "no bound");
    }
    assert!(read >= 64);
    // The work continues as soon as the peer reads again.
    assert!(s.poll_output(&mut Vec::new()));
    assert!(s.next_work(true).is_some());
}

#[test]
fn the_receivers_limit_reaches_the_sender_before_the_content() {
    let limit = |rate: u64| Message::Limit {
        rate: rate.try_into().unwrap(),
    };
    let m = manifest(&[("a", 1)]);
    let mut s = accepted_by(Arc::clone(&m), &[limit(9), limit(2_500_000)]);
    let events: Vec<_> = std::iter::from_fn(|| s.poll_event()).collect();
    assert!(events.contains(&SendEvent::Accepted {
        limit: 2_500_000.try_into().ok()
    }));
    let outcome = s.handle_bytes(&wire(&[limit(1)]));
    assert!(matches!(
        outcome,
        Err(TransferError::PeerMisbehaved(Breach::OutOfTurn("a limit")))
    ));
    let mut s = accepted_by(m, &[]);
    let events: Vec<_> = std::iter::from_fn(|| s.poll_event()).collect();
    assert!(events.contains(&SendEvent::Accepted { limit: None }));
    let empty = Message::Have {
        runs: vec![],
        last: false,
    };
    assert!(s.handle_bytes(&wire(&[empty])).is_err());
}

/// The session must not delay packets: long work belongs to another thread.
#[cfg(target_os = "linux")]
#[test]
fn a_long_list_takes_no_more_time_at_its_end_than_on_its_way() {
    use rustix::time::{ClockId, clock_gettime};
    let busy = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let names: Vec<String> = (0..500_000).map(|i| format!("{i:07}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let m = manifest(&files);
    let mut r = listed(&ListHead::of(&m), &[]).unwrap();
    let (mut at, mut longest) = (EntryIndex::new(0), 0f64);
    while at.get() < m.len() {
        let mut chunk = Vec::new();
        at = m.encode(at, 60_000, &mut chunk);
        let bytes = wire(&[Message::ManifestChunk(chunk)]);
        let before = busy();
        r.handle_bytes(&bytes).unwrap();
        longest = longest.max(busy() - before);
    }
    assert!(longest < 0.1, "{longest:.2} s");
    looked_over(&mut r).unwrap();
    assert!(r.offer().is_some());
}
