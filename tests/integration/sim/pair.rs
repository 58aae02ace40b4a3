//! Two connections over two links, in virtual time.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use p2pcopy::parts::protocol::{
    Bbr, Cipher, Config, Connection, Controller, Ecn, Event, Path, RangeSet, Reach, Role, Time,
};
use p2pcopy::parts::rendezvous::{Schedule, WallClock};

use crate::congestion::cell::params;
use crate::sim::attack::Attacker;
use crate::sim::link::{Link, Profile};
use crate::sim::nat::{Filtering, Nat, Rebinding, SOCKETS, can_meet};

/// IPv4 and UDP headers.
pub const OVERHEAD: u64 = 28;
const BLOCK: u64 = 1 << 20;

/// The content byte at an offset: any misplaced byte shows.
pub fn byte_at(offset: u64) -> u8 {
    (offset ^ (offset >> 8).wrapping_mul(31) ^ (offset >> 17)) as u8
}

/// Offsets whose content is checked byte by byte; checking all would cost more than the protocol.
fn checked(offset: u64, bytes: &[u8]) {
    for i in [0, bytes.len() / 2, bytes.len() - 1] {
        let at = offset + i as u64;
        assert_eq!(bytes[i], byte_at(at), "wrong byte at {at}");
    }
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub finished: Option<Duration>,
    pub sent_packets: u64,
    pub repeated: u64,
    pub sender_loss: u64,
    pub queue: Vec<Duration>,
    pub most_in_flight: u64,
}

/// What travels on a link.
#[derive(Clone)]
pub struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// One end's network, and what its driver does about silence.
pub struct Home {
    role: Role,
    pub nat: Nat,
    /// The pasted addresses of the peer, each for the socket of the same place.
    pasted: [Path; SOCKETS],
    /// Where the peer was heard last, oldest first.
    heard: VecDeque<Path>,
    search: Option<Schedule>,
}

/// Paths on which the peer was heard that an end must keep in mind.
const HEARD: usize = 4;

impl Home {
    fn new(role: Role, nat: Nat, peer: &Nat) -> Self {
        let pasted = std::array::from_fn(|k| Path {
            local: u8::try_from(k).unwrap(),
            remote: peer.address(k),
        });
        let mut home = Home {
            role,
            nat,
            pasted,
            heard: VecDeque::new(),
            search: None,
        };
        // The handshake went this way.
        home.nat.outbound(0, home.pasted[0].remote);
        home
    }

    fn hear(&mut self, path: Path) {
        self.heard.retain(|p| *p != path);
        self.heard.push_back(path);
        if self.heard.len() > HEARD {
            self.heard.pop_front();
        }
    }

    /// Wherever this end sends when it looks for its peer.
    fn knows(&self, current: Path) -> Vec<Path> {
        let pasted = self.pasted.iter().copied();
        pasted
            .chain(self.heard.iter().copied())
            .chain([current])
            .collect()
    }

    fn begin_search(&mut self, now: Time) {
        let clock = WallClock::system(1_795_236_100_000_000_000, Time::ZERO);
        let pairs = self.pasted.map(Some);
        self.search = Some(Schedule::new(self.role, pairs, &[], clock, None, &[1; 32], now));
    }
}

/// A sender, a receiver, their routers and the links between them.
pub struct Pair {
    pub now: Time,
    pub sender: Connection,
    pub receiver: Connection,
    pub forward: Link<Datagram>,
    pub back: Link<Datagram>,
    pub homes: [Home; 2],
    pub got: RangeSet,
    pub total: u64,
    offered: u64,
    /// No content is offered before this.
    pub offer_from: Time,
    numbers: [HashSet<[u8; 12]>; 2],
    pub events: Vec<(Time, Role, Event)>,
    pub check_nonces: bool,
    /// Whether `said` takes in all that is sent.
    pub record: bool,
    /// Hash of every datagram sent, in order.
    pub said: blake3::Hasher,
    /// When a timer of the ends fires, of now and of when it is due; datagrams wake them at any time.
    pub timers: Option<fn(Time, Time) -> Time>,
    /// Who sends to the sender and to the receiver beside their peer.
    pub attackers: Option<[Attacker; 2]>,
}

pub fn path(port: u16) -> Path {
    Path {
        local: 0,
        remote: SocketAddr::from(([10, 9, 9, 9], port)),
    }
}

impl Pair {
    /// Between routers that let everybody in.
    pub fn new(forward: Profile, back: Profile, total: u64, seed: u64) -> Self {
        let rtt = forward.delay + back.delay;
        let bbr =
            |now| -> Box<dyn Controller> { Box::new(Bbr::with_params(now, 1200, Some(rtt), seed, params())) };
        Self::behind(
            [Filtering::EndpointIndependent; 2],
            bbr,
            forward,
            back,
            total,
            seed,
        )
    }

    /// Between routers of these kinds, sender's first.
    pub fn behind(
        filtering: [Filtering; 2],
        controller: impl Fn(Time) -> Box<dyn Controller>,
        forward: Profile,
        back: Profile,
        total: u64,
        seed: u64,
    ) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let rtt = forward.delay + back.delay;
        let nats = [Nat::new(filtering[0], 1), Nat::new(filtering[1], 2)];
        let homes = [
            Home::new(Role::Sender, nats[0].clone(), &nats[1]),
            Home::new(Role::Receiver, nats[1].clone(), &nats[0]),
        ];
        let make = |role: Role| {
            let (a, b) = ([1; 32], [2; 32]);
            let (send_secret, receive_secret) = if role == Role::Sender { (a, b) } else { (b, a) };
            let rtt = (role == Role::Sender).then_some(rtt);
            let config = Config {
                role,
                cipher: Cipher::Aes256Gcm,
                send_secret: send_secret.into(),
                receive_secret: receive_secret.into(),
                local_id: role as u32,
                remote_id: role.peer() as u32,
                path: homes[role as usize].pasted[0],
                handshake_rtt: rtt,
                seed: (*blake3::hash(&seed.to_be_bytes()).as_bytes()).into(),
                send_blocks: 40,
                limit: None,
            };
            Connection::new(config, controller(now), now)
        };
        let (sender, mut receiver) = (make(Role::Sender), make(Role::Receiver));
        receiver.set_flow_limit(now, 48 << 20);
        Pair {
            now,
            sender,
            receiver,
            forward: Link::new(
                Profile {
                    overhead: OVERHEAD,
                    ..forward
                },
                seed,
            ),
            back: Link::new(
                Profile {
                    overhead: OVERHEAD,
                    ..back
                },
                seed ^ 0xabcd,
            ),
            homes,
            got: RangeSet::default(),
            total,
            offered: 0,
            offer_from: now,
            numbers: [HashSet::new(), HashSet::new()],
            events: Vec::new(),
            check_nonces: true,
            record: false,
            said: blake3::Hasher::new(),
            timers: None,
            attackers: None,
        }
    }

    /// One end's router forgets something.
    pub fn rebind(&mut self, role: Role, how: Rebinding) {
        self.homes[role as usize].nat.rebind(how);
    }

    /// Whether the ends could still find each other after one more rebinding.
    pub fn could_meet_after(&self, role: Role, how: Rebinding) -> bool {
        let mut nats = [0, 1].map(|i| self.homes[i].nat.clone());
        nats[role as usize].rebind(how);
        let knows = [
            self.homes[0].knows(self.sender.path()),
            self.homes[1].knows(self.receiver.path()),
        ];
        can_meet([&nats[0], &nats[1]], [&knows[0], &knows[1]])
    }

    fn feed(&mut self) {
        if self.now < self.offer_from {
            return;
        }
        while self.offered < self.total && self.sender.content_room() > 0 {
            let end = (self.offered + BLOCK).min(self.total);
            let mut block = self.sender.reclaim().unwrap_or_default();
            block.clear();
            block.extend((self.offered..end).map(byte_at));
            self.sender.offer(self.offered, block);
            self.offered = end;
        }
        if self.offered == self.total {
            self.sender.finish_content();
        }
        if let Some(at) = self.sender.wanted() {
            let start = at / BLOCK * BLOCK;
            let end = (start + BLOCK).min(self.total);
            self.sender.supply(start, (start..end).map(byte_at).collect());
        }
    }

    fn transmit(&mut self, role: Role) {
        let mut buf = Vec::new();
        loop {
            let (conn, link) = match role {
                Role::Sender => (&mut self.sender, &mut self.forward),
                Role::Receiver => (&mut self.receiver, &mut self.back),
            };
            let home = &mut self.homes[role as usize];
            let probe = home.search.as_mut().and_then(|s| s.poll(self.now));
            let t = match probe {
                Some(send) => Some(conn.poll_path_probe(self.now, send.path, &mut buf)),
                None => conn.poll_transmit(self.now, &mut buf, 16),
            };
            let Some(t) = t else { break };
            let from = home.nat.outbound(t.path.local, t.path.remote);
            let dies_early = probe.is_some_and(|send| send.reach != Reach::Full);
            for datagram in buf.chunks(t.segment) {
                if self.check_nonces {
                    let number: [u8; 12] = datagram[1..13].try_into().unwrap();
                    assert!(
                        self.numbers[role as usize].insert(number),
                        "a packet number was used twice"
                    );
                }
                if self.record {
                    self.said.update(datagram);
                }
                if dies_early {
                    continue;
                }
                let tag = Datagram {
                    from,
                    to: t.path.remote,
                    bytes: datagram.to_vec(),
                };
                link.send(self.now, datagram.len() as u64, t.ecn, tag);
            }
        }
    }

    fn collect_events(&mut self) {
        for (role, conn) in [
            (Role::Sender, &mut self.sender),
            (Role::Receiver, &mut self.receiver),
        ] {
            let home = &mut self.homes[role as usize];
            while let Some(event) = conn.poll_event() {
                match event {
                    Event::Silent => home.begin_search(self.now),
                    Event::Back => home.search = None,
                    _ => {}
                }
                self.events.push((self.now, role, event));
            }
        }
    }

    /// One step of virtual time, with made-up content.
    pub fn step(&mut self) {
        self.feed();
        let mut got = std::mem::take(&mut self.got);
        self.step_with(|offset, bytes| {
            checked(offset, bytes);
            got.insert(offset..offset + bytes.len() as u64);
            u64::MAX
        });
        self.got = got;
    }

    /// One step of virtual time; `take` is given the content that arrives, and tells how many bytes more there is
    /// room for.
    pub fn step_with(&mut self, mut take: impl FnMut(u64, &[u8]) -> u64) {
        self.transmit(Role::Sender);
        self.transmit(Role::Receiver);
        self.collect_events();
        let now = self.now;
        let timers = [self.sender.poll_timeout(now), self.receiver.poll_timeout(now)];
        let [sender, receiver] = timers.map(|due| Some(self.fires(due?)));
        let next = [sender, receiver, self.forward.next_time(), self.back.next_time()];
        let searches = self
            .homes
            .iter()
            .filter_map(|h| h.search.as_ref()?.poll_timeout());
        let Some(next) = next.into_iter().flatten().chain(searches).min() else {
            return;
        };
        // Real drivers wake a little late; a clock that never stands still also bounds the run.
        self.now = next.max(now + Duration::from_micros(5));
        while let Some((path, ecn, mut bytes)) = self.arrive(Role::Receiver) {
            let content = self.receiver.handle_datagram(self.now, path, ecn, &mut bytes);
            if let Some(c) = content
                && take(c.offset, &bytes[c.range]) == 0
            {
                self.receiver.set_flow_limit(self.now, 0);
            }
        }
        while let Some((path, ecn, mut bytes)) = self.arrive(Role::Sender) {
            self.sender.handle_datagram(self.now, path, ecn, &mut bytes);
        }
        let peers = [0, 1].map(|i| Path {
            local: 0,
            remote: self.homes[1 - i].nat.address(0),
        });
        if let Some([at_sender, at_receiver]) = &mut self.attackers {
            at_sender.strike(self.now, &mut self.sender, peers[0]);
            at_receiver.strike(self.now, &mut self.receiver, peers[1]);
        }
        self.sender.handle_timeout(self.now);
        self.receiver.handle_timeout(self.now);
        self.collect_events();
    }

    /// When a timer fires that is due then.
    fn fires(&self, due: Time) -> Time {
        match self.timers {
            Some(fire) if due > self.now => fire(self.now, due),
            _ => due,
        }
    }

    /// The next datagram that an end's router hands on.
    fn arrive(&mut self, role: Role) -> Option<(Path, Ecn, Vec<u8>)> {
        let link = match role {
            Role::Sender => &mut self.back,
            Role::Receiver => &mut self.forward,
        };
        let home = &mut self.homes[role as usize];
        while let Some(arrival) = link.poll(self.now) {
            let Datagram { from, to, mut bytes } = arrival.tag;
            let Some(local) = home.nat.inbound(from, to) else {
                continue;
            };
            if arrival.corrupted {
                let i = bytes.len() / 2;
                bytes[i] ^= 0x40;
            }
            let path = Path { local, remote: from };
            home.hear(path);
            if let Some(attackers) = &mut self.attackers {
                attackers[role as usize].hear(&bytes);
            }
            return Some((path, arrival.ecn, bytes));
        }
        None
    }

    /// One step while at least one end still has something to do.
    pub fn step_if_alive(&mut self) {
        let timers = [
            self.sender.poll_timeout(self.now),
            self.receiver.poll_timeout(self.now),
        ];
        if timers.iter().any(Option::is_some) || self.forward.next_time().or(self.back.next_time()).is_some()
        {
            self.step();
        }
    }

    pub fn is_complete(&self) -> bool {
        self.got.contains(&(0..self.total))
    }

    /// Runs until the content has arrived, or `limit` of virtual time has passed.
    pub fn run(&mut self, limit: Duration) -> Outcome {
        let start = self.now;
        let mut outcome = Outcome::default();
        while self.now < start + limit {
            self.step();
            let stats = self.sender.stats();
            outcome.most_in_flight = outcome.most_in_flight.max(stats.in_flight);
            outcome.queue.push(self.forward.queue_delay(self.now));
            if self.is_complete() {
                outcome.finished = Some(self.now.since(start));
                break;
            }
        }
        let stats = self.sender.stats();
        outcome.sent_packets = stats.sent_packets;
        outcome.repeated = stats.repeated_packets;
        outcome.sender_loss = stats.lost_packets;
        outcome.queue.sort();
        outcome
    }
}
