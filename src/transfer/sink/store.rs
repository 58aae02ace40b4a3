//! What the receiver's conversation asks of its disk thread, and what it hears back.

use crate::transfer::BlockIndex;
use crate::transfer::chunks::ChunkList;
use crate::transfer::error::TransferError;
use crate::transfer::hash::{Cv, Root};
use crate::transfer::manifest::EntryIndex;
use crate::transfer::ranges::{Run, Spans};
use crate::transfer::sink::assemble::{Buffer, Filled};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::place::Placed;

/// Work for the receiver's disk thread.
#[derive(Debug)]
pub enum StoreJob {
    /// The sender announced hashes of consecutive blocks.
    Announce {
        /// Block of the first.
        first: BlockIndex,
        /// The hashes.
        cvs: Vec<Cv>,
    },
    /// A block from the assembler.
    Filled(Filled),
    /// The sender says which chunks blocks are made of.
    Chunks(ChunkList),
    /// These do not arrive: the blocks that hold nothing else count as verified, the files get no name.
    Missing(Vec<EntryIndex>),
    /// The stream ended; this is the content's length.
    Total(u64),
    /// All is verified: finish. The sender's root must be ours.
    Finish {
        /// The sender's root.
        root: Root,
    },
}

/// What the disk thread has to say.
#[derive(Debug)]
pub enum StoreEvent {
    /// A block is verified and stored.
    Verified(BlockIndex),
    /// Blocks that nobody misses: they hold only what does not arrive.
    Void(Run),
    /// A block must be sent (again).
    Need(BlockIndex),
    /// Other bytes lie here than were announced: they may be found elsewhere once these blocks are described.
    Differ(Run),
    /// A part of a block was found and is stored: only the rest must be sent.
    Found {
        /// Which.
        block: BlockIndex,
        /// What was found of it.
        spans: Spans,
        /// What was not.
        lacks: Vec<Run>,
    },
    /// A buffer for [`crate::transfer::sink::assemble::Assembler::recycle`].
    Recycle(Buffer),
    /// Everything has its final name.
    Finished {
        /// Root over the content.
        root: Root,
        /// What lies where.
        placed: Vec<Placed>,
    },
}

/// What the disk thread drives.
pub trait Store: Send {
    /// Blocks believed to be here, for [`crate::transfer::session::receive::ReceiveSession::on_opened`]. They are read again and
    /// compared before they count.
    fn held(&self) -> Vec<Run>;

    /// Something the user should know, each thing once. To be asked for after every other call.
    fn poll_remark(&mut self) -> Option<Remark> {
        None
    }

    /// Does one job.
    ///
    /// # Errors
    /// What ends the transfer. Everything verified stays for the next run.
    fn handle(&mut self, job: StoreJob, events: &mut Vec<StoreEvent>) -> Result<(), TransferError>;

    /// When there is no job: reads one held block again, or a block's worth of what may have moved. False when there is
    /// nothing left to read.
    ///
    /// # Errors
    /// As [`Store::handle`].
    fn recheck_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError>;
}
