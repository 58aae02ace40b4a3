//! What has the name of a staging directory and is not ours, and what is ours and somebody meddled with.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{
    DiskLayer, Layer, Offer, OwnerKey, Prospect, ScanOptions, discard, prospect, scan,
};

use super::{MIB, Place, disk, names, place, send, snapshot, write};
use crate::pair::Setup;
use crate::process::fifo;

/// A transfer of `vm.img`, of which five of eight blocks have come.
fn interrupted() -> (Place, PathBuf, PathBuf) {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 31, 8 * MIB);
    let setup = Setup {
        die_after: Some(5),
        ..Setup::default()
    };
    assert!(send(std::slice::from_ref(&file), &p.out, setup).unwrap().died);
    let part = p.out.join("vm.img.part");
    (p, file, part)
}

fn seen(p: &Place, file: &Path) -> Prospect {
    let scanned = scan(&[file.to_owned()], &ScanOptions::default()).unwrap();
    prospect(&disk(&p.out), &Offer::of(&scanned.manifest).unwrap()).unwrap()
}

fn is_left_alone(p: &Place, file: &Path) {
    let part = p.out.join("vm.img.part");
    let before = snapshot(&part);
    let found = seen(p, file);
    assert_eq!(found.kept, None);
    assert_eq!(found.strangers, [PathBuf::from("vm.img.part")]);
    let outcome = send(&[file.to_owned()], &p.out, Setup::default()).unwrap();
    assert_eq!(outcome.sent, fs::metadata(file).unwrap().len(), "all of it");
    assert_eq!(discard(&disk(&p.out)).unwrap(), []);
    assert_eq!(snapshot(&part), before);
    assert_eq!(names(&p.out), ["vm.img", "vm.img.part"]);
}

/// No program does it: until it runs, a child shares the locks of all other tests of this process.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

#[test]
fn a_copy_of_ours_is_nobodys() {
    let (p, file, part) = interrupted();
    let copy = p.out.join("copy");
    copy_all(&part, &copy);
    fs::remove_dir_all(&part).unwrap();
    fs::rename(&copy, &part).unwrap();
    is_left_alone(&p, &file);
}

#[test]
fn ours_may_be_moved_and_is_known_again() {
    let (p, file, part) = interrupted();
    let away = p.src.join("away");
    fs::rename(&part, &away).unwrap();
    fs::rename(&away, &part).unwrap();
    assert_eq!(seen(&p, &file).kept.unwrap().blocks, 5);
}

#[test]
fn another_users_is_a_strangers() {
    let (p, file, _) = interrupted();
    let other = DiskLayer::new(&p.out, OwnerKey::from_bytes([8; 32])).unwrap();
    assert_eq!(discard(&other).unwrap(), []);
    let scanned = scan(&[file], &ScanOptions::default()).unwrap();
    let seen = prospect(&other, &Offer::of(&scanned.manifest).unwrap()).unwrap();
    assert_eq!(seen.strangers, [PathBuf::from("vm.img.part")]);
}

#[test]
fn ours_that_others_may_change_is_trusted_no_more() {
    for mode in [0o770, 0o707, 0o777] {
        let (p, file, part) = interrupted();
        fs::set_permissions(&part, fs::Permissions::from_mode(mode)).unwrap();
        is_left_alone(&p, &file);
    }
}

#[test]
fn an_empty_directory_of_the_name_is_left() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 32, MIB);
    fs::create_dir(p.out.join("vm.img.part")).unwrap();
    is_left_alone(&p, &file);
}

/// None of them may be followed, waited for, or read into memory.
#[test]
fn what_is_called_journal_is_opened_only_if_it_may_be_one() {
    let plant: [fn(&Path); 4] = [
        |journal| drop(fs::create_dir(journal)),
        |journal| symlink("../../src/vm.img", journal).unwrap(),
        fifo,
        |journal| fs::File::create(journal).unwrap().set_len(1 << 40).unwrap(),
    ];
    for plant in plant {
        let p = place();
        let file = p.src.join("vm.img");
        write(&file, 33, MIB);
        let part = p.out.join("vm.img.part");
        fs::create_dir(&part).unwrap();
        plant(&part.join("journal"));
        let inode = fs::symlink_metadata(part.join("journal")).unwrap().ino();
        let found = seen(&p, &file);
        assert_eq!(found.strangers, [PathBuf::from("vm.img.part")]);
        send(&[file], &p.out, Setup::default()).unwrap();
        assert!(discard(&disk(&p.out)).unwrap().is_empty());
        assert_eq!(fs::symlink_metadata(part.join("journal")).unwrap().ino(), inode);
    }
}

/// Another user of the output directory puts his own in the place of ours in the middle of a transfer.
#[test]
fn a_directory_that_is_held_is_not_left_for_another_of_its_name() {
    let (p, _, part) = interrupted();
    let layer = disk(&p.out);
    layer.hold(Path::new("vm.img.part")).unwrap();
    fs::rename(&part, p.out.join("stolen")).unwrap();
    fs::create_dir_all(part.join("data")).unwrap();
    fs::write(part.join("data/vm.img"), b"evil").unwrap();
    let data = Path::new("vm.img.part/data");
    assert_eq!(
        layer.info(&data.join("vm.img")).unwrap().unwrap().len,
        8 * MIB as u64
    );
    layer.create_new(&data.join("new")).unwrap();
    layer
        .rename_noreplace(&data.join("vm.img"), Path::new("vm.img"))
        .unwrap();
    assert_eq!(names(&p.out.join("stolen/data")), ["new"]);
    assert_eq!(names(&part.join("data")), ["vm.img"]);
    assert_eq!(fs::metadata(p.out.join("vm.img")).unwrap().len(), 8 * MIB as u64);
}

#[test]
fn a_link_is_not_held() {
    let (p, _, _) = interrupted();
    symlink("vm.img.part", p.out.join("link.part")).unwrap();
    assert!(disk(&p.out).hold(Path::new("link.part")).is_err());
}

#[test]
fn staging_is_closed_to_others_from_its_first_moment() {
    let (_p, _, part) = interrupted();
    for path in [part.clone(), part.join("data")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
    }
    for path in [part.join("journal"), part.join("data/vm.img")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn with_a_key_for_one_run_a_transfer_works_and_says_that_it_cannot_be_resumed() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 34, 2 * MIB);
    let layer = DiskLayer::new(&p.out, OwnerKey::passing()).unwrap();
    let scanned = scan(&[file], &ScanOptions::default()).unwrap();
    let seen = prospect(&layer, &Offer::of(&scanned.manifest).unwrap()).unwrap();
    assert!(!seen.resumable);
    let source = p2pcopy::parts::transfer::Source::files(scanned.clone());
    crate::pair::run(scanned.manifest, source, layer, Setup::default()).unwrap();
    assert_eq!(snapshot(&p.out), snapshot(&p.src));
}
