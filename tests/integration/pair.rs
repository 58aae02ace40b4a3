//! A sender and a receiver in one thread, with nothing between them but a bag of content pieces that come out
//! in any order, some of them twice.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use p2pcopy::parts::protocol::SplitMix64;
use p2pcopy::parts::transfer::{
    Assembler, BLOCK_LEN, BlockIndex, Conflicts, Layer, Links, Manifest, ORDERED_BUFFERS, ORDERED_WINDOW,
    Offer, OrderedSink, Placed, Purpose, ReceiveEvent, ReceiveSession, Remark, Root, ScanOptions, SendEvent,
    SendSession, Sink, Source, Store, StoreEvent, StoreJob, Taken, TransferError, Work, scan,
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
    /// Stop (both sides die) after this many blocks were verified.
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
    /// What was still to be copied of what is equal, whenever some of it was.
    pub copying: Vec<u64>,
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

fn drive<S: Store>(
    manifest: Arc<Manifest>,
    source: Source,
    setup: Setup,
    window: Option<u32>,
    change: Option<Change<'_>>,
    open: impl FnMut(&Offer, Arc<Manifest>) -> Result<S, TransferError>,
) -> Result<(Outcome, Option<S>), Fault> {
    let mut pair = Pair {
        rng: Rng::new(setup.seed),
        listed: Arc::clone(&manifest),
        send: SendSession::new(manifest),
        receive: ReceiveSession::default(),
        source,
        window,
        change,
        open,
        sink: None,
        assembler: None,
        jobs: VecDeque::new(),
        bag: Vec::new(),
        outcome: Outcome::default(),
        damage: setup.damage,
        buffer: vec![0; BLOCK_LEN],
        finished: false,
        setup,
    };
    for _ in 0..20_000_000u64 {
        let mut busy = pair.talk()?;
        busy |= pair.ask_receiver()?;
        pair.ask_sender();
        if pair.finished {
            return Ok(pair.end());
        }
        busy |= pair.work()?;
        busy |= pair.carry();
        busy |= pair.store()?;
        if setup.die_after.is_some_and(|n| pair.receive.verified().0 >= n) {
            pair.outcome.died = true;
            return Ok((pair.outcome, pair.sink));
        }
        assert!(
            busy || !pair.jobs.is_empty(),
            "stuck: {:#?} {:#?}",
            pair.send,
            pair.receive
        );
    }
    panic!("no end in sight")
}

/// Both sessions, the disks at both ends, and the way between.
struct Pair<'a, S, O> {
    rng: Rng,
    listed: Arc<Manifest>,
    send: SendSession,
    receive: ReceiveSession,
    source: Source,
    setup: Setup,
    window: Option<u32>,
    change: Option<Change<'a>>,
    open: O,
    sink: Option<S>,
    assembler: Option<Assembler>,
    jobs: VecDeque<StoreJob>,
    /// Content under way, by its offset.
    bag: Vec<(u64, Vec<u8>)>,
    outcome: Outcome,
    /// The block that is still to be damaged on its way.
    damage: Option<u32>,
    buffer: Vec<u8>,
    finished: bool,
}

// Each step tells whether anything happened in it.
impl<S: Store, O: FnMut(&Offer, Arc<Manifest>) -> Result<S, TransferError>> Pair<'_, S, O> {
    /// Carries messages both ways.
    fn talk(&mut self) -> Result<bool, Fault> {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while self.send.poll_output(&mut there) {}
        for part in there.chunks(1 + self.rng.below(5000)) {
            self.receive.handle_bytes(part).map_err(Fault::Receiver)?;
        }
        while self.receive.poll_output(&mut back) {}
        if !back.is_empty() {
            self.send.handle_bytes(&back).map_err(Fault::Sender)?;
        }
        Ok(!there.is_empty() || !back.is_empty())
    }

    fn ask_receiver(&mut self) -> Result<bool, Fault> {
        let mut busy = false;
        while let Some(event) = self.receive.poll_event() {
            busy = true;
            match event {
                ReceiveEvent::Listed(list) => {
                    let (offer, manifest) = list.look_over().map_err(Fault::Receiver)?;
                    self.receive.on_looked_over(offer, manifest);
                }
                ReceiveEvent::Offer(_) => self.receive.accept(self.window),
                ReceiveEvent::Open(manifest) => {
                    let offer = self.receive.offer().unwrap().clone();
                    let mut assembler = Assembler::new(self.setup.buffers, manifest.total());
                    let opened = (self.open)(&offer, manifest).map_err(Fault::Receiver)?;
                    let held = opened.held();
                    for run in &held {
                        assembler.mark_complete(BlockIndex::new(run.start), BlockIndex::new(run.end));
                    }
                    self.receive.on_opened(&held);
                    (self.sink, self.assembler) = (Some(opened), Some(assembler));
                }
                ReceiveEvent::Job(job) => {
                    if let StoreJob::Total(total) = job {
                        assert!(self.assembler.as_mut().unwrap().set_total(total));
                    }
                    self.jobs.push_back(job);
                }
                ReceiveEvent::Finished { root, placed } => {
                    self.outcome.root = Some(root);
                    self.outcome.placed = placed;
                }
            }
        }
        Ok(busy)
    }

    fn ask_sender(&mut self) {
        while let Some(event) = self.send.poll_event() {
            match event {
                SendEvent::Progress { .. } => self.source.release(self.send.verified_below()),
                SendEvent::Finished { root } => {
                    assert_eq!(self.outcome.root, Some(root));
                    self.finished = true;
                }
                SendEvent::Listed | SendEvent::Accepted { .. } | SendEvent::Started { .. } => {}
            }
        }
    }

    fn end(mut self) -> (Outcome, Option<S>) {
        let sent: Vec<_> = self.send.missing().collect();
        let received: Vec<_> = self.receive.missing().collect();
        assert_eq!(sent, received);
        self.outcome.missing = received
            .into_iter()
            .map(|index| self.listed.path(index))
            .collect();
        (self.outcome, self.sink)
    }

    /// The sender's disk thread does one thing, if the way has room for it.
    fn work(&mut self) -> Result<bool, Fault> {
        let in_flight: usize = self.bag.iter().map(|(_, b)| b.len()).sum();
        let Some(work) = self.send.next_work(in_flight < self.setup.window * BLOCK_LEN) else {
            return Ok(false);
        };
        let at = match &work {
            Work::CheckSource => u32::MAX,
            Work::Read { block, .. } => block.get(),
        };
        if let Some(change) = &mut self.change {
            change(at);
        }
        match work {
            Work::CheckSource => {
                self.source.check_unchanged().map_err(Fault::Sender)?;
                self.tell_missing();
                self.send.on_source_checked();
            }
            Work::Read { block, purpose } => self.read(block, &purpose)?,
        }
        Ok(true)
    }

    fn tell_missing(&mut self) {
        for missing in self.source.take_missing() {
            self.send.on_missing(missing.entry);
        }
    }

    fn read(&mut self, block: BlockIndex, purpose: &Purpose) -> Result<(), Fault> {
        let read = self.source.read_block(block, &mut self.buffer);
        let read = read.map_err(Fault::Sender)?;
        self.tell_missing();
        if let Purpose::Describe { last } = *purpose
            && let Some(list) = self.source.describe(block, &self.buffer[..read.len], last)
        {
            self.outcome.described += 20 * list.chunks.len() as u64;
            self.send.on_described(&list);
        }
        let is_due = self.send.on_read(block, &read);
        let whole = 0..read.len;
        let parts = match purpose {
            Purpose::Send if is_due => vec![whole],
            Purpose::SendParts(runs) => runs
                .iter()
                .map(|run| run.start as usize..run.end as usize)
                .collect(),
            Purpose::Send | Purpose::HashOnly | Purpose::Describe { .. } => vec![],
        };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            self.outcome.sent += part.len() as u64;
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + 1 + self.rng.below(self.setup.piece));
                let piece = self.buffer[at..end].to_vec();
                self.bag.push((block.start() + at as u64, piece));
                at = end;
            }
            if self.damage == Some(block.get()) {
                self.damage = None;
                self.bag.last_mut().unwrap().1[0] ^= 1;
            }
        }
        Ok(())
    }

    /// Some pieces arrive, out of order and some of them twice.
    fn carry(&mut self) -> bool {
        let Some(assembler) = &mut self.assembler else {
            return false;
        };
        let mut busy = false;
        for _ in 0..20 {
            if self.bag.is_empty() {
                break;
            }
            let at = match self.rng.chance(70) {
                true => 0,
                false => self.rng.below(self.bag.len()),
            };
            let (offset, bytes) = &self.bag[at];
            match assembler.write(*offset, bytes) {
                Taken::Full => break,
                Taken::Beyond => panic!("beyond the end"),
                Taken::New | Taken::Duplicate => busy = true,
            }
            if !self.rng.chance(5) {
                self.bag.remove(at);
            }
        }
        while let Some(filled) = assembler.poll_filled() {
            self.jobs.push_back(StoreJob::Filled(filled));
        }
        busy
    }

    /// The receiver's disk thread does one thing.
    fn store(&mut self) -> Result<bool, Fault> {
        let Some(sink) = &mut self.sink else {
            return Ok(false);
        };
        let mut events = Vec::new();
        let outcome = if self.rng.chance(60)
            && let Some(job) = self.jobs.pop_front()
        {
            sink.handle(job, &mut events).map(|()| true)
        } else {
            sink.recheck_one(&mut events)
        };
        // The disk thread does this, too.
        let busy = outcome.inspect_err(|_| sink.leave()).map_err(Fault::Receiver)?;
        self.outcome
            .remarks
            .extend(std::iter::from_fn(|| sink.poll_remark()));
        let is_told = !events.is_empty();
        for event in events {
            if let StoreEvent::Copying { left } = event {
                self.outcome.copying.push(left);
            }
            self.receive.on_store_event(&event);
            self.assembler.as_mut().unwrap().on_store_event(event);
        }
        Ok(busy || is_told)
    }
}
