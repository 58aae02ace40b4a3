//! Every sent packet and its fate: acknowledged, lost, or still in flight.
//!
//! Time decides about loss, as in RACK (RFC 8985): a packet is lost if it was sent long enough before one
//! that arrived. "Long enough" grows while packets overtake others, so that reordering is not taken for loss.
//! Packet numbers are never used twice, so an ACK always tells which copy arrived.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::congestion::sampler::SendStamp;
use super::ranges::RangeSet;
use super::rtt::RttEstimator;
use super::time::Time;
use super::wire::Ack;

/// Timer granularity (RFC 9002, section 6.1.2).
const GRANULARITY: Duration = Duration::from_millis(1);
/// The reordering window is at least this fraction of the RTT, an eighth (RFC 9002, section 6.1.2).
const REORDER_LEAST: u32 = 8;
/// The reordering window also covers the age of overtaken packets when they arrived: the greatest age in the last one
/// or two of these spans.
const LATE_SPAN: Duration = Duration::from_secs(1);
/// A greater age counts as this.
const REORDER_MOST: Duration = Duration::from_millis(400);
/// A lost packet is remembered for this many RTTs, to notice that it was only late.
const LOST_MEMORY_RTTS: u32 = 2;
/// It is remembered this much longer than the reordering seen lately.
const LOST_MEMORY_SLACK: Duration = Duration::from_millis(100);

/// The most packets remembered: 10 Gbit/s for 300 ms. Only a peer that never acknowledges makes it grow to
/// that.
const MAX_REMEMBERED: usize = 1 << 18;

/// What a packet carried that must arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carries {
    /// Nothing that must be sent again (ACK, PING, path frames).
    Nothing,
    /// Content bytes; an empty range if all of them are sent anew.
    Content(Range<u64>),
    /// Control stream bytes.
    Control(Range<u64>),
    /// Padding, which tests whether the path carries this many bytes.
    MtuProbe(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It is on its way and counts as in flight.
    InFlight,
    /// It arrived, or nothing waits for it.
    Done,
    Lost,
    /// It was never sent. An ACK of it is a lie.
    Skipped,
}

#[derive(Debug)]
struct Sent {
    stamp: SendStamp,
    carries: Carries,
    bytes: u16,
    state: State,
}

/// A packet whose fate was decided by an ACK or by time.
#[derive(Debug)]
pub struct Settled {
    /// The sampler's counters when it was sent.
    pub stamp: SendStamp,
    /// What it carried.
    pub carries: Carries,
    /// Its size.
    pub bytes: u64,
    /// Whether it was declared lost before.
    pub was_lost: bool,
}

/// The sent packets whose fate is not yet decided.
#[derive(Default, Debug)]
pub(crate) struct SentPackets {
    sent: VecDeque<Sent>,
    /// The number of `sent[0]`.
    base: u64,
    /// All packets below are settled.
    cursor: u64,
    /// Packets that this pass of copies has not looked at yet, from the newest to the oldest.
    copying: Option<Range<u64>>,
    /// All packets below belong to a pass, so each is looked at once.
    uncopied: u64,
    /// Acknowledged numbers from `base` on.
    acknowledged: RangeSet,
    largest_acked: Option<u64>,
    in_flight: u64,
    content_in_flight: u64,
    /// The greatest age at which overtaken packets arrived, in this time span and in the one before.
    late: [Duration; 2],
    late_since: Time,
    last_eliciting: Time,
}

impl SentPackets {
    /// Starts with no packet.
    pub(crate) fn new(now: Time) -> Self {
        SentPackets {
            late_since: now,
            last_eliciting: now,
            ..SentPackets::default()
        }
    }

    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes in flight of packets with content.
    pub(crate) const fn content_in_flight(&self) -> u64 {
        self.content_in_flight
    }

    /// When the last packet that asks for an ACK left.
    pub(crate) const fn last_eliciting(&self) -> Time {
        self.last_eliciting
    }

    /// Records the packet that just left. Numbers must come in order and without gaps. `bytes` is 0 for a
    /// packet that asks for no ACK.
    pub(crate) fn on_sent(&mut self, stamp: SendStamp, bytes: u16, carries: Carries) {
        if self.sent.len() >= MAX_REMEMBERED {
            self.settle(0, State::Done);
            self.sent.pop_front();
            self.base += 1;
        }
        let state = if bytes > 0 { State::InFlight } else { State::Done };
        if bytes > 0 {
            self.last_eliciting = stamp.sent_at;
            self.in_flight += u64::from(bytes);
            self.content_in_flight += content_bytes(&carries, bytes);
        }
        self.sent.push_back(Sent {
            stamp,
            carries,
            bytes,
            state,
        });
    }

    /// Records a number that no packet will have. It is remembered as long as a lost packet.
    pub(crate) fn on_skipped(&mut self, stamp: SendStamp) {
        self.on_sent(stamp, 0, Carries::Nothing);
        if let Some(last) = self.sent.back_mut() {
            last.state = State::Skipped;
        }
    }

    fn settle(&mut self, index: usize, state: State) -> Settled {
        let sent = &mut self.sent[index];
        let was_lost = sent.state == State::Lost;
        if sent.state == State::InFlight {
            self.in_flight -= u64::from(sent.bytes);
            self.content_in_flight -= content_bytes(&sent.carries, sent.bytes);
        }
        sent.state = state;
        Settled {
            stamp: sent.stamp,
            carries: sent.carries.clone(),
            bytes: u64::from(sent.bytes),
            was_lost,
        }
    }

    /// Takes an ACK, and calls `each` for every packet that it newly acknowledges. Returns the RTT sample of
    /// the largest number, if that number is newly acknowledged.
    ///
    /// # Errors
    /// [`FalseAck`] if it covers a packet that was never sent: the peer misbehaves.
    pub(crate) fn on_ack(
        &mut self,
        now: Time,
        ack: &Ack<'_>,
        mut each: impl FnMut(Settled),
    ) -> Result<Option<Duration>, FalseAck> {
        let end = self.base + self.sent.len() as u64;
        if ack.largest >= end {
            return Err(FalseAck::Unsent);
        }
        self.forget_late(now);
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
                if self.sent[index].state == State::Skipped {
                    return Err(FalseAck::Skipped);
                }
                if self.sent[index].bytes == 0 {
                    continue;
                }
                let settled = self.settle(index, State::Done);
                if n == ack.largest && newest_is_new {
                    rtt = Some(now.since(settled.stamp.sent_at));
                }
                if self.largest_acked.is_some_and(|l| n < l) {
                    let age = now.since(settled.stamp.sent_at).min(REORDER_MOST);
                    self.late[0] = self.late[0].max(age);
                }
                each(settled);
            }
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        Ok(rtt)
    }

    /// The age at which overtaken packets arrived lately; zero if there were none.
    pub(crate) fn late(&self) -> Duration {
        self.late[0].max(self.late[1])
    }

    /// Begins a new time span when this one is over.
    fn forget_late(&mut self, now: Time) {
        let since = now.since(self.late_since);
        if since < LATE_SPAN {
            return;
        }
        let [current, _] = self.late;
        let before = if since < LATE_SPAN * 2 {
            current
        } else {
            Duration::ZERO
        };
        self.late = [Duration::ZERO, before];
        self.late_since = now;
    }

    fn loss_delay(&self, rtt: &RttEstimator) -> Duration {
        let base = rtt.smoothed().max(rtt.latest());
        let wait = base.max(self.late());
        wait + (wait / REORDER_LEAST).max(GRANULARITY)
    }

    /// Declares packets lost that were sent long enough before one that arrived, and calls `each` for them.
    pub(crate) fn detect_losses(&mut self, now: Time, rtt: &RttEstimator, mut each: impl FnMut(Settled)) {
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

    /// This content will be sent anew with other bytes. So the fate of packets that carried it no longer matters for
    /// it. They stay in flight.
    pub(crate) fn withdraw(&mut self, content: &Range<u64>) {
        for sent in &mut self.sent {
            let Carries::Content(range) = &mut sent.carries else {
                continue;
            };
            // A packet is shorter than a block, so no piece in its middle is withdrawn.
            if range.start < content.start {
                range.end = range.end.min(content.start);
            } else if range.start < content.end {
                range.start = range.end.min(content.end);
            }
        }
    }

    /// When the next packet will be declared lost, if nothing else happens.
    pub(crate) fn loss_time(&mut self, rtt: &RttEstimator) -> Option<Time> {
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

    /// The content of a packet in flight that was not copied yet. A copy of it is the best use of a window that has
    /// nothing else to carry. The newest comes first, because what is older is acknowledged or lost soon. `None` ends a pass
    /// over what was in flight when it began; the next one begins with what was sent since, copies included.
    pub(crate) fn newest_uncopied(&mut self) -> Option<Range<u64>> {
        let end = self.base + self.sent.len() as u64;
        let pass = self
            .copying
            .get_or_insert_with(|| std::mem::replace(&mut self.uncopied, end)..end);
        pass.start = pass.start.max(self.base);
        while !pass.is_empty() {
            pass.end -= 1;
            let sent = &self.sent[(pass.end - self.base) as usize];
            if let (State::InFlight, Carries::Content(range)) = (sent.state, &sent.carries)
                && !range.is_empty()
            {
                return Some(range.clone());
            }
        }
        self.copying = None;
        None
    }

    /// What the oldest packet in flight carried, for a probe after silence.
    pub(crate) fn oldest_in_flight(&mut self) -> Option<Carries> {
        let n = self.first_unsettled()?;
        let from = (n - self.base) as usize;
        self.sent.iter().skip(from).find_map(|s| {
            (s.state == State::InFlight && matches!(s.carries, Carries::Content(_) | Carries::Control(_)))
                .then(|| s.carries.clone())
        })
    }

    /// Drops settled packets from the front. Lost ones stay long enough to be recognised when they arrive
    /// late.
    fn forget(&mut self, now: Time, rtt: &RttEstimator) {
        let memory = rtt.smoothed() * LOST_MEMORY_RTTS + self.late() + LOST_MEMORY_SLACK;
        while let Some(front) = self.sent.front() {
            let keep = match front.state {
                State::InFlight => true,
                State::Lost | State::Skipped => front.stamp.sent_at + memory > now,
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

fn content_bytes(carries: &Carries, bytes: u16) -> u64 {
    match carries {
        Carries::Content(_) => u64::from(bytes),
        _ => 0,
    }
}

/// The peer acknowledged a packet that was never sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FalseAck {
    /// The number is beyond the last one.
    #[error("an ACK of a packet that was never sent")]
    Unsent,
    /// The number was skipped: the peer acknowledges packets it did not receive, to make this end send faster
    /// (RFC 9000, section 21.4).
    #[error("an ACK of a packet number that was skipped")]
    Skipped,
}

#[cfg(test)]
mod tests;
