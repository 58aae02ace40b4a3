//! Two whole runs against each other in virtual time: sessions with their disk threads and real files, joined by a
//! network that can go dark, move one end elsewhere, or lose an end for good.

use std::net::SocketAddr;
use std::time::Duration;

use p2pcopy::parts::app::{Failure, Party};
use p2pcopy::parts::net::Machine;
use p2pcopy::parts::protocol::{Ecn, Path, Reach, Role, Time};
use p2pcopy::parts::transfer::Conflicts;

use crate::evil::victim::{Answer, Setup, Victim, address};

/// One way.
const DELAY: Duration = Duration::from_millis(20);
/// Bytes a second each way, and how long the queue before that may be.
const RATE: u64 = 4_000_000;
const QUEUE: Duration = Duration::from_millis(100);
/// What is sent, bytes.
const LEN: usize = 20_000_003;
/// Code of a close by Ctrl-C.
const CANCELLED: u16 = 1;
/// After this a run that must end has not: longer than any search for a lost peer.
const ENDS_WITHIN: Duration = Duration::from_secs(700);

const SENDER: usize = 0;
const RECEIVER: usize = 1;

struct Datagram {
    at: Time,
    to: usize,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// Two ends and what lies between them.
struct World {
    now: Time,
    ends: [Option<Victim>; 2],
    /// Where each end is seen to be.
    outside: [SocketAddr; 2],
    /// When the way from each end is free again.
    free: [Time; 2],
    air: Vec<Datagram>,
    dark: bool,
    place: tempfile::TempDir,
}

impl World {
    fn new(answer: Answer) -> World {
        let place = tempfile::tempdir().unwrap();
        let now = Time::ZERO + Duration::from_secs(1);
        let outside = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 1000)));
        let setup = |role| Setup {
            role,
            answer,
            conflicts: Conflicts::default(),
            out: place.path().join("out"),
            src: place.path().join("src"),
            pipe: None,
            bare: false,
            verify: false,
            words: Answer::Yes,
            strangers: None,
        };
        setup(Role::Sender).sends(LEN);
        std::fs::create_dir(place.path().join("out")).unwrap();
        let addresses = [
            address(Role::Sender, outside[SENDER], false),
            address(Role::Receiver, outside[RECEIVER], false),
        ];
        let end = |role, own: usize| Victim::new(setup(role), &addresses[own], &addresses[1 - own], now);
        World {
            now,
            ends: [
                Some(end(Role::Sender, SENDER)),
                Some(end(Role::Receiver, RECEIVER)),
            ],
            outside,
            free: [now; 2],
            air: Vec::new(),
            dark: false,
            place,
        }
    }

    fn end(&self, which: usize) -> &Victim {
        self.ends[which].as_ref().expect("it has not left")
    }

    /// The end goes without a word, as a machine does that loses its power.
    fn dies(&mut self, which: usize) {
        self.ends[which].take().expect("it has not left").end();
    }

    fn is_over(&self, which: usize) -> bool {
        self.ends[which].as_ref().is_none_or(|end| end.session.is_over())
    }

    /// Lets time pass until `is_so` holds, but not longer than the limit. Returns whether it holds.
    fn until(&mut self, longest: Duration, is_so: impl Fn(&World) -> bool) -> bool {
        let last = self.now + longest;
        while !is_so(self) {
            if self.now >= last || (self.is_over(SENDER) && self.is_over(RECEIVER)) {
                return false;
            }
            self.turn();
        }
        true
    }

    fn turn(&mut self) {
        let mut next = self.air.iter().map(|datagram| datagram.at).min();
        for which in [SENDER, RECEIVER] {
            self.collect(which);
            let Some(end) = &mut self.ends[which] else {
                continue;
            };
            if end.session.is_over() {
                continue;
            }
            if end.session.is_working() {
                end.wait_for_disk();
                end.session.handle_timeout(self.now);
                end.attend();
                return;
            }
            let due = end.session.poll_timeout(self.now);
            next = [next, due].into_iter().flatten().min();
        }
        let least = self.now + Duration::from_micros(5);
        self.now = next.unwrap_or(least + DELAY).max(least);
        let arrived = |datagram: &mut Datagram| datagram.at <= self.now;
        for mut datagram in self.air.extract_if(.., arrived) {
            let Some(end) = &mut self.ends[datagram.to] else {
                continue;
            };
            let path = Path {
                local: 0,
                remote: datagram.from,
            };
            end.session
                .handle_datagram(self.now, path, Ecn::NotEct, &mut datagram.bytes);
        }
        for end in self.ends.iter_mut().flatten() {
            end.session.handle_timeout(self.now);
            end.attend();
        }
    }

    /// Takes what an end has to send, and carries it to the end at that address.
    fn collect(&mut self, which: usize) {
        let Some(end) = &mut self.ends[which] else { return };
        let mut buf = Vec::new();
        while let Some(transmit) = end.session.poll_transmit(self.now, &mut buf, 16) {
            let to = 1 - which;
            if self.dark || transmit.reach != Reach::Full || transmit.path.remote != self.outside[to] {
                continue;
            }
            for bytes in buf.chunks(transmit.segment) {
                let begins = self.free[which].max(self.now);
                if begins.since(self.now) > QUEUE {
                    continue;
                }
                self.free[which] = begins + Duration::from_secs(bytes.len() as u64) / RATE as u32;
                self.air.push(Datagram {
                    at: self.free[which] + DELAY,
                    to,
                    from: self.outside[which],
                    bytes: bytes.to_vec(),
                });
            }
        }
    }

    /// Both must come to a good end, and the file with them.
    fn completes(&mut self) {
        let both = |world: &World| world.is_over(SENDER) && world.is_over(RECEIVER);
        self.until(ENDS_WITHIN, both);
        for which in [SENDER, RECEIVER] {
            let (verdict, told) = self.ends[which].take().expect("it has not left").end();
            assert!(
                matches!(verdict, Some(Ok(_))),
                "{which}: {verdict:?}, told {told:?}"
            );
        }
        let arrived = std::fs::read(self.place.path().join("out/a")).unwrap();
        assert!(arrived == std::fs::read(self.place.path().join("src/a")).unwrap());
    }

    /// The end that is left must end by itself. Gives how.
    fn left_behind(&mut self, which: usize) -> Failure {
        let began = self.now;
        self.until(ENDS_WITHIN, |world| world.is_over(which));
        let took = self.now.since(began);
        let (verdict, told) = self.ends[which].take().expect("it has not left").end();
        match verdict {
            Some(Err(failure)) => failure,
            other => panic!("after {took:?}: {other:?}, told {told:?}"),
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Met,
    Offered,
    Moving,
    AlmostDone,
}

const STAGES: [Stage; 4] = [Stage::Met, Stage::Offered, Stage::Moving, Stage::AlmostDone];

impl Stage {
    /// A world that has come so far.
    fn reached(self) -> World {
        let answer = if self == Stage::Offered {
            Answer::Thinks
        } else {
            Answer::Yes
        };
        let mut world = World::new(answer);
        let there = world.until(Duration::from_secs(120), |world| match self {
            Stage::Met => world.end(SENDER).met && world.end(RECEIVER).met,
            Stage::Offered => world.end(RECEIVER).offered,
            Stage::Moving => world.end(RECEIVER).done > LEN as u64 / 4,
            Stage::AlmostDone => world.end(RECEIVER).done > LEN as u64 * 9 / 10,
        });
        assert!(there, "{self:?} is not reached");
        world
    }
}

#[test]
fn two_runs_meet_and_a_file_arrives() {
    World::new(Answer::Yes).completes();
}

#[test]
fn a_network_that_goes_dark_for_a_minute_costs_a_minute() {
    for stage in [Stage::Met, Stage::Moving, Stage::AlmostDone] {
        let mut world = stage.reached();
        world.dark = true;
        world.until(Duration::from_secs(60), |_| false);
        world.dark = false;
        let light = world.now;
        world.completes();
        let after = world.now.since(light);
        assert!(
            after < Duration::from_secs(30),
            "{stage:?}: {after:?} after the light"
        );
    }
}

#[test]
fn an_end_that_moves_elsewhere_is_found_again() {
    for stage in [Stage::Met, Stage::Moving, Stage::AlmostDone] {
        for which in [SENDER, RECEIVER] {
            let mut world = stage.reached();
            world.outside[which] = SocketAddr::from(([10, 0, 0, 77], 7777));
            world.completes();
        }
    }
}

#[test]
fn whoever_is_left_by_a_dead_peer_gives_up_in_time_and_says_so() {
    for stage in STAGES {
        for left in [SENDER, RECEIVER] {
            let mut world = stage.reached();
            let began = world.now;
            world.dies(1 - left);
            let failure = world.left_behind(left);
            let took = world.now.since(began);
            assert!(
                failure.to_string().contains("nothing heard"),
                "{stage:?}, {left}: {failure:?}"
            );
            assert!(took < Duration::from_secs(200), "{stage:?}, {left}: {took:?}");
        }
    }
}

#[test]
fn whoever_is_left_by_a_peer_that_is_stopped_knows_it_at_once() {
    for stage in STAGES {
        for left in [SENDER, RECEIVER] {
            let mut world = stage.reached();
            let began = world.now;
            world.end(1 - left).close(CANCELLED);
            let failure = world.left_behind(left);
            let took = world.now.since(began);
            assert_eq!(failure, Failure::Cancelled(Party::Peer), "{stage:?}, {left}");
            assert!(took < Duration::from_secs(1), "{stage:?}, {left}: {took:?}");
        }
    }
}
