//! How a test controls and inspects the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use p2pcopy::parts::transfer::Room;

use super::disk::{Node, ROOT};
use super::{Crash, MemoryLayer};

impl MemoryLayer {
    /// Dies at step `step` (counted from 1 and from now). A write is torn, any other call is undone, and
    /// nothing works from then on.
    pub fn die_at(&self, step: u64) {
        let mut disk = self.lock();
        disk.die_at = Some(disk.steps + step);
    }

    /// Makes call `call` fail once with this error. Calls are counted from 1 and from now, including those
    /// that change nothing.
    pub fn fail_at(&self, call: u64, error: fn() -> io::Error) {
        let mut disk = self.lock();
        disk.fail_at = Some((disk.calls + call, error));
    }

    /// The name of the call that [`MemoryLayer::fail_at`] made fail.
    pub fn failed(&self) -> Option<&'static str> {
        self.lock().failed
    }

    /// Makes another run find the file of lock `lock` (counted from 1) before it is locked, and remove it.
    pub fn sweep_at(&self, lock: u64) {
        self.lock().swept_at = Some(lock);
    }

    /// Number of locks so far.
    pub fn locks(&self) -> u64 {
        self.lock().locks
    }

    /// Number of calls of all kinds so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Makes every call of this name fail from now on ([`MemoryLayer::log`] has the names).
    #[cfg(unix)]
    pub fn refuse(&self, call: &'static str, error: io::ErrorKind) {
        self.lock().refused.insert(call, error);
    }

    /// Refuses these names from now on, and names that are not text.
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

    /// Sets the free space in mounts.
    pub fn set_mount_room(&self, room: Room) {
        self.lock().mount_room = room;
    }

    /// From now on names are refused, or taken for one, only in mounts.
    pub fn spare_all_but_mounts(&self) {
        self.lock().only_in_mounts = true;
    }

    /// From now on mounts take no symbolic links.
    #[cfg(unix)]
    pub fn refuse_links_in_mounts(&self) {
        self.lock().has_links_in_mounts = false;
    }

    /// Sets the free space.
    pub fn set_room(&self, room: Room) {
        self.lock().room = room;
    }

    /// Treats names as the same if `key` gives the same result, like file systems that ignore case or
    /// normalise.
    pub fn take_for_one(&self, key: fn(&str) -> String) {
        self.lock().key = Some(key);
    }

    /// Whether the disk has died.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Number of calls so far that change something.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// The names of those calls.
    pub fn log(&self) -> Vec<&'static str> {
        self.lock().log.clone()
    }

    /// Starts the machine again, with what `crash` left.
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
    /// If nothing is there.
    pub fn give(&self, path: &Path, user: u32) {
        let mut disk = self.lock();
        let id = disk.find(path).expect("it exists");
        disk.owners.insert(id, user);
    }

    /// From now on `user` replaces each new directory by a directory of their own.
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
