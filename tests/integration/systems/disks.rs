//! Disks that are full or read-only. Only root can make them: `.ci/systems` does, and names them.

use std::fs;
use std::path::Path;

use super::ends::{End, Running, content, files, introduce, place, read, write};

/// A sender in the directory `from`, and a receiver in `to`.
fn start(limit: &str, from: &Path, to: &Path) -> [Running; 2] {
    introduce([
        Running::start(End::Sender, &["sender", "vm.img", "--limit", limit], from),
        Running::start(End::Receiver, &["receiver", "--yes"], to),
    ])
}

fn disk(variable: &str) -> std::path::PathBuf {
    std::env::var_os(variable)
        .expect("the name of a disk made for this")
        .into()
}

#[test]
#[ignore = "needs P2PCOPY_SMALL_DISK, an empty disk of 32 MiB"]
fn a_full_disk_is_told_before_anything_moves_or_when_it_fills_up_and_a_resume_ends_well() {
    // The next pair of systems finds the disk empty, however this one ends.
    let place_there = tempfile::tempdir_in(disk("P2PCOPY_SMALL_DISK")).expect("a place there");
    let (from, to) = (place(), place_there.path());
    write(&from.path().join("vm.img"), &content(4, 40_000_000));
    let [sender, receiver] = start("100MB/s", from.path(), to).map(Running::end);
    assert!(receiver.failed_with(6), "{}", receiver.said);
    assert!(receiver.said.contains("are needed"), "{}", receiver.said);
    assert!(sender.failed_with(6), "{}", sender.said);
    assert!(files(to).is_empty(), "{}", receiver.said);

    write(&from.path().join("vm.img"), &content(4, 24_000_000));
    let mut ends = start("4MB/s", from.path(), to);
    ends[1].wait_for("ETA");
    let filler = to.join("filler");
    fill(&filler);
    let [sender, receiver] = ends.map(Running::end);
    assert!(receiver.failed_with(6), "{}", receiver.said);
    assert!(receiver.said.contains("the disk is full"), "{}", receiver.said);
    assert!(sender.failed_with(6), "{}", sender.said);
    assert!(!to.join("vm.img").exists());

    fs::remove_file(filler).expect("our own file");
    let [_, receiver] = start("100MB/s", from.path(), to).map(Running::end);
    assert!(receiver.succeeded(), "{}", receiver.said);
    assert_eq!(
        files(to),
        [("vm.img".to_owned(), read(&from.path().join("vm.img")))]
    );
}

/// Takes all room that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a new file");
    let block = [1; 4096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}

#[test]
#[ignore = "needs P2PCOPY_READ_ONLY_DISK, a disk that nobody can write to"]
fn a_read_only_disk_is_told() {
    let (from, to) = (place(), disk("P2PCOPY_READ_ONLY_DISK"));
    let receiver = if End::Receiver.is_windows() {
        write(&from.path().join("vm.img"), b"content");
        // Wine finds it out by writing.
        let [sender, receiver] = start("100MB/s", from.path(), &to).map(Running::end);
        assert!(sender.failed_with(6), "{}", sender.said);
        receiver
    } else {
        Running::start(End::Receiver, &["receiver", "--yes"], &to).end()
    };
    assert!(receiver.failed_with(6), "{}", receiver.said);
    // Wine calls it a matter of permission.
    let told = ["read-only", "no permission"].map(|words| receiver.said.contains(words));
    assert!(
        told[0] || (told[1] && End::Receiver.is_windows()),
        "{}",
        receiver.said
    );
}
