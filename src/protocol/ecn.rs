//! Explicit congestion notification (RFC 3168): the mark of sent packets, and whether the path keeps marks.
//!
//! Packets leave as ECT(0) until the peer's counts show that the path changes marks (RFC 9000, section 13.4.2), or
//! silence shows that it drops marked packets. A peer that lies can only claim too much congestion, and then it
//! receives less. Packets with only an ACK (RFC 3168, section 6.1.4) and path frames are not marked, because nobody
//! notices their loss.

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
    /// As ECT(0).
    pub ect0: u64,
    /// As CE.
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

/// If the first packets all arrive as CE, this many of them, the path marks everything (RFC 9000, section 13.4.2).
const ALL_MARKED: u64 = 10;
/// Probes in a row without any answer, after which the path may be one that drops what is ECT(0).
const DROPPED: u32 = 3;

/// Whether packets are sent as ECT(0), and the proof that they may be.
#[derive(Debug)]
pub(crate) struct EcnPath {
    on: bool,
    /// Packets that left as ECT(0). Of those that left after `since`, `acked` are acknowledged.
    sent: u64,
    since: Time,
    acked: u64,
    /// Whether a packet that left after `since` was acknowledged.
    answered: bool,
    /// After how many unanswered probes in a row the peer was heard.
    heard: Option<u32>,
    /// The peer's counts at that time, and the highest by now. An ACK that was overtaken tells lower ones.
    base: EcnCounts,
    told: EcnCounts,
}

impl EcnPath {
    pub(crate) fn new(now: Time) -> Self {
        EcnPath {
            on: true,
            since: now,
            sent: 0,
            acked: 0,
            answered: false,
            heard: None,
            base: EcnCounts::default(),
            told: EcnCounts::default(),
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
        self.heard = None;
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

    /// So many probes in a row were not answered. An outage is no proof, but it ends when the peer is heard.
    pub(crate) fn on_silence(&mut self, probes: u32) {
        let of_outage = match self.heard {
            _ if !self.answered => 0,
            Some(probes) => probes,
            None => return,
        };
        if probes >= of_outage + DROPPED {
            self.on = false;
        }
    }

    /// The peer was heard after so many unanswered probes.
    pub(crate) fn on_heard(&mut self, probes: u32) {
        self.heard.get_or_insert(probes);
    }

    /// The path changes. Another path may keep marks that the last one changed.
    pub(crate) fn on_path_change(&mut self, now: Time) {
        (self.since, self.answered, self.heard) = (now, false, None);
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

    #[test]
    fn a_path_where_nothing_marked_arrives_is_tried_without() {
        let mut silent = EcnPath::new(Time::ZERO);
        silent.on_sent();
        (1..4).for_each(|probes| silent.on_silence(probes));
        assert_eq!(silent.mark(), Ecn::NotEct);
        let mut known = path();
        known.on_silence(9);
        assert_eq!(known.mark(), Ecn::Ect0, "an outage is no proof");
        known.on_heard(9);
        known.on_silence(11);
        assert_eq!(known.mark(), Ecn::Ect0, "their answers may be on their way");
        known.on_silence(12);
        assert_eq!(known.mark(), Ecn::NotEct);
        let mut moved = path();
        moved.on_path_change(Time::from_nanos(5));
        moved.on_silence(DROPPED);
        assert_eq!(
            moved.mark(),
            Ecn::NotEct,
            "what the old path answered proves nothing"
        );
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
