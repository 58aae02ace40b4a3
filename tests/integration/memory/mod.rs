//! A disk in memory, for tests. It dies where a test says so, and forgets what was not synced.
//!
//! What it counts as durable: a file's bytes after a sync of the file, and a directory's entries after a sync
//! of the directory. A rename is one step, and a sync of either directory makes it durable in both.

mod control;
mod disk;

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2pcopy::parts::transfer::{Layer, NodeInfo, NodeKind, OwnerKey, Room, Stat};

use self::disk::{Disk, Node};

/// What is left after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Everything that was written: the process was killed, but the system was not.
    KeepAll,
    /// All names and lengths, but only synced bytes. A journalling file system does this in a power loss.
    LoseBytes,
    /// As [`Crash::LoseBytes`], but only for every second file. So a journal may survive the bytes that it
    /// names.
    LoseOdd,
    /// As [`Crash::LoseOdd`], for the other files.
    LoseEven,
    /// Only what was synced.
    LoseAll,
}

/// The disk. Clones share it.
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
}

impl Layer for MemoryLayer {
    type File = Handle;

    fn key(&self) -> &OwnerKey {
        &self.key
    }

    fn hold(&self, dir: &Path) -> io::Result<Stat> {
        let mut disk = self.lock();
        disk.look("hold")?;
        let id = disk.find(dir)?;
        disk.entries(id)?;
        disk.stat(id)
    }

    fn release(&self, _: &Path) {}

    fn stat(&self, file: &Handle) -> io::Result<Stat> {
        let mut disk = self.lock();
        disk.look("stat")?;
        disk.stat(file.0)
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
        disk.look("open_dir")?;
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
        disk.look("read")?;
        let found = disk.file(file)?.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self, file: &Handle) -> io::Result<u64> {
        let mut disk = self.lock();
        disk.look("len")?;
        Ok(disk.file(file)?.len() as u64)
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

    fn set_attribute(&self, file: &Handle, name: &[u8], value: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("set_attribute")?;
        disk.attributes.insert((file.0, name.to_vec()), value.to_vec());
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

    fn try_lock(&self, file: &Handle) -> io::Result<bool> {
        let mut disk = self.lock();
        disk.look("try_lock")?;
        disk.locks += 1;
        let is_swept = disk.swept_at == Some(disk.locks);
        if is_swept {
            disk.unlink(file.0);
        }
        Ok(!is_swept)
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

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("hard_link")?;
        disk.check_one_device(from, to)?;
        let id = disk.find(from)?;
        disk.enter(to, id)
    }

    fn symlink(&self, target: &[u8], path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole_step("symlink")?;
        if !disk.has_links_in_mounts && disk.is_mounted(path.parent().unwrap_or(path)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
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
        let mut disk = self.lock();
        disk.look("read_link")?;
        match &disk.nodes[&disk.find(path)?] {
            Node::Link { target, .. } => Ok(target.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut disk = self.lock();
        disk.look("list")?;
        Ok(disk.entries(disk.find(path)?)?.keys().cloned().collect())
    }

    fn info(&self, path: &Path) -> io::Result<Option<NodeInfo>> {
        let mut disk = self.lock();
        disk.look("info")?;
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
            device: disk.device_of(id, path)?,
            shared: disk.shared(id),
        }))
    }

    fn check_changeable(&self, _: &Path, _: NodeKind) -> io::Result<()> {
        self.lock().look("check_changeable")
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

    fn room(&self, dir: &Path) -> Room {
        let disk = self.lock();
        let is_mount = disk.is_mounted(dir);
        if is_mount { disk.mount_room } else { disk.room }
    }

    fn root(&self) -> &Path {
        Path::new("OUTPUT")
    }
}
