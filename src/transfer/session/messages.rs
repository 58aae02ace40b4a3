//! The control messages of a transfer, on the connection's reliable byte stream.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+-------------------------------+---------------+
//! |     type      |        length of body         |    body ...
//! +---------------+-------------------------------+---------------+
//! ```
//! Numbers are big-endian. A body longer or shorter than its fields is malformed.

use std::num::NonZeroU64;

use crate::protocol::codec::Reader;
use crate::transfer::BlockIndex;
use crate::transfer::chunks::{Chunk, ChunkList};
use crate::transfer::error::Malformed;
use crate::transfer::hash::{Cv, Root};
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::ranges::Run;

/// Bytes of the header, which comes before the body.
const HEADER_LEN: usize = 3;

/// Most bytes of the list in one message, in wire form.
pub(crate) const MANIFEST_CHUNK: usize = 32 << 10;

/// Most block hashes in one message.
pub(crate) const HASHES_PER_MESSAGE: usize = 1024;

/// Most runs of blocks in one message.
pub(crate) const RUNS_PER_MESSAGE: usize = 4096;

/// Most chunks in one message.
pub(crate) const CHUNKS_PER_MESSAGE: usize = 1024;

/// Bytes of a chunk in a message.
const CHUNK_LEN: usize = 4 + 16;

/// One control message. The arrow says who sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// S→R: what the sender's list will contain.
    Offer(ListHead),
    /// S→R: some entries of the list: at least one, and whole entries only. The list ends at its announced
    /// length.
    ManifestChunk(Vec<u8>),
    /// R→S: the user accepts the offer.
    Accept {
        /// Set if the receiver takes content only in order: the sender may be this many blocks ahead.
        window: Option<u32>,
    },
    /// R→S, before Accept: the highest rate at which the sender may send.
    Limit {
        /// Bytes a second on the wire; never zero.
        rate: NonZeroU64,
    },
    /// R→S: blocks that the receiver probably holds. The sender only hashes those, unless they are needed.
    Have {
        /// Ascending runs of blocks, all after the runs of earlier messages.
        runs: Vec<Run>,
        /// Whether this is the last such message. Content may flow after it.
        last: bool,
    },
    /// S→R: hashes of consecutive blocks.
    Hashes {
        /// The block of the first hash.
        first: BlockIndex,
        /// The chaining values of the blocks.
        cvs: Vec<Cv>,
        /// Whether all their bytes are zero. Then the blocks are not sent.
        zeros: bool,
    },
    /// R→S: send these blocks, for the first time or again.
    Need {
        /// Ascending runs of blocks.
        runs: Vec<Run>,
    },
    /// R→S: cut these blocks into chunks and list the chunks. The receiver claimed to hold these blocks, but
    /// its bytes there differ from the announced hashes.
    Describe {
        /// Ascending runs of blocks.
        runs: Vec<Run>,
    },
    /// S→R: the chunks of blocks that the receiver asked about, in order.
    Chunks(ChunkList),
    /// R→S: send these parts of a described block; the receiver has found the rest.
    Parts {
        /// The block.
        block: BlockIndex,
        /// Ascending runs of its bytes.
        parts: Vec<Run>,
    },
    /// R→S: progress.
    Verified {
        /// All blocks below this one are verified.
        low: u32,
        /// The number of verified blocks.
        blocks: u32,
    },
    /// S→R: the stream has ended.
    StreamEnd {
        /// Length of the content.
        total: u64,
    },
    /// S→R: these entries do not arrive as they were listed. From here on, zeros replace their bytes. Blocks
    /// that hold nothing else are not sent at all.
    Missing {
        /// Ascending runs of entries.
        entries: Vec<Run>,
    },
    /// S→R: everything was read, and no file changed during that time.
    Done {
        /// Root over the content; [`Root::NONE`] if an entry is missing.
        root: Root,
    },
    /// R→S: everything is verified and on disk, and has its final name.
    Finished {
        /// Root over the content.
        root: Root,
    },
}

impl Message {
    /// Appends the message's wire form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[self.wire_type(), 0, 0]);
        match self {
            Message::Offer(head) => head.encode(out),
            Message::ManifestChunk(bytes) => out.extend_from_slice(bytes),
            Message::Accept { window } => out.extend_from_slice(&window.unwrap_or(0).to_be_bytes()),
            Message::Limit { rate } => out.extend_from_slice(&rate.get().to_be_bytes()),
            Message::Have { runs, last } => {
                out.push(u8::from(*last));
                put_runs(out, runs);
            }
            Message::Hashes { first, cvs, .. } => {
                out.extend_from_slice(&first.get().to_be_bytes());
                cvs.iter().for_each(|cv| out.extend_from_slice(cv));
            }
            Message::Need { runs } | Message::Describe { runs } | Message::Missing { entries: runs } => {
                put_runs(out, runs);
            }
            Message::Chunks(list) => {
                out.extend_from_slice(&list.start.to_be_bytes());
                for chunk in &list.chunks {
                    out.extend_from_slice(&chunk.len.to_be_bytes());
                    out.extend_from_slice(&chunk.hash);
                }
            }
            Message::Parts { block, parts } => {
                out.extend_from_slice(&block.get().to_be_bytes());
                put_runs(out, parts);
            }
            Message::Verified { low, blocks } => {
                out.extend_from_slice(&low.to_be_bytes());
                out.extend_from_slice(&blocks.to_be_bytes());
            }
            Message::StreamEnd { total } => out.extend_from_slice(&total.to_be_bytes()),
            Message::Done { root } | Message::Finished { root } => out.extend_from_slice(&root.0),
        }
        let len = u16::try_from(out.len() - at - HEADER_LEN)
            .expect("every message is built with a body below 64 KiB");
        out[at + 1..at + HEADER_LEN].copy_from_slice(&len.to_be_bytes());
    }

    /// The name of the message in errors.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Message::Offer(_) => "an offer",
            Message::ManifestChunk(_) => "a part of a list",
            Message::Accept { .. } => "an acceptance",
            Message::Limit { .. } => "a limit",
            Message::Have { .. } => "a claim to hold blocks",
            Message::Hashes { .. } => "hashes",
            Message::Need { .. } | Message::Parts { .. } => "a request for blocks",
            Message::Describe { .. } => "a request for chunks",
            Message::Chunks(_) => "chunks",
            Message::Verified { .. } => "progress",
            Message::StreamEnd { .. } => "an end of the stream",
            Message::Missing { .. } => "missing entries",
            Message::Done { .. } | Message::Finished { .. } => "an end",
        }
    }

    const fn wire_type(&self) -> u8 {
        match self {
            Message::Offer(_) => 1,
            Message::ManifestChunk(_) => 2,
            Message::Describe { .. } => 3,
            Message::Accept { .. } => 4,
            Message::Chunks(_) => 5,
            Message::Have { .. } => 6,
            Message::Hashes { zeros: false, .. } => 7,
            Message::Need { .. } => 8,
            Message::Verified { .. } => 9,
            Message::StreamEnd { .. } => 10,
            Message::Done { .. } => 11,
            Message::Finished { .. } => 12,
            Message::Parts { .. } => 13,
            Message::Limit { .. } => 14,
            Message::Missing { .. } => 15,
            Message::Hashes { zeros: true, .. } => 16,
        }
    }

    fn decode(wire_type: u8, body: &[u8]) -> Result<Message, Malformed> {
        let mut r = Reader::new(body, "control message");
        let message = match wire_type {
            1 => Message::Offer(ListHead::decode(&mut r)?),
            2 if r.is_empty() => return Err(Malformed::Value("empty part of a list")),
            2 => Message::ManifestChunk(r.rest().to_vec()),
            3 => Message::Describe { runs: runs(&mut r)? },
            4 => Message::Accept {
                window: Some(r.u32()?).filter(|&w| w > 0),
            },
            5 => Message::Chunks(chunks(&mut r)?),
            6 => Message::Have {
                last: r.u8()? != 0,
                runs: runs(&mut r)?,
            },
            7 | 16 => {
                let first = r.u32()?;
                let (cvs, rest) = r.rest().as_chunks::<32>();
                if cvs.is_empty() || !rest.is_empty() || first.checked_add(cvs.len() as u32).is_none() {
                    return Err(Malformed::Value("block hashes"));
                }
                Message::Hashes {
                    first: BlockIndex::new(first),
                    cvs: cvs.to_vec(),
                    zeros: wire_type == 16,
                }
            }
            8 => Message::Need { runs: runs(&mut r)? },
            9 => Message::Verified {
                low: r.u32()?,
                blocks: r.u32()?,
            },
            10 => Message::StreamEnd { total: r.u64()? },
            11 => Message::Done {
                root: Root(r.array()?),
            },
            12 => Message::Finished {
                root: Root(r.array()?),
            },
            13 => Message::Parts {
                block: BlockIndex::new(r.u32()?),
                parts: runs(&mut r)?,
            },
            14 => Message::Limit {
                rate: NonZeroU64::new(r.u64()?).ok_or(Malformed::Value("limit"))?,
            },
            15 => Message::Missing {
                entries: runs(&mut r)?,
            },
            _ => return Err(Malformed::Value("message type")),
        };
        if r.is_empty() {
            Ok(message)
        } else {
            Err(Malformed::Trailing("control message"))
        }
    }
}

fn chunks(r: &mut Reader<'_>) -> Result<ChunkList, Malformed> {
    let start = r.u64()?;
    let mut chunks = Vec::with_capacity(r.len() / CHUNK_LEN);
    while !r.is_empty() {
        let (len, hash) = (r.u32()?, r.array()?);
        chunks.push(Chunk { len, hash });
    }
    if chunks.is_empty() {
        return Err(Malformed::Value("chunks"));
    }
    Ok(ChunkList { start, chunks })
}

fn put_runs(out: &mut Vec<u8>, runs: &[Run]) {
    for run in runs {
        out.extend_from_slice(&run.start.to_be_bytes());
        out.extend_from_slice(&run.end.to_be_bytes());
    }
}

fn runs(r: &mut Reader<'_>) -> Result<Vec<Run>, Malformed> {
    let mut runs = Vec::with_capacity(r.len() / 8);
    let mut least = 0;
    while !r.is_empty() {
        let run = Run {
            start: r.u32()?,
            end: r.u32()?,
        };
        if run.start >= run.end || run.start < least {
            return Err(Malformed::Value("run of blocks"));
        }
        least = run.end;
        runs.push(run);
    }
    Ok(runs)
}

/// Cuts the control stream into messages. Holds at most one message and the bytes of the last call.
#[derive(Default, Debug)]
pub(crate) struct MessageReader {
    buffer: Vec<u8>,
    at: usize,
}

impl MessageReader {
    /// Appends bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Malformed`]; the stream is then unusable.
    pub(crate) fn poll_message(&mut self) -> Result<Option<Message>, Malformed> {
        let bytes = &self.buffer[self.at..];
        let Some((&[wire_type, l0, l1], rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let Some(body) = rest.get(..usize::from(u16::from_be_bytes([l0, l1]))) else {
            return Ok(None);
        };
        let message = Message::decode(wire_type, body)?;
        self.at += HEADER_LEN + body.len();
        Ok(Some(message))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunks(count: usize) -> Message {
        let (len, hash) = (9, [7; 16]);
        let chunks = vec![Chunk { len, hash }; count];
        Message::Chunks(ChunkList {
            start: 1 << 20,
            chunks,
        })
    }

    /// A message of each kind.
    pub(crate) fn samples() -> Vec<Message> {
        let head = ListHead {
            entries: 1,
            bytes: 7,
            manifest_bytes: 33,
            manifest_hash: [9; 32],
            stream: false,
            holes: 7,
        };
        let runs = vec![Run { start: 0, end: 4 }, Run { start: 4, end: 9 }];
        let hashes = |zeros| Message::Hashes {
            first: BlockIndex::new(5),
            cvs: vec![[1; 32]; 3],
            zeros,
        };
        vec![
            Message::Offer(head),
            Message::ManifestChunk(vec![1, 2, 3]),
            Message::Limit {
                rate: NonZeroU64::new(2_500_000).unwrap(),
            },
            Message::Accept { window: None },
            Message::Accept { window: Some(16) },
            Message::Have {
                runs: runs.clone(),
                last: true,
            },
            hashes(false),
            hashes(true),
            Message::Need { runs: runs.clone() },
            Message::Describe { runs: runs.clone() },
            chunks(3),
            Message::Parts {
                block: BlockIndex::new(6),
                parts: runs,
            },
            Message::Verified { low: 3, blocks: 4 },
            Message::StreamEnd { total: 1 << 40 },
            Message::Missing {
                entries: vec![Run { start: 2, end: 3 }],
            },
            Message::Done { root: Root([4; 32]) },
            Message::Finished { root: Root([5; 32]) },
        ]
    }

    #[test]
    fn messages_round_trip_however_the_stream_is_cut() {
        let (mut wire, mut all) = (Vec::new(), samples());
        all.push(chunks(CHUNKS_PER_MESSAGE));
        all.push(Message::Hashes {
            first: BlockIndex::new(5),
            cvs: vec![[1; 32]; HASHES_PER_MESSAGE],
            zeros: false,
        });
        all.iter().for_each(|m| m.encode(&mut wire));
        for step in [1, 7, 1000, wire.len()] {
            let (mut reader, mut got) = (MessageReader::default(), Vec::new());
            for piece in wire.chunks(step) {
                reader.feed(piece);
                while let Some(m) = reader.poll_message().unwrap() {
                    got.push(m);
                }
            }
            assert_eq!(got, all);
        }
    }

    #[test]
    fn bytes_left_over_are_refused() {
        for message in samples() {
            if matches!(message, Message::ManifestChunk(_)) {
                continue;
            }
            let mut wire = Vec::new();
            message.encode(&mut wire);
            wire.push(0);
            let len = u16::from_be_bytes([wire[1], wire[2]]) + 1;
            wire[1..3].copy_from_slice(&len.to_be_bytes());
            let mut reader = MessageReader::default();
            reader.feed(&wire);
            assert!(reader.poll_message().is_err(), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..16) {
            let mut reader = MessageReader::default();
            let mut wire = vec![kind];
            wire.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            wire.extend_from_slice(&bytes);
            reader.feed(&wire);
            while let Ok(Some(_)) = reader.poll_message() {}
        }
    }
}
