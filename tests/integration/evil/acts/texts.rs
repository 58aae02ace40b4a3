//! A message that is to be read, not stored.

use std::time::Duration;

use crate::evil::act::{Answer, sender};
use crate::evil::list::{Entry, List};
use crate::evil::wire::{self, message};

#[test]
fn a_message_leaves_nothing_on_the_disk() {
    sender(|evil| {
        evil.transfers(&List(vec![Entry::text("hello")]));
        evil.agreed.clear();
        assert!(evil.victim.told.iter().any(|line| line == "hello"));
    })
    .completes();
}

#[test]
fn a_message_of_more_than_a_mebibyte_is_refused() {
    for size in [(1 << 20) + 1, 1 << 30, 1 << 50] {
        let text = Entry {
            size,
            ..Entry::text("")
        };
        sender(move |evil| {
            evil.offers(&List(vec![text]));
            evil.waits(Duration::from_secs(1));
            assert!(evil.heard.close.is_some(), "{size} bytes are accepted");
        })
        .ends(6, "");
    }
}

#[test]
fn a_message_is_shown_only_when_all_of_it_is_verified() {
    sender(|evil| {
        let text = List(vec![Entry::text("hello")]);
        evil.offers(&text);
        evil.is_accepted();
        evil.announces(&text);
        evil.sends(0, b"hello");
        evil.says(message::DONE, [7; 32]);
        evil.waits(Duration::from_secs(1));
        assert!(!evil.victim.told.iter().any(|line| line.contains("hello")));
    })
    .ends(6, "that is not that of its blocks");
}

#[test]
fn nothing_of_a_message_is_shown_before_the_user_agrees_or_after_a_no() {
    for answer in [Answer::Thinks, Answer::No] {
        let act = sender(|evil| {
            let text = List(vec![Entry::text("hello")]);
            evil.offers(&text);
            evil.packet(&wire::data(0, b"hello"));
            evil.waits(Duration::from_secs(1));
            assert!(evil.victim.offered, "the user is asked");
            assert!(!evil.victim.told.iter().any(|line| line.contains("hello")));
        })
        .against(move |victim| victim.answer = answer);
        match answer {
            Answer::No => act.ends(2, ""),
            _ => act.changes_nothing(),
        }
    }
}
