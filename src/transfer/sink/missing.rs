//! Entries that do not arrive, as the sender says. Blocks that hold nothing else count as verified. These
//! files get no final name, and the others do.

use std::collections::BTreeMap;

use crate::transfer::BlockIndex;
use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, remove_all};
use crate::transfer::manifest::{EntryIndex, Kind};
use crate::transfer::ranges::Run;
use crate::transfer::sink::Sink;
use crate::transfer::sink::store::StoreEvent;

/// How often a block that holds bytes of a missing entry may differ from its hash. Bytes that were on their
/// way when the sender noticed are mixed with zeros, and the hash of the new bytes may arrive after them.
const MAX_STRIKES_MISSING: u8 = 8;

/// Removes the entries of `run` from `known`. The cost depends on their number, not on the size of the map.
fn remove_run<T>(known: &mut BTreeMap<u32, T>, run: Run) {
    while let Some((&block, _)) = known.range(run.start..run.end).next() {
        known.remove(&block);
    }
}

impl<L: Layer> Sink<L> {
    /// Takes the entries for missing: nothing waits for them from now on. Verified blocks stay verified.
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
            self.moved.forget(void);
            self.verified.insert(void.start, void.end);
            events.push(StoreEvent::Void(void));
        }
    }

    /// Whether a block may be announced a second time, because the sender replaced the bytes of a missing
    /// entry in it.
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

    /// Removes what has arrived of missing files, and counts these files as lost.
    pub(super) fn drop_missing(&mut self) -> Result<(), LocalError> {
        for index in self.missing.members().map(EntryIndex::new) {
            if self.manifest.entry(index).kind == Kind::Dir {
                continue;
            }
            let path = self.staging.data().join(self.manifest.path(index));
            remove_all(&self.layer, &path).doing(&self.layer, "remove", &path)?;
            self.losses.miss(index);
        }
        Ok(())
    }
}
