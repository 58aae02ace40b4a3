//! The layouts of docs/protocol.md, written by hand: the program's own encoders cannot make invalid packets.

use std::ops::Range;

/// Messages of the control stream.
pub mod message {
    pub const OFFER: u8 = 1;
    pub const MANIFEST_CHUNK: u8 = 2;
    pub const DESCRIBE: u8 = 3;
    pub const ACCEPT: u8 = 4;
    pub const CHUNKS: u8 = 5;
    pub const HAVE: u8 = 6;
    pub const HASHES: u8 = 7;
    pub const NEED: u8 = 8;
    pub const VERIFIED: u8 = 9;
    pub const STREAM_END: u8 = 10;
    pub const DONE: u8 = 11;
    pub const FINISHED: u8 = 12;
    pub const PARTS: u8 = 13;
    pub const LIMIT: u8 = 14;
    pub const MISSING: u8 = 15;
    pub const ZEROS: u8 = 16;
}

/// Bytes of one message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a body's length has 16 bits");
    [&[kind], &len.to_be_bytes()[..], body].concat()
}

/// Bytes with their length before them.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a string's length has 16 bits");
    [&len.to_be_bytes()[..], bytes].concat()
}

/// Runs of blocks or entries, as Have, Need and Missing carry them.
pub fn runs(runs: &[Range<u32>]) -> Vec<u8> {
    let words = runs.iter().flat_map(|run| [run.start, run.end]);
    words.flat_map(u32::to_be_bytes).collect()
}

pub const PING: u8 = 1;

pub fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&[3], &offset.to_be_bytes()[..], bytes].concat()
}

pub fn control(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&[4], &offset.to_be_bytes()[..], &string(bytes)].concat()
}

pub fn challenge(token: u64) -> Vec<u8> {
    [&[5], &token.to_be_bytes()[..]].concat()
}

pub fn response(token: u64) -> Vec<u8> {
    [&[6], &token.to_be_bytes()[..]].concat()
}

pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&[7], &code.to_be_bytes()[..], &string(reason)].concat()
}

/// An ACK of `ranges`, which ascend; its numbers are those of RFC 9000, section 16, in their longest form.
pub fn ack(ranges: &[Range<u64>], delay_us: u32, flow_limit_kib: u32) -> Vec<u8> {
    ack_of_marks(ranges, delay_us, flow_limit_kib, [0, 0])
}

/// The same, with counts of ECT(0) and of CE.
pub fn ack_of_marks(ranges: &[Range<u64>], delay_us: u32, flow_limit_kib: u32, marks: [u64; 2]) -> Vec<u8> {
    let mut ranges = ranges.iter().rev();
    let first = ranges.next().expect("an ACK tells of something");
    let mut frame = vec![2];
    frame.extend((first.end - 1).to_be_bytes());
    frame.extend(delay_us.to_be_bytes());
    frame.extend(flow_limit_kib.to_be_bytes());
    frame.extend(marks.into_iter().flat_map(varint));
    frame.extend(varint(first.end - first.start));
    frame.extend((ranges.len() as u16).to_be_bytes());
    let mut low = first.start;
    for range in ranges {
        frame.extend(varint(low - range.end));
        frame.extend(varint(range.end - range.start));
        low = range.start;
    }
    frame
}

fn varint(value: u64) -> [u8; 8] {
    (value | 3 << 62).to_be_bytes()
}
