//! How busy the whole machine is while a transfer runs: what it costs, both ends and the kernel's work for them included.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the kernel's count is read; it counts in hundredths of a second.
const PERIOD: Duration = Duration::from_millis(20);

/// A thread that notes how much CPU time has been spent by when.
#[derive(Debug)]
pub(crate) struct Load {
    noted: Arc<Mutex<Vec<(Instant, f64)>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins to take notes.
    pub(crate) fn watch() -> Load {
        let (noted, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (notes, end) = (Arc::clone(&noted), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if let Some(spent) = spent() {
                    notes
                        .lock()
                        .expect("no reader panics")
                        .push((Instant::now(), spent));
                }
                thread::sleep(PERIOD);
            }
        });
        Load {
            noted,
            over,
            thread: Some(thread),
        }
    }

    /// CPU seconds that all processors together spent between two moments; none if the kernel does not tell.
    pub(crate) fn between(&self, begin: Instant, end: Instant) -> Option<f64> {
        let noted = self.noted.lock().expect("no reader panics");
        let at = |moment| {
            noted
                .iter()
                .rev()
                .find(|(when, _)| *when <= moment)
                .map(|(_, spent)| *spent)
        };
        Some(at(end)? - at(begin)?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// CPU seconds spent since the machine started, from the first line of /proc/stat (proc(5)): user, nice, system, then,
/// after idle and iowait, irq and softirq.
fn spent() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&i| fields.get(i)).sum();
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
