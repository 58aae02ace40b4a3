//! Whole transfers over the real file system: whatever is sent arrives exactly.

#[cfg(unix)]
mod again;
mod changing;
#[cfg(unix)]
mod links;
mod moved;
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

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 9, 12 * MIB + 5);
    let died = send(
        std::slice::from_ref(&file),
        &p.out,
        Setup {
            die_after: Some(8),
            ..Setup::default()
        },
    )
    .unwrap();
    assert!(died.died);
    assert_eq!(names(&p.out), ["vm.img.part"]);
    let scanned = scan(std::slice::from_ref(&file), &ScanOptions::default()).unwrap();
    let seen = prospect(&disk(&p.out), &Offer::of(&scanned.manifest).unwrap()).unwrap();
    let kept = seen.kept.unwrap();
    assert_eq!((kept.blocks, kept.of), (8, 13));
    let outcome = send(&[file], &p.out, Setup::default()).unwrap();
    assert!(outcome.sent <= 5 * MIB as u64, "{}", outcome.sent);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn what_changed_at_the_source_is_sent_and_what_did_not_is_not() {
    let p = place();
    let file = p.src.join("vm.img");
    let mut content = write(&file, 10, 10 * MIB);
    send(
        std::slice::from_ref(&file),
        &p.out,
        Setup {
            die_after: Some(9),
            ..Setup::default()
        },
    )
    .unwrap();
    content[3 * MIB + 5] ^= 1;
    content.extend_from_slice(b"more");
    fs::write(&file, &content).unwrap();
    let outcome = send(&[file], &p.out, Setup::default()).unwrap();
    assert!(outcome.sent <= 4 * MIB as u64, "{}", outcome.sent);
    assert_eq!(fs::read(p.out.join("vm.img")).unwrap(), content);
    assert_eq!(
        names(&p.out),
        ["vm.img", "vm.img.part"],
        "the other content is kept"
    );
}

#[test]
fn what_one_sender_brought_survives_another_ones_transfer_of_the_same_name() {
    let p = place();
    let other = p.src.join("other");
    fs::create_dir(&other).unwrap();
    let (mine, theirs) = (p.src.join("backup.tar"), other.join("backup.tar"));
    let content = write(&mine, 20, 12 * MIB + 5);
    write(&theirs, 21, 10 * MIB);
    let dies = |blocks| Setup {
        die_after: Some(blocks),
        ..Setup::default()
    };
    assert!(send(std::slice::from_ref(&mine), &p.out, dies(9)).unwrap().died);
    let scanned = scan(std::slice::from_ref(&theirs), &ScanOptions::default()).unwrap();
    let seen = prospect(&disk(&p.out), &Offer::of(&scanned.manifest).unwrap()).unwrap();
    assert_eq!(seen.kept, None, "what another sender brought is not resumed");
    assert_eq!(seen.other.unwrap().0, Path::new("backup.tar.part"));
    assert!(send(std::slice::from_ref(&theirs), &p.out, dies(1)).unwrap().died);
    let outcome = send(&[mine], &p.out, Setup::default()).unwrap();
    assert!(outcome.sent <= 4 * MIB as u64, "{}", outcome.sent);
    assert_eq!(fs::read(p.out.join("backup.tar")).unwrap(), content);
    let outcome = send(&[theirs], &p.out, Setup::default()).unwrap();
    assert!(outcome.sent <= 9 * MIB as u64, "{}", outcome.sent);
    assert_eq!(names(&p.out), ["backup (1).tar", "backup.tar"]);
}

/// A tree, killed after most of it has come; then `change` changes it, and what is sent again is returned.
fn sent_after(change: impl Fn(&Path)) -> usize {
    let p = place();
    let tree = p.src.join("tree");
    fs::create_dir(&tree).unwrap();
    for (i, size) in [100, 3 * MIB, 5 * MIB + 77, 2 * MIB, 4 * MIB]
        .into_iter()
        .enumerate()
    {
        write(&tree.join(format!("{i}")), 30 + i as u64, size);
    }
    let dies = Setup {
        die_after: Some(13),
        ..Setup::default()
    };
    assert!(send(std::slice::from_ref(&tree), &p.out, dies).unwrap().died);
    change(&tree);
    let outcome = send(std::slice::from_ref(&tree), &p.out, Setup::default()).unwrap();
    for entry in fs::read_dir(&tree).unwrap() {
        let path = entry.unwrap().path();
        let arrived = p.out.join("tree").join(path.file_name().unwrap());
        assert!(fs::read(arrived).unwrap() == fs::read(path).unwrap());
    }
    outcome.sent as usize
}

#[test]
fn what_is_kept_belongs_to_files_whatever_else_comes_goes_or_grows() {
    let all = sent_after(|_| {});
    assert!(all <= 3 * MIB, "{all}");
    for (name, change) in [
        (
            "grown",
            (|tree| fs::write(tree.join("0"), [1; 5000]).unwrap()) as fn(&Path),
        ),
        ("more", |tree| fs::write(tree.join("00"), [1; 5000]).unwrap()),
        ("less", |tree| fs::remove_file(tree.join("0")).unwrap()),
        ("renamed", |tree| {
            fs::rename(tree.join("0"), tree.join("x")).unwrap()
        }),
        ("cut", |tree| fs::write(tree.join("1"), []).unwrap()),
    ] {
        let sent = sent_after(change);
        // What had not come, and the blocks around the borders of files.
        assert!(sent <= 6 * MIB, "{name}: {sent}");
    }
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

/// A pipe's list is the same whatever comes out of it.
#[test]
fn a_shorter_pipe_cuts_nothing_before_all_of_it_is_verified() {
    let p = place();
    let content = Rng::new(5).bytes(20 * MIB + 3);
    let pipe = |content: &[u8], die_after| {
        let setup = Setup {
            die_after,
            ..Setup::default()
        };
        let source = Source::pipe(Box::new(Cursor::new(content.to_vec())));
        run(stream_manifest("dir.tar").unwrap(), source, disk(&p.out), setup).unwrap()
    };
    assert!(pipe(&content, Some(15)).died);
    let before = fs::metadata(p.out.join("dir.tar.part/data/dir.tar"))
        .unwrap()
        .len();
    assert!(pipe(&Rng::new(6).bytes(3 * MIB), Some(1)).died);
    let after = fs::metadata(p.out.join("dir.tar.part/data/dir.tar"))
        .unwrap()
        .len();
    assert_eq!(before, after);
    let outcome = pipe(&content, None);
    assert!(outcome.sent <= 9 * MIB as u64, "{}", outcome.sent);
    assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
}

/// All pipes of one name have one list. Until a block of the new one is verified, the old one's stays.
#[test]
fn a_resumed_pipe_replaces_verified_blocks_only_by_verified_ones() {
    let (old, new) = (Rng::new(5).bytes(12 * MIB), Rng::new(6).bytes(12 * MIB));
    for seed in 0..8 {
        let p = place();
        let pipe = |content: &[u8], setup| {
            let source = Source::pipe(Box::new(Cursor::new(content.to_vec())));
            run(stream_manifest("dir.tar").unwrap(), source, disk(&p.out), setup).unwrap()
        };
        // Few buffers: most blocks come to the disk in parts.
        let setup = |die_after| Setup {
            seed,
            buffers: 2,
            die_after,
            ..Setup::default()
        };
        assert!(pipe(&old, setup(Some(10))).died);
        assert!(pipe(&new, setup(Some(3))).died);
        let data = fs::read(p.out.join("dir.tar.part/data/dir.tar")).unwrap();
        let is = |block: usize, of: &[u8]| {
            let range = block * MIB..(block + 1) * MIB;
            data.get(range.clone()).is_some_and(|kept| kept == &of[range])
        };
        let kept = (0..12).filter(|&block| is(block, &old)).count();
        let came = (0..12).filter(|&block| is(block, &new)).count();
        // A block may have been written when the run ended and not been counted yet.
        assert!(came >= 3 && kept + came >= 10, "seed {seed}: {kept} + {came}");
        pipe(&new, setup(None));
        assert_eq!(names(&p.out), ["dir.tar"]);
        assert!(fs::read(p.out.join("dir.tar")).unwrap() == new);
    }
}

#[test]
fn bytes_that_were_lost_after_the_journal_was_written_are_sent_again() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 11, 6 * MIB);
    send(
        std::slice::from_ref(&file),
        &p.out,
        Setup {
            die_after: Some(5),
            ..Setup::default()
        },
    )
    .unwrap();
    let part = p.out.join("vm.img.part/data/vm.img");
    let mut bytes = fs::read(&part).unwrap();
    bytes[MIB + 9] ^= 0x10;
    fs::write(&part, &bytes).unwrap();
    send(&[file], &p.out, Setup::default()).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}

#[test]
fn equal_content_is_there_already_and_other_content_is_kept() {
    let p = place();
    let file = p.src.join("photo.jpg");
    let mut content = write(&file, 12, 3 * MIB + 9);
    send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    let again = send(std::slice::from_ref(&file), &p.out, UPDATE).unwrap();
    assert!(again.placed[0].already_there);
    assert_eq!((again.sent, names(&p.out)), (0, vec!["photo.jpg".to_owned()]));
    content[MIB] ^= 1;
    fs::write(&file, &content).unwrap();
    let other = send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    assert_eq!(other.placed[0].final_name, Path::new("photo (1).jpg"));
    assert_eq!(names(&p.out), ["photo (1).jpg", "photo.jpg"]);
    assert_eq!(fs::read(p.out.join("photo (1).jpg")).unwrap(), content);
    let update = send(&[file], &p.out, UPDATE).unwrap();
    assert!(
        (1..300_000).contains(&update.sent),
        "only what differs, and some bytes around it"
    );
    assert_eq!(fs::read(p.out.join("photo.jpg")).unwrap(), content);
}

/// To send less because of what is here would tell a peer what is here.
#[test]
fn nothing_that_exists_is_compared_unless_the_user_wants_an_update() {
    for conflicts in [Conflicts::Rename, Conflicts::Overwrite] {
        let p = place();
        let file = p.src.join("photo.jpg");
        let content = write(&file, 12, 3 * MIB + 9);
        fs::copy(&file, p.out.join("photo.jpg")).unwrap();
        let setup = Setup {
            conflicts,
            ..Setup::default()
        };
        let outcome = send(&[file], &p.out, setup).unwrap();
        assert_eq!(outcome.sent, content.len() as u64, "{conflicts:?}");
        assert!(!outcome.placed[0].already_there);
    }
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
fn an_overwritten_tree_is_merged() {
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    write(&tree.join("sub/new"), 1, 10);
    write(&tree.join("both"), 2, 20);
    fs::create_dir_all(p.out.join("t/sub")).unwrap();
    fs::write(p.out.join("t/both"), b"old").unwrap();
    fs::write(p.out.join("t/sub/mine"), b"mine").unwrap();
    send(
        &[tree],
        &p.out,
        Setup {
            conflicts: Conflicts::Overwrite,
            ..Setup::default()
        },
    )
    .unwrap();
    assert_eq!(fs::read(p.out.join("t/both")).unwrap().len(), 20);
    assert_eq!(names(&p.out.join("t/sub")), ["mine", "new"]);
    assert_eq!(names(&p.out), ["t"]);
}

/// As for a fresh folder: what a directory or link says of its time is part of what is sent.
#[cfg(unix)]
#[test]
fn a_merged_tree_has_the_times_that_were_sent() {
    use std::os::unix::fs::PermissionsExt;
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("sub/locked")).unwrap();
    write(&tree.join("sub/a"), 1, 10);
    write(&tree.join("sub/locked/b"), 2, 20);
    std::os::unix::fs::symlink("a", tree.join("sub/link")).unwrap();
    fs::set_permissions(tree.join("sub/locked"), fs::Permissions::from_mode(0o555)).unwrap();
    let date = |days: u64| {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400);
        for (i, path) in ["sub/a", "sub/locked", "sub", ""].iter().enumerate() {
            let file = fs::File::open(tree.join(path)).unwrap();
            let time = time + std::time::Duration::from_nanos(i as u64 + 1);
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
        }
    };
    date(1000);
    send(std::slice::from_ref(&tree), &p.out, Setup::default()).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src), "fresh");
    write(&tree.join("sub/a"), 3, 11);
    date(2000);
    send(std::slice::from_ref(&tree), &p.out, UPDATE).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src), "one file is another");
    date(3000);
    send(&[tree], &p.out, UPDATE).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src), "only the times are others");
}

#[test]
fn abandoned_parts_are_discarded_and_nothing_else() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 13, 4 * MIB);
    fs::create_dir(p.out.join("mine.part")).unwrap();
    fs::write(p.out.join("mine.part/x"), b"x").unwrap();
    fs::write(p.out.join("other.part"), b"x").unwrap();
    send(
        &[file],
        &p.out,
        Setup {
            die_after: Some(2),
            ..Setup::default()
        },
    )
    .unwrap();
    let removed = discard(&disk(&p.out)).unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].name, Path::new("vm.img.part"));
    assert!(removed[0].bytes >= 2 << 20, "{removed:?}");
    assert_eq!(names(&p.out), ["mine.part", "other.part"]);
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 14, 1000);
    fs::create_dir(p.out.join("vm.img.part")).unwrap();
    fs::write(p.out.join("vm.img.part/journal"), b"somebody's diary").unwrap();
    fs::write(p.out.join("vm.img.part/data"), b"x").unwrap();
    send(&[file], &p.out, Setup::default()).unwrap();
    assert_eq!(names(&p.out), ["vm.img", "vm.img.part"]);
    assert_eq!(
        fs::read(p.out.join("vm.img.part/journal")).unwrap(),
        b"somebody's diary"
    );
}

#[test]
#[cfg(unix)]
fn a_link_planted_in_the_output_directory_is_not_followed() {
    let p = place();
    let file = p.src.join("vm.img");
    let content = write(&file, 15, 2 * MIB);
    let victim = p.src.parent().unwrap().join("victim");
    fs::write(&victim, b"precious").unwrap();
    std::os::unix::fs::symlink(&victim, p.out.join("vm.img")).unwrap();
    std::os::unix::fs::symlink(p.src.parent().unwrap(), p.out.join("vm.img.part")).unwrap();
    send(std::slice::from_ref(&file), &p.out, Setup::default()).unwrap();
    assert_eq!(fs::read(p.out.join("vm (1).img")).unwrap(), content);
    send(
        &[file],
        &p.out,
        Setup {
            conflicts: Conflicts::Overwrite,
            ..Setup::default()
        },
    )
    .unwrap();
    assert!(fs::symlink_metadata(p.out.join("vm.img")).unwrap().is_file());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
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

#[test]
fn a_pipe_is_received_as_a_file() {
    for size in [0, 5, MIB, 40 * MIB + 3] {
        let p = place();
        let content = Rng::new(size as u64).bytes(size);
        let source = Source::pipe(Box::new(Cursor::new(content.clone())));
        let layer = disk(&p.out);
        let manifest = stream_manifest("dir.tar").unwrap();
        let outcome = run(
            manifest,
            source,
            layer,
            Setup {
                window: 40,
                buffers: 24,
                ..Setup::default()
            },
        )
        .unwrap();
        assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
        assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
        assert_eq!(names(&p.out), ["dir.tar"]);
    }
}

#[test]
fn a_broken_pipe_transfer_can_be_repeated() {
    let p = place();
    let content = Rng::new(5).bytes(20 * MIB + 3);
    let run_once = |die_after| {
        let source = Source::pipe(Box::new(Cursor::new(content.clone())));
        let layer = disk(&p.out);
        run(
            stream_manifest("dir.tar").unwrap(),
            source,
            layer,
            Setup {
                die_after,
                ..Setup::default()
            },
        )
        .unwrap()
    };
    assert!(run_once(Some(10)).died);
    assert!(run_once(None).sent <= 11 * MIB as u64);
    assert!(fs::read(p.out.join("dir.tar")).unwrap() == content);
}

#[test]
fn content_in_order_goes_straight_through() {
    for (size, stream) in [
        (0, true),
        (MIB / 2, false),
        (37 * MIB + 1, true),
        (37 * MIB, false),
    ] {
        let p = place();
        let content = write(&p.src.join("x"), size as u64, size);
        let (manifest, source) = if stream {
            (
                stream_manifest("x").unwrap(),
                Source::pipe(Box::new(Cursor::new(content.clone()))),
            )
        } else {
            let scanned = scan(&[p.src.join("x")], &ScanOptions::default()).unwrap();
            (scanned.manifest.clone(), Source::files(scanned))
        };
        let setup = Setup {
            window: 40,
            damage: Some(20),
            seed: size as u64,
            ..Setup::default()
        };
        let (outcome, received) = pair::run_ordered(manifest, source, setup).unwrap();
        assert!(received == content, "{} of {size}", received.len());
        assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
    }
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
