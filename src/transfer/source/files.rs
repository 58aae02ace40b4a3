//! Files as a source.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::Arc;

use cap_std::fs::Metadata;

use crate::system::{has_no_times, is_in_memory, let_go, numbers_nodes_anew};
use crate::transfer::chunks::ChunkList;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::disk::read_exact_at;
use crate::transfer::fs::passage::{Passage, STAYS};
use crate::transfer::hash::{Cv, hash_block};
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest, Segment};
use crate::transfer::source::describe::Describer;
use crate::transfer::source::identity::Identity;
use crate::transfer::source::missing::{Absence, Missing};
use crate::transfer::source::origin::{OpenError, Opener};
use crate::transfer::source::scan::Scanned;
use crate::transfer::{BLOCK_LEN, BlockIndex};

/// Files held open at once. Far below the usual limit of 1024 descriptors, and more than one block holds of
/// files that are worth keeping open.
const OPEN_FILES: usize = 64;

/// A file that was written less than this long before the list was made may be a growing log, in nanoseconds.
const RECENT: i64 = 3600 * 1_000_000_000;

/// A piece of a file as it was sent. It is compared with the file at the end.
#[derive(Debug)]
struct Sent {
    offset: u64,
    len: usize,
    /// Made by [`Files::piece_hash`].
    hash: Cv,
}

#[derive(Debug)]
struct Open {
    entry: EntryIndex,
    file: File,
    /// `None` for a file that is in use: it stays in the page cache.
    passage: Option<Passage>,
}

#[derive(Debug)]
pub(super) struct Files {
    manifest: Arc<Manifest>,
    scanned: Scanned,
    opener: Opener,
    /// The least recently used file comes first.
    open: VecDeque<Open>,
    /// Number of files that are not left out.
    present: u32,
    describer: Describer,
    missing: BTreeSet<EntryIndex>,
    news: Vec<Missing>,
    /// The pieces sent of files that may be growing.
    sent: HashMap<EntryIndex, Vec<Sent>>,
}

impl Files {
    pub(super) fn new(mut scanned: Scanned) -> Files {
        let manifest = Arc::clone(&scanned.manifest);
        let news = std::mem::take(&mut scanned.unreadable);
        let missing: BTreeSet<_> = news.iter().map(|missing| missing.entry).collect();
        let is_present = |(index, entry): &(EntryIndex, _)| is_file(entry) && !missing.contains(index);
        Files {
            present: manifest.iter().filter(is_present).count() as u32,
            manifest,
            scanned,
            opener: Opener::default(),
            open: VecDeque::new(),
            describer: Describer::default(),
            missing,
            news,
            sent: HashMap::new(),
        }
    }

    pub(super) fn take_missing(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn read(&mut self, block: BlockIndex, buffer: &mut [u8]) -> Result<usize, TransferError> {
        let len = block.len_in(self.manifest.total().unwrap_or(0));
        self.read_at(block.start(), &mut buffer[..len])
    }

    pub(super) fn describe(&mut self, block: BlockIndex, bytes: &[u8], last: bool) -> ChunkList {
        self.describer.cut(&self.manifest, block, bytes, last)
    }

    pub(super) fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, TransferError> {
        let manifest = Arc::clone(&self.manifest);
        let mut at = 0;
        for segment in manifest.segments(offset..offset + out.len().min(BLOCK_LEN) as u64) {
            let len = segment.len as usize;
            self.read_segment(&segment, &mut out[at..at + len])?;
            at += len;
        }
        Ok(at)
    }

    /// Reads a segment. Fills missing bytes with zeros.
    fn read_segment(&mut self, segment: &Segment, out: &mut [u8]) -> Result<(), TransferError> {
        if let Some(bytes) = self.scanned.snapshots.of(segment.entry) {
            let at = segment.file_offset as usize;
            out.copy_from_slice(&bytes[at..at + out.len()]);
            return Ok(());
        }
        if !self.missing.contains(&segment.entry) {
            match self.read_file(segment, out) {
                Ok(()) => return Ok(()),
                Err(error) => self.leave_out(segment.entry, error)?,
            }
        }
        out.fill(0);
        Ok(())
    }

    /// Continues without a file. Returns the error if no other file is left.
    fn leave_out(&mut self, entry: EntryIndex, error: TransferError) -> Result<(), TransferError> {
        let Some(why) = Absence::of(&error).filter(|_| self.present > 1) else {
            return Err(error);
        };
        self.present -= 1;
        self.open.retain(|open| open.entry != entry);
        self.sent.remove(&entry);
        let manifest = Arc::clone(&self.manifest);
        for entry in manifest.names_of(entry) {
            self.missing.insert(entry);
            self.news.push(Missing {
                entry,
                path: self.scanned.path(entry),
                why,
            });
        }
        Ok(())
    }

    fn read_file(&mut self, segment: &Segment, out: &mut [u8]) -> Result<(), TransferError> {
        let index = segment.entry;
        let path = || self.scanned.path(index);
        let size = self.manifest.entry(index).size;
        let at = match self.open.iter().rposition(|open| open.entry == index) {
            Some(at) => at,
            None => {
                let opened = self.opener.file(self.scanned.location(), index);
                let file = opened.map_err(|e| e.told("open", path()))?;
                self.check(&file, index)?;
                if self.open.len() >= OPEN_FILES {
                    self.open.pop_front();
                }
                // A program that reads or writes a large file reaches its end last. So if the end is in
                // memory, the file is in use.
                let is_used = size < STAYS || is_in_memory(&file, size - 1);
                self.open.push_back(Open {
                    entry: index,
                    file,
                    passage: (!is_used).then(Passage::default),
                });
                self.open.len() - 1
            }
        };
        let end = segment.file_offset + segment.len;
        let Open { file, passage, .. } = &mut self.open[at];
        match read_exact_at(file, out, segment.file_offset) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TransferError::SourceChanged(path()));
            }
            Err(e) => return Err(LocalError::new("read", path(), e).into()),
        }
        if let Some(passage) = passage
            && (passage.pass(out.len()) || end == size)
        {
            let_go(file, Some(end));
        }
        let file = &self.open[at].file;
        self.check(file, index)?;
        // A small file is closed: it is read again only if something was lost. A large one may soon be needed
        // again.
        if end == size && size < BLOCK_LEN as u64 {
            self.open.remove(at);
        }
        Ok(())
    }

    /// Remembers the bytes that were just read at `offset` of the content, for files that may grow. `hash` is
    /// their hash if they are a block that was hashed.
    pub(super) fn remember(&mut self, offset: u64, bytes: &[u8], hash: Option<Cv>) {
        let manifest = Arc::clone(&self.manifest);
        let mut at = 0;
        for segment in manifest.segments(offset..offset + bytes.len() as u64) {
            let (start, len) = (at, segment.len as usize);
            at += len;
            if !self.is_read(segment.entry) || !self.may_grow(segment.entry) {
                continue;
            }
            let known = hash.filter(|_| len == bytes.len());
            let hash =
                known.unwrap_or_else(|| self.piece_hash(offset + start as u64, &bytes[start..start + len]));
            self.sent.entry(segment.entry).or_default().push(Sent {
                offset: segment.file_offset,
                len,
                hash,
            });
        }
    }

    /// The hash of a piece of the content. For a whole block it is the announced hash, so that the block is
    /// not hashed twice.
    fn piece_hash(&self, offset: u64, piece: &[u8]) -> Cv {
        let total = self.manifest.total().unwrap_or(0);
        match BlockIndex::containing(offset) {
            Some(block) if block.start() == offset && block.len_in(total) == piece.len() => {
                hash_block(block, piece).cv
            }
            _ => *blake3::hash(piece).as_bytes(),
        }
    }

    /// Whether the content of the entry is read from its file.
    fn is_read(&self, index: EntryIndex) -> bool {
        !self.missing.contains(&index) && self.scanned.snapshots.of(index).is_none()
    }

    /// Whether the pieces of a file are remembered, so that it may grow while it is sent.
    fn may_grow(&self, index: EntryIndex) -> bool {
        self.scanned.identity(index).mtime > self.scanned.begun - RECENT
    }

    /// Checks that an open file is as it was listed, or has only grown. In the second case the check at the
    /// end decides.
    fn check(&self, file: &File, index: EntryIndex) -> Result<(), TransferError> {
        let path = || self.scanned.path(index);
        let found = Metadata::from_file(file).map_err(|e| LocalError::new("examine", path(), e))?;
        let (found, then) = (Identity::of(&found), self.scanned.identity(index));
        let is_node = found.is_node_of(&then) || numbers_nodes_anew(file);
        let is_same = found.is_version_of(&then) && is_node
            || found.is_nearly_version_of(&then) && numbers_nodes_anew(file)
            || found.size == then.size && is_node && has_no_times(file)
            // Another file in its place is not a log that grew.
            || found.size > then.size
                && self.may_grow(index)
                && is_node;
        match (is_same, is_node) {
            (true, _) => Ok(()),
            (false, true) => Err(TransferError::SourceChanged(path())),
            (false, false) => Err(TransferError::SourceReplaced(path())),
        }
    }

    pub(super) fn check_all(&mut self) -> Result<(), TransferError> {
        self.open.clear();
        let manifest = Arc::clone(&self.manifest);
        // A file that was empty is sent as it was, whatever it holds now.
        let with_content = manifest.iter().filter(|(_, entry)| entry.size > 0);
        for (index, entry) in with_content {
            if is_file(&entry)
                && self.is_read(index)
                && let Err(error) = self.check_at_end(index)
            {
                self.leave_out(index, error)?;
            }
        }
        Ok(())
    }

    /// Checks that the bytes sent of a file were its content at one moment.
    fn check_at_end(&mut self, index: EntryIndex) -> Result<(), TransferError> {
        let found = match self.opener.metadata(self.scanned.location(), index) {
            Ok(found) => found,
            // Each piece came from the listed file when it was read.
            Err(OpenError::System(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e.told("examine", self.scanned.path(index))),
        };
        let then = self.scanned.identity(index);
        if found.is_file() && Identity::of(&found) == then {
            return Ok(());
        }
        let opened = self.opener.file(self.scanned.location(), index);
        let file = opened.map_err(|e| e.told("open", self.scanned.path(index)))?;
        self.check(&file, index)?;
        if found.len() > then.size {
            // If all pieces are now as they were sent, they all were so at the moment before this check.
            let mut buffer = vec![0; BLOCK_LEN];
            let start = self.manifest.content_range(index).start;
            for sent in self.sent.get(&index).into_iter().flatten() {
                let piece = &mut buffer[..sent.len];
                let is_same = read_exact_at(&file, piece, sent.offset).is_ok()
                    && self.piece_hash(start + sent.offset, piece) == sent.hash;
                if !is_same {
                    return Err(TransferError::SourceChanged(self.scanned.path(index)));
                }
            }
        }
        Ok(())
    }
}

fn is_file(entry: &Entry<'_>) -> bool {
    entry.kind == Kind::File
}
