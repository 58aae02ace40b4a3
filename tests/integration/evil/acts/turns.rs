//! Messages out of their turn, twice, or from the wrong side.

use crate::evil::act::{Answer, receiver, sender};
use crate::evil::list::{blocks, one_file};
use crate::evil::wire::{self, message};

const OUT_OF_TURN: &str = "out of turn";

#[test]
fn the_evil_one_can_behave_as_a_sender() {
    sender(|evil| evil.transfers(&blocks(3))).within(32).completes();
}

#[test]
fn the_evil_one_can_behave_as_a_receiver() {
    receiver(|evil| evil.receives()).completes();
}

#[test]
fn a_second_offer_ends_it() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.says(message::OFFER, one_file().offer().body());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn a_second_offer_after_the_first_was_accepted_ends_it() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.is_accepted();
        evil.says(message::OFFER, one_file().offer().body());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn a_list_without_an_offer_ends_it() {
    sender(|evil| evil.lists(&one_file())).ends(6, OUT_OF_TURN);
}

#[test]
fn more_of_a_list_after_its_end_ends_it() {
    sender(move |evil| {
        evil.offers(&one_file());
        evil.says(message::MANIFEST_CHUNK, one_file().chunks().concat());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn what_belongs_to_the_content_comes_too_early_while_the_user_thinks() {
    for kind in [message::HASHES, message::STREAM_END, message::DONE] {
        sender(move |evil| {
            evil.offers(&one_file());
            let body = match kind {
                message::HASHES => [&[0; 4][..], &one_file().hashes()[0].cv].concat(),
                message::STREAM_END => vec![0; 8],
                _ => one_file().root().to_vec(),
            };
            evil.says(kind, body);
        })
        .against(|victim| victim.answer = Answer::Thinks)
        .ends(6, OUT_OF_TURN);
    }
}

#[test]
fn content_before_acceptance_goes_nowhere() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.settles();
        for _ in 0..1000 {
            evil.packet(&wire::data(0, b"what nobody agreed to"));
        }
    })
    .against(|victim| victim.answer = Answer::Thinks)
    .changes_nothing();
}

#[test]
fn content_behind_another_frame_before_acceptance_goes_nowhere_either() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.settles();
        for _ in 0..1000 {
            evil.packet(&[&[wire::PING], &wire::data(0, b"what nobody agreed to")[..]].concat());
        }
    })
    .against(|victim| victim.answer = Answer::Thinks)
    .changes_nothing();
}

#[test]
fn done_twice_ends_it() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.is_accepted();
        evil.says(message::DONE, one_file().root());
        evil.says(message::DONE, one_file().root());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn the_end_of_a_stream_that_is_a_file_ends_it() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.is_accepted();
        evil.says(message::STREAM_END, 5u64.to_be_bytes());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn a_sender_may_not_speak_as_a_receiver() {
    for kind in [
        message::ACCEPT,
        message::HAVE,
        message::NEED,
        message::VERIFIED,
        message::FINISHED,
    ] {
        sender(move |evil| {
            evil.offers(&one_file());
            evil.is_accepted();
            evil.says(kind, body_of(kind));
        })
        .ends(6, OUT_OF_TURN);
    }
}

#[test]
fn a_receiver_may_not_speak_as_a_sender() {
    for kind in [
        message::OFFER,
        message::MANIFEST_CHUNK,
        message::HASHES,
        message::STREAM_END,
        message::DONE,
    ] {
        receiver(move |evil| {
            evil.accepts();
            evil.says(kind, body_of(kind));
        })
        .ends(6, OUT_OF_TURN);
    }
}

/// A body that is right for its kind.
fn body_of(kind: u8) -> Vec<u8> {
    match kind {
        message::OFFER => one_file().offer().body(),
        message::MANIFEST_CHUNK => one_file().chunks().concat(),
        message::ACCEPT => vec![0; 4],
        message::HAVE => vec![1],
        message::NEED | message::VERIFIED | message::STREAM_END => vec![0, 0, 0, 0, 0, 0, 0, 1],
        message::HASHES => vec![0; 36],
        _ => vec![0; 32],
    }
}

#[test]
fn a_message_of_no_kind_ends_either_side() {
    for kind in [0, 17, 255] {
        sender(move |evil| evil.says(kind, [])).ends(6, "bad message type");
        receiver(move |evil| evil.says(kind, [])).ends(6, "bad message type");
    }
}

#[test]
fn a_message_longer_or_shorter_than_its_fields_ends_it() {
    for kind in [message::ACCEPT, message::VERIFIED, message::FINISHED] {
        receiver(move |evil| evil.says(kind, [&body_of(kind)[..], &[0]].concat())).ends(6, "left over");
        receiver(move |evil| evil.says(kind, &body_of(kind)[1..])).ends(6, "truncated");
    }
}

#[test]
fn accepting_twice_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.says(message::ACCEPT, [0; 4]);
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn refusing_and_then_accepting_is_refusing() {
    receiver(|evil| {
        evil.awaits(message::OFFER);
        evil.packet(&wire::close(2, b"no"));
        evil.says(message::ACCEPT, [0; 4]);
    })
    .ends(2, "refused");
}

#[test]
fn what_belongs_after_acceptance_comes_too_early() {
    for kind in [message::HAVE, message::NEED, message::VERIFIED, message::FINISHED] {
        receiver(move |evil| {
            evil.awaits(message::OFFER);
            evil.says(kind, body_of(kind));
        })
        .ends(6, OUT_OF_TURN);
    }
}

#[test]
fn having_more_after_the_last_word_on_it_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.says(message::HAVE, [1]);
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn finished_before_done_ends_it() {
    receiver(|evil| {
        evil.accepts();
        evil.says(message::FINISHED, blake3::hash(b"what the user sends").as_bytes());
    })
    .ends(6, OUT_OF_TURN);
}

#[test]
fn a_sender_that_is_refused_places_nothing() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.settles();
        evil.packet(&wire::data(0, &one_file().content()));
        evil.announces(&one_file());
        evil.says(message::DONE, one_file().root());
    })
    .against(|victim| victim.answer = Answer::No)
    .ends(2, "");
}
