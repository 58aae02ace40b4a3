//! Whole transfers over the real file system: whatever is sent arrives exactly.

#[cfg(unix)]
mod again;
mod beside;
mod changing;
#[cfg(unix)]
mod every_kind;
#[cfg(windows)]
mod held;
#[cfg(unix)]
mod links;
mod moved;
mod pipes;
mod resumed;
#[cfg(unix)]
mod strangers;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{
    Conflicts, DiskLayer, Offer, OwnerKey, ScanOptions, Source, TransferError, discard, prospect, scan,
    stream_manifest,
};

use crate::pair::{self, Fault, Outcome, Rng, Setup, run};

const MIB: usize = 1 << 20;

const UPDATE: Setup = Setup {
    seed: 1,
    piece: 60_000,
    buffers: 8,
    window: 6,
    conflicts: Conflicts::Update,
    die_after: None,
    damage: None,
};

struct Place {
    _dir: tempfile::TempDir,
    src: PathBuf,
    out: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (src, out) = (dir.path().join("src"), dir.path().join("out"));
    fs::create_dir(&src).unwrap();
    fs::create_dir(&out).unwrap();
    Place { _dir: dir, src, out }
}

fn send(paths: &[PathBuf], out: &Path, setup: Setup) -> Result<Outcome, Fault> {
    pair::send(paths, disk(out), setup)
}

/// The output directory, of a user who is the same in every run.
fn disk(out: &Path) -> DiskLayer {
    DiskLayer::new(out, OwnerKey::from_bytes([7; 32])).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Everything under `dir` that must be the same on both sides.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let (mut out, mut pending) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(dir.join(&at)).unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let meta = fs::symlink_metadata(dir.join(&path)).unwrap();
            let mtime = meta.modified().unwrap();
            #[cfg(unix)]
            let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
            #[cfg(not(unix))]
            let mode = 0;
            let what = if meta.is_dir() {
                pending.push(path.clone());
                format!("dir {mode:o} {mtime:?}")
            } else if meta.is_symlink() {
                let target = fs::read_link(dir.join(&path)).unwrap();
                format!("link {mtime:?} {target:?}")
            } else {
                format!(
                    "file {mode:o} {mtime:?} {}",
                    blake3::hash(&fs::read(dir.join(&path)).unwrap())
                )
            };
            out.insert(path, what);
        }
    }
    out
}

fn write(path: &Path, seed: u64, len: usize) -> Vec<u8> {
    let content = Rng::new(seed).bytes(len);
    fs::write(path, &content).unwrap();
    content
}

/// Screenshots of a Mac have a narrow space in their names, and copies of them a plain one.
#[cfg(target_os = "linux")]
#[test]
fn names_that_look_the_same_once_they_are_safe_all_arrive() {
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir(&tree).unwrap();
    let names = [" ", "\u{a0}", "\u{202f}"].map(|space| format!("at 3.14{space}PM.png"));
    for name in &names {
        fs::write(tree.join(name), name).unwrap();
    }
    for moved in [true, false] {
        let outcome = send(std::slice::from_ref(&tree), &p.out, UPDATE).unwrap();
        assert_eq!(outcome.sent > 0, moved);
        for (name, end) in names.iter().zip(["", " (1)", " (2)"]) {
            let stored = p.out.join(format!("t/at 3.14 PM{end}.png"));
            assert_eq!(fs::read_to_string(stored).unwrap(), *name);
        }
    }
}

#[test]
fn one_file_of_any_size_arrives_exactly() {
    for (seed, size) in [0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB, 9 * MIB + 12345]
        .into_iter()
        .enumerate()
    {
        for buffers in [2, 8] {
            let p = place();
            let content = write(&p.src.join("vm.img"), seed as u64, size);
            let setup = Setup {
                seed: seed as u64,
                buffers,
                ..Setup::default()
            };
            let outcome = send(&[p.src.join("vm.img")], &p.out, setup).unwrap();
            assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
            assert_eq!(snapshot(&p.out), snapshot(&p.src), "and nothing is left behind");
        }
    }
}

#[test]
fn a_damaged_block_is_sent_again() {
    let p = place();
    write(&p.src.join("vm.img"), 7, 5 * MIB + 77);
    send(
        &[p.src.join("vm.img")],
        &p.out,
        Setup {
            damage: Some(2),
            ..Setup::default()
        },
    )
    .unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[cfg(target_os = "linux")]
#[test]
fn a_sparse_file_stays_sparse() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let p = place();
    let file = p.src.join("vm.img");
    let image = fs::File::create(&file).unwrap();
    image.set_len(24 * MIB as u64 + 5).unwrap();
    image.write_all_at(&[7; 1000], 9 * MIB as u64 + 3).unwrap();
    let outcome = send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    let arrived = p.out.join("vm.img");
    assert!(fs::read(&arrived).unwrap() == fs::read(&file).unwrap());
    let taken = fs::metadata(&arrived).unwrap().blocks() * 512;
    assert!(taken <= 3 * MIB as u64, "{taken}");
    // Of 23 blocks of zeros only the hashes cross the line.
    assert_eq!(outcome.sent, MIB as u64 + 5);
}

#[test]
fn zeros_replace_what_an_earlier_run_left_or_was_there_before() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 1, 6 * MIB);
    let dies = Setup {
        die_after: Some(4),
        ..Setup::default()
    };
    assert!(send(std::slice::from_ref(&file), &p.out, dies).unwrap().died);
    let mut content = fs::read(&file).unwrap();
    content[MIB..5 * MIB].fill(0);
    // It looks the same, so what is here is resumed.
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, &content).unwrap();
    let image = fs::File::options().write(true).open(&file).unwrap();
    image.set_modified(time).unwrap();
    send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    assert!(fs::read(p.out.join("vm.img")).unwrap() == content);
    content[5 * MIB..].fill(0);
    fs::write(&file, &content).unwrap();
    send(std::slice::from_ref(&file), &p.out, UPDATE).unwrap();
    assert!(fs::read(p.out.join("vm.img")).unwrap() == content);
    assert_eq!(snapshot(&p.out), snapshot(&p.src), "and nothing is left behind");
}

#[test]
fn what_arrived_is_named_in_the_order_in_which_it_was_offered() {
    let p = place();
    let paths = ["z", "b", "a"].map(|name| p.src.join(name));
    for (path, seed) in paths.iter().zip(1..) {
        write(path, seed, 1000);
    }
    let outcome = send(&paths, &p.out, Setup::default()).unwrap();
    let named: Vec<_> = outcome.placed.iter().map(|placed| placed.name.clone()).collect();
    assert_eq!(named, ["z", "b", "a"].map(PathBuf::from));
}

/// On most disks of Linux each pair is two files.
#[test]
fn names_that_differ_only_by_case_or_normalisation_all_arrive() {
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("cafe\u{301}")).unwrap();
    let names = [
        "README",
        "readme",
        "caf\u{e9}.txt",
        "cafe\u{301}.txt",
        "\u{fb01}n",
        "fin",
    ];
    for (i, name) in names.iter().enumerate() {
        write(&tree.join(name), i as u64, 1000 + i);
    }
    if fs::create_dir(tree.join("caf\u{e9}")).is_err() || fs::read_dir(&tree).unwrap().count() < 8 {
        println!("the disk of this test takes some of them for one");
        return;
    }
    send(&[tree], &p.out, Setup::default()).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn a_source_that_changes_while_it_is_sent_is_noticed() {
    let p = place();
    let file = p.src.join("log");
    write(&file, 16, 3 * MIB);
    let scanned = scan(std::slice::from_ref(&file), &ScanOptions::default()).unwrap();
    write(&file, 17, 3 * MIB);
    let layer = disk(&p.out);
    let outcome = run(
        scanned.manifest.clone(),
        Source::files(scanned),
        layer,
        Setup::default(),
    );
    assert!(
        matches!(outcome, Err(Fault::Sender(TransferError::SourceChanged(_)))),
        "{outcome:?}"
    );
    assert!(!p.out.join("log").exists());
}
