//! All that lies below a directory, to be compared with what lies there later.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What something is, apart from its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    File {
        bytes: blake3::Hash,
        mode: u32,
        written: std::time::SystemTime,
    },
    Huge {
        len: u64,
    },
    Dir {
        mode: u32,
    },
    Link {
        to: PathBuf,
    },
    Other,
}

/// Nodes by their path below the root; links are not followed.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Longer files are compared by their length alone: those that are planted are sparse.
const HUGE: u64 = 64 << 20;

pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("nobody else is at work here");
        let node = if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of ours");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
            Node::Dir { mode: mode(&meta) }
        } else if meta.is_symlink() {
            Node::Link {
                to: fs::read_link(&path).expect("a link"),
            }
        } else if meta.is_file() && meta.len() > HUGE {
            Node::Huge { len: meta.len() }
        } else if meta.is_file() {
            Node::File {
                bytes: blake3::hash(&fs::read(&path).expect("a file of ours")),
                mode: mode(&meta),
                written: meta.modified().expect("every system tells"),
            }
        } else {
            Node::Other
        };
        let name = path.strip_prefix(root).expect("all is below the root");
        tree.insert(name.to_owned(), node);
    }
    tree
}

#[cfg(unix)]
fn mode(meta: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode(_meta: &fs::Metadata) -> u32 {
    0
}
