//! What the receiver's user is asked about: a summary of a whole list, made by the receiver itself.
//!
//! The sender announces its list with a [`ListHead`] and then sends it. Nobody is asked before all of it is here,
//! so nothing a sender says can shorten or contradict what is shown.

use crate::protocol::codec::Reader;
use crate::transfer::breach::Breach;
use crate::transfer::error::{Malformed, TransferError};
use crate::transfer::manifest::{EntryIndex, Kind, MAX_ENTRIES, MAX_WIRE, Manifest};
use crate::transfer::names::SafeName;
use crate::transfer::{MAX_CONTENT, names};

/// How many ordinary top-level names are shown, and how many executable ones besides. Hidden ones are all shown.
pub(crate) const MAX_TOP_NAMES: usize = 16;

/// Most hidden names at the top level. They are shown in full, and nobody reads more of them than this.
pub(crate) const MAX_HIDDEN: usize = 256;

/// How many links are shown with their targets.
pub(crate) const MAX_LINKS_SHOWN: usize = 16;

/// Bytes in a block of the usual file systems.
const DISK_BLOCK: u64 = 4096;

/// Sent before the list: how much of it is to come. Each number is checked against the list.
///
/// ```text
/// entries 32 | bytes 64 | manifest bytes 64 | manifest hash 256 | stream 8 | holes 64
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListHead {
    /// Entries of the list.
    pub entries: u32,
    /// Length of the content; zero for a stream.
    pub bytes: u64,
    /// Length of the list on the wire.
    pub manifest_bytes: u64,
    /// BLAKE3 of the list on the wire.
    pub manifest_hash: [u8; 32],
    /// Whether the content is a pipe's, of unknown length.
    pub stream: bool,
    /// Bytes of the content that take no room at the sender: a hint, on which nothing but the question for room relies.
    pub holes: u64,
}

impl ListHead {
    /// The head of `manifest`.
    pub fn of(manifest: &Manifest) -> ListHead {
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

    /// Whether `manifest`, as received and whole, is the list that was announced.
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

/// A top-level entry, as the user is asked about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopName {
    /// Its name, safe to create; use [`SafeName::display`] for a terminal.
    pub name: SafeName,
    /// What it is.
    pub kind: Kind,
    /// Bytes in it, or under it.
    pub size: u64,
    /// Whether it is a file with an x bit.
    pub executable: bool,
    /// Whether a directory listing does not show it, or a program reads it unasked ([`names::is_hidden`]).
    pub hidden: bool,
}

/// A summary of a whole list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Entries of the list.
    pub entries: u32,
    /// Length of the content; zero and meaningless when [`Offer::stream`].
    pub bytes: u64,
    /// What it takes on a disk with blocks of the usual size, in bytes, if holes stay holes there.
    pub on_disk: u64,
    /// Hash of the list.
    pub manifest_hash: [u8; 32],
    /// Hash over which entries there are, whatever their sizes: under it the receiver finds what it kept of an
    /// interrupted transfer. A hint: what is kept is compared block by block.
    pub names_hash: [u8; 32],
    /// Whether the content is a pipe's, of unknown length.
    pub stream: bool,
    /// How many files there are, each name counted; a pipe or a message is one.
    pub files: u32,
    /// How many directories.
    pub directories: u32,
    /// How many symbolic links.
    pub links: u32,
    /// The first of the links.
    pub links_shown: Vec<EntryIndex>,
    /// How many top-level entries there are.
    pub top_count: u32,
    /// Those that are shown, in the order of the list, the first entry always among them: all hidden ones, the
    /// first [`MAX_TOP_NAMES`] executable ones, and as many others.
    pub top: Vec<TopName>,
    /// Executable files at the top level.
    pub executables_top: u32,
    /// Executable files below it.
    pub executables_below: u32,
    /// Hidden entries below the top level.
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
            on_disk: 0,
            manifest_hash: manifest.digest().1,
            names_hash: manifest.names_digest(),
            stream: manifest.is_stream(),
            files: 0,
            directories: 0,
            links: 0,
            links_shown: Vec::new(),
            top_count: 0,
            top: Vec::new(),
            executables_top: 0,
            executables_below: 0,
            hidden_below: 0,
        };
        let (mut others, mut hidden) = (0, 0);
        // For each entry the place in `top` of the entry it lies under. Parents come first.
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
        // A message is shown, and takes nothing.
        if kind != Kind::Text {
            self.on_disk += kind.on_disk(size, DISK_BLOCK);
        }
    }

    /// Whether its content alone, without names, is all of it: a pipe's, a message, or one file.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.entries == 1 && self.files == 1
    }

    /// Whether it is a message for the user.
    pub(crate) fn is_text(&self) -> bool {
        matches!(&self.top[..], [TopName { kind: Kind::Text, .. }])
    }

    /// The hidden names at the top level. All of them are shown, and with them the default answer is no.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &TopName> {
        self.top.iter().filter(|top| top.hidden)
    }

    /// How many top-level names are not among those shown.
    pub(crate) fn unlisted(&self) -> u32 {
        self.top_count - self.top.len() as u32
    }
}
