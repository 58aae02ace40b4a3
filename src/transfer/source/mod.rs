//! The sender's files, read block by block.
//!
//! A block may span several small files. Every file is compared with what the scan saw: when it is opened,
//! after each piece that is read, and once more at the end. So bytes of two versions of a file never pass as
//! one. A file that has changed or cannot be read is left out, with zeros in place of its missing bytes, and
//! the others continue. Files are read with positioned reads and never mapped: a mapped file that shrinks
//! kills the process. `transfer::source::origin` opens them: it follows no link that replaced a file.

mod attributes;
mod describe;
pub(crate) mod device;
mod files;
mod identity;
mod missing;
mod origin;
pub(crate) mod pipe;
pub(crate) mod scan;
mod wrong_size;

use std::io::Read;
use std::path::PathBuf;

use crate::transfer::chunks::ChunkList;
use crate::transfer::error::TransferError;
use crate::transfer::hash::{BlockHash, hash_block};
use crate::transfer::source::files::Files;
pub(crate) use crate::transfer::source::missing::{Absence, Missing};
use crate::transfer::source::pipe::PipeReader;
use crate::transfer::source::scan::Scanned;
use crate::transfer::{BLOCK_LEN, BlockIndex, is_zero};

/// A block that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRead {
    /// Bytes of the buffer that belong to the block. Zero only at the end of a stream.
    pub len: usize,
    /// The hash of the block; meaningless if `len` is zero.
    pub hash: BlockHash,
    /// Whether this is a block of full length in which all bytes are zero.
    pub is_zeros: bool,
    /// The length of the content, if this read found the end of a stream.
    pub stream_end: Option<u64>,
}

/// Everything that is sent. Lives on the disk thread.
pub struct Source {
    content: Content,
}

enum Content {
    Files(Box<Files>),
    Pipe(PipeReader),
    Text(Vec<u8>),
}

impl Source {
    /// Reads the files that a scan found.
    pub fn files(scanned: Scanned) -> Source {
        Source {
            content: Content::Files(Box::new(Files::new(scanned))),
        }
    }

    /// Reads a pipe.
    pub fn pipe(reader: Box<dyn Read + Send>) -> Source {
        Source::stream("standard input".into(), reader)
    }

    /// Reads a source of unknown size. Messages call it `name`.
    pub(crate) fn stream(name: PathBuf, reader: Box<dyn Read + Send>) -> Source {
        Source {
            content: Content::Pipe(PipeReader::new(name, reader)),
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
    /// [`TransferError::SourceChanged`] if the last remaining file has changed, [`TransferError::Local`] if
    /// it cannot be read.
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
        if let Content::Files(files) = &mut self.content {
            files.remember(block.start(), &buffer[..len], Some(hash.cv));
        }
        Ok(BlockRead {
            len,
            hash,
            is_zeros: len == BLOCK_LEN && is_zero(&buffer[..len]),
            stream_end,
        })
    }

    /// Cuts a block that was just read into chunks and returns the chunks that end in it. `last`: the next
    /// block will not be cut after it. `None` if the content is not in files.
    pub fn describe(&mut self, block: BlockIndex, bytes: &[u8], last: bool) -> Option<ChunkList> {
        match &mut self.content {
            Content::Files(files) => Some(files.describe(block, bytes, last)),
            Content::Pipe(_) | Content::Text(_) => None,
        }
    }

    /// Reads content again without hashing it, for a retransmission. Returns false if it is no longer
    /// available (bytes of a pipe that were released).
    pub fn read_range(&mut self, offset: u64, out: &mut [u8]) -> Result<bool, TransferError> {
        match &mut self.content {
            Content::Files(files) => {
                let read = files.read_at(offset, out)?;
                files.remember(offset, &out[..read], None);
                Ok(read == out.len())
            }
            Content::Pipe(pipe) => Ok(pipe.read_kept(offset, out)),
            Content::Text(text) => {
                let found = usize::try_from(offset)
                    .ok()
                    .and_then(|at| text.get(at..at.checked_add(out.len())?));
                Ok(found.map(|bytes| out.copy_from_slice(bytes)).is_some())
            }
        }
    }

    /// Says that the peer has verified all blocks below `low`. A pipe need not keep them.
    pub fn release(&mut self, low: BlockIndex) {
        if let Content::Pipe(pipe) = &mut self.content {
            pipe.release(low);
        }
    }

    /// The entries that were found missing since the last call.
    pub fn take_missing(&mut self) -> Vec<Missing> {
        match &mut self.content {
            Content::Files(files) => files.take_missing(),
            Content::Pipe(_) | Content::Text(_) => Vec::new(),
        }
    }

    /// Checks every file once more, at the end.
    ///
    /// # Errors
    /// Those of [`Source::read_block`].
    pub fn check_unchanged(&mut self) -> Result<(), TransferError> {
        match &mut self.content {
            Content::Files(files) => files.check_all(),
            Content::Pipe(_) | Content::Text(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
