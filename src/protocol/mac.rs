//! Short MACs: the first 16 bytes of a keyed hash.

use std::time::Duration;

use super::Path;
use super::time::Time;

/// A MAC on the wire.
pub(crate) type Mac = [u8; MAC_LEN];

pub(crate) const MAC_LEN: usize = 16;

/// Shows that a holder of `key` made `bytes`.
pub(crate) fn mac(key: &[u8; 32], bytes: &[u8]) -> Mac {
    shortened(blake3::keyed_hash(key, bytes))
}

/// The MAC of a path in the span of time before `age` others: so its maker keeps no state for the path, and it does not
/// last.
pub(crate) fn of_path(key: &[u8; 32], path: Path, now: Time, span: Duration, age: u64) -> Mac {
    let number = (now.as_nanos() / span.as_nanos() as u64).wrapping_sub(age);
    mac(key, &[number.to_be_bytes().as_slice(), &path.to_bytes()].concat())
}

/// The part of a hash that is sent.
pub(crate) fn shortened(hash: blake3::Hash) -> Mac {
    *hash.as_bytes().first_chunk().expect("16 of 32 bytes")
}

/// Compares in constant time, as two values of blake3::Hash are compared.
pub(crate) fn equal(a: &Mac, b: &Mac) -> bool {
    let padded = |mac: &Mac| {
        let mut bytes = [0; 32];
        bytes[..MAC_LEN].copy_from_slice(mac);
        blake3::Hash::from_bytes(bytes)
    };
    padded(a) == padded(b)
}
