//! A sender that says what does not arrive.

use std::fs;
use std::ops::Range;

use crate::evil::act::sender;
use crate::evil::list::{Entry, List, one_file};
use crate::evil::peer::Evil;
use crate::evil::wire::{self, message};

const NONE_SUCH: &str = "missing entries that do not exist";

fn two_files() -> List {
    List(vec![
        Entry::file("a", "what the user agreed to"),
        Entry::file("b", "and more"),
    ])
}

fn says_missing(evil: &mut Evil, runs: &[Range<u32>]) {
    evil.says(message::MISSING, wire::runs(runs));
}

/// All content comes, and then its second file is said to be missing.
fn sends_all_but_the_second(evil: &mut Evil, list: &List) {
    evil.offers(list);
    evil.is_accepted();
    evil.announces(list);
    evil.sends(0, &list.content());
    evil.settles();
    says_missing(evil, &[1..2]);
    evil.says(message::DONE, [0; 32]);
    assert_eq!(evil.awaits(message::FINISHED), [0; 32], "there is no root");
}

#[test]
fn entries_that_do_not_exist_are_not_missed() {
    for run in [2..3, 1..3, 0..u32::MAX, u32::MAX - 1..u32::MAX] {
        sender(move |evil| {
            evil.offers(&two_files());
            evil.is_accepted();
            says_missing(evil, &[run]);
        })
        .ends(6, NONE_SUCH);
    }
}

#[test]
fn an_entry_is_missed_once() {
    sender(|evil| {
        evil.offers(&two_files());
        evil.is_accepted();
        says_missing(evil, &[0..1]);
        says_missing(evil, &[0..1]);
    })
    .ends(6, NONE_SUCH);
}

#[test]
fn all_that_there_is_cannot_be_missing() {
    for (list, run) in [(one_file(), 0..1), (two_files(), 0..2)] {
        sender(move |evil| {
            evil.offers(&list);
            evil.is_accepted();
            says_missing(evil, &[run]);
        })
        .ends(6, NONE_SUCH);
    }
}

#[test]
fn a_hard_link_is_missing_with_its_file_and_not_alone() {
    let linked = || {
        let mut list = two_files();
        list.0.push(Entry::hard_link("l", 1));
        list
    };
    sender(move |evil| {
        evil.offers(&linked());
        evil.is_accepted();
        says_missing(evil, &[2..3]);
    })
    .ends(6, NONE_SUCH);
    sender(move |evil| {
        let list = linked();
        sends_all_but_the_second(evil, &list);
        for (name, is_there) in [("a", true), ("b", false), ("l", false)] {
            assert_eq!(fs::exists(evil.out.join(name)).unwrap(), is_there, "{name}");
        }
    })
    .ends_or_completes();
}

#[test]
fn nothing_is_missing_before_it_was_accepted() {
    sender(|evil| {
        evil.offers(&two_files());
        says_missing(evil, &[0..1]);
    })
    .ends(6, "missing entries out of turn");
}

#[test]
fn what_is_said_to_be_missing_gets_no_name_and_harms_nothing_else() {
    sender(|evil| {
        let list = two_files();
        sends_all_but_the_second(evil, &list);
        assert!(fs::exists(evil.out.join("a")).unwrap() && !fs::exists(evil.out.join("b")).unwrap());
    })
    .ends_or_completes();
}

#[test]
fn zeros_in_place_of_what_is_missing_do_not_pass_for_it() {
    sender(|evil| {
        let list = two_files();
        let mut zeros = list.clone();
        zeros.0[1].content.fill(0);
        evil.offers(&list);
        evil.is_accepted();
        // First the hash of all of it, then of what is left.
        evil.announces(&list);
        says_missing(evil, &[1..2]);
        evil.announces(&zeros);
        evil.sends(0, &zeros.content());
        evil.says(message::DONE, [0; 32]);
        evil.awaits(message::FINISHED);
        assert!(fs::exists(evil.out.join("a")).unwrap() && !fs::exists(evil.out.join("b")).unwrap());
    })
    .ends_or_completes();
}

#[test]
fn hashes_again_and_again_of_what_may_differ_never_place_what_does_not_match() {
    sender(|evil| {
        evil.offers(&two_files());
        evil.is_accepted();
        says_missing(evil, &[1..2]);
        for n in 0..20 {
            evil.says(message::HASHES, [&[0; 4][..], &[n; 32]].concat());
            evil.sends(0, &two_files().content());
            evil.settles();
        }
    })
    .ends(4, "arrived damaged twice");
}
