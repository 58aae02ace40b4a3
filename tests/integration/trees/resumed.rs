//! A transfer that broke off, and the same commands given again.

use super::*;

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

/// Whoever moved it reads where everything is.
#[cfg(unix)]
#[test]
fn an_output_directory_that_is_moved_meanwhile_gets_everything_and_that_is_told() {
    let p = place();
    let (file, moved) = (p.src.join("vm.img"), p.src.with_file_name("moved"));
    write(&file, 22, 9 * MIB);
    let scanned = scan(std::slice::from_ref(&file), &ScanOptions::default()).unwrap();
    let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
    let mut change = |block: u32| {
        if block == 4 {
            fs::rename(&p.out, &moved).unwrap();
            fs::create_dir(&p.out).unwrap();
        }
    };
    let outcome = pair::run_changing(manifest, source, disk(&p.out), Setup::default(), &mut change).unwrap();
    let is_told = cfg!(target_os = "linux").then(|| moved.clone());
    assert_eq!(
        outcome.remarks,
        [p2pcopy::parts::transfer::Remark::OutputMoved(is_told)]
    );
    assert_eq!(snapshot(&moved), snapshot(&p.src));
    assert!(names(&p.out).is_empty());
}

#[cfg(unix)]
#[test]
fn what_is_removed_while_it_is_received_is_not_filled_to_its_end() {
    use p2pcopy::parts::transfer::LocalError::Removed;
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 21, 9 * MIB);
    let scanned = scan(std::slice::from_ref(&file), &ScanOptions::default()).unwrap();
    let (manifest, source) = (scanned.manifest.clone(), Source::files(scanned));
    let mut remove = |block: u32| {
        if block == 4 {
            fs::remove_dir_all(p.out.join("vm.img.part")).unwrap();
        }
    };
    let outcome = pair::run_changing(manifest, source, disk(&p.out), Setup::default(), &mut remove);
    let Err(Fault::Receiver(TransferError::Local(Removed(what)))) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(what, p.out.join("vm.img.part"));
}
