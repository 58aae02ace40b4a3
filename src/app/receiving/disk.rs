//! The receiver's disk thread: looks, opens, stores, and reads again what an earlier run kept.

use super::Target;
use crate::net::Waker;
use crate::transfer::disk::DiskLayer;
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::layer::Layer;
use crate::transfer::manifest::Manifest;
use crate::transfer::offer::Offer;
use crate::transfer::ordered::OrderedSink;
use crate::transfer::owner::OwnerKey;
use crate::transfer::runs::Run;
use crate::transfer::sink::Sink;
use crate::transfer::staging::{self, Prospect};
use crate::transfer::store::{Store, StoreEvent, StoreJob};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};

/// For the disk thread.
pub(super) enum Job {
    Look(Offer),
    Open { offer: Offer, manifest: Arc<Manifest> },
    Store(StoreJob),
}

/// From the disk thread.
pub(super) enum Done {
    Looked(Box<Prospect>),
    Opened(Vec<Run>),
    Store(StoreEvent),
    /// Nothing is left to do: so many jobs were done since it last said so.
    Idle {
        jobs: u64,
    },
    Failed(TransferError),
}

/// Starts the thread, which ends with its jobs or its first failure. A message sent as text is gathered in `message`;
/// each job that is done takes one off `waiting`; `waker` is called when there is news.
pub(super) fn start(
    target: Target,
    message: Arc<Mutex<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    waker: Waker,
) -> std::io::Result<(Sender<Job>, Receiver<Done>)> {
    let (jobs, todo) = channel();
    let (tell, done) = channel();
    let disk = Disk {
        target,
        message,
        waiting,
        store: None,
    };
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || disk.run(&todo, &tell, &waker))?;
    Ok((jobs, done))
}

/// What the thread holds.
struct Disk {
    target: Target,
    message: Arc<Mutex<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    store: Option<Box<dyn Store>>,
}

/// Where the text of a message is gathered.
struct Gather(Arc<Mutex<Vec<u8>>>);

impl Write for Gather {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut text) = self.0.lock() {
            text.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Disk {
    /// One job; it counts as waiting until it is done.
    fn work(
        &mut self,
        job: Job,
        tell: &Sender<Done>,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let result = self.handle(job, tell, events);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }

    fn run(mut self, todo: &Receiver<Job>, tell: &Sender<Done>, waker: &Waker) {
        let mut jobs = 0;
        loop {
            // With nothing else to do, blocks kept from an earlier run are read again.
            let job = match todo.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => None,
            };
            jobs += u64::from(job.is_some());
            let mut events = Vec::new();
            let result = match job {
                Some(job) => self.work(job, tell, &mut events),
                None => match self
                    .store
                    .as_mut()
                    .map_or(Ok(false), |store| store.recheck_one(&mut events))
                {
                    Ok(false) => {
                        let idle = Done::Idle {
                            jobs: std::mem::take(&mut jobs),
                        };
                        if tell.send(idle).is_err() {
                            return;
                        }
                        waker.wake();
                        let Ok(job) = todo.recv() else { return };
                        jobs += 1;
                        self.work(job, tell, &mut events)
                    }
                    other => other.map(|_| ()),
                },
            };
            let failed = result.is_err();
            let told = events
                .into_iter()
                .try_for_each(|event| tell.send(Done::Store(event)));
            if told.is_err() || result.is_err_and(|error| tell.send(Done::Failed(error)).is_err()) {
                return;
            }
            waker.wake();
            if failed {
                return;
            }
        }
    }

    fn handle(
        &mut self,
        job: Job,
        tell: &Sender<Done>,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let done = match job {
            Job::Look(offer) => Done::Looked(Box::new(match &self.target {
                Target::Directory(root, _) if root.symlink_metadata().is_err() => prospect_of_none(root)?,
                Target::Directory(root, _) => staging::prospect(&open_directory(root)?, &offer)?,
                Target::Stdout => Prospect::default(),
            })),
            Job::Open { offer, manifest } => {
                let total = manifest.total();
                let store: Box<dyn Store> = match &self.target {
                    _ if offer.is_text() && !matches!(self.target, Target::Stdout) => {
                        Box::new(OrderedSink::new(Gather(Arc::clone(&self.message)), total))
                    }
                    Target::Stdout => Box::new(OrderedSink::new(std::io::stdout(), total)),
                    Target::Directory(root, conflicts) => {
                        Box::new(Sink::open(open_directory(root)?, &offer, manifest, *conflicts)?)
                    }
                };
                let held = store.held();
                self.store = Some(store);
                Done::Opened(held)
            }
            Job::Store(job) => {
                return self
                    .store
                    .as_mut()
                    .map_or(Ok(()), |store| store.handle(job, events));
            }
        };
        // The network thread listens until the run is over.
        let _ = tell.send(done);
        Ok(())
    }
}

/// What an offer would meet in a directory that is yet to be made: nothing.
fn prospect_of_none(root: &Path) -> Result<Prospect, LocalError> {
    let key = OwnerKey::load()?;
    let resumable = key.is_lasting();
    let above = parent_of(root);
    let layer = DiskLayer::new(above, key).map_err(|e| LocalError::new("open", above, e))?;
    Ok(Prospect {
        resumable,
        creates: Some(root.to_owned()),
        room: layer.room(),
        ..Prospect::default()
    })
}

/// The directory that a directory is made in.
pub(in crate::app) fn parent_of(root: &Path) -> &Path {
    match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The output directory, made if it is missing.
fn open_directory(root: &Path) -> Result<DiskLayer, LocalError> {
    DiskLayer::create(root, OwnerKey::load()?).map_err(|e| LocalError::new("open", root, e))
}
