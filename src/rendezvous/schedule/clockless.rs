//! Slots need two clocks that agree, and a wait. Two of the pairs are also tried without slots. If one side
//! has only its system's clock, there are no slots, and all pairs are tried this way.
//!
//! Each side keeps half of the pairs open, with packets that die between the two NATs, and fires at the other
//! half as soon as it begins. The second side to begin finds pairs that the first has kept open, even much
//! later. The first side's fire can only have spoilt pairs at which the second side waits, and that passes
//! (see the parent). Both fire again from time to time, because packets may have been lost.
//!
//! If a side keeps two pairs open, it opens one of them with packets that only pass the first router. So this
//! pair is not spoilt if few routers lie between. The packets of the other pair go farther and farther,
//! because the NAT may not be the first router.

use std::time::Duration;

use super::{HOLD_INTERVAL, HOLD_TTL, LOW, Stream, WINDOW, hold_ttl};
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach, Role};
use crate::rendezvous::address::PAIRS;

/// The time between two firings at a pair. It is longer than two lifetimes of an unreplied entry (30 s in
/// Linux), so that the pair is clean most of the time. It is not a multiple of 40 s, the interval of the
/// packets that keep a farther NAT open.
const EVERY: Duration = Duration::from_secs(70);
/// A side that holds the only pair open sends nothing for this time before it opens it anew: longer than an unreplied
/// entry lives (30 s in Linux). If the first side's fire had spoilt its NAT, the NAT has forgotten that by then.
const LONE_REST: Duration = Duration::from_secs(31);
/// The packets with which it opens that pair: those before a slot, and one that keeps it open. So the pair is
/// open until it is opened anew, longer than a clean one waits for the next fire ([`EVERY`] less the two
/// lifetimes of an entry and of the fire, 36 s).
const LONE_TURNS: usize = LOW.len() + 2;
/// The time between the first two packets that only pass the first router.
const AFTER_FIRST: Duration = Duration::from_millis(100);
/// The number of pairs that are tried beside slots: one for each side to fire at.
pub(super) const BESIDE_SLOTS: usize = 2;
/// The delay before that begins, so that it can still be left out if a server names an earlier moment.
const SOON: Duration = Duration::from_millis(20);

/// A pair that is kept open.
struct Opening {
    path: Path,
    /// Whether it is opened with packets that only pass the first router.
    near: bool,
    /// Whether there is no other pair.
    lone: bool,
    next: Time,
    turn: usize,
}

/// A pair that is fired at.
struct Firing {
    path: Path,
    next: Option<Time>,
    /// The time from the first firing to the second; later it is [`EVERY`]. `None` if slots follow.
    first_rest: Option<Duration>,
    stream: Option<Stream>,
}

/// The timing of one side.
pub(super) struct Clockless {
    opens: Vec<Opening>,
    fires: Vec<Firing>,
    /// When the last firing began.
    began: Option<Time>,
}

/// A packet to send now.
pub(super) struct Sent {
    pub(super) path: Path,
    pub(super) reach: Reach,
    /// Whether it is the first packet of a firing.
    pub(super) begins: bool,
}

impl Clockless {
    /// Uses the first two pairs, and fires once, because slots use these pairs as well.
    pub(super) fn beside_slots(role: Role, pairs: &[Option<Path>; PAIRS], now: Time) -> Self {
        let mut first = [None; PAIRS];
        first[..BESIDE_SLOTS].copy_from_slice(&pairs[..BESIDE_SLOTS]);
        let role = match pairs.iter().flatten().count() {
            // There is only one pair, and both sides fire at it. If neither NAT can be spoilt, the second
            // side meets an open pair.
            1 => Role::Sender,
            _ => role,
        };
        let mut clockless = Clockless::alone(role, &first, now + SOON);
        clockless.opens.iter_mut().for_each(|opening| opening.near = true);
        clockless
            .fires
            .iter_mut()
            .for_each(|firing| firing.first_rest = None);
        clockless
    }

    /// The sender fires at the even pairs, the receiver at the odd ones.
    pub(super) fn alone(role: Role, pairs: &[Option<Path>; PAIRS], now: Time) -> Self {
        let own = match role {
            Role::Sender => 0,
            Role::Receiver => 1,
        };
        let half = |parity: usize| -> Vec<Path> {
            let half = pairs.iter().skip(parity).step_by(2);
            half.flatten().copied().collect()
        };
        let (opens, fires) = (half(1 - own), half(own));
        let opening = |(k, path)| Opening {
            path,
            near: k == 0 && opens.len() > 1,
            lone: opens.len() == 1 && fires.is_empty(),
            next: now,
            turn: 0,
        };
        // All fire at once in the beginning, and then in turn.
        let firing = |(path, left)| Firing {
            path,
            next: Some(now),
            first_rest: Some(EVERY * left / u32::try_from(fires.len()).unwrap_or(1)),
            stream: None,
        };
        Clockless {
            opens: opens.iter().copied().enumerate().map(opening).collect(),
            fires: fires.iter().rev().copied().zip(1..).map(firing).collect(),
            began: None,
        }
    }

    pub(super) fn poll(&mut self, now: Time, ttl: Option<u8>, rng: &mut SeedRng) -> Option<Sent> {
        if let Some(opening) = self.opens.iter_mut().find(|opening| opening.next <= now) {
            let (reach, mut wait) = opener(opening.near, opening.turn);
            opening.turn += 1;
            if opening.lone && opening.turn == LONE_TURNS {
                (opening.turn, wait) = (0, LONE_REST);
            }
            opening.next = now + wait;
            return Some(Sent {
                path: opening.path,
                reach: ttl
                    .filter(|_| reach != Reach::Low(HOLD_TTL))
                    .map_or(reach, Reach::Low),
                begins: false,
            });
        }
        for firing in &mut self.fires {
            let mut begins = false;
            if firing.next.is_some_and(|next| now >= next) {
                // Firings that begin together are one attempt.
                begins = self.began.replace(now) != Some(now);
                firing.stream = Some(Stream::through_pair(firing.path, now, now + WINDOW));
                firing.next = firing.first_rest.map(|rest| now + rest);
                firing.first_rest = firing.first_rest.map(|_| EVERY);
            }
            if let Some(path) = firing.stream.as_mut().and_then(|stream| stream.poll(now, rng)) {
                return Some(Sent {
                    path,
                    reach: Reach::Full,
                    begins,
                });
            }
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let opens = self.opens.iter().map(|opening| opening.next);
        let fires = self.fires.iter().flat_map(|firing| {
            let stream = firing.stream.as_ref().and_then(Stream::poll_timeout);
            stream.into_iter().chain(firing.next)
        });
        opens.chain(fires).min()
    }
}

/// How far a packet that opens a pair travels, and the time to the next: first as before a slot, then to keep
/// the pair open.
fn opener(near: bool, turn: usize) -> (Reach, Duration) {
    let Some(turn) = turn.checked_sub(1) else {
        // If a router drops the first packet, the next must follow soon: the peer's fire may be on its way.
        let wait = if near { AFTER_FIRST } else { Duration::ZERO };
        return (Reach::Routers(1), wait);
    };
    if near {
        // Where IP options are dropped, the other kind keeps the pair open, once something has opened it.
        let reaches = [Reach::Routers(1), Reach::Low(HOLD_TTL)];
        return (reaches[turn % 2], HOLD_INTERVAL);
    }
    let next = LOW.get(turn + 1);
    match LOW.get(turn) {
        Some(&(before, ttl)) => {
            let wait = next.map_or(HOLD_INTERVAL, |(next, _)| before - *next);
            (Reach::Low(ttl), wait)
        }
        None => (Reach::Low(hold_ttl(turn - LOW.len())), HOLD_INTERVAL),
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
            let mut clockless = Clockless::alone(role, &pairs, Time::ZERO);
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
                // The first rest of one pair is half as long as that of the others.
                let rest = if sent.reach == Reach::Full {
                    EVERY / 2 - WINDOW
                } else {
                    HOLD_INTERVAL
                };
                let is_near = matches!(sent.reach, Reach::Full | Reach::Routers(1) | Reach::Low(HOLD_TTL));
                assert!(is_near || pair > 1, "{pair} {:?}", sent.reach);
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
