//! The paths to the peer (RFC 9000, sections 8.2, 9 and 21): on which ones the peer has proven that it
//! receives, which one is in use, and how many bytes may go to the others.
//!
//! The handshake proves no path. Message 1 goes to many addresses and is the same for all, and every copy
//! gets the same answer. So somebody who reads one of them can answer it from a forged address. Therefore
//! each path must answer a challenge, including the first one. Before that it gets at most three times the
//! bytes that came from it.
//!
//! A token is a keyed hash of the path and of the time. So an answer is recognised even if the path was
//! forgotten, and nobody can keep the peer out by filling the table of paths.

use std::collections::VecDeque;
use std::time::Duration;

use zeroize::Zeroizing;

use super::timers::SILENCE;
use crate::protocol::mac::of_path;
use crate::protocol::time::Time;
use crate::protocol::wire::{BASE_MTU, HEADER_LEN, PacketNumber, TAG_LEN, frame};
use crate::protocol::{Path, Role};

/// The most bytes sent to an unproven path, for each byte received from it (RFC 9000, section 8.1).
const AMPLIFICATION: u64 = 3;
/// Bytes that the handshake received at least on the first path: the shortest message that yields keys.
const HANDSHAKE_BYTES: u64 = 65;
/// The most paths remembered: a NAT that rebinds adds one new path, and a search of four port pairs and IPv6
/// adds five.
const MAX_PATHS: usize = 6;
/// A path that is not in use is forgotten after this long without a packet from it.
const MEMORY: Duration = Duration::from_secs(60);
/// The most answers that wait, and the least time between two. An authenticated peer may send challenges from
/// forged addresses, and each answer is as large as the challenge.
const MAX_ANSWERS: usize = 8;
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);
/// The smallest datagram with a path frame.
const SMALL: u16 = (HEADER_LEN + 9 + TAG_LEN) as u16;
/// Bounds of the first pause between challenges on a path: between them it is the probe timeout. Each further
/// pause is twice as long, up to [`LAST_WAIT`].
const FIRST_WAIT: (Duration, Duration) = (Duration::from_millis(30), Duration::from_secs(1));
/// The first pause on the first path. Both ends can send almost nothing there before the answer, so a lost
/// challenge must cost little.
const BEGIN_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(1);
/// The time between challenges on every known path while the peer is silent, even if too few bytes came from
/// it to allow one. A NAT admits the peer's packet only if we have sent to the peer's address. This costs 38
/// bytes a second for each path.
const SILENT_WAIT: Duration = Duration::from_secs(1);
/// If the peer sends from elsewhere, a proven path in use gets another challenge after this.
const RECHECK: Duration = Duration::from_secs(3);
/// A direct path on which nothing came was left for the relay. It is not used again before this, even if it
/// answers challenges: it may carry only small packets.
const DIRECT_REST: Duration = Duration::from_secs(30);
/// A token is valid in the time span in which it was made, and in the next one.
const TOKEN_SPAN: Duration = Duration::from_secs(16);

#[derive(Debug)]
struct Known {
    path: Path,
    /// When the path last answered a challenge.
    proven: Option<Time>,
    received: u64,
    sent: u64,
    heard: Time,
    /// How many challenges were sent, and when the next is due.
    asked: u32,
    next: Time,
    wait: Duration,
}

impl Known {
    const fn new(now: Time, path: Path, received: u64) -> Self {
        Known {
            path,
            proven: None,
            received,
            sent: 0,
            heard: now,
            asked: 0,
            next: now,
            wait: FIRST_WAIT.1,
        }
    }

    /// The number of bytes that may be sent to this path.
    fn room(&self) -> u64 {
        match self.proven {
            Some(_) => u64::MAX,
            None => (self.received * AMPLIFICATION).saturating_sub(self.sent),
        }
    }

    /// The size of the next challenge; `None` if too few bytes may be sent. A large one shows that the path
    /// carries full packets (RFC 9000, section 8.2.1). Every second one is small, for paths that carry less.
    fn challenge_size(&self, silent: bool) -> Option<u16> {
        let is_large = self.proven.is_none() && self.asked.is_multiple_of(2);
        match self.room() {
            _ if silent => Some(SMALL),
            room if is_large && room >= u64::from(BASE_MTU) => Some(BASE_MTU),
            room if room >= u64::from(SMALL) => Some(SMALL),
            _ => None,
        }
    }
}

/// A datagram with a path frame, which must leave.
#[derive(Debug)]
pub(super) struct PathFrame {
    pub(super) path: Path,
    /// [`frame::PATH_CHALLENGE`] or [`frame::PATH_RESPONSE`].
    pub(super) kind: u8,
    pub(super) token: u64,
    /// The size of the datagram, in bytes.
    pub(super) size: u16,
}

/// The peer sends from elsewhere, so the path in use gets challenges.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When the first of them is due, and how many challenges left before.
    since: Time,
    asked: u32,
    /// When the peer was last heard elsewhere.
    heard: Time,
}

/// Everything known about paths.
pub(super) struct Paths {
    key: Zeroizing<[u8; 32]>,
    /// The first one is in use.
    known: Vec<Known>,
    answers: VecDeque<PathFrame>,
    next_answer: Time,
    /// The highest packet number of a packet with more than path frames, and the path it came from.
    newest: Option<(PacketNumber, Path)>,
    doubt: Option<Doubt>,
    role: Role,
    /// The relay's path, which is used only as long as no other works.
    relay: Option<Path>,
    /// When a direct path was left for the relay.
    left_direct: Option<Time>,
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths")
            .field("known", &self.known)
            .field("newest", &self.newest)
            .field("doubt", &self.doubt)
            .finish_non_exhaustive()
    }
}

impl Paths {
    /// Begins on `path`, where the handshake succeeded. `key` must serve only the tokens.
    pub(super) fn new(now: Time, path: Path, role: Role, key: Zeroizing<[u8; 32]>) -> Self {
        Paths {
            key,
            known: vec![Known {
                wait: BEGIN_WAIT,
                ..Known::new(now, path, HANDSHAKE_BYTES)
            }],
            answers: VecDeque::new(),
            next_answer: now,
            newest: None,
            doubt: None,
            role,
            relay: None,
            left_direct: None,
        }
    }

    /// Declares this path as a relay.
    pub(super) fn set_relay(&mut self, path: Path) {
        self.relay = Some(path);
    }

    /// Whether the path in use is a relay.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay == Some(self.path())
    }

    fn current(&self) -> &Known {
        &self.known[0]
    }

    pub(super) fn path(&self) -> Path {
        self.current().path
    }

    /// Whether the peer was heard last on the path in use, so that no other may be needed.
    pub(super) fn is_settled(&self) -> bool {
        let (current, others) = (self.current(), &self.known[1..]);
        others.iter().all(|k| k.heard <= current.heard)
    }

    /// Whether the path in use has answered a challenge.
    pub(super) fn is_proven(&self) -> bool {
        self.current().proven.is_some()
    }

    /// The number of bytes that may go to the path in use now.
    pub(super) fn room(&self) -> u64 {
        self.current().room()
    }

    /// The time between the first challenges on a path, from the probe timeout.
    fn first_wait(probe_timeout: Duration) -> Duration {
        probe_timeout.clamp(FIRST_WAIT.0, FIRST_WAIT.1)
    }

    /// An authenticated packet of `bytes` came from `path`.
    pub(super) fn on_packet(&mut self, now: Time, path: Path, bytes: usize, probe_timeout: Duration) {
        let wait = Self::first_wait(probe_timeout);
        let Some(known) = self.known.iter_mut().find(|k| k.path == path) else {
            self.admit(Known {
                wait,
                ..Known::new(now, path, bytes as u64)
            });
            return;
        };
        known.received += bytes as u64;
        known.heard = now;
    }

    /// Remembers a path. If the table is full, it replaces the path that was heard least recently. Each path
    /// gets its challenge before it may be replaced, and a proven path stays longest.
    fn admit(&mut self, new: Known) {
        let now = new.heard;
        let mut at = 0;
        self.known.retain(|k| {
            at += 1;
            at == 1 || k.heard + MEMORY > now
        });
        if self.known.len() >= MAX_PATHS {
            let others = self.known.iter().enumerate().skip(1);
            let oldest = others
                .filter(|(_, k)| k.asked > 0 || k.proven.is_some())
                .min_by_key(|(_, k)| (k.proven.is_some(), k.heard));
            let Some((i, _)) = oldest else { return };
            self.known.swap_remove(i);
        }
        self.known.push(new);
    }

    /// A packet with more than path frames came from `path`. The peer is there, unless a packet with a higher
    /// number came from elsewhere (RFC 9000, section 9.3).
    pub(super) fn on_newest(&mut self, now: Time, number: PacketNumber, path: Path, probe_timeout: Duration) {
        if self.newest.is_some_and(|(newest, _)| number < newest) {
            return;
        }
        self.newest = Some((number, path));
        if path == self.path() {
            self.doubt = None;
            return;
        }
        // After a pause in which no path worked, the path in use may work again. The pause is longer than what two challenges
        // take, so that a peer that sends little is followed, too.
        let pause = Self::first_wait(probe_timeout) * 4;
        match &mut self.doubt {
            Some(doubt) if now < doubt.since || now.since(doubt.heard) <= pause => doubt.heard = now,
            _ => self.begin_doubt(now, now, probe_timeout),
        }
    }

    fn begin_doubt(&mut self, since: Time, heard: Time, probe_timeout: Duration) {
        let current = &mut self.known[0];
        (current.next, current.wait) = (since, Self::first_wait(probe_timeout));
        let asked = current.asked;
        self.doubt = Some(Doubt { since, asked, heard });
    }

    /// A challenge came from `path` in a datagram of `bytes`.
    pub(super) fn on_challenge(&mut self, path: Path, token: u64, bytes: usize) {
        if self.answers.len() < MAX_ANSWERS {
            let size = u16::try_from(bytes).unwrap_or(BASE_MTU).clamp(SMALL, BASE_MTU);
            let kind = frame::PATH_RESPONSE;
            self.answers.push_back(PathFrame {
                path,
                kind,
                token,
                size,
            });
        }
    }

    /// A response came over `via`. It proves the path that the challenge went to (RFC 9000, section 8.2.3).
    pub(super) fn on_response(&mut self, now: Time, via: Path, token: u64, probe_timeout: Duration) {
        let proves = |path| [0, 1].iter().any(|age| self.token(now, path, *age) == token);
        let Some(i) = self.known.iter().position(|k| proves(k.path)) else {
            if proves(via) {
                let proven = Some(now);
                self.admit(Known {
                    proven,
                    ..Known::new(now, via, 0)
                });
            }
            return;
        };
        self.known[i].proven = Some(now);
        if let (0, Some(doubt)) = (i, self.doubt) {
            self.begin_doubt(now + RECHECK, doubt.heard, probe_timeout);
        }
    }

    /// The token of a challenge on `path`, made `age` time spans ago.
    fn token(&self, now: Time, path: Path, age: u64) -> u64 {
        let whole = of_path(&self.key, path, now, TOKEN_SPAN, age);
        u64::from_be_bytes(*whole.first_chunk().expect("8 of 16 bytes"))
    }

    /// Whether a path gets challenges now.
    fn is_asked(&self, i: usize, silent: bool) -> bool {
        silent || self.known[i].proven.is_none() || i == 0 && self.doubt.is_some()
    }

    /// The next datagram with a path frame.
    pub(super) fn poll(&mut self, now: Time, silent: bool) -> Option<PathFrame> {
        if now >= self.next_answer
            && let Some(answer) = self.answers.pop_front()
        {
            self.next_answer = now + ANSWER_INTERVAL;
            return Some(answer);
        }
        let i = (0..self.known.len()).find(|&i| {
            let known = &self.known[i];
            known.next <= now && self.is_asked(i, silent) && known.challenge_size(silent).is_some()
        })?;
        let (path, size) = (self.known[i].path, self.known[i].challenge_size(silent)?);
        let known = &mut self.known[i];
        known.asked = known.asked.wrapping_add(1);
        known.next = now + if silent { SILENT_WAIT } else { known.wait };
        known.wait = (known.wait * 2).min(LAST_WAIT);
        Some(self.challenge(now, path, size))
    }

    /// A challenge for a path on which the driver looks for a silent peer.
    pub(super) fn probe(&self, now: Time, path: Path) -> PathFrame {
        self.challenge(now, path, SMALL)
    }

    fn challenge(&self, now: Time, path: Path, size: u16) -> PathFrame {
        PathFrame {
            path,
            kind: frame::PATH_CHALLENGE,
            token: self.token(now, path, 0),
            size,
        }
    }

    /// A datagram of `bytes` left.
    pub(super) fn on_sent(&mut self, path: Path, bytes: u64) {
        if let Some(known) = self.known.iter_mut().find(|k| k.path == path) {
            known.sent = known.sent.saturating_add(bytes);
        }
    }

    /// When [`poll`](Self::poll) or [`next_move`](Self::next_move) will have something.
    pub(super) fn timeout(&self, silent: bool) -> Option<Time> {
        let asks = (0..self.known.len())
            .filter(|&i| self.is_asked(i, silent) && self.known[i].challenge_size(silent).is_some())
            .map(|i| self.known[i].next);
        let answer = (!self.answers.is_empty()).then_some(self.next_answer);
        let moves = self.follows().map(|(_, when)| when);
        asks.chain(answer).chain(moves).min()
    }

    /// The proven path that the peer sends from instead of the one in use, and when to take it: when challenges on the one
    /// in use had time for answers.
    ///
    /// The two ends may begin on different paths. If a moment in which no path works made both of them move, they would swap
    /// paths again and again. So the sender wants two challenges, and to have heard the peer elsewhere since the first.
    fn follows(&self) -> Option<(Path, Time)> {
        let (doubt, (_, path)) = (self.doubt?, self.newest?);
        let known = self.known.iter().find(|k| k.path == path)?;
        let asked = self.current().asked.wrapping_sub(doubt.asked);
        let may_move = match self.role {
            Role::Receiver => asked >= 1,
            Role::Sender => asked >= 2 && doubt.heard >= doubt.since,
        };
        (known.proven.is_some() && may_move).then_some((path, self.current().next))
    }

    /// The path to use from now on, if it is another one. The path in use stays as long as it works. So an
    /// attacker who forwards one packet from elsewhere moves nothing.
    pub(super) fn next_move(&self, now: Time) -> Option<Path> {
        let current = self.current();
        let others = self.known[1..].iter().filter(|k| k.proven.is_some());
        if current.proven.is_none() {
            return others.max_by_key(|k| k.proven).map(|k| k.path);
        }
        let rests = |at: Time| now < at + DIRECT_REST;
        if self.is_relayed() && !self.left_direct.is_some_and(rests) {
            let direct = others.clone().max_by_key(|k| k.proven);
            if let Some(direct) = direct {
                return Some(direct.path);
            }
        }
        if let Some((path, when)) = self.follows()
            && now >= when
        {
            return Some(path);
        }
        // Nothing came on the path in use for long, so a path that has answered since is better.
        let silent_since = current.heard + SILENCE;
        others
            .filter(|k| k.proven >= Some(silent_since))
            .max_by_key(|k| k.proven)
            .map(|k| k.path)
    }

    /// Uses `path`, which must be known.
    pub(super) fn move_to(&mut self, now: Time, path: Path) {
        if self.relay == Some(path) && self.is_proven() {
            self.left_direct = Some(now);
        }
        if let Some(i) = self.known.iter().position(|k| k.path == path) {
            self.known.swap(0, i);
            self.doubt = None;
        }
    }
}

#[cfg(test)]
mod tests;
