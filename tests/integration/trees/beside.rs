//! What stands in the output directory already: it is kept, merged or replaced as the user said, and never followed.

use super::*;

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

#[test]
fn what_another_kind_is_in_the_way_of_is_put_beside_it_once_however_often_it_is_sent() {
    for conflicts in [Conflicts::Overwrite, Conflicts::Update] {
        let p = place();
        for dir in ["d", "t/d"] {
            fs::create_dir_all(p.src.join(dir)).unwrap();
            write(&p.src.join(dir).join("a"), 1, 2 * MIB);
            write(&p.src.join(dir).join("b"), 2, 10);
            fs::create_dir_all(p.out.join(dir).with_file_name("f")).unwrap();
            fs::write(p.out.join(dir), b"mine").unwrap();
        }
        for file in ["f", "t/f"] {
            write(&p.src.join(file), 3, MIB);
            fs::write(p.out.join(file).join("mine"), b"mine").unwrap();
        }
        let setup = Setup {
            conflicts,
            ..Setup::default()
        };
        let paths = ["d", "f", "t"].map(|name| p.src.join(name));
        for round in 0..3 {
            let outcome = send(&paths, &p.out, setup).unwrap();
            assert_eq!(names(&p.out), ["d", "d (1)", "f", "f (1)", "t"], "{conflicts:?}");
            assert_eq!(names(&p.out.join("t")), ["d", "d (1)", "f", "f (1)"]);
            assert_eq!(snapshot(&p.out.join("t/d (1)")), snapshot(&p.src.join("t/d")));
            assert_eq!(
                fs::read(p.out.join("f (1)")).unwrap(),
                fs::read(p.src.join("f")).unwrap()
            );
            assert_eq!(fs::read(p.out.join("t/d")).unwrap(), b"mine");
            assert_eq!(fs::read(p.out.join("t/f/mine")).unwrap(), b"mine");
            let is_known = conflicts == Conflicts::Update && round > 0;
            assert_eq!(outcome.sent == 0, is_known, "{round}: {}", outcome.sent);
        }
        // Another version replaces nothing that may be the user's own.
        fs::write(p.out.join("f (1)"), b"mine, too").unwrap();
        for round in 0..3 {
            let outcome = send(&paths, &p.out, setup).unwrap();
            assert_eq!(names(&p.out), ["d", "d (1)", "f", "f (1)", "f (2)", "t"]);
            assert_eq!(fs::read(p.out.join("f (1)")).unwrap(), b"mine, too");
            let is_known = conflicts == Conflicts::Update && round > 0;
            assert!(outcome.sent == 0 || !is_known, "{round}: {}", outcome.sent);
        }
    }
}

/// Programs may have them open, and other names lead to them.
#[cfg(unix)]
#[test]
fn an_update_leaves_untouched_what_is_equal() {
    use std::os::unix::fs::MetadataExt;
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for (n, name) in ["a", "big", "sub/b", "sub/c", "z"].into_iter().enumerate() {
        write(
            &tree.join(name),
            n as u64,
            if name == "big" { 5 * MIB } else { 200_000 },
        );
    }
    send(std::slice::from_ref(&tree), &p.out, Setup::default()).unwrap();
    let node = |name: &str| fs::metadata(p.out.join("t").join(name)).unwrap().ino();
    for (changed, len) in [("sub/b", 200_000), ("a", 199_999), ("big", 5 * MIB), ("new", 10)] {
        let names = ["a", "big", "sub/b", "sub/c", "z"];
        let before = names.map(node);
        write(&tree.join(changed), 77, len);
        let dated = fs::File::options().write(true).open(tree.join("z")).unwrap();
        dated
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(len as u64))
            .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600 | (len as u32 & 0o077 & !0o022));
        fs::set_permissions(tree.join("z"), mode).unwrap();
        let outcome = send(std::slice::from_ref(&tree), &p.out, UPDATE).unwrap();
        assert!(outcome.sent <= 6 * MIB as u64, "{changed}: {}", outcome.sent);
        assert_eq!(snapshot(&p.out), snapshot(&p.src), "{changed}");
        for (name, before) in names.into_iter().zip(before) {
            assert_eq!(
                node(name) == before,
                name != changed,
                "{name} when {changed} is another"
            );
        }
    }
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
