//! How to build a block from bytes that are here: the chunks that the sender lists for it, and where each of
//! them was found.

use std::collections::HashMap;

use crate::protocol::ranges::RangeSet;
use crate::transfer::chunks::{Chunk, ChunkHash};
use crate::transfer::manifest::EntryIndex;
use crate::transfer::ranges::Run;

/// Most chunks that are remembered: 30 MiB of memory, 40 GiB of files. Further chunks are not found.
const MOST_CHUNKS: usize = 7 << 17;

/// The place of a chunk in the files here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// The file that has the name of this entry here.
    pub(super) entry: EntryIndex,
    pub(super) offset: u64,
}

/// The chunks of the files here, by their hashes.
#[derive(Default, Debug)]
pub(super) struct Index(HashMap<ChunkHash, Origin>);

impl Index {
    pub(super) fn insert(&mut self, chunk: &Chunk, origin: Origin) {
        if !self.is_full() {
            self.0.entry(chunk.hash).or_insert(origin);
        }
    }

    pub(super) fn find(&self, chunk: &Chunk) -> Option<Origin> {
        self.0.get(&chunk.hash).copied()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_CHUNKS
    }
}

/// A part of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Its range of bytes in the block.
    pub(super) run: Run,
    /// Where its bytes are here; `None` if they were not found.
    pub(super) origin: Option<Origin>,
}

/// The pieces of a block, in order, from its start.
#[derive(Default, Debug)]
pub(super) struct Recipe(Vec<Piece>);

impl Recipe {
    pub(super) fn end(&self) -> u32 {
        self.0.last().map_or(0, |piece| piece.run.end)
    }

    /// Adds the next chunk. Joins it to the last piece if it also follows it in the same file.
    pub(super) fn push(&mut self, len: u32, origin: Option<Origin>) {
        let start = self.end();
        let end = start + len;
        if let Some(Piece { run, origin: before }) = self.0.last_mut() {
            let goes_on = before.map(|before| Origin {
                offset: before.offset + u64::from(run.end - run.start),
                ..before
            });
            if goes_on == origin {
                run.end = end;
                return;
            }
        }
        self.0.push(Piece {
            run: Run { start, end },
            origin,
        });
    }

    /// The pieces that were found.
    pub(super) fn found(&self) -> impl Iterator<Item = (Run, Origin)> + '_ {
        self.0.iter().filter_map(|piece| Some((piece.run, piece.origin?)))
    }

    /// The ranges of the pieces that were found.
    pub(super) fn spans(&self) -> RangeSet {
        let mut spans = RangeSet::default();
        spans.extend(self.found().map(|(run, _)| run.start.into()..run.end.into()));
        spans
    }

    /// The ranges of the pieces that were not found.
    pub(super) fn lacks(&self) -> Vec<Run> {
        let lacking = self.0.iter().filter(|piece| piece.origin.is_none());
        lacking.map(|piece| piece.run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_go_on_are_one() {
        let at = |offset| {
            Some(Origin {
                entry: EntryIndex::new(3),
                offset,
            })
        };
        let mut recipe = Recipe::default();
        for (len, origin) in [
            (10, None),
            (5, None),
            (7, at(100)),
            (3, at(107)),
            (4, at(50)),
            (6, None),
        ] {
            recipe.push(len, origin);
        }
        let run = |start, end| Run { start, end };
        assert_eq!(recipe.lacks(), [run(0, 15), run(29, 35)]);
        let found: Vec<_> = recipe.found().map(|(run, origin)| (run, origin.offset)).collect();
        assert_eq!(found, [(run(15, 25), 100), (run(25, 29), 50)]);
        assert_eq!(recipe.spans().iter().collect::<Vec<_>>(), [&(15..29)]);
        assert_eq!(recipe.end(), 35);
    }
}
