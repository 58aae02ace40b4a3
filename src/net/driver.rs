//! Runs the loop between sockets, clock and machine.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};
use quinn_udp::{EcnCodepoint, RecvMeta};

use super::Clock;
use super::faces::Faces;
use super::socket::{Ports, Socket};
use super::sys::FineTimers;
use super::tcp::{Door, StreamNews, Streams, TCP};
use crate::protocol::ecn::Ecn;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Transmit};

/// Receive buffers: as many as one `recvmmsg` call of quinn-udp fills.
const BATCH: usize = 32;
/// The most bursts that one socket receives between two times of sending.
pub(crate) const BURSTS_RECEIVED: usize = BATCH * BATCHES_PER_TURN;
/// Bytes of one receive buffer: a whole burst that the kernel joined (GRO).
const RECEIVE_BUFFER: usize = 65_536;
/// The most datagrams the driver takes from the machine at once (UDP_MAX_SEGMENTS of Linux).
const SEGMENTS: usize = 64;
/// Batches to receive before sending again.
const BATCHES_PER_TURN: usize = 4;
/// The longest wait, even if the next timer is later.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait while a socket's buffer is full. Timers are noticed up to this late then.
const WHILE_BLOCKED: Duration = Duration::from_millis(20);

/// A sans-IO machine that the driver runs.
pub trait Machine {
    /// Bursts to send before looking at what arrived.
    const BURSTS_PER_TURN: usize = 16;

    /// Takes a datagram that arrived on `path` with `ecn`. The machine may change it in place.
    fn handle_datagram(&mut self, now: Time, path: Path, ecn: Ecn, datagram: &mut [u8]);
    /// Takes datagrams that arrived on `path` and that the system joined. All came with `ecn` and have `segment` bytes,
    /// except that the last may be shorter.
    fn handle_burst(&mut self, now: Time, path: Path, ecn: Ecn, datagrams: &mut [u8], segment: usize) {
        for datagram in datagrams.chunks_mut(segment) {
            self.handle_datagram(now, path, ecn, datagram);
        }
    }
    /// Does what is due. The driver also calls this after another thread gave the machine something.
    fn handle_timeout(&mut self, now: Time);
    /// Writes the next datagrams to `buf`, at most `segments` of them.
    fn poll_transmit(&mut self, now: Time, buf: &mut Vec<u8>, segments: usize) -> Option<Transmit>;
    /// When to call `handle_timeout` next.
    fn poll_timeout(&mut self, now: Time) -> Option<Time>;
    /// The only path whose socket is still needed, if not those of the run alone: without one, any may be needed, and each
    /// is bound when the machine first sends from it.
    fn only_socket(&self) -> Option<Path> {
        None
    }
    /// Told when something happened to the TCP stream of this path.
    fn on_stream(&mut self, _now: Time, _path: Path, _news: StreamNews) {}
    /// Told when the system refused to send a datagram: there is no route, or this machine's firewall forbids
    /// it.
    fn on_refused(&mut self, _path: Path, _kind: io::ErrorKind) {}
    /// Told when a datagram of `size` bytes was too large for the interface.
    fn on_too_large(&mut self, _now: Time, _size: usize) {}
}

/// Wakes the driver of a machine from another thread.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Waker {
    /// A waker that calls `wake`, for drivers without sockets.
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
    /// The sockets by number: those of the run first, then the additional ones.
    sockets: BTreeMap<u8, Socket>,
    /// The number of the run's sockets.
    own: usize,
    /// Present if answers leave from the address that was asked.
    faces: Option<Faces>,
    streams: Streams,
    poller: Arc<Poller>,
    events: Events,
    receive: Vec<Vec<u8>>,
    out: Vec<u8>,
    /// Bytes of `out` that were sent.
    sent: usize,
    /// A burst that the kernel has not taken completely, because its buffer is full.
    blocked: Option<Transmit>,
    _timers: FineTimers,
}

impl Driver {
    /// Takes the sockets of a run.
    ///
    /// # Errors
    /// If the system has no file descriptors left.
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
            faces: None,
            streams: Streams::new(Arc::clone(&poller)),
            poller,
            events: Events::new(),
            receive: (0..BATCH).map(|_| vec![0; RECEIVE_BUFFER]).collect(),
            out: Vec::new(),
            sent: 0,
            blocked: None,
            _timers: FineTimers::hold(),
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        let poller = Arc::clone(&self.poller);
        Waker::new(move || {
            // This fails only if the driver is gone, and then there is nobody to wake.
            let _ = poller.notify();
        })
    }

    /// Accepts connections at this listener. Paths to those peers have the socket number [`TCP`].
    ///
    /// # Errors
    /// If the system has no file descriptors left.
    pub(crate) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.streams.listen(listener)
    }

    /// From now on a path names the address of this machine at which a datagram arrived, and datagrams to that path
    /// leave from there.
    pub(crate) fn answer_where_asked(&mut self) {
        self.faces = Some(Faces::default());
    }

    /// The socket of a path's number, and the address to send from.
    fn socket_of(&self, local: u8) -> (u8, Option<IpAddr>) {
        self.faces
            .as_ref()
            .map_or((local, None), |faces| faces.socket(local))
    }

    /// Takes connected streams from other threads.
    pub(crate) fn door(&self) -> Door {
        self.streams.door()
    }

    /// One turn: timers, then everything there is to send, then a wait for datagrams, a timer or a waker.
    ///
    /// # Errors
    /// Only what makes the sockets useless. A datagram that cannot be sent counts as lost.
    pub(crate) fn turn<M: Machine>(&mut self, machine: &mut M) -> io::Result<()> {
        let now = self.clock.now();
        self.streams.turn(now);
        while let Some((remote, news)) = self.streams.poll_news() {
            machine.on_stream(now, Path { local: TCP, remote }, news);
        }
        machine.handle_timeout(self.clock.now());
        if self.sockets.len() > self.own
            && let Some(path) = machine.only_socket()
        {
            self.close_all_but(path);
        }
        let more = self.transmit(machine);
        let now = self.clock.now();
        let wait = match self.blocked {
            Some(_) => WHILE_BLOCKED,
            None if more => Duration::ZERO,
            None => [machine.poll_timeout(now), self.streams.poll_timeout(now)]
                .into_iter()
                .flatten()
                .min()
                .map_or(LONGEST_WAIT, |t| t.since(now).min(LONGEST_WAIT)),
        };
        self.wait(wait)?;
        self.receive(machine);
        Ok(())
    }

    /// Binds the additional socket of a path.
    fn bind_extra(&mut self, path: Path) -> io::Result<()> {
        let Some(first) = self.sockets.get(&0).filter(|_| path.remote.is_ipv4()) else {
            return Ok(());
        };
        let socket = first.another()?;
        register(&self.poller, socket.io(), usize::from(path.local))?;
        self.sockets.insert(path.local, socket);
        Ok(())
    }

    /// Closes the additional sockets, except for the socket of this path.
    fn close_all_but(&mut self, path: Path) {
        let (poller, own) = (&self.poller, self.own);
        self.sockets.retain(|local, socket| {
            let stays = usize::from(*local) < own || *local == path.local;
            if !stays {
                // This fails only if the poller is gone, too.
                let _ = poller.delete(socket.io());
            }
            stays
        });
        // A burst that waits to leave from one of them is lost.
        if self
            .blocked
            .is_some_and(|blocked| !self.sockets.contains_key(&blocked.path.local))
        {
            self.blocked = None;
        }
    }

    fn wait(&mut self, wait: Duration) -> io::Result<()> {
        if let Some(blocked) = self.blocked {
            self.watch(blocked.path, Event::all)?;
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

    /// Sets what the poller reports of the socket of a path.
    fn watch(&self, path: Path, interest: fn(usize) -> Event) -> io::Result<()> {
        let (local, _) = self.socket_of(path.local);
        let Some(socket) = self.sockets.get(&local) else {
            return Ok(());
        };
        self.poller
            .modify_with_mode(socket.io(), interest(usize::from(local)), mode(&self.poller))
    }

    /// Sends until the machine has nothing more, or it is time to receive. Returns true if the machine may
    /// have more.
    fn transmit<M: Machine>(&mut self, machine: &mut M) -> bool {
        if let Some(blocked) = self.blocked.take() {
            let _ = self.watch(blocked.path, Event::readable);
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
            // TCP cannot limit how far a datagram travels, so a datagram that must not arrive is not sent.
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
        let (local, source) = self.socket_of(transmit.path.local);
        if !self.sockets.contains_key(&local)
            && let Err(e) = self.bind_extra(transmit.path)
        {
            // Most likely the limit of open files was reached. The datagram counts as lost.
            machine.on_refused(transmit.path, e.kind());
            return;
        }
        let Some(socket) = self.sockets.get(&local) else {
            return;
        };
        let remote = transmit.path.remote;
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let result = match transmit.reach {
                Reach::Full => socket.send(source, remote, rest, transmit.segment, transmit.ecn),
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
                        machine.on_refused(transmit.path, e.kind());
                    }
                    // There is no route at the moment, a firewall refused, or an earlier packet caused an
                    // ICMP error. The datagram counts as lost.
                    return;
                }
            }
        }
    }

    fn receive(&mut self, machine: &mut impl Machine) {
        let now = self.clock.now();
        self.streams.handle(now, &self.events, |remote, datagram| {
            machine.handle_datagram(now, Path { local: TCP, remote }, Ecn::NotEct, datagram);
        });
        let ready: Vec<usize> = self.events.iter().filter(|e| e.readable).map(|e| e.key).collect();
        for key in ready {
            // The keys of streams are larger.
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
                    // Nothing more has arrived, or the socket is broken, which the next send will show.
                    Err(_) => break,
                };
                drop(slices);
                let now = self.clock.now();
                for (buffer, meta) in self.receive.iter_mut().zip(&metas[..count]) {
                    let remote = meta.addr;
                    let local = match (&mut self.faces, meta.dst_ip) {
                        (Some(faces), Some(at)) => faces.number(local, at),
                        _ => local,
                    };
                    let path = Path { local, remote };
                    let ecn = meta.ecn.map_or(Ecn::NotEct, from_bits);
                    machine.handle_burst(now, path, ecn, &mut buffer[..meta.len], meta.stride.max(1));
                }
                if count < BATCH {
                    break;
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for socket in self.sockets.values() {
            let _ = self.poller.delete(socket.io());
        }
    }
}

/// Asks the poller to report when `io` can be read.
#[expect(
    unsafe_code,
    reason = "polling wants the promise below; it has no other way to register a socket"
)]
pub(super) fn register(poller: &Poller, io: impl polling::AsRawSource, key: usize) -> io::Result<()> {
    // SAFETY: a source must be deleted from the poller before it is closed. All sources belong to the driver
    // or to its streams, and each of these deletes a source before it closes it.
    unsafe { poller.add_with_mode(io, Event::readable(key), mode(poller)) }
}

/// The mark in the ECN bits of a received header.
const fn from_bits(bits: EcnCodepoint) -> Ecn {
    match bits {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ce => Ecn::Ce,
        EcnCodepoint::Ect1 => Ecn::NotEct,
    }
}

/// Level-triggered where the system supports it. Elsewhere each source is armed again before each wait.
pub(super) fn mode(poller: &Poller) -> PollMode {
    if poller.supports_level() {
        PollMode::Level
    } else {
        PollMode::Oneshot
    }
}
