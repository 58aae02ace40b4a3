//! Files that are here already and may equal what is sent: files under the final names, if the user wants
//! them compared, or files kept from an interrupted transfer of another list. They are only read.
//!
//! What is kept is found by file: a file under its path counts, wherever it lies in the content now, and
//! whatever other files were added, removed or changed.
//!
//! In an update, the sender's user may have renamed a file that is not under its path. So a file of the same size and
//! time anywhere in a sent directory counts, too.
//!
//! Comparing tells the peer something: it learns which blocks it need not send. So nothing is compared unless
//! the user asks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::transfer::fs::COARSEST_TIME;
use crate::transfer::fs::layer::{Layer, NodeKind};
use crate::transfer::hash::Cv;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
use crate::transfer::names;
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::hard_links;
use crate::transfer::sink::losses::{Losses, Remark};
use crate::transfer::sink::place;
use crate::transfer::sink::staging::Staging;
use crate::transfer::sink::tree::Tree;
use crate::transfer::{BLOCK_LEN, BlockIndex, MAX_CONTENT, blocks_within};

/// Most written ranges of one file that are told apart from holes. All that follows them counts as one range.
const MOST_RUNS: usize = 10_000;

/// The search for renamed files looks at most at this many files and directories.
const MOST_LOOKED: u32 = 1 << 20;

/// What is compared with the sent content.
#[derive(Debug)]
pub(crate) enum Compare<F> {
    Nothing,
    /// The files under the final names. If `refresh`, equal files get the time, the permissions and the attributes that were sent.
    Finals {
        refresh: bool,
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
    /// True while everything here has the listed kind and size, and no file was found to differ.
    pub(crate) equal: bool,
    /// Files and links under their final names that have the listed kind and size.
    pub(crate) same: RunSet,
    /// Those of them, and directories, whose time, permissions or attributes are perhaps not the listed ones.
    pub(crate) stale: RunSet,
    /// Verified blocks that hold bytes of files that stay. These bytes are not staged.
    pub(crate) borrowed: BTreeMap<u32, Cv>,
    /// Such blocks, and the files in them that no longer stay. Their bytes are to be copied.
    pub(crate) leaving: BTreeSet<(u32, EntryIndex)>,
    /// Blocks that hold bytes of files that stay, and are not verified yet.
    pub(crate) unsettled: RunSet,
    /// Blocks that did not match. They are reported once all is copied.
    pub(crate) differs: Vec<BlockIndex>,
}

impl<F> Base<F> {
    /// Looks at the files here. What cannot be read is no help, and no obstacle either. If `ours` is given, looks only at these
    /// entries. `spare` is a free path of ours. `renamed`: whether to look for files under other names.
    pub(crate) fn open<L: Layer<File = F>>(
        layer: &L,
        manifest: &Arc<Manifest>,
        compare: Compare<F>,
        spare: &Path,
        losses: &Losses,
        ours: Option<&RunSet>,
        renamed: bool,
    ) -> Base<F> {
        let (at, is_kept) = match &compare {
            Compare::Nothing | Compare::Finals { .. } => (PathBuf::new(), false),
            Compare::Kept { staging, .. } => (staging.data(), true),
        };
        let mut base = Base {
            tree: Tree::existing(Arc::clone(manifest), at.clone()),
            blocks: RunSet::default(),
            equal: matches!(compare, Compare::Finals { .. }),
            same: RunSet::default(),
            stale: RunSet::default(),
            borrowed: BTreeMap::new(),
            leaving: BTreeSet::new(),
            unsettled: RunSet::default(),
            differs: Vec::new(),
            compare,
        };
        if let Compare::Nothing = base.compare {
            return base;
        }
        let tree = &mut base.tree;
        let (mut stretches, mut absent, mut elsewhere) = (Stretches::default(), Vec::new(), Vec::new());
        let mut shared = HashMap::new();
        for (index, entry) in manifest.iter() {
            let is_ours = entry.kind != Kind::File || ours.is_none_or(|ours| ours.contains(index.get()));
            let visible = is_ours && entry.parent.is_none_or(|parent| tree.has(parent));
            let path = at.join(manifest.path(index));
            let found = if visible { layer.info(&path) } else { Ok(None) }.unwrap_or_default();
            let len = found.map_or(0, |found| found.len);
            let same = match (entry.kind, found.map(|found| found.kind)) {
                (Kind::Dir, Some(NodeKind::Dir)) => {
                    tree.mark(index);
                    true
                }
                (Kind::File, Some(NodeKind::File)) => {
                    tree.mark(index);
                    let start = manifest.content_range(index).start;
                    for run in here(layer, &path, len, entry.size, is_kept) {
                        stretches.add(start + run.start..start + run.end);
                    }
                    // What is one file here can stay under both names only with one time and one mode.
                    let node = found.and_then(|found| Some((found.device, found.shared?)));
                    let first = node.map(|node| manifest.entry(*shared.entry(node).or_insert(index)));
                    len == entry.size
                        && !first.is_some_and(|first| is_stale(first.mode, first.mtime, &entry, losses))
                }
                // Its length is not known yet. Whole blocks are compared.
                (Kind::Stream, Some(NodeKind::File)) if !is_kept => {
                    tree.mark(index);
                    stretches.add(0..len.min(MAX_CONTENT));
                    false
                }
                (Kind::Symlink, Some(NodeKind::Other)) => {
                    layer.read_link(&path).is_ok_and(|target| target == entry.target)
                }
                (Kind::HardLink(of), Some(NodeKind::File)) => {
                    base.same.contains(of.get())
                        && hard_links::is_as_good(layer, &manifest.path(of), &path, spare)
                }
                (Kind::Symlink, None) => losses.has_lost(index),
                (kind, found) => {
                    absent.extend((kind == Kind::File).then_some(index));
                    // Earlier runs put it beside what is in its way.
                    let numbered = (1..).map_while(|n| place::numbered(&path, n).ok());
                    let is_there = |path: &PathBuf| layer.info(path).is_ok_and(|found| found.is_some());
                    elsewhere.extend(found.iter().flat_map(|_| numbered.clone().take_while(is_there)));
                    false
                }
            };
            if let Some(found) = found.filter(|_| same && !is_kept) {
                if entry.kind != Kind::Dir {
                    base.same.add(index.get());
                }
                if is_stale(found.mode, found.mtime, &entry, losses) {
                    base.stale.add(index.get());
                }
            }
            base.equal &= same;
        }
        if renamed {
            let tops = manifest
                .iter()
                .filter(|(index, entry)| entry.parent.is_none() && tree.has(*index));
            elsewhere.extend(tops.map(|(index, _)| manifest.path(index)));
            for (index, path) in find_renamed(layer, elsewhere, manifest, &absent) {
                stretches.add(manifest.content_range(index));
                tree.mark_elsewhere(index, path);
            }
        }
        base.blocks = stretches.blocks(manifest.total().unwrap_or(0));
        base
    }
}

/// Whether what has this mode and time here perhaps lacks a time, permissions or attributes that this disk keeps. A directory keeps its
/// permissions, as if it were merged.
fn is_stale(mode: u16, mtime: i64, entry: &Entry<'_>, losses: &Losses) -> bool {
    let bits = if cfg!(unix) { 0o777 } else { 0o200 };
    let has_mode = matches!(entry.kind, Kind::File | Kind::HardLink(_));
    mtime != entry.mtime && !losses.knows(&Remark::TimesLost)
        || has_mode && (mode ^ entry.mode) & bits != 0 && !losses.knows(&Remark::ModesLost)
        || has_mode && !entry.attributes().is_empty()
}

/// Which of the first `size` bytes of a file may be here.
fn here<L: Layer>(layer: &L, path: &Path, len: u64, size: u64, is_kept: bool) -> Vec<Range<u64>> {
    // A large file of ours got its room reserved before any content arrived, so its length says nothing.
    if is_kept && len.min(size) > BLOCK_LEN as u64 {
        let runs = written(layer, path).unwrap_or_default();
        return runs
            .into_iter()
            .map(|run| run.start.min(size)..run.end.min(size))
            .collect();
    }
    // If the sent file is longer, its further bytes may be here at another place. So they are compared, too.
    let is_near = !is_kept && len >= size / 2;
    let reach = if is_near { size } else { len.min(size) };
    std::iter::once(0..reach).collect()
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

/// For each of the `absent` files one that has its size and time, among `paths` and everything in them.
fn find_renamed<L: Layer>(
    layer: &L,
    mut paths: Vec<PathBuf>,
    manifest: &Manifest,
    absent: &[EntryIndex],
) -> BTreeMap<EntryIndex, PathBuf> {
    // With the same size and time, one of the same name is it.
    let mut wanted: BTreeSet<(u64, i64, u64, EntryIndex)> = BTreeSet::new();
    for &index in absent {
        let entry = manifest.entry(index);
        if entry.size > 0 {
            wanted.insert((entry.size, entry.mtime, names::likeness(entry.name), index));
        }
    }
    let (mut found, mut looked) = (BTreeMap::new(), 0);
    while let Some(path) = paths.pop().filter(|_| !wanted.is_empty() && looked < MOST_LOOKED) {
        looked += 1;
        match layer.info(&path) {
            Ok(Some(node)) if node.kind == NodeKind::Dir => {
                let names = layer.list(&path).unwrap_or_default();
                paths.extend(names.into_iter().map(|name| path.join(name)));
            }
            Ok(Some(node)) if node.kind == NodeKind::File => {
                // Some disks keep only every second second. A file is taken for one entry only.
                let near = |slack: i64, [least, most]: [u64; 2]| {
                    let (from, to) = (node.mtime.saturating_sub(slack), node.mtime.saturating_add(slack));
                    let first = (node.len, from, least, EntryIndex::new(0));
                    let last = (node.len, to, most, EntryIndex::new(u32::MAX));
                    wanted.range(first..=last).next().copied()
                };
                let name = path.file_name().map(names::bytes_from_os).unwrap_or_default();
                let known = near(0, [names::likeness(&name); 2]).or_else(|| near(0, [0, u64::MAX]));
                if let Some(known) = known.or_else(|| near(COARSEST_TIME as i64, [0, u64::MAX]))
                    && layer.open_read(&path).is_ok()
                {
                    wanted.remove(&known);
                    found.insert(known.3, path);
                }
            }
            _ => {}
        }
    }
    found
}

/// Ranges of the content, joined where they are adjacent.
#[derive(Default)]
struct Stretches(Vec<Range<u64>>);

impl Stretches {
    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }

    /// The blocks that lie completely inside a stretch.
    fn blocks(mut self, total: u64) -> RunSet {
        self.0.sort_unstable_by_key(|range| (range.start, range.end));
        let mut joined = Stretches::default();
        self.0.into_iter().for_each(|range| joined.add(range));
        let mut blocks = RunSet::default();
        for run in joined.0.iter().filter_map(|range| blocks_within(range, total)) {
            blocks.insert(run.start, run.end);
        }
        blocks
    }
}
