//! An offer, as it is shown and answered.

use super::*;
use crate::app::event::Consent;
use crate::app::offered::{DefaultAnswer, Listing, Offered};
use crate::transfer::manifest::{Entry, Kind as What, ManifestBuilder, Trust};
use crate::transfer::offer::Offer;
use crate::transfer::place::Conflicts;
use crate::transfer::staging::Prospect;

/// An offer of these names and targets: a directory ends in `/`, a link has a target, a file is executable and 1.5 kB.
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
            room: crate::transfer::layer::Room {
                bytes: Some(9_000_000),
                nodes: None,
                block: 4096,
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

/// What the user says to an offer of `entries` with these lines, and what is shown.
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
    console.event(Event::Warning(evil.into()));
    console.event(Event::Connected(link(evil)));
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
