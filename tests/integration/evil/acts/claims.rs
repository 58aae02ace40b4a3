//! A receiver that lies about what it has, needs and has verified.

use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::evil::act::receiver;
use crate::evil::peer::Evil;
use crate::evil::wire::{self, message};

const MIB: usize = 1 << 20;

#[test]
fn having_blocks_that_do_not_exist_ends_it() {
    for run in [0..2, 1..2, 0..u32::MAX, u32::MAX - 1..u32::MAX] {
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            evil.says(message::ACCEPT, [0; 4]);
            evil.says(message::HAVE, [&[1], &wire::runs(&[run])[..]].concat());
        })
        .ends(6, "hold blocks that do not exist");
    }
}

#[test]
fn runs_that_are_empty_reversed_or_overlap_end_it() {
    let none: [&[std::ops::Range<u32>]; 4] = [
        &[1..1],
        #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
        &[2..1],
        &[0..2, 1..3],
        &[2..3, 0..1],
    ];
    for runs in none.map(wire::runs) {
        let body = [&[1], &runs[..]].concat();
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            evil.says(message::ACCEPT, [0; 4]);
            evil.says(message::HAVE, body);
        })
        .ends(6, "bad run of blocks");
        receiver(move |evil| {
            evil.accepts();
            evil.says(message::NEED, runs);
        })
        .ends(6, "bad run of blocks");
    }
}

#[test]
fn having_the_same_in_two_messages_ends_it() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, [0; 4]);
        for _ in 0..2 {
            evil.says(message::HAVE, [&[0], &wire::runs(&[0..1])[..]].concat());
        }
    })
    .ends(6, "");
}

#[test]
fn having_everything_saves_the_sending_of_it() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, [0; 4]);
        evil.says(message::HAVE, [&[1], &wire::runs(&[0..1])[..]].concat());
        let root = evil.awaits(message::DONE);
        assert!(evil.heard.content.is_empty(), "nothing was asked for");
        evil.says(message::FINISHED, root);
    })
    .completes();
}

#[test]
fn needing_blocks_that_do_not_exist_ends_it() {
    for run in [1..2, 0..u32::MAX] {
        receiver(move |evil| {
            evil.accepts();
            evil.says(message::NEED, wire::runs(&[run]));
        })
        .ends(6, "blocks that cannot be needed");
    }
}

#[test]
fn needing_the_same_for_ever_ends_it() {
    receiver(|evil| {
        evil.accepts();
        for _ in 0..100 {
            evil.says(message::NEED, wire::runs(&[0..1]));
            evil.settles();
        }
    })
    .ends(6, "the same blocks asked for again");
}

#[test]
fn verifying_what_was_never_sent_ends_it() {
    for (low, blocks) in [(1u32, 0u32), (0, 2), (2, 2), (u32::MAX, u32::MAX)] {
        receiver(move |evil| {
            evil.accepts();
            evil.collects();
            evil.says(
                message::VERIFIED,
                [low.to_be_bytes(), blocks.to_be_bytes()].concat(),
            );
        })
        .ends(6, "progress over what was sent");
    }
}

#[test]
fn verifying_less_than_before_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.collects();
        evil.says(message::VERIFIED, [0, 0, 0, 1, 0, 0, 0, 1]);
        evil.says(message::VERIFIED, [0; 8]);
    })
    .ends(6, "progress over what was sent");
}

#[test]
fn finishing_with_another_root_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.collects();
        evil.says(message::FINISHED, [7; 32]);
    })
    .ends(6, "another hash of the whole");
}

#[test]
fn a_window_of_one_block_is_kept() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, 1u32.to_be_bytes());
        evil.says(message::HAVE, [1]);
        evil.waits(Duration::from_secs(5));
        let end = evil.heard.content.last_key_value();
        let end = end.map_or(0, |(at, bytes)| at + bytes.len() as u64);
        assert_eq!(end, MIB as u64);
    })
    .against(|victim| victim.sends(4 * MIB))
    .within(24)
    .changes_nothing();
}

#[test]
fn a_window_of_all_blocks_is_no_more_than_the_memory_for_them() {
    receiver(|evil| {
        evil.flow_limit_kib = u32::MAX;
        evil.heard.forgets_content = true;
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, u32::MAX.to_be_bytes());
        evil.says(message::HAVE, [1]);
        evil.alive = false;
        evil.waits(Duration::from_secs(5));
    })
    .against(|victim| victim.sends(100 * MIB))
    .within(64)
    .changes_nothing();
}

/// A pipe whose other end writes nothing until it is dropped.
struct Stalled(Receiver<()>);

impl Read for Stalled {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        // An error says that the other end is gone: the end of the pipe.
        let _ = self.0.recv();
        Ok(0)
    }
}

#[test]
fn a_flood_of_progress_while_the_pipe_stalls_costs_no_memory() {
    let (hold, stalled) = channel();
    receiver(move |evil| {
        evil.patient = false;
        evil.accepts();
        for _ in 0..2000 {
            let flood = wire::message(message::VERIFIED, &[0; 8]).repeat(1000);
            evil.control(&flood);
            evil.waits(Duration::from_millis(2));
        }
        drop(hold);
    })
    .against(|victim| victim.pipe = Some(Box::new(Stalled(stalled))))
    .changes_nothing();
}

#[test]
fn a_flood_of_needs_ends_it_at_little_cost() {
    receiver(|evil| {
        evil.accepts();
        for _ in 0..100 {
            evil.says(message::NEED, wire::runs(&[0..64]));
        }
    })
    .against(|victim| victim.sends(64 * MIB))
    .within(64)
    .ends(6, "the same blocks asked for again");
}

#[test]
fn a_flood_of_having_scattered_blocks_of_a_pipe_ends_it() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::ACCEPT, [0; 4]);
        for part in 0..1000 {
            let start = part * 8000;
            let runs: Vec<_> = (start..start + 8000).step_by(2).map(|i| i..i + 1).collect();
            evil.says(message::HAVE, [&[0], &wire::runs(&runs)[..]].concat());
            evil.settles();
        }
    })
    .against(|victim| victim.pipe = Some(Box::new(std::io::empty())))
    .ends(6, "too much runs of blocks");
}

/// Content bytes that have come.
fn arrived(evil: &Evil) -> usize {
    evil.heard.content.values().map(Vec::len).sum()
}

#[test]
fn the_limit_a_receiver_asks_for_is_kept() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::LIMIT, 1_000_000u64.to_be_bytes());
        evil.says(message::ACCEPT, [0; 4]);
        evil.says(message::HAVE, [1]);
        let began = evil.now;
        assert!(evil.until(|evil| arrived(evil) == 2 << 20));
        let took = evil.now.since(began).as_secs_f64();
        assert!((1.9..2.5).contains(&took), "2.1 MB at 1 MB/s took {took} s");
        evil.finishes();
    })
    .against(|victim| victim.sends(2 << 20))
    .completes();
}

#[test]
fn a_limit_of_nothing_ends_it_and_a_byte_a_second_is_a_packet_a_second() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::LIMIT, 0u64.to_be_bytes());
    })
    .ends(6, "limit");
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.says(message::LIMIT, 1u64.to_be_bytes());
        evil.says(message::ACCEPT, [0; 4]);
        evil.says(message::HAVE, [1]);
        assert!(evil.until(|evil| arrived(evil) == 20_000));
        evil.finishes();
    })
    .against(|victim| victim.sends(20_000))
    .completes();
}
