//! What a call beside the transfer would feel: a small datagram every 20 ms through the same queue, and back.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::network::{Network, Side};
use super::shell::inside;

/// The frame of a voice codec: one packet in 20 ms.
const EVERY: Duration = Duration::from_millis(20);
/// Bytes of such a packet.
const SIZE: usize = 160;
/// How long the last packets may take to come back, longer than any buffer here.
const LATEST: Duration = Duration::from_secs(2);
/// How often a waiting reader looks whether it should end.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// As many answers make a round trip known.
const ENOUGH: usize = 10;

/// When a packet left, and how long it and its answer took.
type Probe = (Instant, Option<Duration>);

/// Pings that run until they are dropped.
#[derive(Debug)]
pub(crate) struct Pings {
    probes: Arc<Mutex<Vec<Probe>>>,
    sending: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Round trips during a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) median: Duration,
    pub(crate) p95: Duration,
    pub(crate) max: Duration,
    /// Share of the packets that no answer came to, 0 to 1.
    pub(crate) lost: f64,
}

impl Pings {
    /// Starts to ping from A to B; an error if no socket can be had.
    pub(crate) fn start(network: &Network) -> std::io::Result<Pings> {
        let (a, b) = (network.host_address(Side::A), network.host_address(Side::B));
        let near = inside(&network.host(Side::A), move || UdpSocket::bind((a, 0)))?;
        let far = inside(&network.host(Side::B), move || UdpSocket::bind((b, 0)))?;
        near.connect(far.local_addr()?)?;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(STOP_CHECK))?;
        }
        let pings = Pings {
            probes: Arc::default(),
            sending: Arc::new(AtomicBool::new(true)),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        pings.run(near, far)
    }

    fn run(mut self, near: UdpSocket, far: UdpSocket) -> std::io::Result<Pings> {
        let sender = near.try_clone()?;
        let (sending, probes) = (Arc::clone(&self.sending), Arc::clone(&self.probes));
        self.threads.push(thread::spawn(move || {
            let mut next = Instant::now();
            let mut packet = [0; SIZE];
            while sending.load(Ordering::Relaxed) {
                let number = {
                    let mut probes = lock(&probes);
                    probes.push((Instant::now(), None));
                    probes.len() as u64 - 1
                };
                packet[..8].copy_from_slice(&number.to_be_bytes());
                let _ = sender.send(&packet);
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }));
        let (stop, probes) = (Arc::clone(&self.stop), Arc::clone(&self.probes));
        self.threads.push(thread::spawn(move || {
            until(&stop, || {
                let mut packet = [0; SIZE];
                if near.recv(&mut packet)? == SIZE {
                    let number = u64::from_be_bytes(std::array::from_fn(|byte| packet[byte]));
                    if let Some(probe) = lock(&probes).get_mut(number as usize) {
                        probe.1 = Some(probe.0.elapsed());
                    }
                }
                Ok(())
            });
        }));
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            until(&stop, || {
                let mut packet = [0; SIZE];
                let (length, from) = far.recv_from(&mut packet)?;
                far.send_to(&packet[..length], from).map(drop)
            });
        }));
        Ok(self)
    }

    /// The round trip of a link on which nothing else is, once enough answers came; none if they never do.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let end = Instant::now() + LATEST;
        let mut trips = Vec::new();
        while trips.len() < ENOUGH && Instant::now() < end {
            thread::sleep(EVERY);
            trips = lock(&self.probes).iter().filter_map(|probe| probe.1).collect();
        }
        trips.sort_unstable();
        trips.get(trips.len() / 2).copied()
    }

    /// Waits until a ping sent from now on comes back as fast as `base`, or nearly: until a queue another transfer
    /// left has drained. It may fail to; then the bound ends it.
    pub(crate) fn wait_for_quiet(&self, base: Duration) {
        let start = Instant::now();
        let quiet = base * 5 / 4 + Duration::from_millis(10);
        let calm = |probe: &Probe| probe.0 >= start && probe.1.is_some_and(|trip| trip < quiet);
        while start.elapsed() < LATEST && !lock(&self.probes).iter().any(calm) {
            thread::sleep(EVERY);
        }
    }

    /// The round trips of what was sent from `begin` to `end`, after the last of them came in or was given up.
    pub(crate) fn between(&self, begin: Instant, end: Instant) -> Option<Delay> {
        self.sending.store(false, Ordering::Relaxed);
        let within = |probe: &&Probe| (begin..=end).contains(&probe.0);
        let give_up = Instant::now() + LATEST;
        while Instant::now() < give_up
            && lock(&self.probes)
                .iter()
                .filter(within)
                .any(|probe| probe.1.is_none())
        {
            thread::sleep(EVERY);
        }
        let probes = lock(&self.probes);
        let sent = probes.iter().filter(within).count();
        let mut trips: Vec<Duration> = probes.iter().filter(within).filter_map(|probe| probe.1).collect();
        trips.sort_unstable();
        Some(Delay {
            median: *trips.get(trips.len() / 2)?,
            p95: *trips.get(trips.len() * 95 / 100)?,
            max: *trips.last()?,
            lost: 1.0 - trips.len() as f64 / sent as f64,
        })
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.sending.store(false, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Works until told to stop; only waiting in vain is no reason to end.
fn until(stop: &AtomicBool, mut work: impl FnMut() -> std::io::Result<()>) {
    while !stop.load(Ordering::Relaxed) {
        match work() {
            Err(error)
                if !matches!(
                    error.kind(),
                    // The other end's socket is not there yet, or no longer.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) =>
            {
                break;
            }
            _ => {}
        }
    }
}

fn lock(probes: &Mutex<Vec<Probe>>) -> MutexGuard<'_, Vec<Probe>> {
    probes.lock().expect("no pinging thread panics")
}
