//! A disk in memory that dies where it is told to, and forgets what was not synced. For tests.
//!
//! What it takes for durable: a file's bytes after a sync of the file, a directory's entries after a sync of the
//! directory; a rename is one step, durable in both directories with a sync of either.

mod disk;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::disk::{Disk, Node, ROOT};
use crate::transfer::fs::layer::{Layer, NodeInfo, NodeKind, Room, Stat};
use crate::transfer::fs::owner::OwnerKey;

/// What is left after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Everything written: the process was killed, the system lived on.
    KeepAll,
    /// Names and lengths, but only synced bytes: what a journalling file system does in a power loss.
    LoseBytes,
    /// As [`Crash::LoseBytes`], but only for every second file: a journal may outlive what it speaks of.
    LoseOdd,
    /// The same for the other files.
    LoseEven,
    /// Only what was synced.
    LoseAll,
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryLayer {
    disk: Arc<Mutex<Disk>>,
    key: OwnerKey,
}

/// A node of the disk, held open.
#[derive(Clone, Debug)]
pub struct Handle(
    u64,
    #[expect(dead_code, reason = "how many there are tells what is open")] Arc<()>,
);

impl Default for MemoryLayer {
    fn default() -> Self {
        MemoryLayer::new()
    }
}

impl MemoryLayer {
    /// An empty, healthy disk.
    pub fn new() -> MemoryLayer {
        MemoryLayer {
            disk: Arc::new(Mutex::new(Disk::new())),
            key: OwnerKey::from_bytes([5; 32]),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dies in step `step` (counted from 1 and from now): a write is torn, anything else undone, and nothing
    /// works from then on.
    pub fn die_at(&self, step: u64) {
        let mut disk = self.lock();
        disk.die_at = Some(disk.steps + step);
    }

    /// Fails step `step` (counted from 1 and from now) with this error, once.
    pub fn fail_at(&self, step: u64, error: io::ErrorKind) {
        let mut disk = self.lock();
        disk.fail_at = Some((disk.steps + step, error));
    }

    /// Fails every call of this name from now on ([`MemoryLayer::log`] has the names).
    pub fn refuse(&self, call: &'static str, error: io::ErrorKind) {
        self.lock().refused.insert(call, error);
    }

    /// Refuses these names from now on, and those that are no text.
    pub fn forbid(&self, names: fn(&str) -> bool) {
        self.lock().forbidden = Some(names);
    }

    /// Mounts another file system in the directory `path`.
    ///
    /// # Panics
    /// If nothing is there.
    pub fn mount(&self, path: &Path) {
        let mut disk = self.lock();
        let id = disk.find(path).expect("it exists");
        disk.mounts.insert(id);
    }

    /// Says what is free.
    pub fn set_room(&self, room: Room) {
        self.lock().room = room;
    }

    /// Takes names for one that are equal under `key`, as file systems do that ignore case or normalise.
    pub fn take_for_one(&self, key: fn(&str) -> String) {
        self.lock().key = Some(key);
    }

    /// Whether it died.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Steps taken: every call that changes something.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// The names of those calls.
    pub fn log(&self) -> Vec<&'static str> {
        self.lock().log.clone()
    }

    /// The machine starts again, with what `crash` left.
    pub fn revive(&self, crash: Crash) {
        let mut disk = self.lock();
        (disk.dead, disk.die_at, disk.fail_at) = (false, None, None);
        for (&id, node) in &mut disk.nodes {
            let crash = match (crash, id % 2) {
                (Crash::LoseOdd, 1) | (Crash::LoseEven, 0) => Crash::LoseBytes,
                (Crash::LoseOdd | Crash::LoseEven, _) => Crash::KeepAll,
                (other, _) => other,
            };
            match node {
                Node::File { bytes, durable, .. } => match crash {
                    Crash::KeepAll => durable.clone_from(bytes),
                    Crash::LoseBytes => {
                        durable.resize(bytes.len(), 0);
                        bytes.clone_from(durable);
                    }
                    _ => bytes.clone_from(durable),
                },
                Node::Dir { entries, durable, .. } => match crash {
                    Crash::LoseAll => entries.clone_from(durable),
                    _ => durable.clone_from(entries),
                },
                Node::Link { .. } => {}
            }
        }
        disk.pending.clear();
    }

    /// Everything on the disk by path: a file's bytes, `None` for a directory, a link's target.
    pub fn contents(&self) -> BTreeMap<std::path::PathBuf, Option<Vec<u8>>> {
        let disk = self.lock();
        let (mut out, mut pending) = (BTreeMap::new(), vec![(std::path::PathBuf::new(), ROOT)]);
        while let Some((path, id)) = pending.pop() {
            let found = match &disk.nodes[&id] {
                Node::File { bytes, .. } => Some(bytes.clone()),
                Node::Link { target, .. } => Some(target.clone()),
                Node::Dir { entries, .. } => {
                    pending.extend(entries.iter().map(|(name, &id)| (path.join(name), id)));
                    None
                }
            };
            if id != ROOT {
                out.insert(path, found);
            }
        }
        out
    }

    /// Gives what lies at `path` to another user.
    ///
    /// # Panics
    /// If nothing does.
    pub fn give(&self, path: &Path, user: u32) {
        let mut disk = self.lock();
        let id = disk.find(path).expect("it exists");
        disk.owners.insert(id, user);
    }

    /// From now on `user` is quick enough to put a directory of his in the place of each new one.
    pub fn swap_new_directories(&self, user: u32) {
        self.lock().swapper = Some(user);
    }

    /// Puts a file there, durable at once.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.lock();
        let node = Node::File {
            bytes: bytes.to_vec(),
            durable: bytes.to_vec(),
            mode: 0o644,
            mtime: 0,
        };
        let id = disk.add(node);
        if let Some(Node::Dir { entries, durable, .. }) = disk.nodes.get_mut(&ROOT) {
            entries.insert(name.into(), id);
            durable.insert(name.into(), id);
        }
    }
}

impl Layer for MemoryLayer {
    type File = Handle;

    fn key(&self) -> &OwnerKey {
        &self.key
    }

    fn hold(&self, dir: &Path) -> io::Result<Stat> {
        let disk = self.lock();
        disk.alive()?;
        let id = disk.find(dir)?;
        disk.entries(id)?;
        disk.stat(id)
    }

    fn release(&self, _: &Path) {}

    fn stat(&self, file: &Handle) -> io::Result<Stat> {
        self.lock().stat(file.0)
    }

    fn create_new(&self, path: &Path) -> io::Result<Handle> {
        let mut disk = self.lock();
        disk.whole_step("create")?;
        let id = disk.insert(path, Node::new_file())?;
        Ok(disk.handle(id))
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        self.lock().open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Handle> {
        self.lock().open(path)
    }

    fn open_dir(&self, path: &Path) -> io::Result<Handle> {
        let mut disk = self.lock();
        disk.alive()?;
        let id = disk.find(path)?;
        disk.entries(id)?;
        Ok(disk.handle(id))
    }

    fn write_at(&self, file: &Handle, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        let torn = disk.step("write")?;
        let bytes = if torn { &bytes[..bytes.len() / 2] } else { bytes };
        let (at, data) = (offset as usize, disk.file(file)?);
        if data.len() < at + bytes.len() {
            data.resize(at + bytes.len(), 0);
        }
        data[at..at + bytes.len()].copy_from_slice(bytes);
        disk.alive()
    }

    fn read_at(&self, file: &Handle, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.alive()?;
        let found = disk.file(file)?.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self, file: &Handle) -> io::Result<u64> {
        Ok(self.lock().file(file)?.len() as u64)
    }

    fn set_len(&self, file: &Handle, len: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("set_len")?;
        disk.file(file)?.resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, file: &Handle, len: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("allocate")?;
        let data = disk.file(file)?;
        let len = data.len().max(len as usize);
        data.resize(len, 0);
        Ok(())
    }

    fn punch(&self, file: &Handle, offset: u64, len: u64) -> io::Result<bool> {
        let mut disk = self.lock();
        disk.whole_step("punch")?;
        let (start, end) = (offset as usize, (offset + len) as usize);
        let data = disk.file(file)?;
        data.resize(data.len().max(end), 0);
        data[start..end].fill(0);
        Ok(true)
    }

    fn written(&self, file: &Handle, from: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len(file)?;
        Ok((from < len).then_some(from..len))
    }

    fn set_mode(&self, file: &Handle, new: u16) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("set_mode")?;
        *disk.mode_mut(file.0)? = new;
        Ok(())
    }

    fn set_modified(&self, file: &Handle, new: i64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("set_modified")?;
        *disk.mtime_mut(file.0)? = new;
        Ok(())
    }

    fn set_time(&self, path: &Path, new: i64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("set_time")?;
        let id = disk.find(path)?;
        *disk.mtime_mut(id)? = new;
        Ok(())
    }

    fn sync(&self, file: &Handle) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("sync")?;
        disk.sync(file.0);
        Ok(())
    }

    fn has_sync_all(&self) -> bool {
        true
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("sync_all")?;
        let all: Vec<u64> = disk.nodes.keys().copied().collect();
        all.into_iter().for_each(|id| disk.sync(id));
        Ok(())
    }

    fn try_lock(&self, _: &Handle) -> io::Result<bool> {
        Ok(true)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("rename")?;
        disk.rename(from, to, false)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("replace")?;
        disk.rename(from, to, true)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("remove")?;
        disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("remove_dir")?;
        let id = disk.find(path)?;
        if !disk.entries(id)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("create_dir")?;
        let id = disk.insert(path, Node::new_dir())?;
        if let Some(user) = disk.swapper {
            disk.owners.insert(id, user);
        }
        Ok(())
    }

    fn symlink(&self, target: &[u8], path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("symlink")?;
        disk.insert(
            path,
            Node::Link {
                target: target.to_vec(),
                mtime: 0,
            },
        )
        .map(drop)
    }

    fn read_link(&self, path: &Path) -> io::Result<Vec<u8>> {
        let disk = self.lock();
        match &disk.nodes[&disk.find(path)?] {
            Node::Link { target, .. } => Ok(target.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let disk = self.lock();
        disk.alive()?;
        Ok(disk.entries(disk.find(path)?)?.keys().cloned().collect())
    }

    fn info(&self, path: &Path) -> io::Result<Option<NodeInfo>> {
        let disk = self.lock();
        disk.alive()?;
        let Ok(id) = disk.find(path) else { return Ok(None) };
        let (kind, len, mode, mtime) = match &disk.nodes[&id] {
            Node::File {
                bytes, mode, mtime, ..
            } => (NodeKind::File, bytes.len(), *mode, *mtime),
            Node::Dir { mode, mtime, .. } => (NodeKind::Dir, 0, *mode, *mtime),
            Node::Link { target, mtime } => (NodeKind::Other, target.len(), 0o777, *mtime),
        };
        Ok(Some(NodeInfo {
            kind,
            len: len as u64,
            mode,
            mtime,
        }))
    }

    fn unlock(&self, path: &Path) {
        let mut disk = self.lock();
        if disk.alive().is_err() || disk.refused.contains_key("unlock") {
            return;
        }
        let Ok(id) = disk.find(path) else { return };
        if let Ok(mode) = disk.mode_mut(id) {
            *mode |= 0o700;
        }
    }

    fn room(&self) -> Room {
        self.lock().room
    }

    fn root(&self) -> &Path {
        Path::new("OUTPUT")
    }
}
