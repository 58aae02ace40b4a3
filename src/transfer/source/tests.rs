#![expect(clippy::disallowed_methods, reason = "tests make their files")]

use std::fs;
use std::io::Cursor;

use super::*;
use crate::transfer::BLOCK_LEN;
use crate::transfer::error::LocalError;
use crate::transfer::source::scan::{ScanOptions, scan, stream_manifest};

fn write(path: &std::path::Path, bytes: &[u8]) {
    fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut f| std::io::Write::write_all(&mut f, bytes))
        .unwrap();
}

fn source_of(path: &std::path::Path) -> Source {
    Source::files(scan(&[path.to_owned()], &ScanOptions::default()).unwrap())
}

#[test]
fn a_file_that_changed_is_noticed_wherever_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut buffer = vec![0; BLOCK_LEN];
    for change in [&b"as it wos"[..], b"short", b""] {
        write(&path, b"as it was");
        let mut source = source_of(&path);
        write(&path, change);
        let outcome = source.read_block(BlockIndex::new(0), &mut buffer);
        assert!(
            matches!(outcome, Err(TransferError::SourceChanged(_))),
            "{change:?}"
        );
        assert!(matches!(
            source.check_unchanged(),
            Err(TransferError::SourceChanged(_))
        ));
    }
    write(&path, b"as it was");
    let mut source = source_of(dir.path());
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        source.read_block(BlockIndex::new(0), &mut buffer),
        Err(TransferError::Local(LocalError::Removed(gone))) if gone == path
    ));
}

#[test]
#[cfg(target_os = "linux")]
fn what_has_gone_what_was_replaced_and_what_changed_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["changed", "gone", "replaced", "stays"] {
        write(&at(name), b"as it was");
    }
    let mut source = source_of(dir.path());
    write(&at("changed"), b"shorter");
    fs::remove_file(at("gone")).unwrap();
    write(&at("new"), b"as it was");
    fs::rename(at("new"), at("replaced")).unwrap();
    source
        .read_block(BlockIndex::new(0), &mut vec![0; BLOCK_LEN])
        .unwrap();
    let missing: Vec<_> = source
        .take_missing()
        .into_iter()
        .map(|m| (m.path, m.why))
        .collect();
    let expected = [
        (at("changed"), Absence::Changed),
        (at("gone"), Absence::Gone),
        (at("replaced"), Absence::Replaced),
    ];
    assert_eq!(missing, expected);
}

/// For each way to replace something: the outcome of reading `t/b/file`, and of the check at the end.
#[test]
#[cfg(unix)]
fn nothing_that_took_a_files_place_is_read() {
    use std::os::unix::fs::symlink;
    let mut buffer = vec![0; BLOCK_LEN];
    type Swap = fn(&std::path::Path);
    let swaps: &[(&str, Swap)] = &[
        ("a link to another file", |dir| {
            fs::remove_file(dir.join("t/b/file")).unwrap();
            symlink(dir.join("secret/b/file"), dir.join("t/b/file")).unwrap();
        }),
        ("a link to itself under another name", |dir| {
            fs::rename(dir.join("t/b/file"), dir.join("moved")).unwrap();
            symlink(dir.join("moved"), dir.join("t/b/file")).unwrap();
        }),
        ("its directory a link", |dir| {
            fs::rename(dir.join("t/b"), dir.join("aside")).unwrap();
            symlink(dir.join("secret/b"), dir.join("t/b")).unwrap();
        }),
        ("its directory a link to itself", |dir| {
            fs::rename(dir.join("t/b"), dir.join("aside")).unwrap();
            symlink(dir.join("aside"), dir.join("t/b")).unwrap();
        }),
        ("the root a link", |dir| {
            fs::rename(dir.join("t"), dir.join("aside")).unwrap();
            symlink(dir.join("secret"), dir.join("t")).unwrap();
        }),
        // rustix makes no pipes on Apple's systems.
        #[cfg(not(target_vendor = "apple"))]
        ("a pipe without a writer", |dir| {
            fs::remove_file(dir.join("t/b/file")).unwrap();
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("t/b/file"), mode).unwrap();
        }),
        ("a socket", |dir| {
            fs::remove_file(dir.join("t/b/file")).unwrap();
            std::os::unix::net::UnixListener::bind(dir.join("t/b/file")).unwrap();
        }),
    ];
    for (what, swap) in swaps {
        let dir = tempfile::tempdir().unwrap();
        for top in ["t", "secret"] {
            fs::create_dir_all(dir.path().join(top).join("b")).unwrap();
            write(&dir.path().join(top).join("b/file"), b"nine byte");
        }
        let (top, file) = (dir.path().join("t"), dir.path().join("t/b/file"));
        let mut sources = [source_of(&top), source_of(&top), source_of(&file)];
        swap(dir.path());
        let outcome = sources[0].read_block(BlockIndex::new(0), &mut buffer);
        assert!(
            matches!(outcome, Err(TransferError::SourceReplaced(_))),
            "{what}: {outcome:?}"
        );
        let outcome = sources[1].check_unchanged();
        assert!(
            matches!(outcome, Err(TransferError::SourceReplaced(_))),
            "{what}: {outcome:?}"
        );
        // A path that the user typed may become a link to the same file, but not to another one.
        let outcome = sources[2].read_block(BlockIndex::new(0), &mut buffer);
        match outcome {
            Ok(_) => assert!(what.contains("itself"), "{what}"),
            Err(_) => assert!(!what.contains("itself"), "{what}"),
        }
    }
}

#[test]
fn a_pipe_keeps_what_is_not_released() {
    let content: Vec<u8> = (0..2 * BLOCK_LEN + 10).map(|i| (i / 3) as u8).collect();
    assert!(stream_manifest("x.tar").unwrap().is_stream());
    let mut source = Source::pipe(Box::new(Cursor::new(content.clone())));
    let mut buffer = vec![0; BLOCK_LEN];
    for (i, expected) in [(0, BLOCK_LEN), (1, BLOCK_LEN), (2, 10), (0, BLOCK_LEN)] {
        let read = source.read_block(BlockIndex::new(i), &mut buffer).unwrap();
        assert_eq!(
            (read.len, &buffer[..read.len]),
            (expected, &content[i as usize * BLOCK_LEN..][..expected])
        );
        assert_eq!(read.stream_end, (i == 2).then_some(content.len() as u64));
    }
    assert_eq!(source.read_block(BlockIndex::new(3), &mut buffer).unwrap().len, 0);
    let mut part = [0; 20];
    assert!(source.read_range(BLOCK_LEN as u64 - 10, &mut part).unwrap());
    assert_eq!(part, content[BLOCK_LEN - 10..][..20]);
    source.release(BlockIndex::new(1));
    assert!(!source.read_range(BLOCK_LEN as u64 - 10, &mut part).unwrap());
    assert!(source.read_block(BlockIndex::new(0), &mut buffer).is_err());
}

#[test]
fn what_was_empty_is_sent_so_whatever_becomes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["gone", "longer", "with content"] {
        write(
            &dir.path().join(name),
            if name == "with content" { b"x" } else { b"" },
        );
    }
    let mut source = source_of(dir.path());
    fs::remove_file(dir.path().join("gone")).unwrap();
    write(&dir.path().join("longer"), b"more");
    source.check_unchanged().unwrap();
    assert!(source.take_missing().is_empty());
}
