//! Packets that break the layout, and frames with numbers nobody sends.

use std::time::Duration;

use crate::evil::act::{receiver, sender};
use crate::evil::list::{blocks, one_file};
use crate::evil::wire::{self, message};

const BROKE: &str = "broke the protocol";

#[test]
fn a_frame_that_breaks_its_layout_ends_it() {
    let long_reason = [b'x'; 513];
    let broken: Vec<Vec<u8>> = vec![
        vec![8],
        vec![255],
        vec![0, 1],
        vec![2],
        vec![2; 20],
        vec![4, 0, 0],
        wire::control(u64::MAX, b"x"),
        vec![5, 1],
        vec![6; 8],
        vec![7, 0],
        wire::close(0, &long_reason),
    ];
    for frame in broken {
        sender(move |evil| evil.packet(&frame)).breaks_off(BROKE);
    }
}

#[test]
fn a_frame_that_costs_more_than_its_bytes_comes_once_in_a_packet() {
    for (frame, name) in [
        (
            wire::ack(&[0..1], 0, 1024),
            "broke the protocol (malformed ACK frame)",
        ),
        (
            wire::challenge(1),
            "broke the protocol (malformed PATH_CHALLENGE frame)",
        ),
        (
            wire::response(1),
            "broke the protocol (malformed PATH_RESPONSE frame)",
        ),
    ] {
        let twice = [&frame[..], &[wire::PING], &frame].concat();
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            evil.packet(&twice);
        })
        .breaks_off(name);
    }
}

#[test]
fn an_ack_that_makes_no_sense_ends_it() {
    let empty = [&[2; 1][..], &[0; 16], &[0, 0, 0]].concat();
    let below_zero = [&[2][..], &[0; 16], &[2, 0, 0]].concat();
    let no_gap = [&[2][..], &9u64.to_be_bytes(), &[0; 8], &[1, 0, 1, 0, 1]].concat();
    for frame in [empty, below_zero, no_gap] {
        receiver(move |evil| evil.packet(&frame)).breaks_off("broke the protocol (malformed ACK frame)");
    }
}

#[test]
fn acknowledging_what_was_never_sent_ends_it() {
    for number in [1000, u64::MAX - 1] {
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            evil.packet(&wire::ack(&[number..number + 1], 0, 1024));
        })
        .breaks_off("never sent");
    }
}

#[test]
fn acknowledging_a_number_that_was_skipped_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.awaits(message::DONE);
        let gap = evil.heard.numbers.windows(2).map(|pair| pair[0].end).next();
        let skipped = gap.expect("some number is skipped");
        evil.packet(&wire::ack(&[0..skipped + 1], 0, 1024));
    })
    .against(|victim| victim.sends(8 << 20))
    .within(64)
    .breaks_off("skipped");
}

#[test]
fn marks_that_a_receiver_makes_up_slow_nobody_but_itself() {
    for marks in [[(1 << 62) - 1; 2], [0, (1 << 62) - 1], [1, 1]] {
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            for _ in 0..100 {
                let numbers = evil.heard.numbers.clone();
                evil.packet(&wire::ack_of_marks(&numbers, 0, 1024, marks));
                evil.settles();
            }
            evil.says(message::ACCEPT, [0; 4]);
            evil.says(message::HAVE, [1]);
            evil.finishes();
        })
        .completes();
    }
}

#[test]
fn an_acknowledgement_that_waited_for_an_hour_does_no_harm() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        for _ in 0..100 {
            let numbers = evil.heard.numbers.clone();
            evil.packet(&wire::ack(&numbers, u32::MAX, 1024));
            evil.settles();
        }
        evil.says(message::ACCEPT, [0; 4]);
        evil.says(message::HAVE, [1]);
        evil.finishes();
    })
    .completes();
}

#[test]
fn an_absurd_flow_limit_makes_a_sender_hold_no_more() {
    receiver(|evil| {
        (evil.flow_limit_kib, evil.heard.forgets_content) = (u32::MAX, true);
        evil.accepts();
        let root = evil.awaits(message::DONE);
        evil.says(message::FINISHED, root);
    })
    .against(|victim| victim.sends(100 << 20))
    .within(80)
    .completes();
}

#[test]
fn a_flow_limit_of_zero_makes_a_sender_wait_with_little_in_hand() {
    receiver(|evil| {
        evil.flow_limit_kib = 0;
        evil.accepts();
        evil.waits(Duration::from_secs(60));
        assert!(evil.heard.content.is_empty(), "nothing was granted");
    })
    .against(|victim| victim.sends(64 << 20))
    .within(48)
    .changes_nothing();
}

#[test]
fn control_bytes_far_ahead_are_dropped() {
    for offset in [1 << 20, 1 << 40, 1 << 63] {
        sender(move |evil| {
            evil.packet(&wire::control(offset, b"far ahead"));
            evil.settles();
            evil.transfers(&one_file());
        })
        .completes();
    }
}

#[test]
fn control_bytes_that_come_again_with_another_text_change_nothing() {
    sender(|evil| {
        let offer = wire::message(message::OFFER, &one_file().offer().body());
        evil.offers(&one_file());
        assert!(evil.until(|evil| evil.victim.offered), "the user is asked");
        evil.packet(&wire::control(0, &vec![0xff; offer.len()]));
        evil.is_accepted();
        evil.goes_through(&one_file());
    })
    .completes();
}

#[test]
fn control_bytes_in_splinters_cost_little_time_and_memory() {
    sender(|evil| {
        // Every second byte of the window, out of order, so that no two ranges join.
        let places: Vec<u64> = (0..1 << 19).map(|i| (i * 104_729 % (1 << 19)) * 2 + 1).collect();
        for some in places.chunks(90) {
            let frames: Vec<u8> = some.iter().flat_map(|&at| wire::control(at, b"x")).collect();
            evil.packet(&frames);
        }
    })
    .within(48)
    .changes_nothing();
}

#[test]
fn empty_control_frames_change_nothing() {
    sender(|evil| {
        for offset in [0, 5, 1 << 63] {
            evil.packet(&wire::control(offset, b""));
        }
        evil.transfers(&one_file());
    })
    .completes();
}

#[test]
fn content_of_no_bytes_or_beyond_all_numbers_ends_it() {
    for frame in [wire::data(0, b""), wire::data(u64::MAX, b"x"), vec![3; 8]] {
        sender(move |evil| {
            evil.offers(&one_file());
            evil.is_accepted();
            evil.packet(&frame);
        })
        .breaks_off("broke the protocol (malformed DATA frame)");
    }
}

#[test]
fn content_beyond_the_end_ends_it() {
    let len = one_file().content().len() as u64;
    for offset in [len - 1, len, 1 << 20, 1 << 52, 1 << 63, u64::MAX - 2] {
        sender(move |evil| {
            evil.offers(&one_file());
            evil.is_accepted();
            evil.sends(offset, b"xx");
        })
        .ends(6, "content beyond the end");
    }
}

#[test]
fn a_receiver_that_sends_content_is_not_heard() {
    receiver(|evil| {
        evil.accepts();
        for offset in [0, 1 << 30, 1 << 63] {
            evil.packet(&wire::data(offset, &[7; 1000]));
        }
        evil.finishes();
    })
    .completes();
}

#[test]
fn content_that_contradicts_itself_is_asked_for_again() {
    sender(|evil| {
        let list = one_file();
        evil.offers(&list);
        evil.is_accepted();
        evil.announces(&list);
        evil.sends(0, &vec![0xff; list.content().len()]);
        evil.awaits(message::NEED);
        evil.sends(0, &list.content());
        evil.says(message::DONE, list.root());
        evil.awaits(message::FINISHED);
    })
    .completes();
}

#[test]
fn content_that_comes_again_with_other_bytes_is_not_believed() {
    sender(|evil| {
        let list = blocks(1);
        evil.offers(&list);
        evil.is_accepted();
        evil.announces(&list);
        let (first, rest) = (1000, list.content());
        evil.sends(0, &rest[..first]);
        evil.sends(0, &vec![0xff; first]);
        evil.sends(500, &vec![0xee; first]);
        evil.sends(first as u64, &rest[first..]);
        evil.settles();
        while evil.heard.messages.iter().any(|(kind, _)| *kind == message::NEED) {
            evil.awaits(message::NEED);
            evil.sends(0, &rest);
            evil.settles();
        }
        evil.says(message::DONE, list.root());
        evil.awaits(message::FINISHED);
    })
    .completes();
}

#[test]
fn every_datagram_three_times_is_every_datagram_once() {
    sender(|evil| {
        let list = blocks(1);
        evil.offers(&list);
        evil.is_accepted();
        evil.announces(&list);
        evil.sends(0, &list.content());
        for _ in 0..2 {
            for datagram in evil.on_the_way() {
                evil.datagram(datagram);
            }
        }
        evil.says(message::DONE, list.root());
        evil.awaits(message::FINISHED);
    })
    .completes();
}
