//! The sender's half of the conversation, sans-IO.
//!
//! Inputs: [`SendSession::handle_bytes`] (the control stream), [`SendSession::on_read`] and
//! [`SendSession::on_source_checked`]. After any input, drain [`SendSession::poll_output`] into the control
//! stream, drain [`SendSession::poll_event`], and give the work from [`SendSession::next_work`] to the disk
//! thread. The bytes of a block that was read for sending go to the connection and never pass through here.

mod announce;
mod asked;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::transfer::breach::Breach;
use crate::transfer::error::TransferError;
use crate::transfer::hash::{Cv, Root, RootBuilder};
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::manifest::{EntryIndex, Kind, Manifest};
use crate::transfer::ranges::{Run, RunSet};
use crate::transfer::session::messages::{MANIFEST_CHUNK, Message, MessageReader, RUNS_PER_MESSAGE};
use crate::transfer::{BlockIndex, MAX_CONTENT, ORDERED_WINDOW, block_count, bytes_of};

/// Most messages that may wait for room on the control stream; then no further block is read. Each has at
/// most 32 KiB.
const MAX_UNSENT: usize = 64;

/// Why a block is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To hash it and send it.
    Send,
    /// To send these parts of it: runs of its bytes.
    SendParts(Vec<Run>),
    /// Only to hash it: the receiver probably holds it.
    HashOnly,
    /// To cut it into chunks. Answer with [`SendSession::on_described`] as well.
    Describe {
        /// Whether the next block will not be described after it. Then its last chunk ends with it.
        last: bool,
    },
}

impl Purpose {
    /// Whether bytes of the block are sent.
    pub(crate) fn sends(&self) -> bool {
        matches!(self, Purpose::Send | Purpose::SendParts(_))
    }
}

/// Work for the disk thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Read and hash a block, then call [`SendSession::on_read`].
    Read {
        /// The block.
        block: BlockIndex,
        /// Why it is read.
        purpose: Purpose,
    },
    /// Everything was read. Check whether the files changed, then call [`SendSession::on_source_checked`].
    CheckSource,
}

/// What the sender's driver should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendEvent {
    /// The whole list was handed to the connection, so the other user can be asked.
    Listed,
    /// The other user has accepted.
    Accepted {
        /// The highest rate that the receiver accepts, in bytes a second.
        limit: Option<NonZeroU64>,
    },
    /// Content flows from now on.
    Started {
        /// Bytes that the receiver holds already, so that they need not be sent.
        held: u64,
    },
    /// The receiver has verified more blocks.
    Progress {
        /// Number of verified blocks.
        blocks: u32,
    },
    /// Everything has its final name at the receiver.
    Finished {
        /// Root over the content; both sides have the same.
        root: Root,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
enum Stage {
    /// The list is being sent.
    #[default]
    Listing,
    /// The whole list was sent, and the other user is being asked.
    Listed,
    /// The other user has accepted. The receiver's claims are to come.
    Accepted,
    Flowing,
    Checking,
    Done,
    Finished,
}

/// The sending side of one transfer.
#[derive(Default, Debug)]
pub struct SendSession {
    manifest: Arc<Manifest>,
    stage: Stage,
    reader: MessageReader,
    queue: VecDeque<Message>,
    next_entry: EntryIndex,
    list_sent: u64,
    list_len: u64,
    /// Hashes that are not queued yet: the first block, and whether the blocks are zeros.
    hashes: Option<(BlockIndex, Vec<Cv>, bool)>,
    events: VecDeque<SendEvent>,

    total: Option<u64>,
    window: Option<u32>,
    limit: Option<NonZeroU64>,
    low: u32,
    /// Number of blocks that the receiver has verified.
    verified: u32,
    /// Blocks that the receiver claimed to hold. They are sent only on request.
    claimed: RunSet,
    /// Those of them that it has not asked for.
    have: RunSet,
    /// Bytes that the receiver found itself in blocks of which it requested only parts.
    found: u64,
    /// Blocks whose description the receiver has requested.
    described: RunSet,
    /// Blocks that still have to be described.
    describe: RunSet,
    /// The first of them that may continue the chunk of the block before.
    describe_cursor: u32,
    /// Blocks of which the receiver requested only parts.
    parts: BTreeMap<u32, Vec<Run>>,
    /// Blocks that the receiver requested and that are not sent yet.
    need: RunSet,
    /// Number of all its requests for blocks.
    needed: u64,
    /// Blocks that were read and announced.
    hashed: RunSet,
    send_cursor: u32,
    hash_cursor: u32,
    reading: u32,
    root: RootBuilder,
    /// Entries that do not arrive.
    missing: RunSet,
    /// Those of them that the receiver was not told yet.
    unsaid: RunSet,
    /// Blocks that hold bytes of missing entries only.
    void: RunSet,
}

impl SendSession {
    /// Starts an offer of what `manifest` lists.
    pub fn new(manifest: Arc<Manifest>) -> Self {
        let head = ListHead::of(&manifest);
        SendSession {
            // A pipe's bytes are kept only for one window, so the receiver must not be further behind.
            window: manifest.is_stream().then_some(ORDERED_WINDOW),
            total: manifest.total(),
            manifest,
            list_len: head.manifest_bytes,
            queue: VecDeque::from([Message::Offer(head)]),
            ..SendSession::default()
        }
    }

    /// Length of the content, once it is known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// While the list is being sent: how many bytes of it were sent, and its length.
    pub(crate) fn listing(&self) -> Option<(u64, u64)> {
        (self.stage == Stage::Listing).then_some((self.list_sent, self.list_len))
    }

    /// Bytes that the receiver holds already, as far as is known. Blocks that it requests after all do not
    /// count.
    pub(crate) fn held(&self) -> u64 {
        bytes_of(self.have.iter(), self.total) + self.found
    }

    /// Takes bytes of the control stream from the peer.
    ///
    /// # Errors
    /// Every error ends the transfer. The connection's CLOSE tells the peer.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.reader.feed(bytes);
        while let Some(message) = self.reader.poll_message()? {
            self.handle_message(message)?;
        }
        Ok(())
    }

    fn handle_message(&mut self, message: Message) -> Result<(), TransferError> {
        let flows = matches!(self.stage, Stage::Flowing | Stage::Checking | Stage::Done);
        match (message, self.stage) {
            (Message::Limit { rate }, Stage::Listed) => self.limit = Some(rate),
            (Message::Accept { window }, Stage::Listed) => {
                self.window = match (self.window, window) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                self.stage = Stage::Accepted;
                self.events.push_back(SendEvent::Accepted { limit: self.limit });
            }
            (Message::Have { runs, last }, Stage::Accepted) => self.on_have(&runs, last)?,
            (Message::Need { runs }, _) if flows => self.on_need(&runs)?,
            (Message::Describe { runs }, _) if flows => self.on_describe(&runs)?,
            (Message::Parts { block, parts }, _) if flows => self.on_parts(block, parts)?,
            (Message::Verified { low, blocks }, _) if flows => self.on_verified(low, blocks)?,
            (Message::Finished { root }, Stage::Done) => {
                // An entry may go missing after everything was read. The receiver may have got all of it
                // before.
                let is_whole = self.whole_root() == Some(root);
                if !is_whole && self.own_root() != Some(root) {
                    return Err(Breach::OtherRoot.into());
                }
                if is_whole {
                    self.missing = RunSet::default();
                }
                self.stage = Stage::Finished;
                self.events.push_back(SendEvent::Finished { root });
            }
            (message, _) => return Err(Breach::OutOfTurn(message.name()).into()),
        }
        Ok(())
    }

    fn on_verified(&mut self, low: u32, blocks: u32) -> Result<(), TransferError> {
        let backwards = low < self.low || blocks < self.verified || blocks < low;
        if backwards || low > self.hashed.first_gap(0) || blocks > self.hashed.len() {
            return Err(Breach::Progress.into());
        }
        // A message without news is ignored, so any number of them costs nothing.
        if (low, blocks) != (self.low, self.verified) {
            (self.low, self.verified) = (low, blocks);
            self.events.push_back(SendEvent::Progress { blocks });
        }
        Ok(())
    }

    /// The receiver has verified all blocks below this one.
    pub fn verified_below(&self) -> BlockIndex {
        BlockIndex::new(self.low)
    }

    /// The next work for the disk thread, if any. `room`: whether the connection accepts another block.
    /// Without room only work that sends nothing is returned.
    pub fn next_work(&mut self, room: bool) -> Option<Work> {
        if !matches!(self.stage, Stage::Flowing | Stage::Checking | Stage::Done) {
            return None;
        }
        if room && let Some(block) = self.need.first_member(0) {
            self.need.remove(block);
            return Some(self.read(block, Purpose::Send));
        }
        if room && let Some((block, parts)) = self.parts.pop_first() {
            return Some(self.read(block, Purpose::SendParts(parts)));
        }
        // A peer that does not read its messages gets no more of them.
        if self.queue.len() >= MAX_UNSENT {
            return None;
        }
        let next = self.describe.first_member(self.describe_cursor);
        if let Some(block) = next.or_else(|| self.describe.first_member(0)) {
            self.describe.remove(block);
            self.describe_cursor = block + 1;
            let last = !self.describe.contains(block + 1);
            return Some(self.read(block, Purpose::Describe { last }));
        }
        if self.stage != Stage::Flowing {
            return None;
        }
        let known = self.total.map_or(block_count(MAX_CONTENT), block_count);
        let end = self
            .window
            .map_or(known, |window| known.min(self.low.saturating_add(window)));
        if self.manifest.is_stream() {
            // A pipe can be read only once and in order, so one pass does everything.
            let block = self.send_cursor;
            let purpose = if self.have.contains(block) {
                Purpose::HashOnly
            } else {
                Purpose::Send
            };
            if block < end && (room || purpose == Purpose::HashOnly) {
                self.send_cursor += 1;
                return Some(self.read(block, purpose));
            }
        } else {
            let next = self.next_unheld();
            if room && next < end {
                self.send_cursor = next + 1;
                return Some(self.read(next, Purpose::Send));
            }
            self.send_cursor = next.min(known);
            if let Some(block) = self
                .have
                .first_member(self.hash_cursor)
                .filter(|&block| block < end)
            {
                self.hash_cursor = block + 1;
                return Some(self.read(block, Purpose::HashOnly));
            }
        }
        let all_read = self
            .total
            .is_some_and(|total| self.hashed.len() == block_count(total));
        if all_read && self.reading == 0 {
            self.stage = Stage::Checking;
            return Some(Work::CheckSource);
        }
        None
    }

    /// The next block to send that the receiver did not claim to hold and that holds more than missing
    /// entries.
    fn next_unheld(&self) -> u32 {
        let mut next = self.send_cursor;
        loop {
            let unheld = self.void.first_gap(self.claimed.first_gap(next));
            if unheld == next {
                return next;
            }
            next = unheld;
        }
    }

    /// Reports that an entry does not arrive, or only in part. Call it before [`SendSession::on_read`] for
    /// blocks that were read without it.
    pub fn on_missing(&mut self, entry: EntryIndex) {
        self.missing.add(entry.get());
        // The receiver knows that a hard link follows its file.
        if matches!(self.manifest.entry(entry).kind, Kind::HardLink(_)) {
            return;
        }
        self.unsaid.add(entry.get());
        if let Some(inner) = self.manifest.inner_blocks(entry) {
            self.void.insert(inner.start, inner.end);
            self.hashed.insert(inner.start, inner.end);
            self.have.remove_run(inner);
            self.need.remove_run(inner);
            self.parts
                .retain(|block, _| !(inner.start..inner.end).contains(block));
        }
    }

    /// The entries that do not arrive, in the order of the list.
    pub fn missing(&self) -> impl Iterator<Item = EntryIndex> + '_ {
        self.missing.members().map(EntryIndex::new)
    }

    fn read(&mut self, block: u32, purpose: Purpose) -> Work {
        self.reading += 1;
        Work::Read {
            block: BlockIndex::new(block),
            purpose,
        }
    }

    /// Appends the next control message to `out`, if there is one.
    pub fn poll_output(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.unsaid.is_empty() && self.stage >= Stage::Flowing {
            let entries = self.unsaid.take_first(RUNS_PER_MESSAGE);
            Message::Missing { entries }.encode(out);
            return true;
        }
        if let Some(message) = self.queue.pop_front() {
            message.encode(out);
            return true;
        }
        if self.stage == Stage::Listing {
            let mut chunk = Vec::new();
            self.next_entry = self.manifest.encode(self.next_entry, MANIFEST_CHUNK, &mut chunk);
            self.list_sent += chunk.len() as u64;
            Message::ManifestChunk(chunk).encode(out);
            if self.list_sent == self.list_len {
                self.stage = Stage::Listed;
                self.events.push_back(SendEvent::Listed);
            }
            return true;
        }
        self.flush_hashes();
        let message = self.queue.pop_front();
        message.map(|message| message.encode(out)).is_some()
    }

    /// The next thing to know, if any.
    pub fn poll_event(&mut self) -> Option<SendEvent> {
        self.events.pop_front()
    }
}
