//! Files that are here already and may equal what is sent: files under the final names, if the user wants
//! them compared, or files kept from an interrupted transfer of another list. They are only read.
//!
//! What is kept is found by file: a file under its path counts, wherever it lies in the content now, and
//! whatever other files were added, removed or changed.
//!
//! Comparing tells the peer something: it learns which blocks it need not send. So nothing is compared unless
//! the user asks for it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind};
use crate::transfer::hash::Cv;
use crate::transfer::manifest::{Kind, Manifest};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::hard_links;
use crate::transfer::sink::losses::Losses;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::tree::Tree;
use crate::transfer::{BLOCK_LEN, BlockIndex, blocks_within};

/// Most written ranges of one file that are told apart from holes. All that follows them counts as one range.
const MOST_RUNS: usize = 10_000;

/// What is compared with the sent content.
#[derive(Debug)]
pub(crate) enum Compare<F> {
    Nothing,
    /// The files under the final names. If `retime`, equal files get the time that was sent.
    Finals {
        retime: bool,
    },
    /// Files that an interrupted transfer of another list left.
    Kept {
        staging: Staging,
        /// Its journal. The lock keeps other runs from continuing that transfer meanwhile.
        _lock: F,
    },
}

/// The files to compare.
#[derive(Debug)]
pub(crate) struct Base<F> {
    pub(crate) compare: Compare<F>,
    pub(crate) tree: Tree<F>,
    /// Blocks still to be compared: files that exist here have all their bytes, right or wrong.
    pub(crate) blocks: RunSet,
    /// True while everything here has the listed kind and size, and every block read so far matched.
    pub(crate) equal: bool,
    /// Blocks that matched while [`Base::equal`] was true. They are not copied yet.
    pub(crate) borrowed: BTreeMap<u32, Cv>,
    /// The first block that did not match. It is reported once the others are copied.
    pub(crate) differs: Option<BlockIndex>,
}

impl<F> Base<F> {
    /// Looks at the files here. If `ours` is given, looks only at these entries. `may_be_equal`: no block of
    /// this transfer was verified before.
    pub(crate) fn open<L: Layer<File = F>>(
        layer: &L,
        manifest: &Arc<Manifest>,
        compare: Compare<F>,
        may_be_equal: bool,
        losses: &Losses,
        ours: Option<&RunSet>,
    ) -> io::Result<Base<F>> {
        let (at, may_be_equal) = match &compare {
            Compare::Nothing => {
                return Ok(Base {
                    compare,
                    tree: Tree::existing(Arc::clone(manifest), PathBuf::new()),
                    blocks: RunSet::new(),
                    equal: false,
                    borrowed: BTreeMap::new(),
                    differs: None,
                });
            }
            Compare::Finals { .. } => (PathBuf::new(), may_be_equal),
            Compare::Kept { staging, .. } => (staging.data(), false),
        };
        let is_kept = matches!(compare, Compare::Kept { .. });
        let mut tree = Tree::existing(Arc::clone(manifest), at.clone());
        let mut equal = may_be_equal;
        let mut stretches = Stretches::new(manifest.total().unwrap_or(0));
        for (index, entry) in manifest.iter() {
            let is_ours = entry.kind != Kind::File || ours.is_none_or(|ours| ours.contains(index.get()));
            let visible = is_ours && entry.parent.is_none_or(|parent| tree.has(parent));
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
                    // If the sent file is longer, its bytes beyond the end of this one may be here at another
                    // place. So they are compared too.
                    let reach = if !is_kept && len >= entry.size / 2 {
                        entry.size
                    } else {
                        len
                    };
                    let (start, here) = (manifest.content_range(index).start, reach.min(entry.size));
                    // A large file of ours got its room reserved before any content arrived, so its length
                    // says nothing.
                    if is_kept && here > BLOCK_LEN as u64 {
                        for run in written(layer, &path)? {
                            stretches.add(start + run.start.min(here)..start + run.end.min(here));
                        }
                    } else {
                        stretches.add(start..start + here);
                    }
                    len == entry.size
                }
                (
                    Kind::Symlink,
                    Some(NodeInfo {
                        kind: NodeKind::Other,
                        ..
                    }),
                ) => layer.read_link(&path).is_ok_and(|target| target == entry.target),
                (
                    Kind::HardLink(of),
                    Some(NodeInfo {
                        kind: NodeKind::File, ..
                    }),
                ) => hard_links::are_one(layer, &path, &at.join(manifest.path(of))),
                (Kind::Symlink, None) => losses.has_lost(index),
                _ => false,
            };
            equal &= same;
        }
        Ok(Base {
            compare,
            tree,
            blocks: stretches.close(),
            equal,
            borrowed: BTreeMap::new(),
            differs: None,
        })
    }
}

/// The written ranges of the file at `path`, as far as the file system tells them from holes.
fn written<L: Layer>(layer: &L, path: &Path) -> io::Result<Vec<Range<u64>>> {
    let file = layer.open_read(path)?;
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Some(run) = layer.written(&file, at)? {
        at = run.end;
        runs.push(run);
        if runs.len() == MOST_RUNS {
            runs.push(at..u64::MAX);
            break;
        }
    }
    Ok(runs)
}

/// Joins adjacent ranges of the content, given in order, and collects the blocks that lie completely inside
/// them.
struct Stretches {
    total: u64,
    open: Range<u64>,
    blocks: RunSet,
}

impl Stretches {
    fn new(total: u64) -> Stretches {
        Stretches {
            total,
            open: 0..0,
            blocks: RunSet::new(),
        }
    }

    fn add(&mut self, range: Range<u64>) {
        if range.start == self.open.end {
            self.open.end = range.end;
            return;
        }
        self.close_open();
        self.open = range;
    }

    fn close_open(&mut self) {
        if let Some(run) = blocks_within(&self.open, self.total) {
            self.blocks.insert(run.start, run.end);
        }
    }

    fn close(mut self) -> RunSet {
        self.close_open();
        self.blocks
    }
}
