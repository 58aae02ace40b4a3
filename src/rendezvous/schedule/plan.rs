//! One slot: what opens our own NAT before it, and what goes through it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Stream;
use crate::protocol::handshake::rng::SeedRng;
use crate::protocol::time::Time;
use crate::protocol::{Path, Reach};
use crate::rendezvous::clock::SlotIndex;

/// When low-TTL packets go out, counted back from the slot, and their lifetimes, each twice against loss. The least is
/// 2: it passes the router that the host stands behind. Few users sit behind more than four routers of their own. (Others
/// use 4, 5 or 7.) A second between two lifetimes, and half of it for the lead, are more than clocks differ.
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
/// When packets go out that open the NAT we stand behind and reach no other, twice against loss. Neither side leads: both
/// have done it before the first packet of low TTL, which gets to the other NAT where no router lies between. Any earlier,
/// they could meet what the peer's last packets left there 36 s ago, which lives for 30 s.
const COUNTED: [Duration; 2] = [Duration::from_millis(4500), Duration::from_millis(4400)];
const LOW_JITTER_MILLIS: u64 = 80;
/// Who comes late, sends what is overdue with so much between two packets.
const OVERDUE_INTERVAL: Duration = Duration::from_millis(60);
/// So much later than one side does the other whatever it does in a slot.
pub(super) const LEAD: Duration = Duration::from_millis(500);

/// What one side does in a slot.
pub(super) struct Plan {
    pub(super) slot: SlotIndex,
    pub(super) start: Time,
    pub(super) path: Path,
    /// What opens our own NAT.
    pub(super) openers: VecDeque<(Time, Reach)>,
    /// How much later than the side that leads this one does everything.
    later: Duration,
    /// When packets of full lifetime begin.
    pub(super) fire: Time,
    /// Whether any of them are sent.
    pub(super) fires: bool,
    pub(super) full: Option<Stream>,
}

impl Plan {
    /// A slot that begins at `start`, in which this side does everything so much later.
    pub(super) fn new(slot: SlotIndex, path: Path, start: Time, later: Duration, fires: bool) -> Self {
        Plan {
            slot,
            start,
            path,
            openers: VecDeque::new(),
            later,
            fire: start + later,
            fires,
            full: None,
        }
    }

    /// Plans what opens our own NAT. `ttl` takes the place of all low lifetimes.
    pub(super) fn open(&mut self, now: Time, ttl: Option<u8>, rng: &mut SeedRng) {
        let wait = self.start.since(now);
        let mut overdue = now;
        // A user's TTL takes the place of all that would not reach the peer.
        let counted = COUNTED
            .into_iter()
            .filter(|_| ttl.is_none())
            .map(|before| (before, Duration::ZERO, Reach::Routers(1)));
        let low = LOW.map(|(before, low)| (before, self.later, Reach::Low(ttl.unwrap_or(low))));
        for (before, later, reach) in counted.chain(low) {
            let jitter = Duration::from_millis(rng.next_u64() % LOW_JITTER_MILLIS);
            // Counted from now: times before the run's zero do not exist.
            if let Some(ahead) = (wait + later + jitter).checked_sub(before) {
                self.openers.push_back((now + ahead, reach));
            } else if self.openers.back().is_none_or(|(_, last)| *last != reach) {
                self.openers.push_back((overdue, reach));
                overdue += OVERDUE_INTERVAL;
            }
        }
    }
}
