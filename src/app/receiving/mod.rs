//! The receiver's side of a session: assembles content, and has the disk thread verify and store it.

mod asking;
mod disk;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

pub(super) use self::disk::parent_of;
use self::disk::{Done, Job};
use super::close;
use super::command::{Command, Notice};
use super::event::{Event, Phase};
use super::outcome::{Failure, Shortfall, Summary};
use super::session::{End, Side, flush_control};
use super::told::Info;
use super::wording::files;
use crate::net::{Clock, Waker};
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::transfer::breach::Breach;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::manifest::offer::Offer;
use crate::transfer::ranges::RunSet;
use crate::transfer::session::receive::{ReceiveEvent, ReceiveSession, Stage};
use crate::transfer::sink::assemble::{Assembler, Taken};
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::ordered::ORDERED_BUFFERS;
use crate::transfer::sink::place::Conflicts;
use crate::transfer::sink::store::{StoreEvent, StoreJob};
use crate::transfer::{BLOCK_LEN, BlockIndex, ORDERED_WINDOW, block_count, bytes_of};

/// Block buffers: blocks that are being assembled and blocks that wait for the disk. A buffer is allocated
/// when it is first needed.
const BUFFERS: usize = 44;
/// Buffers not promised to the sender: content on its way may belong to blocks that have no buffer yet.
const RESERVE: usize = 2;
/// Jobs that may wait for the disk. While there are more, the program leaves the sender's messages unread,
/// and flow control holds the sender back. So a disk that stands still cannot fill the memory.
const MOST_WAITING: usize = 2 * BUFFERS;
/// Flow control before the user accepts: the sender may send no content.
const NO_ROOM: u64 = 0;
/// The longest wait for the sender to hear that everything is in place.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where content goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Files in this directory. It is made if it does not exist, but its parent must exist.
    Directory(PathBuf, Conflicts),
    /// Standard output, in order.
    Stdout,
}

/// The receiving side.
pub struct Receiving {
    pub(super) session: ReceiveSession,
    assembler: Option<Assembler>,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// Jobs that the disk thread has not reported as done. It reports when no job waits.
    unreported: u64,
    /// Jobs that wait for the disk thread now.
    waiting: Arc<AtomicUsize>,
    notices: UnboundedSender<Notice>,
    clock: Clock,
    target: Target,
    /// The user's limit, in bytes a second.
    pub(super) limit: Option<NonZeroU64>,
    /// A file that this run writes in the output directory, as a path relative to it. No received file may
    /// replace it.
    pub(super) reserved: Option<PathBuf>,
    /// A message sent as text; complete once it is verified.
    message: Arc<Mutex<Vec<u8>>>,
    out: Vec<u8>,
    /// Bytes that were received.
    taken: u64,
    /// Bytes that need not be received, as far as is known.
    held: u64,
    /// Blocks of `held` that are still to be compared.
    uncompared: RunSet,
    /// Bytes that matched and are not copied yet.
    uncopied: u64,
    started: Option<Time>,
    verdict: Option<Result<Summary, Failure>>,
    finished: Option<Time>,
}

impl Receiving {
    /// Receives to `target`.
    pub fn new(
        target: Target,
        waker: Waker,
        clock: Clock,
        notices: UnboundedSender<Notice>,
    ) -> std::io::Result<Self> {
        let message = Arc::new(Mutex::new(Vec::new()));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (jobs, done) = disk::start(target.clone(), Arc::clone(&message), Arc::clone(&waiting), waker)?;
        Ok(Receiving {
            session: ReceiveSession::default(),
            assembler: None,
            jobs,
            done,
            unreported: 0,
            waiting,
            notices,
            clock,
            target,
            limit: None,
            reserved: None,
            message,
            out: Vec::new(),
            held: 0,
            taken: 0,
            uncompared: RunSet::default(),
            uncopied: 0,
            started: None,
            verdict: None,
            finished: None,
        })
    }

    fn tell(&self, event: Event) {
        // The receiver is gone only while the run ends.
        let _ = self.notices.send(Notice::Tell(event));
    }

    fn job(&mut self, job: Job) {
        // The disk thread is gone only after it has failed and reported that.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.send(job).is_ok() {
            self.unreported += 1;
        }
    }

    fn step(&mut self, connection: &mut Connection) -> Result<(), TransferError> {
        let mut bytes = Vec::new();
        let reads = self.waiting.load(Ordering::Relaxed) < MOST_WAITING;
        if reads && connection.read_control(&mut bytes) > 0 {
            self.session.handle_bytes(&bytes)?;
        }
        while let Ok(done) = self.done.try_recv() {
            self.on_done(done)?;
        }
        while let Some(event) = self.session.poll_event() {
            self.on_event(event)?;
        }
        while let Some(filled) = self.assembler.as_mut().and_then(Assembler::poll_filled) {
            self.job(Job::Store(StoreJob::Filled(filled)));
        }
        self.write_control(connection);
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> Result<(), TransferError> {
        match done {
            Done::LookedOver(offer, manifest) => self.session.on_looked_over(*offer, manifest),
            Done::Looked(prospect) => {
                let prospect = self.of_this_list(*prospect);
                self.check_space(&prospect)?;
                self.ask(prospect);
            }
            Done::Opened(held) => {
                if let Some(assembler) = &mut self.assembler {
                    for run in &held {
                        self.uncompared.insert(run.start, run.end);
                        assembler.mark_complete(BlockIndex::new(run.start), BlockIndex::new(run.end));
                    }
                }
                let total = self.session.total();
                self.held = bytes_of(held.iter().copied(), total);
                self.session.on_opened(&held);
                if self.held > 0 {
                    self.tell(Event::Resumed {
                        bytes: self.held,
                        total: total.unwrap_or(self.held),
                    });
                }
            }
            Done::Remark(remark) => {
                if let (Remark::OutputMoved(now), Target::Directory(root, _)) = (&remark, &mut self.target) {
                    *root = now.clone().unwrap_or_default();
                }
                self.tell(files::remark(remark));
            }
            Done::Store(event) => {
                self.session.on_store_event(&event);
                self.note_compared(&event);
                if let Some(assembler) = &mut self.assembler {
                    assembler.on_store_event(event);
                }
            }
            Done::Idle { jobs } => self.unreported = self.unreported.saturating_sub(jobs),
            Done::Failed(error) => {
                self.unreported = 0;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps `held` correct: an existing block counts as reused only if it need not be received after all.
    fn note_compared(&mut self, event: &StoreEvent) {
        match event {
            StoreEvent::Void(run) => {
                while let Some(block) = self.uncompared.first_member(run.start).filter(|&b| b < run.end) {
                    self.note_compared(&StoreEvent::Need(BlockIndex::new(block)));
                }
            }
            StoreEvent::Verified(block) => drop(self.uncompared.remove(block.get())),
            StoreEvent::Copying { left } => self.uncopied = *left,
            StoreEvent::Need(block) if self.uncompared.remove(block.get()) => {
                let len = block.len_in(self.session.total().unwrap_or(u64::MAX));
                self.held = self.held.saturating_sub(len as u64);
            }
            StoreEvent::Found { block, lacks, .. } if self.uncompared.remove(block.get()) => {
                let lacks: u64 = lacks.iter().map(|run| u64::from(run.end - run.start)).sum();
                self.held = self.held.saturating_sub(lacks);
            }
            _ => {}
        }
    }

    /// The stream is shorter than what is here of it.
    fn note_total(&mut self, total: u64) {
        let here = |end| bytes_of(self.uncompared.iter(), end);
        self.held = self.held.saturating_sub(here(None) - here(Some(total)));
        self.uncompared.truncate(block_count(total));
    }

    fn on_event(&mut self, event: ReceiveEvent) -> Result<(), TransferError> {
        match event {
            ReceiveEvent::Listed(list) => self.job(Job::LookOver(list)),
            ReceiveEvent::Offer(offer) => {
                if matches!(self.target, Target::Stdout) && !offer.is_one_stream() {
                    return Err(TransferError::NotOneStream);
                }
                self.job(Job::Look(offer));
            }
            ReceiveEvent::Open(manifest) => {
                let Some(offer) = self.session.offer().cloned() else {
                    return Ok(());
                };
                let buffers = if self.is_ordered() {
                    ORDERED_BUFFERS
                } else {
                    BUFFERS
                };
                self.assembler = Some(Assembler::new(buffers, manifest.total()));
                if let (Some(path), Target::Directory(root, Conflicts::Overwrite | Conflicts::Update)) =
                    (&self.reserved, &self.target)
                    && manifest.lists(path)
                {
                    return Err(LocalError::Reserved(root.join(path)).into());
                }
                self.job(Job::Open { offer, manifest });
            }
            ReceiveEvent::Job(job) => {
                if let (StoreJob::Total(total), Some(assembler)) = (&job, &mut self.assembler)
                    && !assembler.set_total(*total)
                {
                    return Err(Breach::StreamEnd.into());
                }
                if let StoreJob::Total(total) = job {
                    self.note_total(total);
                }
                self.job(Job::Store(job));
            }
            ReceiveEvent::Finished { root, placed } => {
                let now = self.clock.now();
                let missing = match self.session.offered() {
                    Some((_, list)) => Shortfall::of(list, self.session.missing()),
                    None => Shortfall::default(),
                };
                self.finished = Some(now);
                let root_dir = match &self.target {
                    // What lies in this directory is called by its name alone.
                    Target::Directory(root, _) if root != Path::new(".") => root.as_path(),
                    Target::Directory(..) | Target::Stdout => Path::new(""),
                };
                let mut identical = placed.iter().filter(|p| p.already_there);
                if let Some(first) = identical.next() {
                    let path = root_dir.join(&first.final_name);
                    let more = identical.count();
                    self.tell(Event::Info(Info::Identical { path, more }));
                }
                let message = self.message.lock().map(|m| m.clone()).unwrap_or_default();
                if self.session.offer().is_some_and(Offer::is_text) && !matches!(self.target, Target::Stdout)
                {
                    let _ = self
                        .notices
                        .send(Notice::Message(String::from_utf8_lossy(&message).into_owned()));
                }
                self.verdict = Some(Ok(Summary {
                    elapsed: now.since(self.started.unwrap_or(now)),
                    paths: placed.into_iter().map(|p| root_dir.join(p.final_name)).collect(),
                    ..Summary::of(self.session.total(), self.held, missing, root)
                }));
            }
        }
        Ok(())
    }

    fn write_control(&mut self, connection: &mut Connection) {
        let session = &mut self.session;
        flush_control(connection, &mut self.out, |out| session.poll_output(out));
    }

    /// Whether content can only be used in order.
    fn is_ordered(&self) -> bool {
        matches!(self.target, Target::Stdout) || self.session.offer().is_some_and(Offer::is_text)
    }

    fn flow_limit(&self) -> u64 {
        self.assembler.as_ref().map_or(NO_ROOM, |assembler| {
            // Open blocks can move to the disk, so only blocks that wait for the disk take room. If no buffer
            // at all is free, the sender must stop.
            let free = assembler.reclaimable().saturating_sub(RESERVE) as u64 * BLOCK_LEN as u64;
            if assembler.room() == 0 {
                NO_ROOM
            } else {
                free.max(BLOCK_LEN as u64)
            }
        })
    }
}

impl Side for Receiving {
    fn on_content(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        if let Some(assembler) = &mut self.assembler {
            match assembler.write(offset, bytes) {
                Taken::New => self.taken += bytes.len() as u64,
                Taken::Duplicate => {}
                // The transport has acknowledged this piece, but there was no room to keep it. Only a new
                // request brings it again.
                Taken::Full => {
                    if let Some(block) = BlockIndex::containing(offset) {
                        self.session.on_store_event(&StoreEvent::Need(block));
                    }
                }
                Taken::Beyond => {
                    let error = Breach::ContentBeyondEnd.into();
                    self.verdict.get_or_insert(Err(close::failure_of(error)));
                }
            }
        }
        self.flow_limit()
    }

    fn pump(&mut self, now: Time, connection: &mut Connection) {
        match &self.verdict {
            None => {
                if let Err(error) = self.step(connection) {
                    connection.close(now, close::code_of(&error), close::text_of(&error));
                    self.verdict = Some(Err(close::failure_of(error)));
                }
            }
            Some(Ok(_)) => {
                self.write_control(connection);
                // The sender closes when it has heard; it may also have ended right after.
                let waited = self.finished.is_some_and(|t| now >= t + FAREWELL);
                if waited {
                    connection.close(now, close::DONE, "");
                }
            }
            Some(Err(_)) => connection.close(now, close::OTHER, "a problem with the protocol"),
        }
        connection.set_flow_limit(now, self.flow_limit());
    }

    fn on_command(&mut self, command: Command) {
        if matches!(command, Command::Accept) {
            self.started = Some(self.clock.now());
            if let Some(limit) = self.limit {
                self.session.limit(limit);
            }
            self.session.accept(self.is_ordered().then_some(ORDERED_WINDOW));
        }
    }

    fn progress(&self) -> Option<(u64, Option<u64>)> {
        if let (Some((done, total)), None) = (self.session.listing(), &self.verdict) {
            return Some((done, Some(total)));
        }
        self.started.filter(|_| self.verdict.is_none())?;
        let total = self.session.total();
        let verified = u64::from(self.session.verified().0) * BLOCK_LEN as u64;
        // A block takes long on a slow line, so the part that has arrived counts.
        let there = if self.uncompared.is_empty() {
            self.held + self.taken
        } else {
            0
        };
        Some((verified.max(there).min(total.unwrap_or(u64::MAX)), total))
    }

    fn phase(&self) -> Phase {
        match self.session.stage() {
            Stage::Listing | Stage::LookingOver => Phase::Listing,
            Stage::Opening => Phase::Preparing,
            Stage::Finishing => Phase::Finishing,
            _ if self.uncopied > 0 => Phase::Copying { left: self.uncopied },
            _ if !self.uncompared.is_empty() => Phase::Comparing,
            _ if self.has_all() => Phase::Finishing,
            _ => Phase::Moving,
        }
    }

    fn is_working(&self) -> bool {
        self.unreported > 0 && self.verdict.is_none()
    }

    fn on_end(&mut self, _end: &End) -> Option<Result<Summary, Failure>> {
        // The disk thread ends, too. Its last act is to remove what is of no use to a later run.
        self.jobs = channel().0;
        if !matches!(self.verdict, Some(Ok(_))) {
            disk::await_end(&self.done, self.clock);
        }
        self.verdict.take()
    }
}

#[cfg(test)]
mod tests;
