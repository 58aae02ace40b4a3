//! Keeps large content from filling the system's page cache.
//!
//! Without this, the system keeps what was read and written until memory is short. Then it takes memory from
//! other programs. It also delays writes to the end, so everybody waits for the last sync.

/// Files of at most this many bytes are left in the page cache.
pub(crate) const STAYS: u64 = 64 << 20;

/// Bytes between two calls that release memory: enough for a disk to write in one go.
const STRIDE: u64 = 8 << 20;

/// How much of a file was read or written.
#[derive(Default, Debug)]
pub(crate) struct Passage {
    passed: u64,
    let_go: u64,
}

impl Passage {
    /// Counts bytes that were read or written. True if the system should now release the memory of what has
    /// passed.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        self.passed += bytes as u64;
        let due = self.passed >= STAYS && self.passed - self.let_go >= STRIDE;
        if due {
            self.let_go = self.passed;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_let_go_in_strides_once_it_is_more_than_may_stay() {
        let (mut passage, block) = (Passage::default(), 1 << 20);
        let due: Vec<u64> = (1..=100).filter(|_| passage.pass(block)).collect();
        assert_eq!(due, [64, 72, 80, 88, 96]);
    }
}
