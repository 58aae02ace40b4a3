//! Large content passes through the system's memory and does not stay there.
//!
//! Left to itself, the system keeps what is read and written until memory is short. Then it takes memory from what other
//! programs use, and what waits to be written is written in the end, while everybody waits for the last sync.

/// Bytes of a file that may stay: smaller files are left to the system altogether.
pub(crate) const STAYS: u64 = 64 << 20;

/// Bytes that pass between two times of letting go: enough for a disk to write them in one go.
const STRIDE: u64 = 8 << 20;

/// How much of a file has passed.
#[derive(Default, Debug)]
pub(crate) struct Passage {
    passed: u64,
    let_go: u64,
}

impl Passage {
    /// So many bytes were read or written. Whether the system is to let go of what passed.
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
