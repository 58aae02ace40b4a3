//! Two connections over two links, in virtual time.

use crate::attack::Attacker;
use crate::link::{Link, Profile};
use p2pcopy::protocol::congestion::bbr::Bbr;
use p2pcopy::protocol::connection::{Config, Connection, Event};
use p2pcopy::protocol::ranges::RangeSet;
use p2pcopy::protocol::seal::Cipher;
use p2pcopy::protocol::time::Time;
use p2pcopy::protocol::{Path, Role};
use std::collections::HashSet;
use std::time::Duration;

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
        assert_eq!(
            bytes[i],
            byte_at(offset + i as u64),
            "wrong byte at {}",
            offset + i as u64
        );
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

/// A sender, a receiver and the links between them.
pub struct Pair {
    pub now: Time,
    pub sender: Connection,
    pub receiver: Connection,
    pub forward: Link<Vec<u8>>,
    pub back: Link<Vec<u8>>,
    pub got: RangeSet,
    pub total: u64,
    offered: u64,
    numbers: [HashSet<[u8; 12]>; 2],
    from: [Path; 2],
    pub events: Vec<(Time, Role, Event)>,
    pub check_nonces: bool,
    /// Whether `said` takes in all that is sent.
    pub record: bool,
    /// Hash of every datagram sent, in order.
    pub said: blake3::Hasher,
    /// Who sends to the sender and to the receiver beside their peer.
    pub attackers: Option<[Attacker; 2]>,
}

pub fn path(port: u16) -> Path {
    Path {
        local: 0,
        remote: std::net::SocketAddr::from(([10, 0, 0, 1], port)),
    }
}

impl Pair {
    pub fn new(forward: Profile, back: Profile, total: u64, seed: u64) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let rtt = forward.delay + back.delay;
        let make = |role: Role| {
            let (a, b) = ([1; 32], [2; 32]);
            let (send_secret, receive_secret) = if role == Role::Sender { (a, b) } else { (b, a) };
            let rtt = (role == Role::Sender).then_some(rtt);
            let config = Config {
                role,
                cipher: Cipher::Aes256Gcm,
                send_secret,
                receive_secret,
                local_id: role as u32,
                remote_id: role.peer() as u32,
                path: path(1),
                handshake_rtt: rtt,
                seed,
                send_blocks: 40,
                limit: None,
            };
            Connection::new(config, Box::new(Bbr::new(now, 1200, rtt, seed)), now)
        };
        let (sender, mut receiver) = (make(Role::Sender), make(Role::Receiver));
        receiver.set_credit(now, 48 << 20);
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
            got: RangeSet::new(),
            total,
            offered: 0,
            numbers: [HashSet::new(), HashSet::new()],
            from: [path(1), path(1)],
            events: Vec::new(),
            check_nonces: true,
            record: false,
            said: blake3::Hasher::new(),
            attackers: None,
        }
    }

    /// The packets of one end come from another address from now on, as after a NAT rebinding.
    pub fn rebind(&mut self, role: Role, port: u16) {
        self.from[role as usize] = path(port);
    }

    fn feed(&mut self) {
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
            let Some(t) = conn.poll_transmit(self.now, &mut buf, 16) else {
                break;
            };
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
                link.send(self.now, datagram.len() as u64, datagram.to_vec());
            }
        }
    }

    fn collect_events(&mut self) {
        for (role, conn) in [
            (Role::Sender, &mut self.sender),
            (Role::Receiver, &mut self.receiver),
        ] {
            while let Some(event) = conn.poll_event() {
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
        let next = [
            self.sender.poll_timeout(now),
            self.receiver.poll_timeout(now),
            self.forward.next_time(),
            self.back.next_time(),
        ];
        let Some(next) = next.into_iter().flatten().min() else {
            return;
        };
        // Real drivers wake a little late; a clock that never stands still also bounds the run.
        self.now = next.max(now + Duration::from_micros(5));
        while let Some(mut arrival) = self.forward.poll(self.now) {
            if arrival.corrupted {
                let i = arrival.tag.len() / 2;
                arrival.tag[i] ^= 0x40;
            }
            if let Some([_, attacker]) = &mut self.attackers {
                attacker.hear(&arrival.tag);
            }
            let content = self
                .receiver
                .handle_datagram(self.now, self.from[0], &mut arrival.tag);
            if let Some(c) = content
                && take(c.offset, &arrival.tag[c.range]) == 0
            {
                self.receiver.set_credit(self.now, 0);
            }
        }
        while let Some(mut arrival) = self.back.poll(self.now) {
            if arrival.corrupted {
                let i = arrival.tag.len() / 2;
                arrival.tag[i] ^= 0x40;
            }
            if let Some([attacker, _]) = &mut self.attackers {
                attacker.hear(&arrival.tag);
            }
            self.sender
                .handle_datagram(self.now, self.from[1], &mut arrival.tag);
        }
        if let Some([at_sender, at_receiver]) = &mut self.attackers {
            at_sender.strike(self.now, &mut self.sender, self.from[1]);
            at_receiver.strike(self.now, &mut self.receiver, self.from[0]);
        }
        self.sender.handle_timeout(self.now);
        self.receiver.handle_timeout(self.now);
        self.collect_events();
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
