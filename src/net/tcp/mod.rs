//! Datagrams over TCP, for networks that let no UDP through: each behind its length in two bytes.
//!
//! It hides nothing: whoever looks sees what it is. What TCP has no room for is dropped, as a full queue would, so that
//! the connection inside sees where the path is narrow.

mod dial;

use polling::{Event, Events, Poller};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use self::dial::Dial;
pub(crate) use self::dial::StreamNews;
use super::driver::{mode, register};
use crate::protocol::time::Time;

/// The socket that all paths over TCP have.
pub(crate) const TCP: u8 = u8::MAX;
/// The longest datagram, with room beyond the largest MTU that is tried.
const LONGEST: usize = 9_000;
/// Bytes that wait for TCP to take them, at most. The kernel has its own buffer behind that.
const MOST_WAITING: usize = 64 << 10;
/// Streams at once; of more, the one that was silent for longest goes.
const MOST_STREAMS: usize = 1024;
/// A stream from which no datagram came for so long is closed: clients speak every fifteen seconds.
const IDLE: Duration = Duration::from_secs(60);
/// How often the silent ones are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Streams taken in between two times of sending.
const ACCEPTED_PER_TURN: usize = 64;
/// Keys of the poller: UDP sockets have those below.
const FIRST_LISTENER: usize = 1_000;
const FIRST_STREAM: usize = 2_000;

/// Hands a connected stream to the driver from another thread; wake it afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Door(Sender<Handed>);

impl Door {
    /// From now on datagrams to and from the stream's peer go through it, and through others like it when it breaks. It
    /// takes the place of one that was given before.
    pub(crate) fn give(&self, stream: TcpStream) {
        // The driver is gone only when the run ends.
        let _ = self.0.send(Handed::Given(stream));
    }
}

/// What other threads hand over.
#[derive(Debug)]
enum Handed {
    Given(TcpStream),
    /// What an attempt to connect there has come to.
    Attempt(SocketAddr, Option<TcpStream>),
}

#[derive(Debug)]
struct Stream {
    io: TcpStream,
    remote: SocketAddr,
    heard: Time,
    inbox: Vec<u8>,
    /// What TCP has not taken yet.
    out: Vec<u8>,
    /// Whether the poller tells when there is room again.
    waits: bool,
}

/// All streams of a driver.
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
    /// The one that this side opened.
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

    /// Takes in whoever connects to this listener.
    pub(super) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        register(&self.poller, &listener, FIRST_LISTENER + self.listeners.len())?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Takes in what other threads gave, lets those go that are silent, and opens again what broke.
    pub(super) fn turn(&mut self, now: Time) {
        while let Ok(handed) = self.handed.try_recv() {
            self.take(now, handed);
        }
        if let Some(dial) = &mut self.dial {
            let remote = dial.remote();
            if dial.is_dead(now)
                && let Some(key) = self.keys.get(&remote).copied()
            {
                self.close(now, key);
            } else if dial.begins(now) {
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
                // One that broke at once is as good as silent.
                if let Ok(remote) = self.add(now, stream) {
                    self.dial = Some(Dial::new(remote));
                }
            }
            Handed::Attempt(remote, stream) => {
                let connected = stream.is_some_and(|stream| self.add(now, stream).is_ok());
                if let Some(dial) = self.dial.as_mut().filter(|dial| dial.remote() == remote) {
                    dial.on_attempt(now, connected);
                }
            }
        }
    }

    /// Connects on a thread of its own, as long as that takes.
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

    /// What became of the stream that this side opened, and where it leads.
    pub(super) fn poll_news(&mut self) -> Option<(SocketAddr, StreamNews)> {
        let dial = self.dial.as_mut()?;
        Some((dial.remote(), dial.poll_news()?))
    }

    /// When to call [`Streams::turn`] next, if that matters.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        self.dial.as_ref()?.poll_timeout(now)
    }

    fn add(&mut self, now: Time, io: TcpStream) -> io::Result<SocketAddr> {
        io.set_nonblocking(true)?;
        // Each datagram is due when it is sent.
        io.set_nodelay(true)?;
        let remote = io.peer_addr()?;
        if self.streams.len() >= MOST_STREAMS
            && let Some(key) = self
                .streams
                .iter()
                .min_by_key(|(_, s)| s.heard)
                .map(|(key, _)| *key)
        {
            self.close(now, key);
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

    fn close(&mut self, now: Time, key: usize) {
        if let Some(stream) = self.streams.remove(&key) {
            self.keys.remove(&stream.remote);
            let _ = self.poller.delete(&stream.io);
            let _ = stream.io.shutdown(Shutdown::Both);
            if let Some(dial) = self.dial.as_mut().filter(|dial| dial.remote() == stream.remote) {
                dial.on_lost(now);
            }
        }
    }

    /// Sends datagrams of `segment` bytes, as many as there is room for.
    pub(super) fn send(&mut self, now: Time, remote: SocketAddr, datagrams: &[u8], segment: usize) {
        if let Some(dial) = self.dial.as_mut().filter(|dial| dial.remote() == remote) {
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

    /// Does what the poller found to be possible, and hands over each datagram that came.
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
                if let Some(dial) = &mut self.dial
                    && dial.remote() == stream.remote
                    && matches!(received, Ok(true))
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
            let Some(Ok((stream, _))) = self.listeners.get(number).map(TcpListener::accept) else {
                return;
            };
            let _ = self.add(now, stream);
        }
    }
}

impl Stream {
    /// Hands over what came, and says whether it was a datagram. An error if nothing more will.
    fn receive(
        &mut self,
        now: Time,
        on_datagram: &mut impl FnMut(SocketAddr, &mut [u8]),
    ) -> io::Result<bool> {
        let mut space = [0; 32 << 10];
        // What comes faster waits in the kernel, so that no stream keeps others waiting.
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
