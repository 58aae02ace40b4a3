//! Keeps the stream open that this side has opened: when it breaks and is still needed, it is opened again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::time::Time;

/// After this long without an answer to what was sent, the user of the stream sends a question.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// After this long without an answer, the stream counts as broken: a router has forgotten it, or a cable is
/// out.
const DEAD: Duration = Duration::from_secs(3);
/// The time limit of an attempt. TCP repeats a lost SYN after 1 s and 3 s (RFC 6298, section 2).
pub(super) const CONNECT: Duration = Duration::from_secs(4);
/// The pause between the second attempt and the third. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What happened to the stream that this side opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StreamNews {
    /// Something was sent, and nothing has come for a second. The user of the stream should ask a question:
    /// an answer shows that the stream works.
    Quiet,
    /// The stream broke. It is opened again once there is something to send.
    Broken,
    /// A new stream is connected. Its local port is one that the other side does not know.
    Open,
    /// A datagram came through the new stream.
    Back,
}

#[derive(Debug)]
enum State {
    /// `asked`: when the first datagram was sent since the last one came.
    Open {
        asked: Option<Time>,
        told_quiet: bool,
    },
    Closed {
        not_before: Time,
        wanted: bool,
    },
    Connecting,
}

/// Decides when to open the stream again.
#[derive(Debug)]
pub(super) struct Dial {
    remote: SocketAddr,
    state: State,
    pause: Duration,
    told_broken: bool,
    news: VecDeque<StreamNews>,
}

impl Dial {
    const OPEN: State = State::Open {
        asked: None,
        told_quiet: false,
    };

    /// Begins with a stream that is connected.
    pub(super) const fn new(remote: SocketAddr) -> Self {
        Dial {
            remote,
            state: Self::OPEN,
            pause: Duration::ZERO,
            told_broken: false,
            news: VecDeque::new(),
        }
    }

    /// The one to `remote`, if there is one.
    pub(super) fn to(dial: &mut Option<Dial>, remote: SocketAddr) -> Option<&mut Dial> {
        dial.as_mut().filter(|dial| dial.remote == remote)
    }

    pub(super) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Records that something must be sent.
    pub(super) fn on_send(&mut self, now: Time) {
        match &mut self.state {
            State::Open { asked, .. } => {
                asked.get_or_insert(now);
            }
            State::Closed { wanted, .. } => *wanted = true,
            State::Connecting => {}
        }
    }

    /// A datagram came.
    pub(super) fn on_heard(&mut self) {
        self.state = Self::OPEN;
        self.pause = Duration::ZERO;
        if std::mem::take(&mut self.told_broken) {
            self.news.push_back(StreamNews::Back);
        }
    }

    /// The stream is closed.
    pub(super) fn on_lost(&mut self, now: Time) {
        self.wait(now, false);
        if !std::mem::replace(&mut self.told_broken, true) {
            self.news.push_back(StreamNews::Broken);
        }
    }

    pub(super) fn on_attempt(&mut self, now: Time, connected: bool) {
        if connected {
            self.state = Self::OPEN;
            self.news.push_back(StreamNews::Open);
        } else {
            self.wait(now, true);
        }
    }

    fn wait(&mut self, now: Time, wanted: bool) {
        self.state = State::Closed {
            not_before: now + self.pause,
            wanted,
        };
        self.pause = (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// Whether an attempt is due. If so, the caller must make it.
    pub(super) fn try_begin(&mut self, now: Time) -> bool {
        let begins = matches!(self.state, State::Closed { not_before, wanted: true } if now >= not_before);
        if begins {
            self.state = State::Connecting;
        }
        begins
    }

    /// Reports the stream as quiet after [`QUIET`]. Returns whether to close it, because it has been silent
    /// for [`DEAD`].
    pub(super) fn check_silence(&mut self, now: Time) -> bool {
        let State::Open {
            asked: Some(asked),
            told_quiet,
        } = &mut self.state
        else {
            return false;
        };
        let silence = now.since(*asked);
        if silence >= QUIET && !std::mem::replace(told_quiet, true) {
            self.news.push_back(StreamNews::Quiet);
        }
        silence >= DEAD
    }

    pub(super) fn poll_news(&mut self) -> Option<StreamNews> {
        self.news.pop_front()
    }

    /// When there will be something to do.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        match self.state {
            _ if !self.news.is_empty() => Some(now),
            State::Open {
                asked: Some(asked),
                told_quiet,
            } => Some(asked + if told_quiet { DEAD } else { QUIET }),
            State::Closed {
                not_before,
                wanted: true,
            } => Some(not_before),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn dial() -> Dial {
        Dial::new(SocketAddr::from(([192, 0, 2, 1], 443)))
    }

    fn news(dial: &mut Dial) -> Vec<StreamNews> {
        std::iter::from_fn(|| dial.poll_news()).collect()
    }

    #[test]
    fn a_stream_through_which_no_answer_comes_is_asked_once_and_then_dead() {
        let mut dial = dial();
        assert!(!dial.check_silence(at(100_000)), "nothing was asked");
        dial.on_send(at(100_000));
        dial.on_send(at(100_900));
        assert_eq!(dial.poll_timeout(at(100_900)), Some(at(101_000)));
        assert!(!dial.check_silence(at(101_000)) && !dial.check_silence(at(102_999)));
        assert_eq!(news(&mut dial), [StreamNews::Quiet]);
        assert_eq!(dial.poll_timeout(at(102_000)), Some(at(103_000)));
        assert!(dial.check_silence(at(103_000)));
    }

    #[test]
    fn an_answer_shows_that_it_works() {
        let mut dial = dial();
        for second in 0..100 {
            dial.on_send(at(1000 * second));
            assert!(!dial.check_silence(at(1000 * second + 999)));
            dial.on_heard();
        }
        assert_eq!(news(&mut dial), []);
        assert_eq!(dial.poll_timeout(at(100_000)), None);
    }

    #[test]
    fn a_broken_one_is_opened_again_only_if_it_is_needed() {
        let mut dial = dial();
        dial.on_lost(at(0));
        assert_eq!(news(&mut dial), [StreamNews::Broken]);
        assert!(!dial.try_begin(at(10_000)));
        dial.on_send(at(10_000));
        assert!(dial.try_begin(at(10_000)), "and then at once");
        assert!(!dial.try_begin(at(10_000)), "one attempt at a time");
    }

    #[test]
    fn attempts_are_ever_further_apart_and_told_once_whatever_becomes_of_them() {
        let mut dial = dial();
        dial.on_lost(at(0));
        dial.on_send(at(0));
        let mut begun = Vec::new();
        for millis in (0..30_000).step_by(50) {
            if dial.try_begin(at(millis)) {
                begun.push(millis);
                // Every other attempt is accepted and closed at once, as by a middlebox that is not the
                // server.
                let connected = begun.len() % 2 == 0;
                dial.on_attempt(at(millis), connected);
                if connected {
                    dial.on_lost(at(millis));
                    dial.on_send(at(millis));
                }
            }
        }
        let pauses: Vec<u64> = begun.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(&pauses[..6], [250, 500, 1000, 2000, 4000, 4000]);
        let broken = news(&mut dial).into_iter().filter(|&n| n == StreamNews::Broken);
        assert_eq!(broken.count(), 1);
        dial.on_heard();
        assert_eq!(news(&mut dial), [StreamNews::Back]);
        dial.on_lost(at(40_000));
        dial.on_send(at(40_000));
        assert!(
            dial.try_begin(at(40_000)),
            "after one that worked it begins at once"
        );
    }
}
