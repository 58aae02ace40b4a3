//! Asks STUN servers for the external address of each of our sockets, and keeps those mappings open.
//!
//! Sockets that will punch only send plain binding requests: a filtering test there would let strangers'
//! packets create entries in the NAT (see [`filtering`] for the test on a separate socket). An answer counts
//! only with the right cookie, class, transaction id, socket and source.

pub(crate) mod filtering;
pub(crate) mod hairpin;
mod message;
mod told;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::message::respond;
use self::message::{AnswerFrom, TransactionId};
pub(crate) use self::message::{answers, padded, probe};
pub(crate) use self::told::{StunEvent, StunReport};
use super::address::{Mapping, PAIRS, usable};
use super::portmap::is_global;
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;

/// When requests are repeated, counted from the first one: 250 ms, doubling. RFC 8489, section 6.2.1,
/// suggests 500 ms, but today paths that lose the first packet are more common than paths that take half a
/// second.
const RETRANSMIT: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_millis(1750),
];
/// When to go on without the missing answers.
const GIVE_UP: Duration = Duration::from_secs(3);
/// The interval of keepalives. It is below the shortest mapping timeout in wide use: Linux drops unreplied
/// UDP entries after 30 s.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often a test on a separate socket asks.
const ATTEMPTS: u32 = 4;
/// How many servers a spare socket asks at a time. One answer is enough there.
const SPARE_FANOUT: usize = 2;
/// A keepalive server that missed this many requests in a row is replaced.
const MISSES: u32 = 2;

struct Query {
    socket: usize,
    server: usize,
    id: TransactionId,
    state: QueryState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum QueryState {
    Waiting,
    Answered(SocketAddr),
    Refused,
}

#[derive(Clone, Copy)]
struct Keeper {
    server: usize,
    id: Option<TransactionId>,
    misses: u32,
    /// The last answer of the current server. If the NAT maps by destination, only answers of the same server
    /// are comparable.
    by_server: Option<SocketAddr>,
}

/// The index of the IPv6 socket here, after those of the pairs.
const SIX: usize = PAIRS;

/// The STUN client of all our sockets.
pub struct StunClient {
    servers: Vec<SocketAddr>,
    sockets: usize,
    /// The driver's number of the IPv6 socket.
    ipv6: Option<u8>,
    other_ports: Vec<SocketAddr>,
    local: Vec<SocketAddr>,
    rng: SeedRng,
    /// When gathering began, and how many attempts it has made, until it has ended.
    gathering: Option<(Time, usize)>,
    /// One for each socket since then, and when the next requests are due.
    keepers: Vec<Keeper>,
    next: Time,
    queries: Vec<Query>,
    mapped: [Option<SocketAddr>; PAIRS],
    mapping: Mapping,
    outbox: VecDeque<(Path, Vec<u8>)>,
    events: VecDeque<StunEvent>,
}

impl StunClient {
    /// Begins to ask `servers` from sockets `0..sockets`, and IPv6 servers from the socket `ipv6`. `local`
    /// holds the addresses of the sockets on this machine's interfaces: if a mapping equals one of them,
    /// there is no NAT.
    pub fn new(
        servers: &[SocketAddr],
        sockets: u8,
        ipv6: Option<u8>,
        local: &[SocketAddr],
        seed: &[u8; 32],
        now: Time,
    ) -> Self {
        let mut known: Vec<SocketAddr> = Vec::new();
        for &server in servers {
            if (server.is_ipv4() || ipv6.is_some()) && !known.contains(&server) {
                known.push(server);
            }
        }
        let mut client = StunClient {
            servers: known,
            sockets: usize::from(sockets).min(PAIRS),
            ipv6,
            other_ports: Vec::new(),
            local: local.to_vec(),
            rng: SeedRng::new(seed, "p2pcopy 1 stun"),
            gathering: Some((now, 0)),
            keepers: Vec::new(),
            next: now,
            queries: Vec::new(),
            mapped: [None; PAIRS],
            mapping: Mapping::Unknown,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.handle_timeout(now);
        client
    }

    /// Takes a datagram. Returns whether it was STUN.
    pub fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) -> bool {
        if !message::is_stun(datagram) {
            return false;
        }
        let Some(mut answer) = message::answer(datagram) else {
            return true;
        };
        // An impossible address counts as a refusal.
        let remote = path.remote;
        let is_possible = |at: &SocketAddr| usable(*at) && at.is_ipv4() == remote.is_ipv4();
        answer.mapped = answer.mapped.filter(is_possible);
        let (ipv6, servers) = (self.ipv6, &self.servers);
        let matches = |server: usize, socket: usize| {
            servers[server] == path.remote && local_index(socket, ipv6) == Some(path.local)
        };
        if self.gathering.is_some() {
            let query = self
                .queries
                .iter_mut()
                .find(|q| q.id == answer.id && q.state == QueryState::Waiting && matches(q.server, q.socket));
            if let Some(query) = query {
                query.state = answer.mapped.map_or(QueryState::Refused, QueryState::Answered);
                let other = answer
                    .other
                    .map(|other| SocketAddr::new(remote.ip(), other.port()));
                self.other_ports.extend(other.filter(|other| *other != remote));
                if let (Some(mapped), 0) = (answer.mapped, path.local) {
                    let server = remote;
                    self.events.push_back(StunEvent::Answered { server, mapped });
                }
                self.conclude(now, false);
            }
            return true;
        }
        let keeper = self
            .keepers
            .iter_mut()
            .enumerate()
            .find(|(socket, k)| k.id == Some(answer.id) && matches(k.server, *socket));
        if let (Some((index, keeper)), Some(to)) = (keeper, answer.mapped) {
            (keeper.id, keeper.misses) = (None, 0);
            let from = match (self.mapping, keeper.by_server) {
                (Mapping::Dependent, None) => Some(to),
                (Mapping::Dependent, same_server) => same_server,
                _ => self.mapped[index],
            };
            keeper.by_server = Some(to);
            if from != Some(to) {
                self.mapped[index] = Some(to);
                let socket = path.local;
                self.events
                    .push_back(StunEvent::MappingChanged { socket, from, to });
            }
        }
        true
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        match self.gathering {
            Some((began, _)) if now.since(began) >= GIVE_UP => self.conclude(now, true),
            Some((began, attempt)) if RETRANSMIT.get(attempt).is_some_and(|at| now.since(began) >= *at) => {
                self.gathering = Some((began, attempt + 1));
                self.ask(attempt);
                self.conclude(now, self.queries.is_empty());
            }
            None if now >= self.next => self.keep_alive(now),
            _ => {}
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// When to call [`StunClient::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        Some(match self.gathering {
            Some((began, attempt)) => began + *RETRANSMIT.get(attempt).unwrap_or(&GIVE_UP),
            None => self.next,
        })
    }

    pub(crate) fn poll_event(&mut self) -> Option<StunEvent> {
        self.events.pop_front()
    }

    fn answered(&self, socket: usize) -> impl Iterator<Item = (usize, SocketAddr)> + '_ {
        self.queries.iter().filter_map(move |q| match q.state {
            QueryState::Answered(mapped) if q.socket == socket => Some((q.server, mapped)),
            _ => None,
        })
    }

    /// The answers for a socket. The first is the one that most servers give. An answer of a server inside the
    /// network does not count if one outside answers.
    fn believed(&self, socket: usize) -> Vec<(usize, SocketAddr)> {
        let mut answers: Vec<_> = self.answered(socket).collect();
        if answers.iter().any(|(_, mapped)| is_global(mapped.ip())) {
            answers.retain(|(_, mapped)| is_global(mapped.ip()));
        }
        let ips: Vec<_> = answers.iter().map(|(_, mapped)| mapped.ip()).collect();
        let votes = |ip| ips.iter().filter(|other| **other == ip).count();
        answers.sort_by_key(|(_, mapped)| std::cmp::Reverse(votes(mapped.ip())));
        answers
    }

    /// The servers of one IP version.
    fn servers_of(&self, ipv6: bool) -> Vec<usize> {
        let of_family = |server: &usize| self.servers[*server].is_ipv6() == ipv6;
        (0..self.servers.len()).filter(of_family).collect()
    }

    fn transmit(&mut self, socket: usize, server: usize, id: TransactionId) {
        let path = Path {
            local: local_index(socket, self.ipv6).unwrap_or(0),
            remote: self.servers[server],
        };
        self.outbox
            .push_back((path, message::request(id, AnswerFrom::SameAddress)));
    }

    fn fresh_id(&mut self) -> TransactionId {
        u128::from_be_bytes(self.rng.array()) >> 32
    }

    /// Sends the requests of one attempt: to all servers from socket 0, and to a few from each spare socket
    /// without an answer. Servers that answered socket 0 come first.
    fn ask(&mut self, attempt: usize) {
        let alive: Vec<usize> = self.believed(0).iter().map(|(server, _)| *server).collect();
        for socket in (0..self.sockets).chain(self.ipv6.map(|_| SIX)) {
            if socket > 0 && self.answered(socket).next().is_some() {
                continue;
            }
            let all = self.servers_of(socket == SIX);
            let n = all.len();
            let servers: Vec<usize> = match socket {
                0 => all,
                1..SIX if !alive.is_empty() => alive.iter().copied().take(SPARE_FANOUT).collect(),
                _ => (0..SPARE_FANOUT.min(n))
                    .map(|i| all[(attempt * SPARE_FANOUT + i) % n])
                    .collect(),
            };
            for server in servers {
                let known = self
                    .queries
                    .iter()
                    .find(|q| q.socket == socket && q.server == server);
                let id = match known {
                    Some(q) if q.state == QueryState::Waiting => q.id,
                    Some(_) => continue,
                    None => {
                        let id = self.fresh_id();
                        self.queries.push(Query {
                            socket,
                            server,
                            id,
                            state: QueryState::Waiting,
                        });
                        id
                    }
                };
                self.transmit(socket, server, id);
            }
        }
    }

    /// Ends gathering if everything is known or the time is up.
    fn conclude(&mut self, now: Time, time_is_up: bool) {
        let main = self.believed(0);
        let ip = main.first().map(|(_, mapped)| mapped.ip());
        let second = main
            .iter()
            .find(|(s, _)| self.servers[*s].ip() != self.servers[main[0].0].ip());
        let agree = second.is_some_and(|(_, mapped)| Some(mapped.ip()) == ip);
        let waits = |socket| {
            let mut queries = self.queries.iter();
            queries.any(|q| q.socket == socket && q.state == QueryState::Waiting)
        };
        let unanswered = |socket: usize| self.answered(socket).next().is_none();
        let strays = |socket| self.answered(socket).all(|(_, mapped)| Some(mapped.ip()) != ip);
        let spare_open = |socket| unanswered(socket) || strays(socket) && waits(socket);
        // If there is IPv4, nothing waits for IPv6, because its answer tells little.
        let open = if self.servers_of(false).is_empty() {
            self.queries.iter().any(|q| q.socket == SIX) && unanswered(SIX)
        } else {
            (!agree && waits(0)) || (1..self.sockets).any(spare_open)
        };
        if !time_is_up && open {
            return;
        }
        // A router that gives each server another port may give socket 0 the same one twice.
        let differs = (0..self.sockets).any(|socket| {
            let told = self.believed(socket);
            told.iter().any(|(_, mapped)| *mapped != told[0].1)
        });
        self.mapping = match (main.first(), second) {
            (Some((_, mapped)), _) if self.local.contains(mapped) => Mapping::Public,
            (Some(_), Some(_)) if !differs => Mapping::Independent,
            (Some(_), Some(_)) => Mapping::Dependent,
            _ => Mapping::Unknown,
        };
        for socket in 0..self.sockets {
            let believed = self.believed(socket);
            let at_same_ip = believed.iter().find(|(_, mapped)| Some(mapped.ip()) == ip);
            let first = at_same_ip.or(believed.first()).copied();
            self.mapped[socket] = first.map(|(_, mapped)| mapped);
            let server = first
                .or(main.first().copied())
                .map_or(socket, |(server, _)| server);
            self.keepers.push(Keeper {
                server,
                id: None,
                misses: 0,
                by_server: self.mapped[socket],
            });
        }
        let six = self.believed(SIX);
        let seen = self.queries.iter().filter_map(|query| match query.state {
            QueryState::Answered(mapped) if query.socket < SIX => Some(mapped),
            _ => None,
        });
        let from_inside = main.iter().all(|(_, mapped)| !is_global(mapped.ip()));
        let seen = seen.filter(|at| from_inside || is_global(at.ip())).collect();
        let named = |answers: &[(usize, SocketAddr)]| answers.iter().map(|(s, _)| self.servers[*s]).collect();
        self.events.push_back(StunEvent::Gathered(StunReport {
            mapping: self.mapping,
            mapped: self.mapped,
            seen,
            mapped_ipv6: six.first().map(|(_, mapped)| *mapped),
            answered: main.len().max(six.len()),
            servers: named(if main.is_empty() { &six } else { &main }),
            other_ports: std::mem::take(&mut self.other_ports),
            asked: self.servers_of(false).len().max(self.servers_of(true).len()),
        }));
        (self.gathering, self.next) = (None, now + KEEPALIVE);
    }

    fn keep_alive(&mut self, now: Time) {
        self.next = now + KEEPALIVE;
        let servers = self.servers_of(false);
        let Some(&first) = servers.first() else { return };
        for socket in 0..self.keepers.len() {
            let id = self.fresh_id();
            let keeper = &mut self.keepers[socket];
            if keeper.id.replace(id).is_some() {
                keeper.misses += 1;
            }
            // Without any answer yet, every round tries another server.
            if keeper.misses >= MISSES || (keeper.misses > 0 && self.mapped[socket].is_none()) {
                let next = servers.iter().find(|server| **server > keeper.server);
                keeper.server = *next.unwrap_or(&first);
                (keeper.misses, keeper.by_server) = (0, None);
            }
            if !servers.contains(&keeper.server) {
                keeper.server = first;
            }
            let server = keeper.server;
            self.transmit(socket, server, id);
        }
    }
}

/// The driver's number of the socket with this index.
fn local_index(socket: usize, ipv6: Option<u8>) -> Option<u8> {
    match socket {
        SIX => ipv6,
        pair => u8::try_from(pair).ok(),
    }
}

#[cfg(test)]
mod tests;
