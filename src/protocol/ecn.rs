//! Explicit congestion notification (RFC 3168): the mark of sent packets, and whether the path keeps marks.
//!
//! Packets leave as ECT(0) until the peer's counts show that the path changes marks (RFC 9000, section 13.4.2), or
//! silence shows that it drops marked packets. A peer that lies can only claim too much congestion, and then it
//! receives less. Packets with only an ACK (RFC 3168, section 6.1.4) and path frames are not marked, because nobody
//! notices their loss.

use std::time::Duration;

use super::time::Time;

/// The two ECN bits of an IP header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Ecn {
    /// Not ECN-capable. ECT(1) counts as this, too: this program never sends it.
    #[default]
    NotEct,
    /// A queue may mark the packet in place of dropping it.
    Ect0,
    /// A queue that grows has marked the packet.
    Ce,
}

/// How many packets arrived with marks, over the life of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct EcnCounts {
    /// Packets that arrived as ECT(0).
    pub ect0: u64,
    /// Packets that arrived as CE.
    pub ce: u64,
}

impl EcnCounts {
    /// A packet arrived.
    pub(crate) fn count(&mut self, ecn: Ecn) {
        match ecn {
            Ecn::NotEct => {}
            Ecn::Ect0 => self.ect0 += 1,
            Ecn::Ce => self.ce += 1,
        }
    }

    fn total(self) -> u64 {
        self.ect0.saturating_add(self.ce)
    }
}

/// If at least this many packets arrived and all of them are CE, the path marks everything (RFC 9000, section 13.4.2).
const ALL_MARKED: u64 = 10;
/// After this many probes in a row without an answer, the path may drop packets that are ECT(0).
const DROPPED: u32 = 3;

/// Whether packets are sent as ECT(0), and the proof that they may be.
#[derive(Default, Debug)]
pub(crate) struct EcnPath {
    on: bool,
    /// Packets that left as ECT(0). Of those that left after `since`, `acked` are acknowledged.
    sent: u64,
    since: Time,
    acked: u64,
    /// Whether a packet that left after `since` was acknowledged.
    answered: bool,
    /// Whether the peer was heard since the first probe of this silence.
    heard: bool,
    /// How many probes of this silence count, and when the last of them left.
    tries: u32,
    tried_at: Time,
    /// The peer's counts at `since`, and the highest so far. An ACK that was overtaken tells lower ones.
    base: EcnCounts,
    told: EcnCounts,
}

impl EcnPath {
    pub(crate) fn new(now: Time) -> Self {
        EcnPath {
            on: true,
            since: now,
            tried_at: now,
            ..EcnPath::default()
        }
    }

    /// The mark of the next packets.
    pub(crate) const fn mark(&self) -> Ecn {
        if self.on { Ecn::Ect0 } else { Ecn::NotEct }
    }

    /// An ack-eliciting packet leaves.
    pub(crate) fn on_sent(&mut self) {
        self.sent += u64::from(self.on);
    }

    /// An ack-eliciting packet that left at `sent_at` was acknowledged.
    pub(crate) fn on_acked(&mut self, sent_at: Time) {
        self.acked += u64::from(sent_at > self.since);
        self.answered |= sent_at > self.since;
        (self.heard, self.tries) = (false, 0);
    }

    /// An ACK reported these counts; [`on_acked`](Self::on_acked) has been called for its packets. Returns how many
    /// packets were marked since the last one.
    pub(crate) fn on_counts(&mut self, counts: EcnCounts) -> u64 {
        let before = self.told;
        self.told = EcnCounts {
            ect0: before.ect0.max(counts.ect0),
            ce: before.ce.max(counts.ce),
        };
        let arrived = self.told.total().saturating_sub(self.base.total());
        let all_marked = self.told.ect0 == self.base.ect0 && arrived >= ALL_MARKED;
        if arrived < self.acked || arrived > self.sent || all_marked {
            self.on = false;
        }
        if self.on { self.told.ce - before.ce } else { 0 }
    }

    /// Probe number `nth` of a silence leaves, and an answer takes `answer`. During an outage, missing answers prove
    /// nothing about marks; the outage ends when the peer is heard. The probes of the last round trip prove nothing
    /// either, because their answers may be on their way.
    pub(crate) fn on_probe(&mut self, now: Time, nth: u32, answer: Duration) {
        if nth == 1 {
            (self.heard, self.tries) = (false, 0);
        }
        if self.answered && !self.heard {
            return;
        }
        if self.tries < DROPPED {
            self.tries += 1;
            self.tried_at = now;
        } else if now.since(self.tried_at) >= answer {
            self.on = false;
        }
    }

    pub(crate) const fn on_heard(&mut self) {
        self.heard = true;
    }

    /// The path changes. Another path may keep marks that the last one changed.
    pub(crate) fn on_path_change(&mut self, now: Time) {
        (self.since, self.answered, self.heard, self.tries) = (now, false, false, 0);
        if !self.on {
            *self = EcnPath {
                base: self.told,
                told: self.told,
                ..EcnPath::new(now)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ect0: u64, ce: u64) -> EcnCounts {
        EcnCounts { ect0, ce }
    }

    /// A path on which twenty packets were sent and ten acknowledged.
    fn path() -> EcnPath {
        let mut path = EcnPath::new(Time::ZERO);
        (0..20).for_each(|_| path.on_sent());
        (0..10).for_each(|_| path.on_acked(Time::from_nanos(1)));
        path
    }

    #[test]
    fn marks_are_told_once_in_whatever_order_acks_come() {
        let mut path = path();
        assert_eq!(path.on_counts(counts(10, 3)), 3);
        assert_eq!(path.on_counts(counts(8, 2)), 0, "an ACK that was overtaken");
        assert_eq!(path.on_counts(counts(12, 4)), 1);
        assert_eq!(path.mark(), Ecn::Ect0);
    }

    #[test]
    fn a_path_that_bleaches_is_not_marked_for() {
        let mut path = path();
        assert_eq!(path.on_counts(counts(5, 4)), 0);
        assert_eq!(path.mark(), Ecn::NotEct);
    }

    #[test]
    fn counts_of_more_than_was_sent_are_a_lie() {
        for lie in [counts(20, 1), counts(0, 21), counts(u64::MAX, u64::MAX)] {
            let mut path = path();
            assert_eq!(path.on_counts(lie), 0);
            assert_eq!(path.mark(), Ecn::NotEct);
        }
    }

    #[test]
    fn a_path_that_marks_everything_says_nothing() {
        let mut path = path();
        assert_eq!(path.on_counts(counts(0, 10)), 0);
        assert_eq!(path.mark(), Ecn::NotEct);
    }

    /// Whether the path is marked for after these probes, a tenth of a second apart.
    fn is_marked_after(path: &mut EcnPath, probes: std::ops::RangeInclusive<u32>, answer: Duration) -> bool {
        for nth in probes {
            let now = Time::ZERO + Duration::from_millis(100) * nth;
            path.on_probe(now, nth, answer);
        }
        path.mark() == Ecn::Ect0
    }

    const NEAR: Duration = Duration::from_millis(100);
    const FAR: Duration = Duration::from_millis(800);

    #[test]
    fn a_path_where_nothing_marked_arrives_is_tried_without() {
        let mut silent = EcnPath::new(Time::ZERO);
        assert!(is_marked_after(&mut silent, 1..=3, NEAR));
        assert!(!is_marked_after(&mut silent, 4..=4, NEAR));
        let mut moved = path();
        moved.on_path_change(Time::from_nanos(5));
        assert!(
            !is_marked_after(&mut moved, 1..=4, NEAR),
            "what the old path answered proves nothing"
        );
    }

    #[test]
    fn probes_that_no_answer_can_have_met_are_no_proof() {
        let mut far = EcnPath::new(Time::ZERO);
        assert!(is_marked_after(&mut far, 1..=10, FAR));
        assert!(!is_marked_after(&mut far, 11..=11, FAR));
    }

    #[test]
    fn an_outage_is_no_proof_until_it_has_ended() {
        let mut known = path();
        assert!(is_marked_after(&mut known, 1..=9, FAR));
        known.on_heard();
        assert!(is_marked_after(&mut known, 10..=19, FAR));
        assert!(!is_marked_after(&mut known, 20..=20, FAR));
        let mut dark_again = path();
        dark_again.on_heard();
        assert!(is_marked_after(&mut dark_again, 1..=20, NEAR));
    }

    #[test]
    fn another_path_is_tried_again_and_owes_nothing_of_the_old_one() {
        let mut path = path();
        path.on_counts(counts(4, 1));
        path.on_path_change(Time::from_nanos(5));
        assert_eq!(path.mark(), Ecn::Ect0);
        path.on_sent();
        path.on_acked(Time::from_nanos(5));
        path.on_acked(Time::from_nanos(6));
        assert_eq!(path.on_counts(counts(5, 1)), 0);
        assert_eq!(path.mark(), Ecn::Ect0);
    }
}
