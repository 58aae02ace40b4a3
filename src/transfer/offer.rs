//! What the receiver is told before it accepts.

use super::MAX_CONTENT;
use super::error::Malformed;
use super::manifest::{EntryIndex, Kind, MAX_ENTRIES, MAX_NAMES, Manifest};
use super::names::SafeName;
use crate::protocol::fields::{Reader, put_string};

/// Most top-level names an offer shows; the manifest has them all.
pub const MAX_TOP_NAMES: usize = 16;

/// A top-level entry, as the user is asked about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopName {
    /// Its name, safe to create; use [`SafeName::display`] for a terminal.
    pub name: SafeName,
    /// What it is.
    pub kind: Kind,
    /// Bytes in it, or under it.
    pub size: u64,
}

/// A summary of what is sent. The manifest must keep what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Entries of the manifest.
    pub entries: u32,
    /// Length of the content; zero and meaningless when [`Offer::stream`].
    pub bytes: u64,
    /// Length of the manifest on the wire.
    pub manifest_bytes: u64,
    /// Hash of the manifest on the wire.
    pub manifest_hash: [u8; 32],
    /// Hash over which entries there are, whatever their sizes: under it the receiver finds what it kept of an
    /// interrupted transfer. A hint: what is kept is compared block by block.
    pub names_hash: [u8; 32],
    /// Whether the content is a pipe's, of unknown length.
    pub stream: bool,
    /// How many top-level entries there are.
    pub top_count: u32,
    /// The first of them, at least one.
    pub top: Vec<TopName>,
}

impl Offer {
    /// The summary of `manifest`.
    pub fn of(manifest: &Manifest) -> Offer {
        let (manifest_bytes, manifest_hash) = manifest.digest();
        let mut top: Vec<(EntryIndex, TopName)> = Vec::new();
        let mut top_count = 0;
        for (i, entry) in manifest.iter() {
            if entry.parent.is_none() {
                top_count += 1;
                // Our own names pass except those no receiver would take as they are.
                if let (true, Ok(name)) = (top.len() < MAX_TOP_NAMES, SafeName::from_peer(entry.name)) {
                    top.push((
                        i,
                        TopName {
                            name,
                            kind: entry.kind,
                            size: 0,
                        },
                    ));
                }
            }
            if entry.size > 0 {
                let parent = manifest.top_of(i);
                if let Ok(at) = top.binary_search_by_key(&parent, |(index, _)| *index) {
                    top[at].1.size += entry.size;
                }
            }
        }
        Offer {
            entries: manifest.len(),
            bytes: manifest.total().unwrap_or(0),
            manifest_bytes,
            manifest_hash,
            names_hash: manifest.names_digest(),
            stream: manifest.is_stream(),
            top_count,
            top: top.into_iter().map(|(_, name)| name).collect(),
        }
    }

    /// Whether `manifest`, as received, is what was offered.
    pub fn describes(&self, manifest: &Manifest) -> bool {
        let (mut top_count, mut shown) = (0u32, self.top.iter());
        for (_, entry) in manifest.iter().filter(|(_, entry)| entry.parent.is_none()) {
            top_count += 1;
            if let Some(top) = shown.next()
                && (top.name.as_bytes() != entry.name || top.kind != entry.kind)
            {
                return false;
            }
        }
        self.entries == manifest.len()
            && self.stream == manifest.is_stream()
            && self.bytes == manifest.total().unwrap_or(0)
            && self.top_count == top_count
            && shown.next().is_none()
    }

    /// Whether its content alone, without names, is all of it: a pipe's, a message, or one file.
    pub fn is_one_stream(&self) -> bool {
        let file = matches!(&self.top[..], [TopName { kind: Kind::File, .. }]);
        self.stream || self.is_text() || (self.entries == 1 && file)
    }

    /// Whether it is a message for the user.
    pub fn is_text(&self) -> bool {
        matches!(&self.top[..], [TopName { kind: Kind::Text, .. }])
    }

    /// ```text
    /// entries 32 | bytes 64 | manifest bytes 64 | manifest hash 256 | names hash 256 | stream 8 | top count 32 |
    /// shown 8 | shown x { kind 8 | size 64 | name: length 16, bytes }
    /// ```
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.manifest_bytes.to_be_bytes());
        out.extend_from_slice(&self.manifest_hash);
        out.extend_from_slice(&self.names_hash);
        out.push(u8::from(self.stream));
        out.extend_from_slice(&self.top_count.to_be_bytes());
        out.push(self.top.len() as u8);
        for top in &self.top {
            out.push(top.kind.to_wire());
            out.extend_from_slice(&top.size.to_be_bytes());
            put_string(out, top.name.as_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Offer, Malformed> {
        let (entries, bytes) = (reader.u32()?, reader.u64()?);
        let (manifest_bytes, manifest_hash, names_hash) = (reader.u64()?, reader.array()?, reader.array()?);
        let stream = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Value("stream flag")),
        };
        let (top_count, shown) = (reader.u32()?, usize::from(reader.u8()?));
        if shown == 0 || shown > MAX_TOP_NAMES || (shown as u32) > top_count || top_count > entries {
            return Err(Malformed::Value("count of top-level names"));
        }
        let most_wire = MAX_NAMES as u64 + 32 * u64::from(MAX_ENTRIES);
        if entries > MAX_ENTRIES || bytes > MAX_CONTENT || manifest_bytes > most_wire {
            return Err(Malformed::TooMuch("in the offer"));
        }
        let mut top = Vec::with_capacity(shown);
        for _ in 0..shown {
            let (kind, size) = (Kind::from_wire(reader.u8()?)?, reader.u64()?);
            top.push(TopName {
                name: SafeName::from_peer(reader.string()?)?,
                kind,
                size,
            });
        }
        Ok(Offer {
            entries,
            bytes,
            manifest_bytes,
            manifest_hash,
            names_hash,
            stream,
            top_count,
            top,
        })
    }
}
