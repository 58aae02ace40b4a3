//! What must lie on a receiver's disk, after a death and in the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use p2pcopy::parts::transfer::Conflicts;

use crate::memory::{Crash, MemoryLayer};

/// Everything by path: a file's bytes, `None` for a directory, a link's target.
pub type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Everything a machine may forget when it dies.
pub const CRASHES: [Crash; 5] = [
    Crash::KeepAll,
    Crash::LoseBytes,
    Crash::LoseOdd,
    Crash::LoseEven,
    Crash::LoseAll,
];

/// What must lie on the receiver's disk in the end.
pub fn expected(paths: &[PathBuf]) -> Contents {
    let mut out = Contents::new();
    let mut pending: Vec<(PathBuf, PathBuf)> = paths
        .iter()
        .map(|p| (p.clone(), PathBuf::from(p.file_name().unwrap())))
        .collect();
    while let Some((path, name)) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|e| {
                let e = e.unwrap();
                (e.path(), name.join(e.file_name()))
            }));
            out.insert(name, None);
        } else if meta.is_symlink() {
            let target = fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes();
            out.insert(name, Some(target));
        } else {
            out.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
    out
}

/// What lies under final names.
pub fn finals(layer: &MemoryLayer) -> Contents {
    let is_staging = |path: &Path| {
        let top = path.components().next().unwrap();
        top.as_os_str().to_string_lossy().ends_with(".part")
    };
    let mut contents = layer.contents();
    contents.retain(|path, _| !is_staging(path));
    contents
}

/// After a death: each final name is absent or right.
pub fn assert_nothing_wrong(layer: &MemoryLayer, expected: &Contents, context: &str) {
    for (path, content) in finals(layer) {
        assert!(expected.get(&path) == Some(&content), "{path:?}, {context}");
    }
}

/// In the end: exactly `expected`, or all of it twice over where the dead run had given every final name and the next
/// one, which compares nothing unasked, received it again.
pub fn assert_whole(layer: &MemoryLayer, expected: &Contents, conflicts: Conflicts, context: &str) {
    let contents = layer.contents();
    let mut twins = contents.clone();
    twins.retain(|path, _| !expected.contains_key(path));
    let is_twin = |(path, content): (&PathBuf, &Option<Vec<u8>>)| {
        let plain = path.to_string_lossy().replacen(" (1)", "", 1);
        expected.get(Path::new(&plain)) == Some(content)
    };
    let may_be_twice = conflicts == Conflicts::Rename && twins.len() == expected.len();
    assert!(
        expected
            .iter()
            .all(|(path, content)| contents.get(path) == Some(content))
            && (twins.is_empty() || may_be_twice && twins.iter().all(is_twin)),
        "{context}: {:?}",
        contents.keys()
    );
}
