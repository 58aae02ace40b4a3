//! The paths to the peer: which of them it has proven to receive on, which one is used, how much may go to the
//! others (RFC 9000, sections 8.2, 9 and 21).
//!
//! The handshake proves no path. Message 1 goes to many addresses and is the same for all, and so is the answer to its
//! copies: whoever reads one of them can answer it in another address's name. So each path must answer a challenge,
//! the first one too. Before that it gets at most three times the bytes that came from it.
//!
//! A token is a keyed hash of the path and of the time, so the answer is recognised though the path was forgotten:
//! nobody can keep the peer out by filling the places.

use super::timers::SILENCE;
use crate::protocol::Path;
use crate::protocol::time::Time;
use crate::protocol::wire::{BASE_MTU, HEADER_LEN, PacketNumber, TAG_LEN, frame};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// Bytes sent to a path that is not proven, at most, per byte received from it (RFC 9000, section 8.1).
const AMPLIFICATION: u64 = 3;
/// Bytes that the handshake surely received on the first path: the shortest message that yields keys.
const HANDSHAKE_BYTES: u64 = 65;
/// Paths remembered: a NAT that rebinds shows one new path, a search of four port pairs and IPv6 five.
const MAX_PATHS: usize = 6;
/// A path that is not in use is forgotten when nothing came from it for so long.
const MEMORY: Duration = Duration::from_secs(60);
/// Answers that wait to leave, and the least time between two: an authenticated peer may challenge in anybody's name,
/// and each answer is as large as the challenge.
const MAX_ANSWERS: usize = 8;
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);
/// The smallest datagram with a path frame.
const SMALL: u16 = (HEADER_LEN + 9 + TAG_LEN) as u16;
/// Least and most time between challenges on one path. The first ones follow the probe timeout.
const FIRST_WAIT: (Duration, Duration) = (Duration::from_millis(30), Duration::from_secs(1));
/// On the first path both ends wait for the answer with all they have to say, so a lost challenge must cost little.
const BEGIN_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Time between challenges on every known path while the peer is silent, whatever was received: a NAT lets the peer's
/// packet in only if we have sent to where it comes from. 38 bytes a second as long as a peer is looked for.
const SILENT_WAIT: Duration = Duration::from_secs(1);
/// A path in use that has answered is asked again after this if the peer still sends from elsewhere.
const RECHECK: Duration = Duration::from_secs(3);
/// A direct path that was left for the relay because nothing came that way is not taken again before this, however well
/// it answers: it may carry small packets only.
const DIRECT_REST: Duration = Duration::from_secs(30);
/// A token counts in the span of time it was made in and in the next one.
const TOKEN_SPAN: Duration = Duration::from_secs(16);

#[derive(Debug)]
struct Known {
    path: Path,
    /// When it last answered a challenge.
    proven: Option<Time>,
    received: u64,
    sent: u64,
    heard: Time,
    /// How often it was challenged, and when next.
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

    /// Bytes that may be sent to it.
    fn room(&self) -> u64 {
        match self.proven {
            Some(_) => u64::MAX,
            None => (self.received * AMPLIFICATION).saturating_sub(self.sent),
        }
    }

    /// How large the next challenge may be. A large one shows that the path carries what will be sent there (RFC 9000,
    /// section 8.2.1); each second one is small, for paths that carry less.
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

#[derive(Debug)]
struct Answer {
    path: Path,
    token: u64,
    size: u16,
}

/// A datagram with a path frame that must leave.
#[derive(Debug)]
pub(super) struct PathFrame {
    pub(super) path: Path,
    /// [`frame::PATH_CHALLENGE`] or [`frame::PATH_RESPONSE`].
    pub(super) kind: u8,
    pub(super) token: u64,
    /// Of the datagram, in bytes.
    pub(super) size: u16,
}

/// All that is known of paths.
pub(super) struct Paths {
    key: Zeroizing<[u8; 32]>,
    /// The first one is in use.
    known: Vec<Known>,
    answers: VecDeque<Answer>,
    next_answer: Time,
    /// The highest packet number that came with more than path frames, and from where.
    newest: Option<(PacketNumber, Path)>,
    /// The peer sends from elsewhere: from then on the path in use is asked whether it still works.
    doubted: Option<Time>,
    /// The path by way of a server, used only as long as there is no other.
    relay: Option<Path>,
    /// When a direct path was left for the relay.
    left_direct: Option<Time>,
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths")
            .field("known", &self.known)
            .field("newest", &self.newest)
            .field("doubted", &self.doubted)
            .finish_non_exhaustive()
    }
}

impl Paths {
    /// Begins on `path`, where the handshake succeeded. `key` is for the tokens alone.
    pub(super) fn new(now: Time, path: Path, key: Zeroizing<[u8; 32]>) -> Self {
        Paths {
            key,
            known: vec![Known {
                wait: BEGIN_WAIT,
                ..Known::new(now, path, HANDSHAKE_BYTES)
            }],
            answers: VecDeque::new(),
            next_answer: now,
            newest: None,
            doubted: None,
            relay: None,
            left_direct: None,
        }
    }

    /// This path is a server's.
    pub(super) fn set_relay(&mut self, path: Path) {
        self.relay = Some(path);
    }

    /// Whether the path in use is a server's.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay == Some(self.path())
    }

    fn current(&self) -> &Known {
        &self.known[0]
    }

    /// The path in use.
    pub(super) fn path(&self) -> Path {
        self.current().path
    }

    /// Whether the path in use has answered a challenge.
    pub(super) fn is_proven(&self) -> bool {
        self.current().proven.is_some()
    }

    /// Bytes that may go to the path in use now.
    pub(super) fn room(&self) -> u64 {
        self.current().room()
    }

    /// Time between the first challenges on a path, for a probe timeout.
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

    /// Remembers a path, in place of the one that was heard least recently, if need be. Each gets its challenge before it has to
    /// go, and one that has answered stays longest.
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

    /// A packet that holds more than path frames came from `path`: there the peer is, if none of a higher number came
    /// from elsewhere (RFC 9000, section 9.3).
    pub(super) fn on_newest(&mut self, now: Time, number: PacketNumber, path: Path, probe_timeout: Duration) {
        if self.newest.is_some_and(|(newest, _)| number < newest) {
            return;
        }
        self.newest = Some((number, path));
        if path == self.path() {
            self.doubted = None;
        } else if self.doubted.is_none() {
            self.doubted = Some(now);
            let current = &mut self.known[0];
            current.next = now;
            current.wait = Self::first_wait(probe_timeout);
        }
    }

    /// A challenge came from `path` in a datagram of `bytes`.
    pub(super) fn on_challenge(&mut self, path: Path, token: u64, bytes: usize) {
        if self.answers.len() < MAX_ANSWERS {
            let size = u16::try_from(bytes).unwrap_or(BASE_MTU).clamp(SMALL, BASE_MTU);
            self.answers.push_back(Answer { path, token, size });
        }
    }

    /// A response came from `via`: it proves the path that its challenge went to (RFC 9000, section 8.2.3).
    pub(super) fn on_response(&mut self, now: Time, via: Path, token: u64) {
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
        if i == 0 && self.doubted.is_some() {
            self.doubted = Some(now + RECHECK);
            self.known[0].next = now + RECHECK;
        }
    }

    /// The token of a challenge on `path`, made so many spans of time ago.
    fn token(&self, now: Time, path: Path, age: u64) -> u64 {
        let span = now.as_nanos() / TOKEN_SPAN.as_nanos() as u64;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&span.wrapping_sub(age).to_be_bytes());
        hasher.update(&[path.local]);
        hasher.update(&path.remote.port().to_be_bytes());
        match path.remote.ip() {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        let mut token = [0; 8];
        hasher.finalize_xof().fill(&mut token);
        u64::from_be_bytes(token)
    }

    /// Whether challenges go to a path now.
    fn is_asked(&self, i: usize, silent: bool) -> bool {
        silent || self.known[i].proven.is_none() || i == 0 && self.doubted.is_some()
    }

    /// The next datagram with a path frame.
    pub(super) fn poll(&mut self, now: Time, silent: bool) -> Option<PathFrame> {
        if now >= self.next_answer
            && let Some(Answer { path, token, size }) = self.answers.pop_front()
        {
            self.next_answer = now + ANSWER_INTERVAL;
            return Some(PathFrame {
                path,
                kind: frame::PATH_RESPONSE,
                token,
                size,
            });
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
        let token = self.token(now, path, 0);
        Some(PathFrame {
            path,
            kind: frame::PATH_CHALLENGE,
            token,
            size,
        })
    }

    /// A challenge to wherever the driver looks for a silent peer.
    pub(super) fn probe(&self, now: Time, path: Path) -> PathFrame {
        PathFrame {
            path,
            kind: frame::PATH_CHALLENGE,
            token: self.token(now, path, 0),
            size: SMALL,
        }
    }

    /// A datagram of `bytes` left.
    pub(super) fn on_sent(&mut self, path: Path, bytes: u64) {
        if let Some(known) = self.known.iter_mut().find(|k| k.path == path) {
            known.sent = known.sent.saturating_add(bytes);
        }
    }

    /// When [`poll`](Self::poll) or [`next_move`](Self::next_move) has something.
    pub(super) fn timeout(&self, silent: bool, probe_timeout: Duration) -> Option<Time> {
        let asks = (0..self.known.len())
            .filter(|&i| self.is_asked(i, silent) && self.known[i].challenge_size(silent).is_some())
            .map(|i| self.known[i].next);
        let answer = (!self.answers.is_empty()).then_some(self.next_answer);
        let moves = self
            .follows()
            .map(|(_, since)| since + Self::first_wait(probe_timeout));
        asks.chain(answer).chain(moves).min()
    }

    /// The proven path that the peer sends from instead of the one in use, and since when that one has not answered.
    fn follows(&self) -> Option<(Path, Time)> {
        let (since, (_, path)) = (self.doubted?, self.newest?);
        let known = self.known.iter().find(|k| k.path == path)?;
        known.proven.map(|_| (path, since))
    }

    /// The path to use from now on, if it is another one. The path in use stays as long as it works: one packet from
    /// elsewhere, sent on by somebody on the way, moves nothing.
    pub(super) fn next_move(&self, now: Time, probe_timeout: Duration) -> Option<Path> {
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
        if let Some((path, since)) = self.follows()
            && now >= since + Self::first_wait(probe_timeout)
        {
            return Some(path);
        }
        // Nothing came that way for long; what has answered since is better.
        let silent_since = current.heard + SILENCE;
        others
            .filter(|k| k.proven >= Some(silent_since))
            .max_by_key(|k| k.proven)
            .map(|k| k.path)
    }

    /// Uses `path`, which is known.
    pub(super) fn move_to(&mut self, now: Time, path: Path) {
        if self.relay == Some(path) && self.is_proven() {
            self.left_direct = Some(now);
        }
        if let Some(i) = self.known.iter().position(|k| k.path == path) {
            self.known.swap(0, i);
            self.doubted = None;
        }
    }
}

#[cfg(test)]
mod tests;
