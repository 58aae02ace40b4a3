//! The files of a transfer: how they are listed, named, hashed, stored and resumed.
//!
//! The files of a transfer lie end to end in one 64-bit *content space*, which is cut into blocks of 1 MiB.
//! The rooms; each uses only those below it:
//!
//! - [`session`]: the two conversations, sans-IO: offers, hashes, what is needed and what is verified.
//! - [`source`]: the sender's disk: what is sent and its bytes.
//! - [`sink`]: the receiver's disk. It verifies a block once it is whole and keeps it for a resume. A file
//!   gets its final name only when everything is verified and on disk.
//! - [`manifest`]: the list of what is sent, and the offer made from it.
//! - [`fs`]: the receiver's only door to the file system, and the user's own key.
//! - [`chunks`]: cuts content into chunks, so that moved content is found again.
//! - [`names`], [`hash`], [`ranges`], [`error`], [`breach`]: what all of them need.
//!
//! Everything that comes from the peer is hostile until checked here: names by [`names`], lists by
//! [`manifest`], messages by [`session`].

pub(crate) mod breach;
pub(crate) mod chunks;
pub(crate) mod error;
pub(crate) mod fs;
pub(crate) mod hash;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod ranges;
pub(crate) mod session;
pub(crate) mod sink;
pub(crate) mod source;

/// Bytes in a block, the unit of hashing, verification and resume. A power of two of BLAKE3's 1 KiB chunks, so
/// block hashes are subtrees of the content's true BLAKE3 tree.
pub const BLOCK_LEN: usize = 1 << 20;

/// Longest content (4 PiB less a block): block numbers and the count of blocks then fit in 32 bits.
pub(crate) const MAX_CONTENT: u64 = BLOCK_LEN as u64 * u32::MAX as u64;

/// Most blocks an ordered transfer (a pipe at either end) may run ahead of what is verified: 16 MiB.
pub const ORDERED_WINDOW: u32 = 16;

/// Most blocks that are described to a receiver and not yet verified.
pub(crate) const DESCRIBED_WINDOW: u32 = 256;

/// The number of a block in the content space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockIndex(u32);

impl BlockIndex {
    /// Block number `index`.
    pub const fn new(index: u32) -> Self {
        BlockIndex(index)
    }

    /// The block that holds content byte `offset`; `None` beyond [`MAX_CONTENT`].
    pub fn containing(offset: u64) -> Option<Self> {
        u32::try_from(offset / BLOCK_LEN as u64).ok().map(BlockIndex)
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Content offset of the block's first byte.
    pub const fn start(self) -> u64 {
        self.0 as u64 * BLOCK_LEN as u64
    }

    /// Bytes of this block in a content of `total` bytes; zero beyond its end.
    pub fn len_in(self, total: u64) -> usize {
        total.saturating_sub(self.start()).min(BLOCK_LEN as u64) as usize
    }
}

/// Whether there are bytes and all of them are zero.
fn is_zero(bytes: &[u8]) -> bool {
    // All bytes are equal if each equals the next one. The system's comparison is faster than a loop here.
    bytes.first() == Some(&0) && bytes[1..] == bytes[..bytes.len() - 1]
}

/// How many blocks a content of `total` bytes has.
pub(crate) fn block_count(total: u64) -> u32 {
    u32::try_from(total.div_ceil(BLOCK_LEN as u64)).unwrap_or(u32::MAX)
}

/// The blocks that lie completely inside `range` of a content of `total` bytes, if there are any.
pub(crate) fn blocks_within(range: &std::ops::Range<u64>, total: u64) -> Option<ranges::Run> {
    let start = block_count(range.start);
    let end = if range.end == total {
        block_count(range.end)
    } else {
        // Within MAX_CONTENT the number fits in 32 bits.
        (range.end / BLOCK_LEN as u64) as u32
    };
    (start < end).then_some(ranges::Run { start, end })
}

/// How many bytes lie in `blocks` of a content of `total` bytes.
pub(crate) fn bytes_of(blocks: impl IntoIterator<Item = ranges::Run>, total: Option<u64>) -> u64 {
    let end = total.unwrap_or(u64::MAX);
    let start_of = |block| BlockIndex::new(block).start().min(end);
    blocks
        .into_iter()
        .map(|run| start_of(run.end) - start_of(run.start))
        .sum()
}
