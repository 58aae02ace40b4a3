//! The receiver dies in every step it takes on the disk, and goes on when it is started again.
//!
//! After each death: no final name holds anything but the right content; the next run ends with exactly it.

use std::fs;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{
    Conflicts, LocalError, Offer, Room, ScanOptions, Source, TransferError, discard, prospect, scan,
    stream_manifest,
};

use crate::memory::{Crash, MemoryLayer};
use crate::pair::{self, Fault, Outcome, Rng, Setup, run};
use crate::remains::{CRASHES, assert_nothing_wrong, assert_whole, expected, finals};

const MIB: usize = 1 << 20;

fn send(paths: &[PathBuf], layer: &MemoryLayer, setup: Setup) -> Result<Outcome, Fault> {
    pair::send(paths, layer.clone(), setup)
}

/// Dies in every step of receiving `paths`, in every manner.
fn crash_everywhere(paths: &[PathBuf]) {
    for conflicts in [Conflicts::Update, Conflicts::Rename] {
        crash_everywhere_under(conflicts, paths);
    }
}

fn crash_everywhere_under(conflicts: Conflicts, paths: &[PathBuf]) {
    let expected = expected(paths);
    let setup = Setup {
        seed: 5,
        conflicts,
        ..Setup::default()
    };
    let healthy = MemoryLayer::new();
    send(paths, &healthy, setup).unwrap();
    assert!(healthy.contents() == expected);
    let steps = healthy.steps();
    healthy.revive(Crash::LoseAll);
    let left = finals(&healthy);
    assert!(left == expected, "done means that no power loss undoes it");
    for crash in CRASHES {
        for step in 1..=steps {
            let layer = MemoryLayer::new();
            layer.die_at(step);
            let first = send(paths, &layer, setup);
            assert!(first.is_err() && layer.is_dead(), "step {step} of {steps}");
            let context = || format!("{crash:?}, died in step {step}: {:?}", layer.log().last());
            layer.revive(crash);
            assert_nothing_wrong(&layer, &expected, &context());
            let log = context();
            let second = send(paths, &layer, Setup { seed: 6, ..setup });
            assert!(second.is_ok(), "{second:?}, {log}");
            assert_whole(&layer, &expected, conflicts, &log);
        }
    }
}

#[test]
fn one_file_survives_a_crash_in_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, Rng::new(3).bytes(3 * MIB + 500)).unwrap();
    crash_everywhere(&[file]);
}

#[test]
#[cfg(unix)]
fn a_tree_survives_a_crash_in_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("photos");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("a.jpg"), Rng::new(1).bytes(700_000)).unwrap();
    fs::write(tree.join("deep/b.jpg"), Rng::new(2).bytes(MIB + 9)).unwrap();
    fs::write(tree.join("deep/er/empty"), b"").unwrap();
    std::os::unix::fs::symlink("../a.jpg", tree.join("deep/link")).unwrap();
    fs::hard_link(tree.join("deep/b.jpg"), tree.join("deep/er/again.jpg")).unwrap();
    let note = dir.path().join("note.txt");
    fs::write(&note, b"hello").unwrap();
    crash_everywhere(&[tree, note]);
}

/// All pipes of one name have one list, whatever comes out of them.
#[test]
fn a_pipe_that_came_whole_is_not_gone_on_with_by_another() {
    let (old, new) = (Rng::new(1).bytes(2 * MIB + 9), Rng::new(2).bytes(2 * MIB + 9));
    let pipe = |content: &[u8], layer: &MemoryLayer| {
        let source = Source::pipe(Box::new(std::io::Cursor::new(content.to_vec())));
        let manifest = stream_manifest("dir.tar").unwrap();
        run(manifest, source, layer.clone(), Setup::default())
    };
    let mut met = 0;
    for step in 1..100 {
        let layer = MemoryLayer::new();
        layer.die_at(step);
        if pipe(&old, &layer).is_ok() {
            break;
        }
        layer.revive(Crash::KeepAll);
        let offer = Offer::of(&stream_manifest("dir.tar").unwrap()).unwrap();
        if prospect(&layer, &offer).unwrap().complete.is_empty() {
            continue;
        }
        met += 1;
        pipe(&new, &layer).unwrap();
        let contents = layer.contents();
        let bytes = |name: &str| contents[Path::new(name)].clone().unwrap();
        assert!(
            bytes("dir.tar") == old && bytes("dir (1).tar") == new,
            "step {step}"
        );
    }
    assert!(
        met > 0,
        "it died between the last block and the name at least once"
    );
}

/// Its user chose another rule than that of the run that comes after, and is told before anything is placed.
#[test]
fn what_a_dead_run_left_complete_is_placed_first_and_under_its_own_rule() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, theirs) = (dir.path().join("1/vm.img"), dir.path().join("2/vm.img"));
    for (seed, file) in [&mine, &theirs].into_iter().enumerate() {
        fs::create_dir(file.parent().unwrap()).unwrap();
        // The lengths differ, so these are different transfers even if the files have the same times.
        fs::write(file, Rng::new(seed as u64).bytes(MIB + 9 + seed)).unwrap();
    }
    let scanned = scan(std::slice::from_ref(&theirs), &ScanOptions::default()).unwrap();
    let offer = Offer::of(&scanned.manifest).unwrap();
    let overwrite = Setup {
        conflicts: Conflicts::Overwrite,
        ..Setup::default()
    };
    let mut met = 0;
    for step in 1..100 {
        let layer = MemoryLayer::new();
        layer.put("vm.img", b"diary");
        layer.die_at(step);
        if send(std::slice::from_ref(&mine), &layer, Setup::default()).is_ok() {
            break;
        }
        layer.revive(Crash::KeepAll);
        let before = layer.contents();
        let seen = prospect(&layer, &offer).unwrap();
        assert!(layer.contents() == before, "to look changes nothing");
        let Some(complete) = seen.complete.first() else {
            continue;
        };
        assert_eq!(
            (complete.conflicts, &complete.names[..]),
            (Conflicts::Rename, &["vm.img".into()][..])
        );
        met += 1;
        send(std::slice::from_ref(&theirs), &layer, overwrite).unwrap();
        let contents = layer.contents();
        let bytes = |name: &str| contents[Path::new(name)].clone().unwrap();
        assert!(bytes("vm (1).img") == fs::read(&mine).unwrap(), "step {step}");
        assert!(bytes("vm.img") == fs::read(&theirs).unwrap(), "step {step}");
        assert_eq!(contents.len(), 2, "step {step}");
    }
    assert!(met > 0);
}

/// Whatever a death leaves is a final name, or provably ours.
#[test]
fn what_a_death_leaves_can_be_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, Rng::new(3).bytes(2 * MIB + 500)).unwrap();
    let paths = [file];
    let healthy = MemoryLayer::new();
    send(&paths, &healthy, Setup::default()).unwrap();
    for crash in CRASHES {
        for step in 1..=healthy.steps() {
            let layer = MemoryLayer::new();
            layer.die_at(step);
            assert!(send(&paths, &layer, Setup::default()).is_err());
            layer.revive(crash);
            let finals = finals(&layer);
            discard(&layer).unwrap();
            let left = layer.contents();
            assert!(left == finals, "{crash:?}, step {step}: {:?}", left.keys());
        }
    }
}

/// Where everybody may write, another user can be first, or put a directory of his in the place of ours.
#[test]
fn a_directory_of_another_user_is_not_received_into() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, Rng::new(3).bytes(2 * MIB)).unwrap();
    let setup = Setup {
        die_after: Some(1),
        ..Setup::default()
    };
    let layer = MemoryLayer::new();
    assert!(send(std::slice::from_ref(&file), &layer, setup).unwrap().died);
    layer.give(Path::new("vm.img.part"), 4711);
    let scanned = scan(std::slice::from_ref(&file), &ScanOptions::default()).unwrap();
    let seen = prospect(&layer, &Offer::of(&scanned.manifest).unwrap()).unwrap();
    assert_eq!((seen.kept, seen.strangers.len()), (None, 1));
    let layer = MemoryLayer::new();
    layer.swap_new_directories(4711);
    match send(&[file], &layer, Setup::default()) {
        Err(Fault::Receiver(TransferError::Local(e))) => {
            assert!(e.to_string().contains("another user"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!layer.contents().contains_key(Path::new("vm.img")));
}

#[test]
fn a_second_death_while_resuming_is_survived_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, Rng::new(4).bytes(4 * MIB + 1)).unwrap();
    let paths = [file];
    let expected = expected(&paths);
    let mut rng = Rng::new(99);
    for seed in 0..60 {
        let layer = MemoryLayer::new();
        let setup = Setup {
            seed,
            conflicts: Conflicts::Update,
            ..Setup::default()
        };
        for _ in 0..4 {
            layer.die_at(1 + rng.next() % 25);
            if send(&paths, &layer, setup).is_ok() {
                break;
            }
            layer.revive(CRASHES[rng.below(CRASHES.len())]);
        }
        layer.revive(Crash::KeepAll);
        send(&paths, &layer, setup).unwrap();
        assert!(
            layer.contents() == expected,
            "seed {seed}: {:?}",
            layer.contents().keys()
        );
    }
}

/// Each chain: the program dies once to five times, in a step on the disk (after which what was not synced may be
/// gone) or after some blocks, with a piece damaged on the way; then it is left in peace.
#[test]
fn a_thousand_chains_of_deaths_and_resumes_end_exact() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("photos");
    fs::create_dir_all(tree.join("deep")).unwrap();
    fs::write(tree.join("a.jpg"), Rng::new(1).bytes(300_000)).unwrap();
    fs::write(tree.join("deep/b.jpg"), Rng::new(2).bytes(MIB + 9)).unwrap();
    fs::write(tree.join("deep/empty"), b"").unwrap();
    let paths = [tree];
    let expected = expected(&paths);
    let chain = |seed: u64| {
        let mut rng = Rng::new(seed);
        let layer = MemoryLayer::new();
        for _ in 0..1 + rng.below(5) {
            let mut setup = Setup {
                seed: rng.next(),
                damage: rng.chance(30).then(|| rng.below(3) as u32),
                conflicts: Conflicts::Update,
                ..Setup::default()
            };
            let on_the_disk = rng.chance(70);
            if on_the_disk {
                layer.die_at(1 + rng.next() % 40);
            } else {
                setup.die_after = Some(rng.below(3) as u32);
            }
            let ended = send(&paths, &layer, setup);
            layer.revive(if on_the_disk && ended.is_err() {
                CRASHES[rng.below(CRASHES.len())]
            } else {
                Crash::KeepAll
            });
            assert_nothing_wrong(&layer, &expected, &format!("seed {seed}"));
            if ended.is_ok_and(|outcome| !outcome.died) {
                break;
            }
        }
        let setup = Setup {
            conflicts: Conflicts::Update,
            ..Setup::default()
        };
        let last = send(&paths, &layer, setup);
        assert!(last.is_ok(), "seed {seed}: {last:?}");
        assert!(
            layer.contents() == expected,
            "seed {seed}: {:?}",
            layer.contents().keys()
        );
    };
    std::thread::scope(|scope| {
        for half in 0..2 {
            let chain = &chain;
            scope.spawn(move || (0..500).for_each(|i| chain(i * 2 + half)));
        }
    });
}

#[test]
fn too_little_space_is_found_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vm.img");
    fs::write(&file, Rng::new(8).bytes(2 * MIB)).unwrap();
    let layer = MemoryLayer::new();
    layer.set_room(Room {
        bytes: Some(MIB as u64),
        ..Room::default()
    });
    match send(&[file], &layer, Setup::default()) {
        Err(Fault::Receiver(TransferError::Local(LocalError::TooLittleSpace { .. }))) => {}
        other => panic!("{other:?}"),
    }
    assert!(layer.contents().is_empty());
}

#[test]
fn empty_directories_take_room_and_nodes_too() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    for i in 0..500 {
        fs::create_dir_all(tree.join(format!("{i}"))).unwrap();
    }
    for (bytes, nodes) in [(500 * 4096, 1000), (501 * 4096, 500)] {
        let layer = MemoryLayer::new();
        layer.set_room(Room {
            bytes: Some(bytes),
            nodes: Some(nodes),
            ..Room::default()
        });
        match send(std::slice::from_ref(&tree), &layer, Setup::default()) {
            Err(Fault::Receiver(TransferError::Local(
                LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. },
            ))) => {}
            other => panic!("{other:?}"),
        }
        assert!(layer.contents().is_empty());
    }
    let layer = MemoryLayer::new();
    layer.set_room(Room {
        bytes: Some(501 * 4096),
        nodes: Some(501),
        ..Room::default()
    });
    send(&[tree], &layer, Setup::default()).unwrap();
}

/// A directory with one file of this content for each of these names.
#[cfg(target_os = "linux")]
pub fn tree_of(dir: &Path, names: &[&str]) -> PathBuf {
    let tree = dir.join("t");
    fs::create_dir(&tree).unwrap();
    for (i, name) in names.iter().enumerate() {
        fs::write(tree.join(name), Rng::new(i as u64).bytes(1000 + i)).unwrap();
    }
    tree
}

/// Names that this disk keeps apart, although another disk may not. They must not be refused.
#[test]
#[cfg(target_os = "linux")]
fn names_that_are_two_on_this_disk_survive_a_crash_in_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["README", "readme", "caf\u{e9}", "cafe\u{301}", "\u{fb01}n", "fin"];
    crash_everywhere(&[tree_of(dir.path(), &names)]);
}
