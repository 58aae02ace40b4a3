//! Another user of the receiver's machine, where both may write into the output directory. What he may do there with
//! names and modes is what the act does itself; whose a directory is cannot be played without root, and is tested on
//! the disk in memory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::disk::{brings_half, half};
use crate::evil::act::sender;
use crate::evil::peer::Evil;
use crate::evil::victim::Setup;
use crate::evil::wire::{self, message};

/// What the neighbour has in the place of the first block.
fn other_bytes() -> Vec<u8> {
    vec![b'n'; 2 << 20]
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("below a directory")).expect("a place");
    fs::write(path, bytes).expect("room");
}

/// Offers what was brought by half, and gives what the victim says to have of it.
fn offers_it_again(evil: &mut Evil) -> Vec<u8> {
    evil.offers(&half());
    evil.awaits(message::ACCEPT);
    evil.awaits(message::HAVE)
}

fn all_it_has() -> Vec<u8> {
    [&[1], &wire::runs(&[0..1])[..]].concat()
}

#[test]
fn staging_that_others_may_write_is_not_gone_on_with() {
    for mode in [0o777, 0o720, 0o702, 0o710] {
        sender(|evil| {
            assert_eq!(offers_it_again(evil), [1], "nothing of it is believed");
            evil.goes_through(&half());
        })
        .against(move |victim| {
            victim.met_before(brings_half);
            fs::set_permissions(victim.at("out/a.part"), PermissionsExt::from_mode(mode)).expect("ours");
        })
        .completes();
    }
}

#[test]
fn a_copy_of_our_staging_is_not_gone_on_with() {
    sender(|evil| {
        assert_eq!(offers_it_again(evil), [1], "nothing of it is believed");
        evil.goes_through(&half());
    })
    .against(|victim| {
        victim.met_before(brings_half);
        let ours = victim.at("out/a.part");
        let journal = fs::read(ours.join("journal")).expect("ours");
        fs::rename(&ours, victim.at("outside/a.part")).expect("both are there");
        put(&ours.join("journal"), &journal);
        put(&ours.join("data/a"), &other_bytes());
        for path in [&ours, &ours.join("data")] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("his");
        }
    })
    .completes();
}

#[test]
fn kept_data_that_was_swapped_is_read_again_and_sent_anew() {
    sender(|evil| {
        evil.touched.push("out/a.part".into());
        assert_eq!(offers_it_again(evil), all_it_has());
        evil.announces(&half());
        evil.sends(1 << 20, &half().content()[1 << 20..]);
        assert_eq!(evil.awaits(message::NEED), wire::runs(&[0..1]));
        evil.sends(0, &half().content()[..1 << 20]);
        evil.says(message::DONE, half().root());
        evil.awaits(message::FINISHED);
    })
    .against(|victim| {
        victim.met_before(brings_half);
        put(&victim.at("out/a.part/data/a"), &other_bytes());
    })
    .completes();
}

fn swaps_in_a_link(victim: &Setup, name: &str, to: &str) {
    victim.met_before(brings_half);
    victim.plants("outside/a", &other_bytes());
    let place = victim.at("out/a.part").join(name);
    fs::rename(&place, place.with_extension("aside")).expect("it is there");
    symlink(to, &place).expect("a link");
}

#[test]
fn a_link_in_the_place_of_kept_data_is_not_written_through() {
    for (name, to) in [("data", "../../outside"), ("data/a", "../../../outside/a")] {
        sender(|evil| {
            evil.touched.push("out/a.part".into());
            evil.offers(&half());
            evil.waits(Duration::from_secs(1));
            if evil.heard.close.is_none() {
                evil.announces(&half());
                // What is read again is asked for anew.
                for _ in 0..2 {
                    evil.sends(0, &half().content());
                    evil.waits(Duration::from_secs(1));
                }
                evil.says(message::DONE, half().root());
            }
        })
        .against(move |victim| swaps_in_a_link(victim, name, to))
        .ends_or_completes();
    }
}

/// In mid-transfer he moves our directory away and puts one of his in its place: nothing of his gets the final name,
/// and nothing in his is changed.
#[test]
fn a_directory_put_in_the_place_of_ours_gets_nothing_and_loses_nothing() {
    sender(|evil| {
        brings_half(evil);
        let (ours, aside) = (evil.out.join("a.part"), evil.out.join("aside"));
        evil.touched.push("out/aside".into());
        fs::rename(&ours, &aside).expect("both are there");
        for name in ["journal", "data/a", "diary"] {
            put(&ours.join(name), &other_bytes());
        }
        evil.sends(1 << 20, &half().content()[1 << 20..]);
        evil.says(message::DONE, half().root());
        evil.awaits(message::FINISHED);
        evil.settles();
        for name in ["journal", "data/a", "diary"] {
            let found = fs::read(ours.join(name));
            assert!(
                found.is_ok_and(|found| found == other_bytes()),
                "{name} of his is gone"
            );
        }
    })
    .completes();
}
