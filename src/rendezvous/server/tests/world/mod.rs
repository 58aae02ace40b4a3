//! The simulated internet around one server.

mod hostile;
mod line;
mod named;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) use self::line::Line;
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::address::Address;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::errand::Errand;
use crate::rendezvous::meeting::client::Meeting;
use crate::rendezvous::meeting::code::Code;
use crate::rendezvous::meeting::interface::{MeetingConfig, MeetingEvent, Purpose};
use crate::rendezvous::meeting::refusal::Refusal;
use crate::rendezvous::meeting::relay::{RelayClient, RelayPass, RelayRefusal, RelayUse};
use crate::rendezvous::meeting::wire::{Open, SessionId, TokenKey, is_meeting, token_key};
use crate::rendezvous::server::{Limits, RelayLimits, Server, ServerConfig};

/// The most clients that may wait at a number here.
pub(super) const WAITING: usize = 64;
/// The sockets of each client.
const SOCKETS: u16 = 4;
const UNIX: u64 = 1_795_236_100_000_000_000;

/// What a client was told about its peer.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) peer: Address,
    pub(super) own: Address,
    pub(super) moment: Time,
    pub(super) at: Time,
    pub(super) pass: Option<Box<RelayPass>>,
}

#[derive(Default)]
struct Client {
    ip: [u8; 4],
    /// The port at which the server sees the first socket.
    port: u16,
    /// How far from that it is seen at the server's next port.
    apart: u16,
    meeting: Option<Meeting>,
    relay: Option<RelayClient>,
    /// What came from the peer through the relay.
    passed: Vec<Vec<u8>>,
    refused: Vec<RelayRefusal>,
    session: Option<(SessionId, [u8; 16])>,
    codes: Vec<Code>,
    refusals: Vec<Refusal>,
    met: Option<Met>,
    unreachable: bool,
    silent: Option<bool>,
    fresh: bool,
}

enum To {
    Server(Path),
    /// From a port of the server to a socket of a client.
    Client(usize, Path),
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) server: Server,
    /// Whether the server has its next port, too.
    has_next: bool,
    /// The token that clients made from now on know.
    pub(super) token: Option<TokenKey>,
    wants: Option<TokenKey>,
    line: Line,
    rng: SeedRng,
    clients: Vec<Client>,
    under_way: Vec<(Time, To, Vec<u8>)>,
    limits: Limits,
}

impl Client {
    /// The socket that has this address for a port of the server.
    fn local(&self, path: Path) -> Option<u8> {
        let first = self.port + self.apart * u16::from(path.local);
        let socket = path.remote.port().wrapping_sub(first);
        let is_ours = path.remote.ip() == IpAddr::from(self.ip) && socket < SOCKETS;
        is_ours.then_some(socket as u8)
    }
}

/// The address of a socket of the server.
fn server_address(socket: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 4300 + u16::from(socket)))
}

fn server(token: Option<TokenKey>, limits: Limits, seed: u64, now: Time) -> Server {
    let config = ServerConfig {
        token,
        limits,
        clock: WallClock::system(UNIX + now.as_nanos(), now),
        seed: [seed as u8; 32].into(),
    };
    Server::new(config, now)
}

pub(super) fn code(world: &World, client: usize) -> Code {
    *world.clients[client].codes.last().expect("a code was shown")
}

pub(super) fn refusals(world: &World, client: usize) -> Vec<Refusal> {
    world.clients[client].refusals.clone()
}

impl World {
    pub(super) fn new(seed: u64, line: Line) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        // The server has run for a while.
        let limits = Limits {
            waiting: WAITING,
            ..Limits::default()
        };
        World {
            now: Time::from_nanos(60_000_000_000),
            server: server(None, limits, seed, Time::from_nanos(1_000_000_000)),
            limits,
            token: None,
            wants: None,
            line,
            rng: SeedRng::new(&bytes, "server tests"),
            clients: Vec::new(),
            has_next: true,
            under_way: Vec::new(),
        }
    }

    pub(super) fn with_token(seed: u64, line: Line, word: &str) -> Self {
        let mut world = World::new(seed, line);
        world.wants = Some(token_key(word));
        world.server = server(world.wants, world.limits, seed, Time::from_nanos(1_000_000_000));
        world
    }

    /// A world whose server has a relay with these limits.
    pub(super) fn with_relay(seed: u64, line: Line, relay: Option<RelayLimits>) -> Self {
        let mut world = World::new(seed, line);
        world.limits.relay = relay;
        world.server = server(None, world.limits, seed, Time::from_nanos(1_000_000_000));
        world
    }

    /// Adds a client, in a network of its own.
    pub(super) fn client(&mut self, role: Errand, code: Option<Code>) -> usize {
        self.arrives(role, code.map_or(Purpose::Show, Purpose::Join))
    }

    fn arrives(&mut self, errand: Errand, purpose: Purpose) -> usize {
        let number = self.clients.len();
        let meeting = self.meeting(errand, purpose);
        self.clients.push(Client {
            ip: [203, 0, 113, number as u8 + 1],
            port: 5000,
            meeting: Some(meeting),
            ..Client::default()
        });
        number
    }

    fn meeting(&mut self, errand: Errand, purpose: Purpose) -> Meeting {
        let config = MeetingConfig {
            errand,
            server: server_address(0),
            token: self.token,
            sockets: (0..SOCKETS as u8).collect(),
            key: self.rng.array(),
            candidates: vec![SocketAddr::from(([192, 168, 1, 5], 4300))],
            purpose,
            relay: RelayUse::Fallback,
            guess: true,
            seed: self.rng.seed(),
        };
        Meeting::new(config, self.now)
    }

    /// Adds a client whose NAT gives its first socket a port so far away for the server's next port, which the server may
    /// have.
    pub(super) fn behind(&mut self, errand: Errand, code: Option<Code>, apart: u16, has_next: bool) -> usize {
        let client = self.client(errand, code);
        self.clients[client].apart = apart;
        self.has_next = has_next;
        client
    }

    /// Adds a client in the network of another.
    pub(super) fn beside(&mut self, other: usize, errand: Errand) -> usize {
        let client = self.client(errand, None);
        self.clients[client].ip = self.clients[other].ip;
        self.clients[client].port += 10 * client as u16;
        client
    }

    pub(super) const fn becomes(&mut self, line: Line) {
        self.line = line;
    }

    pub(super) fn join(&mut self, client: usize, code: Code) {
        let meeting = &mut self.clients[client].meeting;
        meeting.iter_mut().for_each(|m| m.join(code, self.now));
    }

    pub(super) fn leave(&mut self, client: usize) {
        let meeting = &mut self.clients[client].meeting;
        meeting.iter_mut().for_each(|m| m.end(self.now));
    }

    pub(super) fn kill(&mut self, client: usize) {
        self.clients[client].meeting = None;
    }

    /// Restarts the server, which loses everything it knew.
    pub(super) fn restart(&mut self, seed: u64) {
        self.server = server(self.wants, self.limits, seed, self.now);
    }

    /// Breaks the client's path to the server: it goes on from other ports.
    pub(super) fn reroute(&mut self, client: usize) {
        let now = self.now;
        let client = &mut self.clients[client];
        client.port += 1000;
        client.meeting.iter_mut().for_each(|meeting| meeting.renew(now));
        client.relay.iter_mut().for_each(|relay| relay.rebind(now));
    }

    pub(super) fn met(&self, client: usize) -> Met {
        self.clients[client].met.clone().expect("the two have met")
    }

    pub(super) fn has_met(&self, client: usize) -> bool {
        self.clients[client].met.is_some()
    }

    /// Binds a client that has met its peer to the relay.
    pub(super) fn bind(&mut self, client: usize) {
        let pass = self.met(client).pass.expect("the server relays");
        self.clients[client].relay = Some(RelayClient::new(*pass, self.now));
    }

    pub(super) fn is_relayed(&self, client: usize) -> bool {
        let relay = self.clients[client].relay.as_ref();
        relay.is_some_and(RelayClient::is_open)
    }

    pub(super) fn relay(&mut self, client: usize) -> &mut RelayClient {
        self.clients[client].relay.as_mut().expect("it was bound")
    }

    /// Sends bytes to the peer through the relay.
    pub(super) fn say(&mut self, client: usize, bytes: &[u8]) {
        let path = Path {
            local: 0,
            remote: SocketAddr::from((self.clients[client].ip, self.clients[client].port)),
        };
        self.send(|| To::Server(path), bytes);
    }

    pub(super) fn passed(&self, client: usize) -> &[Vec<u8>] {
        &self.clients[client].passed
    }

    pub(super) fn relay_refusals(&self, client: usize) -> &[RelayRefusal] {
        &self.clients[client].refused
    }

    pub(super) fn is_told_to_wait(&self, client: usize) -> bool {
        self.clients[client].fresh
    }

    /// What was said last of the server's silence.
    pub(super) fn is_silent(&self, client: usize) -> Option<bool> {
        self.clients[client].silent
    }

    pub(super) fn is_unreachable(&self, client: usize) -> bool {
        self.clients[client].unreachable
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let clients = self.clients.iter().filter_map(|c| c.meeting.as_ref());
            let relays = self.clients.iter().filter_map(|c| c.relay.as_ref());
            let relays = relays.filter_map(RelayClient::poll_timeout);
            let timers = clients.filter_map(|m| m.poll_timeout(self.now)).chain(relays);
            let arrivals = self.under_way.iter().map(|(at, ..)| *at);
            let next = timers.chain(arrivals).chain(self.server.poll_timeout()).min();
            let next = next
                .unwrap_or(end)
                .max(self.now + Duration::from_nanos(1))
                .min(end);
            self.now = next;
            let mut index = 0;
            while index < self.under_way.len() {
                if self.under_way[index].0 <= next {
                    let (_, to, datagram) = self.under_way.remove(index);
                    self.deliver(to, &datagram);
                } else {
                    index += 1;
                }
            }
            self.server.handle_timeout(next);
            for client in &mut self.clients {
                if let Some(meeting) = &mut client.meeting {
                    meeting.handle_timeout(next);
                }
                if let Some(relay) = &mut client.relay {
                    relay.handle_timeout(next);
                }
            }
            if next == end {
                self.drain();
                return;
            }
        }
    }

    fn deliver(&mut self, to: To, datagram: &[u8]) {
        let now = self.now;
        match to {
            To::Server(path) => self.server.handle_datagram(now, path, datagram),
            To::Client(client, path) => {
                let client = &mut self.clients[client];
                if !is_meeting(datagram) {
                    client.passed.push(datagram.to_vec());
                } else if !client
                    .relay
                    .as_mut()
                    .is_some_and(|relay| relay.handle_datagram(now, path, datagram))
                    && let Some(meeting) = &mut client.meeting
                {
                    meeting.handle_datagram(now, path, datagram);
                }
            }
        }
    }

    fn send(&mut self, to: impl Fn() -> To, datagram: &[u8]) {
        let copies = 1 + usize::from(self.rng.next_u64() % 100 < self.line.doubled_percent);
        for _ in 0..copies {
            if self.rng.next_u64() % 100 < self.line.lost_percent {
                continue;
            }
            let jitter = self.rng.next_u64() % (self.line.jitter_millis + 1);
            let at = self.now + Duration::from_millis(self.line.delay_millis + jitter);
            self.under_way.push((at, to(), datagram.to_vec()));
        }
    }

    fn drain(&mut self) {
        let mut burst = Vec::new();
        loop {
            let (to, segment) = if let Some((path, payload)) = self.server.poll_transmit() {
                burst = payload;
                (path, burst.len())
            } else if let Some(out) = self.server.poll_relayed(&mut burst) {
                out
            } else {
                break;
            };
            // Datagrams to an earlier port of a client are lost.
            let mut clients = self.clients.iter().enumerate();
            if let Some((number, local)) = clients.find_map(|(n, c)| Some((n, c.local(to)?))) {
                let remote = server_address(to.local);
                for datagram in burst.chunks(segment) {
                    self.send(|| To::Client(number, Path { local, remote }), datagram);
                }
            }
        }
        for number in 0..self.clients.len() {
            let ip = self.clients[number].ip;
            while let Some((path, payload)) = self.clients[number]
                .meeting
                .as_mut()
                .and_then(Meeting::poll_transmit)
            {
                if let Ok(open) = Open::decode(&payload) {
                    self.clients[number].session = Some((open.session, open.cookie));
                }
                let socket = path.remote.port() - server_address(0).port();
                if socket > 0 && !self.has_next {
                    continue;
                }
                let client = &self.clients[number];
                let port = client.port + client.apart * socket + u16::from(path.local);
                let path = Path {
                    local: socket as u8,
                    remote: SocketAddr::from((ip, port)),
                };
                self.send(|| To::Server(path), &payload);
            }
            while let Some((_, payload)) = self.clients[number]
                .relay
                .as_mut()
                .and_then(RelayClient::poll_transmit)
            {
                self.say(number, &payload);
            }
            let now = self.now;
            let client = &mut self.clients[number];
            let refused = client.relay.as_mut().and_then(RelayClient::poll_refusal);
            client.refused.extend(refused);
            while let Some(event) = client.meeting.as_mut().and_then(Meeting::poll_event) {
                match event {
                    MeetingEvent::Code(code) => client.codes.push(code),
                    MeetingEvent::Spoilt(why) | MeetingEvent::Refused(why) | MeetingEvent::Failed(why) => {
                        client.refusals.push(why);
                    }
                    MeetingEvent::Met {
                        peer,
                        own,
                        moment,
                        relay,
                    } => {
                        let at = now;
                        client.met = Some(Met {
                            peer,
                            own,
                            moment,
                            at,
                            pass: relay,
                        });
                    }
                    MeetingEvent::Unreachable => client.unreachable = true,
                    MeetingEvent::Fresh => client.fresh = true,
                    MeetingEvent::Welcome { .. } => {}
                    MeetingEvent::Silent(silent) => client.silent = Some(silent),
                }
            }
        }
    }
}
