//! Something that is sent with the same two commands as often as it takes.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::driver::Peer;
use super::network::{Network, Side};

/// Bytes written or compared at a time.
const PIECE: usize = 1 << 20;
/// The name of what is sent, on both sides.
const NAME: &str = "vm.img";
/// Files of a tree.
const TREE_FILES: u64 = 300;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goods {
    /// A file of so many bytes.
    File(u64),
    /// Some hundred files in directories, with links and permissions.
    Tree,
    /// So many bytes that come out of a pipe; the pipe can be filled again with the same.
    Pipe(u64),
}

/// Something at A's and the place at B's where it shall stand.
#[derive(Debug)]
pub(crate) struct Standing {
    goods: Goods,
    files: TempDir,
    arguments: [Vec<String>; 2],
}

/// Both ends of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) sender: Peer,
    pub(crate) receiver: Peer,
}

impl Standing {
    /// Makes the goods; `arguments` are the sender's and the receiver's own.
    pub(crate) fn new(goods: Goods, seed: u64, arguments: [&[&str]; 2]) -> Standing {
        let files = tempfile::tempdir().expect("a place for files");
        std::fs::create_dir(files.path().join("received")).expect("an empty directory");
        let standing = Standing {
            goods,
            files,
            arguments: arguments.map(|side| side.iter().map(ToString::to_string).collect()),
        };
        let mut dice = Dice::new(seed);
        match goods {
            Goods::File(size) | Goods::Pipe(size) => dice.write(&standing.source(), size),
            Goods::Tree => plant(&standing.source(), &mut dice),
        }
        standing
    }

    /// Starts both programs and gives each the other's address.
    pub(crate) fn attempt(&self, network: &Network) -> Result<Attempt, String> {
        let mut receiver = Peer::start(network, Side::B, "receiver", |command| {
            command.args(["receiver", "--yes", "--output"]);
            command.arg(self.directory()).args(&self.arguments[1]);
        });
        let start = |arrange: &dyn Fn(&mut Command)| {
            Peer::start(network, Side::A, "sender", |command| {
                command.arg("sender").args(&self.arguments[0]);
                arrange(command);
            })
        };
        let sender = if let Goods::Pipe(_) = self.goods {
            // Standard input is the pipe, so that nothing can be typed there.
            let mut pipe = File::open(self.source()).expect("written before");
            let peer = receiver.address()?;
            let (read, mut write) = std::io::pipe().map_err(|error| error.to_string())?;
            thread::spawn(move || std::io::copy(&mut pipe, &mut write));
            let read = Mutex::new(Some(read));
            let sender = start(&|command| {
                command.args(["--file", "-", "--name", NAME, "--peer", &peer]);
                let read = read.lock().ok().and_then(|mut read| read.take());
                command.stdin(read.map_or_else(Stdio::null, Stdio::from));
            });
            receiver.enter(&sender.told()?);
            sender
        } else {
            let mut sender = start(&|command| {
                command.arg("--links").arg(self.source());
            });
            let (tell_receiver, tell_sender) = (sender.address()?, receiver.address()?);
            sender.enter(&tell_sender);
            receiver.enter(&tell_receiver);
            sender
        };
        Ok(Attempt { sender, receiver })
    }

    /// What is sent, or what the pipe is filled from.
    pub(crate) fn source(&self) -> PathBuf {
        self.files.path().join(NAME)
    }

    /// Where the receiver puts things.
    pub(crate) fn directory(&self) -> PathBuf {
        self.files.path().join("received")
    }

    /// Whether anything stands under the final name.
    pub(crate) fn arrived(&self) -> bool {
        self.directory().join(NAME).exists()
    }

    /// Whether the final name holds exactly what is sent.
    pub(crate) fn exact(&self) -> bool {
        let (sent, received) = (self.source(), self.directory().join(NAME));
        match self.goods {
            Goods::File(_) | Goods::Pipe(_) => same(&sent, &received),
            Goods::Tree => {
                let sent = describe(&sent).expect("what was planted can be read");
                describe(&received).is_ok_and(|received| received == sent)
            }
        }
    }

    /// Whether nothing but the final name lies where the receiver puts things.
    pub(crate) fn is_tidy(&self) -> bool {
        let entries = std::fs::read_dir(self.directory()).expect("the receiver's directory");
        let names: Vec<_> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
            .collect();
        names == [NAME]
    }
}

/// Fills a directory: three levels, files of 0 to 200 kB, links, permissions.
fn plant(top: &Path, dice: &mut Dice) {
    let mut directories = vec![top.to_owned()];
    for i in 0..12_u64 {
        let parent = &directories[(dice.roll() % directories.len().min(4) as u64) as usize];
        directories.push(parent.join(format!("dir {i}")));
    }
    for directory in &directories {
        std::fs::create_dir_all(directory).expect("room for a directory");
    }
    for i in 0..TREE_FILES {
        let path = directories[(i % directories.len() as u64) as usize].join(format!("{i}.bin"));
        let size = if i % 7 == 0 { 0 } else { dice.roll() % 200_000 };
        dice.write(&path, size);
        let mode = [0o644, 0o600, 0o755, 0o444][(dice.roll() % 4) as usize];
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        if i % 10 == 0 {
            symlink(format!("../{i}.bin"), path.with_extension("link")).expect("a new name");
        }
    }
    for directory in &directories[1..] {
        let mode = [0o755, 0o700, 0o500][(dice.roll() % 3) as usize];
        std::fs::set_permissions(directory, Permissions::from_mode(mode)).expect("our own directory");
    }
}

/// Everything of a tree that must be the same on both sides.
fn describe(top: &Path) -> std::io::Result<BTreeMap<PathBuf, String>> {
    let (mut out, mut pending) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(at) = pending.pop() {
        let path = top.join(&at);
        let data = std::fs::symlink_metadata(&path)?;
        let what = if data.is_symlink() {
            format!("link to {:?}", std::fs::read_link(&path)?)
        } else {
            let about = format!("{:o} {:?}", data.permissions().mode(), data.modified()?);
            if data.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    pending.push(at.join(entry?.file_name()));
                }
                about
            } else {
                format!("{about} {}", blake3::hash(&std::fs::read(&path)?))
            }
        };
        out.insert(at, what);
    }
    Ok(out)
}

impl Attempt {
    /// What both said.
    pub(crate) fn account(&self) -> String {
        let (sender, receiver) = (self.sender.stderr(), self.receiver.stderr());
        format!("--- sender ---\n{sender}\n--- receiver ---\n{receiver}\n")
    }

    /// Waits for both to end well.
    pub(crate) fn succeeds(&mut self, limit: Duration) {
        let exits = [&mut self.sender, &mut self.receiver].map(|peer| peer.wait(limit));
        assert_eq!(exits, [Ok(Some(0)), Ok(Some(0))], "{}", self.account());
    }
}

/// Compares two files piece by piece: they may be larger than memory.
fn same(one: &Path, other: &Path) -> bool {
    let (Ok(mut one), Ok(mut other)) = (File::open(one), File::open(other)) else {
        return false;
    };
    let length = |file: &File| file.metadata().map(|data| data.len()).ok();
    if length(&one) != length(&other) {
        return false;
    }
    let mut left = length(&one).unwrap_or(0);
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    while left > 0 {
        let size = left.min(PIECE as u64) as usize;
        let [a, b] = pieces.each_mut().map(|piece| &mut piece[..size]);
        if one.read_exact(a).is_err() || other.read_exact(b).is_err() || a != b {
            return false;
        }
        left -= size as u64;
    }
    true
}

/// Xorshift: a test's choices, and bytes without a pattern a transfer could get right by accident.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Makes a file of `size` bytes.
    fn write(&mut self, path: &Path, size: u64) {
        let mut file = File::create(path).expect("an empty directory");
        let mut left = size;
        while left > 0 {
            let piece = self.bytes(left.min(PIECE as u64) as usize);
            file.write_all(&piece).expect("room for the file");
            left -= piece.len() as u64;
        }
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.roll().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }
}
