//! Announces each block that was read by its hash, and at the end the root over all blocks.

use crate::transfer::hash::{Cv, Root};
use crate::transfer::session::messages::{HASHES_PER_MESSAGE, Message};
use crate::transfer::session::send::{SendSession, Stage};
use crate::transfer::source::BlockRead;
use crate::transfer::{BlockIndex, block_count};

impl SendSession {
    /// The disk thread has read a block. Announces its hash. If it was read for sending, the caller hands its
    /// bytes to the connection. A read beyond the end of a stream (`len` zero) has no bytes to send.
    pub fn on_read(&mut self, block: BlockIndex, read: &BlockRead) {
        self.reading = self.reading.saturating_sub(1);
        if read.len > 0 {
            let is_new = self.hashed.add(block.get());
            if is_new {
                self.root.insert(block, &read.hash);
            }
            // A block with a missing entry in it may differ from its first version.
            let may_differ = self.manifest.holds_any(block, &self.missing);
            if !self.void.contains(block.get()) && (is_new || may_differ) {
                self.announce(block, read.hash.cv);
            }
        }
        if let (Some(total), None) = (read.stream_end, self.total) {
            self.total = Some(total);
            self.flush_hashes();
            self.queue.push_back(Message::StreamEnd { total });
        }
    }

    pub(super) fn announce(&mut self, block: BlockIndex, cv: Cv) {
        match &mut self.hashes {
            Some((first, cvs))
                if first.get() + cvs.len() as u32 == block.get() && cvs.len() < HASHES_PER_MESSAGE =>
            {
                cvs.push(cv);
            }
            _ => {
                self.flush_hashes();
                self.hashes = Some((block, vec![cv]));
            }
        }
    }

    pub(super) fn flush_hashes(&mut self) {
        if let Some((first, cvs)) = self.hashes.take() {
            self.queue.push_back(Message::Hashes { first, cvs });
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
