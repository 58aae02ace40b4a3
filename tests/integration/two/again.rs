//! The same two commands again, after a transfer that was not complete.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Running, start};

/// A file of long ago, which is no log.
#[expect(clippy::disallowed_methods, reason = "a test makes its files")]
fn write_old(path: &Path, content: &str) {
    fs::write(path, content).expect("room for a few bytes");
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    let file = File::options().write(true).open(path).expect("our own");
    file.set_times(FileTimes::new().set_modified(old))
        .expect("our own");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its files")]
fn the_same_two_commands_complete_what_was_not_complete() {
    let place = tempfile::tempdir().expect("a place for files");
    let at = |path: &str| place.path().join(path);
    fs::create_dir(at("tree")).expect("a directory");
    for name in ["tree/a", "tree/b", "tree/c"] {
        write_old(&at(name), name);
    }
    let run = |meanwhile: &dyn Fn()| {
        let receiver = ["receiver", "--yes", "--output", "out"];
        let mut ends = [
            start(&["sender", "tree"], place.path()),
            start(&receiver, place.path()),
        ];
        let [a, b] = [ends[0].address(), ends[1].address()];
        // The list is made before the address is told.
        meanwhile();
        ends[0].enter(&b);
        ends[1].enter(&a);
        ends.map(Running::end).map(|end| {
            let told = String::from_utf8_lossy(&end.stderr).into_owned();
            (end.status.code(), told)
        })
    };
    for (code, told) in run(&|| write_old(&at("tree/b"), "another b")) {
        assert_eq!(code, Some(7), "{told}");
    }
    assert!(!at("out/tree/b").exists());
    let ends = run(&|| ());
    for (code, told) in &ends {
        assert_eq!(*code, Some(0), "{told}");
    }
    for (name, content) in [("a", "tree/a"), ("b", "another b"), ("c", "tree/c")] {
        let found = fs::read_to_string(at("out/tree").join(name)).expect("it has come");
        assert_eq!(found, content);
    }
    let found: Vec<_> = fs::read_dir(at("out")).expect("it is there").collect();
    assert_eq!(
        found.len(),
        1,
        "nothing under another name, nothing left: {found:?}"
    );
}
