//! Another file system is mounted below the output directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{Conflicts, LocalError, Remark, Room, TransferError};

use crate::memory::{Crash, MemoryLayer};
use crate::pair::{self, Fault, Outcome, Rng, Setup};
use crate::remains::{CRASHES, expected, finals};

fn send(paths: &[PathBuf], layer: &MemoryLayer, conflicts: Conflicts) -> Result<Outcome, Fault> {
    let setup = Setup {
        conflicts,
        ..Setup::default()
    };
    pair::send(paths, layer.clone(), setup)
}

/// A tree of which one directory is another file system at the target.
fn tree_with_a_mount(dir: &Path) -> [PathBuf; 1] {
    let tree = dir.join("t");
    fs::create_dir_all(tree.join("mnt/new/deep")).unwrap();
    for (i, name) in ["a", "mnt/b", "mnt/kept", "mnt/new/c", "mnt/new/deep/d"]
        .into_iter()
        .enumerate()
    {
        fs::write(tree.join(name), Rng::new(i as u64).bytes(400_000 * i + 7)).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("b", tree.join("mnt/link")).unwrap();
    [tree]
}

/// A disk with `t/mnt`, in which another file system is mounted and an older file lies.
fn disk_with_a_mount(dir: &Path) -> MemoryLayer {
    let old = dir.join("old/t");
    fs::create_dir_all(old.join("mnt")).unwrap();
    fs::write(old.join("mnt/kept"), "older").unwrap();
    fs::write(old.join("mnt/own"), "own").unwrap();
    let layer = MemoryLayer::new();
    send(&[old], &layer, Conflicts::Rename).unwrap();
    layer.mount(Path::new("t/mnt"));
    layer
}

#[test]
fn a_mount_below_the_target_is_filled_and_survives_a_crash_in_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let paths = tree_with_a_mount(dir.path());
    let mut whole = expected(&paths);
    whole.insert("t/mnt/own".into(), Some(b"own".to_vec()));
    let layer = disk_with_a_mount(&dir.path().join("0"));
    let before = layer.steps();
    send(&paths, &layer, Conflicts::Overwrite).unwrap();
    assert!(layer.contents() == whole, "{:?}", layer.contents().keys());
    let steps = layer.steps() - before;
    for (i, crash) in CRASHES.into_iter().enumerate() {
        for step in 1..=steps {
            let place = dir.path().join(format!("{i}-{step}"));
            let layer = disk_with_a_mount(&place);
            layer.revive(Crash::KeepAll);
            layer.die_at(step);
            send(&paths, &layer, Conflicts::Overwrite).unwrap_err();
            layer.revive(crash);
            let context = || format!("{crash:?}, step {step}: {:?}", layer.contents().keys());
            for (path, content) in finals(&layer) {
                // A copy that was not complete keeps a name of ours.
                let is_copy = path.to_string_lossy().ends_with(".part");
                let is_old = path.ends_with("kept") && content.as_deref() == Some(b"older");
                assert!(
                    is_copy || is_old || whole.get(&path) == Some(&content),
                    "{path:?}, {}",
                    context()
                );
            }
            send(&paths, &layer, Conflicts::Update).unwrap();
            assert!(layer.contents() == whole, "{}", context());
        }
    }
}

#[test]
fn a_copy_that_another_run_takes_for_what_a_crash_left_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let paths = tree_with_a_mount(dir.path());
    let run = |name: &str, swept: u64| {
        let layer = disk_with_a_mount(&dir.path().join(name));
        layer.sweep_at(swept);
        send(&paths, &layer, Conflicts::Overwrite).unwrap();
        layer
    };
    let quiet = run("quiet", u64::MAX);
    // The last lock is that of a copy.
    let swept = run("swept", quiet.locks());
    assert!(swept.locks() > quiet.locks());
    assert!(
        swept.contents() == quiet.contents(),
        "{:?}",
        swept.contents().keys()
    );
}

#[test]
fn a_mount_without_room_is_told_before_content_flows() {
    let dir = tempfile::tempdir().unwrap();
    let paths = tree_with_a_mount(dir.path());
    let layer = disk_with_a_mount(&dir.path().join("old"));
    let before = layer.contents();
    let room = |bytes, nodes, largest| Room {
        bytes: Some(bytes),
        nodes: Some(nodes),
        largest: Some(largest),
        ..Room::default()
    };
    for conflicts in [Conflicts::Overwrite, Conflicts::Update] {
        for scarce in [
            room(4_000_000, 100, u64::MAX),
            room(100_000_000, 5, u64::MAX),
            room(100_000_000, 100, 1_600_006),
        ] {
            layer.set_mount_room(scarce);
            match send(&paths, &layer, conflicts) {
                Err(Fault::Receiver(TransferError::Local(
                    LocalError::TooLittleSpace { path, .. }
                    | LocalError::TooFewNodes { path, .. }
                    | LocalError::TooLarge { path, .. },
                ))) => assert!(path.starts_with("OUTPUT/t/mnt"), "{path:?}"),
                other => panic!("{other:?}"),
            }
            assert!(layer.contents() == before, "{:?}", layer.contents().keys());
        }
    }
    layer.set_mount_room(room(4_100_000, 7, 1_600_007));
    send(&paths, &layer, Conflicts::Update).unwrap();
    // What is equal needs no room.
    layer.set_mount_room(room(0, 0, u64::MAX));
    assert_eq!(send(&paths, &layer, Conflicts::Update).unwrap().sent, 0);
}

#[test]
fn names_that_only_a_mount_refuses_or_takes_for_one_get_others_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    for (at, names) in [
        ("", ["README", "readme", "a:b"]),
        ("mnt", ["README", "readme", "a:b"]),
        ("mnt/new/deep", ["read me", "Read Me", "c:d"]),
    ] {
        fs::create_dir_all(tree.join(at)).unwrap();
        for name in names {
            fs::write(tree.join(at).join(name), format!("{at}/{name}")).unwrap();
        }
    }
    let paths = [tree];
    let layer = disk_with_a_mount(dir.path());
    layer.forbid(|name| name.contains(':'));
    layer.take_for_one(str::to_lowercase);
    layer.spare_all_but_mounts();
    let texts = |contents: &std::collections::BTreeMap<PathBuf, Option<Vec<u8>>>| -> BTreeSet<Vec<u8>> {
        contents.values().flatten().cloned().collect()
    };
    let mut wanted = texts(&expected(&paths));
    wanted.extend([b"older".to_vec(), b"own".to_vec()]);
    let mut found = Vec::new();
    for conflicts in [Conflicts::Overwrite, Conflicts::Update, Conflicts::Overwrite] {
        let outcome = send(&paths, &layer, conflicts).unwrap();
        assert_eq!(texts(&layer.contents()), wanted, "{conflicts:?}");
        assert_eq!(outcome.sent == 0, conflicts == Conflicts::Update);
        let [Remark::Renamed(told)] = &outcome.remarks[..] else {
            panic!("{:?}", outcome.remarks);
        };
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|(_, stored)| stored.starts_with("t/mnt")));
        for name in ["t/README", "t/readme", "t/a:b", "t/mnt/README"] {
            assert!(layer.contents().contains_key(Path::new(name)), "{name}");
        }
        found.push(layer.contents());
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}

#[cfg(target_os = "linux")]
#[test]
fn holes_stay_holes_in_a_mount() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    fs::create_dir_all(tree.join("mnt")).unwrap();
    let sparse = fs::File::create(tree.join("mnt/sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    let paths = [tree];
    let layer = disk_with_a_mount(dir.path());
    layer.set_mount_room(Room {
        bytes: Some(1 << 20),
        ..Room::default()
    });
    send(&paths, &layer, Conflicts::Overwrite).unwrap();
    let holes = layer.log().iter().filter(|&&call| call == "punch").count();
    assert_eq!(
        holes,
        1 + 2 * 20,
        "a trial, all of it in the staging directory, and all in the mount"
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_a_mount_does_not_take_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let paths = tree_with_a_mount(dir.path());
    let mut whole = expected(&paths);
    whole.insert("t/mnt/own".into(), Some(b"own".to_vec()));
    whole.remove(Path::new("t/mnt/link"));
    let layer = disk_with_a_mount(&dir.path().join("old"));
    layer.refuse_links_in_mounts();
    for conflicts in [Conflicts::Overwrite, Conflicts::Update] {
        let outcome = send(&paths, &layer, conflicts).unwrap();
        assert_eq!(outcome.remarks, [Remark::LinksLost(1)]);
        assert!(layer.contents() == whole, "{:?}", layer.contents().keys());
    }
}
