//! The plan of one slot: the packets that open our own NAT before it, and those that go through it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Stream;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::clock::SlotIndex;

/// When low-TTL packets are sent before the slot, and their TTLs, each twice against loss. The least is 2,
/// which passes the host's first router. Few users have more than four routers of their own. (Other programs
/// use 4, 5 or 7.) Two TTLs are a second apart, and the lead is half of that: clocks differ by less.
pub(super) const LOW: [(Duration, u8); 8] = [
    (Duration::from_millis(4000), 2),
    (Duration::from_millis(3900), 2),
    (Duration::from_millis(3000), 3),
    (Duration::from_millis(2900), 3),
    (Duration::from_millis(2000), 4),
    (Duration::from_millis(1900), 4),
    (Duration::from_millis(1000), 5),
    (Duration::from_millis(900), 5),
];
/// When packets with the IP option are sent before the slot, twice against loss. Only the first router passes
/// them, so they open its NAT and reach no other. No side leads here: both must send them before the first
/// low-TTL packet, which reaches the other NAT if no router lies between. If they came earlier, they could
/// meet the entry of the peer's last packets 36 s ago, which lives for 30 s.
const FIRST_HOP: [Duration; 2] = [Duration::from_millis(4500), Duration::from_millis(4400)];
const LOW_JITTER_MILLIS: u64 = 80;
/// The time between overdue packets, which a side that is late sends.
const OVERDUE_INTERVAL: Duration = Duration::from_millis(60);
/// How much later than the leader the other side acts in a slot.
pub(super) const LEAD: Duration = Duration::from_millis(500);

/// What one side does in a slot.
pub(super) struct Plan {
    pub(super) slot: SlotIndex,
    pub(super) start: Time,
    pub(super) path: Path,
    /// The packets that open our own NAT.
    pub(super) openers: VecDeque<(Time, Reach)>,
    /// When packets of full TTL begin.
    pub(super) fire: Time,
    /// Whether packets of full TTL are sent.
    pub(super) fires: bool,
    pub(super) full: Option<Stream>,
}

/// The packets that open our own NAT before `start`, on a side that acts later than the leader by `later`. `ttl` replaces
/// all low TTLs.
pub(super) fn openers(
    start: Time,
    later: Duration,
    now: Time,
    ttl: Option<u8>,
    rng: &mut SeedRng,
) -> VecDeque<(Time, Reach)> {
    let mut openers = VecDeque::new();
    let wait = start.since(now);
    let mut overdue = now;
    // A user's TTL replaces all packets that must not reach the peer.
    let first_hop = FIRST_HOP
        .into_iter()
        .filter(|_| ttl.is_none())
        .map(|before| (before, Duration::ZERO, Reach::Routers(1)));
    let low = LOW.map(|(before, low)| (before, later, Reach::Low(ttl.unwrap_or(low))));
    for (before, later, reach) in first_hop.chain(low) {
        let jitter = Duration::from_millis(rng.next_u64() % LOW_JITTER_MILLIS);
        // Computed from now, because times before the run's zero do not exist.
        if let Some(ahead) = (wait + later + jitter).checked_sub(before) {
            openers.push_back((now + ahead, reach));
        } else if openers.back().is_none_or(|(_, last)| *last != reach) {
            openers.push_back((overdue, reach));
            overdue += OVERDUE_INTERVAL;
        }
    }
    openers
}
