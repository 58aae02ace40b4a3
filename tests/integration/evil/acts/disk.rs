//! What somebody put in the way on the receiver's disk, or would like to put there.

use p2pcopy::parts::transfer::Conflicts;

use crate::evil::act::sender;
use crate::evil::list::{Entry, List, blocks, one_file};
use crate::evil::peer::Evil;
use crate::evil::victim::Setup;
use crate::evil::wire::{self, message};

/// A journal of the old kind that anybody can write: it says that all of it was verified and only lacks its names.
fn forged_journal() -> Vec<u8> {
    let (list, names_hash) = (one_file().offer(), one_file().names_hash());
    let mut journal = b"p2pcopy journal\x01".to_vec();
    journal.extend(list.list_hash);
    journal.extend(names_hash);
    journal.extend(list.bytes.to_be_bytes());
    journal.extend(crc32fast::hash(&journal).to_be_bytes());
    let sealed = [&[2][..], &[0; 32]].concat();
    journal.extend(&sealed);
    journal.extend(crc32fast::hash(&sealed).to_be_bytes());
    journal
}

/// The transfer of a file `a` goes well beside all that was planted.
fn goes_well_beside(planted: impl FnOnce(&mut Setup) + 'static) {
    sender(|evil| {
        evil.agreed.push(("a".into(), Some(one_file().content())));
        evil.transfers(&one_file());
    })
    .against(planted)
    .completes();
}

#[test]
fn a_diary_that_is_called_journal_is_not_deleted() {
    goes_well_beside(|victim| victim.plants("out/a.part/journal", b"dear diary"));
}

#[test]
fn a_directory_that_is_called_journal_is_not_deleted() {
    goes_well_beside(|victim| victim.plants("out/a.part/journal/dear", b"diary"));
}

#[test]
fn a_forged_journal_unpacks_nothing() {
    goes_well_beside(|victim| {
        victim.plants("out/a.part/journal", &forged_journal());
        victim.plants("out/a.part/data/.zshenv", b"evil");
    });
}

#[test]
fn an_empty_directory_of_the_stagings_name_stays_or_is_ours() {
    goes_well_beside(|victim| victim.plants("out/a.part/data/mine", b"mine"));
}

#[test]
fn a_file_of_the_stagings_name_is_left_alone() {
    goes_well_beside(|victim| victim.plants("out/a.part", b"mine"));
}

#[test]
fn a_name_that_looks_like_staging_is_stored_under_another() {
    let journal = forged_journal();
    let list = vec![
        Entry {
            stored: Some("a.part_"),
            ..Entry::dir("a.part")
        },
        Entry::file("journal", journal).below(0),
        Entry::dir("data").below(0),
        Entry::file(".zshenv", "evil").below(2),
    ];
    sender(move |evil| {
        evil.transfers(&List(list));
        let there = std::fs::exists(evil.out.join("a.part")).expect("a place of ours");
        assert!(!there, "it has the name of a staging directory");
    })
    .completes();
}

#[test]
fn staging_that_was_sent_as_a_tree_is_not_unpacked_by_a_later_transfer() {
    goes_well_beside(|victim| {
        victim.met_before(|evil| {
            evil.transfers(&List(vec![
                Entry::dir("a.part"),
                Entry::file("journal", forged_journal()).below(0),
                Entry::dir("data").below(0),
                Entry::file(".zshenv", "evil").below(2),
            ]));
        });
    });
}

#[test]
fn a_tree_that_has_the_name_of_its_own_staging_is_not_merged_into_it() {
    sender(|evil| {
        let list = List(vec![
            Entry::file("a", "what the user agreed to"),
            Entry {
                stored: Some("a.part_"),
                ..Entry::dir("a.part")
            },
            Entry::file("journal", forged_journal()).below(1),
            Entry::dir("data").below(1),
            Entry::file("a", "evil").below(3),
        ]);
        evil.transfers(&list);
    })
    .against(|victim| victim.conflicts = Conflicts::Overwrite)
    .completes();
}

/// Two blocks of which a peer has brought the first, and then left.
pub(super) fn half() -> List {
    blocks(2)
}

pub(super) fn brings_half(evil: &mut Evil) {
    evil.offers(&half());
    evil.is_accepted();
    evil.announces(&half());
    evil.sends(0, &half().content()[..1 << 20]);
    evil.awaits(message::VERIFIED);
}

#[test]
fn what_one_peer_brought_is_taken_up_if_it_is_offered_again() {
    sender(|evil| {
        evil.touched.push("out/a.part".into());
        evil.offers(&half());
        evil.awaits(message::ACCEPT);
        assert_eq!(
            evil.awaits(message::HAVE),
            [&[1], &wire::runs(&[0..1])[..]].concat()
        );
        evil.announces(&half());
        evil.sends(1 << 20, &half().content()[1 << 20..]);
        evil.says(message::DONE, half().root());
        evil.awaits(message::FINISHED);
    })
    .against(|victim| {
        victim.met_before(brings_half);
        victim.conflicts = Conflicts::Overwrite;
    })
    .completes();
}

#[test]
fn what_one_peer_brought_is_not_replaced_by_another_ones() {
    sender(|evil| {
        let other = List(vec![Entry::file("a", vec![0xee; 3 << 20])]);
        evil.offers(&other);
        evil.is_accepted();
        evil.announces(&other);
        evil.sends(0, &other.content());
        evil.settles();
    })
    .against(|victim| victim.met_before(brings_half))
    .within(32)
    .changes_nothing();
}

#[test]
fn a_peer_is_not_told_what_lies_on_the_disk() {
    for there in ["what the user agreed to", "something else", ""] {
        sender(|evil| {
            evil.offers(&one_file());
            evil.awaits(message::ACCEPT);
            assert_eq!(evil.awaits(message::HAVE), [1], "it is told of what was here");
            evil.goes_through(&one_file());
        })
        .against(move |victim| victim.plants("out/a", there.as_bytes()))
        .completes();
    }
}

#[cfg(unix)]
mod unix {
    use std::time::Duration;

    use rustix::fs::symlink;

    use super::*;
    use crate::process::fifo as make_fifo;

    fn fifo(victim: &Setup, path: &str) {
        let path = victim.at(path);
        std::fs::create_dir_all(path.parent().expect("below a directory")).expect("a place");
        make_fifo(&path);
    }

    fn link(victim: &Setup, path: &str, to: &str) {
        let path = victim.at(path);
        std::fs::create_dir_all(path.parent().expect("below a directory")).expect("a place");
        symlink(to, &path).expect("a link");
    }

    #[test]
    fn a_pipe_of_the_stagings_name_is_left_alone() {
        goes_well_beside(|victim| fifo(victim, "out/a.part"));
    }

    #[test]
    fn a_pipe_in_place_of_the_journal_is_left_alone() {
        goes_well_beside(|victim| {
            fifo(victim, "out/a.part/journal");
            victim.plants("out/a.part/data/mine", b"mine");
        });
    }

    #[test]
    fn a_link_of_the_stagings_name_is_left_alone() {
        goes_well_beside(|victim| link(victim, "out/a.part", "../outside"));
    }

    #[test]
    fn a_link_in_place_of_the_journal_is_left_alone() {
        goes_well_beside(|victim| {
            link(victim, "out/a.part/journal", "../../outside/diary");
            victim.plants("out/a.part/data/mine", b"mine");
        });
    }

    #[test]
    fn a_link_in_place_of_the_data_is_left_alone() {
        goes_well_beside(|victim| {
            victim.plants("out/a.part/journal", &forged_journal());
            link(victim, "out/a.part/data", "../../outside");
        });
    }

    #[test]
    fn a_huge_journal_is_not_read_into_memory() {
        goes_well_beside(|victim| {
            victim.plants("out/a.part/journal", &forged_journal());
            let journal = std::fs::File::options()
                .write(true)
                .open(victim.at("out/a.part/journal"));
            journal.expect("just made").set_len(4 << 30).expect("sparse");
        });
    }

    #[test]
    fn a_final_name_that_is_a_link_is_not_followed() {
        for conflicts in [Conflicts::Rename, Conflicts::Overwrite] {
            sender(|evil| evil.transfers(&one_file()))
                .against(move |victim| {
                    victim.conflicts = conflicts;
                    link(victim, "out/a", "../outside/diary");
                })
                .completes();
        }
    }

    #[test]
    fn a_final_name_that_is_a_directory_or_a_pipe_keeps_what_it_is() {
        goes_well_beside(|victim| victim.plants("out/a/mine", b"mine"));
        goes_well_beside(|victim| fifo(victim, "out/a"));
    }

    #[test]
    fn what_is_to_be_overwritten_is_a_file_and_nothing_else() {
        let planted: [fn(&mut Setup); 3] = [
            |victim| victim.plants("out/a/mine", b"mine"),
            |victim| fifo(victim, "out/a"),
            |victim| link(victim, "out/a", "../outside/diary"),
        ];
        for plant in planted {
            sender(|evil| {
                evil.offers(&one_file());
                evil.waits(Duration::from_secs(1));
                if evil.heard.close.is_none() {
                    evil.is_accepted();
                    evil.goes_through(&one_file());
                }
            })
            .against(plant)
            .against(|victim| victim.conflicts = Conflicts::Overwrite)
            .ends_or_completes();
        }
    }

    #[test]
    fn a_link_to_the_same_bytes_is_not_dated_through() {
        sender(|evil| {
            let list = List(vec![Entry::file("a", "nobody's business")]);
            evil.transfers(&list);
        })
        .against(|victim| {
            victim.conflicts = Conflicts::Overwrite;
            link(victim, "out/a", "../outside/diary");
        })
        .completes();
    }

    #[test]
    fn another_name_of_a_file_is_not_written_through() {
        sender(|evil| evil.transfers(&one_file()))
            .against(|victim| {
                victim.conflicts = Conflicts::Overwrite;
                let diary = victim.at("outside/diary");
                std::fs::hard_link(diary, victim.at("out/a")).expect("a second name");
            })
            .completes();
    }

    #[test]
    fn a_directory_below_that_is_a_link_is_not_entered() {
        sender(|evil| {
            let list = vec![
                Entry::dir("a"),
                Entry::dir("sub").below(0),
                Entry::file("diary", "evil").below(1),
            ];
            evil.transfers(&List(list));
        })
        .against(|victim| {
            victim.conflicts = Conflicts::Overwrite;
            link(victim, "out/a/sub", "../../outside");
        })
        .completes();
    }

    /// Doubtful names are tried in the directory that they go into.
    #[test]
    fn no_name_is_tried_behind_a_link() {
        for conflicts in [Conflicts::Overwrite, Conflicts::Update] {
            sender(|evil| {
                let list = vec![
                    Entry::dir("a"),
                    Entry::dir("sub").below(0),
                    Entry::dir("deep").below(1),
                    Entry::file("README", "1").below(2),
                    Entry::file("readme", "2").below(2),
                    Entry::file("a:b", "3").below(1),
                ];
                evil.transfers(&List(list));
            })
            .against(move |victim| {
                victim.conflicts = conflicts;
                std::fs::create_dir(victim.at("outside/deep")).expect("room for it");
                link(victim, "out/a/sub", "../../outside");
            })
            .completes();
        }
    }

    #[test]
    fn a_directory_that_is_a_link_is_not_entered() {
        for conflicts in [Conflicts::Rename, Conflicts::Overwrite] {
            sender(|evil| {
                let list = vec![Entry::dir("a"), Entry::file("diary", "evil").below(0)];
                evil.transfers(&List(list));
            })
            .against(move |victim| {
                victim.conflicts = conflicts;
                link(victim, "out/a", "../outside");
            })
            .completes();
        }
    }

    #[test]
    fn a_link_that_leaves_what_was_sent_is_not_made() {
        for target in ["/etc/passwd", "../../outside/diary", "..", "../a/../../outside"] {
            sender(move |evil| {
                let list = List(vec![Entry::dir("a"), Entry::link("l", target).below(0)]);
                evil.transfers(&list);
                let told = evil.victim.told.join("\n");
                assert!(told.contains(&format!("a/l -> {target}")), "{told}");
                assert!(
                    evil.out.join("a/l").symlink_metadata().is_err(),
                    "{target} is made"
                );
            })
            .completes();
        }
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        sender(|evil| {
            let list = vec![
                Entry::dir("a"),
                Entry::link("one", "other").below(0),
                Entry::link("other", "one").below(0),
            ];
            evil.transfers(&List(list));
        })
        .completes();
    }

    #[test]
    fn a_mode_lets_nobody_else_write() {
        for mode in [0o777, 0o666, 0o622] {
            sender(move |evil| {
                let change = |entry: Entry| Entry { mode, ..entry };
                let list = vec![change(Entry::dir("d")), change(Entry::file("f", "x").below(0))];
                evil.transfers(&List(list));
            })
            .completes();
        }
    }

    #[test]
    fn modes_and_times_of_any_kind_do_no_harm() {
        for (mode, mtime) in [(0, i64::MAX), (0o755, i64::MIN), (0o644, -1), (0o111, 0)] {
            let change = move |entry: Entry| Entry { mode, mtime, ..entry };
            sender(move |evil| {
                let list = vec![change(Entry::dir("d")), change(Entry::file("f", "x").below(0))];
                evil.transfers(&List(list));
            })
            .completes();
        }
    }
}
