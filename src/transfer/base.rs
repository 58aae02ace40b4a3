//! What lies under the final names already: an older copy need not be sent again, an equal one not at all.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::blocks::Cv;
use super::layer::{Layer, NodeInfo, NodeKind};
use super::manifest::{Kind, Manifest};
use super::runs::RunSet;
use super::tree::Tree;
use super::{BLOCK_LEN, block_count};

/// Existing files under the names of this transfer. They are only read.
#[derive(Debug)]
pub(super) struct Base<F> {
    pub(super) tree: Tree<F>,
    /// Blocks all of whose bytes exist here, right or wrong.
    pub(super) blocks: RunSet,
    /// Set while everything there has the listed kind and size, and every block read matched.
    pub(super) equal: bool,
    /// Blocks that matched while [`Base::equal`], and so were not copied.
    pub(super) borrowed: BTreeMap<u32, Cv>,
}

impl<F> Base<F> {
    /// Looks at what is there. `may_be_equal`: nothing of this transfer was verified before.
    pub(super) fn open<L: Layer<File = F>>(
        layer: &L,
        manifest: &Arc<Manifest>,
        may_be_equal: bool,
    ) -> io::Result<Base<F>> {
        let mut tree = Tree::existing(Arc::clone(manifest));
        let (mut blocks, mut equal) = (RunSet::new(), may_be_equal);
        // The stretch of content, up to the entry at hand, whose bytes all exist.
        let (mut start, mut end) = (0, 0);
        let total = manifest.total().unwrap_or(0);
        let mut add = |start: u64, end: u64| {
            let first = start.div_ceil(BLOCK_LEN as u64);
            let last = if end == total {
                u64::from(block_count(end))
            } else {
                end / BLOCK_LEN as u64
            };
            // Within MAX_CONTENT both are 32-bit numbers.
            blocks.insert(first as u32, last as u32);
        };
        for (index, entry) in manifest.iter() {
            let visible = entry.parent.is_none_or(|parent| tree.has(parent));
            let path = manifest.path(index);
            let found = if visible { layer.info(&path)? } else { None };
            let same = match (entry.kind, found) {
                (
                    Kind::Dir,
                    Some(NodeInfo {
                        kind: NodeKind::Dir, ..
                    }),
                ) => {
                    tree.mark(index);
                    true
                }
                (
                    Kind::File,
                    Some(NodeInfo {
                        kind: NodeKind::File,
                        len,
                        ..
                    }),
                ) => {
                    tree.mark(index);
                    let range = manifest.content_range(index);
                    if range.start != end {
                        add(start, end);
                        start = range.start;
                    }
                    end = range.start + len.min(entry.size);
                    len == entry.size
                }
                (
                    Kind::Symlink,
                    Some(NodeInfo {
                        kind: NodeKind::Other,
                        ..
                    }),
                ) => layer.read_link(&path).is_ok_and(|target| target == entry.target),
                _ => false,
            };
            equal &= same;
        }
        add(start, end);
        Ok(Base {
            tree,
            blocks,
            equal,
            borrowed: BTreeMap::new(),
        })
    }
}
