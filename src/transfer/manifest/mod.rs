//! The list of what is sent, and the place of each file in the content space.
//!
//! Parents come before their entries, and files lie end to end in the order of the list. The list is stored
//! in an arena (48 bytes an entry, all names in one vector), so two million files are an ordinary transfer.
//! [`ManifestBuilder`] encodes a list and checks an untrusted one.

pub(crate) mod attributes;
pub(crate) mod builder;
mod door;
mod entry;
pub(crate) mod offer;
mod outside_links;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use self::builder::{ManifestBuilder, Trust};
pub(crate) use self::entry::MODE_MASK;
use self::entry::{ENTRY_LEN, encode_entry, wire_len};
pub(crate) use self::entry::{Entry, EntryIndex, Kind};
pub(crate) use self::outside_links::{LeftOut, OutsideLinks};
use crate::transfer::names::{self, SafeName};
use crate::transfer::ranges::{Run, RunSet};
use crate::transfer::{BlockIndex, blocks_within};

/// Most entries a manifest may have.
pub(crate) const MAX_ENTRIES: u32 = 2_000_000;

/// Most bytes all names and link targets may take.
pub(crate) const MAX_NAMES: usize = 128 << 20;

/// Longest list on the wire, in bytes: every entry and all names.
pub(crate) const MAX_WIRE: u64 = MAX_NAMES as u64 + ENTRY_LEN as u64 * MAX_ENTRIES as u64;

/// Deepest nesting of directories. Paths in deeper trees are far longer than PATH_MAX.
pub(crate) const MAX_DEPTH: u16 = 512;

/// Longest link target, PATH_MAX of Linux.
pub(crate) const MAX_TARGET: usize = 4096;

/// Longest message for the user ([`Kind::Text`]), in bytes: it is held in memory and shown.
pub(crate) const MAX_MESSAGE: u64 = 1 << 20;

/// Most changed names whose originals are kept to be shown.
pub(crate) const MAX_CHANGED: usize = 1000;

const NO_PARENT: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Slot {
    offset: u64,
    size: u64,
    mtime: i64,
    names_at: u32,
    parent: u32,
    name_len: u16,
    target_len: u16,
    mode: u16,
    depth: u16,
    kind: Kind,
}

/// The part of a range of the content that lies in one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// The file.
    pub entry: EntryIndex,
    /// Its first byte in the file.
    pub file_offset: u64,
    /// Its length in bytes; never zero.
    pub len: u64,
}

/// A name that was changed because it was not safe to create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// The entry that has it.
    pub entry: EntryIndex,
    /// The name as sent. Show it with [`names::Escaped`].
    pub sent: Box<[u8]>,
}

/// A checked list of entries.
#[derive(Clone, Default, Debug)]
pub struct Manifest {
    slots: Vec<Slot>,
    names: Vec<u8>,
    total: u64,
    changed: Vec<Change>,
    changed_count: u32,
    times_changed: u32,
    left_out: Vec<LeftOut>,
    /// The numbers that the left-out links had in the list as sent.
    left_out_numbers: Vec<u32>,
    /// Pairs of a file and one of its hard links.
    hard_links: Vec<(EntryIndex, EntryIndex)>,
    /// Bytes of the content that are holes at the sender.
    holes: u64,
    /// Number of entries whose extended attributes were left out.
    attributes_left_out: u32,
}

impl Manifest {
    /// The number of entries.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Length of the content, or `None` when it is a stream.
    pub fn total(&self) -> Option<u64> {
        (!self.is_stream()).then_some(self.total)
    }

    /// Whether the content comes from a pipe.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(
            self.slots[..],
            [Slot {
                kind: Kind::Stream,
                ..
            }]
        )
    }

    /// All entries with their numbers, parents first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (EntryIndex, Entry<'_>)> {
        (0..self.len()).map(|i| (EntryIndex(i), self.entry(EntryIndex(i))))
    }

    /// Entry `index`, which must belong to this manifest.
    pub(crate) fn entry(&self, index: EntryIndex) -> Entry<'_> {
        let slot = &self.slots[index.0 as usize];
        let name_end = slot.names_at as usize + usize::from(slot.name_len);
        Entry {
            kind: slot.kind,
            parent: (slot.parent != NO_PARENT).then_some(EntryIndex(slot.parent)),
            name: &self.names[slot.names_at as usize..name_end],
            size: slot.size,
            mtime: slot.mtime,
            mode: slot.mode,
            target: &self.names[name_end..name_end + usize::from(slot.target_len)],
        }
    }

    /// The hard links of file `index`.
    pub(crate) fn hard_links_of(&self, index: EntryIndex) -> impl Iterator<Item = EntryIndex> + '_ {
        let start = self.hard_links.partition_point(|&(of, _)| of < index);
        let links = self.hard_links[start..].iter();
        links
            .take_while(move |&&(of, _)| of == index)
            .map(|&(_, link)| link)
    }

    /// File `index` and its hard links.
    pub(crate) fn names_of(&self, index: EntryIndex) -> impl Iterator<Item = EntryIndex> + '_ {
        std::iter::once(index).chain(self.hard_links_of(index))
    }

    /// Pairs of a file and one of its hard links, in the order of the files.
    pub(crate) fn hard_links(&self) -> &[(EntryIndex, EntryIndex)] {
        &self.hard_links
    }

    /// Bytes in all files that are holes at the sender, as the sender says. A hint; never more than the
    /// total.
    pub(crate) fn holes(&self) -> u64 {
        self.holes
    }

    /// This list with `holes` bytes in holes.
    #[must_use]
    pub(crate) fn with_holes(self, holes: u64) -> Manifest {
        Manifest {
            holes: holes.min(self.total),
            ..self
        }
    }

    /// Number of entries that have extended attributes.
    pub(crate) fn with_attributes(&self) -> u32 {
        let has = |slot: &&Slot| matches!(slot.kind, Kind::File | Kind::Dir) && slot.target_len > 0;
        self.slots.iter().filter(has).count() as u32
    }

    /// Number of entries whose extended attributes were left out.
    pub(crate) fn attributes_left_out(&self) -> u32 {
        self.attributes_left_out
    }

    /// Removes all extended attributes from the list.
    #[must_use]
    pub(crate) fn without_attributes(mut self) -> Manifest {
        self.attributes_left_out = self.with_attributes();
        for slot in &mut self.slots {
            if matches!(slot.kind, Kind::File | Kind::Dir) {
                slot.target_len = 0;
            }
        }
        self
    }

    fn index_hard_links(&mut self) {
        let links = self
            .slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, link)| match slot.kind {
                Kind::HardLink(of) => Some((of, EntryIndex(link))),
                _ => None,
            });
        self.hard_links = links.collect();
        self.hard_links.sort_unstable();
    }

    /// The range of entry `index` in the content space.
    pub(crate) fn content_range(&self, index: EntryIndex) -> Range<u64> {
        let slot = &self.slots[index.0 as usize];
        slot.offset..slot.offset + slot.size
    }

    /// The blocks that hold bytes of entry `index` only, if there are any.
    pub(crate) fn inner_blocks(&self, index: EntryIndex) -> Option<Run> {
        blocks_within(&self.content_range(index), self.total)
    }

    /// Whether block `block` holds bytes of any of `entries`.
    pub(crate) fn holds_any(&self, block: BlockIndex, entries: &RunSet) -> bool {
        !entries.is_empty()
            && self
                .block_segments(block, block.len_in(self.total))
                .any(|segment| entries.contains(segment.entry.get()))
    }

    /// Whether block `block` holds bytes of more than `most` files.
    pub(crate) fn has_more_files(&self, block: BlockIndex, most: usize) -> bool {
        let mut segments = self.block_segments(block, block.len_in(self.total));
        segments.nth(most).is_some()
    }

    /// The path of entry `index` from the top level.
    pub fn path(&self, index: EntryIndex) -> PathBuf {
        let mut chain = Vec::with_capacity(usize::from(self.slots[index.0 as usize].depth) + 1);
        let mut at = Some(index);
        while let Some(i) = at {
            let entry = self.entry(i);
            chain.push(names::os_from_bytes(entry.name));
            at = entry.parent;
        }
        chain.into_iter().rev().collect()
    }

    /// Whether an entry has this path, or a path that some disk takes for the same.
    pub(crate) fn lists(&self, path: &Path) -> bool {
        // Compares name by name, because Windows has two separators.
        let key = |path: &Path| -> Vec<_> {
            let name = |name| names::likeness(&names::bytes_from_os(name));
            path.iter().map(name).collect()
        };
        let (wanted, depth) = (key(path), path.components().count());
        self.iter().any(|(i, _)| {
            usize::from(self.slots[i.0 as usize].depth) + 1 == depth && key(&self.path(i)) == wanted
        })
    }

    /// How many names were changed to make them safe, and the first [`MAX_CHANGED`] of them in the order of
    /// the list.
    pub(crate) fn changed(&self) -> (u32, &[Change]) {
        (self.changed_count, &self.changed)
    }

    /// How many modification times no disk can hold. They were replaced by the nearest possible time.
    pub(crate) fn times_changed(&self) -> u32 {
        self.times_changed
    }

    /// The top-level entry that holds `index`, or `index` itself.
    pub(crate) fn top_of(&self, index: EntryIndex) -> EntryIndex {
        let mut at = index;
        while let Some(parent) = self.entry(at).parent {
            at = parent;
        }
        at
    }

    /// The parts of files that make up `range` of the content, in order.
    pub(crate) fn segments(&self, range: Range<u64>) -> impl Iterator<Item = Segment> + '_ {
        let stream = self.is_stream();
        let end = if stream {
            range.end
        } else {
            range.end.min(self.total)
        };
        let mut at = range.start;
        // The last entry that starts at or before `at` and has content there.
        let mut i = self
            .slots
            .partition_point(|s| s.offset + if stream { u64::MAX } else { s.size } <= at);
        std::iter::from_fn(move || {
            while at < end {
                let slot = self.slots.get(i)?;
                let slot_end = if stream { end } else { slot.offset + slot.size };
                if slot_end > at {
                    let len = slot_end.min(end) - at;
                    let segment = Segment {
                        entry: EntryIndex(i as u32),
                        file_offset: at - slot.offset,
                        len,
                    };
                    at += len;
                    return Some(segment);
                }
                i += 1;
            }
            None
        })
    }

    /// The parts of files in block `block`, which has `len` bytes.
    pub(crate) fn block_segments(&self, block: BlockIndex, len: usize) -> impl Iterator<Item = Segment> + '_ {
        self.segments(block.start()..block.start() + len as u64)
    }

    /// Appends the wire form of whole entries, beginning with `from`, until about `limit` bytes are written.
    /// Returns the entry to continue with.
    pub fn encode(&self, from: EntryIndex, limit: usize, out: &mut Vec<u8>) -> EntryIndex {
        let mut i = from.0;
        while i < self.len() {
            let entry = self.entry(EntryIndex(i));
            if !out.is_empty() && out.len() + wire_len(&entry) > limit {
                break;
            }
            encode_entry(&entry, out);
            i += 1;
        }
        EntryIndex(i)
    }

    /// Length and hash of the wire form of all entries.
    pub(crate) fn digest(&self) -> (u64, [u8; 32]) {
        let (mut hasher, mut bytes, mut len) = (blake3::Hasher::new(), Vec::new(), 0);
        for (_, entry) in self.iter() {
            bytes.clear();
            encode_entry(&entry, &mut bytes);
            hasher.update(&bytes);
            len += bytes.len() as u64;
        }
        (len, *hasher.finalize().as_bytes())
    }

    /// A hash over the entries without their sizes and times. It finds an interrupted transfer again, even if
    /// a file has changed in the meantime.
    pub(crate) fn names_digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for slot in &self.slots {
            let names_end = slot.names_at as usize + usize::from(slot.name_len);
            hasher.update(&[slot.kind.to_wire()]);
            hasher.update(&slot.parent.to_be_bytes());
            hasher.update(&slot.name_len.to_be_bytes());
            hasher.update(&self.names[slot.names_at as usize..names_end]);
        }
        *hasher.finalize().as_bytes()
    }

    /// The entries of each directory whose names some file system may take for the same
    /// ([`names::likeness`]), in groups.
    pub fn alike(&self) -> Vec<Vec<EntryIndex>> {
        let key =
            |(index, entry): (EntryIndex, Entry<'_>)| (entry.parent, names::likeness(entry.name), index);
        let mut order: Vec<_> = self.iter().map(key).collect();
        order.sort_unstable();
        let groups = order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
        groups
            .filter(|group| group.len() > 1)
            .map(|group| group.iter().map(|&(.., index)| index).collect())
            .collect()
    }

    /// Adds a number to new names that already exist in their directory.
    pub(crate) fn keep_apart(&self, names: &mut BTreeMap<EntryIndex, SafeName>) {
        let kept = self.iter().filter(|(index, _)| !names.contains_key(index));
        let mut taken: HashSet<_> = kept
            .map(|(_, entry)| (entry.parent, names::likeness(entry.name)))
            .collect();
        // A peer may have taken a million numbers of a name: each is tried once.
        let mut numbers: HashMap<_, u32> = HashMap::new();
        for (&index, name) in names.iter_mut() {
            let parent = self.entry(index).parent;
            let wanted = name.clone();
            let n = numbers
                .entry((parent, names::likeness(wanted.as_bytes())))
                .or_default();
            while !taken.insert((parent, names::likeness(name.as_bytes()))) {
                *n += 1;
                *name = wanted.numbered(*n);
            }
        }
    }

    /// This list with other names for these entries.
    pub(crate) fn renamed(&self, names: &BTreeMap<EntryIndex, SafeName>) -> Manifest {
        let mut other = self.clone();
        for (&index, name) in names {
            let at = other.names.len() as u32;
            other.names.extend_from_slice(name.as_bytes());
            other.names.extend_from_slice(self.entry(index).target);
            let slot = &mut other.slots[index.0 as usize];
            (slot.names_at, slot.name_len) = (at, name.as_bytes().len() as u16);
        }
        other
    }

    /// Pairs of entries of one directory with the same name.
    fn duplicates(&self) -> Vec<[EntryIndex; 2]> {
        let mut order: Vec<EntryIndex> = (0..self.len()).map(EntryIndex).collect();
        let key = |i: EntryIndex| (self.slots[i.0 as usize].parent, self.entry(i).name);
        order.sort_unstable_by_key(|&i| (key(i), i));
        let pairs = order.windows(2).map(|pair| [pair[0], pair[1]]);
        pairs.filter(|&[one, other]| key(one) == key(other)).collect()
    }
}

#[cfg(test)]
mod tests;
