//! The journal beside a partial transfer. It records which blocks were verified, and whether all of them
//! were.
//!
//! It proves that this user's program made the directory it lies in: header and records carry a keyed hash
//! that nobody else can make. The hash also covers the directory's identity, so a copy of the journal proves
//! nothing.
//!
//! What it says about blocks is a hint and never a proof. After a crash or power loss a record may be on the
//! disk while the bytes it names are lost. So every block it names is read again and compared with the hash
//! that the sender announces before it counts. Only [`Record::Sealed`] is trusted, because everything was
//! synced before it was written.

use std::collections::BTreeMap;
use std::io;

use crate::protocol::codec::Reader;
use crate::transfer::error::Malformed;
use crate::transfer::fs::layer::{Layer, Stat};
use crate::transfer::fs::owner::{OwnerKey, Purpose};
use crate::transfer::hash::{Cv, Root};
use crate::transfer::manifest::offer::Offer;
use crate::transfer::sink::came::Came;
use crate::transfer::sink::place::Conflicts;

/// First bytes of a journal; the last byte is the version of the format.
const MAGIC: &[u8; 16] = b"p2pcopy journal\x01";

/// Length of a proof: keyed BLAKE3.
const PROOF_LEN: usize = 32;

/// Header: magic, manifest hash, names hash, length of the content, whether modes are kept, proof.
const HEADER_LEN: usize = 16 + 32 + 32 + 8 + 1 + PROOF_LEN;

/// Record: type, block or conflict rule, hash, proof.
const RECORD_LEN: usize = 1 + 4 + 32 + PROOF_LEN;

/// Records read in one call.
const RECORDS_AT_ONCE: usize = 1024;

/// The value of the length field for a stream, whose length is unknown.
const UNKNOWN_LENGTH: u64 = u64::MAX;

/// The transfer that a journal belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct JournalHeader {
    /// Hash of the manifest: names, sizes, times.
    pub manifest_hash: [u8; 32],
    /// Hash of its names alone.
    pub names_hash: [u8; 32],
    /// Length of the content, if it is known.
    pub total: Option<u64>,
    /// Whether the file system keeps permission bits. If it does, the directory was private when it was made.
    pub private: bool,
}

impl JournalHeader {
    /// The header for what is offered. `private` is set later, when the directory is made.
    pub(crate) fn of(offer: &Offer) -> JournalHeader {
        JournalHeader {
            manifest_hash: offer.manifest_hash,
            names_hash: offer.names_hash,
            total: (!offer.stream).then_some(offer.bytes),
            private: true,
        }
    }

    /// The header without its proof.
    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.manifest_hash);
        out.extend_from_slice(&self.names_hash);
        out.extend_from_slice(&self.total.unwrap_or(UNKNOWN_LENGTH).to_be_bytes());
        out.push(u8::from(self.private));
        out
    }

    /// The header as stored on the disk, and the chain of proofs that begins with it.
    fn encode(&self, key: &OwnerKey, dir: &Stat) -> (Vec<u8>, Chain) {
        let mut out = self.body();
        let chain = Chain::start(key, dir, &out);
        out.extend_from_slice(chain.last.as_bytes());
        (out, chain)
    }

    fn decode(bytes: &[u8], key: &OwnerKey, dir: &Stat) -> Result<(JournalHeader, Chain), Malformed> {
        let mut r = Reader::new(bytes, "journal");
        if r.array::<16>()? != *MAGIC {
            return Err(Malformed::Value("journal magic"));
        }
        let header = JournalHeader {
            manifest_hash: r.array()?,
            names_hash: r.array()?,
            total: Some(r.u64()?).filter(|&t| t != UNKNOWN_LENGTH),
            private: r.u8()? == 1,
        };
        let chain = Chain::start(key, dir, &header.body());
        // `blake3::Hash` compares in constant time.
        if chain.last != r.array::<PROOF_LEN>()? {
            return Err(Malformed::Value("journal proof"));
        }
        Ok((header, chain))
    }
}

/// A chain of proofs: each proof covers the one before. Without the key nobody can add, change or reorder a
/// record, or move a journal to another directory. Somebody can only cut records off at the end, which does
/// no harm.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    key: OwnerKey,
    last: blake3::Hash,
}

impl Chain {
    fn start(key: &OwnerKey, dir: &Stat, header: &[u8]) -> Chain {
        let place = [
            &dir.inode.to_be_bytes()[..],
            &dir.born.to_be_bytes(),
            &dir.owner.to_be_bytes(),
        ];
        Chain {
            last: key.mac(Purpose::Header, &[&place.concat(), header]),
            key: key.clone(),
        }
    }

    fn next(&self, record: &[u8]) -> blake3::Hash {
        self.key.mac(Purpose::Record, &[self.last.as_bytes(), record])
    }
}

/// What a complete transfer is added to. The value is the type of its record.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Onto {
    /// What lies under the final names is not known to be ours.
    #[default]
    Nothing = 2,
    /// An earlier, incomplete transfer whose files already have their final names ([`Came`]).
    WhatCame = 5,
}

/// One record: `type 8 | number 32 | hash 256 | proof 256`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Record {
    /// A block was verified and written, but not synced.
    Block {
        /// Its number.
        index: u32,
        /// Its hash.
        cv: Cv,
    },
    /// A file arrived whole in a transfer that was not complete, and has its final name ([`Came`]).
    Came {
        /// A hash of the file's path.
        path: [u8; 16],
        /// The file's size.
        len: u64,
        /// The file's modification time on this disk.
        mtime: i64,
    },
    /// The number behind the name of a top-level entry of such a transfer, 0 for none.
    Top {
        /// A hash of the name.
        name: [u8; 32],
        /// The number.
        number: u32,
    },
    /// Everything was verified and synced; only the final names are missing.
    Sealed {
        /// What the transfer is added to.
        onto: Onto,
        /// What the user wanted, in that run, for final names that are taken.
        conflicts: Conflicts,
        /// The root over the content.
        root: Root,
    },
}

impl Record {
    fn encode(&self, chain: &mut Chain, out: &mut Vec<u8>) {
        let at = out.len();
        let (kind, number, hash) = match self {
            Record::Block { index, cv } => (1, *index, *cv),
            Record::Sealed {
                onto,
                conflicts,
                root,
            } => (*onto as u8, *conflicts as u32, root.0),
            Record::Came { path, len, mtime } => {
                let mut hash = [0; 32];
                hash[..16].copy_from_slice(path);
                hash[16..24].copy_from_slice(&len.to_be_bytes());
                hash[24..].copy_from_slice(&mtime.to_be_bytes());
                (3, 0, hash)
            }
            Record::Top { name, number } => (4, *number, *name),
        };
        out.push(kind);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&hash);
        chain.last = chain.next(&out[at..]);
        out.extend_from_slice(chain.last.as_bytes());
    }

    /// The record in `bytes`, if it continues `chain`.
    fn decode(bytes: &[u8], chain: &mut Chain) -> Result<Record, Malformed> {
        let mut r = Reader::new(bytes, "journal record");
        let (kind, number, hash) = (r.u8()?, r.u32()?, r.array::<32>()?);
        let proof = chain.next(&bytes[..RECORD_LEN - PROOF_LEN]);
        if proof != r.array::<PROOF_LEN>()? {
            return Err(Malformed::Value("journal proof"));
        }
        let record = match kind {
            1 => Record::Block {
                index: number,
                cv: hash,
            },
            2 | 5 => Record::Sealed {
                onto: if kind == Onto::WhatCame as u8 {
                    Onto::WhatCame
                } else {
                    Onto::Nothing
                },
                conflicts: Conflicts::from_number(number).ok_or(Malformed::Value("journal record"))?,
                root: Root(hash),
            },
            3 => {
                let mut r = Reader::new(&hash, "journal record");
                Record::Came {
                    path: r.array()?,
                    len: r.u64()?,
                    mtime: r.i64()?,
                }
            }
            4 => Record::Top { name: hash, number },
            _ => return Err(Malformed::Value("journal record")),
        };
        chain.last = proof;
        Ok(record)
    }
}

/// The contents of a journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalContents {
    /// The transfer it belongs to.
    pub header: JournalHeader,
    /// Verified blocks, with their hashes.
    pub blocks: BTreeMap<u32, Cv>,
    /// What arrived of a transfer that was not complete.
    pub(crate) came: Box<Came>,
    /// If only the final names are missing: what the transfer is added to.
    pub(crate) onto: Onto,
    /// Set when only the final names were missing: what to do with names that are taken.
    pub sealed: Option<Conflicts>,
    /// Bytes up to the end of the last block record.
    pub intact: u64,
    /// The chain of proofs up to there.
    chain: Chain,
}

impl JournalContents {
    /// Length of the shortest journal.
    pub(crate) const LEAST: u64 = HEADER_LEN as u64;

    fn new((header, chain): (JournalHeader, Chain)) -> JournalContents {
        JournalContents {
            header,
            blocks: BTreeMap::new(),
            came: Box::default(),
            onto: Onto::default(),
            sealed: None,
            intact: HEADER_LEN as u64,
            chain,
        }
    }

    /// Reads the journal of the directory `dir` up to its first damage.
    ///
    /// # Errors
    /// [`Malformed`] if `key` did not make it, or made it for another directory.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn decode(bytes: &[u8], key: &OwnerKey, dir: &Stat) -> Result<JournalContents, Malformed> {
        let mut contents = JournalContents::new(JournalHeader::decode(bytes, key, dir)?);
        contents.add(&bytes[HEADER_LEN..]);
        Ok(contents)
    }

    /// Reads the header of a journal. The file may be anybody's, and of any length. `None` if it is not ours.
    pub(crate) fn open<L: Layer>(
        layer: &L,
        file: &L::File,
        dir: &Stat,
    ) -> io::Result<Option<JournalContents>> {
        let mut bytes = [0; HEADER_LEN];
        match layer.read_at(file, 0, &mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        Ok(JournalHeader::decode(&bytes, layer.key(), dir)
            .ok()
            .map(JournalContents::new))
    }

    /// Reads records up to the first damage. Memory holds only what this program wrote.
    pub(crate) fn read<L: Layer>(&mut self, layer: &L, file: &L::File) -> io::Result<()> {
        let (mut at, end) = (HEADER_LEN as u64, layer.len(file)?);
        let mut bytes = vec![0; RECORD_LEN * RECORDS_AT_ONCE];
        loop {
            let here = end.saturating_sub(at).min(bytes.len() as u64) as usize / RECORD_LEN * RECORD_LEN;
            layer.read_at(file, at, &mut bytes[..here])?;
            if !self.add(&bytes[..here]) {
                return Ok(());
            }
            at += here as u64;
        }
    }

    /// Takes whole records. False at the end and at a damaged record.
    fn add(&mut self, bytes: &[u8]) -> bool {
        for record in bytes.chunks(RECORD_LEN) {
            let mut chain = self.chain.clone();
            match Record::decode(record, &mut chain) {
                // Nothing follows this record.
                Ok(Record::Sealed { conflicts, onto, .. }) => {
                    self.onto = onto;
                    self.sealed = Some(conflicts);
                    return false;
                }
                Ok(Record::Block { index, cv }) => drop(self.blocks.insert(index, cv)),
                Ok(Record::Came { path, len, mtime }) => drop(self.came.files.insert(path, (len, mtime))),
                Ok(Record::Top { name, number }) => drop(self.came.tops.insert(name, number)),
                Err(_) => return false,
            }
            self.chain = chain;
            self.intact += RECORD_LEN as u64;
        }
        !bytes.is_empty()
    }
}

/// An open journal; records are appended to it.
#[derive(Debug)]
pub(crate) struct Journal<F> {
    file: F,
    end: u64,
    chain: Chain,
}

/// Writes a new journal for the directory `dir` and syncs it.
pub(crate) fn start<L: Layer>(
    layer: &L,
    file: &L::File,
    header: &JournalHeader,
    dir: &Stat,
) -> io::Result<Chain> {
    let (bytes, chain) = header.encode(layer.key(), dir);
    layer.write_at(file, 0, &bytes)?;
    layer.sync(file)?;
    Ok(chain)
}

impl<F> Journal<F> {
    /// Continues a journal that was started with [`start`].
    pub(crate) fn started(file: F, chain: Chain) -> Journal<F> {
        Journal {
            file,
            end: HEADER_LEN as u64,
            chain,
        }
    }

    /// Continues a journal. If it was sealed, the seal is removed before anything that it speaks of can
    /// change.
    pub(crate) fn resume<L: Layer<File = F>>(
        layer: &L,
        file: F,
        contents: &JournalContents,
    ) -> io::Result<Journal<F>> {
        if layer.len(&file)? > contents.intact {
            layer.set_len(&file, contents.intact)?;
            layer.sync(&file)?;
        }
        Ok(Journal {
            file,
            end: contents.intact,
            chain: contents.chain.clone(),
        })
    }

    /// Appends a record.
    pub(crate) fn append<L: Layer<File = F>>(&mut self, layer: &L, record: &Record) -> io::Result<()> {
        self.append_all(layer, std::slice::from_ref(record))
    }

    /// Appends several records.
    pub(crate) fn append_all<L: Layer<File = F>>(&mut self, layer: &L, records: &[Record]) -> io::Result<()> {
        for some in records.chunks(RECORDS_AT_ONCE) {
            let mut bytes = Vec::with_capacity(some.len() * RECORD_LEN);
            let mut chain = self.chain.clone();
            some.iter()
                .for_each(|record| record.encode(&mut chain, &mut bytes));
            layer.write_at(&self.file, self.end, &bytes)?;
            self.end += bytes.len() as u64;
            self.chain = chain;
        }
        Ok(())
    }

    /// Waits until all records are on the medium.
    pub(crate) fn sync<L: Layer<File = F>>(&self, layer: &L) -> io::Result<()> {
        layer.sync(&self.file)
    }
}

#[cfg(test)]
mod tests;
