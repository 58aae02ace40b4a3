//! What the sender says does not arrive: its blocks count, its files get no name, and the others do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::transfer::BlockIndex;
use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::Layer;
use crate::transfer::manifest::{EntryIndex, Kind};
use crate::transfer::ranges::Run;
use crate::transfer::sink::Sink;
use crate::transfer::sink::store::StoreEvent;

/// How often a block may not match its hash when something in it is missing: what was on its way when the sender noticed
/// is mixed, and the hash of what is sent instead may come after it.
const MAX_STRIKES_MISSING: u8 = 8;

/// Removes what is known of the blocks of `run`, and looks at no others.
fn remove_run<T>(known: &mut BTreeMap<u32, T>, run: Run) {
    while let Some((&block, _)) = known.range(run.start..run.end).next() {
        known.remove(&block);
    }
}

impl<L: Layer> Sink<L> {
    /// Nothing waits for these entries any more. What was verified stays so.
    pub(super) fn on_missing(&mut self, entries: &[EntryIndex], events: &mut Vec<StoreEvent>) {
        for index in entries {
            self.missing.add(index.get());
            let Some(void) = self.manifest.inner_blocks(*index) else {
                continue;
            };
            remove_run(&mut self.kept, void);
            remove_run(&mut self.announced, void);
            remove_run(&mut self.unconfirmed, void);
            self.base.blocks.remove_run(void);
            self.moved.settle(void);
            self.verified.insert(void.start, void.end);
            events.push(StoreEvent::Void(void));
        }
    }

    /// Whether a block may be announced again, as what is sent of it is no longer what it was.
    pub(super) fn may_change(&self, block: BlockIndex) -> bool {
        self.manifest.holds_any(block, &self.missing)
    }

    pub(super) fn max_strikes(&self, block: BlockIndex) -> u8 {
        if self.may_change(block) {
            MAX_STRIKES_MISSING
        } else {
            super::MAX_STRIKES
        }
    }

    /// Removes what has come of missing files. From here on they are lost to this disk.
    pub(super) fn drop_missing(&mut self) -> Result<(), LocalError> {
        for index in self.missing.members().map(EntryIndex::new) {
            if self.manifest.entry(index).kind == Kind::Dir {
                continue;
            }
            let path: PathBuf = self.staging.data().join(self.manifest.path(index));
            let failed = |e| LocalError::new("remove", self.layer.root().join(&path), e);
            if self.layer.info(&path).map_err(failed)?.is_some() {
                self.layer.remove_file(&path).map_err(failed)?;
            }
            self.losses.miss(index);
        }
        Ok(())
    }
}
