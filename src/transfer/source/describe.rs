//! Cuts consecutive blocks into chunks while they are read.

use crate::transfer::BlockIndex;
use crate::transfer::chunks::{ChunkList, Chunker};
use crate::transfer::manifest::Manifest;

#[derive(Default, Debug)]
pub(super) struct Describer {
    chunker: Chunker,
    /// Content offset of the current chunk.
    start: u64,
    /// Content offset after the last byte that was cut.
    at: u64,
}

impl Describer {
    /// Cuts block `block`, whose bytes are `bytes`, and returns the chunks that end in it. The first chunk
    /// may begin in the block before, if that block was cut last. `last`: the remaining bytes become a chunk
    /// that ends with this block.
    pub(super) fn cut(
        &mut self,
        manifest: &Manifest,
        block: BlockIndex,
        bytes: &[u8],
        last: bool,
    ) -> ChunkList {
        if self.at != block.start() {
            *self = Describer {
                start: block.start(),
                at: block.start(),
                ..Describer::default()
            };
        }
        let (mut chunks, mut rest) = (Vec::new(), bytes);
        for segment in manifest.block_segments(block, bytes.len()) {
            let (part, tail) = rest.split_at(segment.len as usize);
            self.chunker.push(part, |chunk| chunks.push(chunk));
            if segment.file_offset + segment.len == manifest.entry(segment.entry).size {
                chunks.extend(self.chunker.finish());
            }
            rest = tail;
        }
        if last {
            chunks.extend(self.chunker.finish());
        }
        self.at += bytes.len() as u64;
        let start = self.start;
        self.start += chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
        ChunkList { start, chunks }
    }
}
