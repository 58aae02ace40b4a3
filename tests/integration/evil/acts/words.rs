//! What comes while the users compare words, and who reveals other words than promised.

use std::time::Duration;

use crate::evil::act::{Answer, receiver, sender};
use crate::evil::list::one_file;
use crate::evil::victim::Setup;
use crate::evil::wire::message;

fn verified(victim: &mut Setup) {
    victim.verify = true;
}

fn the_user_thinks(victim: &mut Setup) {
    victim.words = Answer::Thinks;
}

#[test]
fn words_that_are_confirmed_let_the_transfer_through() {
    sender(|evil| {
        evil.reveals();
        evil.transfers(&one_file());
    })
    .against(verified)
    .completes();
}

#[test]
fn a_nonce_that_was_not_promised_ends_it() {
    sender(|evil| {
        evil.control(&[7; 32]);
        evil.offers(&one_file());
    })
    .against(verified)
    .ends(7, "");
}

#[test]
fn a_sender_that_does_not_reveal_its_nonce_offers_nothing() {
    sender(|evil| {
        evil.offers(&one_file());
        evil.settles();
        assert!(!evil.victim.offered);
    })
    .against(verified)
    .ends(7, "");
}

#[test]
fn a_sender_that_never_reveals_its_nonce_does_not_keep_the_user_waiting() {
    sender(|evil| evil.waits(Duration::from_secs(20)))
        .against(verified)
        .ends(7, "");
}

#[test]
fn nothing_is_offered_to_a_user_who_compares_words() {
    for bare in [false, true] {
        sender(|evil| {
            if evil.nonce.is_some() {
                evil.reveals();
            }
            evil.offers(&one_file());
            evil.waits(Duration::from_secs(1));
            assert!(!evil.victim.offered && evil.heard.messages.is_empty());
        })
        .against(move |victim| (victim.bare, victim.verify) = (bare, !bare))
        .against(the_user_thinks)
        .changes_nothing();
    }
}

#[test]
fn nothing_is_offered_by_a_user_who_compares_words() {
    for bare in [false, true] {
        receiver(|evil| {
            evil.says(message::ACCEPT, [0; 4]);
            evil.waits(Duration::from_secs(1));
            assert!(evil.heard.messages.is_empty(), "{:?}", evil.heard.messages);
        })
        .against(move |victim| victim.bare = bare)
        .against(the_user_thinks)
        .against(move |victim| victim.verify = !bare)
        .changes_nothing();
    }
}

#[test]
fn other_words_end_it() {
    sender(|evil| evil.offers(&one_file()))
        .against(|victim| (victim.bare, victim.words) = (true, Answer::No))
        .ends(7, "");
}

#[test]
fn a_flood_while_the_users_compare_words_costs_no_memory() {
    sender(|evil| {
        for _ in 0..300 {
            evil.control(&vec![0; 64 << 10]);
            evil.settles();
        }
    })
    .against(|victim| victim.bare = true)
    .against(the_user_thinks)
    .within(8)
    .changes_nothing();
}
