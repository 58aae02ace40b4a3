#![expect(clippy::disallowed_methods, reason = "tests make their files")]

use super::*;
#[cfg(unix)]
use crate::transfer::manifest::{Kind, MAX_DEPTH};
#[cfg(unix)]
use crate::transfer::source::missing::Absence;

fn touch(path: &Path) {
    std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .unwrap();
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("t");
    std::fs::create_dir_all(top.join("b/c")).unwrap();
    for name in ["z", "a.o", "b/keep", "b/x.o", "b/c/deep"] {
        touch(&top.join(name));
    }
    dir
}

fn paths(scanned: &Scanned) -> Vec<String> {
    scanned
        .manifest
        .iter()
        .map(|(i, _)| scanned.manifest.path(i).to_string_lossy().replace('\\', "/"))
        .collect()
}

#[test]
fn a_tree_is_listed_parents_first() {
    let dir = tree();
    let scanned = scan(&[dir.path().join("t")], &ScanOptions::default()).unwrap();
    assert_eq!(
        paths(&scanned),
        [
            "t",
            "t/a.o",
            "t/b",
            "t/z",
            "t/b/c",
            "t/b/keep",
            "t/b/x.o",
            "t/b/c/deep"
        ]
    );
    for (index, _) in scanned.manifest.iter() {
        assert_eq!(scanned.path(index), dir.path().join(scanned.manifest.path(index)));
    }
}

fn excluding(patterns: &[&str]) -> ScanOptions {
    ScanOptions {
        exclude: Exclude::new(patterns).unwrap(),
        ..ScanOptions::default()
    }
}

#[test]
fn excluded_names_and_paths_are_left_out_with_what_is_in_them() {
    let dir = tree();
    for patterns in [
        &["*.o", "b/c/"][..],
        &["*.o", "c/"],
        &["*.o", "/b/c"],
        &["**/*.o", "t/b/c"],
        &["./*.o", "**/c/"],
    ] {
        let scanned = scan(&[dir.path().join("t")], &excluding(patterns)).unwrap();
        assert_eq!(paths(&scanned), ["t", "t/b", "t/z", "t/b/keep"], "{patterns:?}");
        assert!(scanned.unused_patterns.is_empty());
    }
    let scanned = scan(&[dir.path().join("t")], &excluding(&["z/", "z"])).unwrap();
    assert_eq!(scanned.unused_patterns, ["z/"]);
}

#[test]
fn what_the_user_named_is_excluded_like_what_lies_below() {
    let dir = tree();
    let named = ["t/z", "t/a.o", "t/b"].map(|path| dir.path().join(path));
    let scanned = scan(&named, &excluding(&["*.o", "c"])).unwrap();
    assert_eq!(paths(&scanned), ["z", "b", "b/keep"]);
    assert_eq!(scanned.sent_paths(), [named[0].clone(), named[2].clone()]);
    let outcome = scan(&named, &excluding(&["*"]));
    assert!(matches!(
        outcome,
        Err(TransferError::Local(LocalError::AllExcluded))
    ));
}

#[test]
fn a_single_path_can_be_sent_under_another_name() {
    let dir = tree();
    for (path, sent) in [("t/z", &["new"][..]), ("t/b/c", &["new", "new/deep"])] {
        let options = ScanOptions {
            name: Some("new".into()),
            // Patterns match the names on this disk.
            exclude: Exclude::new(["new", "c/new"]).unwrap(),
            ..ScanOptions::default()
        };
        let scanned = scan(&[dir.path().join(path)], &options).unwrap();
        assert_eq!(paths(&scanned), sent);
        assert_eq!(scanned.path(EntryIndex::new(0)), dir.path().join(path));
        assert_eq!(scanned.unused_patterns.len(), 2);
    }
}

/// A scan of `t` that has listed `t` itself; `t/b` has not been read yet.
#[cfg(unix)]
fn half_scanned<'a>(dir: &tempfile::TempDir, options: &'a ScanOptions) -> Scan<'a> {
    let mut scan = Scan::new(options);
    scan.add_root(&dir.path().join("t"), b"t").unwrap();
    assert!(scan.read_directory().unwrap());
    scan
}

#[test]
#[cfg(unix)]
fn an_excluded_directory_is_not_even_opened() {
    let dir = tree();
    let options = excluding(&["b/"]);
    let mut scan = half_scanned(&dir, &options);
    // If it can no longer be opened, nothing is reported as missing.
    std::fs::rename(dir.path().join("t/b"), dir.path().join("aside")).unwrap();
    assert!(!scan.read_directory().unwrap());
    assert_eq!(paths(&scan.finish(&[]).unwrap()), ["t", "t/a.o", "t/z"]);
}

#[test]
#[cfg(unix)]
fn a_directory_that_becomes_a_link_during_the_scan_is_not_followed() {
    let dir = tree();
    let secret = dir.path().join("secret");
    std::fs::create_dir_all(&secret).unwrap();
    touch(&secret.join("key"));
    let options = ScanOptions::default();
    // One target is outside the tree, one within it, where it would only repeat something.
    for target in [secret.clone(), dir.path().join("t/aside/c")] {
        let mut scan = half_scanned(&dir, &options);
        let (b, aside) = (dir.path().join("t/b"), dir.path().join("t/aside"));
        std::fs::rename(&b, &aside).unwrap();
        std::os::unix::fs::symlink(&target, &b).unwrap();
        assert!(scan.read_directory().unwrap());
        let missing = &scan.unreadable[0];
        assert_eq!((&missing.path, missing.why), (&b, Absence::Replaced));
        assert!(
            scan.builder
                .listed()
                .iter()
                .all(|(_, entry)| entry.name != b"key")
        );
        std::fs::remove_file(&b).unwrap();
        std::fs::rename(&aside, &b).unwrap();
    }
}

#[test]
#[cfg(unix)]
fn a_root_that_becomes_another_directory_during_the_scan_is_not_read() {
    let dir = tree();
    let (t, aside) = (dir.path().join("t"), dir.path().join("aside"));
    let options = ScanOptions::default();
    let mut scan = Scan::new(&options);
    scan.add_root(&t, b"t").unwrap();
    std::fs::rename(&t, &aside).unwrap();
    std::os::unix::fs::symlink("/etc", &t).unwrap();
    assert!(matches!(
        scan.read_directory(),
        Err(TransferError::SourceReplaced(path)) if path == t
    ));
}

#[test]
#[cfg(unix)]
fn a_link_that_the_user_typed_is_followed() {
    let dir = tree();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("t/b", &link).unwrap();
    let scanned = scan(std::slice::from_ref(&link), &ScanOptions::default()).unwrap();
    assert_eq!(
        paths(&scanned),
        ["link", "link/c", "link/keep", "link/x.o", "link/c/deep"]
    );
}

// rustix makes no pipes on Apple's systems.
#[test]
#[cfg(all(unix, not(target_vendor = "apple")))]
fn a_pipe_is_left_out_and_nobody_waits_for_its_writer() {
    let dir = tree();
    let pipe = dir.path().join("t/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let scanned = scan(&[dir.path().join("t")], &ScanOptions::default()).unwrap();
    assert_eq!(
        (scanned.skipped.len(), scanned.skipped[0].path.clone()),
        (1, pipe.clone())
    );
    let outcome = scan(&[pipe], &ScanOptions::default());
    assert!(matches!(
        outcome,
        Err(TransferError::Local(LocalError::NotSendable(_)))
    ));
}

/// Creates nested directories, deeper than any path can express.
#[cfg(unix)]
fn nested(top: &Path, depth: u16) {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    std::fs::create_dir(top).unwrap();
    let open = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(rustix::fs::CWD, top, open, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&at, "deep-enough", Mode::RWXU).unwrap();
        at = openat(&at, "deep-enough", open, Mode::empty()).unwrap();
    }
}

#[test]
#[cfg(unix)]
fn deep_trees_are_read_with_few_descriptors_and_too_deep_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("deep");
    // The path is longer than PATH_MAX.
    nested(&deep, MAX_DEPTH);
    let options = ScanOptions::default();
    let mut walk = Scan::new(&options);
    walk.add_root(&deep, b"deep").unwrap();
    while walk.read_directory().unwrap() {
        assert!(walk.opener.held() <= 32);
    }
    assert_eq!(walk.builder.len(), u32::from(MAX_DEPTH) + 1);
    let too_deep = dir.path().join("too-deep");
    nested(&too_deep, MAX_DEPTH + 1);
    let error = scan(&[too_deep], &ScanOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("too-deep") && text.contains("nest too deep") && !text.contains("other side"),
        "{text}"
    );
    assert!(text.chars().count() < 500, "{}", text.len());
}

#[test]
#[cfg(unix)]
fn links_are_skipped_or_kept_and_never_followed() {
    let dir = tree();
    let top = dir.path().join("t");
    std::os::unix::fs::symlink("/etc", top.join("link")).unwrap();
    let skipping = scan(std::slice::from_ref(&top), &ScanOptions::default()).unwrap();
    assert_eq!(skipping.skipped.len(), 1);
    let options = ScanOptions {
        links: Links::Keep,
        ..ScanOptions::default()
    };
    let keeping = scan(&[top], &options).unwrap();
    let link = keeping
        .manifest
        .iter()
        .find(|(_, e)| e.kind == Kind::Symlink)
        .unwrap()
        .1;
    assert_eq!(
        (link.name, link.target, keeping.manifest.len()),
        (&b"link"[..], &b"/etc"[..], 9)
    );
}

#[test]
fn two_paths_with_one_name_and_missing_paths_are_named() {
    let dir = tree();
    let (a, b) = (dir.path().join("t/z"), dir.path().join("t/b/z"));
    touch(&b);
    let outcome = scan(&[a, b], &ScanOptions::default());
    assert!(matches!(
        outcome,
        Err(TransferError::Local(LocalError::SameName(..)))
    ));
    let outcome = scan(&[dir.path().join("nowhere")], &ScanOptions::default());
    assert!(matches!(
        outcome,
        Err(TransferError::Local(LocalError::Io { error, .. })) if error.kind() == std::io::ErrorKind::NotFound
    ));
}

#[test]
fn a_dot_is_sent_under_the_name_of_the_directory() {
    let dir = tree();
    let scanned = scan(&[dir.path().join("t/b/..")], &ScanOptions::default()).unwrap();
    assert_eq!(paths(&scanned)[0], "t");
}

#[test]
fn one_number_on_two_devices_is_two_files() {
    let dir = tempfile::tempdir().unwrap();
    let here = Identity::of(&origin::typed_metadata(dir.path()).unwrap());
    let elsewhere = Identity {
        device: here.device + 1,
        ..here
    };
    let other = Identity {
        inode: here.inode + 1,
        ..here
    };
    let changed = Identity {
        size: here.size + 1,
        mtime: here.mtime + 1,
        ..here
    };
    assert!(here.is_node_of(&changed) && here != changed);
    assert!(!here.is_node_of(&elsewhere) && !here.is_node_of(&other));
}

#[test]
#[cfg(unix)]
fn a_directory_that_its_owner_may_not_enter_is_listed_as_one_that_can_be_finished() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tree();
    let closed = dir.path().join("t/b/c");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let scanned = scan(&[dir.path().join("t")], &ScanOptions::default()).unwrap();
    let (index, entry) = scanned.manifest.iter().find(|(_, e)| e.name == b"c").unwrap();
    assert_eq!(entry.mode, 0o500);
    // Root can read it in spite of its mode.
    let told = scanned.unreadable.iter().map(|missing| missing.entry);
    assert!(rustix::process::geteuid().is_root() || told.eq([index]));
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn one_file_under_several_names_is_listed_once_with_content() {
    let dir = tree();
    let top = dir.path().join("t");
    std::fs::hard_link(top.join("b/c/deep"), top.join("b/again")).unwrap();
    std::fs::hard_link(top.join("b/c/deep"), top.join("b/x.o.bak")).unwrap();
    std::fs::hard_link(top.join("z"), dir.path().join("elsewhere")).unwrap();
    let scanned = scan(std::slice::from_ref(&top), &ScanOptions::default()).unwrap();
    let kinds: Vec<_> = scanned
        .manifest
        .iter()
        .filter(|(_, entry)| entry.kind != Kind::Dir)
        .map(|(index, entry)| (scanned.manifest.path(index), entry.kind))
        .collect();
    let first = scanned
        .manifest
        .iter()
        .find(|(_, entry)| entry.name == b"again")
        .unwrap()
        .0;
    for (path, kind) in kinds {
        let is_one_more = path.ends_with("c/deep") || path.ends_with("x.o.bak");
        let expected = if is_one_more {
            Kind::HardLink(first)
        } else {
            Kind::File
        };
        assert_eq!(kind, expected, "{path:?}");
    }
}

/// The kernel dates such files anew whenever it has forgotten them.
#[cfg(target_os = "linux")]
#[test]
fn the_time_of_a_file_that_the_kernel_makes_says_nothing() {
    let path = PathBuf::from("/sys/kernel/notes");
    if !path.exists() {
        return;
    }
    let mut scanned = scan(&[path], &ScanOptions::default()).unwrap();
    scanned.identities[0].mtime -= 1;
    let mut source = crate::transfer::source::Source::files(scanned);
    let mut content = vec![0; 1 << 20];
    let read = source.read_block(crate::transfer::BlockIndex::new(0), &mut content);
    assert!(read.unwrap().len > 0);
    source.check_unchanged().unwrap();
    assert!(source.take_missing().is_empty());
}
