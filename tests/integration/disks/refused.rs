//! Output directories that cannot be used: told before an address is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::mounts::{FILE_SYSTEMS, Mounted, NOBODY};
use super::programs::{Programs, Side};
use crate::pair::Rng;

/// Everybody may write to such a directory, and only its owner and those of its entries may replace them.
const STICKY: &str = "1777";

/// Others than its owner cannot even look into such a directory.
const CLOSED: &str = "700";

/// The file is mounted over itself, as containers mount files.
const MOUNTED: &str = "mount";

/// Runs a command of the system with these arguments and this path.
fn change(command: &str, arguments: &[&str], path: &Path) {
    let done = Command::new(command).args(arguments).arg(path).status();
    assert!(done.unwrap().success(), "{command} {arguments:?}");
}

/// Gives everything in a directory to a user.
fn give(directory: &Path, user: u32) {
    change("chown", &["-R", &user.to_string()], directory);
}

#[test]
#[ignore = "mounts, which only root may"]
fn a_directory_that_takes_nothing_is_told_before_anybody_is_met_and_nothing_is_left_there() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&FILE_SYSTEMS[0], tree.path()).unwrap();
    for (user, mode, mark, words) in [
        (
            NOBODY,
            0o555,
            "",
            "cannot write to the directory out: no permission",
        ),
        (
            NOBODY,
            0o666,
            "",
            "cannot write to the directory out: no permission",
        ),
        (NOBODY, 0o300, "", "cannot read the directory out: no permission"),
        (
            0,
            0o755,
            "i",
            "cannot write to the directory out: no permission: it may not be changed",
        ),
        (0, 0o755, "a", "the directory out is append-only"),
    ] {
        let place = mounted.directory(&FILE_SYSTEMS[0], user);
        let out = place.join("out");
        fs::create_dir(&out).unwrap();
        chown(&out, Some(user), Some(user)).unwrap();
        fs::set_permissions(&out, PermissionsExt::from_mode(mode)).unwrap();
        let set_mark = |how: &str| {
            if !mark.is_empty() {
                change("chattr", &[&format!("{how}{mark}")], &out);
            }
        };
        set_mark("+");
        let ended = programs.alone(&Side {
            user,
            arguments: &["receiver", "--yes", "--output", "out"],
            directory: &place,
        });
        set_mark("-");
        assert_eq!(ended.code, Some(6), "{mode:o}{mark}: {}", ended.said);
        let failed = ended.event("failed").unwrap().to_string();
        assert!(failed.contains(words), "{failed}");
        assert!(ended.event("address").is_none());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{mode:o}{mark}");
        fs::remove_dir(&out).unwrap();
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn what_cannot_be_read_stands_in_the_way_of_no_update() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&FILE_SYSTEMS[0], tree.path()).unwrap();
    let place = mounted.directory(&FILE_SYSTEMS[0], NOBODY);
    let content = Rng::new(1).bytes(3 << 20);
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let make = |name: &str| {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    for name in [
        "from/t/new",
        "from/t/closed",
        "from/t/foreign",
        "out/t/unread/old",
        "out/t/unlisted/old",
        "out/t/unentered/old",
        "out/t/closed",
        "out/t/foreign",
    ] {
        make(name);
    }
    give(&place, NOBODY);
    let close = |name: &str, mode| {
        fs::set_permissions(place.join("out/t").join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    for (name, mode) in [("unread/old", 0), ("unlisted", 0o300), ("unentered", 0o400)] {
        close(name, mode);
    }
    let side = |arguments| Side {
        user: NOBODY,
        arguments,
        directory: &place,
    };
    // The second time all seems to be equal at first.
    for _ in 0..2 {
        close("closed", 0);
        chown(place.join("out/t/foreign"), Some(0), Some(0)).unwrap();
        close("foreign", 0o600);
        let [sender, receiver] = programs.run(
            &side(&["sender", "from/t"]),
            None,
            &side(&["receiver", "--yes", "--update", "--output", "out"]),
        );
        assert_eq!(
            (sender.code, receiver.code),
            (Some(0), Some(0)),
            "{}",
            receiver.said
        );
        for name in ["new", "closed", "foreign"] {
            assert!(fs::read(place.join("out/t").join(name)).unwrap() == content);
        }
        assert_eq!(fs::read_dir(place.join("out")).unwrap().count(), 1);
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn what_is_there_and_may_not_be_changed_is_told_before_content_flows_unless_all_is_equal() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&FILE_SYSTEMS[0], tree.path()).unwrap();
    for (of_root, mark, words) in [
        ("out/t/deep", "", "could not write to out/t/deep: no permission"),
        (
            "out/t/deep",
            "i",
            "could not write to out/t/deep: no permission: it may not be changed",
        ),
        (
            "out/t/deep/old",
            "i",
            "could not replace out/t/deep/old: no permission: it may not be changed",
        ),
        (
            "out/t/deep/old",
            "a",
            "could not replace out/t/deep/old: no permission: it may not be changed",
        ),
        (
            "out/t/deep",
            "a",
            "could not replace out/t/deep/old: no permission: it may not be changed",
        ),
        (
            "out/t/deep",
            STICKY,
            "could not replace out/t/deep/old: no permission: it may not be changed, or only by its owner",
        ),
        (
            "out/t/deep",
            CLOSED,
            "could not write to out/t/deep: no permission",
        ),
        (
            "out/t/deep/old",
            MOUNTED,
            "could not replace out/t/deep/old: another file system is mounted there",
        ),
    ] {
        let place = mounted.directory(&FILE_SYSTEMS[0], NOBODY);
        for (name, content) in [
            ("from/t/deep/old", "newer"),
            ("from/t/other", "other"),
            ("out/t/deep/old", "old"),
            ("out/t/other", "other"),
        ] {
            let path = place.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        give(&place, NOBODY);
        let of_root = place.join(of_root);
        match mark {
            "" => change("chown", &["root"], &of_root),
            STICKY | CLOSED => {
                give(&of_root, 0);
                change("chmod", &[mark], &of_root);
            }
            MOUNTED => change("mount", &["--bind", of_root.to_str().unwrap()], &of_root),
            mark => change("chattr", &[&format!("+{mark}")], &of_root),
        }
        let run = |rule| {
            let side = |arguments| Side {
                user: NOBODY,
                arguments,
                directory: &place,
            };
            let receiver: &[&str] = &["receiver", "--yes", rule, "--output", "out"];
            programs.run(&side(&["sender", "from/t"]), None, &side(receiver))
        };
        // Of the same size, it is found to differ only when it is compared.
        for (content, rule) in [
            ("newer", "--overwrite"),
            ("newer", "--update"),
            ("new", "--update"),
        ] {
            fs::write(place.join("from/t/deep/old"), content).unwrap();
            let [sender, receiver] = run(rule);
            let codes = (sender.code, receiver.code);
            assert_eq!(codes, (Some(6), Some(6)), "{rule}: {}", receiver.said);
            let failed = receiver.event("failed").unwrap().to_string();
            assert!(failed.contains(words), "{rule}: {failed}");
            // Content that had come would be kept.
            assert_eq!(fs::read_dir(place.join("out")).unwrap().count(), 1, "{rule}");
            assert_eq!(fs::read(place.join("out/t/deep/old")).unwrap(), b"old", "{rule}");
        }
        fs::write(place.join("from/t/deep/old"), "old").unwrap();
        let [sender, receiver] = run("--update");
        let codes = (sender.code, receiver.code);
        let code = Some(if mark == CLOSED { 6 } else { 0 });
        assert_eq!(codes, (code, code), "{}", receiver.said);
        // What is equal is not touched if something else differs.
        fs::write(place.join("from/t/other"), "OTHER").unwrap();
        let [sender, receiver] = run("--update");
        assert_eq!((sender.code, receiver.code), (code, code), "{}", receiver.said);
        match mark {
            "i" | "a" => change("chattr", &["-ia"], &of_root),
            MOUNTED => change("umount", &[], &of_root),
            _ => {}
        }
    }
}

#[test]
#[ignore = "mounts, which only root may"]
fn in_a_directory_that_anybody_may_write_to_only_what_others_own_cannot_be_replaced() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&FILE_SYSTEMS[0], tree.path()).unwrap();
    let place = mounted.directory(&FILE_SYSTEMS[0], NOBODY);
    for name in ["f", "out/f"] {
        fs::create_dir_all(place.join("out")).unwrap();
        fs::write(place.join(name), name).unwrap();
    }
    give(&place, NOBODY);
    let out = place.join("out");
    chown(&out, Some(0), Some(0)).unwrap();
    change("chmod", &[STICKY], &out);
    let run = |user| {
        let side = |arguments| Side {
            user,
            arguments,
            directory: &place,
        };
        let receiver = ["receiver", "--yes", "--overwrite", "--output", "out"];
        let [sender, receiver] = programs.run(&side(&["sender", "f"]), None, &side(&receiver));
        assert_eq!(sender.code, receiver.code, "{}", receiver.said);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        receiver.code
    };
    assert_eq!(run(NOBODY), Some(0), "his own");
    fs::remove_file(out.join("f")).unwrap();
    std::os::unix::fs::symlink("nowhere", out.join("f")).unwrap();
    assert_eq!(run(NOBODY), Some(6), "a link of root");
    assert_eq!(run(0), Some(0));
    assert_eq!(run(NOBODY), Some(6), "a file of root");
    chown(&out, Some(NOBODY), None).unwrap();
    assert_eq!(run(NOBODY), Some(0), "the directory is his own");
}

#[test]
#[ignore = "mounts, which only root may"]
fn a_read_only_mount_that_lacks_nothing_but_times_costs_a_warning() {
    let programs = Programs::new();
    let tree = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&FILE_SYSTEMS[0], tree.path()).unwrap();
    let place = mounted.directory(&FILE_SYSTEMS[0], 0);
    let inner = place.join("out/t/inner");
    fs::create_dir_all(&inner).unwrap();
    change("mount", &["-t", "tmpfs", "tmpfs"], &inner);
    for directory in ["from", "out"] {
        fs::create_dir_all(place.join(directory).join("t/inner")).unwrap();
        fs::write(place.join(directory).join("t/inner/file"), "equal").unwrap();
    }
    let dated = fs::File::options()
        .write(true)
        .open(place.join("from/t/inner/file"));
    dated.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    change("mount", &["-o", "remount,ro"], &inner);
    let side = |arguments| Side {
        user: 0,
        arguments,
        directory: &place,
    };
    let receiver = ["receiver", "--yes", "--update", "--output", "out"];
    let [sender, receiver] = programs.run(&side(&["sender", "from/t"]), None, &side(&receiver));
    change("umount", &[], &inner);
    assert_eq!(
        (sender.code, receiver.code),
        (Some(0), Some(0)),
        "{}",
        receiver.said
    );
    assert!(
        receiver.said.contains("does not keep the times"),
        "{}",
        receiver.said
    );
}
