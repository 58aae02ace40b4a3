//! The least a transfer of this kind can do: read, seal, send in bursts, receive, open, write. No loss, no order,
//! no congestion control: the ends share a counter in place of a protocol.

use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use p2pcopy::parts::protocol::{Cipher, DATA_HEADER_LEN, HEADER_LEN, Header, Opener, Sealer, TAG_LEN};
use p2pcopy::parts::transfer::{BLOCK_LEN, BlockIndex, hash_block};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::run::Cost;

/// Bytes on the way at most: what a receive buffer of 4 MiB takes (Linux grants twice what was asked for).
const WINDOW: u64 = 4 << 20;
/// Blocks between two threads: enough that none waits for the other's every step.
const QUEUE: usize = 40;
/// Largest burst the kernel takes in one call, bytes.
const MAX_BURST: usize = 65_000;
/// Longer than this without a datagram: one was lost, and nothing will repeat it.
const STALL: Duration = Duration::from_secs(2);

/// What else is done with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// Nothing.
    Copy,
    /// Both ends hash each block; the receiver notes each in a journal.
    Verify,
}

/// Copies `from` to `to` in datagrams of `datagram` bytes.
pub(crate) fn run(from: &Path, to: &Path, datagram: usize, work: Work) -> io::Result<Cost> {
    let total = std::fs::metadata(from)?.len();
    let (source, target) = (File::open(from)?, File::create(to)?);
    let mut journal = File::create(to.with_extension("journal"))?;
    let (near, far) = (socket()?, socket()?);
    let remote = far.0.local_addr()?;
    let arrived = AtomicU64::new(0);
    let began = (Instant::now(), cpu());
    thread::scope(|scope| {
        let (read, blocks) = sync_channel(QUEUE);
        let (give_back, spare) = sync_channel(2 * QUEUE);
        scope.spawn(move || read_file(&source, total, work, &read, &spare));
        let arrived = &arrived;
        let sender = scope.spawn(move || send(&near, remote, datagram, &blocks, &give_back, arrived));
        let (filled, write) = sync_channel(QUEUE);
        let (recycle, empty) = sync_channel(2 * QUEUE);
        let waiting = sender.thread().clone();
        let receiver = scope.spawn(move || receive(&far, total, &filled, &empty, arrived, &waiting));
        let writer = scope.spawn(move || {
            for (offset, block) in write {
                if work == Work::Verify {
                    journal.write_all(&record(offset, &block))?;
                }
                target.write_all_at(&block, offset)?;
                // The other end has gone when it has all it needs.
                let _ = recycle.send(block);
            }
            io::Result::Ok(())
        });
        let result = receiver.join().expect("no panic");
        arrived.store(u64::MAX, Ordering::Release);
        sender.join().expect("no panic")?;
        writer.join().expect("no panic")?;
        result
    })?;
    let cost = Cost {
        seconds: began.0.elapsed().as_secs_f64(),
        cpu: cpu() - began.1,
        memory: None,
    };
    std::fs::remove_file(to.with_extension("journal"))?;
    std::fs::remove_file(to)?;
    Ok(cost)
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn socket() -> io::Result<(UdpSocket, UdpSocketState)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    state.set_send_buffer_size(UdpSockRef::from(&socket), 4 << 20)?;
    state.set_recv_buffer_size(UdpSockRef::from(&socket), 16 << 20)?;
    Ok((socket, state))
}

/// Calls `work` until it need not wait for the socket any more.
fn patiently<T>(
    socket: &UdpSocket,
    ready: PollFlags,
    mut work: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let limit = Timespec {
        tv_sec: STALL.as_secs() as i64,
        tv_nsec: 0,
    };
    loop {
        match work() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        if poll(&mut [PollFd::new(socket, ready)], Some(&limit))? == 0 {
            return Err(io::Error::other("a datagram was lost"));
        }
    }
}

/// A journal's record of a block: which, its hash, and some room for a checksum.
fn record(offset: u64, block: &[u8]) -> [u8; 41] {
    let mut record = [0; 41];
    let index = BlockIndex::containing(offset).expect("a file of this size");
    record[..8].copy_from_slice(&offset.to_be_bytes());
    record[8..40].copy_from_slice(&hash_block(index, block).cv);
    record
}

fn read_file(
    source: &File,
    total: u64,
    work: Work,
    to: &SyncSender<(u64, Vec<u8>)>,
    spare: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    for offset in (0..total).step_by(BLOCK_LEN) {
        let mut block = spare.try_recv().unwrap_or_default();
        block.resize((total - offset).min(BLOCK_LEN as u64) as usize, 0);
        source.read_exact_at(&mut block, offset)?;
        if work == Work::Verify {
            std::hint::black_box(record(offset, &block));
        }
        if to.send((offset, block)).is_err() {
            break;
        }
    }
    Ok(())
}

fn send(
    (socket, state): &(UdpSocket, UdpSocketState),
    remote: SocketAddr,
    datagram: usize,
    blocks: &Receiver<(u64, Vec<u8>)>,
    give_back: &SyncSender<Vec<u8>>,
    arrived: &AtomicU64,
) -> io::Result<()> {
    let mut sealer = Sealer::new(Cipher::Aes256Gcm, [7; 32].into(), 1);
    let payload = datagram - HEADER_LEN - DATA_HEADER_LEN - TAG_LEN;
    let segments = (MAX_BURST / datagram).min(state.max_gso_segments());
    let (mut burst, mut sent) = (Vec::with_capacity(MAX_BURST), 0);
    for (offset, block) in blocks {
        let mut at = offset;
        for pieces in block.chunks(payload * segments) {
            burst.clear();
            for piece in pieces.chunks(payload) {
                let start = burst.len();
                burst.resize(start + HEADER_LEN, 0);
                burst.push(0);
                burst.extend_from_slice(&at.to_be_bytes());
                burst.extend_from_slice(piece);
                burst.resize(burst.len() + TAG_LEN, 0);
                sealer.seal(&mut burst[start..]);
                at += piece.len() as u64;
            }
            while sent > arrived.load(Ordering::Acquire).saturating_add(WINDOW) {
                thread::park_timeout(STALL);
            }
            let transmit = Transmit {
                destination: remote,
                ecn: None,
                contents: &burst,
                segment_size: (burst.len() > datagram).then_some(datagram),
                src_ip: None,
            };
            patiently(socket, PollFlags::OUT, || {
                state.try_send(UdpSockRef::from(socket), &transmit)
            })?;
            sent += pieces.len() as u64;
        }
        // The reader has gone when it has all it needs.
        let _ = give_back.try_send(block);
    }
    Ok(())
}

fn receive(
    (socket, state): &(UdpSocket, UdpSocketState),
    total: u64,
    filled: &SyncSender<(u64, Vec<u8>)>,
    empty: &Receiver<Vec<u8>>,
    arrived: &AtomicU64,
    sender: &Thread,
) -> io::Result<()> {
    let mut opener = Opener::new(Cipher::Aes256Gcm, [7; 32].into());
    let mut buffers: Vec<Vec<u8>> = (0..BATCH_SIZE).map(|_| vec![0; 65_536]).collect();
    let (mut at, mut block) = (0, Vec::with_capacity(BLOCK_LEN));
    while at < total {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let count = patiently(socket, PollFlags::IN, || {
            state.recv(UdpSockRef::from(socket), &mut slices, &mut metas)
        })?;
        drop(slices);
        for (buffer, meta) in buffers.iter_mut().zip(&metas[..count]) {
            for packet in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                let header = Header::decode(packet).ok_or(io::ErrorKind::InvalidData)?;
                let plain = opener.open(&header, packet).ok_or(io::ErrorKind::InvalidData)?;
                block.extend_from_slice(&plain[DATA_HEADER_LEN..]);
                at += (plain.len() - DATA_HEADER_LEN) as u64;
                if block.len() == BLOCK_LEN || at == total {
                    let start = at - block.len() as u64;
                    let mut next = empty.try_recv().unwrap_or_default();
                    next.clear();
                    next.reserve(BLOCK_LEN);
                    let whole = std::mem::replace(&mut block, next);
                    filled
                        .send((start, whole))
                        .map_err(|_| io::ErrorKind::BrokenPipe)?;
                }
            }
        }
        arrived.store(at, Ordering::Release);
        sender.unpark();
    }
    Ok(())
}
