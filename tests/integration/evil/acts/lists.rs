//! Offers and lists with a field that lies or is out of its range.

use crate::evil::act::{Answer, sender};
use crate::evil::list::{Entry, List, Offer, one_file};
use crate::evil::peer::Evil;
use crate::evil::wire::message;

fn files(count: usize) -> List {
    List((0..count).map(|i| Entry::file(format!("f{i:02}"), "x")).collect())
}

/// Offers `list` under an offer that `lies` has changed.
fn offers_falsely(evil: &mut Evil, list: &List, lies: impl Fn(&mut Offer)) {
    let mut offer = list.offer();
    lies(&mut offer);
    evil.agrees(list);
    evil.says(message::OFFER, offer.body());
    evil.lists(list);
}

#[test]
fn an_offer_with_a_number_out_of_range_ends_it() {
    let lies: [fn(&mut Offer); 9] = [
        |o| o.entries = 0,
        |o| o.entries = 2_000_001,
        |o| o.entries = u32::MAX,
        |o| o.bytes = (1 << 52) + 1,
        |o| o.bytes = u64::MAX,
        |o| o.list_bytes = u64::MAX,
        |o| o.stream = 2,
        |o| o.list_bytes = 0,
        |o| o.holes = o.bytes + 1,
    ];
    for lie in lies {
        sender(move |evil| offers_falsely(evil, &one_file(), lie)).ends(6, "");
    }
}

#[test]
fn an_offer_that_its_list_does_not_keep_ends_it_and_nobody_was_asked() {
    type Lie = (fn(&mut Offer), &'static str);
    let lies: [Lie; 8] = [
        (|o| o.entries += 1, "another number of entries"),
        (|o| o.entries -= 1, "another number of entries"),
        (|o| o.bytes += 1, "another size"),
        (|o| o.bytes -= 1, "another size"),
        (|o| o.list_bytes -= 1, "longer than it announced"),
        (|o| o.list_hash[0] ^= 1, "not the one it announced"),
        (|o| (o.stream, o.bytes) = (1, 0), "another kind"),
        (|o| o.stream = 1, "bad offer"),
    ];
    for (lie, text) in lies {
        sender(move |evil| {
            offers_falsely(evil, &files(3), lie);
            evil.settles();
            assert!(
                !evil.victim.offered,
                "nothing is asked about a list that is a lie"
            );
        })
        .ends(6, text);
    }
}

#[test]
fn a_list_that_never_ends_is_never_asked_about() {
    sender(|evil| {
        offers_falsely(evil, &files(3), |offer| offer.list_bytes += 1);
        evil.settles();
        assert!(!evil.victim.offered);
    })
    .changes_nothing();
}

#[test]
fn what_a_directory_holds_is_counted_by_the_receiver() {
    sender(|evil| {
        let list = vec![Entry::dir("d"), Entry::file("big", "x".repeat(5000)).below(0)];
        evil.transfers(&List(list));
        let told = evil.victim.told.join("\n");
        assert!(told.contains("d/, 5.0 kB"), "{told}");
    })
    .completes();
}

#[test]
fn an_entry_that_makes_no_sense_ends_it() {
    let evil_entries = [
        Entry {
            kind: 6,
            ..Entry::file("b", "")
        },
        Entry {
            kind: 255,
            ..Entry::file("b", "")
        },
        Entry {
            mode: 0o4755,
            ..Entry::file("b", "")
        },
        Entry {
            mode: 0o1777,
            ..Entry::dir("b")
        },
        Entry {
            mode: u16::MAX,
            ..Entry::file("b", "")
        },
        Entry {
            size: u64::MAX,
            ..Entry::file("b", "")
        },
        Entry {
            size: 1 << 52,
            ..Entry::file("b", "")
        },
        Entry {
            size: 1,
            ..Entry::dir("b")
        },
        Entry {
            size: 1,
            ..Entry::link("b", "a")
        },
        Entry {
            target: b"a".to_vec(),
            ..Entry::file("b", "")
        },
        Entry {
            target: b"a".to_vec(),
            ..Entry::dir("b")
        },
        Entry::link("b", ""),
        Entry::link("b", "a\0b"),
        Entry::link("b", vec![b'x'; 60_000]),
        Entry::text("beside a file"),
        Entry::stream("beside a file", ""),
    ];
    for entry in evil_entries {
        let list = List(vec![Entry::file("a", "x"), entry]);
        sender(move |evil| evil.offers(&list)).ends(6, "");
    }
}

#[test]
fn a_parent_that_is_no_directory_before_its_child_ends_it() {
    let a = || Entry::file("a", "x");
    let lists = [
        // A file, itself, one to come, none at all.
        vec![a(), a().below(0)],
        vec![a(), Entry::dir("b").below(1)],
        vec![a(), Entry::file("b", "x").below(2), Entry::dir("c")],
        vec![a(), Entry::file("b", "x").below(u32::MAX - 1)],
        // A link, whatever it points to.
        vec![
            Entry::link("l", "../outside"),
            Entry::file("diary", "mine").below(0),
        ],
    ];
    for list in lists {
        sender(move |evil| evil.offers(&List(list))).ends(6, "bad parent of an entry");
    }
}

#[test]
fn a_hard_link_to_anything_but_a_file_before_it_ends_it() {
    let lists = [
        // Itself, one to come, none at all, numbers that no list has.
        vec![Entry::hard_link("l", 0), Entry::file("a", "x")],
        vec![Entry::hard_link("l", 1), Entry::file("a", "x")],
        vec![Entry::file("a", "x"), Entry::hard_link("l", 2)],
        vec![Entry::file("a", "x"), Entry::hard_link("l", u64::from(u32::MAX))],
        vec![Entry::file("a", "x"), Entry::hard_link("l", 1 << 32)],
        // A directory, a symbolic link, another hard link.
        vec![Entry::dir("d"), Entry::hard_link("l", 0)],
        vec![Entry::link("s", "../outside"), Entry::hard_link("l", 0)],
        vec![
            Entry::file("a", "x"),
            Entry::hard_link("k", 0),
            Entry::hard_link("l", 1),
        ],
        // Other permissions or another time than its file's; somewhere to point to.
        vec![
            Entry::file("a", "x"),
            Entry {
                mode: 0o700,
                ..Entry::hard_link("l", 0)
            },
        ],
        vec![
            Entry::file("a", "x"),
            Entry {
                mtime: 0,
                ..Entry::hard_link("l", 0)
            },
        ],
        vec![
            Entry::file("a", "x"),
            Entry {
                target: b"../outside".to_vec(),
                ..Entry::hard_link("l", 0)
            },
        ],
    ];
    for list in lists {
        sender(move |evil| evil.offers(&List(list))).ends(6, "");
    }
}

#[test]
fn a_hard_link_has_no_content_of_its_own() {
    sender(|evil| {
        let list = List(vec![
            Entry::file("a", "what the user agreed to"),
            Entry::hard_link("l", 0),
        ]);
        evil.offers(&list);
        evil.is_accepted();
        evil.announces(&list);
        // What would be the link's lies beyond the end of all content.
        evil.sends(list.content().len() as u64, b"other content");
    })
    .ends(6, "");
}

#[test]
fn attributes_that_no_user_gives_end_it() {
    let of = |name: &str, len: usize| {
        let value = vec![b'x'; len];
        let lens = [
            &[name.len() as u8][..],
            name.as_bytes(),
            &(len as u16).to_be_bytes(),
        ];
        [lens.concat(), value].concat()
    };
    let attributes = [
        of("security.capability", 20),
        of("trusted.overlay.redirect", 20),
        of("system.posix_acl_access", 3),
        of("user.", 3),
        [of("user.a", 1), of("user.a", 1)].concat(),
        of("user.large", 20_000),
        of("user.cut", 9)[..12].to_vec(),
    ];
    for target in attributes {
        let list = List(vec![Entry {
            target,
            ..Entry::file("a", "x")
        }]);
        sender(move |evil| evil.offers(&list)).ends(6, "");
    }
}

#[test]
fn attributes_are_left_out_unless_the_user_wants_them() {
    sender(|evil| {
        let list = List(vec![Entry {
            target: b"\x06user.a\0\x01x".to_vec(),
            ..Entry::file("a", "x")
        }]);
        evil.transfers(&list);
        let told = evil.victim.told.join("\n");
        assert!(told.contains("1 with extended attributes"), "{told}");
    })
    .completes();
}

#[test]
fn holes_that_a_sender_makes_up_only_spare_it_the_question_for_room() {
    sender(|evil| {
        let list = one_file();
        let mut offer = list.offer();
        offer.holes = offer.bytes;
        evil.agrees(&list);
        evil.says(message::OFFER, offer.body());
        evil.lists(&list);
        evil.is_accepted();
        evil.announces(&list);
        evil.sends(0, &list.content());
        evil.says(message::DONE, list.root());
        assert_eq!(evil.awaits(message::FINISHED), list.root());
    })
    .completes();
}

#[test]
fn sizes_that_overflow_together_end_it() {
    let huge = |name| Entry {
        size: u64::MAX / 2 + 1,
        ..Entry::file(name, "")
    };
    sender(move |evil| evil.offers(&List(vec![huge("a"), huge("b")])))
        .ends(6, "all files together are too long");
}

#[test]
fn one_name_for_two_things_ends_it() {
    let lists = [
        vec![Entry::file("a", "x"), Entry::file("a", "y")],
        vec![Entry::file("a", "x"), Entry::dir("a")],
        vec![
            Entry::link("a", "x"),
            Entry::dir("a"),
            Entry::file("x", "x").below(1),
        ],
    ];
    for list in lists {
        sender(move |evil| evil.offers(&List(list))).ends(6, "");
    }
}

#[test]
fn things_that_have_one_name_once_they_are_safe_are_kept_apart() {
    let list = List(vec![
        Entry {
            stored: Some("a_ (1)"),
            ..Entry::file("a\u{1}", "x")
        },
        Entry::file("a_", "y"),
    ]);
    sender(move |evil| evil.transfers(&list)).completes();
}

#[test]
fn a_chunk_that_cuts_an_entry_ends_it() {
    sender(|evil| {
        let list = one_file();
        evil.says(message::OFFER, list.offer().body());
        let chunk = list.chunks().concat();
        evil.says(message::MANIFEST_CHUNK, &chunk[..10]);
        evil.says(message::MANIFEST_CHUNK, &chunk[10..]);
    })
    .ends(6, "truncated list of files");
}

#[test]
fn an_empty_part_of_a_list_ends_it() {
    sender(|evil| {
        evil.says(message::OFFER, one_file().offer().body());
        evil.says(message::MANIFEST_CHUNK, []);
    })
    .ends(6, "bad empty part of a list");
}

#[test]
fn endless_nesting_ends_it() {
    let mut list = vec![Entry::dir("d")];
    list.extend((0..5000).map(|i| Entry::dir("d").below(i)));
    sender(move |evil| {
        let list = List(list);
        let offer = Offer {
            entries: 5001,
            bytes: 0,
            list_bytes: 1 << 20,
            ..one_file().offer()
        };
        evil.says(message::OFFER, offer.body());
        evil.lists(&list);
    })
    .ends(6, "directories nest too deep");
}

#[test]
fn a_list_without_an_end_ends_it() {
    sender(|evil| {
        offers_falsely(evil, &one_file(), |offer| offer.list_bytes = 1 << 40);
    })
    .ends(6, "too much in the offer");
    sender(|evil| {
        let offer = Offer {
            entries: 2_000_000,
            list_bytes: 1 << 20,
            ..one_file().offer()
        };
        evil.says(message::OFFER, offer.body());
        for i in 0..200 {
            let chunk: Vec<Entry> = (0..500).map(|j| Entry::file(format!("{i}-{j}"), "")).collect();
            evil.says(message::MANIFEST_CHUNK, List(chunk).chunks().concat());
            evil.settles();
        }
    })
    .ends(6, "longer than it announced");
}

#[test]
fn a_tree_of_empty_directories_is_not_said_to_take_nothing() {
    let mut list = vec![Entry::dir("d")];
    list.extend((0..30_000).map(|i| Entry::dir(format!("{i}")).below(0)));
    sender(move |evil| {
        evil.offers(&List(list));
        evil.waits(std::time::Duration::from_secs(1));
        let told = evil.victim.told.join("\n");
        assert!(told.contains("MB on"), "{told}");
    })
    .against(|victim| victim.answer = Answer::Thinks)
    .within(32)
    .changes_nothing();
}

/// A chunk of a long list: five hundred files with names that differ at their end only.
fn part(number: usize) -> Vec<u8> {
    let name = |i: usize| format!("{}{number:05}{i:03}", "a".repeat(50));
    List((0..500).map(|i| Entry::file(name(i), "")).collect())
        .chunks()
        .concat()
}

#[test]
fn a_list_of_two_hundred_thousand_names_costs_as_much_as_is_stated() {
    const PARTS: usize = 400;
    sender(|evil| {
        let (mut hasher, mut list_bytes) = (blake3::Hasher::new(), 0);
        for chunk in (0..PARTS).map(part) {
            hasher.update(&chunk);
            list_bytes += chunk.len() as u64;
        }
        let offer = Offer {
            entries: PARTS as u32 * 500,
            list_bytes,
            list_hash: hasher.finalize().into(),
            bytes: 0,
            ..one_file().offer()
        };
        evil.says(message::OFFER, offer.body());
        for number in 0..PARTS {
            evil.says(message::MANIFEST_CHUNK, part(number));
            evil.waits(std::time::Duration::from_millis(3));
        }
        assert!(evil.until(|evil| evil.victim.offered), "all of it is here");
    })
    .against(|victim| victim.answer = Answer::Thinks)
    // A tenth of the 220 MiB of docs/protocol.md; a buffer that grows is counted twice.
    .within(22 + 18)
    .changes_nothing();
}
