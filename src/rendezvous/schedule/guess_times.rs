//! One side's NAT assigns another outside port to each flow (symmetric), and the other's NAT only admits
//! ports to which it has sent. The first side cannot tell its port and the second cannot hear it, so ports
//! are guessed.
//!
//! The symmetric side opens many ports towards two of the other's, with packets that die between the two
//! NATs. The other side sends probes of full TTL from those two ports to ports of the pasted address. A probe
//! that hits an open port arrives, and the answer returns through the hole that the probe made. No clock is
//! needed, because open ports are kept open.
//!
//! If a packet of the symmetric side reached the other NAT first, it would bind its flow there (see the
//! parent). Then all later probes from that socket would leave from another port. So no slot uses the far
//! pair, and the near one is opened with packets that cannot reach the other NAT. The far pair is spoilt if
//! few routers lie between. The near pair does not work if the symmetric NAT is not the first router.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{HOLD_INTERVAL, HOLD_TTL, LOW, hold_ttl};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::address::Guessing;

/// The number of the first additional socket of a symmetric side. Lower numbers are the run's own.
const FIRST_SOCKET: u8 = 8;
/// The number of additional sockets. If 200 of 64,512 ports are open, 966 probes hit one with a probability
/// of 95%, and 1,483 probes with 99%. More sockets would need more than the 256 descriptors that macOS allows
/// a program, and would fill the tables of small routers.
pub(crate) const SOCKETS: u8 = 200;
/// The time between two packets, those of slots included: at most 100 a second may go to one address.
const INTERVAL: Duration = Duration::from_micros(11_500);
/// The most packets that a late machine sends at once to make up for the delay.
const CATCH_UP: u32 = 4;
/// Paths without a NAT have answered by then, and no guess is needed.
const HEAD_START: Duration = Duration::from_millis(500);
/// The probes in one row, which takes 24 s. A row hits in 998 of 1,000 cases. So after a row without a hit,
/// the peer is probably not there yet.
const TRIES: u32 = 2048;
/// Longer than an unreplied entry lives in Linux (30 s): by then the NAT has forgotten what had spoilt the socket.
const REST: Duration = Duration::from_secs(31);
/// With a known rule few probes are enough. Then all later rows and rests are shorter by this factor, so a late peer
/// is found soon.
const SHORTER: u32 = 8;
/// After this long without success, the user is told the chances.
pub(crate) const CHANCES_TOLD_AFTER: Duration = Duration::from_secs(30);

/// One side's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// Opens ports of its NAT towards these addresses.
    Open {
        /// With packets that only pass the first router.
        near: SocketAddr,
        /// With packets that go farther and farther.
        far: SocketAddr,
    },
    /// Tries ports of the peer's NAT.
    Try {
        /// The sockets to send from, chosen at random.
        locals: [u8; 2],
        /// The address to send to.
        remote: IpAddr,
        /// What is known about its ports.
        rule: Guessing,
    },
}

/// The timing of one side's guesses.
pub(super) struct Guess {
    pub(super) task: Task,
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

    /// Another packet leaves in place of a guess.
    pub(super) fn make_room(&mut self) {
        self.next += INTERVAL;
    }

    /// The next packet. `ttl` replaces all low TTLs.
    pub(super) fn poll(&mut self, now: Time, ttl: Option<u8>, rng: &mut SeedRng) -> Option<(Path, Reach)> {
        if now < self.next {
            return None;
        }
        let due = self.next.max(now - INTERVAL * CATCH_UP);
        let n = self.count;
        self.count = n.wrapping_add(1);
        match self.task {
            Task::Open { near, far } => {
                let (turn, place) = (n / u32::from(SOCKETS), n % u32::from(SOCKETS));
                let (reach, wait) = opener(turn);
                self.next = due + wait;
                let local = FIRST_SOCKET + u8::try_from(place).unwrap_or(0);
                let remote = if matches!(reach, Reach::Routers(_)) {
                    near
                } else {
                    far
                };
                let of_user = ttl.map(Reach::Low).filter(|_| reach != Reach::Low(HOLD_TTL));
                Some((Path { local, remote }, of_user.unwrap_or(reach)))
            }
            Task::Try { locals, remote, rule } => {
                let is_ruled = matches!(rule, Guessing::Steps { .. } | Guessing::Between { .. });
                let share = if is_ruled && self.count >= TRIES {
                    SHORTER
                } else {
                    1
                };
                let rests = self.count.is_multiple_of(TRIES / share);
                self.next = due + if rests { REST / share } else { INTERVAL };
                let random = rng.next_u64();
                let local = locals[usize::from(random.leading_zeros() == 0)];
                let remote = SocketAddr::new(remote, rule.port(n, random));
                Some((Path { local, remote }, Reach::Full))
            }
        }
    }

    pub(super) const fn poll_timeout(&self) -> Time {
        self.next
    }

    /// The number of ports opened or probes sent.
    pub(super) fn count(&self) -> u32 {
        match self.task {
            Task::Open { .. } => self.count.min(SOCKETS.into()),
            Task::Try { .. } => self.count,
        }
    }
}

/// How far the packets of one turn over all sockets travel, and the time between two. The near pair has the
/// first turn. For the far pair the TTL grows, as before a slot, because the NAT may be some routers away.
/// Afterwards each port of both pairs is renewed in time.
fn opener(turn: u32) -> (Reach, Duration) {
    let Some(turn) = (turn as usize).checked_sub(1) else {
        return (Reach::Routers(1), INTERVAL);
    };
    if let Some(&(_, ttl)) = LOW.get(turn * 2) {
        return (Reach::Low(ttl), INTERVAL);
    }
    let renewal = turn - LOW.len() / 2;
    let reach = if renewal.is_multiple_of(2) {
        Reach::Routers(1)
    } else {
        Reach::Low(hold_ttl(renewal / 2))
    };
    (reach, HOLD_INTERVAL / (2 * u32::from(SOCKETS)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The packets that are sent in this many seconds.
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
        let (near, far) = (at("203.0.113.7:4302"), at("203.0.113.7:4303"));
        let mut flows: HashMap<Path, Vec<(Time, Reach)>> = HashMap::new();
        for (now, path, reach) in sent(Task::Open { near, far }, 120) {
            flows.entry(path).or_default().push((now, reach));
        }
        assert_eq!(flows.len(), 2 * usize::from(SOCKETS));
        for (path, times) in flows {
            let reaches: Vec<Reach> = times.iter().map(|(_, reach)| *reach).collect();
            if path.remote == near {
                assert!(reaches.iter().all(|reach| *reach == Reach::Routers(1)));
            } else {
                assert_eq!(reaches[..9], [2, 3, 4, 5, 1, 1, 1, 5, 1].map(Reach::Low));
            }
            // Half the lifetime of an unreplied entry in Linux.
            let renewed = |two: &[(Time, Reach)]| two[1].0.since(two[0].0) <= Duration::from_secs(15);
            assert!(times.windows(2).all(renewed), "{times:?}");
        }
    }

    fn tries(rule: Guessing) -> Vec<(Time, Path, Reach)> {
        let remote = at("203.0.113.7:0").ip();
        let locals = [2, 3];
        let sent = sent(Task::Try { locals, remote, rule }, 600);
        assert!(
            sent.iter()
                .all(|(_, path, reach)| path.remote.ip() == remote && *reach == Reach::Full)
        );
        let near = sent.iter().filter(|(_, path, _)| path.local == 2).count();
        assert!(near.abs_diff(sent.len() / 2) < sent.len() / 20, "{near}");
        // Less than forty a second on average.
        assert!(sent.len() < 600 * 40, "{}", sent.len());
        sent
    }

    fn rests(sent: &[(Time, Path, Reach)], length: Duration) -> usize {
        sent.windows(2)
            .filter(|two| two[1].0.since(two[0].0) == length)
            .count()
    }

    #[test]
    fn tries_go_to_one_address_in_rows_of_24_seconds() {
        assert_eq!(rests(&tries(Guessing::Anywhere), REST), 10);
    }

    #[test]
    fn where_a_rule_is_known_later_rows_are_short() {
        let sent = tries(Guessing::Steps { last: 5000, step: 2 });
        assert_eq!(rests(&sent, REST), 0);
        assert!(rests(&sent, REST / SHORTER) > 70);
    }
}
