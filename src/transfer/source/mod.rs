//! The sender's files, read block by block.
//!
//! A block crosses small files. Every file is compared with what the scan saw when it is opened, when its last
//! byte has been read, and once more at the end: bytes of two versions of a file are never passed off as one.
//! Files are read with positioned reads, never mapped: a mapped file that shrinks kills the process. They are opened
//! through `transfer::source::origin`: no link is followed that took a file's place.

mod origin;
pub(crate) mod pipe;
pub(crate) mod scan;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::Metadata;

use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::disk::read_exact_at;
use crate::transfer::hash::{BlockHash, hash_block};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest, Segment};
use crate::transfer::source::origin::{OpenError, Opener};
use crate::transfer::source::pipe::PipeReader;
use crate::transfer::source::scan::{Identity, Scanned};
use crate::transfer::{BLOCK_LEN, BlockIndex};

/// Files held open at once: far below the usual limit of 1024 descriptors, more than one block of files that
/// are worth keeping open.
const OPEN_FILES: usize = 64;

/// One block as read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRead {
    /// How many bytes of the buffer are the block's. Zero only at a stream's end.
    pub len: usize,
    /// The block's hash; of no meaning when `len` is zero.
    pub hash: BlockHash,
    /// The length of the content, when this read found the end of a stream.
    pub stream_end: Option<u64>,
}

/// Everything that is sent. Lives on the disk thread.
#[derive(Debug)]
pub struct Source {
    content: Content,
}

#[derive(Debug)]
enum Content {
    Files(Files),
    Pipe(PipeReader),
    Text(Vec<u8>),
}

impl Source {
    /// Reads the files that a scan found.
    pub fn files(scanned: Scanned) -> Source {
        Source {
            content: Content::Files(Files::new(scanned)),
        }
    }

    /// Reads a pipe.
    pub fn pipe(reader: Box<dyn Read + Send>) -> Source {
        Source {
            content: Content::Pipe(PipeReader::new(reader)),
        }
    }

    /// Sends a message's text.
    pub(crate) fn text(text: String) -> Source {
        Source {
            content: Content::Text(text.into_bytes()),
        }
    }

    /// Reads block `block` into `buffer` (of [`BLOCK_LEN`]) and hashes it.
    ///
    /// # Errors
    /// [`TransferError::SourceChanged`] when a file is not as it was, [`TransferError::Local`] when it cannot
    /// be read.
    pub fn read_block(&mut self, block: BlockIndex, buffer: &mut [u8]) -> Result<BlockRead, TransferError> {
        let (len, stream_end) = match &mut self.content {
            Content::Files(files) => (files.read(block, buffer)?, None),
            Content::Pipe(pipe) => pipe.read(block, buffer)?,
            Content::Text(text) => {
                let len = block.len_in(text.len() as u64);
                let start = text.len().min(block.start() as usize);
                buffer[..len].copy_from_slice(&text[start..start + len]);
                (len, None)
            }
        };
        let hash = if len == 0 {
            BlockHash {
                cv: [0; 32],
                alone: None,
            }
        } else {
            hash_block(block, &buffer[..len])
        };
        Ok(BlockRead {
            len,
            hash,
            stream_end,
        })
    }

    /// Reads some content without hashing, for a retransmission. Returns false when it is not to be had any
    /// more (a pipe's bytes that were let go).
    pub fn read_range(&mut self, offset: u64, out: &mut [u8]) -> Result<bool, TransferError> {
        match &mut self.content {
            Content::Files(files) => files.read_at(offset, out).map(|read| read == out.len()),
            Content::Pipe(pipe) => Ok(pipe.read_kept(offset, out)),
            Content::Text(text) => {
                let found = usize::try_from(offset)
                    .ok()
                    .and_then(|at| text.get(at..at.checked_add(out.len())?));
                Ok(found.map(|bytes| out.copy_from_slice(bytes)).is_some())
            }
        }
    }

    /// Blocks below `low` are verified at the other end; a pipe need not keep them.
    pub fn release(&mut self, low: BlockIndex) {
        if let Content::Pipe(pipe) = &mut self.content {
            pipe.release(low);
        }
    }

    /// Looks at every file once more.
    ///
    /// # Errors
    /// [`TransferError::SourceChanged`] for the first that is not as the scan saw it.
    pub fn check_unchanged(&mut self) -> Result<(), TransferError> {
        match &mut self.content {
            Content::Files(files) => files.check_all(),
            Content::Pipe(_) | Content::Text(_) => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Files {
    manifest: Arc<Manifest>,
    scanned: Scanned,
    opener: Opener,
    /// Least recently used first.
    open: VecDeque<(EntryIndex, File)>,
}

impl Files {
    fn new(scanned: Scanned) -> Files {
        Files {
            manifest: Arc::clone(&scanned.manifest),
            scanned,
            opener: Opener::default(),
            open: VecDeque::new(),
        }
    }

    fn read(&mut self, block: BlockIndex, buffer: &mut [u8]) -> Result<usize, TransferError> {
        let len = block.len_in(self.manifest.total().unwrap_or(0));
        self.read_at(block.start(), &mut buffer[..len])
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, TransferError> {
        let manifest = Arc::clone(&self.manifest);
        let mut at = 0;
        for segment in manifest.segments(offset..offset + out.len().min(BLOCK_LEN) as u64) {
            let len = segment.len as usize;
            self.read_segment(&segment, &mut out[at..at + len])?;
            at += len;
        }
        Ok(at)
    }

    fn read_segment(&mut self, segment: &Segment, out: &mut [u8]) -> Result<(), TransferError> {
        let expected = self.scanned.identity(segment.entry);
        let path = || self.scanned.path(segment.entry);
        let size = self.manifest.entry(segment.entry).size;
        let at = match self.open.iter().rposition(|(entry, _)| *entry == segment.entry) {
            Some(at) => at,
            None => {
                let opened = self.opener.file(self.scanned.place(), segment.entry);
                let file = opened.map_err(|e| failure("open", e, path))?;
                check(&file, expected, path)?;
                if self.open.len() >= OPEN_FILES {
                    self.open.pop_front();
                }
                self.open.push_back((segment.entry, file));
                self.open.len() - 1
            }
        };
        let file = &self.open[at].1;
        match read_exact_at(file, out, segment.file_offset) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TransferError::SourceChanged(path()));
            }
            Err(e) => return Err(LocalError::new("read", path(), e).into()),
        }
        if segment.file_offset + segment.len == size {
            check(file, expected, path)?;
            // A small file is not read again unless something was lost; a large one soon may be.
            if size < BLOCK_LEN as u64 {
                self.open.remove(at);
            }
        }
        Ok(())
    }

    fn check_all(&mut self) -> Result<(), TransferError> {
        self.open.clear();
        for (index, entry) in self.manifest.iter() {
            if entry.kind == Kind::File {
                let path = || self.scanned.path(index);
                let found = self.opener.metadata(self.scanned.place(), index);
                let found = found.map_err(|_| TransferError::SourceChanged(path()))?;
                if !found.is_file() || Identity::of(&found) != self.scanned.identity(index) {
                    return Err(TransferError::SourceChanged(path()));
                }
            }
        }
        Ok(())
    }
}

fn failure(action: &'static str, error: OpenError, path: impl Fn() -> PathBuf) -> TransferError {
    match error {
        OpenError::Changed => TransferError::SourceChanged(path()),
        OpenError::System(e) => LocalError::new(action, path(), e).into(),
    }
}

fn check(file: &File, expected: Identity, path: impl Fn() -> PathBuf) -> Result<(), TransferError> {
    let found = Metadata::from_file(file).map_err(|e| LocalError::new("examine", path(), e))?;
    if Identity::of(&found) == expected {
        Ok(())
    } else {
        Err(TransferError::SourceChanged(path()))
    }
}

#[cfg(test)]
mod tests;
