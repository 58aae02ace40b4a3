use proptest::prelude::*;

use super::*;
use crate::transfer::MAX_CONTENT;
use crate::transfer::error::Malformed;

fn file(name: &[u8], parent: Option<u32>, size: u64) -> Entry<'_> {
    Entry {
        kind: Kind::File,
        parent: parent.map(EntryIndex),
        name,
        size,
        mtime: -5,
        mode: 0o644,
        target: b"",
    }
}

fn dir(name: &[u8], parent: Option<u32>) -> Entry<'_> {
    Entry {
        kind: Kind::Dir,
        size: 0,
        mode: 0o755,
        ..file(name, parent, 0)
    }
}

fn sample() -> Manifest {
    let mut b = ManifestBuilder::new(Trust::Own);
    b.add(dir(b"photos", None)).unwrap();
    b.add(file(b"empty", Some(0), 0)).unwrap();
    b.add(file(b"a.jpg", Some(0), 10)).unwrap();
    b.add(dir(b"deep", Some(0))).unwrap();
    b.add(file(b"b.jpg", Some(3), 5)).unwrap();
    b.add(Entry {
        kind: Kind::Symlink,
        target: b"../a.jpg",
        ..file(b"link", Some(3), 0)
    })
    .unwrap();
    b.add(file(b"z", None, 100)).unwrap();
    b.add(hard_link(b"again", 2)).unwrap();
    b.finish().unwrap()
}

fn hard_link(name: &[u8], of: u32) -> Entry<'_> {
    Entry {
        kind: Kind::HardLink(EntryIndex(of)),
        ..file(name, None, 0)
    }
}

fn wire(m: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    let end = m.encode(EntryIndex(0), usize::MAX, &mut out);
    assert_eq!(end.get(), m.len());
    out
}

#[test]
fn a_list_knows_its_paths_in_any_case() {
    let mut builder = ManifestBuilder::new(Trust::Own);
    let entry = |kind, parent, name| Entry {
        kind,
        parent,
        name,
        size: 0,
        mtime: 0,
        mode: 0o644,
        target: b"",
    };
    let dir = builder.add(entry(Kind::Dir, None, b"Logs")).unwrap();
    builder.add(entry(Kind::File, Some(dir), b"trace.json")).unwrap();
    let list = builder.finish().unwrap();
    for (path, listed) in [
        ("Logs", true),
        ("Logs/trace.json", true),
        ("logs/TRACE.json", true),
        ("trace.json", false),
        ("Logs/trace", false),
        ("Logs/trace.json/x", false),
    ] {
        assert_eq!(list.lists(path.as_ref()), listed, "{path}");
    }
}

#[test]
fn wire_form_round_trips_in_chunks_of_any_size() {
    let m = sample();
    for limit in [1, 50, 60, 100, 1000] {
        let mut b = ManifestBuilder::new(Trust::Peer);
        let mut at = EntryIndex(0);
        while at.get() < m.len() {
            let mut chunk = Vec::new();
            at = m.encode(at, limit, &mut chunk);
            b.add_wire(&chunk).unwrap();
        }
        assert_eq!((b.wire_len(), b.wire_hash()), m.digest());
        let back = b.finish().unwrap();
        assert!(back.iter().eq(m.iter()));
        assert_eq!(back.total(), Some(115));
    }
}

#[test]
fn segments_cross_files_and_skip_what_has_no_content() {
    let m = sample();
    let seg = |entry, file_offset, len| Segment {
        entry: EntryIndex(entry),
        file_offset,
        len,
    };
    assert_eq!(
        m.segments(3..20).collect::<Vec<_>>(),
        [seg(2, 3, 7), seg(4, 0, 5), seg(6, 0, 5)]
    );
    assert_eq!(m.segments(10..11).collect::<Vec<_>>(), [seg(4, 0, 1)]);
    assert_eq!(m.segments(110..500).collect::<Vec<_>>(), [seg(6, 95, 5)]);
    assert_eq!(m.segments(115..500).count(), 0);
    assert_eq!(m.path(EntryIndex(4)), PathBuf::from("photos/deep/b.jpg"));
    assert_eq!(m.top_of(EntryIndex(5)), EntryIndex(0));
}

#[test]
fn a_stream_has_one_segment_wherever_one_looks() {
    let mut b = ManifestBuilder::new(Trust::Own);
    b.add(Entry {
        kind: Kind::Stream,
        ..file(b"dir.tar", None, 0)
    })
    .unwrap();
    assert!(b.add(file(b"x", None, 0)).is_err());
    let m = b.finish().unwrap();
    assert_eq!(m.total(), None);
    assert_eq!(
        m.segments(1 << 40..(1 << 40) + 9).collect::<Vec<_>>(),
        [Segment {
            entry: EntryIndex(0),
            file_offset: 1 << 40,
            len: 9
        }]
    );
}

#[test]
fn hostile_lists_are_refused() {
    let refused = |entries: &[Entry<'_>]| {
        let mut b = ManifestBuilder::new(Trust::Peer);
        let outcome = entries
            .iter()
            .try_for_each(|e| b.add(*e).map(drop))
            .and_then(|()| b.finish().map(drop));
        assert!(outcome.is_err(), "{entries:?}");
    };
    refused(&[]);
    refused(&[file(b"..", None, 1)]);
    refused(&[file(b"a/b", None, 1)]);
    refused(&[file(b"a", Some(0), 1)]);
    refused(&[file(b"a", None, 1), file(b"b", Some(0), 1)]);
    refused(&[file(b"b", Some(1), 1), dir(b"a", None)]);
    refused(&[file(b"a", None, 1), file(b"a", None, 2)]);
    refused(&[file(b"a\t", None, 1), file(b"a\t", None, 2)]);
    refused(&[file(b"a", None, u64::MAX)]);
    refused(&[file(b"a", None, MAX_CONTENT), file(b"b", None, 1)]);
    refused(&[Entry {
        mode: 0o4755,
        ..file(b"a", None, 1)
    }]);
    refused(&[Entry {
        size: 1,
        ..dir(b"a", None)
    }]);
    refused(&[Entry {
        target: b"x",
        ..file(b"a", None, 1)
    }]);
    refused(&[Entry {
        kind: Kind::Symlink,
        ..file(b"a", None, 0)
    }]);
    refused(&[Entry {
        kind: Kind::Symlink,
        target: b"x\0",
        ..file(b"a", None, 0)
    }]);
    for not_one in [
        hard_link(b"itself", 1),
        hard_link(b"later", 2),
        Entry {
            size: 1,
            ..hard_link(b"long", 0)
        },
        Entry {
            mode: 0o600,
            ..hard_link(b"closed", 0)
        },
        Entry {
            mtime: 0,
            ..hard_link(b"old", 0)
        },
    ] {
        refused(&[file(b"a", None, 1), not_one, file(b"c", None, 1)]);
    }
    refused(&[dir(b"a", None), hard_link(b"l", 0)]);
    refused(&[file(b"a", None, 1), hard_link(b"k", 0), hard_link(b"l", 1)]);
    refused(&[
        file(b"a", None, 1),
        Entry {
            kind: Kind::Stream,
            ..file(b"s", None, 0)
        },
    ]);
}

#[test]
fn endless_nesting_is_refused() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    let outcome =
        (0..=u32::from(MAX_DEPTH) + 1).try_for_each(|i| b.add(dir(b"d", i.checked_sub(1))).map(drop));
    assert_eq!(
        outcome,
        Err(Malformed::Bound(crate::transfer::error::ListBound::Depth))
    );
}

#[test]
fn names_of_one_directory_that_differ_only_by_case_or_normalisation_are_found() {
    let mut b = ManifestBuilder::new(Trust::Own);
    b.add(dir(b"d", None)).unwrap();
    for (name, parent) in [
        ("b", None),
        ("Readme", None),
        ("caf\u{e9}", Some(0)),
        ("README", None),
        ("readme", Some(0)),
        ("cafe\u{301}", Some(0)),
        ("readMe", None),
    ] {
        b.add(file(name.as_bytes(), parent, 1)).unwrap();
    }
    let mut found = b.finish().unwrap().alike();
    found.sort();
    let group = |indices: &[u32]| indices.iter().map(|&i| EntryIndex(i)).collect::<Vec<_>>();
    assert_eq!(found, [group(&[2, 4, 7]), group(&[3, 6])]);
    assert_eq!(sample().alike(), Vec::<Vec<EntryIndex>>::new());
}

#[test]
fn sizes_and_times_do_not_change_the_identity_of_names() {
    let one = |size| {
        let mut b = ManifestBuilder::new(Trust::Own);
        b.add(file(b"a", None, size)).unwrap();
        b.finish().unwrap()
    };
    assert_eq!(one(1).names_digest(), one(2).names_digest());
    assert_ne!(one(1).digest(), one(2).digest());
    assert_ne!(sample().names_digest(), one(1).names_digest());
}

#[test]
fn an_entry_takes_few_bytes() {
    assert!(size_of::<Slot>() <= 48, "{}", size_of::<Slot>());
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut b = ManifestBuilder::new(Trust::Peer);
        if b.add_wire(&bytes).is_ok() { let _ = b.finish(); }
    }

    #[test]
    fn damaged_lists_do_not_panic_or_leave_the_directory(at in 0usize..400, bit in 0u8..8) {
        let mut bytes = wire(&sample());
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let mut b = ManifestBuilder::new(Trust::Peer);
        if b.add_wire(&bytes).is_ok() && let Ok(m) = b.finish() {
            for (i, _) in m.iter() {
                prop_assert!(m.path(i).components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}

#[test]
fn names_that_are_one_only_here_are_kept_apart_and_told_as_they_were_sent() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    for name in ["a\nb", "c", "a_b", "a\rb", "A_B (1)", "d\n", "d\r"] {
        b.add(file(name.as_bytes(), None, 0)).unwrap();
    }
    let m = b.finish().unwrap();
    let names: Vec<_> = m.iter().map(|(_, entry)| entry.name).collect();
    // A name that was not changed stays, and no disk takes two of them for one.
    let expected = ["a_b (2)", "c", "a_b", "a_b (3)", "A_B (1)", "d_", "d_ (1)"];
    assert_eq!(names, expected.map(str::as_bytes));
    let sent = |n: usize| (m.changed().1[n].entry.get(), &*m.changed().1[n].sent);
    assert_eq!((sent(0), sent(1)), ((0, &b"a\nb"[..]), (3, &b"a\rb"[..])));

    for twice in [b"a_b", b"a\nb"] {
        let mut b = ManifestBuilder::new(Trust::Peer);
        b.add(file(twice, None, 0)).unwrap();
        b.add(file(twice, None, 0)).unwrap();
        assert_eq!(b.finish().unwrap_err(), Malformed::Name("it stands twice"));
    }
}

#[test]
fn any_number_of_names_that_are_one_only_here_are_kept_apart() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    let count = 3 * MAX_CHANGED;
    for number in 0..count {
        // Each with two names that become one.
        for end in ["\n", "\r"] {
            b.add(file(format!("{number}{end}").as_bytes(), None, 0)).unwrap();
        }
    }
    let m = b.finish().unwrap();
    let names: std::collections::HashSet<_> = m.iter().map(|(_, entry)| entry.name).collect();
    assert_eq!(names.len(), 2 * count);
}

#[test]
fn what_a_peer_says_of_modes_and_times_is_bounded_at_the_door() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    let wild = |name, mode, mtime| Entry {
        mode,
        mtime,
        ..file(name, None, 0)
    };
    b.add(wild(b"a", 0o777, i64::MAX)).unwrap();
    b.add(wild(b"b", 0o666, i64::MIN)).unwrap();
    b.add(wild(b"c", 0o600, 7)).unwrap();
    let m = b.finish().unwrap();
    assert!(m.iter().all(|(_, entry)| entry.mode & 0o022 == 0));
    assert_eq!(m.times_changed(), 2);
    assert_eq!(m.entry(EntryIndex::new(2)).time(), Some(7));
}

#[test]
fn a_message_of_more_than_a_mebibyte_is_refused_on_both_sides() {
    let text = |size| Entry {
        kind: Kind::Text,
        ..file(b"message", None, size)
    };
    for trust in [Trust::Own, Trust::Peer] {
        let mut b = ManifestBuilder::new(trust);
        assert_eq!(b.add(text((1 << 20) + 1)), Err(Malformed::LongText));
        assert!(b.add(text(1 << 20)).is_ok());
    }
}

#[test]
fn changed_names_are_kept_to_be_told_and_not_too_many() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    b.add(file(b"plain", None, 0)).unwrap();
    for i in 0..MAX_CHANGED + 5 {
        b.add(file(format!("{i}\t").as_bytes(), None, 0)).unwrap();
    }
    let m = b.finish().unwrap();
    let (count, changed) = m.changed();
    assert_eq!((count as usize, changed.len()), (MAX_CHANGED + 5, MAX_CHANGED));
    assert_eq!((changed[0].entry.get(), &*changed[0].sent), (1, &b"0\t"[..]));
    assert_eq!(m.entry(changed[0].entry).name, b"0_");
}

#[test]
fn a_hard_link_takes_no_content_and_stays_with_its_file_when_links_are_left_out() {
    let mut b = ManifestBuilder::new(Trust::Peer);
    b.add(Entry {
        kind: Kind::Symlink,
        target: b"/etc/passwd",
        ..file(b"out", None, 0)
    })
    .unwrap();
    b.add(file(b"a", None, 10)).unwrap();
    b.add(hard_link(b"l", 1)).unwrap();
    b.add(file(b"b", None, 5)).unwrap();
    b.add(hard_link(b"k", 1)).unwrap();
    let list = b.finish().unwrap().without_outside_links();
    assert_eq!((list.len(), list.total()), (4, Some(15)));
    let (a, l, k) = (EntryIndex(0), EntryIndex(1), EntryIndex(3));
    assert_eq!(list.entry(l).kind, Kind::HardLink(a));
    assert_eq!(list.hard_links_of(a).collect::<Vec<_>>(), [l, k]);
    assert_eq!(list.hard_links_of(EntryIndex(2)).count(), 0);
    assert!(list.content_range(l).is_empty());
}
