//! What this disk does not keep of what is sent. The user is told once. The transfer does not fail: the
//! content matters.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::transfer::fs::layer::Layer;
use crate::transfer::manifest::{Entry, EntryIndex, Manifest};

/// Something the user should know about how the disk stored what was sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Remark {
    /// The disk does not keep permission bits.
    ModesLost,
    /// The disk does not keep modification times.
    TimesLost,
    /// This many links cannot be made.
    LinksLost(u32),
    /// A file with several names becomes several files.
    HardLinksLost,
    /// Some extended attributes are lost.
    AttributesLost,
    /// Entries whose names the disk refuses: each path as sent and as stored.
    Renamed(Vec<(PathBuf, PathBuf)>),
    /// Something of another kind was in the way: the path that was sent, and the path where the entry is
    /// instead.
    Beside(PathBuf, PathBuf),
    /// Somebody moved or replaced the output directory: where it is now, if the system tells.
    OutputMoved(Option<PathBuf>),
}

/// What was lost so far, and which of it the user was not told yet.
#[derive(Default, Debug)]
pub(crate) struct Losses {
    /// What the user was told or will be told, so that it is told once.
    known: HashSet<Remark>,
    /// Whether zeros are written where holes were. Only the room on the disk differs.
    pub(crate) holes: bool,
    /// Whether a file was copied to another file system, without its other names and its attributes.
    pub(crate) crossed: bool,
    /// Links that the other file system does not take.
    pub(crate) links_not_crossed: u32,
    /// Links that cannot be made, and files that did not arrive.
    lost: BTreeSet<EntryIndex>,
    remarks: VecDeque<Remark>,
}

/// Whether the disk did it. `false` if the disk does not support it.
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
    /// Sets the time and permissions of an open file or directory, as far as the disk supports them.
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
            self.tell(Remark::TimesLost);
        }
        // The mode comes last: some systems change nothing of a read-only file.
        if !kept(layer.set_mode(file, mode))? {
            self.tell(Remark::ModesLost);
        }
        Ok(())
    }

    /// As [`Losses::finish`], for an entry of the list and with its extended attributes.
    pub(crate) fn finish_entry<L: Layer>(
        &mut self,
        layer: &L,
        file: &L::File,
        entry: &Entry<'_>,
    ) -> io::Result<()> {
        // Attributes come before the mode, because the mode limits what an access control list grants.
        for (name, value) in entry.attributes() {
            self.set_attribute(layer, file, name, value)?;
        }
        self.finish(layer, file, entry.mode, entry.time())
    }

    /// Sets an extended attribute, if the disk supports it.
    pub(crate) fn set_attribute<L: Layer>(
        &mut self,
        layer: &L,
        file: &L::File,
        name: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        use io::ErrorKind::{ArgumentListTooLong, QuotaExceeded, StorageFull};
        let outcome = match layer.set_attribute(file, name, value) {
            // When ext4 has no room for another attribute of this file, it returns ENOSPC or E2BIG.
            Err(e) if matches!(e.kind(), ArgumentListTooLong | QuotaExceeded | StorageFull) => Ok(false),
            other => kept(other),
        };
        if !outcome? {
            self.tell(Remark::AttributesLost);
        }
        Ok(())
    }

    /// Tells the user, if it is news.
    pub(crate) fn tell(&mut self, remark: Remark) {
        if self.known.insert(remark.clone()) {
            self.remarks.push_back(remark);
        }
    }

    /// Tells what was lost on the way to another file system, for a list that has been put in place.
    pub(crate) fn tell_crossing(&mut self, list: &Manifest) {
        if self.crossed && !list.hard_links().is_empty() {
            self.tell(Remark::HardLinksLost);
        }
        if self.crossed && list.with_attributes() > 0 {
            self.tell(Remark::AttributesLost);
        }
        if self.links_not_crossed > 0 {
            self.tell(Remark::LinksLost(self.links_not_crossed));
        }
    }

    /// Whether this is known of the disk.
    pub(crate) fn knows(&self, remark: &Remark) -> bool {
        self.known.contains(remark)
    }

    /// Notes that none of these links can be made.
    pub(crate) fn lose_links(&mut self, links: impl IntoIterator<Item = EntryIndex>) {
        let before = self.lost.len();
        self.lost.extend(links);
        let more = self.lost.len() - before;
        if more > 0 {
            self.remarks.push_back(Remark::LinksLost(more as u32));
        }
    }

    /// Notes that this file did not arrive.
    pub(crate) fn miss(&mut self, file: EntryIndex) {
        self.lost.insert(file);
    }

    /// Whether this link cannot be made, or this file did not arrive.
    pub(crate) fn has_lost(&self, entry: EntryIndex) -> bool {
        self.lost.contains(&entry)
    }

    /// The next thing to tell the user.
    pub(crate) fn poll(&mut self) -> Option<Remark> {
        self.remarks.pop_front()
    }
}
