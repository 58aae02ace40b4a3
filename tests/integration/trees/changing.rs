//! Trees that change while they are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use p2pcopy::parts::transfer::{Conflicts, ScanOptions, Source, scan};
use proptest::prelude::*;

use super::{MIB, disk, names, place, snapshot, write};
use crate::pair::{self, Fault, Outcome, Rng, Setup};

/// Sends `src/t`, and does something to it before the first block from `after` on is read.
pub(super) fn send(
    p: &super::Place,
    setup: Setup,
    after: u32,
    mut change: impl FnMut(),
) -> Result<Outcome, Fault> {
    let scanned = scan(&[p.src.join("t")], &ScanOptions::default()).unwrap();
    let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
    let mut is_done = false;
    let mut once = |block| {
        if block >= after && !std::mem::replace(&mut is_done, block >= after) {
            change();
        }
    };
    pair::run_changing(manifest, source, disk(&p.out), setup, &mut once)
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A file of long ago, which is no log.
fn write_old(path: &Path, seed: u64, len: usize) {
    write_dated(path, seed, len, 1_000_000);
}

/// A file of some seconds ago.
pub(super) fn write_dated(path: &Path, seed: u64, len: usize, seconds: u64) {
    write(path, seed, len);
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
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
    assert!(names(&p.out.join("t/d")).is_empty() && names(&p.out) == ["t", "t.part"]);
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
    /// Another file appears beside it.
    Appear,
    Rename,
    /// Another file of the tree takes its place.
    Replace,
    DirInstead,
    LinkInstead,
    Close,
    /// All of its directory goes elsewhere.
    MoveDir,
    /// And a link to it takes its place.
    LinkDir,
}

fn any_change() -> impl Strategy<Value = Change> {
    let mut changes = vec![
        Change::Remove,
        Change::Rewrite,
        Change::Cut,
        Change::Grow,
        Change::Patch,
        Change::Appear,
    ];
    // Windows moves and replaces nothing that is open, and nothing that holds something open; new content may take the
    // place of a file that is not.
    if cfg!(unix) {
        changes.extend([
            Change::Rename,
            Change::Replace,
            Change::DirInstead,
            Change::LinkInstead,
            Change::Close,
            Change::MoveDir,
            Change::LinkDir,
        ]);
    }
    prop::sample::select(changes)
}

/// What is at `path`, if it is a file that is reached through no link.
fn state(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let mut at = root.to_owned();
    for part in path {
        at.push(part);
        if fs::symlink_metadata(&at).ok()?.is_symlink() {
            return None;
        }
    }
    fs::read(at).ok()
}

fn link(to: &Path, at: &Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(to, at).unwrap();
    #[cfg(not(unix))]
    let _ = (to, at);
}

/// Does something to the file at `path` below `root`. `other` is one more file of the tree.
fn make(change: Change, root: &Path, path: &Path, other: &Path, seed: u64) {
    let Some(before) = state(root, path) else { return };
    let (path, other) = (&root.join(path), &root.join(other));
    let dir = path.parent().unwrap();
    let elsewhere = root.join(format!("moved{seed}"));
    match change {
        Change::Remove => fs::remove_file(path).unwrap(),
        Change::Rewrite => {
            let new = path.with_extension("new");
            write(&new, seed, before.len() + seed as usize % 2);
            let replaced = fs::rename(new, path);
            assert!(replaced.is_ok() || cfg!(windows), "{replaced:?}");
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
        Change::Appear => drop(write(&path.with_extension("appeared"), seed, 1000)),
        Change::Rename => fs::rename(path, path.with_extension("renamed")).unwrap(),
        Change::Replace if other != path && fs::symlink_metadata(other).is_ok_and(|m| m.is_file()) => {
            fs::rename(other, path).unwrap();
        }
        Change::Replace => {}
        Change::DirInstead => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            write(&path.join("in it"), seed, 10);
        }
        Change::LinkInstead => {
            fs::remove_file(path).unwrap();
            link(other, path);
        }
        Change::Close => {
            let mut mode = fs::metadata(path).unwrap().permissions();
            #[cfg(unix)]
            std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0);
            #[cfg(not(unix))]
            mode.set_readonly(true);
            fs::set_permissions(path, mode).unwrap();
        }
        Change::MoveDir | Change::LinkDir => {
            // The tree's own directory holds a file that nothing happens to.
            if dir.ends_with("t") || elsewhere.exists() {
                return;
            }
            fs::rename(dir, &elsewhere).unwrap();
            if matches!(change, Change::LinkDir) {
                link(&elsewhere, dir);
            }
        }
    }
}

/// All files below `dir`.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let all = snapshot(dir).into_iter();
    all.filter_map(|(path, what)| what.starts_with("file").then_some(path))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_arrives_is_each_file_as_it_was_once_and_the_list_of_the_others_is_exact(
        seed: u64,
        sizes in proptest::collection::vec(prop_oneof![0..3000usize, 0..3 * MIB], 2..12),
        changes in proptest::collection::vec(
            (0..14u32, any_change(), any::<[prop::sample::Index; 2]>()),
            1..10,
        ),
    ) {
        let p = place();
        fs::create_dir_all(p.src.join("t/d/e")).unwrap();
        let mut rng = Rng::new(seed);
        let name = |n: usize| PathBuf::from(["t", "t/d", "t/d/e"][n % 3]).join(format!("{n:02}"));
        // Every state that each file has had; the first is its own, which none of the changes touches.
        let mut states: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
        write_old(&p.src.join("t/own"), 1, 100);
        states.insert("t/own".into(), vec![fs::read(p.src.join("t/own")).unwrap()]);
        for (n, &size) in sizes.iter().enumerate() {
            // Some may be logs. Clocks of file systems are coarse: none is of this very moment.
            let age = if rng.chance(50) { 1_000_000 } else { 10 };
            write_dated(&p.src.join(name(n)), seed ^ n as u64, size, age);
            states.insert(name(n), vec![fs::read(p.src.join(name(n))).unwrap()]);
        }
        let listed: BTreeSet<PathBuf> = states.keys().cloned().collect();
        let scanned = scan(&[p.src.join("t")], &ScanOptions::default()).unwrap();
        let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
        let mut changes: Vec<_> = changes.into_iter().zip(1..).collect();
        let mut change = |block: u32| {
            changes.retain(|((when, change, at), number)| {
                if block < *when {
                    return true;
                }
                let [path, other] = at.map(|at| name(at.index(sizes.len())));
                make(*change, &p.src, &path, &other, seed ^ number);
                for (path, states) in &mut states {
                    states.extend(state(&p.src, path));
                }
                false
            });
        };
        let setup = Setup { seed, ..Setup::default() };
        let outcome = pair::run_changing(manifest, source, disk(&p.out), setup, &mut change).unwrap();
        let missing: BTreeSet<PathBuf> = outcome.missing.iter().cloned().collect();
        prop_assert_eq!(missing.len(), outcome.missing.len(), "each once");
        let mut arrived = files(&p.out);
        arrived.retain(|path| path.starts_with("t"));
        prop_assert_eq!(&arrived, &listed.difference(&missing).cloned().collect(), "all but those, and nothing else");
        for path in arrived {
            let content = fs::read(p.out.join(&path)).unwrap();
            // Of a file that grew, as many bytes as it had when it was listed.
            let is_state = states[&path].iter().any(|state| state.starts_with(&content));
            let listed = states[&path][0].len();
            prop_assert!(is_state && content.len() == listed, "{:?} is none of its states", path);
        }
    }
}
