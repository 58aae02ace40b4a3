//! Two users, their NATs and the internet between them, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::paths::is_private;
use super::super::*;
use super::nat::{Nat, NatKind};
use super::scene::Scene;
use crate::protocol::handshake::StaticKeypair;
use crate::protocol::handshake::{SixWords, Words};
use crate::rendezvous::address::{Address, Guessing, Timekeeping, Token};
use crate::rendezvous::errand::Errand;

const UNIX: u64 = 1_795_236_100_000_000_000;

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) at: Time,
    pub(super) path: Path,
    pub(super) keys: SessionKeys,
    pub(super) kind: PathKind,
    pub(super) rtt: Option<Duration>,
}

impl Outcome {
    /// The six words of bare mode.
    pub(super) fn six_words(&self) -> Option<SixWords> {
        match self.keys.comparison.as_ref()?.words {
            Words::Known(six) => Some(six),
            _ => None,
        }
    }
}

enum State {
    Waiting,
    Punching(Box<Punch>),
    Connected(Box<LateResponder>),
    Failed,
}

struct Side {
    nat: Nat,
    ip: IpAddr,
    /// What STUN servers saw, if it depends on the server.
    seen: Vec<SocketAddr>,
    /// When packets went to the other's outside address, until something came from there.
    sent: Vec<Time>,
    state: State,
    outcome: Option<Outcome>,
    report: Option<Report>,
    hints: Vec<Hint>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Time,
    order: u64,
    to: SocketAddr,
    from: SocketAddr,
    /// How many routers it can still pass.
    hops: u8,
    payload: Vec<u8>,
}

pub(super) struct World {
    scene: Scene,
    sides: [Side; 2],
    flying: BinaryHeap<Reverse<Flying>>,
    rng: SeedRng,
    order: u64,
    now: Time,
    pub(super) delivered: Vec<(usize, Path, Vec<u8>)>,
}

pub(super) const BASE_PORT: u16 = 4300;

pub(super) fn millis(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

impl World {
    pub(super) fn new(scene: Scene) -> Self {
        let side = |i: u8| {
            let lan = if scene.same_lan { 1 } else { i };
            let ip: IpAddr = match scene.nats[usize::from(i)] {
                NatKind::Public { .. } => [203, 0, 113, 10 + i].into(),
                _ => [192, 168, lan, 10 + i].into(),
            };
            let nat_ip = if scene.nats[usize::from(i)].is_public() {
                ip
            } else {
                [203, 0, 113, lan].into()
            };
            let mut nat = Nat::new(scene.nats[usize::from(i)], nat_ip, scene.seed * 2 + u64::from(i));
            let seen = match nat.kind {
                NatKind::Symmetric(_) => nat.seen(BASE_PORT),
                _ => Vec::new(),
            };
            Side {
                nat,
                ip,
                seen,
                sent: Vec::new(),
                state: State::Waiting,
                outcome: None,
                report: None,
                hints: Vec::new(),
            }
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&scene.seed.to_be_bytes());
        World {
            sides: [side(0), side(1)],
            flying: BinaryHeap::new(),
            rng: SeedRng::new(&seed, "test world"),
            order: 0,
            now: Time::ZERO,
            scene,
            delivered: Vec::new(),
        }
    }

    fn keypair(i: usize) -> StaticKeypair {
        StaticKeypair::from_seed(&[u8::try_from(i).unwrap() + 1; 32])
    }

    fn role(i: usize) -> Role {
        if i == 0 { Role::Sender } else { Role::Receiver }
    }

    pub(super) fn address(&self, i: usize) -> Address {
        let side = &self.sides[i];
        let port = |k: u16| {
            let seen = side.seen.get(usize::from(2 * k)).map(SocketAddr::port);
            seen.unwrap_or(side.nat.stun_port(BASE_PORT + k))
        };
        Address {
            reflexive: SocketAddr::new(side.nat.ip, port(0)),
            token: Some(Token {
                errand: [Errand::Send, Errand::Receive][Self::role(i) as usize],
                key: *Self::keypair(i).public(),
                nat: side.nat.class(),
                spare_ports: [1, 2, 3].map(|k| if self.scene.one_port { 0 } else { port(k) }),
                candidates: vec![SocketAddr::new(side.ip, BASE_PORT)],
                guessing: if self.scene.guess[i] {
                    Guessing::from_seen(&side.seen)
                } else {
                    Guessing::Refused
                },
                clock: if self.scene.untold[i] {
                    Timekeeping::Untold
                } else {
                    Timekeeping::Told
                },
            }),
        }
    }

    pub(super) fn config(&mut self, i: usize) -> PunchConfig {
        let mut peer = self.address(1 - i);
        if self.scene.bare[i] {
            peer.token = None;
        }
        let unix = i128::from(UNIX) + i128::from(self.scene.skew[i]) * 1_000_000;
        PunchConfig {
            role: Self::role(i),
            own: self.address(i),
            peer,
            keypair: Self::keypair(i),
            hardware_aes: true,
            verify: false,
            clock: WallClock::system(u64::try_from(unix).unwrap(), Time::ZERO),
            low_ttl: self.scene.low_ttl,
            timeout: self.scene.timeout,
            ipv6: None,
            around: Default::default(),
            seed: self.rng.seed(),
        }
    }

    fn send(&mut self, i: usize, datagram: Datagram) {
        let Datagram { path, reach, payload } = datagram;
        assert!(payload.len() <= packet::MAX);
        let port = BASE_PORT + u16::from(path.local);
        let peer_lan = SocketAddr::new(self.sides[1 - i].ip, path.remote.port());
        let delay = if self.scene.same_lan && path.remote == peer_lan {
            let from = SocketAddr::new(self.sides[i].ip, port);
            return self.fly(Duration::from_micros(200), path.remote, from, 64, payload);
        } else {
            Duration::from_millis(self.scene.delay_millis)
        };
        if is_private(path.remote.ip()) {
            return;
        }
        let own = u8::from(!self.sides[i].nat.kind.is_public());
        // A side that has heard the peer floods nobody.
        if self.delivered.iter().all(|(to, ..)| *to != i) {
            self.sides[i].sent.push(self.now);
        }
        let first_hop = matches!(reach, Reach::Routers(_));
        if first_hop && self.scene.drops_ip_options || reach == Reach::Low(1) && own > 0 {
            return self.sides[i].nat.refresh(self.now, port, path.remote);
        }
        let outside = self.sides[i].nat.outbound(self.now, port, path.remote);
        // Each router decrements the TTL, and one must be left. A packet with the IP option dies one device
        // later, and the addressee counts, too.
        let ttl = match reach {
            Reach::Full => 64,
            Reach::Low(ttl) | Reach::Routers(ttl) => ttl,
        };
        let hops = ttl.checked_sub(own + self.scene.routers + 1);
        let hairpin = self.scene.same_lan && path.remote.ip() == self.sides[i].nat.ip;
        if hops.is_none() || hairpin || self.rng.next_u64() % 100 < self.scene.loss_percent {
            return;
        }
        let from = SocketAddr::new(self.sides[i].nat.ip, outside);
        let delay = self.rng.jittered(delay) + Duration::from_micros(50);
        self.fly(delay, path.remote, from, hops.unwrap_or(0), payload);
    }

    fn fly(&mut self, delay: Duration, to: SocketAddr, from: SocketAddr, hops: u8, payload: Vec<u8>) {
        self.order += 1;
        self.flying.push(Reverse(Flying {
            at: self.now + delay,
            order: self.order,
            to,
            from,
            hops,
            payload,
        }));
    }

    fn arrive(&mut self, packet: Flying) {
        for i in 0..2 {
            let side = &mut self.sides[i];
            let port = if packet.to.ip() == side.nat.ip {
                side.nat.inbound(self.now, packet.to.port(), packet.from)
            } else if packet.to.ip() == side.ip {
                Some(packet.to.port())
            } else {
                continue;
            };
            let Some(local) = port.and_then(|p| p.checked_sub(BASE_PORT)).filter(|&k| k < 256) else {
                continue;
            };
            let path = Path {
                local: u8::try_from(local).unwrap(),
                remote: packet.from,
            };
            if packet.to.ip() != side.ip && packet.hops == 0 {
                return;
            }
            self.delivered.push((i, path, packet.payload.clone()));
            match &mut side.state {
                State::Punching(punch) => {
                    let mut payload = packet.payload;
                    punch.handle_datagram(self.now, path, &mut payload);
                    self.drain(i);
                }
                State::Connected(responder) => {
                    if let Some(payload) = responder.handle_datagram(self.now, path, &packet.payload) {
                        self.send(
                            i,
                            Datagram {
                                path,
                                reach: Reach::Full,
                                payload,
                            },
                        );
                    }
                }
                State::Waiting | State::Failed => {}
            }
            return;
        }
    }

    fn drain(&mut self, i: usize) {
        let now = self.now;
        let State::Punching(punch) = &mut self.sides[i].state else {
            return;
        };
        let transmits: Vec<Datagram> = std::iter::from_fn(|| punch.poll_transmit()).collect();
        let events: Vec<PunchEvent> = std::iter::from_fn(|| punch.poll_event()).collect();
        for transmit in transmits {
            self.send(i, transmit);
        }
        let side = &mut self.sides[i];
        for event in events {
            match event {
                PunchEvent::Connected { path, keys, rtt } => {
                    let State::Punching(punch) = std::mem::replace(&mut side.state, State::Failed) else {
                        return;
                    };
                    let (responder, search, _) = punch.into_parts();
                    side.outcome = Some(Outcome {
                        at: now,
                        path,
                        keys: *keys,
                        kind: search.kind(path),
                        rtt,
                    });
                    side.state = State::Connected(Box::new(responder));
                }
                PunchEvent::Failed(report) => {
                    side.report = Some(*report);
                    side.state = State::Failed;
                }
                PunchEvent::Hint(hint) => side.hints.push(hint),
                PunchEvent::Schedule(_) | PunchEvent::Reflexive(_) => {}
            }
        }
    }

    fn paste_again(&mut self, i: usize) {
        let punch = Punch::new(self.config(i), self.now).unwrap();
        let state = &mut self.sides[i].state;
        let State::Punching(earlier) = std::mem::replace(state, State::Waiting) else {
            panic!("nobody is asked for an address any more");
        };
        *state = State::Punching(Box::new(punch.resume(Some(*earlier))));
        self.scene.again[i] = false;
    }

    /// Whether everybody who was to paste again has done so.
    pub(super) fn all_pasted_again(&self) -> bool {
        self.scene.again == [false, false]
    }

    /// The part of a connected side that answers late handshake messages.
    pub(super) fn responder(&mut self, i: usize) -> &mut LateResponder {
        match &mut self.sides[i].state {
            State::Connected(responder) => responder,
            _ => panic!("side {i} is not connected"),
        }
    }

    /// Runs until both sides have connected or failed.
    pub(super) fn run(&mut self) {
        loop {
            let mut next = self.flying.peek().map_or(Time::FAR_FUTURE, |Reverse(f)| f.at);
            for i in 0..2 {
                next = next.min(match &self.sides[i].state {
                    State::Waiting => millis(self.scene.paste[i]),
                    State::Punching(punch) => punch.poll_timeout().unwrap_or(Time::FAR_FUTURE),
                    State::Connected(_) | State::Failed => Time::FAR_FUTURE,
                });
            }
            let done = |s: &Side| matches!(s.state, State::Connected(_) | State::Failed);
            if self.sides.iter().all(done) || next == Time::FAR_FUTURE {
                return;
            }
            self.now = next;
            while self.flying.peek().is_some_and(|Reverse(f)| f.at <= self.now) {
                let Some(Reverse(packet)) = self.flying.pop() else {
                    break;
                };
                self.arrive(packet);
            }
            for i in 0..2 {
                let states = [&self.sides[i].state, &self.sides[1 - i].state];
                if self.scene.again[i] && matches!(states, [State::Punching(_), State::Connected(_)]) {
                    self.paste_again(i);
                }
                match &mut self.sides[i].state {
                    State::Waiting if self.now >= millis(self.scene.paste[i]) => {
                        let config = self.config(i);
                        self.sides[i].state =
                            State::Punching(Box::new(Punch::new(config, self.now).unwrap()));
                    }
                    State::Punching(punch) => punch.handle_timeout(self.now),
                    _ => continue,
                }
                self.drain(i);
            }
        }
    }

    /// Both outcomes, if both sides connected. Checks that they match.
    pub(super) fn connected(&self) -> Option<[&Outcome; 2]> {
        let [Some(s), Some(r)] = [&self.sides[0].outcome, &self.sides[1].outcome] else {
            return None;
        };
        assert_eq!((s.keys.send, s.keys.receive), (r.keys.receive, r.keys.send));
        assert_eq!(
            (s.keys.local_cid, s.keys.remote_cid),
            (r.keys.remote_cid, r.keys.local_cid)
        );
        assert_eq!(s.six_words(), r.six_words());
        Some([s, r])
    }

    pub(super) fn report(&self, i: usize) -> &Report {
        self.sides[i].report.as_ref().expect("this side failed")
    }

    /// The most packets in a second from one side to the other's outside address, before it heard the other.
    pub(super) fn busiest_second(&self, i: usize) -> usize {
        let sent = &self.sides[i].sent;
        let second = |at: &Time| {
            sent.iter()
                .filter(|t| **t >= *at && **t < *at + Duration::from_secs(1))
                .count()
        };
        sent.iter().map(second).max().unwrap_or(0)
    }

    pub(super) fn hints(&self, i: usize) -> &[Hint] {
        &self.sides[i].hints
    }
}
