use std::fs;
use std::io::Cursor;

use super::super::scan::{ScanOptions, scan, stream_manifest};
use super::*;

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
    for change in [&b"longer than before"[..], b"short", b""] {
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
        Err(TransferError::SourceChanged(_) | TransferError::Local(LocalError::Missing(_)))
    ));
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
