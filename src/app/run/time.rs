//! Decides when to ask for the time again: after this machine slept, after its clock was set, and when the
//! last answers are old.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::lookup::ask_ntp;
use crate::net;
use crate::protocol::time::Time;
use crate::rendezvous::clock::WallClock;

/// The most that the two clocks may drift apart between answers. The run's clock stops while the machine
/// sleeps, the system's clock does not, and somebody may set the system's clock. The slots allow for no more
/// than this.
const MOST_APART: Duration = Duration::from_millis(500);
/// How long answers are valid. At 100 ppm a clock drifts by 30 ms in this time.
const FRESH: Duration = Duration::from_secs(300);
/// How often both clocks are compared.
const LOOK: Duration = Duration::from_secs(1);

/// The two clocks of this machine at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    system_unix_nanos: u64,
    run: Time,
}

impl Moment {
    fn now(clock: net::Clock) -> Moment {
        Moment {
            system_unix_nanos: net::unix_nanos(),
            run: clock.now(),
        }
    }

    /// Whether one of the two clocks has jumped since.
    fn has_jumped(self, now: Moment) -> bool {
        let system = i128::from(now.system_unix_nanos) - i128::from(self.system_unix_nanos);
        let run = now.run.as_nanos().abs_diff(self.run.as_nanos());
        system.abs_diff(i128::from(run)) > MOST_APART.as_nanos()
    }

    fn is_old(self, now: Moment) -> bool {
        now.run.since(self.run) > FRESH
    }
}

/// The time as the servers last told it, and the servers to ask again.
#[derive(Clone, Debug)]
pub(super) struct TimeKeeper {
    /// Empty if the time came from a meeting server. Then it is not asked for again, but only corrected after
    /// a jump.
    servers: Vec<String>,
    own: net::Clock,
    asked: Moment,
    clock: WallClock,
}

impl TimeKeeper {
    /// Keeps `clock`, which must be new.
    pub(super) fn new(servers: Vec<String>, own: net::Clock, clock: WallClock) -> Self {
        TimeKeeper {
            servers,
            own,
            asked: Moment::now(own),
            clock,
        }
    }

    /// The time as it is known, without asking.
    pub(super) const fn clock(&self) -> WallClock {
        self.clock
    }

    /// The time for something that begins now. Asks the servers if what is known is no longer valid.
    pub(super) async fn now(&mut self) -> WallClock {
        let now = Moment::now(self.own);
        if self.asked.has_jumped(now) || self.asked.is_old(now) {
            self.ask().await;
        }
        self.clock
    }

    async fn ask(&mut self) {
        let samples = ask_ntp(&self.servers).await;
        self.asked = Moment::now(self.own);
        let Moment {
            system_unix_nanos,
            run,
        } = self.asked;
        self.clock = self.clock.renewed(&samples, system_unix_nanos, run);
    }

    /// Compares both clocks from now on and sends the new time after each jump, until the receiver is
    /// dropped.
    pub(super) fn watch(mut self) -> UnboundedReceiver<WallClock> {
        let (tell, told) = unbounded_channel();
        tokio::spawn(async move {
            while !tell.is_closed() {
                tokio::time::sleep(LOOK).await;
                if self.asked.has_jumped(Moment::now(self.own)) {
                    self.ask().await;
                    // The receiver may be gone.
                    let _ = tell.send(self.clock);
                }
            }
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(system_millis: u64, run_millis: u64) -> Moment {
        Moment {
            system_unix_nanos: system_millis * 1_000_000,
            run: Time::ZERO + Duration::from_millis(run_millis),
        }
    }

    #[test]
    fn a_sleep_and_a_clock_that_was_set_show_and_time_that_passes_does_not() {
        let asked = at(1_000_000, 5_000);
        assert!(!asked.has_jumped(at(1_000_000 + 3_600_000, 5_000 + 3_600_000)));
        assert!(!asked.has_jumped(at(1_000_000 + 60_400, 5_000 + 60_000)));
        assert!(
            asked.has_jumped(at(1_000_000 + 90_000, 5_000 + 1_000)),
            "it slept"
        );
        assert!(
            asked.has_jumped(at(1_000_000 - 300_000, 5_000 + 1_000)),
            "set back"
        );
    }

    #[test]
    fn answers_grow_old() {
        let asked = at(0, 0);
        assert!(!asked.is_old(at(299_000, 299_000)));
        assert!(asked.is_old(at(301_000, 301_000)));
    }

    #[tokio::test]
    async fn a_time_that_no_longer_holds_is_asked_for_before_it_is_used() {
        let own = net::Clock::start();
        let clock = WallClock::system(1, own.now());
        let mut keeper = TimeKeeper::new(Vec::new(), own, clock);
        assert_eq!(keeper.now().await, clock);
        keeper.asked.system_unix_nanos -= 10_000_000_000;
        let renewed = keeper.now().await;
        assert_ne!(renewed, clock);
        assert_eq!(keeper.now().await, renewed);
    }
}
