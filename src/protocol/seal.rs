//! Sealing and opening packets in place.
//!
//! The nonce is the packet number XORed with a secret mask of the direction, so a nonce is never used twice.
//! Keys change every 2^22 packets. The generation of the key is the upper part of the packet number, so there
//! is nothing to negotiate and nothing to lose. The header's key-phase bit repeats the lowest bit of the
//! generation, for readers of traces.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::wire::{HEADER_LEN, Header, PacketNumber, TAG_LEN};

/// Packets sealed with one key, as a power of two: far below the limits of both AEADs (RFC 9001, section
/// 6.6).
const GENERATION_BITS: u32 = 22;
/// Forgeries after which the connection must end (RFC 9001, section 6.6: 2^36 for ChaCha20-Poly1305, more for
/// AES-GCM).
pub(crate) const FORGERY_LIMIT: u64 = 1 << 36;

pub(crate) use super::handshake::Cipher;

/// The secret of one direction and generation, and the key made from it.
struct Generation {
    index: u64,
    secret: Zeroizing<[u8; 32]>,
    key: LessSafeKey,
    mask: [u8; 12],
}

impl Generation {
    fn new(cipher: Cipher, index: u64, secret: Zeroizing<[u8; 32]>) -> Self {
        let key = Zeroizing::new(blake3::derive_key("p2pcopy v1 packet key", &*secret));
        let mask = blake3::derive_key("p2pcopy v1 nonce mask", &*secret);
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, &*key).expect("both AEADs take 32-byte keys");
        Generation {
            index,
            secret,
            key: LessSafeKey::new(key),
            mask: mask[..12].try_into().expect("12 of 32 bytes"),
        }
    }

    fn next(&self, cipher: Cipher) -> Self {
        let secret = Zeroizing::new(blake3::derive_key("p2pcopy v1 key update", &*self.secret));
        Generation::new(cipher, self.index + 1, secret)
    }

    fn nonce(&self, number: PacketNumber) -> Nonce {
        let mut nonce = self.mask;
        for (n, b) in nonce[4..].iter_mut().zip(number.value().to_be_bytes()) {
            *n ^= b;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

const fn generation_of(number: PacketNumber) -> u64 {
    number.value() >> GENERATION_BITS
}

/// Seals the packets that this end sends.
pub struct Sealer {
    cipher: Cipher,
    connection_id: u32,
    current: Generation,
    next_number: PacketNumber,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({:?}, next {})", self.cipher, self.next_number.value())
    }
}

impl Sealer {
    /// Seals with `secret`, for the peer's `connection_id`.
    pub fn new(cipher: Cipher, secret: Zeroizing<[u8; 32]>, connection_id: u32) -> Self {
        let current = Generation::new(cipher, 0, secret);
        Sealer {
            cipher,
            connection_id,
            current,
            next_number: PacketNumber::default(),
        }
    }

    /// The number the next packet will have.
    pub(crate) const fn next_number(&self) -> PacketNumber {
        self.next_number
    }

    /// Skips the next number.
    pub(crate) const fn skip(&mut self) {
        self.next_number = self.next_number.next();
    }

    /// Seals `packet` in place: room for the header, plaintext, room for the tag. Returns its packet number.
    pub fn seal(&mut self, packet: &mut [u8]) -> PacketNumber {
        let number = self.next_number;
        self.next_number = number.next();
        if generation_of(number) != self.current.index {
            self.current = self.current.next(self.cipher);
        }
        let header = Header {
            key_phase: self.current.index & 1 == 1,
            connection_id: self.connection_id,
            number,
        };
        header.encode(packet);
        let (clear, rest) = packet.split_at_mut(HEADER_LEN);
        let (plaintext, tag_room) = rest.split_at_mut(rest.len() - TAG_LEN);
        let tag = self
            .current
            .key
            .seal_in_place_separate_tag(self.current.nonce(number), Aad::from(&*clear), plaintext)
            .expect("a datagram is far below the AEAD's length limit");
        tag_room.copy_from_slice(tag.as_ref());
        number
    }
}

/// Opens the packets that the peer sends.
pub struct Opener {
    cipher: Cipher,
    /// The generation before the newest authenticated one, the newest one, and the next one.
    generations: [Option<Generation>; 3],
    forgeries: u64,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener({:?}, {} forgeries)", self.cipher, self.forgeries)
    }
}

impl Opener {
    /// Opens with the peer's `secret`.
    pub fn new(cipher: Cipher, secret: Zeroizing<[u8; 32]>) -> Self {
        let current = Generation::new(cipher, 0, secret);
        let next = current.next(cipher);
        Opener {
            cipher,
            generations: [None, Some(current), Some(next)],
            forgeries: 0,
        }
    }

    /// The number of packets that did not authenticate.
    pub(crate) const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Decrypts a sealed packet in place. Returns its plaintext, or `None` if the peer did not make it; that
    /// is counted.
    pub fn open<'a>(&mut self, header: &Header, packet: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let wanted = generation_of(header.number);
        let place = self
            .generations
            .iter()
            .position(|g| g.as_ref().is_some_and(|g| g.index == wanted));
        let opened = place.and_then(|place| {
            let generation = self.generations[place].as_ref()?;
            let (clear, sealed) = packet.split_at_mut(HEADER_LEN);
            let nonce = generation.nonce(header.number);
            let len = generation
                .key
                .open_in_place(nonce, Aad::from(&*clear), sealed)
                .ok()?
                .len();
            Some((place, len))
        });
        let Some((place, len)) = opened else {
            self.forgeries += 1;
            return None;
        };
        if place == 2 {
            // Only an authenticated packet may advance the keys.
            self.generations.rotate_left(1);
            self.generations[2] = self.generations[1].as_ref().map(|g| g.next(self.cipher));
        }
        Some(&mut packet[HEADER_LEN..HEADER_LEN + len])
    }
}

/// The packet numbers seen, so that each is accepted once.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    bits: Box<[u64; WINDOW_WORDS]>,
    /// The highest accepted number plus one.
    end: u64,
}

/// The window holds far more packets than a path reorders: 50 ms of jitter at 1 Gbit/s is 4,300 packets.
const WINDOW_WORDS: usize = 512;
const WINDOW: u64 = WINDOW_WORDS as u64 * 64;

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow {
            bits: Box::new([0; WINDOW_WORDS]),
            end: 0,
        }
    }
}

impl ReplayWindow {
    const fn place(number: u64) -> (usize, u64) {
        ((number / 64) as usize % WINDOW_WORDS, 1 << (number % 64))
    }

    /// Whether `number` may be new: it is inside the window and was not accepted.
    pub(crate) fn is_fresh(&self, number: PacketNumber) -> bool {
        let n = number.value();
        let (word, bit) = Self::place(n);
        n >= self.end || (n + WINDOW - 64 >= self.end && self.bits[word] & bit == 0)
    }

    /// Accepts `number`. The packet must be authenticated, and the number [`is_fresh`](Self::is_fresh).
    pub(crate) fn take(&mut self, number: PacketNumber) {
        let n = number.value();
        if n >= self.end {
            // Clears the words over which the window moves.
            let first = self.end.div_ceil(64);
            for word in first..=(n / 64).min(first + WINDOW_WORDS as u64) {
                self.bits[word as usize % WINDOW_WORDS] = 0;
            }
            self.end = n + 1;
        }
        let (word, bit) = Self::place(n);
        self.bits[word] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn packet(plaintext: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_LEN];
        packet.extend_from_slice(plaintext);
        packet.extend_from_slice(&[0; TAG_LEN]);
        packet
    }

    #[test]
    fn what_was_sealed_opens_and_what_was_touched_does_not() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let (mut sealer, mut opener) = (
                Sealer::new(cipher, [7; 32].into(), 9),
                Opener::new(cipher, [7; 32].into()),
            );
            let mut sealed = packet(b"vm.img");
            sealer.seal(&mut sealed);
            for i in 0..sealed.len() {
                let mut touched = sealed.clone();
                touched[i] ^= 1;
                let header = Header::decode(&touched);
                assert!(
                    header.is_none_or(|h| opener.open(&h, &mut touched).is_none())
                        || i == 0 && touched[0] == 0x51
                );
            }
            let header = Header::decode(&sealed).expect("a header");
            assert_eq!(opener.open(&header, &mut sealed).expect("opens"), b"vm.img");
        }
    }

    #[test]
    fn keys_move_on_with_the_numbers_and_late_packets_still_open() {
        let (mut sealer, mut opener) = (
            Sealer::new(Cipher::Aes256Gcm, [1; 32].into(), 0),
            Opener::new(Cipher::Aes256Gcm, [1; 32].into()),
        );
        sealer.next_number = PacketNumber::new((1 << GENERATION_BITS) - 2);
        let sealed: Vec<_> = (0..4)
            .map(|_| packet(b"x"))
            .map(|mut p| {
                sealer.seal(&mut p);
                p
            })
            .collect();
        assert_eq!(sealed[1][0] & 1, 0);
        assert_eq!(sealed[2][0] & 1, 1);
        for i in [2, 0, 3, 1] {
            let mut p = sealed[i].clone();
            let header = Header::decode(&p).expect("a header");
            assert!(opener.open(&header, &mut p).is_some(), "packet {i}");
        }
        assert_eq!(opener.forgeries(), 0);
    }

    #[test]
    fn a_number_far_ahead_is_refused_without_deriving_keys() {
        let mut opener = Opener::new(Cipher::Aes256Gcm, [1; 32].into());
        let mut p = packet(b"x");
        Header {
            key_phase: false,
            connection_id: 0,
            number: PacketNumber::new(u64::MAX),
        }
        .encode(&mut p);
        let header = Header::decode(&p).expect("a header");
        assert!(opener.open(&header, &mut p).is_none());
        assert_eq!(opener.forgeries(), 1);
    }

    #[test]
    fn each_number_has_a_nonce_of_its_own() {
        for secret in 0..8 {
            let generation = Generation::new(Cipher::Aes256Gcm, 0, Zeroizing::new([secret; 32]));
            let numbers = (0..64).flat_map(|bit| [0, 1, 2].map(|more| (1_u64 << bit).wrapping_add(more)));
            let numbers: BTreeSet<u64> = numbers.filter(|n| *n < 1 << 62).collect();
            let nonces = numbers
                .iter()
                .map(|n| *generation.nonce(PacketNumber::new(*n)).as_ref());
            assert_eq!(nonces.collect::<BTreeSet<[u8; 12]>>().len(), numbers.len());
        }
    }

    proptest! {
        #[test]
        fn replay_window_takes_each_number_once(steps in proptest::collection::vec(0u64..40_000, 1..200)) {
            let (mut window, mut taken) = (ReplayWindow::default(), BTreeSet::new());
            let mut base = 0;
            for step in steps {
                base += step / 3;
                let n = base + step % 977;
                let fresh = window.is_fresh(PacketNumber::new(n));
                let recent = taken.last().is_none_or(|max| n + 8192 > *max);
                prop_assert!(!(fresh && taken.contains(&n)), "taken twice: {}", n);
                prop_assert!(fresh || !recent || taken.contains(&n), "refused for nothing: {}", n);
                if fresh {
                    window.take(PacketNumber::new(n));
                    taken.insert(n);
                }
                let again = taken.iter().find(|n| window.is_fresh(PacketNumber::new(**n)));
                prop_assert!(again.is_none(), "may come again: {:?}", again);
                let behind = taken.last().and_then(|max| max.checked_sub(WINDOW));
                prop_assert!(behind.is_none_or(|n| !window.is_fresh(PacketNumber::new(n))), "{:?}", behind);
            }
        }
    }
}
