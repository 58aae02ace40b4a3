//! The contents of the disk, and which of them are durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use p2pcopy::parts::transfer::{Room, Stat};

use super::Handle;

/// The node of the disk's root directory.
pub(crate) const ROOT: u64 = 0;

#[derive(Debug)]
pub(crate) enum Node {
    File {
        bytes: Vec<u8>,
        durable: Vec<u8>,
        mode: u16,
        mtime: i64,
    },
    Dir {
        entries: BTreeMap<OsString, u64>,
        durable: BTreeMap<OsString, u64>,
        mode: u16,
        mtime: i64,
    },
    Link {
        target: Vec<u8>,
        mtime: i64,
    },
}

impl Node {
    pub(crate) fn new_file() -> Node {
        Node::File {
            bytes: Vec::new(),
            durable: Vec::new(),
            mode: 0o600,
            mtime: 0,
        }
    }

    pub(crate) fn new_dir() -> Node {
        Node::Dir {
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            mode: 0o700,
            mtime: 0,
        }
    }
}

/// A rename that is not durable yet: from directory and name, to directory and name, node.
type Pending = ((u64, OsString), (u64, OsString), u64);

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) nodes: HashMap<u64, Node>,
    pub(crate) next: u64,
    pub(crate) pending: Vec<Pending>,
    /// Number of calls that change something.
    pub(crate) steps: u64,
    pub(crate) die_at: Option<u64>,
    pub(crate) dead: bool,
    /// Number of all calls.
    pub(crate) calls: u64,
    pub(crate) fail_at: Option<(u64, fn() -> io::Error)>,
    /// The name of the call that failed.
    pub(crate) failed: Option<&'static str>,
    pub(crate) room: Room,
    /// Names with an equal result are the same name.
    pub(crate) key: Option<fn(&str) -> String>,
    pub(crate) log: Vec<&'static str>,
    /// The user who runs the program, and the nodes that belong to other users.
    pub(crate) user: u32,
    pub(crate) owners: HashMap<u64, u32>,
    pub(crate) swapper: Option<u32>,
    /// Names that this disk refuses.
    pub(crate) forbidden: Option<fn(&str) -> bool>,
    /// Directories where another file system is mounted.
    pub(crate) mounts: HashSet<u64>,
    pub(crate) mount_room: Room,
    /// Whether only mounts refuse names and take names for one.
    pub(crate) only_in_mounts: bool,
    pub(crate) has_links_in_mounts: bool,
    /// Calls that always fail.
    pub(crate) refused: HashMap<&'static str, io::ErrorKind>,
    /// Extended attributes by node and name.
    pub(crate) attributes: HashMap<(u64, Vec<u8>), Vec<u8>>,
    /// Number of locks, and the one before which another run removes the file.
    pub(crate) locks: u64,
    pub(crate) swept_at: Option<u64>,
    /// Shared by all handles of a node.
    pub(crate) handles: HashMap<u64, Arc<()>>,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    /// Takes all its names from a file.
    pub(crate) fn unlink(&mut self, file: u64) {
        for node in self.nodes.values_mut() {
            if let Node::Dir { entries, .. } = node {
                entries.retain(|_, id| *id != file);
            }
        }
    }

    /// An empty, healthy disk.
    pub(crate) fn new() -> Disk {
        Disk {
            nodes: HashMap::from([(ROOT, Node::new_dir())]),
            next: 1,
            pending: Vec::new(),
            steps: 0,
            die_at: None,
            dead: false,
            calls: 0,
            fail_at: None,
            failed: None,
            room: Room::default(),
            key: None,
            log: Vec::new(),
            user: 1000,
            owners: HashMap::new(),
            swapper: None,
            forbidden: None,
            mounts: HashSet::new(),
            mount_room: Room::default(),
            only_in_mounts: false,
            has_links_in_mounts: true,
            refused: HashMap::new(),
            attributes: HashMap::new(),
            locks: 0,
            swept_at: None,
            handles: HashMap::new(),
        }
    }

    /// Counts a call that changes something. True if the call must be torn and the machine must die.
    pub(crate) fn step(&mut self, what: &'static str) -> io::Result<bool> {
        self.alive()?;
        self.steps += 1;
        self.log.push(what);
        self.call(what)?;
        if let Some(&error) = self.refused.get(what) {
            return Err(error.into());
        }
        self.dead = self.die_at == Some(self.steps);
        Ok(self.dead)
    }

    pub(crate) fn whole_step(&mut self, what: &'static str) -> io::Result<()> {
        self.step(what)?;
        self.alive()
    }

    /// Counts a call that changes nothing.
    pub(crate) fn look(&mut self, what: &'static str) -> io::Result<()> {
        self.alive()?;
        self.call(what)
    }

    fn call(&mut self, what: &'static str) -> io::Result<()> {
        self.calls += 1;
        match self.fail_at {
            Some((at, error)) if at == self.calls => {
                self.failed = Some(what);
                Err(error())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn alive(&self) -> io::Result<()> {
        if self.dead {
            Err(io::Error::other("the machine is dead"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn add(&mut self, node: Node) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    pub(crate) fn entries(&self, dir: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match self.nodes.get(&dir) {
            Some(Node::Dir { entries, .. }) => Ok(entries),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(crate) fn entries_mut(&mut self, dir: u64) -> io::Result<&mut BTreeMap<OsString, u64>> {
        match self.nodes.get_mut(&dir) {
            Some(Node::Dir { entries, .. }) => Ok(entries),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The stored name that this disk takes for `name`.
    pub(crate) fn key(&self, dir: u64, name: &OsString) -> io::Result<OsString> {
        if let Some(key) = self.key.filter(|_| self.is_odd(dir)) {
            let key = |name: &OsString| name.to_str().map(key);
            let (entries, wanted) = (self.entries(dir)?, key(name));
            if let Some(found) = entries.keys().find(|k| wanted.is_some() && key(k) == wanted) {
                return Ok(found.clone());
            }
        }
        Ok(name.clone())
    }

    pub(crate) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let key = self.key(at, &name.to_owned())?;
            at = *self.entries(at)?.get(&key).ok_or_else(not_found)?;
        }
        Ok(at)
    }

    pub(crate) fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, self.key(dir, &name.to_owned())?))
    }

    /// The last directory above `path` where a file system is mounted.
    fn device(&self, path: &Path) -> io::Result<u64> {
        for dir in path.ancestors().skip(1) {
            let id = self.find(dir)?;
            if self.mounts.contains(&id) {
                return Ok(id);
            }
        }
        Ok(ROOT)
    }

    /// The number of the file system of the node at `path`.
    pub(crate) fn device_of(&self, id: u64, path: &Path) -> io::Result<u64> {
        let mount = if self.mounts.contains(&id) {
            id
        } else {
            self.device(path)?
        };
        Ok(mount + 1)
    }

    /// Whether the directory `dir` lies in a mount.
    pub(crate) fn is_mounted(&self, dir: &Path) -> bool {
        self.find(dir)
            .and_then(|id| self.device_of(id, dir))
            .is_ok_and(|device| device != ROOT + 1)
    }

    /// Whether names in the directory `dir` are as a test has chosen.
    fn is_odd(&self, dir: u64) -> bool {
        let is_below = |mount: &u64| {
            let mut open = vec![*mount];
            while let Some(id) = open.pop() {
                if id == dir {
                    return true;
                }
                if let Some(Node::Dir { entries, .. }) = self.nodes.get(&id) {
                    open.extend(entries.values());
                }
            }
            false
        };
        !self.only_in_mounts || self.mounts.iter().any(is_below)
    }

    pub(crate) fn insert(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let id = self.add(node);
        self.enter(path, id)?;
        Ok(id)
    }

    /// Gives a node a name.
    pub(crate) fn enter(&mut self, path: &Path, id: u64) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let is_forbidden = |forbidden: fn(&str) -> bool| name.to_str().is_none_or(forbidden);
        if self.forbidden.is_some_and(is_forbidden) && self.is_odd(dir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.entries(dir)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.entries_mut(dir)?.insert(name, id);
        Ok(())
    }

    pub(crate) fn check_one_device(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.device(from)? == self.device(to)? {
            true => Ok(()),
            false => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        self.check_one_device(from, to)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if !replace && self.entries(to.0)?.contains_key(&to.1) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let moved = *self.entries(from.0)?.get(&from.1).ok_or_else(not_found)?;
        // Two names of one file stay, says POSIX.
        if self.entries(to.0)?.get(&to.1) == Some(&moved) {
            return Ok(());
        }
        // Windows behaves like this.
        if self.has_open(moved) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let id = self.entries_mut(from.0)?.remove(&from.1).ok_or_else(not_found)?;
        self.entries_mut(to.0)?.insert(to.1.clone(), id);
        self.pending.push((from, to, id));
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let id = self.entries_mut(dir)?.remove(&name).ok_or_else(not_found)?;
        // NFS and many FUSE file systems do this: an open file stays under another name until it is closed.
        if self.is_open(id) {
            self.entries_mut(dir)?.insert(format!(".hidden{id}").into(), id);
        }
        Ok(())
    }

    pub(crate) fn handle(&mut self, id: u64) -> Handle {
        Handle(id, Arc::clone(self.handles.entry(id).or_default()))
    }

    fn is_open(&self, id: u64) -> bool {
        self.handles
            .get(&id)
            .is_some_and(|handle| Arc::strong_count(handle) > 1)
    }

    /// Whether an open file lies below a directory.
    fn has_open(&self, id: u64) -> bool {
        match self.nodes.get(&id) {
            Some(Node::Dir { entries, .. }) => entries.values().any(|&below| match self.nodes[&below] {
                Node::Dir { .. } => self.has_open(below),
                _ => self.is_open(below),
            }),
            _ => false,
        }
    }

    pub(crate) fn sync(&mut self, id: u64) {
        match self.nodes.get_mut(&id) {
            Some(Node::File { bytes, durable, .. }) => durable.clone_from(bytes),
            Some(Node::Dir { entries, durable, .. }) => durable.clone_from(entries),
            _ => {}
        }
        for (from, to, node) in std::mem::take(&mut self.pending) {
            if from.0 != id && to.0 != id {
                self.pending.push((from, to, node));
                continue;
            }
            if let Some(Node::Dir { durable, .. }) = self.nodes.get_mut(&from.0)
                && durable.get(&from.1) == Some(&node)
            {
                durable.remove(&from.1);
            }
            if let Some(Node::Dir { durable, .. }) = self.nodes.get_mut(&to.0) {
                durable.insert(to.1, node);
            }
        }
    }

    pub(crate) fn file(&mut self, handle: &Handle) -> io::Result<&mut Vec<u8>> {
        match self.nodes.get_mut(&handle.0) {
            Some(Node::File { bytes, .. }) => Ok(bytes),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The permission bits of a file or directory.
    pub(crate) fn mode_mut(&mut self, id: u64) -> io::Result<&mut u16> {
        match self.nodes.get_mut(&id) {
            Some(Node::File { mode, .. } | Node::Dir { mode, .. }) => Ok(mode),
            _ => Err(not_found()),
        }
    }

    /// The modification time.
    pub(crate) fn mtime_mut(&mut self, id: u64) -> io::Result<&mut i64> {
        match self.nodes.get_mut(&id) {
            Some(Node::File { mtime, .. } | Node::Dir { mtime, .. } | Node::Link { mtime, .. }) => Ok(mtime),
            None => Err(not_found()),
        }
    }

    pub(crate) fn stat(&self, id: u64) -> io::Result<Stat> {
        let mode = match self.nodes.get(&id) {
            Some(Node::File { mode, .. } | Node::Dir { mode, .. }) => *mode,
            _ => return Err(not_found()),
        };
        Ok(Stat {
            inode: id,
            device: 0,
            born: 0,
            owner: *self.owners.get(&id).unwrap_or(&self.user),
            mode,
        })
    }

    /// The number of a file that has other names.
    pub(crate) fn shared(&self, id: u64) -> Option<u64> {
        let names = self.nodes.values().map(|node| match node {
            Node::Dir { entries, .. } => entries.values().filter(|&&entry| entry == id).count(),
            Node::File { .. } | Node::Link { .. } => 0,
        });
        let is_file = matches!(self.nodes.get(&id), Some(Node::File { .. }));
        (names.sum::<usize>() > 1 && is_file).then_some(id)
    }

    pub(crate) fn open(&mut self, path: &Path) -> io::Result<Handle> {
        self.look("open")?;
        let id = self.find(path)?;
        match self.nodes[&id] {
            Node::File { .. } => Ok(self.handle(id)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
