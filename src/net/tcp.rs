//! Datagrams over TCP, for networks that let no UDP through: each behind its length in two bytes.
//!
//! It hides nothing: whoever looks sees what it is. What TCP has no room for is dropped, as a full queue would, so that
//! the connection inside sees where the path is narrow.

use polling::{Event, Events, Poller};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

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

/// Hands connected streams to the driver from another thread; wake it afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Door(Sender<TcpStream>);

impl Door {
    /// From now on datagrams to and from the stream's peer go through it.
    pub(crate) fn give(&self, stream: TcpStream) {
        // The driver is gone only when the run ends.
        let _ = self.0.send(stream);
    }
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
    given: Receiver<TcpStream>,
    door: Door,
}

impl Streams {
    pub(super) fn new(poller: Arc<Poller>) -> Self {
        let (door, given) = channel();
        Streams {
            poller,
            listeners: Vec::new(),
            streams: HashMap::new(),
            keys: HashMap::new(),
            next_key: FIRST_STREAM,
            next_sweep: Time::ZERO,
            given,
            door: Door(door),
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

    /// Takes in what other threads gave, and lets those go that are silent.
    pub(super) fn turn(&mut self, now: Time) {
        while let Ok(stream) = self.given.try_recv() {
            // One that broke at once is as good as silent.
            let _ = self.add(now, stream);
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
                self.close(key);
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

    fn add(&mut self, now: Time, io: TcpStream) -> io::Result<()> {
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
            self.close(key);
        }
        if let Some(old) = self.keys.get(&remote) {
            self.close(*old);
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
        Ok(())
    }

    fn close(&mut self, key: usize) {
        if let Some(stream) = self.streams.remove(&key) {
            self.keys.remove(&stream.remote);
            let _ = self.poller.delete(&stream.io);
            let _ = stream.io.shutdown(Shutdown::Both);
        }
    }

    /// Sends datagrams of `segment` bytes, as many as there is room for.
    pub(super) fn send(&mut self, remote: SocketAddr, datagrams: &[u8], segment: usize) {
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
        self.flush(key);
    }

    fn flush(&mut self, key: usize) {
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
            self.close(key);
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
                self.flush(event.key);
            }
            if event.readable
                && let Some(stream) = self.streams.get_mut(&event.key)
                && stream.receive(now, &mut on_datagram).is_err()
            {
                self.close(event.key);
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
    /// Hands over what came. An error if nothing more will.
    fn receive(&mut self, now: Time, on_datagram: &mut impl FnMut(SocketAddr, &mut [u8])) -> io::Result<()> {
        let mut space = [0; 32 << 10];
        // What comes faster waits in the kernel, so that no stream keeps others waiting.
        let read = match self.io.read(&mut space) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
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
        Ok(())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _ = self.poller.delete(listener);
        }
        let keys: Vec<usize> = self.streams.keys().copied().collect();
        for key in keys {
            self.close(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A listener's streams, and a stream to it.
    struct Ends {
        streams: Streams,
        poller: Arc<Poller>,
        events: Events,
        client: TcpStream,
        heard: Vec<Vec<u8>>,
    }

    impl Ends {
        fn new() -> Ends {
            let poller = Arc::new(Poller::new().unwrap());
            let mut streams = Streams::new(Arc::clone(&poller));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            streams.listen(listener).unwrap();
            Ends {
                streams,
                poller,
                events: Events::new(),
                client: TcpStream::connect(at).unwrap(),
                heard: Vec::new(),
            }
        }

        /// Does what is possible until `done`.
        fn until(&mut self, done: impl Fn(&Streams, &[Vec<u8>]) -> bool) {
            while !done(&self.streams, &self.heard) {
                self.events.clear();
                self.streams.turn(Time::ZERO);
                self.poller
                    .wait(&mut self.events, Some(Duration::from_secs(20)))
                    .unwrap();
                let heard = &mut self.heard;
                self.streams.handle(Time::ZERO, &self.events, |_, datagram| {
                    heard.push(datagram.to_vec())
                });
            }
        }
    }

    #[test]
    fn datagrams_arrive_one_by_one_however_tcp_cuts_them_and_go_back() {
        let mut ends = Ends::new();
        ends.client.set_nodelay(true).unwrap();
        let bytes = [&[0, 3][..], b"abc", &[0, 1], b"d", &[0x04, 0xb0], &[7; 1200]].concat();
        for (number, piece) in bytes.chunks(2).enumerate() {
            ends.client.write_all(piece).unwrap();
            if number == 1 {
                ends.until(|streams, _| !streams.streams.is_empty());
            }
        }
        ends.until(|_, heard| heard.len() == 3);
        assert_eq!(ends.heard, [b"abc".to_vec(), b"d".to_vec(), vec![7; 1200]]);
        let remote = ends.client.local_addr().unwrap();
        ends.streams.send(remote, b"first and last", 6);
        let mut back = [0; 20];
        ends.client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"\0\x06first \0\x06and la\0\x02st");
    }

    #[test]
    fn lengths_that_no_datagram_has_close_the_stream() {
        for length in [0, LONGEST as u16 + 1] {
            let mut ends = Ends::new();
            ends.until(|streams, _| !streams.streams.is_empty());
            ends.client.write_all(&length.to_be_bytes()).unwrap();
            ends.until(|streams, _| streams.streams.is_empty());
            assert!(ends.heard.is_empty() && ends.streams.keys.is_empty());
        }
    }

    #[test]
    fn what_a_peer_does_not_read_is_dropped_and_costs_no_memory() {
        let mut ends = Ends::new();
        ends.until(|streams, _| !streams.streams.is_empty());
        let remote = ends.client.local_addr().unwrap();
        for _ in 0..20_000 {
            ends.streams.send(remote, &[1; 1200], 1200);
        }
        let waiting = ends.streams.streams.values().map(|s| s.out.len()).max().unwrap();
        assert!(
            (MOST_WAITING - 1300..=MOST_WAITING + 2 * 60).contains(&waiting),
            "{waiting}"
        );
    }

    #[test]
    fn silent_streams_go_and_so_does_the_oldest_of_too_many() {
        let mut ends = Ends::new();
        ends.until(|streams, _| !streams.streams.is_empty());
        ends.streams.turn(Time::ZERO + IDLE - Duration::from_secs(1));
        assert_eq!(ends.streams.streams.len(), 1);
        ends.streams.turn(Time::ZERO + IDLE);
        assert!(ends.streams.streams.is_empty());
        assert_eq!(ends.client.read(&mut [0]).unwrap(), 0, "the peer sees its end");
    }
}
