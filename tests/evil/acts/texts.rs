//! A message that is to be read, not stored.

use crate::act::sender;
use crate::list::{Entry, List};
use std::time::Duration;

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
