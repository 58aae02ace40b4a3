//! The sender's disk thread: reads and hashes blocks, and looks at the end whether what was sent has changed.

use crate::net::Waker;
use crate::transfer::BlockIndex;
use crate::transfer::error::TransferError;
use crate::transfer::send::Purpose;
use crate::transfer::source::{BlockRead, Source};
use std::sync::mpsc::{Receiver, Sender, channel};

/// For the disk thread.
pub(super) enum Job {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
    },
    /// A block that was dropped to save memory and of which a piece was lost.
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    Check,
    Release(BlockIndex),
}

/// From the disk thread.
pub(super) enum Done {
    Read {
        block: BlockIndex,
        purpose: Purpose,
        buffer: Vec<u8>,
        read: BlockRead,
    },
    Again {
        block: BlockIndex,
        buffer: Vec<u8>,
    },
    Checked,
    Failed(TransferError),
}

/// Starts the thread, which ends with its jobs or its first failure. `waker` is called when there is news.
pub(super) fn start(source: Source, waker: Waker) -> std::io::Result<(Sender<Job>, Receiver<Done>)> {
    let (jobs, todo) = channel();
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
            } => source.read_block(block, &mut buffer).map(|read| Done::Read {
                block,
                purpose,
                buffer,
                read,
            }),
            // False means bytes of a pipe that were verified meanwhile: nobody will miss them.
            Job::Again { block, mut buffer } => source
                .read_range(block.start(), &mut buffer)
                .map(|_| Done::Again { block, buffer }),
            Job::Check => source.check_unchanged().map(|()| Done::Checked),
            Job::Release(low) => {
                source.release(low);
                continue;
            }
        };
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
