//! Writes and copies bytes so that zeros become holes, if the file system has holes.

use std::io;

use crate::transfer::fs::LEAST_HOLE;
use crate::transfer::fs::layer::{Layer, read_pieces};
use crate::transfer::is_zero;

/// Copies the first `len` bytes of a file.
pub(super) fn copy<L: Layer>(layer: &L, from: &L::File, to: &L::File, len: u64) -> io::Result<()> {
    read_pieces(layer, from, len, |at, piece| store(layer, to, at, piece))
}

/// Writes `bytes`.
pub(super) fn store<L: Layer>(layer: &L, file: &L::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let len = bytes.len() as u64;
    if len >= LEAST_HOLE && is_zero(bytes) && layer.punch(file, offset, len)? {
        return Ok(());
    }
    layer.write_at(file, offset, bytes)
}
