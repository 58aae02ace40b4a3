//! Passes datagrams on between two addresses that named the same ticket.
//!
//! Everything that comes from one of them is sent to the other unchanged, bursts as bursts. Nothing is read,
//! stored or repeated. A full queue drops datagrams, so that the congestion control of both ends sees the
//! bottleneck. Rates are policed, not shaped: clients know them and send no faster.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::bucket::Bucket;
use crate::protocol::time::Time;
use crate::protocol::{Network, Path};
use crate::rendezvous::meeting::pake::End;
use crate::rendezvous::meeting::wire::{Bind, Binding, Bound, SessionId, Ticket};

/// An end that sends no valid cookie for this time is removed. Clients send one every 15 s. Other datagrams do not
/// count, because anybody can forge them.
const IDLE: Duration = Duration::from_secs(60);
/// The most bytes that wait to leave: half of a common socket buffer. If more wait, the path is too narrow.
const MAX_QUEUED: usize = 2 << 20;
/// Bytes that a burst counts in the queue beside its content, so that tiny bursts are bounded, too.
const BURST: usize = 128;
/// The most pairs that one network may begin, of the 1,024 that there are: an office behind one address has fewer.
const MOST_OF_ONE_NETWORK: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RelayLimits {
    /// The most pairs at once.
    pub pairs: usize,
    /// Bytes a second of one pair, both directions together.
    pub pair_rate: Option<u64>,
    /// Bytes a second of all pairs together.
    pub total_rate: Option<u64>,
    /// Bytes that one pair may send in all.
    pub pair_bytes: Option<u64>,
}

impl RelayLimits {
    /// The limits for everybody who knows the server's address: enough for a file, too little to be worth
    /// abusing.
    pub(crate) const STRANGERS: RelayLimits = RelayLimits {
        pair_rate: Some(2_500_000),
        pair_bytes: Some(10_000_000_000),
        ..RelayLimits::FRIENDS
    };
    /// The limits for clients that know the server's token.
    pub(crate) const FRIENDS: RelayLimits = RelayLimits {
        pairs: 1024,
        pair_rate: None,
        total_rate: None,
        pair_bytes: None,
    };
}

struct BoundEnd {
    path: Path,
    session: SessionId,
    heard: Time,
}

struct Pair {
    /// The network of the first end.
    network: Network,
    /// The two ends, by their numbers.
    ends: [Option<BoundEnd>; 2],
    bucket: Bucket,
    /// Bytes that the pair may still send.
    left: u64,
}

/// Datagrams of one size to one address. The last may be shorter.
struct Burst {
    to: Path,
    segment: usize,
    bytes: Vec<u8>,
}

/// Counters of the relay.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Relayed {
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes beyond a limit, or that came faster than they could leave.
    pub dropped: u64,
}

/// All pairs, and the bursts that wait to leave.
pub(super) struct Relay {
    limits: RelayLimits,
    pairs: HashMap<Ticket, Pair>,
    ends: HashMap<Path, (Ticket, End)>,
    total: Bucket,
    queue: VecDeque<Burst>,
    queued: usize,
    /// Buffers of bursts that were sent, for reuse.
    spare: Vec<Vec<u8>>,
    relayed: Relayed,
}

/// Answers and their destinations.
pub(super) type Answers = Vec<(Path, Bound)>;

impl Relay {
    pub(super) fn new(limits: RelayLimits, now: Time) -> Self {
        Relay {
            limits,
            pairs: HashMap::new(),
            ends: HashMap::new(),
            total: Bucket::new(limits.total_rate, now),
            queue: VecDeque::new(),
            queued: 0,
            spare: Vec::new(),
            relayed: Relayed::default(),
        }
    }

    /// The number of pairs whose two ends are there.
    pub(super) fn joined(&self) -> usize {
        self.pairs.values().filter(|pair| pair.is_joined()).count()
    }

    pub(super) fn knows(&self, ticket: &Ticket) -> bool {
        self.pairs.contains_key(ticket)
    }

    fn is_full_for(&self, network: Network) -> bool {
        let theirs = || self.pairs.values().filter(|pair| pair.network == network).count();
        self.pairs.len() >= self.limits.pairs || theirs() >= MOST_OF_ONE_NETWORK
    }

    pub(super) const fn relayed(&self) -> Relayed {
        self.relayed
    }

    /// Joins the client at `path` with the other end of its ticket. Returns the answer, and what the peer
    /// must be told if it changed.
    pub(super) fn bind(&mut self, now: Time, path: Path, bind: &Bind) -> Answers {
        let answer = |binding| (path, bound(bind.session, binding));
        let network = Network::of(path.remote.ip());
        if !self.knows(&bind.ticket) && self.is_full_for(network) {
            return vec![answer(Binding::Full)];
        }
        // An address can be an end of only one pair.
        if self
            .ends
            .get(&path)
            .is_some_and(|at| *at != (bind.ticket, bind.end))
        {
            self.leave(path);
        }
        let limits = self.limits;
        let pair = self.pairs.entry(bind.ticket).or_insert_with(|| Pair {
            network,
            ends: [None, None],
            bucket: Bucket::new(limits.pair_rate, now),
            left: limits.pair_bytes.unwrap_or(u64::MAX),
        });
        let bound_end = BoundEnd {
            path,
            session: bind.session,
            heard: now,
        };
        let before = pair.ends[bind.end as usize]
            .replace(bound_end)
            .map(|before| before.path);
        if let Some(old) = before.filter(|old| *old != path) {
            self.ends.remove(&old);
        }
        self.ends.insert(path, (bind.ticket, bind.end));
        let mut answers = vec![answer(pair.binding())];
        if before != Some(path)
            && let Some(peer) = &pair.ends[bind.end.peer() as usize]
        {
            answers.push((peer.path, bound(peer.session, pair.binding())));
        }
        answers
    }

    /// Removes the end at this address.
    pub(super) fn leave(&mut self, path: Path) {
        let Some((ticket, end)) = self.ends.remove(&path) else {
            return;
        };
        if let Some(pair) = self.pairs.get_mut(&ticket) {
            pair.ends[end as usize] = None;
            if pair.ends.iter().all(Option::is_none) {
                self.pairs.remove(&ticket);
            }
        }
    }

    /// Removes ends that are gone.
    pub(super) fn sweep(&mut self, now: Time) {
        let gone: Vec<Path> = self
            .pairs
            .values()
            .flat_map(|pair| pair.ends.iter().flatten())
            .filter(|end| now.since(end.heard) >= IDLE)
            .map(|end| end.path)
            .collect();
        for path in gone {
            self.leave(path);
        }
    }

    /// Passes on datagrams of `segment` bytes each; the last may be shorter. Returns what to tell a pair
    /// whose bytes are now used up.
    pub(super) fn pass(&mut self, now: Time, path: Path, datagrams: &[u8], segment: usize) -> Answers {
        let Some((ticket, end)) = self.ends.get(&path) else {
            return Vec::new();
        };
        let Some(pair) = self.pairs.get_mut(ticket) else {
            return Vec::new();
        };
        let Some(to) = pair.ends[end.peer() as usize].as_ref().map(|peer| peer.path) else {
            return Vec::new();
        };
        let room = pair.bucket.room(now).min(self.total.room(now)).min(pair.left);
        let space = MAX_QUEUED.saturating_sub(self.queued + BURST);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(space);
        let fits = match datagrams.len() {
            all if all <= room => all,
            _ => room - room % segment.max(1),
        };
        let passes = u64::try_from(fits).unwrap_or(u64::MAX);
        self.relayed.dropped += (datagrams.len() - fits) as u64;
        if fits > 0 {
            self.relayed.bytes += passes;
            pair.bucket.take(passes);
            self.total.take(passes);
            self.queued += fits + BURST;
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(&datagrams[..fits]);
            self.queue.push_back(Burst { to, segment, bytes });
        }
        if self.limits.pair_bytes.is_none() || pair.left == 0 {
            return Vec::new();
        }
        pair.left -= passes;
        if pair.left >= segment as u64 {
            return Vec::new();
        }
        pair.left = 0;
        let told = pair.ends.iter().flatten();
        told.map(|end| (end.path, bound(end.session, Binding::Spent)))
            .collect()
    }

    /// Puts the next datagrams to send into `buf`. Returns their destination and the size of each.
    pub(super) fn poll(&mut self, buf: &mut Vec<u8>) -> Option<(Path, usize)> {
        /// The most buffers kept for later bursts.
        const SPARE: usize = 32;
        let burst = self.queue.pop_front()?;
        self.queued -= burst.bytes.len() + BURST;
        let used = std::mem::replace(buf, burst.bytes);
        if self.spare.len() < SPARE {
            self.spare.push(used);
        }
        Some((burst.to, burst.segment))
    }
}

impl Pair {
    fn is_joined(&self) -> bool {
        self.left > 0 && self.ends.iter().all(Option::is_some)
    }

    fn binding(&self) -> Binding {
        match self.left {
            0 => Binding::Spent,
            _ if self.is_joined() => Binding::Joined,
            _ => Binding::Waiting,
        }
    }
}

const fn bound(session: SessionId, binding: Binding) -> Bound {
    Bound { session, binding }
}

#[cfg(test)]
mod tests;
