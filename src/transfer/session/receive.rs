//! The receiver's half of the conversation, sans-IO.
//!
//! The list comes first, and the question to the user after it. Inputs: [`ReceiveSession::handle_bytes`] (the
//! control stream), [`ReceiveSession::accept`] from the user, [`ReceiveSession::on_opened`] and
//! [`ReceiveSession::on_store_event`] from the disk thread. After any input, drain
//! [`ReceiveSession::poll_output`] into the control stream, and drain [`ReceiveSession::poll_event`]. Content
//! goes to the assembler and never passes through here.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::transfer::breach::Breach;
use crate::transfer::error::TransferError;
use crate::transfer::hash::Root;
use crate::transfer::manifest::attributes::Attributes;
use crate::transfer::manifest::offer::{ListHead, Offer};
use crate::transfer::manifest::{EntryIndex, Kind, Manifest, ManifestBuilder, OutsideLinks, Trust};
use crate::transfer::ranges::{Run, RunSet};
use crate::transfer::session::messages::{Message, MessageReader, RUNS_PER_MESSAGE};
use crate::transfer::sink::place::Placed;
use crate::transfer::sink::store::{StoreEvent, StoreJob};
use crate::transfer::{BlockIndex, MAX_CONTENT, block_count};

/// What the receiver's driver should know or do.
#[derive(Debug)]
pub enum ReceiveEvent {
    /// The whole list is here. Check it with [`List::look_over`] on another thread, because a long list takes
    /// seconds. Then call [`ReceiveSession::on_looked_over`].
    Listed(Box<List>),
    /// The list is the announced one. Ask the user: to accept, call [`ReceiveSession::accept`]; to refuse,
    /// close the connection.
    Offer(Offer),
    /// The user has accepted. Open the store, then call [`ReceiveSession::on_opened`].
    Open(Arc<Manifest>),
    /// A job for the disk thread. Pass [`StoreJob::Total`] to the assembler's `set_total` as well.
    Job(StoreJob),
    /// Everything has its final name, and the sender is told.
    Finished {
        /// Root over the content.
        root: Root,
        /// The top-level entries and their final names.
        placed: Vec<Placed>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Stage {
    /// Nothing has arrived yet.
    #[default]
    AwaitingOffer,
    /// The list is arriving.
    Listing,
    /// The whole list is here and is being checked.
    LookingOver,
    /// The user is being asked.
    Asking,
    /// The user has accepted, and the store is being opened.
    Opening,
    Flowing,
    /// Everything is verified. The store syncs it and gives it its final names.
    Finishing,
    Finished,
}

/// A list that is arriving.
#[derive(Debug)]
pub struct List {
    head: ListHead,
    builder: ManifestBuilder,
    outside_links: OutsideLinks,
    attributes: Attributes,
}

impl List {
    /// Compares the whole list with the announced one and summarises it for the user.
    ///
    /// # Errors
    /// If the list is not the announced one, or nothing in it may be received.
    pub fn look_over(self) -> Result<(Offer, Arc<Manifest>), TransferError> {
        let wire_hash = self.builder.wire_hash();
        let manifest = self.builder.finish()?;
        self.head.check(&manifest, &wire_hash)?;
        let manifest = match self.outside_links {
            OutsideLinks::LeaveOut => manifest.without_outside_links(),
            OutsideLinks::Make => manifest,
        };
        let manifest = match self.attributes {
            Attributes::LeaveOut => manifest.without_attributes(),
            Attributes::Keep => manifest,
        };
        let manifest = manifest.with_holes(self.head.holes);
        if manifest.is_empty() {
            return Err(TransferError::OnlyOutsideLinks);
        }
        Ok((Offer::of(&manifest)?, Arc::new(manifest)))
    }
}

/// The receiving side of one transfer.
#[derive(Default, Debug)]
pub struct ReceiveSession {
    stage: Stage,
    reader: MessageReader,
    queue: VecDeque<Message>,
    events: VecDeque<ReceiveEvent>,
    /// What to do with links that lead outside of what is sent.
    pub(crate) outside_links: OutsideLinks,
    /// What to do with extended attributes.
    pub(crate) attributes: Attributes,
    list: Option<Box<List>>,
    /// Length of the list on the wire, in bytes; set once the whole list is here.
    list_len: u64,
    offered: Option<(Offer, Arc<Manifest>)>,
    total: Option<u64>,
    verified: RunSet,
    need: RunSet,
    progress_due: bool,
    done: Option<Root>,
    /// Entries that do not arrive, by their numbers in the list as it was sent.
    missing_as_sent: RunSet,
    /// The same entries, by their numbers in the list without the links that were left out.
    missing: RunSet,
    /// Fewer than all: at least one file must not be missing.
    files_missing: u32,
}

impl ReceiveSession {
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
        match (message, self.stage) {
            (Message::Offer(head), Stage::AwaitingOffer) => {
                let builder = ManifestBuilder::new(Trust::Peer);
                self.list = Some(Box::new(List {
                    head,
                    builder,
                    outside_links: self.outside_links,
                    attributes: self.attributes,
                }));
                self.stage = Stage::Listing;
            }
            (Message::ManifestChunk(chunk), Stage::Listing) => self.on_chunk(&chunk)?,
            (Message::Hashes { first, cvs, zeros }, Stage::Flowing) => {
                self.events
                    .push_back(ReceiveEvent::Job(StoreJob::Announce { first, cvs, zeros }));
            }
            (Message::Chunks(list), Stage::Flowing) => {
                self.events.push_back(ReceiveEvent::Job(StoreJob::Chunks(list)));
            }
            // Their blocks went missing after they were asked for.
            (Message::Chunks(_), Stage::Finishing | Stage::Finished) => {}
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
            (Message::Missing { entries }, Stage::Flowing | Stage::Finishing | Stage::Finished) => {
                self.on_missing(&entries)?
            }
            (message, _) => return Err(Breach::OutOfTurn(message.name()).into()),
        }
        Ok(())
    }

    /// An entry may be reported missing only once, so the length of the list limits the cost of this.
    fn on_missing(&mut self, sent: &[Run]) -> Result<(), TransferError> {
        let Some((offer, manifest)) = &self.offered else {
            return Ok(());
        };
        let mut entries = Vec::new();
        for run in sent {
            let is_known = run.end <= manifest.sent_len();
            if !is_known || self.missing_as_sent.insert(run.start, run.end) != run.end - run.start {
                return Err(Breach::Missing.into());
            }
            entries.extend((run.start..run.end).filter_map(|number| manifest.entry_sent_as(number)));
        }
        // Everything is verified, so the content is complete, whatever happened to the files since.
        if self.stage != Stage::Flowing || entries.is_empty() {
            return Ok(());
        }
        // The sender does not name a hard link here, because it follows its file.
        let is_never = |&index: &EntryIndex| {
            let kind = manifest.entry(index).kind;
            matches!(kind, Kind::Stream | Kind::Text | Kind::HardLink(_))
        };
        if entries.iter().any(is_never) {
            return Err(Breach::Missing.into());
        }
        let links: Vec<_> = entries
            .iter()
            .flat_map(|&of| manifest.hard_links_of(of))
            .collect();
        entries.extend(links);
        for index in &entries {
            self.files_missing += u32::from(manifest.entry(*index).kind != Kind::Dir);
            if self.files_missing >= offer.files.max(1) {
                return Err(Breach::Missing.into());
            }
            self.missing.add(index.get());
        }
        self.events
            .push_back(ReceiveEvent::Job(StoreJob::Missing(entries)));
        Ok(())
    }

    /// The entries that do not arrive, in the order of the list.
    pub fn missing(&self) -> impl Iterator<Item = EntryIndex> + '_ {
        self.missing.members().map(EntryIndex::new)
    }

    fn on_chunk(&mut self, chunk: &[u8]) -> Result<(), TransferError> {
        let Some(mut list) = self.list.take() else {
            return Ok(());
        };
        list.builder.add_wire(chunk)?;
        if list.builder.len() > list.head.entries {
            return Err(Breach::ListEntries.into());
        }
        let missing = list.head.manifest_bytes.checked_sub(list.builder.wire_len());
        if missing.ok_or(Breach::ListTooLong)? > 0 {
            self.list = Some(list);
            return Ok(());
        }
        self.stage = Stage::LookingOver;
        self.list_len = list.builder.wire_len();
        self.events.push_back(ReceiveEvent::Listed(list));
        Ok(())
    }

    /// Takes the result of [`List::look_over`].
    pub fn on_looked_over(&mut self, offer: Offer, manifest: Arc<Manifest>) {
        if self.stage != Stage::LookingOver {
            return;
        }
        self.total = manifest.total();
        self.stage = Stage::Asking;
        self.events.push_back(ReceiveEvent::Offer(offer.clone()));
        self.offered = Some((offer, manifest));
    }

    /// The highest rate to ask the sender for, bytes a second. Call it before [`ReceiveSession::accept`].
    pub(crate) fn limit(&mut self, rate: NonZeroU64) {
        self.queue.push_back(Message::Limit { rate });
    }

    /// The user accepts the offer. `window`: for content that is taken only in order, how many blocks the
    /// sender may be ahead ([`crate::transfer::ORDERED_WINDOW`]).
    pub fn accept(&mut self, window: Option<u32>) {
        if let (Stage::Asking, Some((_, manifest))) = (self.stage, &self.offered) {
            self.stage = Stage::Opening;
            self.queue.push_back(Message::Accept { window });
            self.events.push_back(ReceiveEvent::Open(Arc::clone(manifest)));
        }
    }

    /// The store is open and probably holds the blocks in `held` (ascending).
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

    /// Takes an event of the disk thread. The assembler needs the event as well
    /// ([`crate::transfer::sink::assemble::Assembler::on_store_event`]).
    pub fn on_store_event(&mut self, event: &StoreEvent) {
        match event {
            StoreEvent::Verified(block) => {
                self.need.remove(block.get());
                self.verified.add(block.get());
                self.progress_due = true;
                self.finish_when_ready();
            }
            StoreEvent::Void(run) => {
                self.need.remove_run(*run);
                self.verified.insert(run.start, run.end);
                self.progress_due = true;
                self.finish_when_ready();
            }
            StoreEvent::Need(block) => drop(self.need.add(block.get())),
            StoreEvent::Differ(run) => self.queue.push_back(Message::Describe { runs: vec![*run] }),
            StoreEvent::Found { block, lacks, .. } => self.queue.push_back(Message::Parts {
                block: *block,
                parts: lacks.clone(),
            }),
            StoreEvent::Recycle(_) | StoreEvent::Copying { .. } => {}
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

    /// The offer, once the whole list is here.
    pub fn offer(&self) -> Option<&Offer> {
        self.offered.as_ref().map(|(offer, _)| offer)
    }

    /// The offer with its list, once the whole list is here.
    pub(crate) fn offered(&self) -> Option<(&Offer, &Arc<Manifest>)> {
        self.offered.as_ref().map(|(offer, list)| (offer, list))
    }

    /// While the list arrives and is checked: how many bytes of it are here, and its length.
    pub(crate) fn listing(&self) -> Option<(u64, u64)> {
        match (self.stage, &self.list) {
            (Stage::Listing, Some(list)) => Some((list.builder.wire_len(), list.head.manifest_bytes)),
            (Stage::LookingOver, _) => Some((self.list_len, self.list_len)),
            _ => None,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Length of the content, once it is known.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// How many blocks are verified, and the block below which all are verified.
    pub fn verified(&self) -> (u32, BlockIndex) {
        (self.verified.len(), BlockIndex::new(self.verified.first_gap(0)))
    }

    /// Appends the next control message to `out`, if there is one.
    pub fn poll_output(&mut self, out: &mut Vec<u8>) -> bool {
        if self.queue.is_empty() && self.stage == Stage::Flowing && !self.need.is_empty() {
            let runs = self.need.take_first(RUNS_PER_MESSAGE);
            self.queue.push_back(Message::Need { runs });
        }
        // Progress is sent before Finished, never after it.
        if self.progress_due && self.stage != Stage::Finished {
            self.progress_due = false;
            let low = self.verified.first_gap(0);
            self.queue.push_back(Message::Verified {
                low,
                blocks: self.verified.len(),
            });
        }
        let message = self.queue.pop_front();
        message.map(|message| message.encode(out)).is_some()
    }

    /// The next thing to know or to do, if any.
    pub fn poll_event(&mut self) -> Option<ReceiveEvent> {
        self.events.pop_front()
    }
}
