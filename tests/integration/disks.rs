//! Receives onto real file systems, mounted for it. Only root mounts, so these are ignored otherwise:
//!
//! ```text
//! cargo test --test integration disks:: -- --ignored --nocapture --test-threads 1
//! ```
//!
//! A file system whose tools are not installed, or that this kernel does not know, is told and passed over.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::pair::{self, Fault, Outcome, Rng, Setup};
use p2pcopy::parts::transfer::{Conflicts, DiskLayer, LocalError, OwnerKey, Remark, TransferError, discard};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A file system, how it is made on the image `$I` (`$L` is a loop device of it) and mounted at `$M`; `$D` is an empty
/// directory.
const FILE_SYSTEMS: [(&str, &str); 10] = [
    ("ext4", "mkfs.ext4 -q $I && mount -o loop $I $M"),
    ("xfs", "mkfs.xfs -q $I && mount -o loop $I $M"),
    ("btrfs", "mkfs.btrfs -q $I && mount -o loop $I $M"),
    ("tmpfs", "mount -t tmpfs tmpfs $M"),
    ("vfat", "mkfs.vfat $I && mount -o loop $I $M"),
    ("exfat-fuse", "mkfs.exfat $I && mount.exfat-fuse $L $M"),
    (
        "ntfs-3g",
        "mkfs.ntfs -F -Q -q $I && ntfs-3g -o windows_names $I $M",
    ),
    (
        "bindfs, chmod and chown denied",
        "bindfs -o chmod-deny,chown-deny $D $M",
    ),
    ("mergerfs", "mkdir $D/1 $D/2 && mergerfs $D/1:$D/2 $M"),
    (
        "overlay",
        "mkdir $D/l $D/u $D/w && mount -t overlay overlay -o lowerdir=$D/l,upperdir=$D/u,workdir=$D/w $M",
    ),
];

struct Mounted {
    place: TempDir,
    name: &'static str,
}

fn sh(script: &str, place: &Path) -> bool {
    let output = Command::new("sh")
        .args(["-c", script])
        .env("I", place.join("image"))
        .env("M", place.join("mnt"))
        .env("D", place.join("dir"))
        .env(
            "L",
            fs::read_to_string(place.join("loop")).unwrap_or_default().trim(),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.status.success()
}

impl Mounted {
    fn new(name: &'static str, script: &str) -> Option<Mounted> {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("mnt")).unwrap();
        fs::create_dir(place.path().join("dir")).unwrap();
        // XFS wants 300 MB at least; nothing of it is written.
        fs::File::create(place.path().join("image"))
            .unwrap()
            .set_len(400 << 20)
            .unwrap();
        let mounted = Mounted { place, name };
        if script.contains("$L") {
            sh(
                "losetup -f --show $I > $I.loop && mv $I.loop ${I%image}loop",
                mounted.place.path(),
            );
        }
        if !sh(script, mounted.place.path()) {
            println!("| {name} | not here |");
            return None;
        }
        Some(mounted)
    }

    fn out(&self) -> PathBuf {
        self.place.path().join("mnt")
    }

    fn layer(&self) -> DiskLayer {
        DiskLayer::new(&self.out(), OwnerKey::from_bytes([9; 32])).unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        sh(
            "umount -R $M || umount -l $M; test -z \"$L\" || losetup -d $L",
            self.place.path(),
        );
    }
}

fn send(
    paths: &[PathBuf],
    to: &Mounted,
    conflicts: Conflicts,
    die_after: Option<u32>,
) -> Result<Outcome, Fault> {
    let setup = Setup {
        conflicts,
        die_after,
        ..Setup::default()
    };
    pair::send(paths, to.layer(), setup)
}

/// A tree with what people have.
fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("sub/deep")).unwrap();
    let files = [
        ("plain", 3 * MIB + 5),
        ("sub/a:b?.txt", 10),
        ("sub/aux.c", 20),
        ("sub/a\\x2db", 30),
        ("sub/dot.", 40),
        ("sub/caf\u{e9} \u{1f980}", 50),
        ("sub/deep/empty", 0),
        ("sub/deep/locked", MIB),
    ];
    for (i, (name, size)) in files.into_iter().enumerate() {
        fs::write(tree.join(name), Rng::new(i as u64).bytes(size)).unwrap();
    }
    fs::write(tree.join(OsStr::from_bytes(b"sub/latin \xe9")), "latin").unwrap();
    fs::set_permissions(tree.join("sub/deep/locked"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(tree.join("plain"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("plain", tree.join("link")).unwrap();
    tree
}

/// Every file of `tree` is below `out` with its content, under the name that was told.
fn assert_there(tree: &Path, out: &Path, remarks: &[Remark]) {
    let mut pending = vec![(tree.to_owned(), out.to_owned(), PathBuf::from("tree"))];
    while let Some((from, to, path)) = pending.pop() {
        for entry in fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            let sent = path.join(entry.file_name());
            let told = remarks.iter().find_map(|remark| match remark {
                Remark::Renamed(names) => names.iter().find(|(name, _)| *name == sent),
                _ => None,
            });
            let name = told.map_or(entry.file_name(), |(_, stored)| {
                stored.file_name().unwrap().to_owned()
            });
            let (source, target) = (entry.path(), to.join(name));
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push((source, target, sent));
            } else if kind.is_symlink() {
                let is_lost = remarks
                    .iter()
                    .any(|remark| matches!(remark, Remark::LinksLost(_)));
                assert!(is_lost || fs::read_link(target).unwrap() == fs::read_link(source).unwrap());
            } else {
                assert!(
                    fs::read(&target).unwrap() == fs::read(&source).unwrap(),
                    "{target:?}"
                );
                let times = [&source, &target].map(|path| fs::metadata(path).unwrap().mtime());
                let is_lost = remarks.contains(&Remark::TimesLost);
                assert!(
                    is_lost || times[0].abs_diff(times[1]) <= 2,
                    "{target:?}: {times:?}"
                );
            }
        }
    }
}

fn told(remarks: &[Remark]) -> String {
    let words = remarks.iter().map(|remark| match remark {
        Remark::Renamed(names) => format!("{} names are others", names.len()),
        Remark::ModesLost => "permissions".into(),
        Remark::TimesLost => "times".into(),
        Remark::LinksLost(_) => "links".into(),
        other => format!("{other:?}"),
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        "all is kept".into()
    } else {
        format!("told: {}", words.join(", "))
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn every_file_system_takes_what_it_can_and_the_rest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [tree(dir.path())];
    for (name, script) in FILE_SYSTEMS {
        let Some(disk) = Mounted::new(name, script) else {
            continue;
        };
        let out = disk.out().join("tree");
        // Killed, resumed, run again with nothing to do, replaced, and received a second time.
        assert!(
            send(&paths, &disk, Conflicts::Rename, Some(2)).unwrap().died,
            "{name}"
        );
        let resumed = send(&paths, &disk, Conflicts::Rename, None).unwrap();
        assert!(resumed.sent < 4 * MIB as u64, "{name}: {}", resumed.sent);
        assert_there(&paths[0], &out, &resumed.remarks);
        let again = send(&paths, &disk, Conflicts::Update, None).unwrap();
        assert_eq!((again.sent, &again.remarks), (0, &resumed.remarks), "{name}");
        for conflicts in [Conflicts::Overwrite, Conflicts::Rename] {
            let outcome = send(&paths, &disk, conflicts, None).unwrap();
            assert_there(&paths[0], &out, &outcome.remarks);
        }
        assert!(
            send(&paths, &disk, Conflicts::Rename, Some(2)).unwrap().died,
            "{name}"
        );
        assert_eq!(
            discard(&disk.layer()).unwrap(),
            [Path::new("tree.part")],
            "{name}"
        );
        let mut left: Vec<_> = fs::read_dir(disk.out())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.retain(|name| name != "lost+found");
        left.sort_unstable();
        assert_eq!(left, ["tree", "tree (1)"], "{name}");
        println!("| {} | {} |", disk.name, told(&resumed.remarks));
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn mounts_and_subvolumes_below_the_target_are_filled() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [tree(dir.path())];
    for (name, script, inside) in [
        (
            "a tmpfs below ext4",
            FILE_SYSTEMS[0].1,
            "mkdir -p $M/tree/sub && mount -t tmpfs tmpfs $M/tree/sub",
        ),
        (
            "a btrfs subvolume",
            FILE_SYSTEMS[2].1,
            "mkdir $M/tree && btrfs subvolume create $M/tree/sub",
        ),
    ] {
        let Some(disk) = Mounted::new(name, script) else {
            continue;
        };
        assert!(sh(inside, disk.place.path()), "{name}");
        for conflicts in [Conflicts::Overwrite, Conflicts::Overwrite, Conflicts::Update] {
            let outcome = send(&paths, &disk, conflicts, None).unwrap();
            assert_eq!(outcome.remarks, [], "{name}");
            assert_there(&paths[0], &disk.out().join("tree"), &[]);
        }
        println!("| {name} | filled by copies |");
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn a_target_without_room_or_leave_is_refused_before_content_flows() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [tree(dir.path())];
    for (name, script) in [
        ("tmpfs of 1 MB", "mount -t tmpfs -o size=1m tmpfs $M"),
        ("tmpfs of 5 files", "mount -t tmpfs -o nr_inodes=5 tmpfs $M"),
        ("read-only", "mount --bind $D $M && mount -o remount,ro,bind $M"),
    ] {
        let Some(disk) = Mounted::new(name, script) else {
            continue;
        };
        match send(&paths, &disk, Conflicts::Rename, None) {
            Err(Fault::Receiver(TransferError::Local(
                e @ (LocalError::TooLittleSpace { .. } | LocalError::NoSpace(_) | LocalError::ReadOnly(_)),
            ))) => println!("| {name} | {e} |"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(fs::read_dir(disk.out()).unwrap().count(), 0, "{name}");
    }
}
