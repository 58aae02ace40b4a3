//! Names that mean another place, another program or another file than they seem to.

use crate::evil::act::sender;
use crate::evil::list::{Entry, List};

/// Names of one file that the user would never agree to: the list ends it.
#[test]
fn a_name_that_is_a_path_ends_it() {
    let names: [&[u8]; 9] = [
        b"",
        b".",
        b"..",
        b"/",
        b"/etc/cron.d/evil",
        b"../outside/evil",
        b"a/../../outside/evil",
        b"a\0b",
        b"..\0",
    ];
    for name in names {
        sender(move |evil| evil.offers(&List(vec![Entry::file(name, "evil")]))).ends(6, "unsafe name");
        let inside = List(vec![Entry::dir("d"), Entry::file(name, "evil").below(0)]);
        sender(move |evil| evil.offers(&inside)).ends(6, "unsafe name");
    }
}

/// What is sent, and the name it may have.
#[test]
fn a_name_that_misleads_is_stored_as_one_that_does_not() {
    let names: [(&[u8], &str); 9] = [
        (b"..\\outside\\evil", "..\\outside\\evil"),
        (b"C:evil", "C:evil"),
        (b"CON", "CON"),
        (b"nul.txt", "nul.txt"),
        (b"evil.", "evil."),
        (b"evil ", "evil_"),
        (b"\x1b[2Jevil", "_[2Jevil"),
        (b"evil\xe2\x80\xaetxt.exe", "evil_txt.exe"),
        (b"ev\xe2\x80\x8bil", "ev_il"),
    ];
    for (name, stored) in names {
        let entry = Entry {
            stored: Some(stored),
            ..Entry::file(name, "evil")
        };
        sender(move |evil| evil.transfers(&List(vec![entry]))).completes();
    }
}

#[test]
fn a_name_of_300_bytes_is_shortened() {
    let name = [&[b'x'; 300][..], b".txt"].concat();
    let stored: &str = Box::leak(format!("{}.txt", "x".repeat(251)).into_boxed_str());
    let entry = Entry {
        stored: Some(stored),
        ..Entry::file(name, "evil")
    };
    sender(move |evil| evil.transfers(&List(vec![entry]))).completes();
}

#[test]
fn a_longest_name_has_room_for_its_staging() {
    let entry = Entry::file("y".repeat(255), "evil");
    sender(move |evil| evil.transfers(&List(vec![entry]))).completes();
}

#[test]
fn names_that_differ_by_case_alone_lose_nothing() {
    let list = List(vec![Entry::file("readme", "one"), Entry::file("README", "other")]);
    sender(move |evil| evil.transfers(&list)).completes();
}

#[test]
fn spaces_that_hide_what_a_file_is_are_rewritten() {
    for space in ['\u{a0}', '\u{2000}', '\u{2003}', '\u{200a}', '\u{2800}'] {
        let stored: &str = Box::leak(format!("invoice.pdf{}.exe", "_".repeat(5)).into_boxed_str());
        let name = format!("invoice.pdf{}.exe", String::from(space).repeat(5));
        let entry = Entry {
            stored: Some(stored),
            ..Entry::file(name, "evil")
        };
        sender(move |evil| evil.transfers(&List(vec![entry]))).completes();
    }
}

/// Hidden names, options for `tar *`, and what Explorer reads when it opens a directory.
#[test]
fn a_name_that_acts_by_itself_is_shown_behind_sixteen_others() {
    for name in [
        ".zshenv",
        "--checkpoint-action=exec=sh x",
        "desktop.ini",
        "x.lnk",
        "x.scf",
    ] {
        let mut list: Vec<Entry> = (0..16).map(|i| Entry::file(format!("{i:02}.jpg"), "x")).collect();
        list.push(Entry::file(name, "evil"));
        sender(move |evil| {
            evil.transfers(&List(list));
            let told = evil.victim.told.join("\n");
            assert!(told.contains(name), "{told}");
        })
        .completes();
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_a_name_all_the_same() {
    sender(|evil| {
        let list = List(vec![Entry::file(b"caf\xe9", "x")]);
        evil.agreed.push((os(b"caf\xe9"), Some(b"x".to_vec())));
        evil.transfers(&list);
    })
    .completes();
}

#[cfg(unix)]
fn os(name: &'static [u8]) -> std::path::PathBuf {
    <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name).into()
}
