//! The loop between sockets, clock and machine.

use super::Clock;
use super::socket::{Ports, Socket};
use super::tcp::{Door, StreamNews, Streams, TCP};
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use polling::{Event, Events, PollMode, Poller};
use quinn_udp::RecvMeta;
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Receive buffers: what one `recvmmsg` of quinn-udp fills.
const BATCH: usize = 32;
/// The most bursts that arrive between two times of sending, on one socket.
pub(crate) const BURSTS_RECEIVED: usize = BATCH * BATCHES_PER_TURN;
/// Bytes of one receive buffer: a whole burst that the kernel joined.
const RECEIVE_BUFFER: usize = 65_536;
/// Most datagrams asked of the machine at once (UDP_MAX_SEGMENTS of Linux).
const SEGMENTS: usize = 64;
/// Batches received before sending again.
const BATCHES_PER_TURN: usize = 4;
/// However far the next timer is, look again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Datagrams a machine wants sent: segments of equal size, the last possibly shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where to, and from which socket.
    pub path: Path,
    /// Bytes of each segment but the last.
    pub segment: usize,
    /// How far they may get; only single ones not to their addressee.
    pub reach: Reach,
}

impl Transmit {
    /// One datagram, which `buf` then holds alone.
    pub(crate) fn single(buf: &mut Vec<u8>, path: Path, reach: Reach, payload: &[u8]) -> Self {
        buf.clear();
        buf.extend_from_slice(payload);
        Transmit {
            path,
            segment: payload.len(),
            reach,
        }
    }
}

/// Which sockets beside the run's own are of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra {
    /// Whichever are sent from; each is bound when it first is.
    Any,
    /// No other than the one of this path.
    Of(Path),
}

/// Something sans-IO that the driver drives.
pub trait Machine {
    /// Bursts sent before looking at what arrived.
    const BURSTS_PER_TURN: usize = 16;

    /// A datagram arrived on `path`; it may be changed in place.
    fn handle_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]);
    /// Datagrams that the system joined arrived on `path`: all of `segment` bytes but perhaps the last.
    fn handle_burst(&mut self, now: Time, path: Path, datagrams: &mut [u8], segment: usize) {
        for datagram in datagrams.chunks_mut(segment) {
            self.handle_datagram(now, path, datagram);
        }
    }
    /// Time passed, or something was given to the machine from outside.
    fn handle_timeout(&mut self, now: Time);
    /// Writes the next datagrams to `buf`, at most `segments` of them.
    fn poll_transmit(&mut self, now: Time, buf: &mut Vec<u8>, segments: usize) -> Option<Transmit>;
    /// When `handle_timeout` should be called next.
    fn poll_timeout(&mut self, now: Time) -> Option<Time>;
    /// Which sockets beside the run's own are of use now.
    fn extra_sockets(&self) -> Extra {
        Extra::Any
    }
    /// Something became of the stream of TCP that this path goes through.
    fn on_stream(&mut self, _now: Time, _path: Path, _news: StreamNews) {}
    /// The system refused to send a datagram: there is no route, or a firewall of this machine forbids it.
    fn on_refused(&mut self, _kind: io::ErrorKind) {}
    /// A datagram of `size` bytes was too large for the interface.
    fn on_too_large(&mut self, now: Time, size: usize);
}

/// Wakes whoever drives a machine, from another thread.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Waker {
    /// A waker that calls `wake`, for those who drive a machine without sockets.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Waker(Arc::new(wake))
    }

    /// Makes the driver look at its inputs again.
    pub(crate) fn wake(&self) {
        (self.0)();
    }
}

/// Owns the sockets and runs the loop.
#[derive(Debug)]
pub(crate) struct Driver {
    clock: Clock,
    /// By their number: the run's own, then those beside them.
    sockets: BTreeMap<u8, Socket>,
    /// How many are the run's own.
    own: usize,
    streams: Streams,
    poller: Arc<Poller>,
    events: Events,
    receive: Vec<Vec<u8>>,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    /// A burst the kernel had no room for, or not for all of it.
    blocked: Option<Transmit>,
}

impl Driver {
    /// Takes the sockets of a run.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub(crate) fn new(ports: Ports, clock: Clock) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let sockets: BTreeMap<u8, Socket> = (0..=u8::MAX).zip(ports.sockets).collect();
        for (local, socket) in &sockets {
            register(&poller, socket.io(), usize::from(*local))?;
        }
        Ok(Driver {
            clock,
            own: sockets.len(),
            sockets,
            streams: Streams::new(Arc::clone(&poller)),
            poller,
            events: Events::new(),
            receive: (0..BATCH).map(|_| vec![0; RECEIVE_BUFFER]).collect(),
            out: Vec::new(),
            sent: 0,
            blocked: None,
        })
    }

    /// What wakes this driver.
    pub(crate) fn waker(&self) -> Waker {
        let poller = Arc::clone(&self.poller);
        Waker::new(move || {
            // It fails only if the driver is gone, and then there is nobody to wake.
            let _ = poller.notify();
        })
    }

    /// Takes in whoever connects to this listener; paths to them have the socket [`TCP`].
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub(crate) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.streams.listen(listener)
    }

    /// Where other threads hand over connected streams.
    pub(crate) fn door(&self) -> Door {
        self.streams.door()
    }

    /// One turn: timers, then everything there is to send, then a wait for datagrams, a timer or a waker.
    ///
    /// # Errors
    /// Only what makes the sockets useless; a datagram that cannot be sent is a lost datagram.
    pub(crate) fn turn<M: Machine>(&mut self, machine: &mut M) -> io::Result<()> {
        let now = self.clock.now();
        self.streams.turn(now);
        while let Some((remote, news)) = self.streams.poll_news() {
            machine.on_stream(now, Path { local: TCP, remote }, news);
        }
        machine.handle_timeout(self.clock.now());
        if self.sockets.len() > self.own
            && let Extra::Of(path) = machine.extra_sockets()
        {
            self.close_all_but(path);
        }
        let more = self.transmit(machine);
        let now = self.clock.now();
        let wait = match (more, self.blocked) {
            (true, None) => Duration::ZERO,
            (_, Some(_)) => LONGEST_WAIT,
            (false, None) => [machine.poll_timeout(now), self.streams.poll_timeout(now)]
                .into_iter()
                .flatten()
                .min()
                .map_or(LONGEST_WAIT, |t| t.since(now))
                .min(LONGEST_WAIT),
        };
        self.wait(wait)?;
        self.receive(machine)
    }

    /// Binds the socket of a path that none of the run's own is of.
    fn bind_extra(&mut self, path: Path) -> io::Result<()> {
        let Some(first) = self.sockets.get(&0).filter(|_| path.remote.is_ipv4()) else {
            return Ok(());
        };
        let socket = first.another()?;
        register(&self.poller, socket.io(), usize::from(path.local))?;
        self.sockets.insert(path.local, socket);
        Ok(())
    }

    /// Closes the sockets that are none of the run's own, but not that of this path.
    fn close_all_but(&mut self, path: Path) {
        let (poller, own) = (&self.poller, self.own);
        self.sockets.retain(|local, socket| {
            let stays = usize::from(*local) < own || *local == path.local;
            if !stays {
                // It fails only if the poller is gone, too.
                let _ = poller.delete(socket.io());
            }
            stays
        });
        // What waits to leave from one of them is lost.
        if self
            .blocked
            .is_some_and(|blocked| !self.sockets.contains_key(&blocked.path.local))
        {
            self.blocked = None;
        }
    }

    fn wait(&mut self, wait: Duration) -> io::Result<()> {
        if let Some(blocked) = self.blocked {
            let key = usize::from(blocked.path.local);
            if let Some(socket) = self.sockets.get(&blocked.path.local) {
                self.poller
                    .modify_with_mode(socket.io(), Event::all(key), mode(&self.poller))?;
            }
        } else if !self.poller.supports_level() {
            for (local, socket) in &self.sockets {
                self.poller
                    .modify(socket.io(), Event::readable(usize::from(*local)))?;
            }
        }
        self.events.clear();
        match self.poller.wait(&mut self.events, Some(wait)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Sends until the machine has nothing more; true if it may have more.
    fn transmit<M: Machine>(&mut self, machine: &mut M) -> bool {
        if let Some(blocked) = self.blocked.take() {
            let key = usize::from(blocked.path.local);
            if let Some(socket) = self.sockets.get(&blocked.path.local) {
                let _ = self
                    .poller
                    .modify_with_mode(socket.io(), Event::readable(key), mode(&self.poller));
            }
            self.send(machine, blocked);
        }
        for _ in 0..M::BURSTS_PER_TURN {
            if self.blocked.is_some() {
                return true;
            }
            let Some(transmit) = machine.poll_transmit(self.clock.now(), &mut self.out, SEGMENTS) else {
                return false;
            };
            self.sent = 0;
            self.send(machine, transmit);
        }
        true
    }

    /// Sends the rest of `out`.
    fn send(&mut self, machine: &mut impl Machine, transmit: Transmit) {
        if transmit.path.local == TCP {
            // Nothing of it dies on its way.
            if transmit.reach == Reach::Full {
                self.streams.send(
                    self.clock.now(),
                    transmit.path.remote,
                    &self.out,
                    transmit.segment,
                );
            }
            return;
        }
        let local = transmit.path.local;
        if !self.sockets.contains_key(&local)
            && let Err(e) = self.bind_extra(transmit.path)
        {
            // The limit of open files, in all likelihood: as good as lost.
            machine.on_refused(e.kind());
            return;
        }
        let Some(socket) = self.sockets.get(&local) else {
            return;
        };
        let remote = transmit.path.remote;
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let result = match transmit.reach {
                Reach::Full => socket.send(remote, rest, transmit.segment),
                Reach::Low(ttl) => socket.send_with_ttl(remote, rest, ttl),
                Reach::Routers(count) => socket.send_through(remote, rest, count),
            };
            match result {
                Ok(bytes) => self.sent += bytes,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = Some(transmit);
                    return;
                }
                Err(e) => {
                    if quinn_udp::is_msg_size_err(&e) {
                        machine.on_too_large(self.clock.now(), transmit.segment);
                    } else {
                        machine.on_refused(e.kind());
                    }
                    // No route for the moment, a firewall's refusal, an ICMP error of an earlier packet: as good as
                    // lost.
                    return;
                }
            }
        }
    }

    fn receive(&mut self, machine: &mut impl Machine) -> io::Result<()> {
        let now = self.clock.now();
        self.streams.handle(now, &self.events, |remote, datagram| {
            machine.handle_datagram(now, Path { local: TCP, remote }, datagram);
        });
        let ready: Vec<usize> = self.events.iter().filter(|e| e.readable).map(|e| e.key).collect();
        for key in ready {
            // Those of streams are higher.
            let Ok(local) = u8::try_from(key) else { continue };
            let Some(socket) = self.sockets.get(&local) else {
                continue;
            };
            for _ in 0..BATCHES_PER_TURN {
                let mut metas = [RecvMeta::default(); BATCH];
                let mut slices: Vec<IoSliceMut<'_>> =
                    self.receive.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                let count = match socket.receive(&mut slices, &mut metas) {
                    Ok(count) => count,
                    // Nothing more, or a socket that the next send will tell more about.
                    Err(_) => break,
                };
                drop(slices);
                let now = self.clock.now();
                for (buffer, meta) in self.receive.iter_mut().zip(&metas[..count]) {
                    let remote = meta.addr;
                    let path = Path { local, remote };
                    machine.handle_burst(now, path, &mut buffer[..meta.len], meta.stride.max(1));
                }
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for socket in self.sockets.values() {
            let _ = self.poller.delete(socket.io());
        }
    }
}

/// Has the poller tell when something of `io` can be read.
#[expect(
    unsafe_code,
    reason = "polling wants the promise below; it has no other way to register a socket"
)]
pub(super) fn register(poller: &Poller, io: impl polling::AsRawSource, key: usize) -> io::Result<()> {
    // SAFETY: a source must be deleted from the poller before it is closed. All belong to the driver or to its streams,
    // and each deletes what it lets go.
    unsafe { poller.add_with_mode(io, Event::readable(key), mode(poller)) }
}

/// Level-triggered where the system can; re-armed before each wait elsewhere.
pub(super) fn mode(poller: &Poller) -> PollMode {
    if poller.supports_level() {
        PollMode::Level
    } else {
        PollMode::Oneshot
    }
}
