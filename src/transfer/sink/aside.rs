//! A place for parts of blocks that must not overwrite verified ones. Only a whole block can be verified.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use crate::transfer::fs::layer::Layer;
use crate::transfer::{BLOCK_LEN, BlockIndex};

/// A file with room for blocks. It is of use in one run only: whatever an earlier run left in it is ignored.
#[derive(Debug)]
pub(super) struct Aside<F> {
    path: PathBuf,
    file: Option<F>,
    places: HashMap<BlockIndex, u32>,
    free: Vec<u32>,
}

impl<F> Aside<F> {
    /// Does not create the file. It is created at `path` when it is needed first.
    pub(super) fn new(path: PathBuf) -> Self {
        Aside {
            path,
            file: None,
            places: HashMap::new(),
            free: Vec::new(),
        }
    }

    /// Stores a part of a block.
    pub(super) fn write<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        block: BlockIndex,
        within: u32,
        bytes: &[u8],
    ) -> io::Result<()> {
        let count = self.places.len() as u32;
        let place = *self
            .places
            .entry(block)
            .or_insert_with(|| self.free.pop().unwrap_or(count));
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                if layer.info(&self.path)?.is_some() {
                    layer.remove_file(&self.path)?;
                }
                layer.create_new(&self.path)?
            }
        };
        let offset = u64::from(place) * BLOCK_LEN as u64 + u64::from(within);
        let outcome = layer.write_at(&file, offset, bytes);
        self.file = Some(file);
        outcome
    }

    /// Returns a block whose parts are all here, and forgets it.
    pub(super) fn take<L: Layer<File = F>>(
        &mut self,
        layer: &L,
        block: BlockIndex,
        out: &mut [u8],
    ) -> io::Result<bool> {
        let (Some(place), Some(file)) = (self.places.remove(&block), &self.file) else {
            return Ok(false);
        };
        self.free.push(place);
        layer.read_at(file, u64::from(place) * BLOCK_LEN as u64, out)?;
        Ok(true)
    }

    /// Closes the file once nothing in it is needed. Some systems do not remove a directory while a file in
    /// it is open.
    pub(super) fn close(&mut self) {
        self.file = None;
    }
}
