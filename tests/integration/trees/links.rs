//! Files with several names.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{Conflicts, Remark, Room, ScanOptions, Source, scan};

use super::{MIB, UPDATE, disk, place, snapshot, write};
use crate::memory::MemoryLayer;
use crate::pair::{self, Outcome, Setup};
use crate::remains::{CRASHES, expected};

/// A tree in which `small` has three names and `big` two.
fn tree(p: &super::Place) -> PathBuf {
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    write(&tree.join("big"), 1, 3 * MIB + 5);
    write(&tree.join("small"), 2, 900);
    write(&tree.join("sub/alone"), 3, 700);
    fs::hard_link(tree.join("big"), tree.join("sub/big")).unwrap();
    fs::hard_link(tree.join("small"), tree.join("z")).unwrap();
    fs::hard_link(tree.join("small"), tree.join("a")).unwrap();
    tree
}

const CONTENT: u64 = 3 * MIB as u64 + 5 + 900 + 700;

fn assert_linked(tree: &Path) {
    let node = |name: &str| fs::metadata(tree.join(name)).unwrap().ino();
    assert_eq!(node("big"), node("sub/big"));
    assert_eq!([node("a"), node("z")], [node("small"); 2]);
    assert_ne!(node("sub/alone"), node("a"));
}

#[test]
fn one_file_under_several_names_crosses_once_and_stays_one() {
    let p = place();
    let tree = tree(&p);
    let send = |setup| pair::send(std::slice::from_ref(&tree), disk(&p.out), setup).unwrap();
    assert_eq!(send(Setup::default()).sent, CONTENT);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
    assert_linked(&p.out.join("t"));
    // All of it is there.
    let outcome = send(UPDATE);
    assert_eq!((outcome.sent, outcome.placed[0].already_there), (0, true));
    // What became two files here becomes one again.
    fs::remove_file(p.out.join("t/z")).unwrap();
    fs::copy(p.out.join("t/a"), p.out.join("t/z")).unwrap();
    assert_eq!(send(UPDATE).sent, 0);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
    assert_linked(&p.out.join("t"));
}

#[test]
fn what_is_one_file_here_and_two_there_becomes_two_once_they_differ_in_more_than_their_names() {
    let p = place();
    let [sent, found] = [&p.src, &p.out].map(|dir| dir.join("t"));
    fs::create_dir(&sent).unwrap();
    for (name, seed, len) in [("big", 1, 3 * MIB + 5), ("small", 2, 900)] {
        write(&sent.join(name), seed, len);
        fs::copy(sent.join(name), sent.join(format!("{name} too"))).unwrap();
    }
    let all = ["big", "big too", "small", "small too"];
    let date = |name: &str, seconds| {
        let file = fs::File::options().write(true).open(sent.join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    };
    for name in all {
        date(name, 1000);
    }
    let send = |setup| pair::send(std::slice::from_ref(&sent), disk(&p.out), setup).unwrap();
    send(Setup::default());
    // The user, or a program, has made one file of each two.
    for name in ["big", "small"] {
        let other = found.join(format!("{name} too"));
        fs::remove_file(&other).unwrap();
        fs::hard_link(found.join(name), other).unwrap();
    }
    let nodes = || all.map(|name| fs::metadata(found.join(name)).unwrap().ino());
    assert_eq!(send(UPDATE).sent, 0);
    assert!(nodes()[0] == nodes()[1] && nodes()[2] == nodes()[3]);
    for (change, name) in ["big too", "small", "big"].into_iter().enumerate() {
        date(name, 2000 + change as u64);
        assert_eq!(send(UPDATE).sent, 0);
        assert_eq!(snapshot(&p.out), snapshot(&p.src), "{name}");
    }
    assert!(nodes()[0] != nodes()[1] && nodes()[2] != nodes()[3]);
}

#[test]
fn a_transfer_with_hard_links_is_resumed() {
    let p = place();
    let tree = tree(&p);
    let dies = Setup {
        die_after: Some(2),
        ..Setup::default()
    };
    let send = |setup| pair::send(std::slice::from_ref(&tree), disk(&p.out), setup).unwrap();
    assert!(send(dies).died);
    assert!(send(Setup::default()).sent < CONTENT);
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
    assert_linked(&p.out.join("t"));
}

#[test]
fn a_disk_without_hard_links_gets_copies_and_that_is_told_once() {
    let p = place();
    let paths = [tree(&p)];
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::Unsupported,
        ErrorKind::TooManyLinks,
    ] {
        let layer = MemoryLayer::new();
        layer.refuse("hard_link", kind);
        let outcome = pair::send(&paths, layer.clone(), Setup::default()).unwrap();
        assert_eq!(outcome.remarks, [Remark::HardLinksLost], "{kind:?}");
        assert_eq!(outcome.sent, CONTENT);
        assert!(layer.contents() == expected(&paths));
        // The copies are as good as links: nothing is written again.
        let outcome = pair::send(&paths, layer.clone(), UPDATE).unwrap();
        assert_eq!(
            (outcome.sent, outcome.placed[0].already_there),
            (0, true),
            "{kind:?}"
        );
        assert!(layer.contents() == expected(&paths));
    }
}

#[test]
fn a_link_into_another_file_system_becomes_a_file_of_its_own_and_that_is_told() {
    let p = place();
    let paths = [tree(&p)];
    let layer = MemoryLayer::new();
    let setup = Setup {
        conflicts: Conflicts::Overwrite,
        ..Setup::default()
    };
    assert!(
        pair::send(&paths, layer.clone(), setup)
            .unwrap()
            .remarks
            .is_empty()
    );
    layer.mount(Path::new("t/sub"));
    let outcome = pair::send(&paths, layer.clone(), setup).unwrap();
    assert_eq!(outcome.remarks, [Remark::HardLinksLost]);
    assert!(layer.contents() == expected(&paths));
    // Nothing is written again that would only be the same.
    let outcome = pair::send(&paths, layer.clone(), UPDATE).unwrap();
    assert_eq!((outcome.sent, outcome.placed[0].already_there), (0, true));
}

#[test]
fn names_of_one_file_survive_a_crash_in_every_step() {
    let p = place();
    let (old, new) = (p.out.join("t"), p.src.join("t"));
    for (tree, seed) in [(&old, 1), (&new, 2)] {
        fs::create_dir(tree).unwrap();
        write(&tree.join("m"), seed, 900);
        fs::hard_link(tree.join("m"), tree.join("a")).unwrap();
        fs::hard_link(tree.join("m"), tree.join("z")).unwrap();
    }
    let expected = expected(std::slice::from_ref(&new));
    let send =
        |tree: &PathBuf, layer: &MemoryLayer| pair::send(std::slice::from_ref(tree), layer.clone(), UPDATE);
    for crash in CRASHES {
        for step in 1.. {
            let layer = MemoryLayer::new();
            send(&old, &layer).unwrap();
            layer.die_at(step);
            let died = send(&new, &layer);
            if !layer.is_dead() {
                died.unwrap();
                break;
            }
            layer.revive(crash);
            let context = format!("{crash:?}, step {step}: {:?}", layer.log().last());
            assert!(send(&new, &layer).is_ok(), "{context}");
            assert!(
                layer.contents() == expected,
                "{context}: {:?}",
                layer.contents().keys()
            );
        }
    }
}

#[test]
fn room_is_asked_for_copies_only_where_there_are_no_links() {
    let p = place();
    let paths = [tree(&p)];
    let room = Room {
        bytes: Some(4 * MIB as u64),
        ..Room::default()
    };
    let layer = MemoryLayer::new();
    layer.set_room(room);
    pair::send(&paths, layer.clone(), Setup::default()).unwrap();
    let layer = MemoryLayer::new();
    layer.set_room(room);
    layer.refuse("hard_link", ErrorKind::Unsupported);
    pair::send(&paths, layer.clone(), Setup::default()).unwrap_err();
    assert!(layer.contents().is_empty());
}

#[test]
fn what_cannot_be_read_is_missing_under_all_its_names() {
    let p = place();
    let tree = tree(&p);
    let scanned = scan(std::slice::from_ref(&tree), &ScanOptions::default()).unwrap();
    let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
    let mut gone = |block| {
        if block > 0 {
            return;
        }
        for name in ["a", "small", "z"] {
            fs::remove_file(tree.join(name)).unwrap();
        }
    };
    let Outcome { missing, .. } =
        pair::run_changing(manifest, source, disk(&p.out), Setup::default(), &mut gone).unwrap();
    assert_eq!(missing, ["t/a", "t/small", "t/z"].map(PathBuf::from));
    let found = fs::metadata(p.out.join("t/sub/big")).unwrap();
    assert_eq!((found.nlink(), found.len()), (2, 3 * MIB as u64 + 5));
    assert!(!p.out.join("t/a").exists() && !p.out.join("t/z").exists());
}

#[test]
fn holes_need_no_room() {
    let p = place();
    let image = p.src.join("vm.img");
    let file = fs::File::options()
        .create_new(true)
        .write(true)
        .open(&image)
        .unwrap();
    file.set_len(64 * MIB as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; MIB], 20 * MIB as u64).unwrap();
    if file.metadata().unwrap().blocks() > 16 << 10 {
        // No holes here.
        return;
    }
    let send = |free: usize, conflicts| {
        let layer = MemoryLayer::new();
        layer.set_room(Room {
            bytes: Some((free * MIB) as u64),
            ..Room::default()
        });
        let setup = Setup {
            conflicts,
            ..Setup::default()
        };
        pair::send(std::slice::from_ref(&image), layer.clone(), setup).map(|_| layer)
    };
    let layer = send(2, Conflicts::Rename).unwrap();
    assert!(!layer.log().contains(&"allocate"), "that would ask for all of it");
    assert!(layer.contents() == expected(std::slice::from_ref(&image)));
    assert!(send(100, Conflicts::Rename).unwrap().log().contains(&"allocate"));
    send(0, Conflicts::Rename).map(drop).unwrap_err();
}
