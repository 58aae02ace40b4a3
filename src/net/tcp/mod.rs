//! Carries datagrams over TCP, for networks that block UDP. Each has its length in two bytes before it.
//!
//! This does not hide what it is. Datagrams for which TCP has no room are dropped, as by a full queue, so
//! that the connection inside notices a narrow path.

mod dial;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use polling::{Event, Events, Poller};

use self::dial::Dial;
pub(crate) use self::dial::StreamNews;
use super::driver::{mode, register};
use crate::protocol::Network;
use crate::protocol::time::Time;

/// The socket number of all paths over TCP.
pub(crate) const TCP: u8 = u8::MAX;
/// The longest datagram: more than the largest MTU that is tried.
const LONGEST: usize = 9_000;
/// The most bytes that wait for TCP. The kernel's buffer comes after this one.
const MOST_WAITING: usize = 64 << 10;
/// The most streams. If there are more, the one that was silent longest is closed.
const MOST_STREAMS: usize = 1024;
/// The most streams of one network. A further one replaces one of its own.
const MOST_OF_ONE_NETWORK: usize = 128;
/// A stream is closed after this long without a datagram. Clients send one every 15 seconds.
const IDLE: Duration = Duration::from_secs(60);
/// How often to look for silent streams.
const SWEEP: Duration = Duration::from_secs(1);
/// Streams to accept between two times of sending.
const ACCEPTED_PER_TURN: usize = 64;
/// The first keys of the poller for listeners and streams. UDP sockets have smaller keys.
const FIRST_LISTENER: usize = 1_000;
const FIRST_STREAM: usize = 2_000;

/// Hands a connected stream to the driver from another thread. The caller must wake the driver afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Door(Sender<Handed>);

impl Door {
    /// Sends and receives the datagrams of the stream's peer through this stream from now on, and through a
    /// new one when it breaks. It replaces a stream that was given before.
    pub(crate) fn give(&self, stream: TcpStream) {
        // The driver is gone only when the run ends.
        let _ = self.0.send(Handed::Given(stream));
    }
}

#[derive(Debug)]
enum Handed {
    Given(TcpStream),
    /// The result of an attempt to connect to this address.
    Attempt(SocketAddr, Option<TcpStream>),
}

#[derive(Debug)]
struct Stream {
    io: TcpStream,
    remote: SocketAddr,
    heard: Time,
    inbox: Vec<u8>,
    /// Bytes that TCP has not taken yet.
    out: Vec<u8>,
    /// Whether the poller reports when there is room again.
    waits: bool,
}

#[derive(Debug)]
pub(super) struct Streams {
    poller: Arc<Poller>,
    listeners: Vec<TcpListener>,
    streams: HashMap<usize, Stream>,
    keys: HashMap<SocketAddr, usize>,
    next_key: usize,
    next_sweep: Time,
    handed: Receiver<Handed>,
    door: Door,
    /// The stream that this side opened.
    dial: Option<Dial>,
}

impl Streams {
    pub(super) fn new(poller: Arc<Poller>) -> Self {
        let (door, handed) = channel();
        Streams {
            poller,
            listeners: Vec::new(),
            streams: HashMap::new(),
            keys: HashMap::new(),
            next_key: FIRST_STREAM,
            next_sweep: Time::ZERO,
            handed,
            door: Door(door),
            dial: None,
        }
    }

    pub(super) fn door(&self) -> Door {
        self.door.clone()
    }

    /// Accepts connections at this listener.
    pub(super) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        register(&self.poller, &listener, FIRST_LISTENER + self.listeners.len())?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Adds the streams that other threads gave, closes silent ones, and opens a broken one again.
    pub(super) fn turn(&mut self, now: Time) {
        while let Ok(handed) = self.handed.try_recv() {
            self.take(now, handed);
        }
        if let Some(dial) = &mut self.dial {
            let remote = dial.remote();
            if dial.check_silence(now)
                && let Some(key) = self.keys.get(&remote).copied()
            {
                self.close(now, key);
            } else if dial.try_begin(now) {
                self.connect(now, remote);
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            let idle = |s: &Stream| now.since(s.heard) >= IDLE;
            let idle: Vec<usize> = self
                .streams
                .iter()
                .filter(|(_, s)| idle(s))
                .map(|(key, _)| *key)
                .collect();
            for key in idle {
                self.close(now, key);
            }
        }
        if !self.poller.supports_level() {
            for (number, listener) in self.listeners.iter().enumerate() {
                let _ = self
                    .poller
                    .modify(listener, Event::readable(FIRST_LISTENER + number));
            }
            for (key, stream) in &self.streams {
                let _ = self
                    .poller
                    .modify(&stream.io, Event::new(*key, true, stream.waits));
            }
        }
    }

    fn take(&mut self, now: Time, handed: Handed) {
        match handed {
            Handed::Given(stream) => {
                let before = self.dial.take();
                if let Some(key) = before.and_then(|dial| self.keys.get(&dial.remote()).copied()) {
                    self.close(now, key);
                }
                // A stream that broke at once counts as silent.
                if let Ok(remote) = self.add(now, stream) {
                    self.dial = Some(Dial::new(remote));
                }
            }
            Handed::Attempt(remote, stream) => {
                let connected = stream.is_some_and(|stream| self.add(now, stream).is_ok());
                if let Some(dial) = Dial::to(&mut self.dial, remote) {
                    dial.on_attempt(now, connected);
                }
            }
        }
    }

    /// Connects on a thread of its own, which may block.
    fn connect(&mut self, now: Time, remote: SocketAddr) {
        let (door, poller) = (self.door.clone(), Arc::clone(&self.poller));
        let attempt = move || {
            let stream = TcpStream::connect_timeout(&remote, dial::CONNECT).ok();
            // Both fail only if the driver is gone.
            let _ = door.0.send(Handed::Attempt(remote, stream));
            let _ = poller.notify();
        };
        let thread = std::thread::Builder::new().name("tcp".into());
        if thread.spawn(attempt).is_err()
            && let Some(dial) = &mut self.dial
        {
            dial.on_attempt(now, false);
        }
    }

    /// News of the stream that this side opened, and its remote address.
    pub(super) fn poll_news(&mut self) -> Option<(SocketAddr, StreamNews)> {
        let dial = self.dial.as_mut()?;
        Some((dial.remote(), dial.poll_news()?))
    }

    /// When to call [`Streams::turn`] next, if there is something to do.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        self.dial.as_ref()?.poll_timeout(now)
    }

    fn add(&mut self, now: Time, io: TcpStream) -> io::Result<SocketAddr> {
        io.set_nonblocking(true)?;
        // Each datagram must leave at once.
        io.set_nodelay(true)?;
        let remote = io.peer_addr()?;
        let network = Network::of(remote.ip());
        let theirs = |s: &Stream| Network::of(s.remote.ip()) == network;
        if self.streams.values().filter(|s| theirs(s)).count() >= MOST_OF_ONE_NETWORK {
            self.close_silent(now, theirs);
        } else if self.streams.len() >= MOST_STREAMS {
            self.close_silent(now, |_| true);
        }
        if let Some(old) = self.keys.get(&remote) {
            self.close(now, *old);
        }
        let key = self.next_key;
        self.next_key += 1;
        register(&self.poller, &io, key)?;
        self.keys.insert(remote, key);
        let stream = Stream {
            io,
            remote,
            heard: now,
            inbox: Vec::new(),
            out: Vec::new(),
            waits: false,
        };
        self.streams.insert(key, stream);
        Ok(remote)
    }

    /// Closes the stream that was silent longest among these. Returns whether there was one.
    fn close_silent(&mut self, now: Time, among: impl Fn(&Stream) -> bool) -> bool {
        let those = self.streams.iter().filter(|(_, s)| among(s));
        // Of those that were accepted at one moment, the oldest.
        let key = those.min_by_key(|(key, s)| (s.heard, **key)).map(|(key, _)| *key);
        key.inspect(|key| self.close(now, *key)).is_some()
    }

    fn close(&mut self, now: Time, key: usize) {
        if let Some(stream) = self.streams.remove(&key) {
            self.keys.remove(&stream.remote);
            let _ = self.poller.delete(&stream.io);
            let _ = stream.io.shutdown(Shutdown::Both);
            if let Some(dial) = Dial::to(&mut self.dial, stream.remote) {
                dial.on_lost(now);
            }
        }
    }

    /// Sends datagrams of `segment` bytes, as many as there is room for.
    pub(super) fn send(&mut self, now: Time, remote: SocketAddr, datagrams: &[u8], segment: usize) {
        if let Some(dial) = Dial::to(&mut self.dial, remote) {
            dial.on_send(now);
        }
        let Some(key) = self.keys.get(&remote).copied() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        for datagram in datagrams.chunks(segment.max(1)) {
            if stream.out.len() + datagram.len() > MOST_WAITING || datagram.len() > LONGEST {
                break;
            }
            stream.out.extend((datagram.len() as u16).to_be_bytes());
            stream.out.extend(datagram);
        }
        self.flush(now, key);
    }

    fn flush(&mut self, now: Time, key: usize) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let mut gone = 0;
        let broken = loop {
            if gone == stream.out.len() {
                break false;
            }
            match stream.io.write(&stream.out[gone..]) {
                Ok(bytes) if bytes > 0 => gone += bytes,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => break true,
            }
        };
        stream.out.drain(..gone);
        let waits = !stream.out.is_empty();
        if waits != stream.waits {
            stream.waits = waits;
            let interest = Event::new(key, true, waits);
            let _ = self
                .poller
                .modify_with_mode(&stream.io, interest, mode(&self.poller));
        }
        if broken {
            self.close(now, key);
        }
    }

    /// Does what the poller reported as possible, and hands over each datagram that arrived.
    pub(super) fn handle(
        &mut self,
        now: Time,
        events: &Events,
        mut on_datagram: impl FnMut(SocketAddr, &mut [u8]),
    ) {
        for event in events.iter().filter(|event| event.key >= FIRST_LISTENER) {
            if event.key < FIRST_STREAM {
                self.accept(now, event.key - FIRST_LISTENER);
                continue;
            }
            if event.writable {
                self.flush(now, event.key);
            }
            if event.readable
                && let Some(stream) = self.streams.get_mut(&event.key)
            {
                let received = stream.receive(now, &mut on_datagram);
                if matches!(received, Ok(true))
                    && let Some(dial) = Dial::to(&mut self.dial, stream.remote)
                {
                    dial.on_heard();
                }
                if received.is_err() {
                    self.close(now, event.key);
                }
            }
        }
    }

    fn accept(&mut self, now: Time, number: usize) {
        for _ in 0..ACCEPTED_PER_TURN {
            match self.listeners.get(number).map(TcpListener::accept) {
                Some(Ok((stream, _))) => {
                    let _ = self.add(now, stream);
                }
                Some(Err(e)) if is_full(&e) => {
                    // The next one may replace a silent one.
                    if !self.close_silent(now, |_| true) {
                        return;
                    }
                }
                Some(Err(e)) if e.kind() != ErrorKind::WouldBlock => {
                    // The client or its network has gone again (accept(2)).
                }
                _ => return,
            }
        }
    }
}

/// Whether this process, or the whole system, has no free descriptor.
fn is_full(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    // WSAEMFILE and WSAENOBUFS.
    #[cfg(windows)]
    let codes = [10024, 10055];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

impl Stream {
    /// Hands over what arrived, and returns whether that was a datagram. Fails if nothing more can arrive.
    fn receive(
        &mut self,
        now: Time,
        on_datagram: &mut impl FnMut(SocketAddr, &mut [u8]),
    ) -> io::Result<bool> {
        let mut space = [0; 32 << 10];
        // The rest waits in the kernel, so that no stream delays the others.
        let read = match self.io.read(&mut space) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(e) => return Err(e),
        };
        self.inbox.extend_from_slice(&space[..read]);
        let mut taken = 0;
        while let Some((length, rest)) = self.inbox[taken..].split_first_chunk_mut::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 || length > LONGEST {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(datagram) = rest.get_mut(..length) else {
                break;
            };
            on_datagram(self.remote, datagram);
            self.heard = now;
            taken += 2 + length;
        }
        self.inbox.drain(..taken);
        Ok(taken > 0)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _ = self.poller.delete(listener);
        }
        let keys: Vec<usize> = self.streams.keys().copied().collect();
        for key in keys {
            self.close(Time::ZERO, key);
        }
    }
}

#[cfg(test)]
mod tests;
