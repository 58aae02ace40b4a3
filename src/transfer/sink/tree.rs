//! The files under `data/`. They are created when first written, and held open while in use.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::transfer::BLOCK_LEN;
use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind, remove_all};
use crate::transfer::fs::passage::Passage;
use crate::transfer::manifest::{EntryIndex, Kind, Manifest, Segment};
use crate::transfer::ranges::RunSet;
use crate::transfer::sink::disk_room::{Need, check_sizes};
use crate::transfer::sink::holes;
use crate::transfer::sink::losses::{Losses, Remark};
use crate::transfer::sink::place::open_ours;
use crate::transfer::sink::staging::{Before, Staging, with_leftovers};

/// Files held open at once; far below the usual limit of 1024 descriptors.
const OPEN_FILES: usize = 64;

/// What room is reserved before content arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reserve {
    /// Reserve all the room of each large file.
    WholeFiles,
    /// Reserve nothing: there is enough room only if the sender's holes stay holes.
    Nothing,
}

#[derive(Debug)]
struct Open<F> {
    entry: EntryIndex,
    file: F,
    passage: Passage,
}

#[derive(Debug)]
pub(crate) struct Tree<F> {
    manifest: Arc<Manifest>,
    data: PathBuf,
    /// Files that lie elsewhere than the list says. They are only read.
    elsewhere: BTreeMap<EntryIndex, PathBuf>,
    /// Which entries' files exist.
    exists: RunSet,
    /// Which entries' files already have their permissions and time.
    finished: RunSet,
    /// The least recently used file comes first.
    open: VecDeque<Open<F>>,
    /// False for files that are not ours. They are only read.
    ours: bool,
    reserve: Reserve,
}

impl<F> Tree<F> {
    /// Files that already exist in `data` and are only read. None counts as existing until it is marked.
    pub(crate) fn existing(manifest: Arc<Manifest>, data: PathBuf) -> Tree<F> {
        Tree {
            exists: RunSet::default(),
            finished: RunSet::default(),
            manifest,
            data,
            elsewhere: BTreeMap::new(),
            open: VecDeque::new(),
            ours: false,
            reserve: Reserve::Nothing,
        }
    }

    /// Creates directories and empty files, and finds files of an earlier run. `is_equal`: everything seems to be
    /// here under its final name, so it needs no room.
    pub(crate) fn open<L: Layer<File = F>>(
        layer: &L,
        staging: &Staging,
        manifest: Arc<Manifest>,
        before: Before,
        is_equal: bool,
        losses: &Losses,
        stays: &RunSet,
    ) -> Result<Tree<F>, LocalError> {
        let mut tree = Tree {
            ours: true,
            ..Tree::existing(Arc::clone(&manifest), staging.data())
        };
        let at = |path: PathBuf, action: &'static str| {
            let path = layer.root().join(path);
            move |e| LocalError::new(action, path, e)
        };
        check_sizes(&manifest, &layer.room(Path::new("")), layer.root())?;
        match tree.check_room(layer, before, losses, stays) {
            // Probably nothing has to be written.
            Err(LocalError::TooLittleSpace { .. } | LocalError::TooFewNodes { .. }) if is_equal => {}
            other => other.map_err(|e| with_leftovers(layer, e))?,
        }
        for (index, entry) in manifest.iter() {
            if stays.contains(index.get()) {
                continue;
            }
            if entry.kind == Kind::Dir && !tree.has(index) {
                let path = tree.path(index);
                layer.create_dir(&path).map_err(at(path, "create"))?;
                tree.mark(index);
            } else if matches!(entry.kind, Kind::File | Kind::Stream) && entry.size == 0 {
                tree.handle(layer, index)?;
                tree.close();
            }
        }
        Ok(tree)
    }

    /// Checks that there is room for the missing bytes, and for which files it can be reserved.
    pub(crate) fn check_room<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        before: Before,
        losses: &Losses,
        stays: &RunSet,
    ) -> Result<(), LocalError> {
        let room = layer.room(Path::new(""));
        let need = self
            .take_stock(layer, before, room.block, losses, stays)
            .map_err(|e| LocalError::new("tidy", layer.root().join(&self.data), e))?;
        if need.fits(&room) {
            self.reserve = Reserve::WholeFiles;
        }
        need.check(&room, layer.root())
    }

    /// Checks that there is room for one file more.
    pub(crate) fn check_room_of<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        file: EntryIndex,
        losses: &Losses,
    ) -> Result<(), LocalError> {
        let (room, holes) = (
            layer.room(Path::new("")),
            if losses.holes { 0 } else { self.manifest.holes() },
        );
        let mut need = Need::with_holes(holes);
        need.add(Kind::File, self.manifest.entry(file).size, None, room.block);
        if !need.fits(&room) {
            self.reserve = Reserve::Nothing;
        }
        need.check(&room, layer.root())
    }

    fn path(&self, index: EntryIndex) -> PathBuf {
        let elsewhere = self.elsewhere.get(&index).cloned();
        elsewhere.unwrap_or_else(|| self.data.join(self.manifest.path(index)))
    }

    pub(crate) fn has(&self, index: EntryIndex) -> bool {
        self.exists.contains(index.get())
    }

    pub(crate) fn mark(&mut self, index: EntryIndex) {
        self.exists.add(index.get());
    }

    /// Marks an entry whose bytes are to be read from another file.
    pub(crate) fn mark_elsewhere(&mut self, index: EntryIndex, path: PathBuf) {
        self.elsewhere.insert(index, path);
        self.mark(index);
    }

    /// What an earlier run left of an entry. Removes what this run must not keep: symbolic and hard links (an
    /// interrupted finish makes them again) and anything of another kind. That run had the same list, so
    /// nothing else can be there.
    fn left<L: Layer<File = F>>(layer: &L, path: &Path, kind: Kind) -> io::Result<Option<NodeInfo>> {
        let found = layer.info(path)?;
        match (kind, found.map(|found| found.kind)) {
            (_, None) | (Kind::File | Kind::Stream | Kind::Text, Some(NodeKind::File)) => Ok(found),
            (Kind::Dir, Some(NodeKind::Dir)) => {
                layer.unlock(path);
                Ok(found)
            }
            _ => remove_all(layer, path).map(|()| None),
        }
    }

    /// Tidies what an earlier run left: notes which files exist and cuts those that are too long. Returns the
    /// room that the others need, in blocks of `block` bytes.
    fn take_stock<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        before: Before,
        block: u64,
        losses: &Losses,
        stays: &RunSet,
    ) -> io::Result<Need> {
        let holes = if losses.holes { 0 } else { self.manifest.holes() };
        let mut need = Need::with_holes(holes);
        let manifest = Arc::clone(&self.manifest);
        for (index, entry) in manifest.iter().filter(|(index, _)| !stays.contains(index.get())) {
            let found = match before {
                Before::Nothing => None,
                Before::Same => Self::left(layer, &self.path(index), entry.kind)?,
            };
            let len = found.map_or(0, |info| info.len);
            if found.is_some() {
                self.mark(index);
                if entry.kind == Kind::File && len > entry.size {
                    layer.set_len(&open_ours(layer, &self.path(index))?, entry.size)?;
                }
            }
            match entry.kind {
                // A hard link is only a name, and takes room only if it becomes a copy.
                Kind::HardLink(of) if losses.knows(&Remark::HardLinksLost) => {
                    need.add(Kind::File, manifest.entry(of).size, None, block);
                }
                Kind::HardLink(_) => {}
                kind => need.add(kind, entry.size, found.is_some().then_some(len), block),
            }
        }
        Ok(need)
    }

    /// The place in `open` of the file of entry `index`. Opens or creates the file if necessary.
    fn handle<L: Layer<File = F>>(&mut self, layer: &L, index: EntryIndex) -> Result<usize, LocalError> {
        if let Some(at) = self.open.iter().rposition(|open| open.entry == index) {
            return Ok(at);
        }
        let path = self.path(index);
        let failed = |action: &'static str| {
            let path = layer.root().join(&path);
            move |e| LocalError::new(action, path, e)
        };
        let file = if !self.ours {
            layer.open_read(&path).map_err(failed("open"))?
        } else if self.has(index) {
            match layer.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    // The file is finished and read-only. It is unlocked here, so it must be finished again.
                    self.finished.remove(index.get());
                    open_ours(layer, &path)
                }
                other => other,
            }
            .map_err(failed("open"))?
        } else {
            let file = match layer.create_new(&path) {
                // The file did not exist before. So another entry has created it, under a name that this disk
                // takes for the same.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(LocalError::Collision(self.manifest.path(index), path));
                }
                other => other.map_err(failed("create"))?,
            };
            let size = self.manifest.entry(index).size;
            if size > BLOCK_LEN as u64 && self.reserve == Reserve::WholeFiles {
                layer.allocate(&file, size).map_err(failed("reserve room for"))?;
            }
            self.mark(index);
            file
        };
        if self.open.len() >= OPEN_FILES {
            self.open.pop_front();
        }
        self.open.push_back(Open {
            entry: index,
            file,
            passage: Passage::default(),
        });
        Ok(self.open.len() - 1)
    }

    pub(crate) fn write<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        segment: &Segment,
        bytes: &[u8],
        losses: &mut Losses,
    ) -> Result<(), LocalError> {
        let at = self.handle(layer, segment.entry)?;
        let entry = self.manifest.entry(segment.entry);
        let Open { file, passage, .. } = &mut self.open[at];
        let mut outcome = holes::store(layer, file, segment.file_offset, bytes);
        if passage.pass(bytes.len()) {
            layer.let_go(file, None);
        }
        // A file that arrives whole is finished now, so that it need not be opened again.
        let whole = bytes.len() as u64 == entry.size;
        if whole && outcome.is_ok() {
            outcome = losses.finish_entry(layer, file, &entry);
        }
        outcome.map_err(|e| LocalError::new("write", layer.root().join(self.path(segment.entry)), e))?;
        if whole {
            self.open.remove(at);
            self.finished.add(segment.entry.get());
        } else {
            self.finished.remove(segment.entry.get());
        }
        Ok(())
    }

    /// Whether the file of entry `index` already has its permissions and time.
    pub(crate) fn is_finished(&self, index: EntryIndex) -> bool {
        self.finished.contains(index.get())
    }

    /// Reads a segment back. False if the file is missing or too short, or one of the user's that may not be read.
    pub(crate) fn read<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        segment: &Segment,
        out: &mut [u8],
    ) -> Result<bool, LocalError> {
        if !self.has(segment.entry) {
            return Ok(false);
        }
        let at = match self.handle(layer, segment.entry) {
            Err(LocalError::Io { error, .. })
                if !self.ours && error.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Ok(false);
            }
            other => other?,
        };
        let Open { file, passage, .. } = &mut self.open[at];
        match layer.read_at(file, segment.file_offset, out) {
            Ok(()) => {
                // Files that are not ours may be in use by other programs.
                if self.ours && passage.pass(out.len()) {
                    layer.let_go(file, Some(segment.file_offset));
                }
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(LocalError::new(
                "read",
                layer.root().join(self.path(segment.entry)),
                e,
            )),
        }
    }

    /// Length of the file of entry `index`; `None` if it does not exist.
    pub(crate) fn len<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        index: EntryIndex,
    ) -> Result<Option<u64>, LocalError> {
        if !self.has(index) {
            return Ok(None);
        }
        let at = self.handle(layer, index)?;
        let len = layer.len(&self.open[at].file);
        len.map(Some)
            .map_err(|e| LocalError::new("examine", layer.root().join(self.path(index)), e))
    }

    /// The length of a stream is known. Cuts what an older run may have written beyond it.
    pub(crate) fn set_stream_len<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        len: u64,
    ) -> Result<(), LocalError> {
        let index = EntryIndex::new(0);
        let at = self.handle(layer, index)?;
        let file = &self.open[at].file;
        let outcome = layer.len(file).and_then(|now| {
            if now > len {
                layer.set_len(file, len)
            } else {
                Ok(())
            }
        });
        outcome.map_err(|e| LocalError::new("write", layer.root().join(self.path(index)), e))
    }

    /// Closes every file.
    pub(crate) fn close(&mut self) {
        self.open.clear();
    }
}
