//! What a target's disk refuses: it costs what the disk cannot hold, and never the transfer.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod pair;
mod remains;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::{Conflicts, Links, MemoryLayer, Remark, ScanOptions, Source, scan};
use pair::{Fault, Outcome, Rng, Setup, run};
use remains::expected;

fn send(paths: &[PathBuf], layer: &MemoryLayer, conflicts: Conflicts) -> Result<Outcome, Fault> {
    let options = ScanOptions {
        links: Links::Keep,
        ..ScanOptions::default()
    };
    let scanned = scan(paths, &options).unwrap();
    let setup = Setup {
        conflicts,
        ..Setup::default()
    };
    run(
        scanned.manifest.clone(),
        Source::files(scanned),
        layer.clone(),
        setup,
    )
}

#[cfg(unix)]
#[test]
fn what_the_disk_does_not_keep_is_told_once_and_the_rest_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("t");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for (i, name) in ["a", "sub/b", "sub/c"].into_iter().enumerate() {
        fs::write(tree.join(name), Rng::new(i as u64).bytes(700_000 * i + 9)).unwrap();
    }
    let mut locked = fs::metadata(tree.join("sub/b")).unwrap().permissions();
    locked.set_readonly(true);
    fs::set_permissions(tree.join("sub/b"), locked).unwrap();
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    let paths = [tree];
    let mut without_link = expected(&paths);
    without_link.remove(Path::new("t/link"));
    let all = [Remark::TimesLost, Remark::ModesLost, Remark::LinksLost(1)];
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::Unsupported,
        ErrorKind::InvalidInput,
    ] {
        let layer = MemoryLayer::new();
        for call in ["set_mode", "set_modified", "set_time", "symlink", "unlock"] {
            layer.refuse(call, kind);
        }
        // The first merges into nothing, the second finds all of it, the third replaces it.
        for (conflicts, bytes) in [
            (Conflicts::Overwrite, 2_100_027),
            (Conflicts::Update, 0),
            (Conflicts::Overwrite, 2_100_027),
        ] {
            let outcome = send(&paths, &layer, conflicts).unwrap();
            assert_eq!(outcome.remarks, all, "{kind:?}");
            assert_eq!(outcome.sent, bytes);
            assert!(layer.contents() == without_link, "{:?}", layer.contents().keys());
        }
    }
}
