//! What a target's disk refuses: it costs what the disk cannot hold, and never the transfer.

use std::fs;
#[cfg(unix)]
use std::io::ErrorKind;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;

#[cfg(unix)]
use p2pcopy::parts::transfer::Remark;
use p2pcopy::parts::transfer::{Conflicts, LocalError, Room, TransferError};
#[cfg(target_os = "linux")]
use unicode_normalization::UnicodeNormalization;

#[cfg(target_os = "linux")]
use crate::crash::tree_of;
use crate::memory::MemoryLayer;
use crate::pair::{self, Fault, Outcome, Rng, Setup};
use crate::remains::expected;

fn send(paths: &[PathBuf], layer: &MemoryLayer, conflicts: Conflicts) -> Result<Outcome, Fault> {
    let setup = Setup {
        conflicts,
        ..Setup::default()
    };
    pair::send(paths, layer.clone(), setup)
}

#[cfg(unix)]
#[test]
fn what_the_disk_does_not_keep_is_told_once_and_the_rest_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for (i, name) in ["a", "sub/b", "sub/c"].into_iter().enumerate() {
        fs::write(tree.join(name), Rng::new(i as u64).bytes(700_000 * i + 9)).unwrap();
    }
    let mut locked = fs::metadata(tree.join("sub/b")).unwrap().permissions();
    locked.set_readonly(true);
    fs::set_permissions(tree.join("sub/b"), locked).unwrap();
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    let paths = [tree];
    let mut without_link = expected(&paths);
    without_link.remove(Path::new("t/link"));
    let all = [Remark::TimesLost, Remark::ModesLost, Remark::LinksLost(1)];
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::Unsupported,
        ErrorKind::InvalidInput,
    ] {
        let layer = MemoryLayer::new();
        for call in ["set_mode", "set_modified", "set_time", "symlink", "unlock"] {
            layer.refuse(call, kind);
        }
        // The first merges into nothing, the second finds all of it, the third replaces it.
        for (conflicts, bytes) in [
            (Conflicts::Overwrite, 2_100_027),
            (Conflicts::Update, 0),
            (Conflicts::Overwrite, 2_100_027),
        ] {
            let outcome = send(&paths, &layer, conflicts).unwrap();
            assert_eq!(outcome.remarks, all, "{kind:?}");
            assert_eq!(outcome.sent, bytes);
            assert!(layer.contents() == without_link, "{:?}", layer.contents().keys());
        }
    }
}

/// A mailbox with a colon in the name of each message, on a stick.
#[cfg(target_os = "linux")]
#[test]
fn any_number_of_names_that_this_disk_refuses_are_stored_under_others() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("cur");
    fs::create_dir(&tree).unwrap();
    let count = 10_100;
    for number in 0..count {
        fs::write(tree.join(format!("{number}:2,S")), "").unwrap();
    }
    let layer = MemoryLayer::new();
    layer.forbid(is_refused);
    let outcome = send(&[tree], &layer, Conflicts::Rename).unwrap();
    let [Remark::Renamed(told)] = &outcome.remarks[..] else {
        panic!("{:?}", outcome.remarks)
    };
    assert_eq!((told.len(), layer.contents().len()), (count, count + 1));
}

/// FAT and NTFS, roughly.
#[cfg(target_os = "linux")]
fn is_refused(name: &str) -> bool {
    name.contains([':', '?', '\\']) || name.starts_with("aux") || name.len() > 150
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_this_disk_refuses_are_stored_under_others_and_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t:1");
    let long = format!("{}.jpeg", "x".repeat(240));
    fs::create_dir_all(tree.join("b?d")).unwrap();
    for name in [
        "a:b",
        "a?b",
        "a_b",
        "aux.c",
        "b?d/c\\d",
        "b?d/plain",
        "con.h",
        long.as_str(),
    ] {
        fs::write(tree.join(name), name).unwrap();
    }
    fs::write(tree.join(OsStr::from_bytes(b"b\xe9")), "bytes").unwrap();
    std::os::unix::fs::symlink("con.h", tree.join("link:")).unwrap();
    let paths = [tree];
    let layer = MemoryLayer::new();
    layer.forbid(is_refused);
    // The second finds all of it under the names that the first gave.
    for conflicts in [Conflicts::Rename, Conflicts::Update] {
        let outcome = send(&paths, &layer, conflicts).unwrap();
        let [Remark::Renamed(told)] = &outcome.remarks[..] else {
            panic!("{:?}", outcome.remarks)
        };
        assert_eq!(outcome.sent > 0, conflicts == Conflicts::Rename);
        let mut whole = expected(&paths);
        for (sent, stored) in told.iter().rev() {
            // Children come after their directories in the list.
            let name = stored.file_name().unwrap();
            let content = whole.remove(sent).unwrap();
            let moved: Vec<PathBuf> = whole
                .keys()
                .filter(|path| path.starts_with(sent))
                .cloned()
                .collect();
            for path in moved {
                let below = whole.remove(&path).unwrap();
                whole.insert(
                    sent.with_file_name(name).join(path.strip_prefix(sent).unwrap()),
                    below,
                );
            }
            assert!(
                whole.insert(sent.with_file_name(name), content).is_none(),
                "{stored:?}"
            );
        }
        assert!(
            layer.contents() == whole,
            "{:?}\n{:?}",
            layer.contents().keys(),
            whole.keys()
        );
        let stored = |name: &str| {
            told.iter()
                .find(|(sent, _)| sent.ends_with(name))
                .map(|(_, stored)| stored.clone())
        };
        assert_eq!(stored("b?d/c\\d"), Some("t_1/b_d/c_d".into()));
        assert_eq!(stored("aux.c"), Some("t_1/_aux.c".into()));
        assert_eq!((told.len(), stored("con.h")), (9, None));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_only_windows_refuses_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    fs::create_dir(&tree).unwrap();
    for name in ["aux.c", "con.h", "a\\x2db.mount", "d:", "what?", "end."] {
        fs::write(tree.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("aux.c", tree.join("link")).unwrap();
    let paths = [tree];
    let layer = MemoryLayer::new();
    let outcome = send(&paths, &layer, Conflicts::Rename).unwrap();
    assert!(outcome.remarks.is_empty() && layer.contents() == expected(&paths));
}

#[test]
fn a_file_larger_than_files_can_be_there_is_refused_before_content_flows() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, [7; 5000]).unwrap();
    let layer = MemoryLayer::new();
    let limited = |largest| Room {
        largest: Some(largest),
        ..Room::default()
    };
    layer.set_room(limited(4999));
    match send(std::slice::from_ref(&file), &layer, Conflicts::Rename) {
        Err(Fault::Receiver(TransferError::Local(LocalError::TooLarge { limit: 4999, .. }))) => {}
        other => panic!("{other:?}"),
    }
    assert!(layer.contents().is_empty());
    layer.set_room(limited(5000));
    send(&[file], &layer, Conflicts::Rename).unwrap();
}

#[test]
fn an_update_needs_room_only_once_something_differs_and_is_refused_before_content_flows() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    fs::create_dir(&tree).unwrap();
    let mut content = Rng::new(1).bytes(1_500_000);
    fs::write(tree.join("a"), &content).unwrap();
    fs::write(tree.join("b"), &content).unwrap();
    let paths = [tree];
    let layer = MemoryLayer::new();
    send(&paths, &layer, Conflicts::Update).unwrap();
    let arrived = layer.contents();
    for (bytes, nodes) in [(Some(1_400_000), None), (None, Some(0))] {
        layer.set_room(Room {
            bytes,
            nodes,
            ..Room::default()
        });
        send(&paths, &layer, Conflicts::Update).unwrap();
        content[1_400_000] ^= 1;
        fs::write(paths[0].join("b"), &content).unwrap();
        match send(&paths, &layer, Conflicts::Update) {
            Err(Fault::Receiver(TransferError::Local(
                LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. },
            ))) => {}
            other => panic!("{other:?}"),
        }
        assert!(layer.contents() == arrived, "{:?}", layer.contents().keys());
        // One of the two files is all that is written.
        layer.set_room(Room {
            bytes: Some(1_600_000),
            nodes: Some(1),
            ..Room::default()
        });
        send(&paths, &layer, Conflicts::Update).unwrap();
        assert!(layer.contents() == expected(&paths));
        content[1_400_000] ^= 1;
        fs::write(paths[0].join("b"), &content).unwrap();
        layer.set_room(Room::default());
        send(&paths, &layer, Conflicts::Update).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_lies_in_the_way_of_a_directory_stays_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old/t", "new/t"].map(|name| dir.path().join(name));
    fs::create_dir_all(&old).unwrap();
    fs::create_dir_all(new.join("sub")).unwrap();
    std::os::unix::fs::symlink("elsewhere", old.join("sub")).unwrap();
    fs::write(new.join("sub/a"), "a").unwrap();
    let layer = MemoryLayer::new();
    send(&[old], &layer, Conflicts::Rename).unwrap();
    let outcome = send(&[new], &layer, Conflicts::Overwrite).unwrap();
    assert_eq!(
        outcome.remarks,
        [Remark::Beside("t/sub".into(), "t/sub (1)".into())]
    );
    let found = layer.contents();
    assert_eq!(found[Path::new("t/sub")].as_deref(), Some(&b"elsewhere"[..]));
    assert_eq!(found[Path::new("t/sub (1)/a")].as_deref(), Some(&b"a"[..]));
}

/// Files that a team makes in a directory of its group belong to the group.
#[cfg(target_os = "linux")]
#[test]
fn the_group_of_the_output_directory_is_inherited() {
    use std::os::unix::fs::PermissionsExt;

    use p2pcopy::parts::transfer::{DiskLayer, OwnerKey};
    let dir = tempfile::tempdir().unwrap();
    let [tree, out] = ["t", "out"].map(|name| dir.path().join(name));
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o2775)).unwrap();
    let layer = DiskLayer::new(&out, OwnerKey::from_bytes([1; 32])).unwrap();
    pair::send(&[tree], layer, Setup::default()).unwrap();
    for name in ["t", "t/sub"] {
        let mode = fs::metadata(out.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o2000, 0o2000, "{name} {mode:o}");
    }
}

#[cfg(target_os = "linux")]
const KEYS: [fn(&str) -> String; 4] = [
    |name| name.nfd().collect(),
    |name| name.nfkd().collect(),
    |name| name.to_uppercase().to_lowercase(),
    |name| name.nfd().collect::<String>().to_uppercase().to_lowercase(),
];

/// What was told of names: each as sent, with the one it is stored under.
#[cfg(target_os = "linux")]
fn renamed(outcome: &Outcome) -> Vec<(PathBuf, PathBuf)> {
    let told = outcome.remarks.iter().map(|remark| match remark {
        Remark::Renamed(told) => told.clone(),
        other => panic!("{other:?}"),
    });
    told.flatten().collect()
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_one_on_this_disk_are_kept_apart_and_told() {
    for (key, one, other) in [
        (KEYS[2], "README", "readme"),
        (KEYS[2], "straße", "STRASSE"),
        (KEYS[0], "caf\u{e9}", "cafe\u{301}"),
        (KEYS[1], "\u{fb01}n", "fin"),
        (KEYS[3], "CAF\u{c9}", "cafe\u{301}"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let paths = [tree_of(dir.path(), &["a", one, other, "z", "z (1)"])];
        let layer = MemoryLayer::new();
        layer.take_for_one(key);
        // The second finds all of it under the names that the first gave.
        for conflicts in [Conflicts::Rename, Conflicts::Update] {
            let outcome = send(&paths, &layer, conflicts).unwrap();
            assert_eq!(outcome.sent > 0, conflicts == Conflicts::Rename);
            let told = renamed(&outcome);
            let [(sent, stored)] = &told[..] else {
                panic!("{told:?}")
            };
            assert!(sent.ends_with(one) || sent.ends_with(other), "{sent:?}");
            let mut whole = expected(&paths);
            let content = whole.remove(sent).unwrap();
            whole.insert(stored.clone(), content);
            assert!(layer.contents() == whole, "{:?}", layer.contents().keys());
        }
    }
}

#[cfg(target_os = "linux")]
proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever the disk takes for one: all is there, under its own name or under another that was told.
    #[test]
    fn hostile_names_lose_nothing_on_any_disk(
        names in proptest::collection::hash_set("[aAéÉeE\u{301}\u{301}ßsSﬁfiIKk\u{212a}]{1,3}", 2..12),
        key in 0usize..KEYS.len(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let tree = tree_of(dir.path(), &names);
        let apart: std::collections::HashSet<String> = names.iter().map(|name| KEYS[key](name)).collect();
        let paths = [tree];
        let layer = MemoryLayer::new();
        layer.take_for_one(KEYS[key]);
        let outcome = send(&paths, &layer, Conflicts::Rename).unwrap();
        let told = renamed(&outcome);
        proptest::prop_assert_eq!(told.len(), names.len() - apart.len());
        let mut whole = expected(&paths);
        for (sent, stored) in told {
            let content = whole.remove(&sent).unwrap();
            proptest::prop_assert!(whole.insert(stored, content).is_none());
        }
        proptest::prop_assert!(layer.contents() == whole);
    }
}
