//! The end of a receive. Everything is verified, and only the final names are missing.

use super::Sink;
use crate::transfer::block_count;
use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::layer::{Doing, Layer};
use crate::transfer::hash::Root;
use crate::transfer::manifest::EntryIndex;
use crate::transfer::sink::base::Compare;
use crate::transfer::sink::journal::{Onto, Record};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::place::{self, Placed, Rule};
use crate::transfer::sink::store::StoreEvent;

impl<L: Layer> Sink<L> {
    pub(super) fn finish(&mut self, root: Root, events: &mut Vec<StoreEvent>) -> Result<(), TransferError> {
        let Some(total) = self.total else {
            return Err(Breach::DoneTooEarly.into());
        };
        let root = if self.missing.is_empty() {
            match self.root.root(block_count(total)) {
                Some(own) if own == root => root,
                Some(_) => return Err(Breach::Root.into()),
                None => return Err(Breach::DoneTooEarly.into()),
            }
        } else {
            Root::NONE
        };
        // This happens only if the sender has left out a block that differed.
        while self.copy_one(events)? {}
        if self.manifest.is_stream() {
            self.tree.set_stream_len(&self.layer, total)?;
        }
        self.tree.close();
        self.base.tree.close();
        self.aside.close();
        self.drop_missing()?;
        let left = |index| !self.losses.has_lost(index) && (self.base.equal || self.stays(index));
        let left: Vec<EntryIndex> = self
            .manifest
            .iter()
            .map(|(index, _)| index)
            .filter(|&i| left(i))
            .collect();
        let mut placed = if self.base.equal {
            // Some systems do not remove a directory while a file in it is open.
            drop(self.journal.take());
            let removed = self.staging.remove(&self.layer);
            removed.doing(&self.layer, "remove", self.staging.dir())?;
            Vec::new()
        } else {
            self.pass_over_what_stays();
            self.seal(root)?;
            let rule = Rule::new(self.conflicts).adding_to(&self.earlier.came);
            let list = Some(&*self.manifest);
            let placed = place::place_all(&self.layer, &self.staging, rule, list, &mut self.losses)?;
            self.losses.tell_crossing(&self.manifest);
            placed
        };
        if let Compare::Finals { refresh: true } = self.base.compare {
            let stale = left
                .iter()
                .copied()
                .filter(|index| self.base.stale.contains(index.get()));
            place::refresh(&self.layer, &self.manifest, stale, &mut self.losses)?;
        }
        let top = left
            .into_iter()
            .filter(|&index| self.manifest.entry(index).parent.is_none());
        placed.extend(top.map(|index| Placed {
            name: self.manifest.path(index),
            final_name: self.manifest.path(index),
            already_there: true,
        }));
        self.keep_note(&placed)?;
        let now = self.layer.root_now();
        if now.as_deref() != Some(self.layer.root()) {
            self.losses.tell(Remark::OutputMoved(now));
        }
        events.push(StoreEvent::Finished { root, placed });
        Ok(())
    }

    /// Finishes the verified files and seals the journal. After this only the final names are missing.
    fn seal(&mut self, root: Root) -> Result<(), LocalError> {
        let done = |index| self.tree.is_finished(index);
        place::finish_staged(&self.layer, &self.staging, &self.manifest, done, &mut self.losses)?;
        place::check_listing(&self.layer, &self.staging, &self.manifest, &self.losses)?;
        self.append(&Record::Sealed {
            onto: if self.earlier.came.is_empty() {
                Onto::Nothing
            } else {
                Onto::WhatCame
            },
            conflicts: self.conflicts,
            root,
        })?;
        let synced = self
            .journal
            .take()
            .map_or(Ok(()), |journal| journal.sync(&self.layer));
        synced.doing(&self.layer, "sync", self.staging.journal())
    }
}
