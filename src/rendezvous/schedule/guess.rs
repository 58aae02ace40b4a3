//! One side's NAT gives each flow another outside port (symmetric), the other's lets in only ports that it has sent to.
//! The first cannot say its port and the second cannot hear it, so ports are guessed.
//!
//! The symmetric side opens many ports toward one of the other's, with packets that die between the two NATs. The other
//! sends probes of full lifetime from that one port to ports of the pasted address. One that hits an open port gets in, and the
//! answer comes back through the hole that the probe made. None of it needs a clock: what is open is kept open.
//!
//! Nothing else uses that pair. A packet of the symmetric side that reached the other NAT first would bind its flow there (see
//! the parent), and all later probes would leave from another port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{HOLD_INTERVAL, HOLD_TTL, LOW, hold_ttl};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::address::Guessing;

/// The first of the sockets that a symmetric side opens; those before it are the run's own.
pub(crate) const FIRST_SOCKET: u8 = 8;
/// How many it opens. Of 64,512 ports one of 200 is hit by 966 probes in 95 of 100 cases, by 1,483 in 99. More would
/// need more than the 256 descriptors that macOS allows a program, and fill the tables of small routers.
pub(crate) const SOCKETS: u8 = 200;
/// Time between two packets. Not more than 100 a second go to one address; the slots take up to 20 of them.
const INTERVAL: Duration = Duration::from_micros(12_500);
/// A busy machine is late. It makes up for so many packets, and no more.
const CATCH_UP: u32 = 4;
/// Paths without a NAT have answered by then, and nothing need be guessed.
const HEAD_START: Duration = Duration::from_millis(500);
/// Probes in a row, 26 s. They hit in 998 of 1,000 cases, so whoever has hit nothing waits for a peer who is not there.
const TRIES: u32 = 2048;
const REST: Duration = Duration::from_secs(30);
/// After so long in vain the chances are told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What one side does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Opens ports of its NAT toward this address.
    Open(SocketAddr),
    /// Tries ports.
    Try {
        /// From this socket.
        local: u8,
        /// Of this address.
        remote: IpAddr,
        /// What is known of them.
        rule: Guessing,
    },
}

/// The timing of one side's guesses.
pub(super) struct Guess {
    task: Task,
    next: Time,
    count: u32,
}

impl Guess {
    pub(super) fn new(task: Task, now: Time) -> Self {
        Guess {
            task,
            next: now + HEAD_START,
            count: 0,
        }
    }

    /// The next packet. `ttl` takes the place of all low lifetimes.
    pub(super) fn poll(&mut self, now: Time, ttl: Option<u8>, rng: &mut SeedRng) -> Option<(Path, Reach)> {
        if now < self.next {
            return None;
        }
        let due = self.next.max(now - INTERVAL * CATCH_UP);
        let n = self.count;
        self.count = n.wrapping_add(1);
        match self.task {
            Task::Open(remote) => {
                let (turn, place) = (n / u32::from(SOCKETS), n % u32::from(SOCKETS));
                let (lifetime, wait) = lifetime(turn);
                self.next = due + wait;
                let local = FIRST_SOCKET + u8::try_from(place).unwrap_or(0);
                let lifetime = ttl.filter(|_| lifetime != HOLD_TTL).unwrap_or(lifetime);
                Some((Path { local, remote }, Reach::Low(lifetime)))
            }
            Task::Try { local, remote, rule } => {
                let rests = self.count.is_multiple_of(TRIES);
                self.next = due + if rests { REST } else { INTERVAL };
                let remote = SocketAddr::new(remote, rule.port(n, rng.next_u64()));
                Some((Path { local, remote }, Reach::Full))
            }
        }
    }

    pub(super) const fn poll_timeout(&self) -> Time {
        self.next
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.count > 0
    }

    pub(super) const fn task(&self) -> Task {
        self.task
    }

    /// Ports opened, or probes sent.
    pub(super) fn count(&self) -> u32 {
        match self.task {
            Task::Open(_) => self.count.min(SOCKETS.into()),
            Task::Try { .. } => self.count,
        }
    }
}

/// The lifetime of the packets of one turn over all sockets, and the time between two. The lifetimes grow, as before a slot: the
/// NAT may be some routers away. Afterwards each port is renewed in time.
fn lifetime(turn: u32) -> (u8, Duration) {
    let turn = turn as usize;
    match LOW.get(turn * 2) {
        Some(&(_, ttl)) => (ttl, INTERVAL),
        None => (hold_ttl(turn - LOW.len() / 2), HOLD_INTERVAL / u32::from(SOCKETS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What is sent in so many seconds.
    fn sent(task: Task, seconds: u64) -> Vec<(Time, Path, Reach)> {
        let mut rng = SeedRng::new(&[1; 32], "test guess");
        let mut guess = Guess::new(task, Time::ZERO);
        let mut sent = Vec::new();
        while guess.poll_timeout() < Time::ZERO + Duration::from_secs(seconds) {
            let now = guess.poll_timeout();
            let (path, reach) = guess.poll(now, None, &mut rng).unwrap();
            sent.push((now, path, reach));
        }
        sent
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_port_is_opened_with_each_lifetime_and_then_kept_open() {
        let sent = sent(Task::Open(at("203.0.113.7:4303")), 120);
        let mut by_socket: BTreeMap<u8, Vec<(Time, u8)>> = BTreeMap::new();
        for (now, path, reach) in sent {
            let Reach::Low(ttl) = reach else {
                panic!("{reach:?}")
            };
            by_socket.entry(path.local).or_default().push((now, ttl));
        }
        assert_eq!(by_socket.len(), usize::from(SOCKETS));
        for times in by_socket.values() {
            let ttls: Vec<u8> = times.iter().map(|(_, ttl)| *ttl).collect();
            assert_eq!(ttls[..9], [2, 3, 4, 5, 1, 1, 1, 5, 1]);
            assert!(
                times
                    .windows(2)
                    .all(|two| two[1].0.since(two[0].0) < Duration::from_secs(15))
            );
        }
    }

    #[test]
    fn tries_go_to_one_address_in_rounds_of_26_seconds() {
        let task = Task::Try {
            local: 3,
            remote: at("203.0.113.7:0").ip(),
            rule: Guessing::Anywhere,
        };
        let sent = sent(task, 600);
        assert!(sent.iter().all(|(_, path, reach)| {
            path.local == 3 && path.remote.ip() == at("203.0.113.7:0").ip() && *reach == Reach::Full
        }));
        let pauses = sent
            .windows(2)
            .filter(|two| two[1].0.since(two[0].0) == REST)
            .count();
        assert_eq!(pauses, 10);
        assert!(sent.len() <= 11 * TRIES as usize);
    }
}
