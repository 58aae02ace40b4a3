//! Packet numbers that are left out, so that an ACK of what was not received shows (RFC 9000, section 21.4).

use crate::protocol::wire::PacketNumber;
use zeroize::Zeroizing;

/// One number of so many is left out, on average: a receiver that acknowledges what it did not receive is found out
/// within a megabyte, and an honest one spends three bytes of an ACK.
const EVERY: u64 = 512;
/// The first one is left out among so many.
const FIRST: u64 = 64;

/// Which numbers are left out, known to nobody else.
pub(super) struct Skips {
    key: Zeroizing<[u8; 32]>,
    next: PacketNumber,
}

impl std::fmt::Debug for Skips {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Skips")
    }
}

impl Skips {
    /// `key` is for this alone.
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let mut skips = Skips {
            key,
            next: PacketNumber::default(),
        };
        skips.next = PacketNumber::new(1 + skips.draw() % FIRST);
        skips
    }

    fn draw(&self) -> u64 {
        let hash = blake3::keyed_hash(&self.key, &self.next.value().to_be_bytes());
        u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("8 of 32 bytes"))
    }

    /// Whether `number` is to be left out. Ask for each number once, in order.
    pub(super) fn is_due(&mut self, number: PacketNumber) -> bool {
        if number != self.next {
            return false;
        }
        // Never two in a row, and none so far ahead that it could not be checked.
        self.next = PacketNumber::new(number.value() + 2 + self.draw() % (2 * EVERY));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(key: u8, of: u64) -> Vec<u64> {
        let mut skips = Skips::new([key; 32].into());
        (0..of).filter(|n| skips.is_due(PacketNumber::new(*n))).collect()
    }

    #[test]
    fn numbers_are_left_out_now_and_then_and_each_key_has_its_own() {
        let (one, other) = (skipped(1, 1 << 20), skipped(2, 1 << 20));
        assert!((1900..2200).contains(&one.len()), "{}", one.len());
        assert!(
            one[0] <= FIRST
                && one
                    .windows(2)
                    .all(|w| w[1] > w[0] + 1 && w[1] <= w[0] + 2 * EVERY + 1)
        );
        assert!(one.iter().filter(|n| other.contains(n)).count() < 30);
    }
}
