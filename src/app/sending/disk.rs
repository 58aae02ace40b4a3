//! The sender's disk thread: reads and hashes blocks, and looks at the end whether what was sent has changed.

use super::READ_AHEAD;
use crate::net::Waker;
use crate::transfer::BlockIndex;
use crate::transfer::chunks::ChunkList;
use crate::transfer::error::TransferError;
use crate::transfer::session::send::Purpose;
use crate::transfer::source::{BlockRead, Missing, Source};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Jobs that can wait: reads ahead, one block again, one look at the files. What the peer says only makes them,
/// so a thread that waits for a pipe has no more than these before it.
const MAX_JOBS: usize = READ_AHEAD + 2;

/// For the disk thread.
pub(super) enum Job {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
        /// Blocks below this one are verified at the other end: a pipe need not keep them.
        verified: BlockIndex,
    },
    /// A block that was dropped to save memory and of which a piece was lost.
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    Check,
}

/// From the disk thread.
pub(super) enum Done {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
        read: BlockRead,
        /// What it is made of, if it was to be described.
        chunks: Option<ChunkList>,
    },
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    /// Something that was listed does not arrive. Told before what was read without it.
    Missing(Missing),
    Checked,
    Failed(TransferError),
}

/// Starts the thread, which ends with its jobs or its first failure. `waker` is called when there is news.
pub(super) fn start(source: Source, waker: Waker) -> std::io::Result<(SyncSender<Job>, Receiver<Done>)> {
    let (jobs, todo) = sync_channel(MAX_JOBS);
    let (tell, done) = channel();
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || run(source, &todo, &tell, &waker))?;
    Ok((jobs, done))
}

/// One job after the other until the channel closes.
fn run(mut source: Source, todo: &Receiver<Job>, tell: &Sender<Done>, waker: &Waker) {
    while let Ok(job) = todo.recv() {
        let done = match job {
            Job::Read {
                block,
                purpose,
                mut buffer,
                verified,
            } => {
                source.release(verified);
                let read = source.read_block(block, &mut buffer);
                let chunks = match (&read, &purpose) {
                    (Ok(read), Purpose::Describe { last }) => {
                        source.describe(block, &buffer[..read.len], *last)
                    }
                    _ => None,
                };
                read.map(|read| Done::Read {
                    chunks,
                    block,
                    purpose,
                    buffer,
                    read,
                })
            }
            // False means bytes of a pipe that were verified meanwhile: nobody will miss them.
            Job::Again { block, mut buffer } => source
                .read_range(block.start(), &mut buffer)
                .map(|_| Done::Again { block, buffer }),
            Job::Check => source.check_unchanged().map(|()| Done::Checked),
        };
        for missing in source.take_missing() {
            if tell.send(Done::Missing(missing)).is_err() {
                return;
            }
        }
        let failed = done.is_err();
        if tell.send(done.unwrap_or_else(Done::Failed)).is_err() {
            return;
        }
        waker.wake();
        if failed {
            return;
        }
    }
}
