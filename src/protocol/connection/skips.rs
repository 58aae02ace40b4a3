//! Skips packet numbers, so that an ACK of packets that were not received is detected (RFC 9000, section
//! 21.4).

use zeroize::Zeroizing;

use crate::protocol::wire::PacketNumber;

/// On average, one number in this many is skipped. A receiver that acknowledges packets it did not receive is
/// detected within a megabyte. An honest receiver spends three bytes of an ACK on each skip.
const EVERY: u64 = 512;
/// The first skip is among this many numbers.
const FIRST: u64 = 64;

/// Decides which numbers to skip. Nobody else can predict them.
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
    /// `key` must serve only this purpose.
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

    /// Whether to skip `number`. The caller must ask for each number once, in order.
    pub(super) fn is_due(&mut self, number: PacketNumber) -> bool {
        if number != self.next {
            return false;
        }
        // Two numbers in a row are never skipped, and the next skip is never so far ahead that it proves
        // nothing.
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
