//! Every packet sent and what became of it: acknowledged, lost, or still on its way.
//!
//! Loss is decided by time, as RACK does (RFC 8985): a packet sent long enough before one that arrived is lost.
//! "Long enough" widens when packets thought lost arrive after all, so that reordering paths are not taken for
//! lossy ones. Packet numbers are never sent twice, so an ACK always says which copy arrived.

use super::congestion::sampler::SendStamp;
use super::ranges::RangeSet;
use super::rtt::RttEstimator;
use super::time::Time;
use super::wire::Ack;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Timer granularity (RFC 9002, section 6.1.2).
const GRANULARITY: Duration = Duration::from_millis(1);
/// The reordering window starts at an eighth of the RTT (RFC 9002, section 6.1.2)...
const REORDER_START: u32 = 8;
/// ...and never exceeds this many RTTs of the smoothed estimate...
const REORDER_MAX_RTTS: u32 = 2;
/// ...nor this.
const REORDER_MAX: Duration = Duration::from_millis(400);
/// Lost packets are remembered this long, to notice that they were only late.
const LOST_MEMORY_RTTS: u32 = 2;

/// What a packet carried that must arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carries {
    /// Nothing to send again (ACK, PING, path frames).
    Nothing,
    /// Content bytes.
    Content(Range<u64>),
    /// Control stream bytes.
    Control(Range<u64>),
    /// Padding, to learn whether the path takes this many bytes.
    MtuProbe(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// On its way; counts as in flight.
    InFlight,
    /// Arrived, or nothing to wait for.
    Done,
    /// Declared lost.
    Lost,
}

#[derive(Debug)]
struct Sent {
    stamp: SendStamp,
    carries: Carries,
    bytes: u16,
    state: State,
    copied: bool,
}

/// A packet that an ACK or the clock decided on.
#[derive(Debug)]
pub struct Settled {
    /// The counters when it was sent.
    pub stamp: SendStamp,
    /// What it carried.
    pub carries: Carries,
    /// Its size.
    pub bytes: u64,
    /// It had been declared lost before.
    pub was_lost: bool,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    sent: VecDeque<Sent>,
    /// Number of `sent[0]`.
    base: u64,
    /// Everything below is settled.
    cursor: u64,
    /// Numbers acknowledged, from `base` on.
    acknowledged: RangeSet,
    largest_acked: Option<u64>,
    in_flight: u64,
    content_in_flight: u64,
    reorder_extra: Duration,
    last_eliciting: Time,
}

impl Ledger {
    /// Empty.
    pub fn new(now: Time) -> Self {
        Ledger {
            sent: VecDeque::new(),
            base: 0,
            cursor: 0,
            acknowledged: RangeSet::new(),
            largest_acked: None,
            in_flight: 0,
            content_in_flight: 0,
            reorder_extra: Duration::ZERO,
            last_eliciting: now,
        }
    }

    /// Bytes in flight.
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Content bytes in flight.
    pub const fn content_in_flight(&self) -> u64 {
        self.content_in_flight
    }

    /// When the last packet that asks for an ACK left.
    pub const fn last_eliciting(&self) -> Time {
        self.last_eliciting
    }

    /// Notes the packet that just left. Numbers come in order, without gaps. `bytes` is 0 for a packet that asks
    /// for no ACK.
    pub fn on_sent(&mut self, stamp: SendStamp, bytes: u16, carries: Carries) {
        let state = if bytes > 0 { State::InFlight } else { State::Done };
        if bytes > 0 {
            self.last_eliciting = stamp.sent_at;
            self.in_flight += u64::from(bytes);
            self.content_in_flight += content_len(&carries);
        }
        self.sent.push_back(Sent {
            stamp,
            carries,
            bytes,
            state,
            copied: false,
        });
    }

    fn settle(&mut self, index: usize, state: State) -> Settled {
        let sent = &mut self.sent[index];
        let was_lost = sent.state == State::Lost;
        if sent.state == State::InFlight {
            self.in_flight -= u64::from(sent.bytes);
            self.content_in_flight -= content_len(&sent.carries);
        }
        sent.state = state;
        Settled {
            stamp: sent.stamp,
            carries: sent.carries.clone(),
            bytes: u64::from(sent.bytes),
            was_lost,
        }
    }

    /// Takes an ACK; calls `each` for every packet it newly acknowledges, and gives the RTT sample of the
    /// largest, if that is new. An ACK of a packet never sent gives an error: the peer misbehaves.
    pub fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack<'_>,
        mut each: impl FnMut(Settled),
    ) -> Result<Option<Duration>, AckOfUnsent> {
        let end = self.base + self.sent.len() as u64;
        if ack.largest >= end {
            return Err(AckOfUnsent);
        }
        let newest_is_new = self.largest_acked.is_none_or(|l| ack.largest > l) && ack.largest >= self.base;
        let mut rtt = None;
        for range in ack.ranges() {
            let range = range.start.max(self.base)..range.end;
            if range.start >= range.end {
                break;
            }
            let fresh: Vec<_> = self.acknowledged.missing(range.clone()).collect();
            self.acknowledged.insert(range);
            for n in fresh.into_iter().flatten() {
                let index = (n - self.base) as usize;
                if self.sent[index].bytes == 0 {
                    continue;
                }
                let settled = self.settle(index, State::Done);
                if n == ack.largest && newest_is_new {
                    rtt = Some(now.since(settled.stamp.sent_at));
                }
                if settled.was_lost {
                    self.widen(now, &settled);
                }
                each(settled);
            }
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        Ok(rtt)
    }

    /// A packet was late by more than the window allowed: allow that much.
    fn widen(&mut self, now: Time, settled: &Settled) {
        let late = now.since(settled.stamp.sent_at);
        self.reorder_extra = self.reorder_extra.max(late).min(REORDER_MAX);
    }

    fn loss_delay(&self, rtt: &RttEstimator) -> Duration {
        let base = rtt.smoothed().max(rtt.latest());
        let reorder = (base / REORDER_START).max(GRANULARITY);
        // `reorder_extra` is a whole age at which packets still arrived; it decays only with the path.
        (base + reorder).max(self.reorder_extra.min(base * (1 + REORDER_MAX_RTTS)) + GRANULARITY)
    }

    /// Declares packets lost that were sent long enough before one that arrived; calls `each` for them.
    pub fn detect_losses(&mut self, now: Time, rtt: &RttEstimator, mut each: impl FnMut(Settled)) {
        let delay = self.loss_delay(rtt);
        while let Some(n) = self.first_unsettled() {
            if self.largest_acked.is_none_or(|l| n > l) {
                break;
            }
            let index = (n - self.base) as usize;
            if self.sent[index].stamp.sent_at + delay > now {
                break;
            }
            each(self.settle(index, State::Lost));
        }
        self.forget(now, rtt);
    }

    /// When the next packet will be declared lost if nothing else happens.
    pub fn loss_time(&mut self, rtt: &RttEstimator) -> Option<Time> {
        let n = self.first_unsettled()?;
        let due = self.sent[(n - self.base) as usize].stamp.sent_at + self.loss_delay(rtt);
        self.largest_acked.filter(|l| n <= *l).map(|_| due)
    }

    /// The oldest packet in flight.
    fn first_unsettled(&mut self) -> Option<u64> {
        let end = self.base + self.sent.len() as u64;
        self.cursor = self.cursor.max(self.base);
        while self.cursor < end && self.sent[(self.cursor - self.base) as usize].state != State::InFlight {
            self.cursor += 1;
        }
        (self.cursor < end).then_some(self.cursor)
    }

    /// Content of the oldest packet in flight that was sent before `before` and has no copy on its way yet: the
    /// best use of a window that has nothing else to carry.
    pub fn oldest_uncopied(&mut self, before: Time) -> Option<Range<u64>> {
        let start = self.first_unsettled()?;
        let from = (start - self.base) as usize;
        for sent in self.sent.iter_mut().skip(from) {
            if sent.stamp.sent_at > before {
                return None;
            }
            if let (State::InFlight, false, Carries::Content(range)) =
                (sent.state, sent.copied, &sent.carries)
            {
                let range = range.clone();
                sent.copied = true;
                return Some(range);
            }
        }
        None
    }

    /// What the oldest packet in flight carried, for a probe after silence.
    pub fn oldest_in_flight(&mut self) -> Option<Carries> {
        let n = self.first_unsettled()?;
        let from = (n - self.base) as usize;
        self.sent.iter().skip(from).find_map(|s| {
            (s.state == State::InFlight && matches!(s.carries, Carries::Content(_) | Carries::Control(_)))
                .then(|| s.carries.clone())
        })
    }

    /// Drops settled packets from the front; lost ones stay long enough to be recognised when late.
    fn forget(&mut self, now: Time, rtt: &RttEstimator) {
        let memory = rtt.smoothed() * LOST_MEMORY_RTTS + self.reorder_extra + MAX_LATE;
        while let Some(front) = self.sent.front() {
            let keep = match front.state {
                State::InFlight => true,
                State::Lost => front.stamp.sent_at + memory > now,
                State::Done => false,
            };
            if keep {
                break;
            }
            self.sent.pop_front();
            self.base += 1;
        }
        self.acknowledged.forget_below(self.base);
    }
}

/// A packet later than this counts as lost for good.
const MAX_LATE: Duration = Duration::from_millis(100);

fn content_len(carries: &Carries) -> u64 {
    match carries {
        Carries::Content(range) => range.end - range.start,
        _ => 0,
    }
}

/// The peer acknowledged what was never sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("acknowledged a packet that was never sent")]
pub struct AckOfUnsent;
