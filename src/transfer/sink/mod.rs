//! The receiver's disk: verifies blocks, writes them where they belong, keeps the journal, finishes.
//!
//! Invariants: a block counts as verified only after its bytes, in memory or read back from the disk, gave the
//! hash the sender announced; nothing has a final name before all blocks are; a block that an earlier run verified is
//! replaced only by one that this run did. What a peer can make this hold is bounded: a hash for each block it listed
//! or sent.

mod across;
mod adding;
mod aside;
pub(crate) mod assemble;
mod base;
pub(crate) mod came;
mod compare;
mod content;
mod finish;
mod hard_links;
pub(crate) mod journal;
pub(crate) mod losses;
mod missing;
mod moved;
pub(crate) mod need;
pub(crate) mod ordered;
pub(crate) mod place;
mod recipe;
pub(crate) mod staging;
pub(crate) mod store;
mod tree;
mod trial;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, Malformed, TransferError};
use crate::transfer::fs::layer::Layer;
use crate::transfer::hash::{BlockHash, Cv, RootBuilder, hash_block};
use crate::transfer::manifest::Manifest;
use crate::transfer::manifest::offer::Offer;
use crate::transfer::names::SafeName;
use crate::transfer::ranges::{Run, RunSet};
use crate::transfer::sink::aside::Aside;
use crate::transfer::sink::assemble::{Buffer, Extent, Filled};
use crate::transfer::sink::base::{Base, Compare};
use crate::transfer::sink::came::Earlier;
use crate::transfer::sink::journal::{Journal, JournalHeader, Record};
use crate::transfer::sink::losses::{Losses, Remark};
use crate::transfer::sink::moved::Moved;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::staging::{Before, Staging};
use crate::transfer::sink::store::{Store, StoreEvent, StoreJob};
use crate::transfer::sink::tree::{Space, Tree};
use crate::transfer::{BLOCK_LEN, BlockIndex, MAX_CONTENT, block_count};

/// Most hashes a stream's sender may announce ahead of what is verified.
const MAX_STREAM_AHEAD: usize = 4096;

/// How often a block may arrive and not match its hash. Twice is no accident: the seal of the connection makes
/// damage on the way impossible.
const MAX_STRIKES: u8 = 2;

/// Where a block is read back from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Staging,
    Base,
    Aside,
}

/// A receive into files.
#[derive(Debug)]
pub struct Sink<L: Layer> {
    layer: L,
    staging: Staging,
    manifest: Arc<Manifest>,
    tree: Tree<L::File>,
    base: Base<L::File>,
    earlier: Earlier,
    /// Where what came before is noted, if not here, and the lock on it.
    note: Option<(Staging, L::File)>,
    /// Of a note of this transfer, should it not be complete.
    header: JournalHeader,
    first: Option<SafeName>,
    /// The list by the names that were sent, as far as this disk takes them.
    sent: Arc<Manifest>,
    moved: Moved,
    /// Until everything is sealed.
    journal: Option<Journal<L::File>>,
    conflicts: Conflicts,
    losses: Losses,
    total: Option<u64>,
    /// Blocks an earlier run verified, with their hashes then; taken out as they are settled.
    kept: BTreeMap<u32, Cv>,
    /// Blocks an earlier run verified, as long as they may lie on the disk as it left them.
    at_stake: RunSet,
    /// What may not be written over them yet.
    aside: Aside<L::File>,
    /// Kept blocks whose hash the sender announced: to be read again.
    recheck: VecDeque<BlockIndex>,
    /// Announced and not yet verified.
    announced: BTreeMap<u32, Cv>,
    /// Stored whole before their announcement came.
    unconfirmed: BTreeMap<u32, BlockHash>,
    strikes: HashMap<u32, u8>,
    verified: RunSet,
    /// Entries that do not arrive.
    missing: RunSet,
    root: RootBuilder,
    scratch: Buffer,
}

impl<L: Layer> Sink<L> {
    /// Opens the place an earlier run of the same transfer was received into, or a new one, and makes its
    /// directories and empty files.
    ///
    /// # Errors
    /// [`LocalError`], each with its next step.
    pub fn open(
        layer: L,
        offer: &Offer,
        manifest: Arc<Manifest>,
        conflicts: Conflicts,
    ) -> Result<Sink<L>, TransferError> {
        let opened = staging::open(&layer, offer, conflicts)?;
        let staging = opened.staging;
        let total = manifest.total();
        let mut kept = opened.kept;
        drop(kept.split_off(&total.map_or(u32::MAX, block_count)));
        let mut at_stake = RunSet::new();
        for &index in kept.keys() {
            at_stake.add(index);
        }
        let (mut losses, mut journal) = (Losses::default(), Some(opened.journal));
        let made = trial::run(&layer, &staging.trial(), &manifest, &mut losses).and_then(|manifest| {
            let at_root = |e| LocalError::new("read", layer.root(), e);
            let sent = Arc::clone(&manifest);
            let added_to = opened.came.of(&manifest);
            // What was noted of other files is no matter here, and stays.
            let note = opened.note.filter(|_| added_to.is_some());
            let (manifest, earlier, compare) = match added_to.filter(|_| conflicts != Conflicts::Update) {
                None => (manifest, Earlier::default(), opened.compare),
                Some(list) => {
                    let earlier = Earlier::look(&layer, &list, opened.came, &staging).map_err(at_root)?;
                    (Arc::new(list), earlier, Compare::Finals { retime: false })
                }
            };
            let ours = (!earlier.came.is_empty()).then_some(&earlier.ours);
            let base = Base::open(&layer, &manifest, compare, kept.is_empty(), &losses, ours);
            let base = base.map_err(at_root)?;
            let space = if base.equal { Space::Trust } else { Space::Check };
            let (list, stays) = (Arc::clone(&manifest), &earlier.stays);
            let tree = Tree::open(&layer, &staging, list, opened.found, space, &losses, stays)?;
            Ok((sent, manifest, earlier, note, base, tree))
        });
        let (sent, manifest, earlier, note, base, tree) = made.inspect_err(|_| {
            // Nothing was received: leave nothing behind.
            if opened.found == Before::Nothing {
                drop(journal.take());
                let _ = staging.remove(&layer);
            }
        })?;
        Ok(Sink {
            layer,
            aside: Aside::new(staging.aside()),
            at_stake,
            staging,
            manifest,
            tree,
            base,
            earlier,
            note,
            sent,
            header: JournalHeader::of(offer),
            first: offer.top.first().map(|top| top.name.clone()),
            moved: Moved::default(),
            journal,
            conflicts,
            losses,
            total,
            kept,
            recheck: VecDeque::new(),
            announced: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            strikes: HashMap::new(),
            verified: RunSet::new(),
            missing: RunSet::new(),
            root: RootBuilder::new(),
            scratch: vec![0; BLOCK_LEN].into_boxed_slice(),
        })
    }

    fn blocks(&self) -> u32 {
        block_count(self.total.unwrap_or(MAX_CONTENT))
    }

    fn len_of(&self, block: BlockIndex) -> usize {
        block.len_in(self.total.unwrap_or(MAX_CONTENT))
    }

    fn on_announced(
        &mut self,
        block: BlockIndex,
        cv: Cv,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let index = block.get();
        let seen = self.verified.contains(index) || self.announced.contains_key(&index);
        if index >= self.blocks() || seen && !self.may_change(block) {
            return Err(Breach::Hashes.into());
        }
        if self.verified.contains(index) {
            return Ok(());
        }
        if self.total.is_none() && self.announced.len() >= MAX_STREAM_AHEAD {
            return Err(Malformed::TooMuch("block hashes").into());
        }
        self.announced.insert(index, cv);
        if self.kept.get(&index).is_some_and(|kept| *kept != cv) {
            self.kept.remove(&index);
            if !self.is_held(index) {
                events.push(StoreEvent::Need(block));
                return Ok(());
            }
        }
        if self.is_held(index) {
            self.recheck.push_back(block);
            return Ok(());
        }
        match self.unconfirmed.remove(&index) {
            Some(hash) if hash.cv == cv => self.journal_and_confirm(block, &hash, events),
            Some(_) => self.strike(block, events),
            None => Ok(()),
        }
    }

    fn is_held(&self, index: u32) -> bool {
        self.kept.contains_key(&index) || self.base.blocks.contains(index)
    }

    fn on_filled(&mut self, filled: &Filled, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        let (block, index) = (filled.block, filled.block.get());
        // A sender that sends what it was told is here has misunderstood; what is here is checked on its own.
        if self.verified.contains(index)
            || self.unconfirmed.contains_key(&index)
            || self.kept.contains_key(&index)
        {
            return Ok(());
        }
        if let Extent::Whole(len) = filled.extent {
            let bytes = &filled.buffer[..len];
            let hash = hash_block(block, bytes);
            if self.announced.get(&index).is_some_and(|cv| *cv != hash.cv) {
                return self.strike(block, events);
            }
            self.write(block, 0, bytes)?;
            return self.settle(block, &hash, events);
        }
        let at_stake = self.at_stake.contains(index);
        for (start, end) in filled.spans.iter() {
            let bytes = &filled.buffer[start as usize..end as usize];
            if at_stake {
                let failed = |e| LocalError::new("write", self.layer.root().join(self.staging.aside()), e);
                self.aside
                    .write(&self.layer, block, start, bytes)
                    .map_err(failed)?;
            } else {
                self.write(block, start, bytes)?;
            }
        }
        if filled.extent == Extent::Part {
            return Ok(());
        }
        let from = if at_stake { From::Aside } else { From::Staging };
        match (self.read_back(block, from)?, self.announced.get(&index)) {
            (Some(hash), Some(cv)) if *cv == hash.cv => {
                if at_stake {
                    self.write_scratch(block)?;
                }
                self.settle(block, &hash, events)
            }
            (Some(hash), None) if !at_stake => self.settle(block, &hash, events),
            _ => self.strike(block, events),
        }
    }

    /// A whole block is stored: confirm it, or wait for its hash.
    fn settle(
        &mut self,
        block: BlockIndex,
        hash: &BlockHash,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        if self.announced.contains_key(&block.get()) {
            return self.journal_and_confirm(block, hash, events);
        }
        self.unconfirmed.insert(block.get(), *hash);
        Ok(())
    }

    fn strike(&mut self, block: BlockIndex, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        let strikes = self.strikes.entry(block.get()).or_default();
        *strikes += 1;
        let strikes = *strikes;
        if strikes >= self.max_strikes(block) {
            return Err(TransferError::Verification(block));
        }
        events.push(StoreEvent::Need(block));
        Ok(())
    }

    fn journal_and_confirm(
        &mut self,
        block: BlockIndex,
        hash: &BlockHash,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let record = Record::Block {
            index: block.get(),
            cv: hash.cv,
        };
        self.append(&record)?;
        self.confirm(block, hash, events);
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(), LocalError> {
        let failed = |e| LocalError::new("write", self.layer.root().join(self.staging.journal()), e);
        match &mut self.journal {
            Some(journal) => journal.append(&self.layer, record).map_err(failed),
            None => Ok(()),
        }
    }

    fn confirm(&mut self, block: BlockIndex, hash: &BlockHash, events: &mut Vec<StoreEvent>) {
        self.announced.remove(&block.get());
        self.base.blocks.remove(block.get());
        self.moved.on_verified(block);
        self.at_stake.remove(block.get());
        self.strikes.remove(&block.get());
        self.verified.add(block.get());
        self.root.insert(block, hash);
        events.push(StoreEvent::Verified(block));
    }

    fn on_total(&mut self, total: u64) -> Result<(), TransferError> {
        let blocks = block_count(total);
        let beyond = self
            .announced
            .keys()
            .next_back()
            .is_some_and(|&last| last >= blocks)
            || self.verified.first_member(blocks).is_some();
        if self.total.is_some() || total > MAX_CONTENT || beyond {
            return Err(Breach::StreamEnd.into());
        }
        self.total = Some(total);
        // The file is cut when all of it is verified: until then what is kept of it may be another sender's.
        drop(self.kept.split_off(&blocks));
        Ok(())
    }
}

impl<L: Layer> Store for Sink<L> {
    fn poll_remark(&mut self) -> Option<Remark> {
        self.losses.poll()
    }

    fn held(&self) -> Vec<Run> {
        let mut set = self.base.blocks.clone();
        for &index in self.kept.keys() {
            set.add(index);
        }
        set.iter().collect()
    }

    fn handle(&mut self, job: StoreJob, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        match job {
            StoreJob::Announce { first, cvs } => {
                for (index, cv) in (first.get()..).zip(cvs) {
                    self.on_announced(BlockIndex::new(index), cv, events)?;
                }
            }
            StoreJob::Filled(filled) => {
                let outcome = self.on_filled(&filled, events);
                events.push(StoreEvent::Recycle(filled.buffer));
                outcome?;
            }
            StoreJob::Chunks(list) => self.on_chunks(&list, events)?,
            StoreJob::Total(total) => self.on_total(total)?,
            StoreJob::Missing(entries) => self.on_missing(&entries, events),
            StoreJob::Finish { root } => self.finish(root, events)?,
        }
        Ok(())
    }

    fn recheck_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        if self.seek_moved(events) {
            return Ok(true);
        }
        let Some(block) = self.recheck.pop_front() else {
            return Ok(false);
        };
        let index = block.get();
        if self.verified.contains(index) {
            return Ok(true);
        }
        if self.kept.contains_key(&index) {
            match self.read_back(block, From::Staging)? {
                Some(hash) if self.announced.get(&index) == Some(&hash.cv) => {
                    self.kept.remove(&index);
                    self.confirm(block, &hash, events);
                    return Ok(true);
                }
                // Lost in a crash, or never there: no fault of the sender's.
                _ => {
                    self.kept.remove(&index);
                    self.at_stake.remove(index);
                }
            }
        }
        if self.base.blocks.remove(index) {
            self.recheck_base(block, events)?;
        } else {
            events.push(StoreEvent::Need(block));
        }
        Ok(true)
    }
}
