//! One entry of a list, and its form on the wire.

use crate::protocol::codec::put_string;
use crate::transfer::error::Malformed;
use crate::transfer::manifest::attributes::{self, Pairs};

/// Bytes of an entry on the wire, without its name and target.
pub(super) const ENTRY_LEN: usize = 27;

/// The permission bits that are sent. setuid, setgid and sticky never are.
pub(crate) const MODE_MASK: u16 = 0o777;

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link. It is recreated and never followed.
    Symlink,
    /// The content of a pipe, of unknown length. Always the only entry.
    Stream,
    /// A message for the user. Always the only entry.
    Text,
    /// Another name of a file that comes before it in the list. It has no content of its own.
    HardLink(EntryIndex),
}

impl Kind {
    /// Kind and size of an entry. For a hard link, the size field holds the number of its file.
    pub(super) fn from_wire(byte: u8, size: u64) -> Result<(Kind, u64), Malformed> {
        let kind = match byte {
            0 => Kind::File,
            1 => Kind::Dir,
            2 => Kind::Symlink,
            3 => Kind::Stream,
            4 => Kind::Text,
            5 => {
                let of = u32::try_from(size).map_err(|_| Malformed::Value("hard link"))?;
                return Ok((Kind::HardLink(EntryIndex(of)), 0));
            }
            _ => return Err(Malformed::Value("kind of entry")),
        };
        Ok((kind, size))
    }

    pub(crate) const fn to_wire(self) -> u8 {
        match self {
            Kind::File => 0,
            Kind::Dir => 1,
            Kind::Symlink => 2,
            Kind::Stream => 3,
            Kind::Text => 4,
            Kind::HardLink(_) => 5,
        }
    }

    /// What an entry with `size` bytes of content takes on a disk with blocks of `block` bytes. A file takes
    /// whole blocks, a directory at least one, a symbolic link may take one, and a hard link is only a name.
    pub(crate) const fn on_disk(self, size: u64, block: u64) -> u64 {
        match self {
            Kind::File | Kind::Stream | Kind::Text => size.next_multiple_of(block),
            Kind::Dir | Kind::Symlink => block,
            Kind::HardLink(_) => 0,
        }
    }
}

/// The number of an entry in its manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct EntryIndex(pub(super) u32);

impl EntryIndex {
    /// The number itself.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    /// Entry number `index`.
    pub(crate) const fn new(index: u32) -> Self {
        EntryIndex(index)
    }
}

/// One entry, as a view into its manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// The directory that holds it; `None` at the top level.
    pub parent: Option<EntryIndex>,
    /// Its name. On the receiving side it is already made safe.
    pub name: &'a [u8],
    /// Bytes of its own content.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u16,
    /// The target of a symbolic link; the extended attributes of a file or directory
    /// ([`crate::transfer::manifest::attributes`]); empty for everything else.
    pub target: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Its extended attributes, names and values.
    pub(crate) fn attributes(&self) -> Pairs<'a> {
        match self.kind {
            Kind::File | Kind::Dir => attributes::decode(self.target).unwrap_or_default(),
            _ => Pairs::new(),
        }
    }

    /// The modification time that its copy should have. `None` for a stream: its copy is as new as the
    /// transfer.
    pub(crate) fn time(&self) -> Option<i64> {
        (self.kind != Kind::Stream).then_some(self.mtime)
    }
}

pub(super) fn wire_len(entry: &Entry<'_>) -> usize {
    ENTRY_LEN + entry.name.len() + entry.target.len()
}

/// ```text
/// kind 8 | parent + 1, or 0: 32 | mode 16 | mtime 64 | size 64 | name: length 16, bytes | target: length 16, bytes
/// ```
pub(super) fn encode_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.push(entry.kind.to_wire());
    out.extend_from_slice(&entry.parent.map_or(0, |p| p.0 + 1).to_be_bytes());
    out.extend_from_slice(&entry.mode.to_be_bytes());
    out.extend_from_slice(&entry.mtime.to_be_bytes());
    let size = match entry.kind {
        Kind::HardLink(of) => u64::from(of.0),
        _ => entry.size,
    };
    out.extend_from_slice(&size.to_be_bytes());
    put_string(out, entry.name);
    put_string(out, entry.target);
}
