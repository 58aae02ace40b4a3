//! A pipe as a source. Its blocks are read in order, and the last ones are kept until the peer has verified
//! them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::{BLOCK_LEN, BlockIndex, MAX_CONTENT, ORDERED_WINDOW};

/// Reads a stream of unknown length. It holds at most [`ORDERED_WINDOW`] blocks if the caller stays within
/// that window.
pub(crate) struct PipeReader {
    /// The name in messages.
    name: PathBuf,
    reader: Box<dyn Read + Send>,
    /// The blocks that are kept. The first has number `first`.
    kept: VecDeque<Vec<u8>>,
    first: u32,
    end: Option<u64>,
}

impl PipeReader {
    pub(crate) fn new(name: PathBuf, reader: Box<dyn Read + Send>) -> Self {
        PipeReader {
            name,
            reader,
            kept: VecDeque::new(),
            first: 0,
            end: None,
        }
    }

    /// A kept block, or the next one from the pipe. Returns its length, and the length of the content once it
    /// is known.
    pub(crate) fn read(
        &mut self,
        block: BlockIndex,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<u64>), TransferError> {
        let next = self.first + self.kept.len() as u32;
        let index = block.get();
        if index < next {
            let bytes = self.block(block).ok_or(Breach::NeedsNoSuchBlock)?;
            buffer[..bytes.len()].copy_from_slice(bytes);
            return Ok((bytes.len(), None));
        }
        if self.end.is_some() {
            return Ok((0, self.end));
        }
        debug_assert!(index == next, "blocks of a pipe are read in order");
        debug_assert!(self.kept.len() < 2 * ORDERED_WINDOW as usize);
        let mut len = 0;
        while len < BLOCK_LEN && self.end.is_none() {
            match self.reader.read(&mut buffer[len..BLOCK_LEN]) {
                Ok(0) => self.end = Some(block.start() + len as u64),
                Ok(n) => len += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(LocalError::new("read", &self.name, e).into()),
            }
        }
        if block.start() + len as u64 >= MAX_CONTENT {
            let error = std::io::Error::new(ErrorKind::FileTooLarge, "the stream is longer than 4 PiB");
            return Err(LocalError::new("read", &self.name, error).into());
        }
        if len > 0 {
            self.kept.push_back(buffer[..len].to_vec());
        }
        Ok((len, self.end))
    }

    fn block(&self, block: BlockIndex) -> Option<&Vec<u8>> {
        self.kept.get(block.get().checked_sub(self.first)? as usize)
    }

    pub(crate) fn read_kept(&self, offset: u64, out: &mut [u8]) -> bool {
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let Some(block) = BlockIndex::containing(at) else {
                return false;
            };
            let within = (at - block.start()) as usize;
            let bytes = self.block(block).and_then(|bytes| bytes.get(within..));
            let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
                return false;
            };
            let len = bytes.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(len);
            head.copy_from_slice(&bytes[..len]);
            (at, rest) = (at + len as u64, tail);
        }
        true
    }

    pub(crate) fn release(&mut self, low: BlockIndex) {
        while self.first < low.get() && self.kept.pop_front().is_some() {
            self.first += 1;
        }
    }
}
