//! Everything at once: files from disk to disk over whole connections, black-outs, routers that give out new ports,
//! deaths of either machine, and resumes over other networks, in virtual time.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use p2pcopy::parts::protocol::{Connection, Role, Time};
use p2pcopy::parts::transfer::{
    Assembler, BLOCK_LEN, BlockIndex, Conflicts, Purpose, ReceiveEvent, ReceiveSession, ScanOptions,
    SendEvent, SendSession, Sink, Source, Store, StoreEvent, StoreJob, Taken, TransferError, Work, scan,
};

use crate::memory::{Crash, MemoryLayer};
use crate::remains::{CRASHES, Contents, assert_nothing_wrong, expected, finals};
use crate::sim::link::Rng;
use crate::sim::nat::Rebinding;
use crate::sim::pair::Pair;
use crate::sim::{draw, ms};

/// Chains run.
const CHAINS: u64 = 2000;
/// Most attempts of a chain, the last of which nobody ends.
const ATTEMPTS: u64 = 4;
/// Buffers of the receiver, and how many of them are not promised to the sender.
const BUFFERS: usize = 8;
const RESERVE: usize = 2;
/// Virtual time an attempt may take: the slowest line drawn takes half a minute without any mishap.
const LIMIT: Duration = Duration::from_secs(600);

/// Writes what `next` gives to the control stream, as far as there is room.
fn flush(connection: &mut Connection, out: &mut Vec<u8>, mut next: impl FnMut(&mut Vec<u8>) -> bool) {
    while !out.is_empty() || next(out) {
        let taken = connection.write_control(out);
        out.drain(..taken);
        if !out.is_empty() {
            return;
        }
    }
}

/// The sender's program and disk, in one thread.
struct Sending {
    session: SendSession,
    source: Source,
    out: Vec<u8>,
    everything_read: bool,
    finished: bool,
}

impl Sending {
    fn new(paths: &[PathBuf]) -> Sending {
        let scanned = scan(paths, &ScanOptions::default()).unwrap();
        Sending {
            session: SendSession::new(scanned.manifest.clone()),
            source: Source::files(scanned),
            out: Vec::new(),
            everything_read: false,
            finished: false,
        }
    }

    fn pump(&mut self, connection: &mut Connection) -> Result<(), TransferError> {
        let mut bytes = Vec::new();
        if connection.read_control(&mut bytes) > 0 {
            self.session.handle_bytes(&bytes)?;
        }
        while let Some(event) = self.session.poll_event() {
            self.finished |= matches!(event, SendEvent::Finished { .. });
        }
        while let Some(work) = self.session.next_work(connection.content_room() > 0) {
            match work {
                Work::CheckSource => {
                    self.source.check_unchanged()?;
                    self.session.on_source_checked();
                    self.everything_read = true;
                }
                Work::Read { block, purpose } => {
                    let mut buffer = connection.reclaim().unwrap_or_default();
                    buffer.resize(BLOCK_LEN, 0);
                    let read = self.source.read_block(block, &mut buffer)?;
                    let is_due = self.session.on_read(block, &read);
                    buffer.truncate(read.len);
                    if purpose == Purpose::Send && is_due {
                        connection.offer(block.start(), buffer);
                    }
                }
            }
        }
        if self.everything_read {
            connection.finish_content();
        }
        while let Some(block) = connection.wanted().and_then(BlockIndex::containing) {
            let total = self.session.total().expect("files have a length");
            let mut buffer = vec![0; block.len_in(total)];
            self.source.read_range(block.start(), &mut buffer)?;
            connection.supply(block.start(), buffer);
        }
        flush(connection, &mut self.out, |out| self.session.poll_output(out));
        Ok(())
    }
}

/// The receiver's program and disk, in one thread.
struct Receiving {
    session: ReceiveSession,
    layer: MemoryLayer,
    store: Option<(Sink<MemoryLayer>, Assembler)>,
    jobs: VecDeque<StoreJob>,
    out: Vec<u8>,
    /// Content bytes that were new.
    taken: u64,
    /// Blocks an earlier attempt left.
    held: u32,
    finished: bool,
}

impl Receiving {
    fn new(layer: MemoryLayer) -> Receiving {
        Receiving {
            session: ReceiveSession::default(),
            layer,
            store: None,
            jobs: VecDeque::new(),
            out: Vec::new(),
            taken: 0,
            held: 0,
            finished: false,
        }
    }

    fn on_content(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        if let Some((_, assembler)) = &mut self.store {
            match assembler.write(offset, bytes) {
                Taken::New => self.taken += bytes.len() as u64,
                Taken::Duplicate => {}
                Taken::Full => {
                    let block = BlockIndex::containing(offset).expect("it fitted before");
                    self.session.on_store_event(&StoreEvent::Need(block));
                }
                Taken::Beyond => panic!("content beyond the end"),
            }
        }
        self.flow_limit()
    }

    fn flow_limit(&self) -> u64 {
        self.store.as_ref().map_or(0, |(_, assembler)| {
            let free = assembler.reclaimable().saturating_sub(RESERVE).max(1);
            (free * BLOCK_LEN) as u64 * u64::from(assembler.room() > 0)
        })
    }

    fn pump(&mut self, now: Time, connection: &mut Connection) -> Result<(), TransferError> {
        let mut bytes = Vec::new();
        if connection.read_control(&mut bytes) > 0 {
            self.session.handle_bytes(&bytes)?;
        }
        loop {
            while let Some(event) = self.session.poll_event() {
                self.on_event(event)?;
            }
            let Some((sink, assembler)) = &mut self.store else {
                break;
            };
            while let Some(filled) = assembler.poll_filled() {
                self.jobs.push_back(StoreJob::Filled(filled));
            }
            let mut events = Vec::new();
            let idle = match self.jobs.pop_front() {
                Some(job) => sink.handle(job, &mut events).map(|()| false)?,
                None => !sink.recheck_one(&mut events)?,
            };
            for event in events {
                self.session.on_store_event(&event);
                assembler.on_store_event(event);
            }
            if idle {
                break;
            }
        }
        flush(connection, &mut self.out, |out| self.session.poll_output(out));
        connection.set_flow_limit(now, self.flow_limit());
        Ok(())
    }

    fn on_event(&mut self, event: ReceiveEvent) -> Result<(), TransferError> {
        match event {
            ReceiveEvent::Listed(list) => {
                let (offer, manifest) = list.look_over().expect("an honest list");
                self.session.on_looked_over(offer, manifest);
            }
            ReceiveEvent::Offer(_) => self.session.accept(None),
            ReceiveEvent::Open(manifest) => {
                let offer = self.session.offer().expect("it came before").clone();
                let mut assembler = Assembler::new(BUFFERS, manifest.total());
                let sink = Sink::open(self.layer.clone(), &offer, manifest, Conflicts::Rename)?;
                let held = sink.held();
                for run in &held {
                    assembler.mark_complete(BlockIndex::new(run.start), BlockIndex::new(run.end));
                    self.held += run.end - run.start;
                }
                self.session.on_opened(&held);
                self.store = Some((sink, assembler));
            }
            ReceiveEvent::Job(job) => self.jobs.push_back(job),
            ReceiveEvent::Finished { .. } => self.finished = true,
        }
        Ok(())
    }
}

/// What happens to one attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Both programs are killed once this many bytes have arrived.
    killed_after: Option<u64>,
    /// The router of one of the two gives out another port, this long after the start.
    rebound: Option<(Role, Duration)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole,
    Killed,
    /// The receiver's machine died in the midst of a step on its disk.
    DiskDied,
}

/// What happened in all runs together. The test fails if one kind never happened.
#[derive(Debug, Default)]
struct Tally {
    kills: AtomicU64,
    disk_deaths: AtomicU64,
    black_outs: AtomicU64,
    rebindings: AtomicU64,
    blocks_resumed: AtomicU64,
}

/// One attempt: both programs, a connection between them, and a network that is drawn from `rng`.
fn attempt(
    seed: u64,
    paths: &[PathBuf],
    layer: &MemoryLayer,
    rng: &mut Rng,
    fate: Fate,
    tally: &Tally,
) -> End {
    let (mut forward, mut back) = draw(rng);
    // The content takes at least this long, so that the trouble falls into it.
    let length = Duration::from_secs_f64(TOTAL as f64 / forward.rate as f64) + ms(300);
    let start = Time::from_nanos(1_000_000_000);
    if rng.chance(0.4) {
        let dark = start + length.mul_f64(rng.unit());
        let light = dark + ms(200 + rng.next() % 8000);
        for link in [&mut forward, &mut back] {
            link.blackouts.push((dark, light));
        }
    }
    let mut pair = Pair::new(forward, back, 0, rng.next());
    pair.receiver.set_flow_limit(start, 0);
    let mut sending = Sending::new(paths);
    let mut receiving = Receiving::new(layer.clone());
    let mut rebound = fate.rebound;
    let end = loop {
        let now = pair.now;
        assert!(
            now < start + LIMIT,
            "SIM_SEED={seed}: no end in sight: {:?}, {fate:?}, {:?}",
            pair.sender.stats(),
            pair.forward.profile
        );
        sending.pump(&mut pair.sender).expect("the sender has no trouble");
        match receiving.pump(now, &mut pair.receiver) {
            Ok(()) => {}
            Err(_) if layer.is_dead() => break End::DiskDied,
            Err(error) => panic!("SIM_SEED={seed}: {error}"),
        }
        if sending.finished && receiving.finished {
            break End::Whole;
        }
        if fate.killed_after.is_some_and(|bytes| receiving.taken >= bytes) {
            break End::Killed;
        }
        if let Some((role, after)) = rebound
            && now >= start + after
        {
            pair.rebind(role, Rebinding::AllPorts);
            rebound = None;
            tally.rebindings.fetch_add(1, Ordering::Relaxed);
        }
        pair.step_with(|offset, bytes| receiving.on_content(offset, bytes));
    };
    let dark = pair.forward.profile.blackouts.iter();
    let met = dark.filter(|&&(from, _)| from < pair.now).count();
    tally.black_outs.fetch_add(met as u64, Ordering::Relaxed);
    let resumed = u64::from(receiving.held);
    tally.blocks_resumed.fetch_add(resumed, Ordering::Relaxed);
    let deaths = match end {
        End::Whole => return end,
        End::Killed => &tally.kills,
        End::DiskDied => &tally.disk_deaths,
    };
    deaths.fetch_add(1, Ordering::Relaxed);
    end
}

/// Content of the tree that is sent.
const TOTAL: u64 = 300_000 + (1 << 20) + 9 + 900_000;

fn chain(seed: u64, paths: &[PathBuf], expected: &Contents, tally: &Tally) {
    let mut rng = Rng::new(seed);
    let layer = MemoryLayer::new();
    for left in (0..=rng.next() % ATTEMPTS).rev() {
        let mut fate = Fate::default();
        if rng.chance(0.4) {
            let role = if rng.chance(0.5) {
                Role::Sender
            } else {
                Role::Receiver
            };
            fate.rebound = Some((role, ms(rng.next() % 2000)));
        }
        // The last attempt is spared deaths and nothing else.
        let on_the_disk = rng.chance(0.4);
        if left > 0 && on_the_disk {
            layer.die_at(1 + rng.next() % 40);
        } else if left > 0 {
            fate.killed_after = Some(rng.next() % TOTAL);
        }
        let end = attempt(seed, paths, &layer, &mut rng, fate, tally);
        let crash = CRASHES[(rng.next() % CRASHES.len() as u64) as usize];
        layer.revive(if end == End::DiskDied {
            crash
        } else {
            Crash::KeepAll
        });
        assert_nothing_wrong(&layer, expected, &format!("SIM_SEED={seed}, {end:?}"));
        // Who finds everything in place does not ask for it again: it would come under another name.
        if end == End::Whole || finals(&layer) == *expected {
            break;
        }
    }
    assert!(finals(&layer) == *expected, "SIM_SEED={seed}");
}

#[test]
fn two_thousand_chains_over_bad_networks_end_exact() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("photos");
    fs::create_dir_all(tree.join("deep")).unwrap();
    for (i, (name, size)) in [
        ("a.jpg", 300_000),
        ("deep/b.jpg", (1 << 20) + 9),
        ("deep/c.jpg", 900_000),
        ("d", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut rng = Rng::new(i as u64);
        let bytes: Vec<u8> = (0..size).map(|_| rng.next() as u8).collect();
        fs::write(tree.join(name), bytes).unwrap();
    }
    let paths = [tree];
    let expected = expected(&paths);
    let tally = Tally::default();
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        return chain(seed, &paths, &expected, &tally);
    }
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (paths, expected, tally) = (&paths, &expected, &tally);
            scope.spawn(move || (0..CHAINS / 2).for_each(|i| chain(i * 2 + half, paths, expected, tally)));
        }
    });
    println!("{tally:?}");
    for count in [
        tally.kills,
        tally.disk_deaths,
        tally.black_outs,
        tally.rebindings,
        tally.blocks_resumed,
    ] {
        assert!(count.into_inner() >= 400, "hardly any of one kind of trouble");
    }
}
