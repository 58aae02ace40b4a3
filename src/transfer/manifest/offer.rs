//! What the receiver's user is asked about. The receiver itself makes this summary from a whole list.
//!
//! The sender announces its list with a [`ListHead`] and then sends it. The user is asked only when the whole
//! list is here, so the sender cannot shorten or contradict what is shown.

use crate::protocol::codec::Reader;
use crate::transfer::breach::Breach;
use crate::transfer::error::{Malformed, TransferError};
use crate::transfer::manifest::{EntryIndex, Kind, MAX_ENTRIES, MAX_WIRE, Manifest};
use crate::transfer::names::SafeName;
use crate::transfer::{MAX_CONTENT, names};

/// How many ordinary top-level names are shown, and how many executable ones besides. All hidden ones are
/// shown.
const MAX_TOP_NAMES: usize = 16;

/// Most hidden names at the top level. All of them are shown, and nobody reads more names than this.
pub(crate) const MAX_HIDDEN: usize = 256;

/// How many links are shown with their targets.
const MAX_LINKS_SHOWN: usize = 16;

/// Bytes in a block of the usual file systems.
const DISK_BLOCK: u64 = 4096;

/// Comes before the list and says how long it is. Each number is checked against the list.
///
/// ```text
/// entries 32 | bytes 64 | manifest bytes 64 | manifest hash 256 | stream 8 | holes 64
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListHead {
    /// Number of entries in the list.
    pub entries: u32,
    /// Length of the content; zero for a stream.
    pub bytes: u64,
    /// Bytes of the list on the wire.
    pub manifest_bytes: u64,
    /// BLAKE3 hash of the list on the wire.
    pub manifest_hash: [u8; 32],
    /// Whether the content comes from a pipe, so that its length is unknown.
    pub stream: bool,
    /// Bytes of the content that take no room at the sender (holes). A hint: only the check for free space
    /// uses it.
    pub holes: u64,
}

impl ListHead {
    /// The head of `manifest`.
    pub(crate) fn of(manifest: &Manifest) -> ListHead {
        let (manifest_bytes, manifest_hash) = manifest.digest();
        ListHead {
            entries: manifest.len(),
            bytes: manifest.total().unwrap_or(0),
            manifest_bytes,
            manifest_hash,
            stream: manifest.is_stream(),
            holes: manifest.holes(),
        }
    }

    /// Checks that `manifest`, received and whole, is the list that was announced.
    pub(crate) fn check(&self, manifest: &Manifest, wire_hash: &[u8; 32]) -> Result<(), Breach> {
        if *wire_hash != self.manifest_hash {
            Err(Breach::ListHash)
        } else if manifest.len() != self.entries {
            Err(Breach::ListEntries)
        } else if manifest.is_stream() != self.stream {
            Err(Breach::ListKind)
        } else if manifest.total().unwrap_or(0) != self.bytes {
            Err(Breach::ListBytes)
        } else {
            Ok(())
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.manifest_bytes.to_be_bytes());
        out.extend_from_slice(&self.manifest_hash);
        out.push(u8::from(self.stream));
        out.extend_from_slice(&self.holes.to_be_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ListHead, Malformed> {
        let (entries, bytes, manifest_bytes) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let manifest_hash = reader.array()?;
        let stream = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Value("stream flag")),
        };
        let holes = reader.u64()?;
        if entries == 0 || manifest_bytes == 0 || (stream && bytes != 0) || holes > bytes {
            return Err(Malformed::Value("offer"));
        }
        if entries > MAX_ENTRIES || bytes > MAX_CONTENT || manifest_bytes > MAX_WIRE {
            return Err(Malformed::TooMuch("in the offer"));
        }
        Ok(ListHead {
            entries,
            bytes,
            manifest_bytes,
            manifest_hash,
            stream,
            holes,
        })
    }
}

/// A top-level entry, as shown to the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopName {
    /// Its name, safe to create; use [`SafeName::display`] for a terminal.
    pub name: SafeName,
    /// What it is.
    pub kind: Kind,
    /// Bytes of the entry, or of everything under it.
    pub size: u64,
    /// Whether it is a file with an execute bit.
    pub executable: bool,
    /// Whether directory listings hide it, or a program reads it without being asked ([`names::is_hidden`]).
    pub hidden: bool,
}

/// A summary of a whole list.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Number of entries in the list.
    pub entries: u32,
    /// Length of the content; meaningless (zero) if [`Offer::stream`].
    pub bytes: u64,
    /// Bytes that it takes on a disk with blocks of the usual size, if holes stay holes.
    pub on_disk: u64,
    /// Hash of the list.
    pub manifest_hash: [u8; 32],
    /// Hash over the entries without their sizes. The receiver finds by it what it kept of an interrupted
    /// transfer. A hint: what was kept is compared block by block.
    pub names_hash: [u8; 32],
    /// Whether the content comes from a pipe, so that its length is unknown.
    pub stream: bool,
    /// Number of files. Each name of a file counts; a pipe or a message counts as one.
    pub files: u32,
    /// Number of directories.
    pub directories: u32,
    /// Number of symbolic links.
    pub links: u32,
    /// The first of the links.
    pub links_shown: Vec<EntryIndex>,
    /// Number of top-level entries.
    pub top_count: u32,
    /// The top-level entries that are shown, in the order of the list: always the first entry, all hidden
    /// ones, the first [`MAX_TOP_NAMES`] executable ones, and as many others.
    pub top: Vec<TopName>,
    /// Number of executable files at the top level.
    pub executables_top: u32,
    /// Number of executable files below the top level.
    pub executables_below: u32,
    /// Number of hidden entries below the top level.
    pub hidden_below: u32,
}

impl Offer {
    /// The summary of `manifest`.
    ///
    /// # Errors
    /// [`Breach::TooManyHidden`] when more than [`MAX_HIDDEN`] names at the top level are hidden.
    pub fn of(manifest: &Manifest) -> Result<Offer, TransferError> {
        let mut offer = Offer {
            entries: manifest.len(),
            bytes: manifest.total().unwrap_or(0),
            manifest_hash: manifest.digest().1,
            names_hash: manifest.names_digest(),
            stream: manifest.is_stream(),
            ..Offer::default()
        };
        let (mut others, mut hidden) = (0, 0);
        // For each entry: the place in `top` of the top-level entry that it lies under. Parents come first.
        let mut under: Vec<Option<u32>> = Vec::with_capacity(manifest.len() as usize);
        for (index, entry) in manifest.iter() {
            offer.count(index, entry.kind, entry.size);
            let is_file = matches!(entry.kind, Kind::File | Kind::HardLink(_));
            let executable = is_file && entry.mode & 0o111 != 0;
            let is_hidden = names::is_hidden(entry.name);
            let Some(parent) = entry.parent else {
                offer.top_count += 1;
                offer.executables_top += u32::from(executable);
                let shown = if is_hidden {
                    hidden += 1;
                    true
                } else if executable {
                    offer.executables_top as usize <= MAX_TOP_NAMES
                } else {
                    others += 1;
                    others <= MAX_TOP_NAMES
                };
                if hidden > MAX_HIDDEN {
                    return Err(Breach::TooManyHidden.into());
                }
                under.push(shown.then_some(offer.top.len() as u32));
                if shown {
                    offer.top.push(TopName {
                        name: SafeName::top_from_peer(entry.name)?,
                        kind: entry.kind,
                        size: entry.size,
                        executable,
                        hidden: is_hidden,
                    });
                }
                continue;
            };
            offer.executables_below += u32::from(executable);
            offer.hidden_below += u32::from(is_hidden);
            let top = under[parent.get() as usize];
            under.push(top);
            if let Some(top) = top {
                offer.top[top as usize].size += entry.size;
            }
        }
        offer.on_disk = offer.on_disk.saturating_sub(manifest.holes());
        Ok(offer)
    }

    fn count(&mut self, index: EntryIndex, kind: Kind, size: u64) {
        match kind {
            Kind::File | Kind::HardLink(_) | Kind::Stream | Kind::Text => self.files += 1,
            Kind::Dir => self.directories += 1,
            Kind::Symlink => {
                self.links += 1;
                if self.links_shown.len() < MAX_LINKS_SHOWN {
                    self.links_shown.push(index);
                }
            }
        }
        // A message is shown on the screen and takes no room.
        if kind != Kind::Text {
            self.on_disk += kind.on_disk(size, DISK_BLOCK);
        }
    }

    /// Whether the content without names is everything: a pipe, a message, or a single file.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.entries == 1 && self.files == 1
    }

    /// Whether it is a message for the user.
    pub(crate) fn is_text(&self) -> bool {
        matches!(&self.top[..], [TopName { kind: Kind::Text, .. }])
    }

    /// The hidden names at the top level. All of them are shown, and if there are any, the default answer is
    /// no.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &TopName> {
        self.top.iter().filter(|top| top.hidden)
    }

    /// How many top-level names are not shown.
    pub(crate) fn unlisted(&self) -> u32 {
        self.top_count - self.top.len() as u32
    }
}
