//! Content that moved: the files here hold it at another place, because bytes before it were inserted or
//! removed.
//!
//! If a block differs from the bytes at its own place, the sender is asked for the chunks of the block, and
//! the files here are cut into chunks in the same way. Chunks that are found are written, and only the rest
//! is requested. Then the block's hash decides, as for bytes from the line. The work stays within what would
//! otherwise have crossed the line: each block is described once, and each old file is read once more,
//! without the blocks that are equal at their place.
//!
//! A peer learns from this which of its chunks are in the files that it names. For chunks shorter than the
//! least length it learns only whether they are at their place. So it can test each chunk that it lists once.

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

/// Old files are read up to this many times the size of what is sent.
const MOST_READ: u64 = 8;

/// A file here that is being cut into chunks.
#[derive(Debug)]
struct Reading {
    entry: EntryIndex,
    len: u64,
    at: u64,
    /// Where the current chunk begins in the file.
    start: u64,
    chunker: Chunker,
}

/// The state of the search for moved content.
#[derive(Default, Debug)]
pub(super) struct Moved {
    /// Blocks that are equal at their place.
    pub(super) same: RunSet,
    /// Blocks that differ at their place and are still to be described.
    differing: RunSet,
    /// Blocks whose description was requested and has not arrived.
    due: RunSet,
    /// Blocks whose description was requested and that are not verified yet.
    open: RunSet,
    /// The blocks to request next, once the files that have bytes in them are cut.
    next: Option<Run>,
    /// Files to cut before that request.
    uncut: VecDeque<EntryIndex>,
    /// The file that is being cut.
    reading: Option<Reading>,
    /// Entries whose files were cut or are waiting to be cut.
    cut: RunSet,
    /// Bytes of those files.
    read: u64,
    index: Index,
    /// The block whose chunks are arriving.
    recipe: Option<(BlockIndex, Recipe)>,
}

impl Moved {
    /// Drops blocks that are no longer needed. The sender still answers what it was asked.
    pub(super) fn forget(&mut self, run: Run) {
        self.differing.remove_run(run);
        self.open.remove_run(run);
    }

    /// How many differing blocks may be described now. Zero until half of the window is free: the chunks at
    /// the ends of a described range are not found, so ranges should be long.
    fn room(&self) -> u32 {
        let room = DESCRIBED_WINDOW.saturating_sub(self.open.len());
        if room >= DESCRIBED_WINDOW / 2 { room } else { 0 }
    }

    /// Adds the part of a chunk that lies in `block`.
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
    /// The block differs from the bytes at its place.
    pub(super) fn on_differing(&mut self, block: BlockIndex, events: &mut Vec<StoreEvent>) {
        let is_kept = self.kept.contains_key(&block.get());
        // What a pipe gave can be read once and no more.
        if is_kept || self.manifest.is_stream() || self.manifest.has_more_files(block, chunks::MAX_FILES) {
            events.push(StoreEvent::Need(block));
        } else {
            self.moved.differing.add(block.get());
        }
    }

    /// The blocks to describe next. `None` while files that have bytes in the first of them are still being
    /// compared.
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

    /// Does one step of the search. False if there is nothing to do now.
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

    /// Opens a file to cut it into chunks. Returns `None` if it cannot be read; its content then comes over
    /// the line.
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

    /// Cuts a file up to the end of the current block. Skips a block that is equal at its place.
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

    /// Takes the sender's description of blocks.
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

    /// Where a chunk lies here. A short chunk is looked for only at its own place.
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

    /// All chunks of a block are known. Writes those that are here and requests the rest.
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
        for span in spans.iter() {
            self.write_scratch_part(block, span.start as usize..span.end as usize)?;
        }
        events.push(StoreEvent::Found { block, spans, lacks });
        Ok(())
    }
}
