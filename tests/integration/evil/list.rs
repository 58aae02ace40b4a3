//! What an evil sender offers: a list of entries, and an offer that may say something else.

use std::path::PathBuf;

use p2pcopy::parts::transfer::{BlockHash, BlockIndex, RootBuilder, hash_block};

use crate::evil::wire::string;

pub const FILE: u8 = 0;
pub const DIR: u8 = 1;
pub const LINK: u8 = 2;
pub const STREAM: u8 = 3;
pub const TEXT: u8 = 4;
pub const HARD_LINK: u8 = 5;

const BLOCK: usize = 1 << 20;

/// One entry as it is listed. What it holds need not be as long as `size` says.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: u8,
    /// 0 for none, otherwise one more than the parent's place in the list.
    pub parent: u32,
    pub mode: u16,
    pub mtime: i64,
    pub size: u64,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub content: Vec<u8>,
    /// The name it may be stored under, if not its own.
    pub stored: Option<&'static str>,
}

impl Entry {
    fn new(kind: u8, name: impl AsRef<[u8]>) -> Entry {
        Entry {
            kind,
            parent: 0,
            mode: 0o600,
            mtime: 1_700_000_000_000_000_000,
            size: 0,
            name: name.as_ref().to_vec(),
            target: Vec::new(),
            content: Vec::new(),
            stored: None,
        }
    }

    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
        let content = content.as_ref().to_vec();
        Entry {
            size: content.len() as u64,
            content,
            ..Entry::new(FILE, name)
        }
    }

    pub fn dir(name: impl AsRef<[u8]>) -> Entry {
        Entry {
            mode: 0o700,
            ..Entry::new(DIR, name)
        }
    }

    pub fn link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        Entry {
            target: target.as_ref().to_vec(),
            ..Entry::new(LINK, name)
        }
    }

    /// One more name of the list's `place`th entry.
    pub fn hard_link(name: impl AsRef<[u8]>, place: u64) -> Entry {
        Entry {
            size: place,
            ..Entry::new(HARD_LINK, name)
        }
    }

    pub fn text(content: impl AsRef<[u8]>) -> Entry {
        Entry {
            kind: TEXT,
            ..Entry::file("text", content)
        }
    }

    pub fn stream(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
        Entry {
            content: content.as_ref().to_vec(),
            ..Entry::new(STREAM, name)
        }
    }

    /// Puts it into the directory that is the list's `place`th entry, counted from 0.
    pub fn below(self, place: u32) -> Entry {
        Entry {
            parent: place + 1,
            ..self
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [
            &[self.kind][..],
            &self.parent.to_be_bytes(),
            &self.mode.to_be_bytes(),
            &self.mtime.to_be_bytes(),
            &self.size.to_be_bytes(),
            &string(&self.name),
            &string(&self.target),
        ]
        .concat()
    }
}

/// The entries, in order.
#[derive(Clone, Debug)]
pub struct List(pub Vec<Entry>);

/// One file that is a few bytes long.
pub fn one_file() -> List {
    List(vec![Entry::file("a", "what the user agreed to")])
}

/// One file of `blocks` whole blocks.
pub fn blocks(blocks: usize) -> List {
    let content: Vec<u8> = (0..blocks * BLOCK).map(|i| (i ^ (i >> 11)) as u8).collect();
    List(vec![Entry::file("a", content)])
}

impl List {
    pub fn content(&self) -> Vec<u8> {
        self.0.iter().flat_map(|entry| &entry.content).copied().collect()
    }

    /// Each block with its hash.
    pub fn hashes(&self) -> Vec<BlockHash> {
        let content = self.content();
        let blocks = content.chunks(BLOCK).enumerate();
        blocks
            .map(|(i, block)| hash_block(BlockIndex::new(i as u32), block))
            .collect()
    }

    pub fn root(&self) -> [u8; 32] {
        let (hashes, mut root) = (self.hashes(), RootBuilder::default());
        for (i, hash) in hashes.iter().enumerate() {
            root.insert(BlockIndex::new(i as u32), hash);
        }
        root.root(hashes.len() as u32).expect("all blocks are there").0
    }

    /// The list's wire bytes, cut where a message must end.
    pub fn chunks(&self) -> Vec<Vec<u8>> {
        let mut chunks = vec![Vec::new()];
        for entry in &self.0 {
            let bytes = entry.bytes();
            if chunks
                .last()
                .is_some_and(|last| last.len() + bytes.len() > 32 << 10)
            {
                chunks.push(Vec::new());
            }
            chunks.last_mut().expect("never empty").extend(bytes);
        }
        chunks
    }

    pub fn hash(&self) -> [u8; 32] {
        blake3::hash(&self.chunks().concat()).into()
    }

    pub fn names_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.0 {
            hasher.update(&[entry.kind]);
            hasher.update(&entry.parent.wrapping_sub(1).to_be_bytes());
            hasher.update(&string(&entry.name));
        }
        hasher.finalize().into()
    }

    /// What may lie in the output directory for this list, with the file's bytes, and `None` for all but files.
    pub fn agreed(&self) -> Vec<(PathBuf, Option<&[u8]>)> {
        let mut paths: Vec<Option<PathBuf>> = Vec::new();
        for entry in &self.0 {
            let name = match entry.stored {
                Some(name) => Some(PathBuf::from(name)),
                None => component(&entry.name),
            };
            let parent = match entry.parent.checked_sub(1) {
                None => Some(PathBuf::new()),
                Some(place) => paths.get(place as usize).cloned().flatten(),
            };
            paths.push(parent.zip(name).map(|(parent, name)| parent.join(name)));
        }
        let files = self.0.iter().zip(paths);
        files
            .filter_map(|(entry, path)| {
                let content = match entry.kind {
                    FILE | STREAM => Some(&entry.content[..]),
                    HARD_LINK => self.0.get(entry.size as usize).map(|of| &of.content[..]),
                    _ => None,
                };
                path.map(|path| (path, content))
            })
            .collect()
    }

    pub fn offer(&self) -> Offer {
        let stream = self.0.iter().any(|entry| entry.kind == STREAM);
        Offer {
            entries: self.0.len() as u32,
            bytes: self
                .0
                .iter()
                .filter(|entry| entry.kind != HARD_LINK)
                .map(|entry| entry.size)
                .fold(0, u64::wrapping_add),
            list_bytes: self.chunks().concat().len() as u64,
            list_hash: self.hash(),
            stream: u8::from(stream),
            holes: 0,
        }
    }
}

/// A name that can be a file's as it is.
fn component(name: &[u8]) -> Option<PathBuf> {
    let name = std::str::from_utf8(name).ok()?;
    let is_path = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
    (!is_path && name.len() <= 255).then(|| name.into())
}

/// What is said before the list.
#[derive(Clone, Debug)]
pub struct Offer {
    pub entries: u32,
    pub bytes: u64,
    pub list_bytes: u64,
    pub list_hash: [u8; 32],
    pub stream: u8,
    pub holes: u64,
}

impl Offer {
    pub fn body(&self) -> Vec<u8> {
        [
            &self.entries.to_be_bytes()[..],
            &self.bytes.to_be_bytes(),
            &self.list_bytes.to_be_bytes(),
            &self.list_hash,
            &[self.stream],
            &self.holes.to_be_bytes(),
        ]
        .concat()
    }
}
