//! Tests with a disk that stands still while the peer goes on.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::protocol::Role;
use crate::protocol::congestion::bbr::Bbr;
use crate::protocol::connection::Config;
use crate::protocol::ecn::Ecn;
use crate::transfer::fs::layer::Room;
use crate::transfer::manifest::builder::{ManifestBuilder, Trust};
use crate::transfer::manifest::offer::ListHead;
use crate::transfer::manifest::{Entry, EntryIndex, Kind, Manifest};
use crate::transfer::session::messages::Message;
use crate::transfer::sink::staging::{OWN_NODES, Prospect};

/// The most bytes the control stream holds, on their way or unread.
const WINDOW: usize = 1 << 20;
/// A message that announces the hash of one block: a byte, its length, the block, the hash.
const ANNOUNCEMENT: usize = 1 + 2 + 4 + 32;
/// The most jobs that wait: those after which reading stops, those of one window, and those in the buffers.
const BOUND: usize = MOST_WAITING + WINDOW.div_ceil(ANNOUNCEMENT) + BUFFERS;

fn path() -> crate::protocol::Path {
    crate::protocol::Path {
        local: 0,
        remote: ([192, 0, 2, 1], 1).into(),
    }
}

fn end(role: Role, now: Time) -> Connection {
    let config = Config::of_pair(role, path(), [[1; 32], [2; 32], [3; 32]]);
    Connection::new(config, Box::new(Bbr::new(now, 1200, None, 1)), now)
}

/// The peer, the line, and a receiving side. The test alone decides what the disk does.
struct World {
    now: Time,
    peer: Connection,
    connection: Connection,
    side: Receiving,
    todo: Receiver<Job>,
    done: Sender<Done>,
    notices: UnboundedReceiver<Notice>,
}

impl World {
    fn new(root: &Path) -> World {
        let now = Time::from_nanos(1_000_000_000);
        let (tell, notices) = unbounded_channel();
        let target = Target::Directory(root.to_owned(), Conflicts::Rename);
        let mut side = Receiving::new(target, Waker::new(|| {}), Clock::start(), tell).unwrap();
        let (jobs, todo) = channel();
        let (done, news) = channel();
        // The real disk thread ends when its channel of jobs is dropped.
        (side.jobs, side.done) = (jobs, news);
        World {
            now,
            peer: end(Role::Sender, now),
            connection: end(Role::Receiver, now),
            side,
            todo,
            done,
            notices,
        }
    }

    /// Lets one millisecond pass.
    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let (now, mut buf) = (self.now, Vec::new());
        let ends = [&mut self.peer, &mut self.connection];
        let mut sent = ends.map(|end| {
            let mut all = Vec::new();
            while let Some(t) = end.poll_transmit(now, &mut buf, 16) {
                all.extend(buf.chunks(t.segment).map(<[u8]>::to_vec));
            }
            all
        });
        for datagram in &mut sent[1] {
            self.peer.handle_datagram(now, path(), Ecn::NotEct, datagram);
        }
        for datagram in &mut sent[0] {
            self.connection
                .handle_datagram(now, path(), Ecn::NotEct, datagram);
        }
        self.peer.handle_timeout(now);
        self.connection.handle_timeout(now);
        self.side.pump(now, &mut self.connection);
    }

    /// Writes as much as there is room for.
    fn writes(&mut self, bytes: &[u8]) -> usize {
        self.peer.write_control(bytes)
    }

    fn waiting(&self) -> usize {
        self.side.waiting.load(Ordering::Relaxed)
    }

    /// Lets time pass until the disk has a job.
    fn job(&mut self) -> Job {
        for _ in 0..1000 {
            self.step();
            if let Ok(job) = self.todo.try_recv() {
                self.side.waiting.fetch_sub(1, Ordering::Relaxed);
                return job;
            }
        }
        panic!("no job comes: {:?}", self.side.verdict);
    }

    /// The peer offers a file of this many blocks, and the disk has looked.
    fn is_offered(&mut self, blocks: u32, prospect: Prospect) {
        let list = list(u64::from(blocks) * BLOCK_LEN as u64);
        let mut bytes = Vec::new();
        Message::Offer(ListHead::of(&list)).encode(&mut bytes);
        let mut chunk = Vec::new();
        list.encode(EntryIndex::new(0), 60_000, &mut chunk);
        Message::ManifestChunk(chunk).encode(&mut bytes);
        assert_eq!(self.writes(&bytes), bytes.len());
        let Job::LookOver(list) = self.job() else {
            panic!("the list is looked over first");
        };
        let (offer, manifest) = list.look_over().expect("an honest list");
        self.done
            .send(Done::LookedOver(Box::new(offer), manifest))
            .unwrap();
        assert!(matches!(self.job(), Job::Look(_)));
        self.done.send(Done::Looked(Box::new(prospect))).unwrap();
        self.step();
    }

    /// The user accepts a file of this many blocks.
    fn agrees(&mut self, blocks: u32) {
        self.is_offered(blocks, Prospect::default());
        let told = std::iter::from_fn(|| self.notices.try_recv().ok());
        assert!(
            told.into_iter()
                .any(|notice| matches!(notice, Notice::Offered(_)))
        );
        self.side.on_command(Command::Accept);
        assert!(matches!(self.job(), Job::Open { .. }));
        self.done.send(Done::Opened(Vec::new())).unwrap();
        self.step();
    }
}

fn list(size: u64) -> Manifest {
    let mut builder = ManifestBuilder::new(Trust::Own);
    let entry = Entry {
        kind: Kind::File,
        parent: None,
        name: b"vm.img",
        size,
        mtime: 0,
        mode: 0o644,
        target: b"",
    };
    builder.add(entry).unwrap();
    builder.finish().unwrap()
}

#[test]
fn while_the_disk_stands_still_a_flood_of_announcements_is_held_back_and_then_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let mut world = World::new(place.path());
    let blocks = 10 * BOUND;
    world.agrees(blocks as u32);
    let mut flood = Vec::new();
    for block in 0..blocks as u32 {
        let (first, cvs) = (BlockIndex::new(block), vec![[0; 32]]);
        let zeros = false;
        Message::Hashes { first, cvs, zeros }.encode(&mut flood);
    }
    let mut written = 0;
    for _ in 0..5000 {
        written += world.writes(&flood[written..]);
        world.step();
        assert!(world.waiting() <= BOUND, "{} jobs wait", world.waiting());
    }
    assert!(world.waiting() > MOST_WAITING && world.side.verdict.is_none());
    assert!(written < 4 * WINDOW, "{written} bytes were taken");
    // The disk works again.
    let mut done = 0;
    for _ in 0..50_000 {
        written += world.writes(&flood[written..]);
        let jobs = world.todo.try_iter().count();
        world.side.waiting.fetch_sub(jobs, Ordering::Relaxed);
        done += jobs;
        if done == blocks {
            return;
        }
        world.step();
    }
    panic!("{done} of {blocks} announcements came through");
}

#[test]
fn while_the_disk_stands_still_no_more_content_is_taken_than_there_are_buffers() {
    let place = tempfile::tempdir().unwrap();
    let mut world = World::new(place.path());
    world.agrees(1000);
    let block = vec![7; BLOCK_LEN];
    let mut room = u64::MAX;
    for i in 0..1000 {
        room = world.side.on_content(i * BLOCK_LEN as u64, &block);
        world.step();
    }
    assert_eq!(room, NO_ROOM);
    let jobs: Vec<Job> = world.todo.try_iter().collect();
    let filled = |job: &Job| matches!(job, Job::Store(StoreJob::Filled(_)));
    assert!(
        jobs.iter().all(filled) && jobs.len() <= BUFFERS,
        "{} jobs",
        jobs.len()
    );
    assert!(jobs.len() > BUFFERS / 2, "{} jobs", jobs.len());
}

#[test]
fn what_has_arrived_and_waits_for_the_disk_is_told_as_being_written() {
    let place = tempfile::tempdir().unwrap();
    let mut world = World::new(place.path());
    world.agrees(2);
    for block in 0..2 {
        assert_eq!(world.side.phase(), Phase::Moving);
        world.side.on_content(block * BLOCK_LEN as u64, &[7; BLOCK_LEN]);
        world.step();
    }
    assert_eq!(world.side.phase(), Phase::Finishing);
    assert_eq!(world.waiting(), 2);
}

#[test]
fn nobody_is_asked_about_what_there_is_no_room_for() {
    let offered = |bytes, nodes| {
        let place = tempfile::tempdir().unwrap();
        let mut world = World::new(place.path());
        let room = Room {
            bytes,
            nodes,
            ..Room::default()
        };
        let prospect = Prospect {
            room,
            ..Prospect::default()
        };
        world.is_offered(2, prospect);
        let asked = std::iter::from_fn(|| world.notices.try_recv().ok())
            .any(|notice| matches!(notice, Notice::Offered(_)));
        let told = world.side.verdict.as_ref().map(|verdict| match verdict {
            Err(failure) => failure.to_string(),
            Ok(_) => panic!("nothing has come"),
        });
        (asked, told)
    };
    let needed = 2 << 20;
    for (bytes, nodes) in [(None, None), (Some(needed), Some(1 + OWN_NODES))] {
        assert_eq!(offered(bytes, nodes), (true, None));
    }
    for (bytes, nodes) in [
        (Some(needed - 1), Some(1 + OWN_NODES)),
        (Some(needed), Some(OWN_NODES)),
    ] {
        let (asked, told) = offered(bytes, nodes);
        assert!(!asked && told.is_some(), "{bytes:?}, {nodes:?}: {told:?}");
    }
}
