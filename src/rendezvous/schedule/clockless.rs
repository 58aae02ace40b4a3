//! Slots need two clocks that agree. Where one side has no other than its system's, both do without.
//!
//! Each side keeps half of the pairs open, with packets that die between the two NATs, and fires at the other half as soon
//! as it begins. Whoever begins second finds a pair that the first has kept open, however much later it is. What the
//! first had fired can only have spoilt pairs at which the second waits; that passes (see the parent), and both fire again now and
//! then, in case the first packets were lost.

use std::time::Duration;

use super::{HOLD_INTERVAL, LOW, Stream, WINDOW, hold_ttl};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Role};
use crate::rendezvous::address::PAIRS;

/// From one firing at a pair to the next: longer than two lives of an unreplied entry (30 s in Linux), so that the pair is
/// clean most of the time.
const EVERY: Duration = Duration::from_secs(80);

/// A pair that is kept open.
struct Opening {
    path: Path,
    next: Time,
    turn: usize,
}

/// The timing of one side.
pub(super) struct Clockless {
    opens: Vec<Opening>,
    fires: Vec<Path>,
    next_fire: Time,
    fired: usize,
    stream: Option<Stream>,
}

/// What is sent now.
pub(super) struct Sent {
    pub(super) path: Path,
    pub(super) reach: Reach,
    /// Whether it is the first of a firing.
    pub(super) begins: bool,
}

impl Clockless {
    /// The sender fires at the even pairs, the receiver at the odd ones.
    pub(super) fn new(role: Role, pairs: &[Option<Path>; PAIRS], now: Time) -> Self {
        let own = match role {
            Role::Sender => 0,
            Role::Receiver => 1,
        };
        let half = |parity: usize| pairs.iter().skip(parity).step_by(2).flatten().copied();
        let opens = half(1 - own).map(|path| Opening {
            path,
            next: now,
            turn: 0,
        });
        Clockless {
            opens: opens.collect(),
            fires: half(own).collect(),
            next_fire: now,
            fired: 0,
            stream: None,
        }
    }

    pub(super) fn poll(&mut self, now: Time, ttl: Option<u8>, rng: &mut SeedRng) -> Option<Sent> {
        if let Some(opening) = self.opens.iter_mut().find(|opening| opening.next <= now) {
            let (low, wait) = lifetime(opening.turn);
            opening.turn += 1;
            opening.next = now + wait;
            return Some(Sent {
                path: opening.path,
                reach: Reach::Low(ttl.unwrap_or(low)),
                begins: false,
            });
        }
        let mut begins = false;
        if now >= self.next_fire
            && let Some(&path) = self.fires.get(self.fired % self.fires.len().max(1))
        {
            begins = true;
            self.fired += 1;
            self.next_fire = now + EVERY / u32::try_from(self.fires.len()).unwrap_or(1);
            self.stream = Some(Stream::through_pair(path, now, now + WINDOW));
        }
        let path = self.stream.as_mut()?.poll(now, rng)?;
        Some(Sent {
            path,
            reach: Reach::Full,
            begins,
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let opens = self.opens.iter().map(|opening| opening.next);
        let fires = (!self.fires.is_empty()).then_some(self.next_fire);
        let stream = self.stream.as_ref().and_then(Stream::poll_timeout);
        opens.chain(fires).chain(stream).min()
    }
}

/// The lifetime of one packet that opens a pair, and the time to the next: first as before a slot, then to keep it open.
fn lifetime(turn: usize) -> (u8, Duration) {
    let next = LOW.get(turn + 1);
    match LOW.get(turn) {
        Some(&(before, ttl)) => (ttl, next.map_or(HOLD_INTERVAL, |(next, _)| before - *next)),
        None => (hold_ttl(turn - LOW.len()), HOLD_INTERVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_fires_where_the_other_waits_and_no_pair_is_fired_at_more_often_than_it_recovers() {
        let path = |k: u8| Path {
            local: k,
            remote: ([203, 0, 113, 7], 4300 + u16::from(k)).into(),
        };
        let pairs = [0, 1, 2, 3].map(|k| Some(path(k)));
        let mut rng = SeedRng::new(&[1; 32], "test clockless");
        for (role, fires) in [(Role::Sender, 0), (Role::Receiver, 1)] {
            let mut clockless = Clockless::new(role, &pairs, Time::ZERO);
            let mut last = [None; PAIRS];
            while let Some(now) = clockless
                .poll_timeout()
                .filter(|at| *at < Time::ZERO + EVERY * 10)
            {
                let Some(sent) = clockless.poll(now, None, &mut rng) else {
                    continue;
                };
                let pair = usize::from(sent.path.local);
                assert_eq!(pair % 2 == fires, sent.reach == Reach::Full, "{role:?} {pair}");
                let rest = if sent.reach == Reach::Full {
                    EVERY - WINDOW
                } else {
                    HOLD_INTERVAL
                };
                let before = last[pair].replace(now);
                let since = now.since(before.unwrap_or(now));
                assert!(
                    since <= Duration::from_millis(1000) || since >= rest,
                    "{role:?} {pair} {since:?}"
                );
            }
            assert!(last.iter().all(Option::is_some));
        }
    }
}
