//! Short MACs: the first 16 bytes of a keyed hash.

/// A MAC on the wire.
pub(crate) type Mac = [u8; MAC_LEN];

/// Bytes of a MAC.
pub(crate) const MAC_LEN: usize = 16;

/// Shows that a holder of `key` made `bytes`.
pub(crate) fn mac(key: &[u8; 32], bytes: &[u8]) -> Mac {
    shortened(blake3::keyed_hash(key, bytes))
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
