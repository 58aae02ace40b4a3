//! The jobs of the receiver's disk thread, and the events that it reports.

use crate::protocol::ranges::RangeSet;
use crate::transfer::BlockIndex;
use crate::transfer::chunks::ChunkList;
use crate::transfer::error::TransferError;
use crate::transfer::hash::{Cv, Root};
use crate::transfer::manifest::EntryIndex;
use crate::transfer::ranges::Run;
use crate::transfer::sink::assemble::{Buffer, Filled};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::place::Placed;

/// A job for the receiver's disk thread.
#[derive(Debug)]
pub enum StoreJob {
    /// The sender announced the hashes of consecutive blocks.
    Announce {
        /// The block of the first hash.
        first: BlockIndex,
        /// The hashes.
        cvs: Vec<Cv>,
        /// Whether the blocks hold only zeros and are not sent.
        zeros: bool,
    },
    /// The assembler filled a block.
    Filled(Filled),
    /// The sender describes blocks by their chunks.
    Chunks(ChunkList),
    /// These entries do not arrive. Blocks that hold nothing else count as verified, and the files get no
    /// name.
    Missing(Vec<EntryIndex>),
    /// The stream has ended. This is the length of the content.
    Total(u64),
    /// All blocks are verified: finish. The sender's root must equal ours.
    Finish {
        /// The sender's root.
        root: Root,
    },
}

/// An event from the disk thread.
#[derive(Debug)]
pub enum StoreEvent {
    /// A block is verified and stored.
    Verified(BlockIndex),
    /// Blocks that hold only missing entries. They are not needed.
    Void(Run),
    /// A block must be sent, for the first time or again.
    Need(BlockIndex),
    /// Something differs, so the blocks that matched are being copied.
    Copying {
        /// Bytes that are left to copy, in whole blocks.
        left: u64,
    },
    /// The bytes here differ from the announced hashes. Some of them may be found elsewhere once these blocks
    /// are described.
    Differ(Run),
    /// Part of a block was found here and is stored. Only the rest must be sent.
    Found {
        /// The block.
        block: BlockIndex,
        /// The bytes that were found.
        spans: RangeSet,
        /// The bytes that are still needed.
        lacks: Vec<Run>,
    },
    /// A buffer for [`crate::transfer::sink::assemble::Assembler::recycle`].
    Recycle(Buffer),
    /// Everything has its final name.
    Finished {
        /// Root over the content.
        root: Root,
        /// The top-level entries and their final names.
        placed: Vec<Placed>,
    },
}

/// The storage that the disk thread drives.
pub trait Store: Send {
    /// Blocks that are probably here, for [`crate::transfer::session::receive::ReceiveSession::on_opened`].
    /// They are read again and compared before they count.
    fn held(&self) -> Vec<Run>;

    /// The next thing that the user should know; each is returned once. Call it after every other call.
    fn poll_remark(&mut self) -> Option<Remark> {
        None
    }

    /// Does one job.
    ///
    /// # Errors
    /// An error ends the transfer. Verified blocks stay for the next run.
    fn handle(&mut self, job: StoreJob, events: &mut Vec<StoreEvent>) -> Result<(), TransferError>;

    /// Call it when there is no job. Reads one held block again, copies one, or reads bytes that may have moved, as
    /// many as a block has. False if nothing is left to do.
    ///
    /// # Errors
    /// As [`Store::handle`].
    fn recheck_one(&mut self, events: &mut Vec<StoreEvent>) -> Result<bool, TransferError>;

    /// Call it at the end of every run. If the transfer is not finished, removes what no later run could use.
    fn leave(&mut self) {}
}
