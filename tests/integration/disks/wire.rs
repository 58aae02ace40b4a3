//! Calls of the kernel to a file system, and what it is answered. Numbers and structures are those of Linux's
//! include/uapi/linux/fuse.h, protocol 7.31.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// A call of the kernel's. Each has the number of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call(pub u32);

impl Call {
    pub const LOOKUP: Call = Call(1);
    pub const FORGET: Call = Call(2);
    pub const GETATTR: Call = Call(3);
    pub const SETATTR: Call = Call(4);
    pub const READLINK: Call = Call(5);
    pub const SYMLINK: Call = Call(6);
    pub const MKDIR: Call = Call(9);
    pub const UNLINK: Call = Call(10);
    pub const RMDIR: Call = Call(11);
    pub const RENAME: Call = Call(12);
    pub const OPEN: Call = Call(14);
    pub const READ: Call = Call(15);
    pub const WRITE: Call = Call(16);
    pub const STATFS: Call = Call(17);
    pub const RELEASE: Call = Call(18);
    pub const FSYNC: Call = Call(20);
    pub const FLUSH: Call = Call(25);
    pub const INIT: Call = Call(26);
    pub const OPENDIR: Call = Call(27);
    pub const READDIR: Call = Call(28);
    pub const RELEASEDIR: Call = Call(29);
    pub const FSYNCDIR: Call = Call(30);
    pub const CREATE: Call = Call(35);
    pub const INTERRUPT: Call = Call(36);
    pub const BATCH_FORGET: Call = Call(42);
    pub const RENAME2: Call = Call(45);

    /// Whether somebody waits for what comes of it.
    pub fn counts(self) -> bool {
        ![Call::INIT, Call::RELEASE, Call::RELEASEDIR, Call::FLUSH].contains(&self)
    }
}

/// A request's bytes after its header.
pub struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// The `n`th of the names that begin at `at`, each with a zero behind it.
    pub fn name(&self, at: usize, n: usize) -> &'a OsStr {
        OsStr::from_bytes(self.0[at..].split(|byte| *byte == 0).nth(n).unwrap())
    }
}

pub type Answer = io::Result<Vec<u8>>;

pub fn answer(device: &File, unique: u64, answer: Answer) {
    let (error, bytes) = match answer {
        Ok(bytes) => (0, bytes),
        Err(error) => (-error.raw_os_error().unwrap_or(libc::EIO), Vec::new()),
    };
    let mut out = Vec::with_capacity(16 + bytes.len());
    out.extend_from_slice(&(16 + bytes.len() as u32).to_ne_bytes());
    out.extend_from_slice(&error.to_ne_bytes());
    out.extend_from_slice(&unique.to_ne_bytes());
    out.extend_from_slice(&bytes);
    // The program that asked may have ended.
    let _ = (&*device).write(&out);
}

pub fn pack(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub fn pack32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub fn attributes(metadata: &fs::Metadata, node: u64) -> Vec<u8> {
    let m = metadata;
    let mut out = pack(&[
        node,
        m.size(),
        m.blocks(),
        m.atime() as u64,
        m.mtime() as u64,
        m.ctime() as u64,
    ]);
    let nanos = [m.atime_nsec(), m.mtime_nsec(), m.ctime_nsec()].map(|nanos| nanos as u32);
    out.extend(pack32(&nanos));
    out.extend(pack32(&[
        m.mode(),
        m.nlink() as u32,
        m.uid(),
        m.gid(),
        0,
        m.blksize() as u32,
        0,
    ]));
    out
}
