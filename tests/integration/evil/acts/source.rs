//! What a receiver might get from a sender that nobody offered: files are swapped between the scan and the reading.

use std::fs;

use rustix::fs::symlink;

use crate::evil::act::receiver;
use crate::evil::peer::Evil;
use crate::evil::wire::message;

/// Waits until the offer is there, and puts a link to `to` in place of `src/NAME`.
fn swaps(evil: &mut Evil, name: &str, to: &str) {
    evil.awaits(message::OFFER);
    let place = evil.out.with_file_name("src").join(name);
    evil.touched.push("src".into());
    fs::rename(&place, place.with_extension("old")).expect("it was there");
    symlink(to, &place).expect("a link");
}

fn accepts_and_hears(evil: &mut Evil) -> Vec<u8> {
    evil.says(message::ACCEPT, [0; 4]);
    evil.says(message::HAVE, [1]);
    evil.settles();
    evil.heard.content.values().flatten().copied().collect()
}

#[test]
fn a_link_swapped_in_for_a_file_is_not_followed() {
    receiver(|evil| {
        swaps(evil, "a", "../outside/diary");
        assert_eq!(accepts_and_hears(evil), b"");
    })
    .ends(3, "replaced while it was being sent");
}

#[test]
fn a_link_swapped_in_for_a_directory_is_not_followed() {
    receiver(|evil| {
        swaps(evil, "d", "../outside");
        let heard = accepts_and_hears(evil);
        assert!(!heard.starts_with(b"nobody"), "{heard:?}");
    })
    .against(|victim| victim.plants("src/d/diary", b"what the user"))
    .changes_nothing();
}
