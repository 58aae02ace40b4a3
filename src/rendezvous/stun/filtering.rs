//! Tests how the NAT filters (RFC 5780, section 4.4), from a separate socket that never punches.

use std::net::SocketAddr;
use std::time::Duration;

use super::ATTEMPTS;
use super::message::{self, AnswerFrom, TransactionId};
use crate::protocol::Path;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::rendezvous::address::Filtering;
use crate::rendezvous::trial::{Rounds, Trial};

const REPEAT: Duration = Duration::from_millis(500);

const ASKED: [AnswerFrom; 3] = [
    AnswerFrom::SameAddress,
    AnswerFrom::OtherAddressAndPort,
    AnswerFrom::OtherPort,
];

/// A test with one server, which must be able to answer from a second address.
pub(crate) struct FilteringTest {
    path: Path,
    ids: [TransactionId; 3],
    heard: [bool; 3],
    other: Option<SocketAddr>,
    rounds: Rounds<Filtering>,
}

impl FilteringTest {
    /// Begins with the separate socket and the server of `path`.
    pub(crate) fn new(path: Path, seed: &[u8; 32], now: Time) -> Self {
        let mut rng = SeedRng::new(seed, "p2pcopy 1 stun filtering");
        let ids = [(); 3].map(|()| u128::from_be_bytes(rng.array()) >> 32);
        let mut test = FilteringTest {
            path,
            ids,
            heard: [false; 3],
            other: None,
            rounds: Rounds::new(REPEAT, ATTEMPTS, now),
        };
        test.handle_timeout(now);
        test
    }
}

impl Trial for FilteringTest {
    type Found = Filtering;

    fn rounds(&mut self) -> &mut Rounds<Filtering> {
        &mut self.rounds
    }

    fn ask(&mut self) {
        for (i, from) in ASKED.into_iter().enumerate() {
            if !self.heard[i] {
                let request = message::request(self.ids[i], from);
                self.rounds.outbox.push_back((self.path, request));
            }
        }
    }

    /// The result; [`Filtering::Untested`] if the server cannot show it.
    fn conclude(&self) -> Filtering {
        let second_address = self.other.is_some_and(|o| o.ip() != self.path.remote.ip());
        match self.heard {
            [true, _, true] => Filtering::Address,
            [true, _, false] if second_address => Filtering::AddressAndPort,
            _ => Filtering::Untested,
        }
    }

    fn handle_datagram(&mut self, _now: Time, path: Path, datagram: &[u8]) {
        let answer = message::answer(datagram).filter(|_| path.local == self.path.local);
        let Some(answer) = answer else { return };
        let (server, from) = (self.path.remote, path.remote);
        let Some(i) = self.ids.iter().position(|&id| id == answer.id) else {
            return;
        };
        // Many servers ignore the request and answer from their usual address. That shows nothing.
        self.heard[i] |= match ASKED[i] {
            AnswerFrom::SameAddress => {
                self.other = self.other.or(answer.other);
                from == server
            }
            AnswerFrom::OtherPort => from.ip() == server.ip() && from.port() != server.port(),
            AnswerFrom::OtherAddressAndPort => from.ip() != server.ip(),
        };
        if self.heard[1] {
            self.rounds.result = Some(Filtering::Independent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::stun::tests::telling;

    /// Plays an RFC 5780 server. Only those answers arrive that `filtering` admits.
    fn run(filtering: Filtering, obeys: bool) -> Filtering {
        let addresses = ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3479"].map(|a| a.parse().unwrap());
        let mapped = "203.0.113.7:4300".parse().unwrap();
        let mut now = Time::ZERO;
        let mut test = FilteringTest::new(
            Path {
                local: 9,
                remote: addresses[0],
            },
            &[1; 32],
            now,
        );
        loop {
            while let Some((path, request)) = test.poll_transmit() {
                let wish = match request.get(27) {
                    Some(2) if obeys => 1,
                    Some(6) if obeys => 2,
                    _ => 0,
                };
                let passes = match filtering {
                    Filtering::Independent => true,
                    Filtering::Address => wish < 2,
                    _ => wish < 1,
                };
                if passes {
                    let mut answer = message::respond(&request, mapped).unwrap();
                    if obeys {
                        answer = telling(answer, addresses[2]);
                    }
                    let remote = addresses[wish];
                    test.handle_datagram(now, Path { remote, ..path }, &answer);
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
    fn each_kind_of_filter_is_recognised() {
        for filtering in [
            Filtering::Independent,
            Filtering::Address,
            Filtering::AddressAndPort,
        ] {
            assert_eq!(run(filtering, true), filtering);
        }
    }

    #[test]
    fn a_server_that_ignores_the_wish_proves_nothing() {
        assert_eq!(run(Filtering::Independent, false), Filtering::Untested);
    }
}
