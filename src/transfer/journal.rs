//! The journal beside a partial transfer: which blocks were verified, and whether all of it was.
//!
//! It is a hint and never a proof. A crash or power loss may have kept a record and lost the bytes it speaks
//! of, so every block it names is read again and compared with the hash the sender announces before it counts.
//! Only [`Record::Sealed`] is trusted, because everything was synced before it was written.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::blocks::{Cv, Root};
use super::error::Malformed;
use super::layer::Layer;
use crate::protocol::fields::Reader;

/// First bytes of a journal; the last of them is the format's version.
const MAGIC: &[u8; 16] = b"p2pcopy journal\x01";

/// Header: magic, manifest hash, names hash, length of the content, CRC-32.
const HEADER_LEN: usize = 16 + 32 + 32 + 8 + 4;

/// What the length of the content says for a stream.
const UNKNOWN_LENGTH: u64 = u64::MAX;

/// What a journal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalHeader {
    /// Hash of the manifest: names, sizes, times.
    pub manifest_hash: [u8; 32],
    /// Hash of its names alone.
    pub names_hash: [u8; 32],
    /// Length of the content, if it is known.
    pub total: Option<u64>,
}

impl JournalHeader {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.manifest_hash);
        out.extend_from_slice(&self.names_hash);
        out.extend_from_slice(&self.total.unwrap_or(UNKNOWN_LENGTH).to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<JournalHeader, Malformed> {
        let mut r = Reader::new(bytes, "journal");
        if r.array::<16>()? != *MAGIC {
            return Err(Malformed::Value("journal magic"));
        }
        let (manifest_hash, names_hash, total) = (r.array()?, r.array()?, r.u64()?);
        if r.u32()? != crc32fast::hash(&bytes[..HEADER_LEN - 4]) {
            return Err(Malformed::Value("journal checksum"));
        }
        let total = Some(total).filter(|&t| t != UNKNOWN_LENGTH);
        Ok(JournalHeader {
            manifest_hash,
            names_hash,
            total,
        })
    }
}

/// One record: `type 8 | body | CRC-32 of both`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A block was verified and written (not synced).
    Block {
        /// Which.
        index: u32,
        /// Its hash.
        cv: Cv,
    },
    /// Everything was verified and synced; only the final names are missing.
    Sealed {
        /// Root over the content.
        root: Root,
    },
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        match self {
            Record::Block { index, cv } => {
                out.push(1);
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(cv);
            }
            Record::Sealed { root } => {
                out.push(2);
                out.extend_from_slice(&root.0);
            }
        }
        let crc = crc32fast::hash(&out[at..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// The record at the start of `bytes` and its length.
    fn decode(bytes: &[u8]) -> Result<(Record, usize), Malformed> {
        let mut r = Reader::new(bytes, "journal record");
        let record = match r.u8()? {
            1 => Record::Block {
                index: r.u32()?,
                cv: r.array()?,
            },
            2 => Record::Sealed {
                root: Root(r.array()?),
            },
            _ => return Err(Malformed::Value("journal record")),
        };
        let len = bytes.len() - r.len();
        if r.u32()? != crc32fast::hash(&bytes[..len]) {
            return Err(Malformed::Value("journal checksum"));
        }
        Ok((record, len + 4))
    }
}

/// What a journal says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalContents {
    /// What it is about.
    pub header: JournalHeader,
    /// Blocks that were verified, by the hash they had.
    pub blocks: BTreeMap<u32, Cv>,
    /// Set when only the final names were missing.
    pub sealed: Option<Root>,
    /// Bytes up to the end of the last intact record.
    pub intact: u64,
}

impl JournalContents {
    /// Reads a journal up to its first damage.
    ///
    /// # Errors
    /// [`Malformed`] when not even the header is intact.
    pub fn decode(bytes: &[u8]) -> Result<JournalContents, Malformed> {
        let header = JournalHeader::decode(bytes)?;
        let (mut blocks, mut sealed, mut at) = (BTreeMap::new(), None, HEADER_LEN);
        while let Ok((record, len)) = Record::decode(&bytes[at..]) {
            match record {
                Record::Block { index, cv } => drop(blocks.insert(index, cv)),
                Record::Sealed { root } => sealed = Some(root),
            }
            at += len;
        }
        Ok(JournalContents {
            header,
            blocks,
            sealed,
            intact: at as u64,
        })
    }
}

/// An open journal, appended to.
#[derive(Debug)]
pub(super) struct Journal<F> {
    file: F,
    end: u64,
}

impl<F> Journal<F> {
    /// Starts a journal at `path`, on the medium when this returns.
    pub(super) fn create<L: Layer<File = F>>(
        layer: &L,
        path: &Path,
        header: &JournalHeader,
        blocks: &BTreeMap<u32, Cv>,
    ) -> io::Result<Journal<F>> {
        let file = layer.create_new(path)?;
        layer.try_lock(&file)?;
        let mut bytes = header.encode();
        for (&index, &cv) in blocks {
            Record::Block { index, cv }.encode(&mut bytes);
        }
        layer.write_at(&file, 0, &bytes)?;
        layer.sync(&file)?;
        Ok(Journal {
            file,
            end: bytes.len() as u64,
        })
    }

    /// Goes on with a journal whose intact part is `intact` bytes long.
    pub(super) fn resume<L: Layer<File = F>>(layer: &L, file: F, intact: u64) -> io::Result<Journal<F>> {
        layer.set_len(&file, intact)?;
        Ok(Journal { file, end: intact })
    }

    /// Appends a record.
    pub(super) fn append<L: Layer<File = F>>(&mut self, layer: &L, record: &Record) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(41);
        record.encode(&mut bytes);
        layer.write_at(&self.file, self.end, &bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Waits until all records are on the medium.
    pub(super) fn sync<L: Layer<File = F>>(&self, layer: &L) -> io::Result<()> {
        layer.sync(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let header = JournalHeader {
            manifest_hash: [1; 32],
            names_hash: [2; 32],
            total: Some(77),
        };
        let mut bytes = header.encode();
        for index in [0, 1, 5, 0] {
            Record::Block {
                index,
                cv: [bytes.len() as u8; 32],
            }
            .encode(&mut bytes);
        }
        Record::Sealed { root: Root([7; 32]) }.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_torn_tail_is_ignored_wherever_it_is_torn() {
        let bytes = sample();
        let whole = JournalContents::decode(&bytes).unwrap();
        assert_eq!(
            (whole.blocks.len(), whole.sealed, whole.intact),
            (3, Some(Root([7; 32])), bytes.len() as u64)
        );
        assert_eq!(whole.header.total, Some(77));
        for cut in 0..bytes.len() {
            match JournalContents::decode(&bytes[..cut]) {
                Err(_) => assert!(cut < HEADER_LEN),
                Ok(part) => {
                    assert!(part.sealed.is_none() && part.intact <= cut as u64);
                    assert_eq!((part.intact as usize - HEADER_LEN) % 41, 0);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn damage_ends_the_journal_and_never_invents_a_record(at in 0usize..1000, bit in 0u8..8) {
            let mut bytes = sample();
            let whole = JournalContents::decode(&bytes).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(got) = JournalContents::decode(&bytes) {
                prop_assert!(got.intact <= at as u64);
                prop_assert!(got.sealed.is_none());
                prop_assert!(got.blocks.len() <= whole.blocks.len());
            }
        }

        #[test]
        fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = JournalContents::decode(&bytes);
        }
    }
}
