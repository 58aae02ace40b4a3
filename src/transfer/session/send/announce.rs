//! Announces each block that was read by its hash, and at the end the root over all blocks.

use crate::transfer::hash::{Cv, Root};
use crate::transfer::session::messages::{HASHES_PER_MESSAGE, Message};
use crate::transfer::session::send::{SendSession, Stage};
use crate::transfer::source::BlockRead;
use crate::transfer::{BlockIndex, block_count};

impl SendSession {
    /// The disk thread has read a block. Announces its hash. If it was read for sending and this returns true,
    /// the caller hands its bytes to the connection. False: there are none (a read beyond the end of a stream),
    /// or the block is announced as zeros.
    pub fn on_read(&mut self, block: BlockIndex, read: &BlockRead) -> bool {
        self.reading = self.reading.saturating_sub(1);
        let mut zeros = false;
        if read.len > 0 {
            let is_new = self.hashed.add(block.get());
            if is_new {
                self.root.insert(block, &read.hash);
            }
            // A block with a missing entry in it may differ from its first version.
            let may_differ = self.manifest.holds_any(block, &self.missing);
            // A receiver with a window takes bytes only in order, so it is sent all of them.
            zeros = read.is_zeros && is_new && !may_differ && self.window.is_none();
            if !self.void.contains(block.get()) && (is_new || may_differ) {
                self.announce(block, read.hash.cv, zeros);
            }
        }
        if let (Some(total), None) = (read.stream_end, self.total) {
            self.total = Some(total);
            self.flush_hashes();
            self.queue.push_back(Message::StreamEnd { total });
        }
        read.len > 0 && !zeros
    }

    pub(super) fn announce(&mut self, block: BlockIndex, cv: Cv, zeros: bool) {
        match &mut self.hashes {
            Some((first, cvs, of_zeros))
                if first.get() + cvs.len() as u32 == block.get()
                    && cvs.len() < HASHES_PER_MESSAGE
                    && *of_zeros == zeros =>
            {
                cvs.push(cv);
            }
            _ => {
                self.flush_hashes();
                self.hashes = Some((block, vec![cv], zeros));
            }
        }
    }

    pub(super) fn flush_hashes(&mut self) {
        if let Some((first, cvs, zeros)) = self.hashes.take() {
            self.queue.push_back(Message::Hashes { first, cvs, zeros });
        }
    }

    /// No file changed while it was sent.
    pub fn on_source_checked(&mut self) {
        if self.stage == Stage::Checking
            && let Some(root) = self.own_root()
        {
            self.flush_hashes();
            self.queue.push_back(Message::Done { root });
            self.stage = Stage::Done;
        }
    }

    pub(super) fn own_root(&self) -> Option<Root> {
        if self.missing.is_empty() {
            self.whole_root()
        } else {
            Some(Root::NONE)
        }
    }

    pub(super) fn whole_root(&self) -> Option<Root> {
        self.root.root(block_count(self.total?))
    }
}
