//! The sender's side of a session: has the disk thread read and hash, and hands blocks to the connection.

mod disk;
mod message;
pub(super) mod payload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use tokio::sync::mpsc::UnboundedSender;

use self::disk::{Done, Job};
use super::close;
use super::command::Notice;
use super::event::{Event, Phase};
use super::outcome::{Failure, Shortfall, Summary};
use super::session::{End, Side, flush_control};
use super::told::Info;
use crate::net::{Clock, Waker};
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::transfer::error::TransferError;
use crate::transfer::manifest::Manifest;
use crate::transfer::ranges::Run;
use crate::transfer::session::send::{Purpose, SendEvent, SendSession, Work};
use crate::transfer::source::Source;
use crate::transfer::{BLOCK_LEN, BlockIndex};

/// Blocks that the disk thread reads ahead.
const READ_AHEAD: usize = 4;

/// The sending side.
pub struct Sending {
    session: SendSession,
    manifest: Arc<Manifest>,
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    /// Jobs that the disk thread has not answered.
    jobs_open: u64,
    notices: UnboundedSender<Notice>,
    clock: Clock,
    paths: Vec<PathBuf>,
    spare: Vec<Vec<u8>>,
    /// Reads that the disk thread has not answered, and whose bytes the connection will send.
    reading: usize,
    hashing: usize,
    again: Option<BlockIndex>,
    out: Vec<u8>,
    started: Option<Time>,
    everything_read: bool,
    verified: u64,
    /// Bytes that arrived at the peer.
    arrived: u64,
    verdict: Option<Result<Summary, Failure>>,
}

impl Sending {
    /// A sender that offers `manifest` and reads it from `source`. `waker` wakes the network thread when the
    /// disk has news.
    pub fn new(
        manifest: Arc<Manifest>,
        mut source: Source,
        paths: Vec<PathBuf>,
        waker: Waker,
        clock: Clock,
        notices: UnboundedSender<Notice>,
    ) -> std::io::Result<Self> {
        let mut session = SendSession::new(Arc::clone(&manifest));
        for missing in source.take_missing() {
            session.on_missing(missing.entry);
        }
        let (jobs, done) = disk::start(source, waker)?;
        Ok(Sending {
            session,
            manifest,
            jobs,
            done,
            jobs_open: 0,
            notices,
            clock,
            paths,
            spare: Vec::new(),
            reading: 0,
            hashing: 0,
            again: None,
            out: Vec::new(),
            started: None,
            everything_read: false,
            verified: 0,
            arrived: 0,
            verdict: None,
        })
    }

    fn tell(&self, event: Event) {
        // The receiver is gone only while the run ends.
        let _ = self.notices.send(Notice::Tell(event));
    }

    fn buffer(&mut self) -> Vec<u8> {
        // The system gives zeros for nothing, where `resize` would write them.
        let mut buffer = self.spare.pop().unwrap_or_else(|| vec![0; BLOCK_LEN]);
        buffer.resize(BLOCK_LEN, 0);
        buffer
    }

    fn job(&mut self, job: Job) {
        // The queue always has room. The disk thread is gone only after it has failed and reported that.
        if self.jobs.try_send(job).is_ok() {
            self.jobs_open += 1;
        }
    }

    fn step(&mut self, connection: &mut Connection) -> Result<(), TransferError> {
        let mut bytes = Vec::new();
        if connection.read_control(&mut bytes) > 0 {
            self.session.handle_bytes(&bytes)?;
        }
        while let Ok(done) = self.done.try_recv() {
            // A job may report something missing before its own answer.
            let is_answer = !matches!(done, Done::Missing(_));
            self.jobs_open = self.jobs_open.saturating_sub(u64::from(is_answer));
            match done {
                Done::Read {
                    block,
                    purpose,
                    mut buffer,
                    read,
                    chunks,
                } => {
                    let is_due = self.session.on_read(block, &read);
                    if let Some(list) = chunks {
                        self.session.on_described(&list);
                    }
                    if purpose.sends() {
                        self.reading -= 1;
                    } else {
                        self.hashing -= 1;
                    }
                    buffer.truncate(read.len);
                    match purpose {
                        Purpose::Send if is_due => connection.offer(block.start(), buffer),
                        Purpose::SendParts(parts) => {
                            let bytes = |part: Run| u64::from(part.start)..u64::from(part.end);
                            let parts: Vec<_> = parts.into_iter().map(bytes).collect();
                            connection.offer_parts(block.start(), buffer, &parts);
                        }
                        _ => self.spare.push(buffer),
                    }
                }
                Done::Again { block, buffer } => {
                    self.again = None;
                    connection.supply(block.start(), buffer);
                }
                Done::Missing(missing) => {
                    self.session.on_missing(missing.entry);
                    let _ = self.notices.send(Notice::Missing(missing));
                }
                Done::Checked => self.session.on_source_checked(),
                Done::Failed(error) => return Err(error),
            }
        }
        while let Some(event) = self.session.poll_event() {
            self.on_event(event, connection);
        }
        while let Some(buffer) = connection.reclaim() {
            if self.spare.len() < READ_AHEAD {
                self.spare.push(buffer);
            }
        }
        self.ask_disk(connection);
        self.write_control(connection);
        Ok(())
    }

    fn ask_disk(&mut self, connection: &mut Connection) {
        while self.reading + self.hashing < READ_AHEAD {
            let room = connection.content_room() > self.reading;
            match self.session.next_work(room) {
                Some(Work::Read { block, purpose }) => {
                    if purpose.sends() {
                        self.reading += 1
                    } else {
                        self.hashing += 1
                    }
                    let buffer = self.buffer();
                    self.job(Job::Read {
                        block,
                        purpose,
                        buffer,
                        verified: self.session.verified_below(),
                    });
                }
                Some(Work::CheckSource) => {
                    self.everything_read = true;
                    self.job(Job::Check);
                }
                None => break,
            }
        }
        if self.everything_read && self.reading == 0 {
            connection.finish_content();
        }
        if self.again.is_none()
            && let Some(block) = connection.wanted().and_then(BlockIndex::containing)
        {
            self.again = Some(block);
            let mut buffer = self.buffer();
            buffer.truncate(
                self.session
                    .total()
                    .map_or(BLOCK_LEN, |total| block.len_in(total)),
            );
            self.job(Job::Again { block, buffer });
        }
    }

    fn write_control(&mut self, connection: &mut Connection) {
        let session = &mut self.session;
        flush_control(connection, &mut self.out, |out| session.poll_output(out));
    }

    fn on_event(&mut self, event: SendEvent, connection: &mut Connection) {
        match event {
            SendEvent::Listed => {
                connection.expect_content(self.session.total().unwrap_or(u64::MAX));
                self.tell(Event::AwaitingAnswer);
            }
            SendEvent::Accepted { limit } => {
                let now = self.clock.now();
                self.started = Some(now);
                if let Some(limit) = limit {
                    connection.lower_limit(now, limit.get());
                }
            }
            SendEvent::Started { held } if held > 0 => self.tell(Event::Resumed {
                bytes: held,
                total: self.session.total().unwrap_or(held),
            }),
            SendEvent::Started { .. } => {}
            SendEvent::Progress { blocks } => self.verified = u64::from(blocks) * BLOCK_LEN as u64,
            SendEvent::Finished { root } => {
                let now = self.clock.now();
                // A pipe does not tell whether the program that writes it failed, so the user is told if it
                // was empty.
                if self.manifest.is_stream() && self.session.total() == Some(0) {
                    self.tell(Event::Info(Info::EmptyInput));
                }
                let missing = Shortfall::of(&self.manifest, self.session.missing());
                self.verdict = Some(Ok(Summary {
                    elapsed: now.since(self.started.unwrap_or(now)),
                    paths: std::mem::take(&mut self.paths),
                    ..Summary::of(self.session.total(), self.session.held(), missing, root)
                }));
                connection.close(now, close::DONE, "");
            }
        }
    }
}

impl Side for Sending {
    fn pump(&mut self, now: Time, connection: &mut Connection) {
        if self.verdict.is_some() {
            return;
        }
        self.arrived = connection.arrived_bytes();
        if let Err(error) = self.step(connection) {
            connection.close(now, close::code_of(&error), close::text_of(&error));
            self.verdict = Some(Err(close::failure_of(error)));
        }
    }

    fn progress(&self) -> Option<(u64, Option<u64>)> {
        if let (Some((done, total)), None) = (self.session.listing(), &self.verdict) {
            return Some((done, Some(total)));
        }
        self.started.filter(|_| self.verdict.is_none())?;
        let total = self.session.total();
        // A block takes long on a slow line, so the part that has arrived counts.
        let there = if self.verified < self.session.held() {
            0
        } else {
            self.session.held() + self.arrived
        };
        Some((self.verified.max(there).min(total.unwrap_or(u64::MAX)), total))
    }

    fn phase(&self) -> Phase {
        if self.session.listing().is_some() {
            return Phase::Listing;
        }
        // `held` shrinks for each block that the receiver asks for after all. The receiver verifies the
        // others in the end.
        if self.verified < self.session.held() {
            Phase::Comparing
        } else if self.has_all() {
            Phase::Finishing
        } else {
            Phase::Moving
        }
    }

    fn is_working(&self) -> bool {
        self.jobs_open > 0 && self.verdict.is_none()
    }

    fn on_end(&mut self, _end: &End) -> Option<Result<Summary, Failure>> {
        self.verdict.take()
    }
}
