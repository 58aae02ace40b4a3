//! Whole transfers over the real file system: whatever is sent arrives exactly.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

mod pair;

use std::fs;
use std::path::{Path, PathBuf};

use p2pcopy::transfer::disk::DiskLayer;
use p2pcopy::transfer::scan::{ScanOptions, scan};
use p2pcopy::transfer::source::Source;
use pair::{Fault, Outcome, Rng, Setup, run};

const MIB: usize = 1 << 20;

fn send(paths: &[PathBuf], out: &Path, setup: Setup) -> Result<Outcome, Fault> {
    let scanned = scan(paths, &ScanOptions::default()).unwrap();
    run(
        scanned.manifest.clone(),
        Source::files(scanned),
        DiskLayer::new(out).unwrap(),
        setup,
    )
}

fn only_entry(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_file_of_any_size_arrives_exactly() {
    for (seed, size) in [0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB, 9 * MIB + 12345]
        .into_iter()
        .enumerate()
    {
        for buffers in [2, 8] {
            let dir = tempfile::tempdir().unwrap();
            let (src, out) = (dir.path().join("vm.img"), dir.path().join("out"));
            fs::create_dir(&out).unwrap();
            let content = Rng::new(seed as u64).bytes(size);
            fs::write(&src, &content).unwrap();
            let setup = Setup {
                seed: seed as u64,
                buffers,
                ..Setup::default()
            };
            let outcome = send(&[src.clone()], &out, setup).unwrap();
            assert_eq!(outcome.root.unwrap().0, *blake3::hash(&content).as_bytes());
            assert_eq!(fs::read(out.join("vm.img")).unwrap(), content);
            assert_eq!(only_entry(&out), ["vm.img"], "nothing is left behind");
            let times = |p: &Path| fs::metadata(p).unwrap().modified().unwrap();
            assert_eq!(times(&src), times(&out.join("vm.img")));
        }
    }
}

#[test]
fn a_damaged_block_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (src, out) = (dir.path().join("vm.img"), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    let content = Rng::new(7).bytes(5 * MIB + 77);
    fs::write(&src, &content).unwrap();
    send(
        &[src],
        &out,
        Setup {
            damage: Some(2),
            ..Setup::default()
        },
    )
    .unwrap();
    assert_eq!(fs::read(out.join("vm.img")).unwrap(), content);
}
