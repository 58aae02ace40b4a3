//! The note about what has arrived in an incomplete transfer ([`super::came`]).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Sink;
use crate::transfer::error::LocalError;
use crate::transfer::fs::layer::{Doing, Layer, NodeKind};
use crate::transfer::manifest::Kind;
use crate::transfer::names::SafeName;
use crate::transfer::sink::came::{is_near, path_hash};
use crate::transfer::sink::journal::Record;
use crate::transfer::sink::place::Placed;
use crate::transfer::sink::staging;

/// Most names `NAME (N)` that are tried to find the one that was given.
const MOST_NUMBERS: u32 = 10_000;

impl<L: Layer> Sink<L> {
    /// If the transfer is incomplete, notes what has arrived. Removes the earlier note.
    pub(super) fn keep_note(&mut self, placed: &[Placed]) -> Result<(), LocalError> {
        let noted = self.renew_note(placed);
        noted.doing(&self.layer, "note what has come in", "")
    }

    fn renew_note(&mut self, placed: &[Placed]) -> io::Result<()> {
        if let Some((staging, lock)) = self.note.take() {
            // Some systems do not move a directory while a file in it is open.
            drop(lock);
            staging.remove(&self.layer)?;
        }
        let Some(first) = self.first.as_ref().filter(|_| !self.missing.is_empty()) else {
            return Ok(());
        };
        let records = self.records(placed)?;
        // The note has a staging directory of its own.
        let (staging, mut journal) = staging::create(&self.layer, first, self.header)?;
        journal.append_all(&self.layer, &records)?;
        journal.sync(&self.layer)?;
        drop(journal);
        self.layer.remove_dir(&staging.data())
    }

    /// What the note says: the numbers behind top-level names, and the files that are here.
    fn records(&self, placed: &[Placed]) -> io::Result<Vec<Record>> {
        let places: HashMap<&Path, &Path> = placed.iter().map(|p| (&*p.name, &*p.final_name)).collect();
        let mut records = Vec::new();
        for (index, entry) in self.manifest.iter() {
            let wanted = self.manifest.path(index);
            let mut parts = wanted.iter().map(Path::new);
            let top = parts.next().unwrap_or(Path::new(""));
            let top = places.get(top).copied().unwrap_or(top);
            let path: PathBuf = std::iter::once(top).chain(parts).collect();
            if entry.parent.is_none() {
                let sent = self.sent.entry(index).name;
                let name = SafeName::top_from_peer(sent).map_err(|_| io::ErrorKind::InvalidInput)?;
                let is_plain = path.as_os_str() == name.to_os();
                let is_number = |&n: &u32| path.as_os_str() == name.numbered(n).to_os();
                records.push(Record::Top {
                    name: *blake3::hash(sent).as_bytes(),
                    number: match is_plain {
                        true => 0,
                        false => (1..MOST_NUMBERS).find(is_number).unwrap_or(0),
                    },
                });
            }
            let of = match entry.kind {
                Kind::File => entry,
                Kind::HardLink(of) => self.manifest.entry(of),
                _ => continue,
            };
            let found = self.layer.info(&path)?;
            let Some(found) = found.filter(|found| found.kind == NodeKind::File) else {
                continue;
            };
            let has_come =
                !self.missing.contains(index.get()) && is_near((found.len, found.mtime), (of.size, of.mtime));
            if has_come || self.earlier.came.holds(&path, &found) {
                records.push(Record::Came {
                    path: path_hash(&path),
                    len: found.len,
                    mtime: found.mtime,
                });
            }
        }
        Ok(records)
    }
}
