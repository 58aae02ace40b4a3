//! Content that lies elsewhere in the files here than in those that are sent: moved by what was inserted or cut out.
//!
//! Only where a block is not what lies at its place, the sender is asked which chunks it is made of, and the files here
//! are cut in the same way. What is found is written, and only the rest is asked for; then the block's hash decides as
//! it does about what comes over the line. What is asked of the sender and of this disk is as much as would otherwise
//! have crossed the line: each block is described once, and each old file is read once more, without what is equal at
//! its place.
//!
//! A peer learns by it which chunks of what it sends lie in the files it names; of shorter ones than the least only
//! whether they lie at their place. So it can ask once for each chunk that it lists.

use std::collections::VecDeque;

use super::Sink;
use super::recipe::{Index, Origin, Recipe};
use crate::transfer::breach::Breach;
use crate::transfer::chunks::{self, Chunk, ChunkList, Chunker, MAX_PARTS, MIN_CHUNK};
use crate::transfer::error::TransferError;
use crate::transfer::fs::layer::Layer;
use crate::transfer::hash::hash_block;
use crate::transfer::manifest::{EntryIndex, Segment};
use crate::transfer::ranges::{Run, RunSet};
use crate::transfer::sink::store::StoreEvent;
use crate::transfer::{BLOCK_LEN, BlockIndex, DESCRIBED_WINDOW, block_count};

/// So many times the size of what is sent is read of old files at most.
const MOST_READ: u64 = 8;

/// A file here that is being cut into chunks.
#[derive(Debug)]
struct Reading {
    entry: EntryIndex,
    len: u64,
    at: u64,
    /// Where the chunk begins that has not ended.
    start: u64,
    chunker: Chunker,
}

/// What is known of content that moved.
#[derive(Default, Debug)]
pub(super) struct Moved {
    /// Blocks that are equal at their place.
    same: RunSet,
    /// Blocks that are not, and are to be described.
    differing: RunSet,
    /// Those that the sender was asked to describe and has not.
    due: RunSet,
    /// Those that it was asked to describe and that are not verified.
    open: RunSet,
    /// Those that it is to be asked about as soon as the files they hold bytes of are cut.
    next: Option<Run>,
    /// Files that are to be cut for it.
    uncut: VecDeque<EntryIndex>,
    /// The one that is cut now.
    reading: Option<Reading>,
    /// Entries whose files were cut, or are to be.
    cut: RunSet,
    /// How many bytes of them are.
    read: u64,
    index: Index,
    /// The block whose chunks come.
    recipe: Option<(BlockIndex, Recipe)>,
}

impl Moved {
    /// A block is what lies at its place.
    pub(super) fn on_same(&mut self, block: BlockIndex) {
        self.same.add(block.get());
    }

    /// A block is verified.
    pub(super) fn on_verified(&mut self, block: BlockIndex) {
        self.settle(Run {
            start: block.get(),
            end: block.get() + 1,
        });
    }

    /// Nothing waits for these blocks any more. What was asked of the sender it still answers.
    pub(super) fn settle(&mut self, run: Run) {
        self.differing.remove_run(run);
        self.open.remove_run(run);
    }

    /// How many blocks from the first that differ can be described now; a window is filled by half at least, as what lies
    /// at the ends of what is cut is not found.
    fn room(&self) -> u32 {
        let room = DESCRIBED_WINDOW.saturating_sub(self.open.len());
        if room >= DESCRIBED_WINDOW / 2 { room } else { 0 }
    }

    /// Adds a chunk's part that lies in `block`.
    fn add(
        &mut self,
        block: BlockIndex,
        within: u32,
        len: u32,
        origin: Option<Origin>,
    ) -> Result<(), Breach> {
        let (of, recipe) = self.recipe.get_or_insert((block, Recipe::default()));
        if *of != block || recipe.end() != within || !self.due.contains(block.get()) {
            return Err(Breach::Chunks);
        }
        recipe.push(len, origin);
        Ok(())
    }
}

impl<L: Layer> Sink<L> {
    /// A block is not what lies at its place.
    pub(super) fn on_differing(&mut self, block: BlockIndex, events: &mut Vec<StoreEvent>) {
        if self.at_stake.contains(block.get()) || self.manifest.has_more_files(block, chunks::MAX_FILES) {
            events.push(StoreEvent::Need(block));
        } else {
            self.moved.differing.add(block.get());
        }
    }

    /// The blocks to be described next, if it is time: all files they hold bytes of are compared.
    fn next_described(&self) -> Option<Run> {
        let start = self.moved.differing.first_member(0)?;
        let end = self
            .moved
            .differing
            .first_gap(start)
            .min(start + self.moved.room());
        let compared = self.base.blocks.first_member(0).unwrap_or(u32::MAX);
        let is_ready = |block: &u32| {
            let block = BlockIndex::new(*block);
            let end = block.start() + self.len_of(block) as u64;
            let last = self.manifest.segments(end - 1..end).next();
            last.is_none_or(|last| block_count(self.manifest.content_range(last.entry).end) <= compared)
        };
        let ready = (start..end).take_while(is_ready).count() as u32;
        (ready > 0).then_some(Run {
            start,
            end: start + ready,
        })
    }

    /// Does a step towards what may have moved. False if there is none to do now.
    pub(super) fn seek_moved(&mut self, events: &mut Vec<StoreEvent>) -> bool {
        if let Some(reading) = self.moved.reading.take() {
            self.moved.reading = self.cut_on(reading);
        } else if let Some(entry) = self.moved.uncut.pop_front() {
            self.moved.reading = self.begin_to_cut(entry);
        } else if let Some(run) = self.moved.next.take() {
            for block in run.start..run.end {
                if !self.verified.contains(block) {
                    self.moved.open.add(block);
                }
            }
            self.moved.differing.remove_run(run);
            self.moved.due.insert(run.start, run.end);
            events.push(StoreEvent::Differ(run));
        } else if let Some(run) = self.next_described() {
            for block in (run.start..run.end).map(BlockIndex::new) {
                for segment in self.manifest.block_segments(block, self.len_of(block)) {
                    let entry = segment.entry.get();
                    if self.moved.cut.add(entry) {
                        self.moved.uncut.push_back(segment.entry);
                    }
                }
            }
            self.moved.next = Some(run);
        } else {
            return false;
        }
        true
    }

    /// What cannot be read here is not found, and comes.
    fn begin_to_cut(&mut self, entry: EntryIndex) -> Option<Reading> {
        let most = self.total.unwrap_or(0).saturating_mul(MOST_READ);
        let len = self.base.tree.len(&self.layer, entry).ok().flatten()?;
        let len = len.min(most.saturating_sub(self.moved.read));
        if len <= MIN_CHUNK as u64 || self.moved.index.is_full() {
            return None;
        }
        self.moved.read += len;
        Some(Reading {
            entry,
            len,
            at: 0,
            start: 0,
            chunker: Chunker::default(),
        })
    }

    /// Cuts a file here up to the end of a block, or passes over what is equal at its place.
    fn cut_on(&mut self, mut reading: Reading) -> Option<Reading> {
        let place = self.manifest.content_range(reading.entry);
        let is_within = reading.at < place.end - place.start;
        let block = BlockIndex::containing(place.start + reading.at)?;
        let block_end = block.start() + BLOCK_LEN as u64;
        let end = if is_within {
            block_end.min(place.end)
        } else {
            block_end
        };
        let end = (end - place.start).min(reading.len);
        if is_within && self.moved.same.contains(block.get()) {
            reading.chunker = Chunker::default();
            (reading.at, reading.start) = (end, end);
        } else {
            let segment = Segment {
                entry: reading.entry,
                file_offset: reading.at,
                len: end - reading.at,
            };
            let bytes = &mut self.scratch[..segment.len as usize];
            if !matches!(self.base.tree.read(&self.layer, &segment, bytes), Ok(true)) {
                return None;
            }
            let is_end = end == reading.len;
            let Reading {
                entry,
                at,
                start,
                chunker,
                ..
            } = &mut reading;
            let mut keep = |chunk: Chunk| {
                let offset = *start;
                *start += u64::from(chunk.len);
                if chunk.len as usize > MIN_CHUNK {
                    self.moved.index.insert(
                        &chunk,
                        Origin {
                            entry: *entry,
                            offset,
                        },
                    );
                }
            };
            chunker.push(bytes, &mut keep);
            if is_end {
                chunker.finish().into_iter().for_each(keep);
            }
            *at = end;
        }
        (reading.at < reading.len && !self.moved.index.is_full()).then_some(reading)
    }

    /// The sender says what blocks are made of.
    pub(super) fn on_chunks(
        &mut self,
        list: &ChunkList,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let (total, mut at) = (self.total.unwrap_or(0), list.start);
        for chunk in &list.chunks {
            let end = at.checked_add(u64::from(chunk.len)).filter(|&end| end <= total);
            let end = end.ok_or(Breach::Chunks)?;
            let segment = self.manifest.segments(at..end).next().ok_or(Breach::Chunks)?;
            let file_end = self.manifest.content_range(segment.entry).end;
            if segment.len != end - at || !chunks::may_be(segment.len as usize, end, file_end) {
                return Err(Breach::Chunks.into());
            }
            let mut origin = self.find(chunk, &segment);
            while at < end {
                let block = BlockIndex::containing(at).ok_or(Breach::Chunks)?;
                let (within, size) = ((at - block.start()) as u32, self.len_of(block) as u32);
                let len = (size - within).min((end - at) as u32);
                self.moved.add(block, within, len, origin)?;
                if within + len == size {
                    self.complete(block, events)?;
                }
                at += u64::from(len);
                if let Some(origin) = &mut origin {
                    origin.offset += u64::from(len);
                }
            }
        }
        Ok(())
    }

    /// Where a chunk lies here. A short one is only looked for at its place.
    fn find(&mut self, chunk: &Chunk, segment: &Segment) -> Option<Origin> {
        if chunk.len as usize > MIN_CHUNK {
            return self.moved.index.find(chunk);
        }
        let bytes = &mut self.scratch[..chunk.len as usize];
        let is_read = matches!(self.base.tree.read(&self.layer, segment, bytes), Ok(true));
        let is_here = is_read && blake3::hash(bytes).as_bytes().first_chunk() == Some(&chunk.hash);
        is_here.then_some(Origin {
            entry: segment.entry,
            offset: segment.file_offset,
        })
    }

    /// All chunks of a block are known: takes what is here and asks for the rest.
    fn complete(&mut self, block: BlockIndex, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        self.moved.due.remove(block.get());
        let Some((_, recipe)) = self.moved.recipe.take() else {
            return Ok(());
        };
        if self.verified.contains(block.get()) {
            return Ok(());
        }
        let lacks = recipe.lacks();
        let is_found = lacks.len() <= MAX_PARTS
            && recipe.found().next().is_some()
            && recipe.found().all(|(run, origin)| {
                let segment = Segment {
                    entry: origin.entry,
                    file_offset: origin.offset,
                    len: u64::from(run.end - run.start),
                };
                let bytes = &mut self.scratch[run.start as usize..run.end as usize];
                matches!(self.base.tree.read(&self.layer, &segment, bytes), Ok(true))
            });
        if !is_found {
            events.push(StoreEvent::Need(block));
            return Ok(());
        }
        if lacks.is_empty() {
            let hash = hash_block(block, &self.scratch[..self.len_of(block)]);
            if self.announced.get(&block.get()) != Some(&hash.cv) {
                return self.strike(block, events);
            }
            self.write_scratch(block)?;
            return self.journal_and_confirm(block, &hash, events);
        }
        let spans = recipe.spans();
        for (start, end) in spans.iter() {
            self.write_scratch_part(block, start as usize..end as usize)?;
        }
        events.push(StoreEvent::Found { block, spans, lacks });
        Ok(())
    }
}
