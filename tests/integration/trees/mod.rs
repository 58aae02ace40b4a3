//! Whole transfers over the real file system: whatever is sent arrives exactly.

#[cfg(unix)]
mod again;
mod beside;
mod changing;
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

use crate::pair::{self, Fault, Outcome, Rng, Setup, run};
use p2pcopy::parts::transfer::{
    Conflicts, DiskLayer, Offer, OwnerKey, SafeName, ScanOptions, Source, TransferError, discard, prospect,
    scan, stream_manifest,
};
use proptest::prelude::*;

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
    send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    let arrived = p.out.join("vm.img");
    assert!(fs::read(&arrived).unwrap() == fs::read(&file).unwrap());
    let taken = fs::metadata(&arrived).unwrap().blocks() * 512;
    assert!(taken <= 3 * MIB as u64, "{taken}");
}

/// On most disks of Linux each pair is two files. On a disk that takes any for one, nothing is written and one line
/// says which.
#[test]
fn names_that_differ_only_by_case_or_normalisation_all_arrive_or_none_does() {
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

#[derive(Clone, Debug)]
struct Made {
    name: Vec<u8>,
    parent: usize,
    what: u8,
    size: usize,
    mode: u32,
    mtime: i64,
}

fn made() -> impl Strategy<Value = Made> {
    let name = prop_oneof![
        "[a-z]{1,3}".prop_map(String::into_bytes),
        "[a-zA-Z0-9 éß日_.-]{1,12}[a-z]".prop_map(String::into_bytes),
        proptest::collection::vec(0xf8u8..=0xff, 1..5),
    ]
    // Names that no system should be asked for, such as `prn`, arrive under another; tests of `names` show that.
    .prop_filter("kept as it is", |name| {
        SafeName::from_peer(name).is_ok_and(|safe| safe.as_bytes() == name)
    });
    let size = prop_oneof![Just(0), 1usize..3000, 0usize..3 * MIB];
    (
        name,
        any::<usize>(),
        0u8..6,
        size,
        0u32..0o1000,
        -2_000_000_000i64..4_000_000_000,
    )
        .prop_map(|(name, parent, what, size, mode, mtime)| Made {
            name,
            parent,
            what,
            size,
            mode,
            mtime,
        })
}

#[cfg(unix)]
/// The permission bits that a receiver never gives: those of this process's umask, and writing by others.
fn taken_away() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask.map_or(0o022, |digits| u32::from_str_radix(digits.trim(), 8).unwrap()) | 0o022
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn trees_of_every_kind_round_trip(
        entries in proptest::collection::vec(made(), 1..40), seed in any::<u64>(), die in 0u32..6,
    ) {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::PermissionsExt;
        let p = place();
        fs::create_dir(p.src.join("top")).unwrap();
        let mut dirs = vec![p.src.join("top")];
        let mut finish = Vec::new();
        for (i, m) in entries.iter().enumerate() {
            let path = dirs[m.parent % dirs.len()].join(std::ffi::OsStr::from_bytes(&m.name));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match m.what {
                0 | 1 => {
                    fs::create_dir(&path).unwrap();
                    dirs.push(path.clone());
                    finish.push((path, (m.mode | 0o500) & !taken_away(), m.mtime));
                }
                2 => std::os::unix::fs::symlink("in side/\u{e9}", &path).unwrap(),
                _ => {
                    write(&path, i as u64, m.size);
                    finish.push((path, (m.mode | 0o400) & !taken_away(), m.mtime));
                }
            }
        }
        for (path, mode, mtime) in finish.into_iter().rev() {
            let file = fs::File::open(&path).unwrap();
            let distance = std::time::Duration::from_secs(mtime.unsigned_abs());
            let epoch = std::time::SystemTime::UNIX_EPOCH;
            let time = if mtime < 0 { epoch - distance } else { epoch + distance };
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        }
        let top = [p.src.join("top")];
        let setup = Setup { seed, piece: 30_000, buffers: 3, ..Setup::default() };
        if die > 0 {
            let _ = send(&top, &p.out, Setup { die_after: Some(die), ..setup }).unwrap();
        }
        send(&top, &p.out, Setup { conflicts: Conflicts::Overwrite, ..setup }).unwrap();
        prop_assert_eq!(snapshot(&p.out), snapshot(&p.src));
        let again = send(&top, &p.out, Setup { seed, ..UPDATE }).unwrap();
        prop_assert!(again.placed[0].already_there && again.sent == 0);
    }
}
