//! Chunks whose ends are chosen by the bytes themselves. Content that has moved is cut at the same bytes as
//! before, so its hashes find it again.
//!
//! A gear hash as in FastCDC (Xia et al., 2016): each byte shifts the hash and adds a number from a table, so
//! the hash depends on the last 64 bytes only. The table is derived with BLAKE3, so that docs/protocol.md can
//! specify it in a line.

use std::sync::LazyLock;

use crate::transfer::BLOCK_LEN;

/// Least bytes in a chunk, unless the file or the block that is cut ends first. Shorter content is not looked
/// for at another place, so a peer cannot find out shorter content by guessing.
pub(crate) const MIN_CHUNK: usize = 16 << 10;

/// Most bytes in a chunk. It cuts one chunk in 1,800.
const MAX_CHUNK: usize = 256 << 10;

/// A chunk ends where this many top bits of the gear hash are zero. On average that is 32 KiB after the least
/// length.
const CUT_BITS: u32 = 15;

/// Most parts of one block that a receiver may ask for. More would only fill memory.
pub(crate) const MAX_PARTS: usize = 64;

/// Most files in a block that is described. With more files the list would cost more than it saves.
pub(crate) const MAX_FILES: usize = 1024;

/// First bytes of a chunk's BLAKE3 hash. They do not collide by accident. If somebody makes them collide, the
/// hash of the block exposes it.
pub(crate) type ChunkHash = [u8; 16];

/// A chunk, by its length and hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Bytes in it; never zero.
    pub len: u32,
    /// Its hash.
    pub hash: [u8; 16],
}

/// Chunks that follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkList {
    /// Content offset of the first chunk.
    pub start: u64,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// 256 numbers from the first bytes of keys that BLAKE3 derives.
static GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        let key = blake3::derive_key("p2pcopy v1 chunks", &[byte as u8]);
        let [a, b, c, d, e, f, g, h, ..] = key;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    })
});

/// Cuts a series of pieces of any size into chunks. Keeps only the state of the hashes, not the bytes.
#[derive(Default, Debug)]
pub struct Chunker {
    len: usize,
    gear: u64,
    hasher: blake3::Hasher,
}

impl Chunker {
    /// Takes the next bytes. Calls `each` for every chunk that ends in them.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Chunk)) {
        while !bytes.is_empty() {
            let (taken, ends) = self.scan(bytes);
            let (head, tail) = bytes.split_at(taken);
            self.hasher.update(head);
            self.len += taken;
            if ends {
                self.finish().into_iter().for_each(&mut each);
            }
            bytes = tail;
        }
    }

    /// Ends the current chunk whatever its length. `None` if it has no bytes.
    pub fn finish(&mut self) -> Option<Chunk> {
        let len = u32::try_from(std::mem::take(&mut self.len))
            .ok()
            .filter(|&len| len > 0)?;
        self.gear = 0;
        let hash = self.hasher.finalize();
        self.hasher.reset();
        hash.as_bytes().first_chunk().map(|&hash| Chunk { len, hash })
    }

    /// How many of `bytes` belong to this chunk, and whether it ends with them.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let skipped = MIN_CHUNK.saturating_sub(self.len).min(bytes.len());
        let room = (MAX_CHUNK - self.len).min(bytes.len());
        let (table, mut gear) = (&*GEAR, self.gear);
        for (at, &byte) in (skipped..).zip(&bytes[skipped..room]) {
            gear = (gear << 1).wrapping_add(table[usize::from(byte)]);
            if gear >> (64 - CUT_BITS) == 0 {
                return (at + 1, true);
            }
        }
        self.gear = gear;
        (room, self.len + room == MAX_CHUNK)
    }
}

/// Whether a chunk that ends at content offset `end` may have this length. A chunk shorter than [`MIN_CHUNK`]
/// must end where its file ends, or where a block ends, because whole blocks are cut.
pub(crate) fn may_be(len: usize, end: u64, file_end: u64) -> bool {
    let ends_early = end == file_end || end.is_multiple_of(BLOCK_LEN as u64);
    (1..=MAX_CHUNK).contains(&len) && (len > MIN_CHUNK || ends_early)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::protocol::rng::SplitMix64;

    fn random(seed: u64, len: usize) -> Vec<u8> {
        let mut rng = SplitMix64::new(seed);
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&rng.next_u64().to_le_bytes());
        }
        out.truncate(len);
        out
    }

    fn cut(bytes: &[u8], piece: usize) -> Vec<Chunk> {
        let (mut chunker, mut chunks) = (Chunker::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            chunker.push(piece, |chunk| chunks.push(chunk));
        }
        chunks.extend(chunker.finish());
        chunks
    }

    #[test]
    fn chunks_are_of_the_stated_sizes_and_do_not_depend_on_how_the_bytes_come() {
        let bytes = random(1, 20 << 20);
        let chunks = cut(&bytes, bytes.len());
        assert_eq!(chunks, cut(&bytes, 1000));
        assert_eq!(chunks.iter().map(|c| c.len as usize).sum::<usize>(), bytes.len());
        let mean = bytes.len() / chunks.len();
        assert!((40 << 10..58 << 10).contains(&mean), "{mean}");
        for chunk in &chunks[..chunks.len() - 1] {
            assert!(
                (MIN_CHUNK + 1..=MAX_CHUNK).contains(&(chunk.len as usize)),
                "{chunk:?}"
            );
        }
        let first = &bytes[..chunks[0].len as usize];
        assert_eq!(chunks[0].hash, blake3::hash(first).as_bytes()[..16]);
    }

    #[test]
    fn content_that_moved_is_cut_as_it_was() {
        let bytes = random(2, 20 << 20);
        let known: HashSet<ChunkHash> = cut(&bytes, 1 << 20).iter().map(|chunk| chunk.hash).collect();
        let moved = [
            [b"x", &bytes[..]].concat(),
            [&bytes[..7 << 20], b"inserted", &bytes[7 << 20..]].concat(),
            [&bytes[..5_000_001], &bytes[9_000_002..]].concat(),
            [&bytes[11_000_000..], &bytes[..11_000_000]].concat(),
        ];
        for moved in moved {
            let new = cut(&moved, 1 << 20);
            let unknown = new.iter().filter(|chunk| !known.contains(&chunk.hash));
            let unknown: usize = unknown.map(|chunk| chunk.len as usize).sum();
            assert!(unknown < 1 << 20, "{unknown}");
        }
    }

    #[test]
    fn bytes_without_change_make_chunks_of_the_longest_kind() {
        let chunks = cut(&vec![0; 1 << 20], 4096);
        assert!(
            chunks.iter().all(|chunk| chunk.len as usize == MAX_CHUNK),
            "{chunks:?}"
        );
        assert_eq!((cut(b"", 1), cut(b"a", 1).len()), (vec![], 1));
    }

    #[test]
    fn a_short_chunk_ends_its_file_or_a_block() {
        let block = BLOCK_LEN as u64;
        assert!(may_be(1, 100, 100) && may_be(1, block, 2 * block) && may_be(MIN_CHUNK + 1, 7_000, 9_000));
        assert!(!may_be(1, 100, 101) && !may_be(0, block, block) && !may_be(MAX_CHUNK + 1, block, block));
    }
}
