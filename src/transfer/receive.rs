//! The receiver's half of the conversation, sans-IO.
//!
//! Inputs: [`ReceiveSession::handle_bytes`] (the control stream), the user's [`ReceiveSession::accept`] or
//! [`ReceiveSession::refuse`], [`ReceiveSession::on_opened`] and [`ReceiveSession::on_store_event`] from the
//! disk thread. After any input, drain [`ReceiveSession::poll_output`] into the control stream and
//! [`ReceiveSession::poll_event`]. Content goes to the assembler and never passes through here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocks::Root;
use super::error::{FailureCode, Malformed, TransferError};
use super::manifest::{Manifest, ManifestBuilder, Trust};
use super::messages::{MANIFEST_CHUNK, Message, MessageReader, RUNS_PER_MESSAGE};
use super::offer::Offer;
use super::place::Placed;
use super::runs::{Run, RunSet};
use super::send::EAGER_MANIFEST;
use super::store::{StoreEvent, StoreJob};
use super::{BlockIndex, MAX_CONTENT, block_count};

/// What the receiver's driver should know or do.
#[derive(Debug)]
pub enum ReceiveEvent {
    /// Ask the user; answer with [`ReceiveSession::accept`] or [`ReceiveSession::refuse`].
    Offer(Offer),
    /// The whole list is here and the user has accepted: open the store, then [`ReceiveSession::on_opened`].
    Open(Arc<Manifest>),
    /// For the disk thread. [`StoreJob::Total`] is for the assembler's `set_total` as well.
    Job(StoreJob),
    /// Everything has its final name; the sender is told.
    Finished {
        /// Root over the content.
        root: Root,
        /// What lies where.
        placed: Vec<Placed>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    AwaitingOffer,
    Asking,
    Accepted,
    Opening,
    Flowing,
    Finishing,
    Finished,
}

#[derive(Debug)]
enum List {
    Growing(Box<ManifestBuilder>),
    Whole(Arc<Manifest>),
}

/// The receiving side of one transfer.
#[derive(Debug)]
pub struct ReceiveSession {
    stage: Stage,
    reader: MessageReader,
    queue: VecDeque<Message>,
    events: VecDeque<ReceiveEvent>,
    offer: Option<Offer>,
    list: List,
    total: Option<u64>,
    verified: RunSet,
    need: RunSet,
    progress_due: bool,
    done: Option<Root>,
}

impl Default for ReceiveSession {
    fn default() -> Self {
        ReceiveSession::new()
    }
}

impl ReceiveSession {
    /// Waits for an offer.
    pub fn new() -> Self {
        ReceiveSession {
            stage: Stage::AwaitingOffer,
            reader: MessageReader::new(),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            offer: None,
            list: List::Growing(Box::new(ManifestBuilder::new(Trust::Peer))),
            total: None,
            verified: RunSet::new(),
            need: RunSet::new(),
            progress_due: false,
            done: None,
        }
    }

    /// Bytes of the control stream from the peer.
    ///
    /// # Errors
    /// Whatever ends the transfer; tell the peer with [`ReceiveSession::fail`].
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.reader.feed(bytes);
        while let Some(message) = self.reader.poll_message()? {
            self.handle_message(message)?;
        }
        Ok(())
    }

    fn handle_message(&mut self, message: Message) -> Result<(), TransferError> {
        match (message, self.stage) {
            (Message::Failed { code, text }, _) => return Err(TransferError::PeerFailed { code, text }),
            (Message::Offer(offer), Stage::AwaitingOffer) => {
                self.total = (!offer.stream).then_some(offer.bytes);
                self.offer = Some(offer.clone());
                self.stage = Stage::Asking;
                self.events.push_back(ReceiveEvent::Offer(offer));
            }
            (Message::ManifestChunk(chunk), Stage::Asking | Stage::Accepted) => self.on_chunk(&chunk)?,
            (Message::ManifestEnd { hash }, Stage::Asking | Stage::Accepted) => {
                self.on_list_end(hash)?;
                self.open_when_ready();
            }
            (Message::Hashes { first, cvs }, Stage::Flowing) => {
                self.events
                    .push_back(ReceiveEvent::Job(StoreJob::Announce { first, cvs }));
            }
            (Message::StreamEnd { total }, Stage::Flowing)
                if self.total.is_none() && total <= MAX_CONTENT =>
            {
                self.total = Some(total);
                self.events.push_back(ReceiveEvent::Job(StoreJob::Total(total)));
            }
            (Message::Done { root }, Stage::Flowing) if self.done.is_none() && self.total.is_some() => {
                self.done = Some(root);
                self.finish_when_ready();
            }
            _ => return Err(TransferError::PeerMisbehaved("a message out of turn")),
        }
        Ok(())
    }

    fn on_chunk(&mut self, chunk: &[u8]) -> Result<(), TransferError> {
        let (Some(offer), List::Growing(list)) = (&self.offer, &mut self.list) else {
            return Err(TransferError::PeerMisbehaved("a list after its end"));
        };
        list.add_wire(chunk)?;
        let early =
            self.stage == Stage::Asking && list.wire_len() > EAGER_MANIFEST + 2 * MANIFEST_CHUNK as u64;
        if early || list.len() > offer.entries || list.wire_len() > offer.manifest_bytes {
            return Err(Malformed::TooMuch("in the list of files").into());
        }
        Ok(())
    }

    fn on_list_end(&mut self, hash: [u8; 32]) -> Result<(), TransferError> {
        let empty = List::Growing(Box::new(ManifestBuilder::new(Trust::Peer)));
        let (Some(offer), List::Growing(list)) = (&self.offer, std::mem::replace(&mut self.list, empty))
        else {
            return Err(TransferError::PeerMisbehaved("a list after its end"));
        };
        let as_offered = list.wire_len() == offer.manifest_bytes
            && list.wire_hash() == hash
            && hash == offer.manifest_hash;
        let manifest = list.finish()?;
        if !as_offered || !offer.describes(&manifest) {
            return Err(TransferError::PeerMisbehaved(
                "it lists other files than it offered",
            ));
        }
        self.list = List::Whole(Arc::new(manifest));
        Ok(())
    }

    fn open_when_ready(&mut self) {
        if let (Stage::Accepted, List::Whole(manifest)) = (self.stage, &self.list) {
            self.events.push_back(ReceiveEvent::Open(Arc::clone(manifest)));
            self.stage = Stage::Opening;
        }
    }

    /// The user wants it. `window`: for content that is taken in order only, how many blocks the sender may run
    /// ahead ([`super::ORDERED_WINDOW`]).
    pub fn accept(&mut self, window: Option<u32>) {
        if self.stage == Stage::Asking {
            self.stage = Stage::Accepted;
            self.queue.push_back(Message::Accept { window });
            self.open_when_ready();
        }
    }

    /// The user does not want it.
    pub fn refuse(&mut self, text: &str) {
        self.queue.push_back(Message::Refuse {
            text: text.to_owned(),
        });
    }

    /// The store is open and believes to hold `held` (ascending).
    pub fn on_opened(&mut self, held: &[Run]) {
        if self.stage != Stage::Opening {
            return;
        }
        self.stage = Stage::Flowing;
        let mut messages = held.chunks(RUNS_PER_MESSAGE).peekable();
        if messages.peek().is_none() {
            self.queue.push_back(Message::Have {
                runs: Vec::new(),
                last: true,
            });
        }
        while let Some(runs) = messages.next() {
            self.queue.push_back(Message::Have {
                runs: runs.to_vec(),
                last: messages.peek().is_none(),
            });
        }
    }

    /// What the disk thread said; the assembler wants to hear it as well
    /// ([`super::assemble::Assembler::on_store_event`]).
    pub fn on_store_event(&mut self, event: &StoreEvent) {
        match event {
            StoreEvent::Verified(block) => {
                self.need.remove(block.get());
                self.verified.insert(block.get(), block.get() + 1);
                self.progress_due = true;
                self.finish_when_ready();
            }
            StoreEvent::Need(block) => drop(self.need.insert(block.get(), block.get() + 1)),
            StoreEvent::Recycle(_) => {}
            StoreEvent::Finished { root, placed } => {
                self.stage = Stage::Finished;
                self.queue.push_back(Message::Finished { root: *root });
                self.events.push_back(ReceiveEvent::Finished {
                    root: *root,
                    placed: placed.clone(),
                });
            }
        }
    }

    fn finish_when_ready(&mut self) {
        let all = self
            .total
            .is_some_and(|total| self.verified.len() == block_count(total));
        if let (true, Stage::Flowing, Some(root)) = (all, self.stage, self.done) {
            self.stage = Stage::Finishing;
            self.events
                .push_back(ReceiveEvent::Job(StoreJob::Finish { root }));
        }
    }

    /// The offer, once it is here.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// Length of the content, once it is known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// How many blocks are verified, and below which block all are.
    pub fn verified(&self) -> (u32, BlockIndex) {
        (self.verified.len(), BlockIndex::new(self.verified.first_gap(0)))
    }

    /// Gives up, telling the peer why.
    pub fn fail(&mut self, error: &TransferError) {
        self.queue.push_front(Message::Failed {
            code: error.code(),
            text: error.to_string(),
        });
    }

    /// The user gave up.
    pub fn cancel(&mut self) {
        let text = "cancelled by the receiver".to_owned();
        self.queue.push_front(Message::Failed {
            code: FailureCode::Cancelled,
            text,
        });
    }

    /// Appends the next control message to `out`, if there is one.
    pub fn poll_output(&mut self, out: &mut Vec<u8>) -> bool {
        if self.queue.is_empty() && self.stage == Stage::Flowing && !self.need.is_empty() {
            let runs: Vec<Run> = self.need.iter().take(RUNS_PER_MESSAGE).collect();
            self.need = self
                .need
                .iter()
                .skip(RUNS_PER_MESSAGE)
                .fold(RunSet::new(), |mut set, run| {
                    set.insert(run.start, run.end);
                    set
                });
            self.queue.push_back(Message::Need { runs });
        }
        // Progress before the end, never after it.
        if self.progress_due && self.stage != Stage::Finished {
            self.progress_due = false;
            let low = self.verified.first_gap(0);
            self.queue.push_back(Message::Verified {
                low,
                blocks: self.verified.len(),
            });
        }
        match self.queue.pop_front() {
            Some(message) => {
                message.encode(out);
                true
            }
            None => false,
        }
    }

    /// The next thing to know or do, if there is any.
    pub fn poll_event(&mut self) -> Option<ReceiveEvent> {
        self.events.pop_front()
    }
}
