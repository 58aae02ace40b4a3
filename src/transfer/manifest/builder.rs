//! Builds a list, and checks an untrusted one.

use std::collections::BTreeMap;

use crate::protocol::codec::Reader;
use crate::transfer::MAX_CONTENT;
use crate::transfer::error::{ListBound, Malformed};
use crate::transfer::manifest::attributes::{self, MAX_ATTRIBUTES};
use crate::transfer::manifest::{
    Change, Entry, EntryIndex, Kind, MAX_CHANGED, MAX_DEPTH, MAX_ENTRIES, MAX_MESSAGE, MAX_NAMES, MAX_TARGET,
    MODE_MASK, Manifest, NO_PARENT, Slot, door,
};
use crate::transfer::names::SafeName;

/// Builds a manifest entry by entry and checks each entry. Memory grows only with the entries that were
/// really added.
#[derive(Debug)]
pub(crate) struct ManifestBuilder {
    manifest: Manifest,
    trust: Trust,
    /// Entries whose names were changed, with short hashes of the names as sent.
    sent: Vec<(EntryIndex, [u8; 8])>,
    hasher: blake3::Hasher,
    wire_len: u64,
}

/// The origin of a manifest's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    /// Our own files: names stay as they are.
    Own,
    /// The peer: names, permissions and times are made safe, or the list is refused.
    Peer,
}

impl Manifest {
    /// The depth of an entry in this directory.
    fn depth_below(&self, parent: Option<EntryIndex>) -> Result<u16, Malformed> {
        match parent {
            None => Ok(0),
            Some(EntryIndex(p)) => {
                let slot = self
                    .slots
                    .get(p as usize)
                    .ok_or(Malformed::Value("parent of an entry"))?;
                if slot.kind != Kind::Dir {
                    return Err(Malformed::Value("parent of an entry"));
                }
                Ok(slot.depth + 1)
            }
        }
    }

    /// Checks that content, mode and target are possible for an entry of this kind.
    fn check_kind(&self, entry: &Entry<'_>) -> Result<(), Malformed> {
        let has_content = matches!(entry.kind, Kind::File | Kind::Text);
        let stands_alone = |kind| matches!(kind, Kind::Stream | Kind::Text);
        if let Some(first) = self.slots.first()
            && (stands_alone(first.kind) || stands_alone(entry.kind))
        {
            return Err(Malformed::Value("list: a stream stands alone"));
        }
        if (!has_content && entry.size != 0) || entry.mode & !MODE_MASK != 0 {
            return Err(Malformed::Value("entry"));
        }
        if entry.kind == Kind::Text && entry.size > MAX_MESSAGE {
            return Err(Malformed::LongText);
        }
        let target_ok = match entry.kind {
            Kind::Symlink => !entry.target.is_empty() && !entry.target.contains(&0),
            // Their target holds extended attributes, which were checked above.
            Kind::File | Kind::Dir => true,
            _ => entry.target.is_empty(),
        };
        if target_ok {
            Ok(())
        } else {
            Err(Malformed::Value("link target"))
        }
    }
}

impl ManifestBuilder {
    /// An empty list.
    pub(crate) fn new(trust: Trust) -> Self {
        ManifestBuilder {
            manifest: Manifest::default(),
            trust,
            sent: Vec::new(),
            hasher: blake3::Hasher::new(),
            wire_len: 0,
        }
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// What makes the list unusable: a parent that is not an earlier directory, an unsafe name, a sum of
    /// sizes that overflows, a limit that is exceeded.
    pub(crate) fn add(&mut self, sent: Entry<'_>) -> Result<EntryIndex, Malformed> {
        let (safe, tamed);
        let entry = match self.trust {
            Trust::Own => sent,
            Trust::Peer => {
                safe = match sent.parent {
                    None => SafeName::top_from_peer(sent.name)?,
                    Some(_) => SafeName::from_peer(sent.name)?,
                };
                tamed = match sent.kind {
                    Kind::File | Kind::Dir => attributes::tame(sent.target)?,
                    _ => sent.target.to_vec(),
                };
                Entry {
                    name: safe.as_bytes(),
                    target: &tamed,
                    mode: door::mode(sent.mode),
                    mtime: door::time(sent.mtime),
                    ..sent
                }
            }
        };
        let Entry { name, target, .. } = entry;
        let m = &mut self.manifest;
        let depth = m.depth_below(entry.parent)?;
        m.check_kind(&entry)?;
        if let Kind::HardLink(EntryIndex(of)) = entry.kind {
            // A hard link may name only an earlier file, so links never form a loop. One file has one mode
            // and one time.
            let is_of = |slot: &&Slot| {
                slot.kind == Kind::File && (slot.mode, slot.mtime) == (entry.mode, entry.mtime)
            };
            let file = m.slots.get(of as usize).filter(is_of);
            file.ok_or(Malformed::Value("hard link"))?;
        }
        let longest = match entry.kind {
            Kind::File | Kind::Dir => MAX_ATTRIBUTES,
            _ => MAX_TARGET,
        };
        let names_at = m.names.len();
        let bounds = [
            (m.len() < MAX_ENTRIES, ListBound::Entries),
            (depth <= MAX_DEPTH, ListBound::Depth),
            (name.len() <= usize::from(u16::MAX), ListBound::Name),
            (target.len() <= longest, ListBound::Target),
            (
                names_at + name.len() + target.len() <= MAX_NAMES,
                ListBound::Names,
            ),
        ];
        if let Some((_, bound)) = bounds.into_iter().find(|(holds, _)| !holds) {
            return Err(bound.into());
        }
        let end = m.total.checked_add(entry.size).filter(|&end| end <= MAX_CONTENT);
        m.times_changed += u32::from(entry.mtime != sent.mtime);
        let offset = m.total;
        m.total = end.ok_or(ListBound::Content)?;
        m.names.extend_from_slice(name);
        m.names.extend_from_slice(target);
        if name != sent.name {
            let index = EntryIndex(m.slots.len() as u32);
            let hash = blake3::hash(sent.name);
            self.sent
                .push((index, *hash.as_bytes().first_chunk().unwrap_or(&[0; 8])));
            m.changed_count += 1;
            if m.changed.len() < MAX_CHANGED {
                m.changed.push(Change {
                    entry: index,
                    sent: sent.name.into(),
                });
            }
        }
        m.slots.push(Slot {
            offset,
            size: entry.size,
            mtime: entry.mtime,
            names_at: names_at as u32,
            parent: entry.parent.map_or(NO_PARENT, |p| p.0),
            name_len: name.len() as u16,
            target_len: target.len() as u16,
            mode: entry.mode,
            depth,
            kind: entry.kind,
        });
        Ok(EntryIndex(m.len() - 1))
    }

    /// Adds the entries of one chunk of wire bytes. A chunk holds whole entries only.
    pub(crate) fn add_wire(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        self.hasher.update(chunk);
        self.wire_len += chunk.len() as u64;
        let mut reader = Reader::new(chunk, "list of files");
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let parent = reader.u32()?.checked_sub(1).map(EntryIndex);
            let (mode, mtime, size) = (reader.u16()?, reader.i64()?, reader.u64()?);
            let (kind, size) = Kind::from_wire(kind, size)?;
            let (name, target) = (reader.string()?, reader.string()?);
            self.add(Entry {
                kind,
                parent,
                name,
                size,
                mtime,
                mode,
                target,
            })?;
        }
        Ok(())
    }

    /// The list so far.
    pub(crate) fn listed(&self) -> &Manifest {
        &self.manifest
    }

    /// The number of entries so far.
    pub(crate) fn len(&self) -> u32 {
        self.manifest.len()
    }

    /// Whether there is no entry yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.manifest.is_empty()
    }

    /// Wire bytes read so far.
    pub(crate) fn wire_len(&self) -> u64 {
        self.wire_len
    }

    /// Hash of the wire bytes read so far.
    pub(crate) fn wire_hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// A hash of the name that entry `index` had; `None` if it has that name.
    fn sent_hash(&self, index: EntryIndex) -> Option<&[u8; 8]> {
        let at = self.sent.binary_search_by_key(&index, |(entry, _)| *entry).ok()?;
        self.sent.get(at).map(|(_, hash)| hash)
    }

    /// Finishes the list.
    ///
    /// # Errors [`Malformed`] if it is empty, or if a directory has two entries of the same name. Names that are
    /// equal only after they were made safe get different names.
    pub(crate) fn finish(mut self) -> Result<Manifest, Malformed> {
        if self.manifest.is_empty() {
            return Err(Malformed::Value("list: it is empty"));
        }
        let mut others = BTreeMap::new();
        for pair in self.manifest.duplicates() {
            let sent = pair.map(|index| self.sent_hash(index));
            if sent[0] == sent[1] {
                return Err(Malformed::Name("it stands twice"));
            }
            // A name that was not changed stays.
            for (index, _) in pair.into_iter().zip(sent).filter(|(_, sent)| sent.is_some()) {
                others.insert(index, SafeName::from_peer(self.manifest.entry(index).name)?);
            }
        }
        if !others.is_empty() {
            self.manifest.keep_apart(&mut others);
            self.manifest = self.manifest.renamed(&others);
        }
        self.manifest.index_hard_links();
        self.manifest.slots.shrink_to_fit();
        self.manifest.names.shrink_to_fit();
        Ok(self.manifest)
    }
}
