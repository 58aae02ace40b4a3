//! A transfer that was done, but not complete, and the same commands given again.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{Conflicts, Remark, ScanOptions, Source, discard, scan};

use super::changing::{self, write_dated};
use super::{MIB, disk, names, place, snapshot};
use crate::memory::MemoryLayer;
use crate::pair::{self, Outcome, Setup};
use crate::remains::{CRASHES, assert_nothing_wrong, expected, finals};

/// A file of long ago, which is no log.
fn write_old(path: &Path, seed: u64, len: usize) {
    write_dated(path, seed, len, 1_000_000 - seed);
}

const NAMES: [&str; 6] = ["a", "big", "d/e", "d/other", "late", "z"];

fn tree(p: &super::Place) -> PathBuf {
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("d")).unwrap();
    for (n, name) in NAMES.into_iter().enumerate() {
        let len = if name == "big" { 3 * MIB + 5 } else { 400_000 + n };
        write_old(&tree.join(name), n as u64, len);
    }
    tree
}

/// Sends the tree while `change` happens to it.
fn send_changing(p: &super::Place, setup: Setup, change: impl FnMut()) -> Outcome {
    changing::send(p, setup, 0, change).unwrap()
}

fn send(p: &super::Place, setup: Setup) -> Outcome {
    send_changing(p, setup, || ())
}

/// Sends the tree without `late`, which is there again afterwards and other than it was.
fn send_without_late(p: &super::Place) {
    let outcome = send_changing(p, Setup::default(), || {
        write_old(&p.src.join("t/late"), 77, 300_000)
    });
    assert_eq!(outcome.missing, [PathBuf::from("t/late")]);
}

#[test]
fn the_same_again_adds_what_is_missing_and_asks_for_nothing_else() {
    let p = place();
    let tree = tree(&p);
    send_without_late(&p);
    assert_eq!(names(&p.out), ["t", "t.part"], "what came is noted");
    let mut unchanged = snapshot(&p.out.join("t"));
    let outcome = send(&p, Setup::default());
    assert!(outcome.missing.is_empty() && outcome.root.is_some());
    assert!(outcome.sent <= 2 * MIB as u64, "{}", outcome.sent);
    assert_eq!(
        snapshot(&p.out),
        snapshot(&p.src),
        "and nothing else is left there"
    );
    let after = snapshot(&p.out.join("t"));
    unchanged.retain(|path, _| after.get(path).is_some_and(|what| what.starts_with("file")));
    assert!(unchanged.iter().all(|(path, what)| after[path] == *what) && unchanged.len() == 5);
    // Complete, it is like any other tree of that name.
    send(&p, Setup::default());
    assert_eq!(names(&p.out), ["t", "t (1)"]);
    assert_eq!(snapshot(&p.out.join("t (1)")), snapshot(&tree));
}

#[test]
fn what_changed_since_at_the_source_is_renewed_and_what_the_user_changed_stays() {
    let p = place();
    let tree = tree(&p);
    send_without_late(&p);
    write_old(&tree.join("a"), 88, 500_000);
    fs::write(p.out.join("t/d/e"), b"the user's own words").unwrap();
    let outcome = send(&p, Setup::default());
    let beside = Remark::Beside("t/d/e".into(), "t/d/e (1)".into());
    assert_eq!(outcome.remarks, [beside]);
    assert_eq!(fs::read(p.out.join("t/d/e")).unwrap(), b"the user's own words");
    fs::rename(p.out.join("t/d/e (1)"), p.out.join("t/d/e")).unwrap();
    let content = |dir: &Path| NAMES.map(|name| fs::read(dir.join(name)).unwrap());
    assert!(content(&p.out.join("t")) == content(&tree));
    assert_eq!(names(&p.out), ["t"]);
}

#[test]
fn what_is_missing_twice_is_added_in_the_end() {
    let p = place();
    let tree = tree(&p);
    send_without_late(&p);
    // Now one that has come changes while it is sent.
    let outcome = send_changing(&p, Setup::default(), || write_old(&tree.join("z"), 99, 400_001));
    assert_eq!(outcome.missing, [PathBuf::from("t/z")]);
    assert!(p.out.join("t/z").exists() && p.out.join("t/late").exists());
    send(&p, Setup::default());
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn it_is_added_to_the_name_that_it_got() {
    let p = place();
    tree(&p);
    fs::create_dir(p.out.join("t")).unwrap();
    fs::write(p.out.join("t/a"), b"somebody else's").unwrap();
    send_without_late(&p);
    send_changing(&p, Setup::default(), || {
        write_old(&p.src.join("t/late"), 78, 300_000)
    });
    send(&p, Setup::default());
    assert_eq!(names(&p.out), ["t", "t (1)"]);
    assert_eq!(snapshot(&p.out.join("t (1)")), snapshot(&p.src.join("t")));
    assert_eq!(fs::read(p.out.join("t/a")).unwrap(), b"somebody else's");
}

#[test]
fn other_files_under_the_same_names_are_not_mixed_in() {
    let p = place();
    let tree = tree(&p);
    send_without_late(&p);
    let before = snapshot(&p.out.join("t"));
    for (n, name) in NAMES.into_iter().enumerate() {
        write_old(&tree.join(name), 200 + n as u64, 123_456);
    }
    send(&p, Setup::default());
    assert_eq!(names(&p.out), ["t", "t (1)", "t.part"]);
    assert_eq!(snapshot(&p.out.join("t")), before);
    let removed = discard(&disk(&p.out)).unwrap();
    assert_eq!(
        removed.iter().map(|left| &left.name).collect::<Vec<_>>(),
        [Path::new("t.part")]
    );
}

#[test]
fn a_file_that_only_looks_the_same_is_replaced_whole() {
    let p = place();
    let tree = tree(&p);
    send_without_late(&p);
    // Other bytes under the same size and time.
    let big = tree.join("big");
    let time = fs::metadata(&big).unwrap().modified().unwrap();
    let file = File::options().write(true).open(&big).unwrap();
    let mut content = fs::read(&big).unwrap();
    content[2 * MIB + 9] ^= 1;
    fs::write(&big, &content).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    let outcome = send(&p, Setup::default());
    assert!(outcome.sent <= 3 * MIB as u64, "{}", outcome.sent);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn adding_that_was_interrupted_goes_on() {
    for die_after in [1, 2, 3, 4] {
        let p = place();
        tree(&p);
        send_without_late(&p);
        let dies = Setup {
            die_after: Some(die_after),
            ..Setup::default()
        };
        assert!(send(&p, dies).died);
        send(&p, Setup::default());
        assert_eq!(snapshot(&p.out), snapshot(&p.src), "{die_after}");
    }
}

#[test]
fn every_rule_adds_to_what_came() {
    for conflicts in [Conflicts::Overwrite, Conflicts::Update] {
        let p = place();
        tree(&p);
        send_without_late(&p);
        let setup = Setup {
            conflicts,
            ..Setup::default()
        };
        let outcome = send(&p, setup);
        assert!(outcome.sent <= 2 * MIB as u64, "{conflicts:?}");
        assert_eq!(snapshot(&p.out), snapshot(&p.src), "{conflicts:?}");
    }
}

/// Everything but what stands for something that is not complete, by the names that were sent.
fn plain(path: &Path) -> PathBuf {
    path.to_string_lossy().replace(" (1)", "").into()
}

#[test]
fn adding_survives_a_crash_in_every_step() {
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("d")).unwrap();
    for (n, name) in ["a", "d/e", "z"].into_iter().enumerate() {
        write_old(&tree.join(name), n as u64, 3000 + n);
    }
    let paths = [tree.clone()];
    let late = tree.join("d/late");
    // The list is the same again, and it is another.
    for seed in [5, 6] {
        for crash in CRASHES {
            for step in 1.. {
                write_old(&late, 5, 4000);
                let layer = MemoryLayer::new();
                let scanned = scan(&paths, &ScanOptions::default()).unwrap();
                let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
                let times =
                    [&*late, late.parent().unwrap()].map(|path| fs::metadata(path).unwrap().modified());
                let mut remove = |_: u32| drop(fs::remove_file(&late));
                let first =
                    pair::run_changing(manifest, source, layer.clone(), Setup::default(), &mut remove);
                assert_eq!(first.unwrap().missing, [PathBuf::from("t/d/late")]);
                write_old(&late, seed, 4000);
                if seed == 5 {
                    for (path, time) in [&*late, late.parent().unwrap()].into_iter().zip(times) {
                        let times = FileTimes::new().set_modified(time.unwrap());
                        File::open(path).unwrap().set_times(times).unwrap();
                    }
                }
                let expected = expected(&paths);
                layer.die_at(step);
                let second = pair::send(&paths, layer.clone(), Setup::default());
                let context = format!("{crash:?}, died in step {step}: {:?}", layer.log().last());
                if !layer.is_dead() {
                    second.unwrap();
                    assert!(layer.contents() == expected);
                    break;
                }
                layer.revive(crash);
                assert_nothing_wrong(&layer, &expected, &context);
                let third = pair::send(&paths, layer.clone(), Setup::default());
                assert!(third.is_ok(), "{third:?}, {context}");
                let found = finals(&layer);
                assert!(
                    expected
                        .iter()
                        .all(|(path, content)| found.get(path) == Some(content)),
                    "{context}"
                );
                // Where the dead run had begun to give names, the rest may have come under others.
                assert!(
                    found
                        .iter()
                        .all(|(path, content)| expected.get(&plain(path)) == Some(content)),
                    "{context}"
                );
            }
        }
    }
}
