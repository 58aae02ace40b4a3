//! A file that is sent with the same two commands as often as it takes.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::driver::Peer;
use super::network::{Network, Side};

/// Bytes written or compared at a time.
const PIECE: usize = 1 << 20;

/// A file at A's and the place at B's where it shall stand.
#[derive(Debug)]
pub(crate) struct Standing {
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
    /// Writes a file of `size` bytes; `arguments` are the sender's and the receiver's own.
    pub(crate) fn new(size: u64, seed: u64, arguments: [&[&str]; 2]) -> Standing {
        let files = tempfile::tempdir().expect("a place for files");
        std::fs::create_dir(files.path().join("received")).expect("an empty directory");
        let mut file = File::create(files.path().join("vm.img")).expect("an empty directory");
        let mut dice = Dice::new(seed);
        let mut left = size;
        while left > 0 {
            let piece = dice.bytes(left.min(PIECE as u64) as usize);
            file.write_all(&piece).expect("room for the file");
            left -= piece.len() as u64;
        }
        Standing {
            files,
            arguments: arguments.map(|side| side.iter().map(ToString::to_string).collect()),
        }
    }

    /// Starts both programs and pastes each one's address at the other.
    pub(crate) fn attempt(&self, network: &Network) -> Result<Attempt, String> {
        let mut sender = Peer::start(network, Side::A, "sender", |command| {
            command.args(["sender", "--file"]).arg(self.source());
            command.args(&self.arguments[0]);
        });
        let mut receiver = Peer::start(network, Side::B, "receiver", |command| {
            command.args(["receiver", "--yes", "--output"]);
            command.arg(self.directory()).args(&self.arguments[1]);
        });
        let (tell_receiver, tell_sender) = (sender.address()?, receiver.address()?);
        sender.enter(&tell_sender);
        receiver.enter(&tell_receiver);
        Ok(Attempt { sender, receiver })
    }

    /// The file that is sent.
    pub(crate) fn source(&self) -> PathBuf {
        self.files.path().join("vm.img")
    }

    /// Where the receiver puts things.
    pub(crate) fn directory(&self) -> PathBuf {
        self.files.path().join("received")
    }

    /// Whether anything stands under the final name.
    pub(crate) fn arrived(&self) -> bool {
        self.directory().join("vm.img").exists()
    }

    /// Whether the final name holds exactly what is sent.
    pub(crate) fn exact(&self) -> bool {
        same(&self.source(), &self.directory().join("vm.img"))
    }
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

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.roll().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }
}
