//! The common part of what asks one question on sockets of its own: each asks a few times and has a result in the
//! end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::Path;
use crate::protocol::time::Time;

/// A question to a server, on sockets that never punch. Drive it as [`crate::protocol`] says.
pub(crate) trait Trial {
    /// The type of the result.
    type Found: Clone;

    /// The state of the trial.
    fn rounds(&mut self) -> &mut Rounds<Self::Found>;
    /// Sends the requests that are not answered yet.
    fn ask(&mut self);
    /// The result, if nothing more comes.
    fn conclude(&self) -> Self::Found;
    /// Takes a datagram from anywhere.
    fn handle_datagram(&mut self, now: Time, path: Path, datagram: &[u8]);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Time) {
        let rounds = self.rounds();
        if rounds.result.is_some() || now < rounds.next {
            return;
        }
        if rounds.asked == rounds.attempts {
            let found = self.conclude();
            self.rounds().result = Some(found);
            return;
        }
        rounds.asked += 1;
        rounds.next = now + rounds.repeat;
        self.ask();
    }

    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.rounds().outbox.pop_front()
    }

    /// When to call [`Trial::handle_timeout`] next; `None` when there is a result.
    fn poll_timeout(&mut self) -> Option<Time> {
        let rounds = self.rounds();
        rounds.result.is_none().then_some(rounds.next)
    }

    fn result(&mut self) -> Option<Self::Found> {
        self.rounds().result.clone()
    }
}

/// The state of a trial.
pub(crate) struct Rounds<T> {
    repeat: Duration,
    attempts: u32,
    asked: u32,
    next: Time,
    pub(super) result: Option<T>,
    pub(super) outbox: VecDeque<(Path, Vec<u8>)>,
}

impl<T> Rounds<T> {
    /// The first of `attempts` rounds begins now. Each further one begins `repeat` after the one before.
    pub(super) const fn new(repeat: Duration, attempts: u32, now: Time) -> Self {
        Rounds {
            repeat,
            attempts,
            asked: 0,
            next: now,
            result: None,
            outbox: VecDeque::new(),
        }
    }

    /// Begins again, now.
    pub(super) const fn restart(&mut self, now: Time) {
        (self.asked, self.next) = (0, now);
    }
}
