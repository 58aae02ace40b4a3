//! The receiver's disk thread: looks at the directory, opens it, stores blocks, and reads again what an
//! earlier run kept.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Target;
use crate::net::{Clock, Waker};
use crate::system::{is_mounted, standard_output};
use crate::transfer::error::{LocalError, TransferError};
use crate::transfer::fs::disk::DiskLayer;
use crate::transfer::fs::layer::Layer;
use crate::transfer::fs::owner::OwnerKey;
use crate::transfer::manifest::Manifest;
use crate::transfer::manifest::offer::Offer;
use crate::transfer::ranges::Run;
use crate::transfer::session::receive::List;
use crate::transfer::sink::Sink;
use crate::transfer::sink::losses::Remark;
use crate::transfer::sink::ordered::OrderedSink;
use crate::transfer::sink::staging;
use crate::transfer::sink::staging::Prospect;
use crate::transfer::sink::store::{Store, StoreEvent, StoreJob};

pub(super) enum Job {
    LookOver(Box<List>),
    Look(Offer),
    Open { offer: Offer, manifest: Arc<Manifest> },
    Store(StoreJob),
}

pub(super) enum Done {
    LookedOver(Box<Offer>, Arc<Manifest>),
    Looked(Box<Prospect>),
    Opened(Vec<Run>),
    Store(StoreEvent),
    Remark(Remark),
    /// All jobs are done: this many since the last such message.
    Idle {
        jobs: u64,
    },
    Failed(TransferError),
}

/// Starts the thread. It ends when `jobs` is dropped or at its first failure. The text of a message goes to
/// `message`; each finished job decrements `waiting`; `waker` is called when there is news.
pub(super) fn start(
    target: Target,
    message: Arc<Mutex<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    waker: Waker,
) -> std::io::Result<(Sender<Job>, Receiver<Done>)> {
    let (jobs, todo) = channel();
    let (tell, done) = channel();
    let output = match &target {
        Target::Directory(root, _) if root.symlink_metadata().is_err() => Output::Missing,
        Target::Directory(root, _) => Output::Named {
            mounted: is_mounted(root),
        },
        Target::Stdout => Output::Named { mounted: false },
    };
    let disk = Disk {
        target,
        output,
        message,
        waiting,
        store: None,
    };
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || disk.run(&todo, &tell, &waker))?;
    Ok((jobs, done))
}

/// Waits until the thread has ended, but not for long: a disk may stand still.
pub(super) fn await_end(done: &Receiver<Done>, clock: Clock) {
    let until = clock.now() + Duration::from_millis(300);
    while done.recv_timeout(until.since(clock.now())).is_ok() {}
}

/// The output directory. The program writes into the directory that it looked at before it asked the user,
/// even if another directory takes the name meanwhile.
enum Output {
    /// It existed when the run began. `mounted`: a disk was mounted there.
    Named { mounted: bool },
    /// It did not exist when the run began.
    Missing,
    /// The program has looked at it and holds it open.
    Seen(Box<DiskLayer>),
}

struct Disk {
    target: Target,
    output: Output,
    message: Arc<Mutex<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    store: Option<Box<dyn Store>>,
}

/// Collects the text of a message.
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
    /// Does one job. It counts as waiting until it is done.
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
        let served = self.serve(todo, tell, waker);
        if let Some(store) = &mut self.store {
            store.leave();
        }
        if let Err(error) = served {
            // The network thread listens until the run is over.
            let _ = tell.send(Done::Failed(self.explained(error)));
            waker.wake();
        }
    }

    /// Works until nobody sends jobs or listens any more.
    fn serve(
        &mut self,
        todo: &Receiver<Job>,
        tell: &Sender<Done>,
        waker: &Waker,
    ) -> Result<(), TransferError> {
        let mut jobs = 0;
        loop {
            let mut events = Vec::new();
            let mut job = todo.try_recv();
            // While there is no job, the thread reads blocks that an earlier run kept.
            let mut result = match (&job, &mut self.store) {
                (Err(TryRecvError::Empty), Some(store)) => store.recheck_one(&mut events),
                (job, _) => Ok(job.is_ok()),
            };
            let is_idle = matches!(result, Ok(false));
            if is_idle {
                let jobs = std::mem::take(&mut jobs);
                if tell.send(Done::Idle { jobs }).is_err() {
                    return Ok(());
                }
            }
            // One call for all that was told since the last one.
            waker.wake();
            if is_idle {
                job = todo.recv().map_err(TryRecvError::from);
            }
            match job {
                Ok(job) => {
                    jobs += 1;
                    result = self.work(job, tell, &mut events).map(|()| true);
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            let remarks = std::iter::from_fn(|| self.store.as_mut()?.poll_remark()).map(Done::Remark);
            let mut news = remarks.chain(events.into_iter().map(Done::Store));
            if news.any(|done| tell.send(done).is_err()) {
                return Ok(());
            }
            result?;
        }
    }

    /// An error about something that no longer exists is about the output directory if that has gone.
    fn explained(&self, error: TransferError) -> TransferError {
        let is_gone = match &error {
            TransferError::Local(LocalError::Removed(_)) => true,
            TransferError::Local(LocalError::Io { error, .. }) => error.kind() == ErrorKind::NotFound,
            _ => false,
        };
        match &self.target {
            Target::Directory(root, _) if is_gone && !root.is_dir() => {
                LocalError::Removed(root.clone()).into()
            }
            _ => error,
        }
    }

    fn handle(
        &mut self,
        job: Job,
        tell: &Sender<Done>,
        events: &mut Vec<StoreEvent>,
    ) -> Result<(), TransferError> {
        let done = match job {
            Job::LookOver(list) => {
                let (offer, manifest) = list.look_over()?;
                Done::LookedOver(Box::new(offer), manifest)
            }
            Job::Look(offer) => Done::Looked(Box::new(match &self.target {
                Target::Directory(root, _) => look(root, &mut self.output, &offer)?,
                Target::Stdout => Prospect::default(),
            })),
            Job::Open { offer, manifest } => {
                let total = manifest.total();
                let store: Box<dyn Store> = match &self.target {
                    _ if offer.is_text() && !matches!(self.target, Target::Stdout) => {
                        Box::new(OrderedSink::new(Gather(Arc::clone(&self.message)), total))
                    }
                    Target::Stdout => {
                        let output = standard_output().map_err(LocalError::Output)?;
                        Box::new(OrderedSink::new(output, total))
                    }
                    Target::Directory(root, conflicts) => {
                        let output = std::mem::replace(&mut self.output, Output::Missing);
                        Box::new(Sink::open(open(root, output)?, &offer, manifest, *conflicts)?)
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

/// What an offer meets in a directory that does not exist yet: nothing.
fn prospect_of_none(root: &Path, key: OwnerKey) -> Result<Prospect, LocalError> {
    let resumable = key.is_lasting();
    let above = parent_of(root);
    let layer = DiskLayer::new(above, key).map_err(|e| LocalError::new("open", above, e))?;
    Ok(Prospect {
        resumable,
        creates: Some(root.to_owned()),
        room: layer.room(Path::new("")),
        ..Prospect::default()
    })
}

/// The parent of a directory.
pub(in crate::app) fn parent_of(root: &Path) -> &Path {
    match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Finds out what an offer meets. From then on `output` is the directory that was looked at.
fn look(root: &Path, output: &mut Output, offer: &Offer) -> Result<Prospect, LocalError> {
    let exists = root.symlink_metadata().is_ok();
    let key = OwnerKey::load()?;
    let layer = match output {
        Output::Missing if !exists => return prospect_of_none(root, key),
        Output::Missing => DiskLayer::appeared(root, key),
        // What is under an unmounted disk is not what the user named.
        Output::Named { mounted: true } if !is_mounted(root) => {
            return Err(LocalError::Removed(root.to_owned()));
        }
        Output::Named { .. } | Output::Seen(_) => DiskLayer::new(root, key),
    }
    .map_err(|e| LocalError::new("open", root, e))?;
    let prospect = staging::prospect(&layer, offer);
    *output = Output::Seen(Box::new(layer));
    prospect
}

/// The output directory that was looked at, if it is still there; made if it did not exist.
fn open(root: &Path, output: Output) -> Result<DiskLayer, LocalError> {
    let key = OwnerKey::load()?;
    match output {
        Output::Seen(layer) if layer.root_now().as_deref() == Some(root) => Ok(*layer),
        Output::Seen(_) => Err(LocalError::Removed(root.to_owned())),
        Output::Missing | Output::Named { .. } => {
            DiskLayer::make(root, key).map_err(|e| LocalError::new("create", root, e))
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests make their directories")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::transfer::sink::place::Conflicts;
    use crate::transfer::source::scan;

    /// Looks at `place` and opens it. `before` runs a closure before each of the two steps; it may change the
    /// directory. The thread ends when what is returned is dropped.
    fn receive(place: &Path, before: [&dyn Fn(); 2]) -> Result<(Sender<Job>, Receiver<Done>), TransferError> {
        let manifest = scan::stream_manifest("file").unwrap();
        let offer = Offer::of(&manifest).unwrap();
        let target = Target::Directory(place.join("out"), Conflicts::Rename);
        let (jobs, done) = start(target, Arc::default(), Arc::default(), Waker::new(|| {})).unwrap();
        let next = || loop {
            match done.recv().unwrap() {
                Done::Idle { .. } => {}
                Done::Failed(error) => return Err(error),
                _ => return Ok(()),
            }
        };
        before[0]();
        jobs.send(Job::Look(offer.clone())).unwrap();
        next()?;
        before[1]();
        jobs.send(Job::Open { offer, manifest }).unwrap();
        next()?;
        Ok((jobs, done))
    }

    fn is_empty(dir: &Path) -> bool {
        dir.read_dir().unwrap().next().is_none()
    }

    #[test]
    fn a_link_in_place_of_a_missing_output_directory_is_not_followed() {
        for moment in 0..2 {
            let place = tempfile::tempdir().unwrap();
            let home = place.path().join("home");
            std::fs::create_dir(&home).unwrap();
            let plant = || symlink(&home, place.path().join("out")).unwrap();
            let mut before: [&dyn Fn(); 2] = [&|| (), &|| ()];
            before[moment] = &plant;
            receive(place.path(), before).err().unwrap();
            assert!(is_empty(&home), "moment {moment}");
        }
    }

    #[test]
    fn an_output_directory_that_is_moved_at_the_question_is_told_and_what_takes_its_name_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let [out, seen, home] = ["out", "seen", "home"].map(|name| place.path().join(name));
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&home).unwrap();
        let swap = || {
            std::fs::rename(&out, &seen).unwrap();
            symlink(&home, &out).unwrap();
        };
        let error = receive(place.path(), [&|| (), &swap]).err().unwrap();
        assert!(
            matches!(&error, TransferError::Local(LocalError::Removed(root)) if *root == out),
            "{error}"
        );
        assert!(is_empty(&home) && is_empty(&seen));
    }

    #[test]
    fn a_missing_output_directory_is_made() {
        let place = tempfile::tempdir().unwrap();
        let _runs = receive(place.path(), [&|| (), &|| ()]).unwrap();
        assert!(!is_empty(&place.path().join("out")));
    }

    #[test]
    fn a_run_in_which_nothing_arrives_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (jobs, done) = receive(place.path(), [&|| (), &|| ()]).unwrap();
        drop(jobs);
        while done.recv().is_ok() {}
        assert!(is_empty(&place.path().join("out")));
    }

    #[test]
    fn an_output_directory_that_is_removed_is_told_and_not_made_again() {
        for moment in 0..2 {
            let place = tempfile::tempdir().unwrap();
            let out = place.path().join("out");
            std::fs::create_dir(&out).unwrap();
            let remove = || std::fs::remove_dir(&out).unwrap();
            let mut before: [&dyn Fn(); 2] = [&|| (), &|| ()];
            before[moment] = &remove;
            let error = receive(place.path(), before).err().unwrap();
            assert!(
                matches!(&error, TransferError::Local(LocalError::Removed(root)) if *root == out),
                "{error}"
            );
            assert!(!out.exists());
        }
    }
}
