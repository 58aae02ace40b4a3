//! Files that stay under their final names, because they seem to be what is sent. If it turns out that one is not, it
//! will be replaced as a whole: what was found equal in it is copied to the staged file.
//!
//! So an update writes, and needs room for, only the files that differ, and leaves all others untouched.

use std::collections::BTreeSet;
use std::iter::successors;
use std::sync::Arc;

use super::{From, Sink};
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::manifest::{EntryIndex, Kind, Segment};
use crate::transfer::sink::journal::Record;
use crate::transfer::sink::place::Rule;
use crate::transfer::sink::staging::{Before, with_leftovers};
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::sink::trial;
use crate::transfer::{BLOCK_LEN, BlockIndex, block_count};

impl<L: Layer> Sink<L> {
    pub(super) fn rule(&self) -> Rule<'_> {
        Rule::new(self.conflicts).adding_to(&self.earlier.came)
    }

    pub(super) fn stays(&self, entry: EntryIndex) -> bool {
        self.earlier.stays.contains(entry.get())
    }

    /// Whether a block holds bytes of a file that stays.
    pub(super) fn is_borrowed(&self, block: BlockIndex) -> bool {
        let stays = &self.earlier.stays;
        self.manifest.holds_any(block, stays)
    }

    /// Whether a block holds only bytes of files that stay.
    pub(super) fn is_all_borrowed(&self, block: BlockIndex) -> bool {
        let mut segments = self.manifest.block_segments(block, self.len_of(block));
        segments.all(|segment| self.stays(segment.entry))
    }

    /// Whether these bytes of block `block` are in a file that stays. If the file has other bytes, it no longer stays.
    pub(super) fn lies_there(
        &mut self,
        block: BlockIndex,
        segment: &Segment,
        bytes: &[u8],
    ) -> Result<bool, LocalError> {
        if !self.stays(segment.entry) {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        if self.base.tree.read(&self.layer, segment, &mut found)? && found == bytes {
            self.base.unsettled.add(block.get());
            return Ok(true);
        }
        self.leave_place(segment.entry)?;
        Ok(false)
    }

    /// A block differs from the bytes here. If they are all of one file, that file no longer stays. With several, their
    /// bytes will tell which of them differ.
    pub(super) fn leave_places(&mut self, block: BlockIndex) -> Result<(), LocalError> {
        let mut segments = self.manifest.block_segments(block, self.len_of(block));
        let (first, second) = (segments.next(), segments.next());
        drop(segments);
        match first.filter(|_| second.is_none() || !self.rule().may_merge()) {
            Some(first) if self.stays(first.entry) => self.leave_place(first.entry),
            _ => Ok(()),
        }
    }

    /// The file will be replaced, under all its names. If nothing may be replaced, everything gets another name.
    fn leave_place(&mut self, entry: EntryIndex) -> Result<(), LocalError> {
        self.base.equal = false;
        let manifest = Arc::clone(&self.manifest);
        if !self.rule().may_merge() {
            let all = std::mem::take(&mut self.earlier.stays);
            let room = self
                .tree
                .check_room(&self.layer, Before::Same, &self.losses, &self.earlier.stays);
            room.map_err(|e| with_leftovers(&self.layer, e))?;
            let mut files = all.members().map(EntryIndex::new);
            return files.try_for_each(|file| self.take_along(file));
        }
        let mut changed = BTreeSet::new();
        for name in manifest.names_of(entry) {
            self.earlier.stays.remove(name.get());
            changed.extend(successors(Some(name), |&inner| manifest.entry(inner).parent));
        }
        let changed = changed.into_iter().map(|index| (index, manifest.entry(index)));
        trial::finals::check(&self.layer, &self.staging, &manifest, self.rule(), changed)?;
        let room = self.tree.check_room_of(&self.layer, entry, &self.losses);
        room.map_err(|e| with_leftovers(&self.layer, e))?;
        self.take_along(entry)
    }

    /// Has the verified parts of a file copied, and copies those that are still to be verified.
    fn take_along(&mut self, entry: EntryIndex) -> Result<(), LocalError> {
        if self.manifest.entry(entry).kind != Kind::File {
            return Ok(());
        }
        let content = self.manifest.content_range(entry);
        let blocks = (content.start / BLOCK_LEN as u64) as u32..block_count(content.end);
        let borrowed = self
            .base
            .borrowed
            .range(blocks.clone())
            .map(|(&block, _)| (block, entry));
        self.base.leaving.extend(borrowed);
        let mut at = blocks.start;
        while let Some(block) = self
            .base
            .unsettled
            .first_member(at)
            .filter(|&block| block < blocks.end)
        {
            at = block + 1;
            let block = BlockIndex::new(block);
            let mut segments = self.manifest.block_segments(block, self.len_of(block));
            let Some(segment) = segments.find(|segment| segment.entry == entry) else {
                continue;
            };
            drop(segments);
            let mut bytes = vec![0; segment.len as usize];
            if self.base.tree.read(&self.layer, &segment, &mut bytes)? {
                self.tree.write(&self.layer, &segment, &bytes, &mut self.losses)?;
            }
        }
        Ok(())
    }

    /// Copies what files that no longer stay have in one block. False if nothing is left to copy. Blocks that differ are
    /// reported only after all is copied, so the transfer does not end before.
    pub(super) fn copy_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError> {
        let Some(&(index, _)) = self.base.leaving.first() else {
            return Ok(false);
        };
        let block = BlockIndex::new(index);
        let cv = self.base.borrowed.get(&index).copied();
        let found = self.read_back(block, From::Leaving)?;
        let Some(cv) = cv.filter(|cv| found.is_some_and(|hash| hash.cv == *cv)) else {
            let error = std::io::Error::other("it changed while it was compared");
            return Ok(Err(error).doing(&self.layer, "read", "")?);
        };
        self.write_scratch(block)?;
        self.base.leaving = self.base.leaving.split_off(&(index + 1, EntryIndex::new(0)));
        self.append(&Record::Block { index, cv })?;
        let left = self.base.leaving.len() as u64 * BLOCK_LEN as u64;
        events.push(StoreEvent::Copying { left });
        if left == 0 {
            for block in std::mem::take(&mut self.base.differs) {
                if !self.verified.contains(block.get()) {
                    self.on_differing(block, events);
                }
            }
        }
        Ok(true)
    }

    /// Files that stay are not in `data/`. Counts them as missing there, so that the last steps skip them.
    pub(super) fn pass_over_what_stays(&mut self) {
        for index in self.earlier.stays.members() {
            self.losses.miss(EntryIndex::new(index));
        }
    }
}
