//! Trees that change while they are sent.

use super::{MIB, disk, names, place, snapshot, write};
use crate::pair::{self, Fault, Outcome, Rng, Setup};
use p2pcopy::parts::transfer::{Conflicts, ScanOptions, Source, scan};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Sends `src/t`, and does something to it before the first block from `after` on is read.
fn send(p: &super::Place, setup: Setup, after: u32, mut change: impl FnMut()) -> Result<Outcome, Fault> {
    let scanned = scan(&[p.src.join("t")], &ScanOptions::default()).unwrap();
    let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
    pair::run_changing(manifest, source, disk(&p.out), setup, (after, &mut change))
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A file of long ago, which is no log.
fn write_old(path: &Path, seed: u64, len: usize) {
    write(path, seed, len);
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
}

#[test]
fn what_goes_or_changes_is_left_out_and_all_else_arrives() {
    let p = place();
    let at = |name: &str| p.src.join("t").join(name);
    fs::create_dir_all(at("d")).unwrap();
    for (n, name) in ["a", "big", "cut", "d/small", "log", "rewritten", "z"]
        .into_iter()
        .enumerate()
    {
        let len = if name == "big" { 9 * MIB + 5 } else { 300_000 };
        write_old(&at(name), n as u64, len);
    }
    // A log was written to just now.
    let log = write(&at("log"), 9, 2 * MIB + 7);
    let setup = Setup {
        damage: Some(6),
        ..Setup::default()
    };
    let outcome = send(&p, setup, 5, || {
        for name in ["big", "cut"] {
            let file = File::options().write(true).open(at(name)).unwrap();
            file.set_len(5).unwrap();
        }
        fs::remove_file(at("d/small")).unwrap();
        write(&at("rewritten"), 99, 300_000);
        append(&at("log"), b"one more line\n");
    })
    .unwrap();
    let missing: Vec<_> = ["t/big", "t/cut", "t/rewritten", "t/d/small"]
        .map(PathBuf::from)
        .into();
    assert_eq!(outcome.missing, missing);
    assert_eq!(names(&p.out.join("t")), ["a", "d", "log", "z"]);
    assert!(names(&p.out.join("t/d")).is_empty() && names(&p.out) == ["t"]);
    assert!(
        fs::read(p.out.join("t/log")).unwrap() == log,
        "as it was when it was listed"
    );
    assert!(outcome.sent < 12 * MIB as u64, "what is gone does not move");
    // The same again, with --update, brings what is there now.
    write_old(&at("d/small"), 3, 300_000);
    let setup = Setup {
        conflicts: Conflicts::Update,
        ..Setup::default()
    };
    let outcome = send(&p, setup, u32::MAX, || ()).unwrap();
    assert!(outcome.missing.is_empty() && outcome.root.is_some());
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn a_log_that_is_also_changed_before_its_end_is_left_out() {
    let p = place();
    fs::create_dir(p.src.join("t")).unwrap();
    write_old(&p.src.join("t/a"), 1, 10);
    let log = p.src.join("t/log");
    write(&log, 2, 4 * MIB);
    let outcome = send(&p, Setup::default(), 3, || {
        let file = File::options().write(true).open(&log).unwrap();
        (&file).write_all(b"another beginning").unwrap();
        append(&log, b"and another end");
    })
    .unwrap();
    assert_eq!(outcome.missing, [PathBuf::from("t/log")]);
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Remove,
    Rewrite,
    Cut,
    Grow,
    Patch,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Remove),
        Just(Change::Rewrite),
        Just(Change::Cut),
        Just(Change::Grow),
        Just(Change::Patch),
    ]
}

fn make(change: Change, path: &Path, seed: u64) {
    let Ok(before) = fs::read(path) else { return };
    match change {
        Change::Remove => fs::remove_file(path).unwrap(),
        Change::Rewrite => {
            let other = path.with_extension("new");
            write(&other, seed, before.len() + seed as usize % 2);
            fs::rename(other, path).unwrap();
        }
        Change::Cut => File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(before.len() as u64 / 2)
            .unwrap(),
        Change::Grow => append(path, b"more"),
        Change::Patch => {
            let mut file = File::options().write(true).open(path).unwrap();
            file.write_all(&seed.to_le_bytes()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_arrives_is_each_file_as_it_was_once_and_the_list_of_the_others_is_exact(
        seed: u64,
        sizes in proptest::collection::vec(prop_oneof![0..3000usize, 0..3 * MIB], 2..12),
        changes in proptest::collection::vec((any_change(), any::<prop::sample::Index>()), 1..8),
        after in 0..12u32,
    ) {
        let p = place();
        fs::create_dir(p.src.join("t")).unwrap();
        let mut rng = Rng::new(seed);
        let name = |n: usize| PathBuf::from(format!("t/{n:02}"));
        // Every state that each file has had; the first is its own, which none of the changes touches.
        let mut states: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
        write_old(&p.src.join("t/own"), 1, 100);
        states.insert("t/own".into(), vec![fs::read(p.src.join("t/own")).unwrap()]);
        for (n, &size) in sizes.iter().enumerate() {
            if rng.chance(50) {
                write_old(&p.src.join(name(n)), seed ^ n as u64, size);
            } else {
                write(&p.src.join(name(n)), seed ^ n as u64, size);
            }
            states.insert(name(n), vec![fs::read(p.src.join(name(n))).unwrap()]);
        }
        let listed: Vec<PathBuf> = states.keys().cloned().collect();
        let outcome = send(&p, Setup { seed, ..Setup::default() }, after, || {
            for (change, at) in &changes {
                let path = name(at.index(sizes.len()));
                make(*change, &p.src.join(&path), seed | 1);
                if let Ok(now) = fs::read(p.src.join(&path)) {
                    states.get_mut(&path).unwrap().push(now);
                }
            }
        });
        let outcome = outcome.unwrap();
        for path in listed {
            let arrived = fs::read(p.out.join(&path));
            prop_assert_eq!(arrived.is_err(), outcome.missing.contains(&path), "{:?}", path);
            if let Ok(arrived) = arrived {
                // Of what grew, so much as it was when it was listed.
                let listed = states[&path][0].len();
                let is_state = states[&path].iter().any(|state| state.starts_with(&arrived));
                prop_assert!(is_state && arrived.len() == listed, "{:?} is none of its states", path);
            }
        }
        prop_assert_eq!(names(&p.out), ["t"]);
    }
}
