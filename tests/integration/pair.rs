//! A sender and a receiver in one thread, with nothing between them but a bag of content pieces that come out
//! in any order, some of them twice.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use p2pcopy::parts::protocol::SplitMix64;
use p2pcopy::parts::transfer::{
    Assembler, BLOCK_LEN, BlockIndex, Conflicts, Layer, Links, Manifest, ORDERED_BUFFERS, ORDERED_WINDOW,
    Offer, OrderedSink, Placed, Purpose, ReceiveEvent, ReceiveSession, Remark, Root, ScanOptions, SendEvent,
    SendSession, Sink, Source, Store, StoreJob, Taken, TransferError, Work, scan,
};

/// A small generator, so that a failing run replays from its seed.
pub struct Rng(SplitMix64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(SplitMix64::new(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// What the network and the machines are like.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    /// Longest piece.
    pub piece: usize,
    /// Buffers of the receiver.
    pub buffers: usize,
    /// Blocks in flight at most.
    pub window: usize,
    pub conflicts: Conflicts,
    /// Stop (both sides die) after so many blocks were verified.
    pub die_after: Option<u32>,
    /// Flip a bit in the first delivery of this block.
    pub damage: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            seed: 1,
            piece: 60_000,
            buffers: 8,
            window: 6,
            conflicts: Conflicts::Rename,
            die_after: None,
            damage: None,
        }
    }
}

#[derive(Debug, Default)]
pub struct Outcome {
    /// What does not arrive, as the receiver knows it.
    pub missing: Vec<PathBuf>,
    pub root: Option<Root>,
    pub placed: Vec<Placed>,
    /// What the receiver's user is told of the disk.
    pub remarks: Vec<Remark>,
    /// Content bytes that crossed the network, without repeats.
    pub sent: u64,
    /// Bytes of chunks' hashes that did.
    pub described: u64,
    pub died: bool,
}

#[derive(Debug)]
pub enum Fault {
    Sender(TransferError),
    Receiver(TransferError),
}

/// Something that is done to the files before each block is read, which is told by its number, and before the files are
/// looked at in the end, which is [`u32::MAX`].
type Change<'a> = &'a mut dyn FnMut(u32);

/// Sends these paths, links and all.
pub fn send<L: Layer>(paths: &[PathBuf], layer: L, setup: Setup) -> Result<Outcome, Fault> {
    let options = ScanOptions {
        links: Links::Keep,
        ..ScanOptions::default()
    };
    let scanned = scan(paths, &options).unwrap();
    run(scanned.manifest.clone(), Source::files(scanned), layer, setup)
}

/// Runs one whole transfer into files.
pub fn run<L: Layer>(
    manifest: Arc<Manifest>,
    source: Source,
    layer: L,
    setup: Setup,
) -> Result<Outcome, Fault> {
    run_into(manifest, source, layer, setup, None)
}

/// The same, with something done to the files meanwhile.
pub fn run_changing<L: Layer>(
    manifest: Arc<Manifest>,
    source: Source,
    layer: L,
    setup: Setup,
    change: Change<'_>,
) -> Result<Outcome, Fault> {
    run_into(manifest, source, layer, setup, Some(change))
}

fn run_into<L: Layer>(
    manifest: Arc<Manifest>,
    source: Source,
    layer: L,
    setup: Setup,
    change: Option<Change<'_>>,
) -> Result<Outcome, Fault> {
    let mut layer = Some(layer);
    drive(manifest, source, setup, None, change, |offer, manifest| {
        Sink::open(layer.take().unwrap(), offer, manifest, setup.conflicts)
    })
    .map(|(outcome, _)| outcome)
}

/// Runs one whole transfer into memory, in order.
pub fn run_ordered(
    manifest: Arc<Manifest>,
    source: Source,
    setup: Setup,
) -> Result<(Outcome, Vec<u8>), Fault> {
    let setup = Setup {
        buffers: ORDERED_BUFFERS,
        ..setup
    };
    let (outcome, store) = drive(
        manifest,
        source,
        setup,
        Some(ORDERED_WINDOW),
        None,
        |_, manifest| Ok(OrderedSink::new(Vec::new(), manifest.total())),
    )?;
    Ok((outcome, store.unwrap().into_output()))
}

fn tell_missing(source: &mut Source, send: &mut SendSession) {
    for missing in source.take_missing() {
        send.on_missing(missing.entry);
    }
}

fn drive<S: Store>(
    manifest: Arc<Manifest>,
    mut source: Source,
    setup: Setup,
    window: Option<u32>,
    mut change: Option<Change<'_>>,
    mut open: impl FnMut(&Offer, Arc<Manifest>) -> Result<S, TransferError>,
) -> Result<(Outcome, Option<S>), Fault> {
    let mut rng = Rng::new(setup.seed);
    let listed = Arc::clone(&manifest);
    let (mut send, mut receive) = (SendSession::new(manifest), ReceiveSession::new());
    let mut sink: Option<S> = None;
    let mut assembler: Option<Assembler> = None;
    let mut jobs: VecDeque<StoreJob> = VecDeque::new();
    let mut bag: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut outcome = Outcome::default();
    let mut damage = setup.damage;
    let mut buffer = vec![0; BLOCK_LEN];
    let mut finished = false;
    for _ in 0..20_000_000u64 {
        let mut idle = true;
        let mut wire = Vec::new();
        while send.poll_output(&mut wire) {}
        if !wire.is_empty() {
            idle = false;
            for part in wire.chunks(1 + rng.below(5000)) {
                receive.handle_bytes(part).map_err(Fault::Receiver)?;
            }
        }
        wire.clear();
        while receive.poll_output(&mut wire) {}
        if !wire.is_empty() {
            idle = false;
            send.handle_bytes(&wire).map_err(Fault::Sender)?;
        }
        while let Some(event) = receive.poll_event() {
            idle = false;
            match event {
                ReceiveEvent::Listed(list) => {
                    let (offer, manifest) = list.look_over().map_err(Fault::Receiver)?;
                    receive.on_looked_over(offer, manifest);
                }
                ReceiveEvent::Offer(_) => receive.accept(window),
                ReceiveEvent::Open(manifest) => {
                    let offer = receive.offer().unwrap().clone();
                    let mut a = Assembler::new(setup.buffers, manifest.total());
                    let opened = open(&offer, manifest).map_err(Fault::Receiver)?;
                    let held = opened.held();
                    for run in &held {
                        a.mark_complete(BlockIndex::new(run.start), BlockIndex::new(run.end));
                    }
                    receive.on_opened(&held);
                    (sink, assembler) = (Some(opened), Some(a));
                }
                ReceiveEvent::Job(job) => {
                    if let StoreJob::Total(total) = job {
                        assert!(assembler.as_mut().unwrap().set_total(total));
                    }
                    jobs.push_back(job);
                }
                ReceiveEvent::Finished { root, placed } => {
                    outcome.root = Some(root);
                    outcome.placed = placed;
                }
            }
        }
        while let Some(event) = send.poll_event() {
            match event {
                SendEvent::Progress { .. } => source.release(send.verified_below()),
                SendEvent::Finished { root } => {
                    assert_eq!(outcome.root, Some(root));
                    finished = true;
                }
                SendEvent::Listed | SendEvent::Accepted { .. } | SendEvent::Started { .. } => {}
            }
        }
        if finished {
            let [sent, received]: [Vec<_>; 2] = [send.missing().collect(), receive.missing().collect()];
            assert_eq!(sent, received);
            outcome.missing = receive.missing().map(|index| listed.path(index)).collect();
            return Ok((outcome, sink));
        }
        let in_flight: usize = bag.iter().map(|(_, b)| b.len()).sum();
        if let Some(work) = send.next_work(in_flight < setup.window * BLOCK_LEN) {
            idle = false;
            match work {
                Work::CheckSource => {
                    if let Some(change) = &mut change {
                        change(u32::MAX);
                    }
                    source.check_unchanged().map_err(Fault::Sender)?;
                    tell_missing(&mut source, &mut send);
                    send.on_source_checked();
                }
                Work::Read { block, purpose } => {
                    if let Some(change) = &mut change {
                        change(block.get());
                    }
                    let read = source.read_block(block, &mut buffer).map_err(Fault::Sender)?;
                    tell_missing(&mut source, &mut send);
                    if let Purpose::Describe { last } = purpose
                        && let Some(list) = source.describe(block, &buffer[..read.len], last)
                    {
                        outcome.described += 20 * list.chunks.len() as u64;
                        send.on_described(&list);
                    }
                    send.on_read(block, &read);
                    let whole = 0..read.len;
                    let parts = match &purpose {
                        Purpose::Send => vec![whole],
                        Purpose::SendParts(runs) => runs
                            .iter()
                            .map(|run| run.start as usize..run.end as usize)
                            .collect(),
                        Purpose::HashOnly | Purpose::Describe { .. } => vec![],
                    };
                    for part in parts.into_iter().filter(|part| !part.is_empty()) {
                        outcome.sent += part.len() as u64;
                        let mut at = part.start;
                        while at < part.end {
                            let end = part.end.min(at + 1 + rng.below(setup.piece));
                            bag.push((block.start() + at as u64, buffer[at..end].to_vec()));
                            at = end;
                        }
                        if damage == Some(block.get()) {
                            damage = None;
                            bag.last_mut().unwrap().1[0] ^= 1;
                        }
                    }
                }
            }
        }
        if let Some(assembler) = &mut assembler {
            for _ in 0..20 {
                if bag.is_empty() {
                    break;
                }
                let at = if rng.chance(70) { 0 } else { rng.below(bag.len()) };
                let (offset, bytes) = &bag[at];
                match assembler.write(*offset, bytes) {
                    Taken::Full => break,
                    Taken::Beyond => panic!("beyond the end"),
                    Taken::New | Taken::Duplicate => idle = false,
                }
                if !rng.chance(5) {
                    bag.remove(at);
                }
            }
            while let Some(filled) = assembler.poll_filled() {
                jobs.push_back(StoreJob::Filled(filled));
            }
        }
        if let Some(sink) = &mut sink {
            let mut events = Vec::new();
            if rng.chance(60)
                && let Some(job) = jobs.pop_front()
            {
                sink.handle(job, &mut events).map_err(Fault::Receiver)?;
                idle = false;
            } else if sink.recheck_one(&mut events).map_err(Fault::Receiver)? {
                idle = false;
            }
            outcome.remarks.extend(std::iter::from_fn(|| sink.poll_remark()));
            for event in events {
                idle = false;
                receive.on_store_event(&event);
                let assembler = assembler.as_mut().unwrap();
                assembler.on_store_event(event);
            }
        }
        if setup.die_after.is_some_and(|n| receive.verified().0 >= n) {
            outcome.died = true;
            return Ok((outcome, sink));
        }
        assert!(!idle || !jobs.is_empty(), "stuck: {send:#?} {receive:#?}");
    }
    panic!("no end in sight")
}
