//! The receiver's disk: verifies blocks, writes them to their places, keeps the journal and finishes the
//! transfer.
//!
//! Invariants. A block counts as verified only after its bytes, in memory or read back from the disk, gave
//! the hash that the sender announced. Nothing gets a final name before all blocks are verified. A block that
//! an earlier run verified is replaced only by a block that this run verified. A peer can make this hold only
//! a bounded amount: a hash for each block it listed or sent.

mod across;
mod adding;
mod aside;
pub(crate) mod assemble;
mod base;
pub(crate) mod came;
mod compare;
mod content;
pub(crate) mod disk_room;
mod finish;
mod hard_links;
mod holes;
pub(crate) mod journal;
pub(crate) mod losses;
mod missing;
mod moved;
pub(crate) mod ordered;
pub(crate) mod place;
mod recipe;
pub(crate) mod staging;
mod staying;
pub(crate) mod store;
mod tree;
mod trial;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, Malformed, TransferError};
use crate::transfer::fs::layer::{Doing, Layer};
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
use crate::transfer::sink::place::{Conflicts, Rule};
use crate::transfer::sink::staging::{Before, Staging};
use crate::transfer::sink::store::{Store, StoreEvent, StoreJob};
use crate::transfer::sink::tree::Tree;
use crate::transfer::{BLOCK_LEN, BlockIndex, MAX_CONTENT, block_count};

/// Most hashes a stream's sender may announce ahead of what is verified.
const MAX_STREAM_AHEAD: usize = 4096;

/// How often a block may differ from its hash. Two failures are no accident: the connection's authentication
/// (AEAD) makes damage on the way impossible.
const MAX_STRIKES: u8 = 2;

/// The place from which a block is read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Staging,
    Base,
    Aside,
    /// As `Staging`, but what a file that no longer stays has in the block lies under its final name.
    Leaving,
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
    /// The note of an earlier, incomplete transfer, if it is in another staging directory, and the lock on
    /// it.
    note: Option<(Staging, L::File)>,
    /// The header for a note about this transfer, in case it stays incomplete.
    header: JournalHeader,
    first: Option<SafeName>,
    /// The list with the names that were sent, except those that this disk refuses.
    sent: Arc<Manifest>,
    moved: Moved,
    /// Open until everything is sealed.
    journal: Option<Journal<L::File>>,
    /// Whether the staging directory holds something for a later run.
    is_useful: bool,
    conflicts: Conflicts,
    losses: Losses,
    total: Option<u64>,
    /// Blocks that an earlier run verified and that may still be unchanged on the disk, with their hashes of
    /// then.
    kept: BTreeMap<u32, Cv>,
    /// Parts of those blocks that must not overwrite them yet.
    aside: Aside<L::File>,
    /// Kept blocks whose hash the sender has announced. They are to be read again.
    recheck: VecDeque<BlockIndex>,
    /// Hashes of blocks that are not verified yet.
    announced: BTreeMap<u32, Cv>,
    /// Blocks that were stored whole before their hash was announced.
    unconfirmed: BTreeMap<u32, BlockHash>,
    strikes: HashMap<u32, u8>,
    verified: RunSet,
    /// Entries that do not arrive.
    missing: RunSet,
    root: RootBuilder,
    scratch: Buffer,
}

impl<L: Layer> Sink<L> {
    /// Opens the staging directory of an earlier run of the same transfer, or makes a new one, and makes the
    /// directories and empty files of the list.
    ///
    /// # Errors
    /// [`LocalError`].
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
        let (mut losses, mut journal) = (Losses::default(), Some(opened.journal));
        let merges = Rule::new(conflicts).adding_to(&opened.came).may_merge();
        let tried = trial::run(&layer, &staging, &manifest, merges, &mut losses);
        let made = tried.and_then(|manifest| {
            let sent = Arc::clone(&manifest);
            let added_to = opened.came.of(&manifest);
            // A note about other files does not concern this transfer. It stays on the disk.
            let note = opened.note.filter(|_| added_to.is_some());
            let added_to = added_to.filter(|_| conflicts != Conflicts::Update);
            let is_added = added_to.is_some();
            let (manifest, mut earlier, compare) = match added_to {
                None => (manifest, Earlier::default(), opened.compare),
                Some(list) => {
                    let earlier = Earlier::look(&layer, &list, opened.came);
                    let earlier = earlier.doing(&layer, "read", "")?;
                    (Arc::new(list), earlier, Compare::Finals { refresh: false })
                }
            };
            let ours = (!earlier.came.is_empty()).then_some(&earlier.ours);
            let renamed = conflicts == Conflicts::Update;
            let spare = staging.trial();
            let mut base = Base::open(&layer, &manifest, compare, &spare, &losses, ours, renamed);
            if !is_added && (Rule::new(conflicts).may_merge() || base.equal) {
                earlier.stays = base.same.clone();
            }
            base.equal &= earlier.keep_together(&layer, &manifest, &staging, opened.found, &base.same);
            let (rule, stays) = (Rule::new(conflicts).adding_to(&earlier.came), &earlier.stays);
            // If all is equal, nothing is changed.
            if !base.equal {
                let changed = manifest.iter().filter(|(i, _)| !stays.contains(i.get()));
                trial::finals::check(&layer, &staging, &manifest, rule, changed)?;
            }
            let list = Arc::clone(&manifest);
            let tree = Tree::open(&layer, &staging, list, opened.found, base.equal, &losses, stays)?;
            Ok((sent, manifest, earlier, note, base, tree))
        });
        let (sent, manifest, earlier, note, base, tree) = made.inspect_err(|_| {
            // Nothing was received, so nothing is left behind.
            if opened.found == Before::Nothing {
                drop(journal.take());
                let _ = staging.remove(&layer);
            }
        })?;
        let is_useful = !kept.is_empty() || opened.found == Before::Same && !earlier.came.is_empty();
        Ok(Sink {
            layer,
            is_useful,
            aside: Aside::new(staging.aside()),
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
            verified: RunSet::default(),
            missing: RunSet::default(),
            root: RootBuilder::default(),
            scratch: vec![0; BLOCK_LEN].into_boxed_slice(),
        })
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
        let is_beyond = index >= block_count(self.total.unwrap_or(MAX_CONTENT));
        if is_beyond || seen && !self.may_change(block) {
            return Err(Breach::Hashes.into());
        }
        if self.verified.contains(index) {
            return Ok(());
        }
        if self.total.is_none() && self.announced.len() >= MAX_STREAM_AHEAD {
            return Err(Malformed::TooMuch("block hashes").into());
        }
        self.announced.insert(index, cv);
        if self.is_held(index) {
            self.recheck.push_back(block);
            return Ok(());
        }
        if self.kept.contains_key(&index) && !seen {
            events.push(StoreEvent::Need(block));
            return Ok(());
        }
        match self.unconfirmed.remove(&index) {
            Some(hash) if hash.cv == cv => self.journal_and_confirm(block, &hash, events),
            Some(_) => self.strike(block, events),
            None => Ok(()),
        }
    }

    /// Whether an earlier run verified this block with the hash that it should have, as far as is known.
    fn is_kept(&self, index: u32) -> bool {
        let is_announced = |kept: &Cv| self.announced.get(&index).is_none_or(|cv| cv == kept);
        self.kept.get(&index).is_some_and(is_announced)
    }

    fn is_held(&self, index: u32) -> bool {
        self.is_kept(index) || self.base.blocks.contains(index)
    }

    fn on_filled(&mut self, filled: &Filled, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        let (block, index) = (filled.block, filled.block.get());
        // The sender ignored that this block is here. The copy here is checked on its own.
        if self.verified.contains(index) || self.unconfirmed.contains_key(&index) || self.is_kept(index) {
            return Ok(());
        }
        if let Extent::Whole(len) = filled.extent {
            let bytes = &filled.buffer[..len];
            let hash = hash_block(block, bytes);
            if self.announced.get(&index).is_some_and(|cv| *cv != hash.cv) {
                return self.strike(block, events);
            }
            self.write(block, 0, bytes)?;
            return self.on_stored(block, &hash, events);
        }
        let at_stake = self.kept.contains_key(&index);
        for span in filled.spans.iter() {
            let (start, end) = (span.start as u32, span.end as usize);
            let bytes = &filled.buffer[start as usize..end];
            if at_stake {
                let written = self.aside.write(&self.layer, block, start, bytes);
                written.doing(&self.layer, "write", self.staging.aside())?;
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
                self.on_stored(block, &hash, events)
            }
            (Some(hash), None) if !at_stake => self.on_stored(block, &hash, events),
            _ => self.strike(block, events),
        }
    }

    /// A whole block is stored. Confirms it if its hash was announced, else waits for the hash.
    fn on_stored(
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
        let (index, cv) = (block.get(), hash.cv);
        self.append(&Record::Block { index, cv })?;
        self.confirm(block, hash, events);
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(), LocalError> {
        // Without this, what is removed meanwhile would be filled to its end.
        self.check_kept()?;
        if let Some(journal) = &mut self.journal {
            let appended = journal.append(&self.layer, record);
            appended.doing(&self.layer, "write", self.staging.journal())?;
            self.is_useful = true;
        }
        Ok(())
    }

    /// Checks that nobody has removed the staging directory.
    fn check_kept(&self) -> Result<(), LocalError> {
        match self.layer.info(&self.staging.journal()) {
            Ok(None) if self.journal.is_some() => {
                Err(LocalError::Removed(self.layer.root().join(self.staging.dir())))
            }
            _ => Ok(()),
        }
    }

    fn work(&mut self, job: StoreJob, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        match job {
            StoreJob::Announce { first, cvs, zeros } => {
                for (block, cv) in (first.get()..).map(BlockIndex::new).zip(cvs) {
                    self.on_announced(block, cv, events)?;
                    if zeros {
                        self.on_zeros(block, events)?;
                    }
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

    fn confirm(&mut self, block: BlockIndex, hash: &BlockHash, events: &mut Vec<StoreEvent>) {
        let index = block.get();
        self.announced.remove(&index);
        self.base.blocks.remove(index);
        self.moved.forget(Run {
            start: index,
            end: index + 1,
        });
        self.kept.remove(&index);
        self.strikes.remove(&index);
        self.verified.add(index);
        self.base.unsettled.remove(index);
        if self.is_borrowed(block) {
            self.base.borrowed.insert(index, hash.cv);
        }
        self.root.insert(block, hash);
        events.push(StoreEvent::Verified(block));
    }

    fn on_total(&mut self, total: u64) -> Result<(), TransferError> {
        let blocks = block_count(total);
        let is_announced = self.announced.range(blocks..).next().is_some();
        let is_beyond = is_announced || self.verified.first_member(blocks).is_some();
        if self.total.is_some() || total > MAX_CONTENT || is_beyond {
            return Err(Breach::StreamEnd.into());
        }
        self.total = Some(total);
        // The file is cut later, when all of it is verified: the kept bytes beyond may belong to another
        // sender's content.
        drop(self.kept.split_off(&blocks));
        self.base.blocks.truncate(blocks);
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
        let outcome = self.work(job, events);
        if outcome.is_err() {
            self.check_kept()?;
        }
        outcome
    }

    fn recheck_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        self.compare_next(events)
    }

    fn leave(&mut self) {
        // Once it is sealed, the transfer is completed without the sender.
        if self.journal.take().is_some() && !self.is_useful {
            self.tree.close();
            self.aside.close();
            let _ = self.staging.remove(&self.layer);
        }
    }
}
