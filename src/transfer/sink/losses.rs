//! What this disk does not keep of what is sent. It is told once and fails nothing: the content is what matters.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::transfer::fs::layer::Layer;
use crate::transfer::manifest::{Entry, EntryIndex, Manifest};

/// Something the user should know of how the disk took what was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// Permission bits are not kept.
    ModesLost,
    /// Modification times are not kept.
    TimesLost,
    /// So many links cannot be made.
    LinksLost(u32),
    /// What was one file under several names becomes several files.
    HardLinksLost,
    /// Not all extended attributes are kept.
    AttributesLost,
    /// Entries whose names the disk refuses: their paths as they were sent, and as they are stored.
    Renamed(Vec<(PathBuf, PathBuf)>),
    /// Something of another kind lies where this was to be: the path that was sent, and where it is instead.
    Beside(PathBuf, PathBuf),
}

/// What was lost so far, and what of that is yet to be told.
#[derive(Default, Debug)]
pub(crate) struct Losses {
    modes: bool,
    times: bool,
    hard_links: bool,
    attributes: bool,
    holes: bool,
    /// Whether something was copied into another file system.
    crossed: bool,
    /// Links that cannot be made, and files that did not arrive.
    lost: BTreeSet<EntryIndex>,
    remarks: VecDeque<Remark>,
}

/// Whether the disk did it; `false` if it does no such thing.
pub(crate) fn kept(outcome: io::Result<()>) -> io::Result<bool> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match outcome {
        Ok(()) => Ok(true),
        // EPERM and EACCES; EOPNOTSUPP and ENOSYS; EINVAL.
        Err(e) if matches!(e.kind(), PermissionDenied | Unsupported | InvalidInput) => Ok(false),
        Err(e) => Err(e),
    }
}

impl Losses {
    /// Gives an open file or directory its time and permissions, as far as the disk takes them.
    pub(crate) fn finish<L: Layer>(
        &mut self,
        layer: &L,
        file: &L::File,
        mode: u16,
        time: Option<i64>,
    ) -> io::Result<()> {
        if let Some(time) = time
            && !kept(layer.set_modified(file, time))?
        {
            self.lose_times();
        }
        // Last: some systems change nothing of what is read-only.
        if !kept(layer.set_mode(file, mode))? {
            self.lose_modes();
        }
        Ok(())
    }

    /// The same for an entry of the list, with what else it has, and a mode that may be other than its own.
    pub(crate) fn finish_entry<L: Layer>(
        &mut self,
        layer: &L,
        file: &L::File,
        entry: &Entry<'_>,
        mode: u16,
    ) -> io::Result<()> {
        // Before the mode, which bounds what an access control list gives.
        for (name, value) in entry.attributes() {
            self.set_attribute(layer, file, name, value)?;
        }
        self.finish(layer, file, mode, entry.time())
    }

    /// Sets an extended attribute, as far as the disk takes it.
    pub(crate) fn set_attribute<L: Layer>(
        &mut self,
        layer: &L,
        file: &L::File,
        name: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        use io::ErrorKind::{ArgumentListTooLong, QuotaExceeded, StorageFull};
        let outcome = match layer.set_attribute(file, name, value) {
            // ext4 says that it is full (ENOSPC), or E2BIG, when it has no room for another one of this file.
            Err(e) if matches!(e.kind(), ArgumentListTooLong | QuotaExceeded | StorageFull) => Ok(false),
            other => kept(other),
        };
        if !outcome? {
            self.lose_attributes();
        }
        Ok(())
    }

    fn lose_attributes(&mut self) {
        if !std::mem::replace(&mut self.attributes, true) {
            self.remarks.push_back(Remark::AttributesLost);
        }
    }

    pub(crate) fn lose_modes(&mut self) {
        if !std::mem::replace(&mut self.modes, true) {
            self.remarks.push_back(Remark::ModesLost);
        }
    }

    pub(crate) fn lose_times(&mut self) {
        if !std::mem::replace(&mut self.times, true) {
            self.remarks.push_back(Remark::TimesLost);
        }
    }

    pub(crate) fn lose_hard_links(&mut self) {
        if !std::mem::replace(&mut self.hard_links, true) {
            self.remarks.push_back(Remark::HardLinksLost);
        }
    }

    /// A file is copied into another file system, without its other names and its attributes.
    pub(crate) fn cross(&mut self) {
        self.crossed = true;
    }

    /// Of a list that has been put in place: tells what did not come along into another file system.
    pub(crate) fn tell_crossing(&mut self, list: &Manifest) {
        if self.crossed && !list.hard_links().is_empty() {
            self.lose_hard_links();
        }
        if self.crossed && list.with_attributes() > 0 {
            self.lose_attributes();
        }
    }

    /// Zeros are written where holes were: nobody sees it but in the room that they take.
    pub(crate) fn lose_holes(&mut self) {
        self.holes = true;
    }

    /// Whether there are no holes here.
    pub(crate) fn has_lost_holes(&self) -> bool {
        self.holes
    }

    /// Whether hard links are made as copies.
    pub(crate) fn has_lost_hard_links(&self) -> bool {
        self.hard_links
    }

    /// None of these links can be made.
    pub(crate) fn lose_links(&mut self, links: impl IntoIterator<Item = EntryIndex>) {
        let before = self.lost.len();
        self.lost.extend(links);
        let more = self.lost.len() - before;
        if more > 0 {
            self.remarks.push_back(Remark::LinksLost(more as u32));
        }
    }

    /// This file did not arrive.
    pub(crate) fn miss(&mut self, file: EntryIndex) {
        self.lost.insert(file);
    }

    /// These entries get other names.
    pub(crate) fn rename(&mut self, names: impl Iterator<Item = (PathBuf, PathBuf)>) {
        self.remarks.push_back(Remark::Renamed(names.collect()));
    }

    /// Something else is in the way.
    pub(crate) fn place_beside(&mut self, wanted: PathBuf, found: PathBuf) {
        self.remarks.push_back(Remark::Beside(wanted, found));
    }

    /// Whether this link cannot be made, or this file did not arrive.
    pub(crate) fn has_lost(&self, entry: EntryIndex) -> bool {
        self.lost.contains(&entry)
    }

    /// The next thing to tell.
    pub(crate) fn poll(&mut self) -> Option<Remark> {
        self.remarks.pop_front()
    }
}
