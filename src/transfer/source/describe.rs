//! Which chunks blocks are made of, said while they are read one after the other.

use crate::transfer::BlockIndex;
use crate::transfer::chunks::{ChunkList, Chunker};
use crate::transfer::manifest::Manifest;

#[derive(Default, Debug)]
pub(super) struct Describer {
    chunker: Chunker,
    /// Content offset of the chunk that has not ended.
    start: u64,
    /// Content offset after what was cut.
    at: u64,
}

impl Describer {
    /// Cuts block `block`, whose bytes are `bytes`: the chunks that end in it. The first may begin in the block before, if
    /// that was the last one that was cut. `last`: what is left over ends with this block.
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
