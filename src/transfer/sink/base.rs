//! What lies here already and may be equal to what is sent: files under the final names, if the user wants them
//! compared, or what is kept of an interrupted transfer of the same names. It is only read.
//!
//! To compare is to tell: a peer learns by it which blocks it need not send. So nothing is compared unasked.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind};
use crate::transfer::hash::Cv;
use crate::transfer::manifest::{Kind, Manifest};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::losses::Losses;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::tree::Tree;
use crate::transfer::{BLOCK_LEN, block_count};

/// What is compared with what is sent.
#[derive(Debug)]
pub(crate) enum Compare<F> {
    Nothing,
    /// The files under the final names; equal ones get the time that was sent if `retime`.
    Finals {
        retime: bool,
    },
    /// What an interrupted transfer of other content kept, and its hashes.
    Kept {
        staging: Staging,
        blocks: BTreeMap<u32, Cv>,
        /// Its journal: nobody goes on with it meanwhile.
        _lock: F,
    },
}

/// What there is to compare.
#[derive(Debug)]
pub(crate) struct Base<F> {
    pub(crate) compare: Compare<F>,
    pub(crate) tree: Tree<F>,
    /// Blocks all of whose bytes exist here, right or wrong.
    pub(crate) blocks: RunSet,
    /// Set while everything there has the listed kind and size, and every block read matched.
    pub(crate) equal: bool,
    /// Blocks that matched while [`Base::equal`], and so were not copied.
    pub(crate) borrowed: BTreeMap<u32, Cv>,
}

impl<F> Base<F> {
    /// Looks at what is there. `may_be_equal`: nothing of this transfer was verified before.
    pub(crate) fn open<L: Layer<File = F>>(
        layer: &L,
        manifest: &Arc<Manifest>,
        compare: Compare<F>,
        may_be_equal: bool,
        losses: &Losses,
    ) -> io::Result<Base<F>> {
        let (at, may_be_equal) = match &compare {
            Compare::Nothing => {
                return Ok(Base {
                    compare,
                    tree: Tree::existing(Arc::clone(manifest), PathBuf::new()),
                    blocks: RunSet::new(),
                    equal: false,
                    borrowed: BTreeMap::new(),
                });
            }
            Compare::Finals { .. } => (PathBuf::new(), may_be_equal),
            Compare::Kept { staging, .. } => (staging.data(), false),
        };
        let mut tree = Tree::existing(Arc::clone(manifest), at.clone());
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
            let path = at.join(manifest.path(index));
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
                (Kind::Symlink, None) => losses.has_lost(index),
                _ => false,
            };
            equal &= same;
        }
        add(start, end);
        if let Compare::Kept { blocks: kept, .. } = &compare {
            let whole = std::mem::take(&mut blocks);
            for &index in kept.keys().filter(|&&index| whole.contains(index)) {
                blocks.insert(index, index + 1);
            }
        }
        Ok(Base {
            compare,
            tree,
            blocks,
            equal,
            borrowed: BTreeMap::new(),
        })
    }
    /// The sender announced a hash. Where the hash of what was kept is known and another, it need not be read.
    pub(crate) fn on_announced(&mut self, index: u32, cv: &Cv) {
        if let Compare::Kept { blocks, .. } = &self.compare
            && blocks.get(&index) != Some(cv)
        {
            self.blocks.remove(index);
        }
    }
}
