use super::*;

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
        .map(|(i, _)| scanned.manifest.path(i).to_string_lossy().into_owned())
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

#[test]
fn excluded_names_and_paths_are_left_out_with_what_is_in_them() {
    let dir = tree();
    let exclude = Exclude::new(["*.o", "b/c/"]).unwrap();
    let options = ScanOptions {
        exclude,
        ..ScanOptions::default()
    };
    let scanned = scan(&[dir.path().join("t")], &options).unwrap();
    assert_eq!(paths(&scanned), ["t", "t/b", "t/z", "t/b/keep"]);
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
        Err(TransferError::Local(LocalError::Missing(_)))
    ));
}

#[test]
fn a_dot_is_sent_under_the_name_of_the_directory() {
    let dir = tree();
    let scanned = scan(&[dir.path().join("t/b/..")], &ScanOptions::default()).unwrap();
    assert_eq!(paths(&scanned)[0], "t");
}
