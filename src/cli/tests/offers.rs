//! Tests of how an offer is shown and answered.

use super::*;
use crate::app::event::Consent;
use crate::app::offered::{DefaultAnswer, Listing, Offered};
use crate::transfer::manifest::offer::Offer;
use crate::transfer::manifest::{Entry, Kind as What, ManifestBuilder, Trust};
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::{Prospect, TakenName};

/// An offer with these names and targets. A name that ends in `/` is a directory, one with a target is a
/// link, and a file is executable and has 1.5 kB.
pub(super) fn offered(entries: &[(&str, &str)]) -> Offered {
    let mut builder = ManifestBuilder::new(Trust::Peer);
    for (name, target) in entries {
        let kind = match (name.strip_suffix('/'), *target) {
            (Some(_), _) => What::Dir,
            (None, "") => What::File,
            (None, _) => What::Symlink,
        };
        let entry = Entry {
            kind,
            parent: None,
            name: name.trim_end_matches('/').as_bytes(),
            size: if kind == What::File { 1500 } else { 0 },
            mtime: 0,
            mode: 0o755,
            target: target.as_bytes(),
        };
        builder.add(entry).unwrap();
    }
    let list = builder.finish().unwrap().without_outside_links();
    Offered {
        offer: Offer::of(&list).unwrap(),
        list: Listing(list.into()),
        prospect: Prospect {
            room: crate::transfer::fs::layer::Room {
                bytes: Some(9_000_000),
                nodes: None,
                block: 4096,
                largest: None,
            },
            resumable: true,
            ..Prospect::default()
        },
        conflicts: Conflicts::Rename,
        root: Some("out".into()),
        held: None,
    }
}

pub(super) fn consent(what: &str) -> Consent {
    Consent {
        what: what.into(),
        default: DefaultAnswer::Yes,
        list: None,
    }
}

/// The user's answer to an offer of `entries` when these lines are typed, and the text that was shown.
async fn answered(entries: &[(&str, &str)], input: &'static str) -> (Result<Answer, Cancelled>, String) {
    let offered = offered(entries);
    let (mut console, kept) = console(Kind::Plain, Detail::Normal, input);
    let question = Question::Accept(Consent {
        default: offered.default_answer(),
        list: Some(offered.list.clone()),
        ..consent("it")
    });
    let answer = console.ask(question).await;
    (answer, kept.text())
}

#[test]
fn a_directory_and_a_file_of_its_name_are_not_said_to_replace_each_other() {
    let mut offered = offered(&[("photos/", ""), ("notes", ""), ("vm.img", "")]);
    let tops = offered.offer.top.iter();
    offered.prospect.taken = tops
        .map(|top| TakenName {
            name: top.name.clone(),
            is_other_kind: top.name.as_bytes() != b"vm.img",
        })
        .collect();
    for (conflicts, others) in [
        (Conflicts::Rename, 3),
        (Conflicts::Overwrite, 2),
        (Conflicts::Update, 2),
    ] {
        offered.conflicts = conflicts;
        let lines = offered.lines();
        let told = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!(told("gets another name"), others, "{lines:?}");
        assert_eq!(told("it is replaced"), 3 - others, "{lines:?}");
    }
}

#[tokio::test]
async fn enter_does_not_accept_hidden_names() {
    let hidden = [("a.jpg", ""), (".zshenv", "")];
    assert_eq!(answered(&hidden, "\n").await.0, Ok(Answer::No));
    assert_eq!(answered(&hidden, "y\n").await.0, Ok(Answer::Yes));
    assert_eq!(answered(&hidden[..1], "\n").await.0, Ok(Answer::Yes));
}

#[tokio::test]
async fn the_whole_list_is_shown_to_whoever_asks_for_it() {
    let names: Vec<String> = (0..50).map(|i| format!("name-{i:02}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let (answer, text) = answered(&entries, "l\nn\n").await;
    assert_eq!(answer, Ok(Answer::No));
    let shown = text.lines().filter(|line| line.starts_with("  name-")).count();
    assert_eq!(shown, names.len(), "{text}");
}

/// A comparison tells a peer what lies here.
#[test]
fn what_an_earlier_transfer_left_is_compared_only_after_a_yes_that_says_so() {
    let asked = |held, other: Option<&str>, conflicts| {
        let mut offered = offered(&[("vm.img", "")]);
        offered.held = held;
        offered.prospect.other = other.map(|dir| (dir.into(), 3));
        offered.conflicts = conflicts;
        lines::question(&offered.question())
    };
    assert_eq!(
        asked(None, None, Conflicts::Rename),
        "Accept vm.img, 1.5 kB? [Y/n] "
    );
    assert_eq!(
        asked(Some(750), None, Conflicts::Rename),
        "Resume vm.img at 50%? [Y/n] "
    );
    for conflicts in [Conflicts::Rename, Conflicts::Overwrite] {
        assert_eq!(
            asked(None, Some("vm.img.part"), conflicts),
            "Resume vm.img, 1.5 kB, comparing it with other files of these names (the sender learns what is equal)? [Y/n] "
        );
    }
    // After that, only the final names are compared.
    assert_eq!(
        asked(None, Some("vm.img.part"), Conflicts::Update),
        "Accept vm.img, 1.5 kB? [Y/n] "
    );
}

#[test]
fn every_hidden_name_is_shown_and_the_others_up_to_a_number() {
    let names: Vec<String> = (0..40)
        .flat_map(|i| [format!("n{i}/"), format!(".h{i}/")])
        .collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let lines = offered(&entries).lines();
    let shown = |start| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((shown("  .h"), shown("  n")), (40, 16), "{lines:#?}");
    assert!(
        lines.contains(&"  and 24 more at the top".to_owned()),
        "{lines:#?}"
    );
}

#[test]
fn nothing_of_the_peers_acts_on_the_terminal() {
    let evil = "x\x1b]52;c;ZXZpbA==\x07\r\n\u{202e}\u{9b}2J";
    let (mut console, kept) = console(Kind::Mono, Detail::Verbose, "y\n");
    console.event(Event::Offer(Box::new(offered(&[
        (evil, ""),
        ("link", evil),
        ("other", &format!("../{evil}")),
    ]))));
    console.event(Event::Warning(Warning::Unfit { why: evil.into() }));
    console.event(Event::Finished(Summary {
        paths: vec![evil.into()],
        ..Summary::default()
    }));
    drop(console.ask(Question::Accept(consent(evil))));
    console.failed(&Failure::Verification { cause: evil.into() });
    let text = kept.text().replace("\r\x1b[K", "");
    assert!(
        !text
            .chars()
            .any(|c| c != '\n' && crate::cli::printable::is_active(c)),
        "{text:?}"
    );
}

proptest::proptest! {
    /// For any offer: the entries that are shown and those that are only counted are all entries; the whole
    /// list names each entry once; every hidden name at the top is shown.
    #[test]
    fn what_can_appear_is_what_the_user_can_see_or_expand(
        entries in proptest::collection::vec(("[.a-c-]{1,4}(\\.lnk)?", 0usize..40, 0u8..3), 1..60)
    ) {
        let mut builder = ManifestBuilder::new(Trust::Peer);
        let (mut dirs, mut taken) = (Vec::new(), std::collections::HashSet::new());
        for (name, parent, what) in &entries {
            let parent = match dirs.len() {
                0 => None,
                count => dirs.get(parent % (count + 1)).copied(),
            };
            if matches!(name.as_str(), "." | "..") || !taken.insert((parent, name)) {
                continue;
            }
            let kind = if *what == 0 { What::Dir } else { What::File };
            let entry = Entry {
                kind,
                parent,
                name: name.as_bytes(),
                size: 0,
                mtime: 0,
                mode: if *what == 1 { 0o755 } else { 0o644 },
                target: b"",
            };
            match builder.add(entry) {
                Ok(index) if kind == What::Dir => dirs.push(index),
                _ => {}
            }
        }
        let Ok(list) = builder.finish() else { return Ok(()) };
        let offer = Offer::of(&list).unwrap();
        let (mut top, mut hidden) = (0, 0);
        let mut paths = Vec::new();
        for (index, entry) in list.iter() {
            if entry.parent.is_none() {
                top += 1;
                hidden += u32::from(crate::transfer::names::is_hidden(entry.name));
            }
            paths.push(format!("  {}", list.path(index).display()));
        }
        proptest::prop_assert_eq!(offer.top.len() as u32 + offer.unlisted(), top);
        proptest::prop_assert_eq!(offer.hidden().count() as u32, hidden);
        proptest::prop_assert_eq!(offer.entries as usize, paths.len());
        let listing = Listing(list.into());
        let listed: Vec<String> = listing.lines().collect();
        for (path, line) in paths.iter().zip(&listed) {
            proptest::prop_assert!(line.starts_with(path.as_str()), "{} {}", path, line);
        }
        proptest::prop_assert_eq!(listed.len(), paths.len());
    }
}

#[test]
fn a_message_cannot_look_like_a_line_of_ours() {
    let lines: Vec<String> =
        lines::quoted("hello\nerror: the disk is full\r\nnext: run rm\u{1b}[2K", None).collect();
    assert_eq!(
        lines,
        ["> hello", "> error: the disk is full", "> next: run rm\\u{1b}[2K"]
    );
    let long = format!("hello {}", "error: the disk is full ".repeat(500));
    let lines = lines::quoted(&long, Some(40)).collect::<Vec<_>>().join("\n");
    assert!(lines.lines().all(|row| row.starts_with("> ") && row.len() <= 40));
    assert_eq!(lines.replace("\n> ", " "), format!("> {long}"));
}
