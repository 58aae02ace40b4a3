//! The sender's disk thread: reads and hashes blocks, and checks at the end whether a file has changed.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::READ_AHEAD;
use crate::net::Waker;
use crate::transfer::BlockIndex;
use crate::transfer::chunks::ChunkList;
use crate::transfer::error::TransferError;
use crate::transfer::session::send::Purpose;
use crate::transfer::source::{BlockRead, Missing, Source};

/// The most jobs that wait: reads ahead, one block to read again, one check of the files. Messages of the
/// peer cause all jobs, and this bound keeps the queue short while the thread waits for a pipe.
const MAX_JOBS: usize = READ_AHEAD + 2;

pub(super) enum Job {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
        /// The peer has verified all blocks below this one, so a pipe need not keep them.
        verified: BlockIndex,
    },
    /// Reads a block again that was dropped to save memory. A piece of it was lost.
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    Check,
}

pub(super) enum Done {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
        read: BlockRead,
        /// The chunks of the block, if the job asked for them.
        chunks: Option<ChunkList>,
    },
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    /// Something in the list cannot be sent. This comes before the reads that leave it out.
    Missing(Missing),
    Checked,
    Failed(TransferError),
}

/// Starts the thread. It ends when the channel of jobs closes or at its first failure. `waker` is called when
/// there is news.
pub(super) fn start(source: Source, waker: Waker) -> std::io::Result<(SyncSender<Job>, Receiver<Done>)> {
    let (jobs, todo) = sync_channel(MAX_JOBS);
    let (tell, done) = channel();
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || run(source, &todo, &tell, &waker))?;
    Ok((jobs, done))
}

/// Does one job after the other until the channel closes.
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
            // `false` means that these bytes of a pipe were verified meanwhile, so nobody needs them.
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
