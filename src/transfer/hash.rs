//! Block hashes and the root over them.
//!
//! A block's hash is its chaining value in the BLAKE3 tree of the whole content, so merging the hashes gives
//! what `b3sum` prints for the content. A content of one block has no parent to merge: its root is computed
//! in another way. So the hash of block 0 also carries the root that a content of this block alone would
//! have.

use std::collections::BTreeMap;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::transfer::{BLOCK_LEN, BlockIndex};

/// The chaining value of one block.
pub(crate) type Cv = [u8; 32];

/// The BLAKE3 hash of a whole content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Root(pub [u8; 32]);

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The result of hashing one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHash {
    /// The block's chaining value.
    pub cv: Cv,
    /// For block 0: the root of a content that consists of this block alone.
    pub alone: Option<Root>,
}

/// Hashes block `index`, whose bytes are `data` (1 MiB, or less for the last; never empty).
pub fn hash_block(index: BlockIndex, data: &[u8]) -> BlockHash {
    debug_assert!(!data.is_empty() && data.len() <= BLOCK_LEN);
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index.start()).update(data);
    BlockHash {
        cv: hasher.finalize_non_root(),
        alone: (index.get() == 0).then(|| Root(*hasher.finalize().as_bytes())),
    }
}

/// Merges block hashes into the root. The hashes may arrive in any order. Holds O(log n) values, and those
/// that arrived before their turn.
#[derive(Clone, Default, Debug)]
pub struct RootBuilder {
    /// One value for each set bit of `merged`, largest subtree first.
    stack: Vec<Cv>,
    merged: u32,
    early: BTreeMap<u32, Cv>,
    alone: Option<Root>,
}

impl Root {
    /// Stands for the root of a content that is not complete.
    pub(crate) const NONE: Root = Root([0; 32]);
}

impl RootBuilder {
    /// Adds a block's hash. Ignores a block that was added before.
    pub fn insert(&mut self, index: BlockIndex, hash: &BlockHash) {
        if index.get() == 0 && hash.alone.is_some() {
            self.alone = hash.alone;
        }
        if index.get() != self.merged {
            if index.get() > self.merged {
                self.early.insert(index.get(), hash.cv);
            }
            return;
        }
        self.push(hash.cv);
        while let Some(cv) = self.early.remove(&self.merged) {
            self.push(cv);
        }
    }

    fn push(&mut self, cv: Cv) {
        // A merge waits until another block follows: the very last merge makes the root and is computed in
        // another way.
        while self.stack.len() > self.merged.count_ones() as usize {
            let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) else {
                break;
            };
            self.stack
                .push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
        self.stack.push(cv);
        self.merged += 1;
    }

    /// The root of a content of `blocks` blocks; `None` while some are missing.
    pub fn root(&self, blocks: u32) -> Option<Root> {
        if self.merged != blocks {
            return None;
        }
        match blocks {
            0 => Some(Root(*blake3::hash(&[]).as_bytes())),
            1 => self.alone,
            _ => {
                let mut stack = self.stack.clone();
                let mut right = stack.pop()?;
                while let Some(left) = stack.pop() {
                    if stack.is_empty() {
                        return Some(Root(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()));
                    }
                    right = merge_subtrees_non_root(&left, &right, Mode::Hash);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect()
    }

    fn hashes(data: &[u8]) -> Vec<BlockHash> {
        data.chunks(BLOCK_LEN)
            .enumerate()
            .map(|(i, c)| hash_block(BlockIndex::new(i as u32), c))
            .collect()
    }

    #[test]
    fn root_is_the_blake3_hash_of_the_content() {
        let data = content(11 * BLOCK_LEN + 5);
        let sizes = [
            0,
            1,
            1023,
            1024,
            1025,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            2 * BLOCK_LEN,
        ]
        .into_iter()
        .chain((3..11).map(|n| n * BLOCK_LEN))
        .chain((3..11).map(|n| n * BLOCK_LEN + 77));
        for size in sizes {
            let data = &data[..size];
            let mut root = RootBuilder::default();
            for (i, hash) in hashes(data).iter().enumerate() {
                root.insert(BlockIndex::new(i as u32), hash);
            }
            let expected = Root(*blake3::hash(data).as_bytes());
            assert_eq!(
                root.root(crate::transfer::block_count(size as u64)),
                Some(expected),
                "size {size}"
            );
        }
    }

    #[test]
    fn order_of_arrival_does_not_matter_and_repeats_are_ignored() {
        let data = content(7 * BLOCK_LEN + 9);
        let hashes = hashes(&data);
        let mut root = RootBuilder::default();
        for i in [5, 0, 7, 3, 0, 1, 2, 6, 3, 4] {
            root.insert(BlockIndex::new(i), &hashes[i as usize]);
        }
        assert_eq!(root.root(8), Some(Root(*blake3::hash(&data).as_bytes())));
        assert!(root.early.is_empty() && root.stack.len() <= 4);
    }

    #[test]
    fn missing_blocks_give_no_root() {
        let mut root = RootBuilder::default();
        root.insert(
            BlockIndex::new(1),
            &BlockHash {
                cv: [1; 32],
                alone: None,
            },
        );
        assert_eq!(root.root(2), None);
        assert_eq!(root.root(0).map(|r| r.to_string().len()), Some(64));
    }
}
