//! Tests whether the NAT delivers packets that two hosts behind it send to each other's outside address
//! (hairpinning; RFC 4787, section 6), from two separate sockets that never punch.

use std::net::SocketAddr;
use std::time::Duration;

use super::ATTEMPTS;
use super::message::{self, AnswerFrom, TransactionId};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::trial::{Rounds, Trial};

const REPEAT: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hairpin {
    /// The NAT delivers them.
    Works,
    /// Nothing arrived.
    Fails,
    /// The outside address of the sockets is not known.
    Untested,
}

/// A test with one server, from the sockets 0 and 1.
pub(crate) struct HairpinTest {
    server: SocketAddr,
    ids: [TransactionId; 2],
    mapped: [Option<SocketAddr>; 2],
    /// What each socket sends to the other's outside address. If the NAT filters, the first packet opens it
    /// for the second.
    calls: [Vec<u8>; 2],
    rounds: Rounds<Hairpin>,
}

impl HairpinTest {
    /// Begins with the sockets 0 and 1.
    pub(crate) fn new(server: SocketAddr, seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 stun hairpin");
        let mut id = || u128::from_be_bytes(rng.array()) >> 32;
        let ids = [id(), id()];
        let calls = [id(), id()].map(|id| message::request(id, AnswerFrom::SameAddress));
        let mut test = HairpinTest {
            server,
            ids,
            mapped: [None; 2],
            calls,
            rounds: Rounds::new(REPEAT, ATTEMPTS, now),
        };
        test.handle_timeout(now);
        test
    }
}

impl Trial for HairpinTest {
    type Found = Hairpin;

    fn rounds(&mut self) -> &mut Rounds<Hairpin> {
        &mut self.rounds
    }

    fn ask(&mut self) {
        for (local, other) in [(0, 1), (1, 0)] {
            let (remote, datagram) = match (self.mapped[other], self.mapped[local]) {
                (Some(outside), Some(_)) => (outside, self.calls[local].clone()),
                (_, None) => (
                    self.server,
                    message::request(self.ids[local], AnswerFrom::SameAddress),
                ),
                (None, Some(_)) => continue,
            };
            let local = local as u8;
            self.rounds.outbox.push_back((Path { local, remote }, datagram));
        }
    }

    fn conclude(&self) -> Hairpin {
        if self.mapped.iter().all(Option::is_some) {
            Hairpin::Fails
        } else {
            Hairpin::Untested
        }
    }

    fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]) {
        let own = usize::from(path.local);
        let Some(other) = 1_usize.checked_sub(own) else {
            return;
        };
        if datagram == self.calls[other] {
            self.rounds.result = Some(Hairpin::Works);
            return;
        }
        let answer = message::answer(datagram).filter(|answer| answer.id == self.ids[own]);
        if let Some(mapped) = answer.and_then(|answer| answer.mapped)
            && path.remote == self.server
            && self.mapped[own].is_none()
        {
            self.mapped[own] = Some(mapped);
            if self.mapped[other].is_some() {
                self.rounds.restart(now);
                self.handle_timeout(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:3478";

    /// Plays a server, and delivers the calls from the second on, as filtering NATs do.
    fn run(server_answers: bool, takes_back: bool) -> Hairpin {
        let outside = |local: u8| SocketAddr::from(([203, 0, 113, 7], 5000 + u16::from(local)));
        let mut now = Time::ZERO;
        let mut test = HairpinTest::new(SERVER.parse().unwrap(), &[1; 32], now);
        let mut calls = 0;
        loop {
            while let Some((path, request)) = test.poll_transmit() {
                if path.remote == test.server {
                    let answer = message::respond(&request, outside(path.local)).unwrap();
                    if server_answers {
                        test.handle_datagram(now, path, &answer);
                    }
                    continue;
                }
                assert_eq!(path.remote, outside(1 - path.local));
                calls += 1;
                if takes_back && calls > 1 {
                    let there = Path {
                        local: 1 - path.local,
                        remote: outside(path.local),
                    };
                    test.handle_datagram(now, there, &request);
                }
            }
            match test.poll_timeout() {
                Some(at) => now = at,
                None => return test.result().unwrap(),
            }
            test.handle_timeout(now);
        }
    }

    #[test]
    fn a_nat_that_takes_back_its_own_is_told_from_one_that_does_not() {
        assert_eq!(run(true, true), Hairpin::Works);
        assert_eq!(run(true, false), Hairpin::Fails);
    }

    #[test]
    fn without_a_server_nothing_is_known_of_it() {
        assert_eq!(run(false, true), Hairpin::Untested);
    }

    #[test]
    fn what_others_send_is_no_proof() {
        let mut test = HairpinTest::new(SERVER.parse().unwrap(), &[1; 32], Time::ZERO);
        let (path, request) = test.poll_transmit().unwrap();
        let stranger = Path {
            local: path.local,
            remote: "198.51.100.1:9".parse().unwrap(),
        };
        let answer = message::respond(&request, stranger.remote).unwrap();
        test.handle_datagram(Time::ZERO, stranger, &answer);
        test.handle_datagram(Time::ZERO, path, &request);
        assert_eq!((test.result(), test.mapped), (None, [None; 2]));
    }
}
