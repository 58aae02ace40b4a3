//! A sender that lies about what it sends: hashes, ends and roots.

use p2pcopy::parts::transfer::Conflicts;

use crate::evil::act::{Answer, sender};
use crate::evil::list::{Entry, List, blocks, one_file};
use crate::evil::peer::Evil;
use crate::evil::wire::{self, message};

const NO_SUCH_BLOCK: &str = "the hash of a block that has one";

fn hashes(first: u32, count: usize) -> Vec<u8> {
    [&first.to_be_bytes()[..], &vec![7; 32 * count]].concat()
}

/// Offers `list` and waits until content may flow.
fn begins(evil: &mut Evil, list: &List) {
    evil.offers(list);
    evil.is_accepted();
}

#[test]
fn hashes_of_blocks_beyond_the_end_end_it() {
    for first in [1, 1 << 20, u32::MAX - 1] {
        sender(move |evil| {
            begins(evil, &one_file());
            evil.says(message::HASHES, hashes(first, 1));
        })
        .ends(6, NO_SUCH_BLOCK);
    }
}

#[test]
fn hashes_that_are_malformed_end_it() {
    for body in [hashes(0, 0), vec![0; 35], vec![0; 37], hashes(u32::MAX, 1)] {
        sender(move |evil| {
            begins(evil, &one_file());
            evil.says(message::HASHES, &body);
        })
        .ends(6, "bad block hashes");
    }
}

#[test]
fn a_hash_that_comes_twice_ends_it() {
    sender(|evil| {
        begins(evil, &one_file());
        evil.announces(&one_file());
        evil.announces(&one_file());
    })
    .ends(6, NO_SUCH_BLOCK);
}

#[test]
fn wrong_hashes_of_everything_end_it_and_nothing_is_placed() {
    sender(|evil| {
        begins(evil, &one_file());
        evil.says(message::HASHES, hashes(0, 1));
        for _ in 0..2 {
            evil.sends(0, &one_file().content());
            evil.settles();
        }
    })
    .ends(4, "arrived damaged twice");
}

#[test]
fn zeros_with_another_hash_are_never_placed() {
    sender(|evil| {
        begins(evil, &blocks(2));
        evil.says(message::ZEROS, hashes(0, 1));
        evil.sends(0, &blocks(2).content());
        evil.settles();
    })
    .ends(4, "arrived damaged twice");
}

/// The last block of a file is short, and nobody knows how long a stream is.
#[test]
fn zeros_that_are_no_whole_block_of_a_known_content_end_it() {
    for list in [one_file(), stream()] {
        sender(move |evil| {
            begins(evil, &list);
            evil.says(message::ZEROS, hashes(0, 1));
        })
        .ends(6, NO_SUCH_BLOCK);
    }
}

#[test]
fn a_flood_of_hashes_ends_it() {
    sender(|evil| {
        begins(evil, &one_file());
        for _ in 0..2000 {
            evil.says(message::HASHES, hashes(0, 1024));
        }
    })
    .within(64 + 8)
    .ends(6, NO_SUCH_BLOCK);
}

#[test]
fn done_with_another_root_ends_it_and_nothing_is_placed() {
    sender(|evil| {
        begins(evil, &one_file());
        evil.announces(&one_file());
        evil.sends(0, &one_file().content());
        evil.says(message::DONE, [7; 32]);
    })
    .ends(6, "not that of its blocks");
}

#[test]
fn done_before_the_content_waits_for_the_content() {
    sender(|evil| {
        begins(evil, &one_file());
        evil.says(message::DONE, one_file().root());
    })
    .changes_nothing();
}

#[test]
fn content_without_its_hash_is_never_placed() {
    sender(|evil| {
        begins(evil, &one_file());
        evil.sends(0, &one_file().content());
        evil.says(message::DONE, one_file().root());
    })
    .changes_nothing();
}

fn stream() -> List {
    List(vec![Entry::stream("s", blocks(2).content())])
}

/// What is here has the same length, and no block of what is announced.
#[test]
fn a_stream_that_an_update_compares_is_not_placed_because_it_was_announced() {
    sender(|evil| {
        begins(evil, &stream());
        evil.announces(&stream());
        evil.settles();
        evil.says(message::STREAM_END, (2u64 << 20).to_be_bytes());
        evil.says(message::DONE, stream().root());
    })
    .against(|victim| {
        victim.conflicts = Conflicts::Update;
        victim.plants("out/s", &[7; 2 << 20]);
    })
    .within(24)
    .changes_nothing();
}

#[test]
fn a_stream_that_ends_before_what_came_of_it_ends_it() {
    for end in [0u64, 1, 1 << 20] {
        sender(move |evil| {
            begins(evil, &stream());
            evil.announces(&stream());
            evil.sends(0, &stream().content());
            evil.settles();
            evil.says(message::STREAM_END, end.to_be_bytes());
        })
        .within(24)
        .ends(6, "");
    }
}

#[test]
fn a_stream_that_ends_twice_ends_it() {
    sender(|evil| {
        begins(evil, &stream());
        for _ in 0..2 {
            evil.says(message::STREAM_END, (2u64 << 20).to_be_bytes());
        }
    })
    .ends(6, "out of turn");
}

#[test]
fn a_stream_of_endless_length_ends_it() {
    for end in [1u64 << 53, 1 << 63, u64::MAX] {
        sender(move |evil| {
            begins(evil, &stream());
            evil.says(message::STREAM_END, end.to_be_bytes());
        })
        .ends(6, "out of turn");
    }
}

#[test]
fn a_stream_with_hashes_far_ahead_of_its_content_ends_it() {
    sender(|evil| {
        begins(evil, &stream());
        for i in 0..2000 {
            evil.says(message::HASHES, hashes(i * 1024, 1024));
            evil.settles();
        }
    })
    .within(32)
    .ends(6, "too much block hashes");
}

#[test]
fn content_of_a_stream_far_ahead_costs_little() {
    sender(|evil| {
        begins(evil, &stream());
        for i in 0..500u64 {
            evil.sends(i << 30, b"scattered");
            evil.settles();
        }
    })
    .within(64)
    .changes_nothing();
}

#[test]
fn a_file_that_is_said_to_be_huge_costs_no_disk_before_the_user_agrees() {
    sender(|evil| {
        let huge = Entry {
            size: 1 << 40,
            ..Entry::file("huge", "")
        };
        evil.offers(&List(vec![huge]));
    })
    .against(|victim| victim.answer = Answer::Thinks)
    .ends(5, "free and");
}

#[test]
fn content_of_a_stream_at_the_end_of_all_numbers_ends_it() {
    for offset in [1u64 << 52, 1 << 63, u64::MAX - 9] {
        sender(move |evil| {
            begins(evil, &stream());
            evil.sends(offset, b"too far");
        })
        .ends(6, "");
    }
}

#[test]
fn content_behind_the_end_of_a_stream_ends_it() {
    sender(|evil| {
        begins(evil, &stream());
        evil.says(message::STREAM_END, (1u64 << 20).to_be_bytes());
        evil.settles();
        evil.sends((1 << 20) - 3, b"across");
    })
    .ends(6, "");
}

#[test]
fn content_across_the_border_of_two_blocks_goes_into_both() {
    sender(|evil| {
        let (list, content) = (blocks(2), blocks(2).content());
        begins(evil, &list);
        evil.announces(&list);
        let pieces = content.chunks(50_000).enumerate();
        pieces.for_each(|(i, piece)| evil.packet(&wire::data(i as u64 * 50_000, piece)));
        evil.says(message::DONE, list.root());
        evil.awaits(message::FINISHED);
    })
    .completes();
}
