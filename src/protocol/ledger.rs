//! Every packet sent and what became of it: acknowledged, lost, or still on its way.
//!
//! Loss is decided by time, as RACK does (RFC 8985): a packet sent long enough before one that arrived is lost.
//! "Long enough" widens while packets are overtaken by others, so that reordering paths are not taken for lossy ones.
//! Packet numbers are never sent twice, so an ACK always says which copy arrived.

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
/// The reordering window is at least an eighth of the RTT (RFC 9002, section 6.1.2)...
const REORDER_LEAST: u32 = 8;
/// ...and covers the age at which overtaken packets arrived of late: the most within this time, or twice this.
const LATE_SPAN: Duration = Duration::from_secs(1);
/// But no more than so much.
const LATE_MAX: Duration = Duration::from_millis(400);
/// Lost packets are remembered this long, to notice that they were only late.
const LOST_MEMORY_RTTS: u32 = 2;

/// Packets remembered at most: 10 Gbit/s for 300 ms. Only a peer that never acknowledges brings a ledger there.
const MAX_REMEMBERED: usize = 1 << 18;

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
    /// Never sent: whoever acknowledges it lies.
    Skipped,
}

#[derive(Debug)]
struct Sent {
    stamp: SendStamp,
    carries: Carries,
    bytes: u16,
    state: State,
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
pub(crate) struct Ledger {
    sent: VecDeque<Sent>,
    /// Number of `sent[0]`.
    base: u64,
    /// Everything below is settled.
    cursor: u64,
    /// Everything below is settled, was copied, or carries no content: each packet is looked at once.
    uncopied: u64,
    /// Numbers acknowledged, from `base` on.
    acknowledged: RangeSet,
    largest_acked: Option<u64>,
    in_flight: u64,
    content_in_flight: u64,
    /// Greatest age at which overtaken packets arrived, in this span of time and in the one before.
    late: [Duration; 2],
    late_since: Time,
    last_eliciting: Time,
}

impl Ledger {
    /// Empty.
    pub(crate) fn new(now: Time) -> Self {
        Ledger {
            sent: VecDeque::new(),
            base: 0,
            cursor: 0,
            uncopied: 0,
            acknowledged: RangeSet::new(),
            largest_acked: None,
            in_flight: 0,
            content_in_flight: 0,
            late: [Duration::ZERO; 2],
            late_since: now,
            last_eliciting: now,
        }
    }

    /// Bytes in flight.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Content bytes in flight.
    pub(crate) const fn content_in_flight(&self) -> u64 {
        self.content_in_flight
    }

    /// When the last packet that asks for an ACK left.
    pub(crate) const fn last_eliciting(&self) -> Time {
        self.last_eliciting
    }

    /// Notes the packet that just left. Numbers come in order, without gaps. `bytes` is 0 for a packet that asks
    /// for no ACK.
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
            self.content_in_flight += content_len(&carries);
        }
        self.sent.push_back(Sent {
            stamp,
            carries,
            bytes,
            state,
        });
    }

    /// Notes a number that no packet will have. It is remembered as long as a lost packet.
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
    ///
    /// # Errors
    /// [`FalseAck`] if it acknowledges what was never sent.
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
                    let age = now.since(settled.stamp.sent_at).min(LATE_MAX);
                    self.late[0] = self.late[0].max(age);
                }
                each(settled);
            }
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        Ok(rtt)
    }

    /// Age at which packets overtaken by others arrived of late; zero if none was.
    pub(crate) fn late(&self) -> Duration {
        self.late[0].max(self.late[1])
    }

    /// Begins a new span when this one is over.
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

    /// Declares packets lost that were sent long enough before one that arrived; calls `each` for them.
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

    /// When the next packet will be declared lost if nothing else happens.
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

    /// Content of the oldest packet in flight that was sent before `before` and has no copy on its way yet: the
    /// best use of a window that has nothing else to carry.
    pub(crate) fn oldest_uncopied(&mut self, before: Time) -> Option<Range<u64>> {
        self.uncopied = self.uncopied.max(self.base);
        loop {
            let sent = self.sent.get((self.uncopied - self.base) as usize)?;
            if sent.stamp.sent_at > before {
                return None;
            }
            self.uncopied += 1;
            if let (State::InFlight, Carries::Content(range)) = (sent.state, &sent.carries) {
                return Some(range.clone());
            }
        }
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

    /// Drops settled packets from the front; lost ones stay long enough to be recognised when late.
    fn forget(&mut self, now: Time, rtt: &RttEstimator) {
        let memory = rtt.smoothed() * LOST_MEMORY_RTTS + self.late() + MAX_LATE;
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
pub enum FalseAck {
    /// A number beyond the last one.
    #[error("an ACK of a packet that was never sent")]
    Unsent,
    /// A number left out on purpose: it acknowledges what it did not receive, to be sent more (RFC 9000, section 21.4).
    #[error("an ACK of a packet number that was skipped")]
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::super::congestion::sampler::Sampler;
    use super::super::ranges::RangeSet;
    use super::super::wire::{Frame, Frames};
    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    fn send(ledger: &mut Ledger, sampler: &mut Sampler, now: Time, carries: Carries) {
        let stamp = sampler.on_sent(now, 1200, ledger.in_flight() + 1200);
        ledger.on_sent(stamp, 1200, carries);
    }

    /// Acknowledges `numbers`; gives the content that newly arrived.
    fn ack(ledger: &mut Ledger, now: Time, numbers: &[u64]) -> Vec<Carries> {
        let mut set = RangeSet::new();
        for n in numbers {
            set.insert(*n..*n + 1);
        }
        let mut buf = Vec::new();
        Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
            panic!("an ACK")
        };
        let mut arrived = Vec::new();
        ledger
            .on_ack(now, &ack, |s| arrived.push(s.carries))
            .expect("all were sent");
        arrived
    }

    #[test]
    fn gap_is_lost_only_after_the_reordering_window_which_overtaken_packets_widen_for_a_while() {
        let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
        let mut rtt = RttEstimator::new(None);
        rtt.on_sample(Duration::from_millis(80), Duration::ZERO);
        for n in 0..3 {
            send(
                &mut ledger,
                &mut sampler,
                ms(0),
                Carries::Content(n * 10..n * 10 + 10),
            );
        }
        assert_eq!(ack(&mut ledger, ms(80), &[1, 2]).len(), 2);
        let mut lost = 0;
        ledger.detect_losses(ms(85), &rtt, |_| lost += 1);
        assert_eq!(lost, 0);
        ledger.detect_losses(ms(91), &rtt, |_| lost += 1);
        assert_eq!((lost, ledger.in_flight()), (1, 0));
        // It was only late: 250 ms after it left, many times what others took.
        assert_eq!(ack(&mut ledger, ms(250), &[0, 1, 2]), [Carries::Content(0..10)]);
        let mut wait = |ledger: &mut Ledger, now: u64| {
            let first = ledger.base + ledger.sent.len() as u64;
            send(ledger, &mut sampler, ms(now), Carries::Content(30..40));
            send(ledger, &mut sampler, ms(now), Carries::Content(40..50));
            ack(ledger, ms(now + 80), &[first + 1]);
            let mut lost = 0;
            (now..now + 500)
                .find(|t| {
                    ledger.detect_losses(ms(*t), &rtt, |_| lost += 1);
                    lost > 0
                })
                .map(|t| t - now)
        };
        assert_eq!(
            wait(&mut ledger, 300),
            Some(282),
            "as late as that one, and an eighth"
        );
        assert_eq!(wait(&mut ledger, 3000), Some(90), "that was long ago");
        let lost = ledger.base + ledger.sent.len() as u64 - 2;
        ack(&mut ledger, ms(6000), &[lost]);
        assert_eq!(
            wait(&mut ledger, 6000),
            Some(450),
            "the first after a long pause counts, too"
        );
    }

    #[test]
    fn acknowledging_what_was_never_sent_is_an_error() {
        let mut ledger = Ledger::new(ms(0));
        let mut buf = Vec::new();
        let mut set = RangeSet::new();
        set.insert(0..1);
        Ack::encode(&mut buf, 500, set.iter().rev(), 0, 0);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&buf).next() else {
            panic!("an ACK")
        };
        assert_eq!(ledger.on_ack(ms(1), &ack, |_| ()), Err(FalseAck::Unsent));
    }

    #[test]
    fn acknowledging_a_skipped_number_is_an_error_even_after_all_below_it_was_acknowledged() {
        for before in [None, Some([0, 1])] {
            let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
            let rtt = RttEstimator::new(Some(Duration::from_millis(50)));
            send(&mut ledger, &mut sampler, ms(0), Carries::Nothing);
            send(&mut ledger, &mut sampler, ms(0), Carries::Nothing);
            let stamp = sampler.on_sent(ms(0), 0, ledger.in_flight());
            ledger.on_skipped(stamp);
            send(&mut ledger, &mut sampler, ms(1), Carries::Nothing);
            assert_eq!(ledger.in_flight(), 3600);
            if let Some(numbers) = before {
                ack(&mut ledger, ms(10), &numbers);
                ledger.detect_losses(ms(10), &rtt, |_| panic!("nothing is lost"));
            }
            let mut buf = Vec::new();
            Ack::encode(&mut buf, 500, std::iter::once(&(0..4)), 0, 0);
            let Some(Ok(Frame::Ack(all))) = Frames::new(&buf).next() else {
                panic!("an ACK")
            };
            assert_eq!(ledger.on_ack(ms(20), &all, |_| ()), Err(FalseAck::Skipped));
        }
    }

    #[test]
    fn a_skipped_number_is_neither_lost_nor_in_the_way() {
        let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
        let mut rtt = RttEstimator::new(None);
        rtt.on_sample(Duration::from_millis(50), Duration::ZERO);
        let stamp = sampler.on_sent(ms(0), 0, 0);
        ledger.on_skipped(stamp);
        send(&mut ledger, &mut sampler, ms(0), Carries::Content(0..10));
        assert_eq!(ack(&mut ledger, ms(50), &[1]), [Carries::Content(0..10)]);
        ledger.detect_losses(ms(5000), &rtt, |_| panic!("nothing is lost"));
        assert!(ledger.loss_time(&rtt).is_none() && ledger.sent.is_empty());
    }

    #[test]
    fn each_packet_is_copied_once_and_looked_at_once() {
        let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
        for n in 0..100 {
            let carries = match n % 4 {
                3 => Carries::Nothing,
                _ => Carries::Content(n..n + 1),
            };
            send(&mut ledger, &mut sampler, ms(n), carries);
        }
        // The oldest stays in flight, and what is looked at begins behind it all the same.
        ack(&mut ledger, ms(100), &[1, 4, 5]);
        assert_eq!(ledger.oldest_uncopied(ms(50)), Some(0..1));
        for (copied, looked_at) in [(2, 3), (6, 7), (8, 9), (9, 10)] {
            assert_eq!(ledger.oldest_uncopied(ms(50)), Some(copied..copied + 1));
            assert_eq!(ledger.uncopied, looked_at);
        }
        let rest = std::iter::from_fn(|| ledger.oldest_uncopied(ms(50))).count();
        assert_eq!((rest, ledger.uncopied), (31, 51), "what is younger must wait");
        assert_eq!(ledger.oldest_uncopied(ms(52)), Some(52..53));
    }

    #[test]
    fn peer_that_never_acknowledges_fills_no_memory() {
        let (mut ledger, mut sampler) = (Ledger::new(ms(0)), Sampler::new(ms(0)));
        for n in 0..(MAX_REMEMBERED as u64 + 1000) {
            send(&mut ledger, &mut sampler, ms(n), Carries::Nothing);
        }
        assert_eq!(ledger.sent.len(), MAX_REMEMBERED);
        assert_eq!(ledger.in_flight(), MAX_REMEMBERED as u64 * 1200);
    }
}
