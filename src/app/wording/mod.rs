//! What people read of a run: counters, clock and network in words.

pub(crate) mod files;

use super::event::{Bound, ClockSource, Event, Front, Phase, Progress};
use super::told::{Note, Warning};
use crate::protocol::connection::{Limit, Stats};
use crate::protocol::time::Time;
use crate::rendezvous::address::NatClass;
use crate::rendezvous::clock::{ClockSource as Source, WallClock};
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::stun::StunReport;
use std::net::SocketAddr;
use std::time::Duration;

/// Turns counters into the rate and loss of about the last second.
#[derive(Default)]
pub(super) struct Pace {
    marks: std::collections::VecDeque<(Time, u64, u64, u64)>,
    /// What is being done, and since when.
    phase: Option<(Phase, Time)>,
}

impl Pace {
    pub(super) fn progress(
        &mut self,
        now: Time,
        done: u64,
        total: Option<u64>,
        phase: Phase,
        stats: &Stats,
    ) -> Progress {
        self.marks
            .push_back((now, done, stats.sent_packets, stats.lost_packets));
        while self.marks.len() > 2 && now.since(self.marks[1].0) >= Duration::from_secs(1) {
            self.marks.pop_front();
        }
        let begun = match self.phase {
            Some((known, begun)) if known == phase => begun,
            _ => now,
        };
        self.phase = Some((phase, begun));
        let (then, before, sent, lost) = self.marks[0];
        let elapsed = now.since(then).as_secs_f64();
        let rate = if elapsed > 0.0 {
            (done.saturating_sub(before) as f64 / elapsed) as u64
        } else {
            0
        };
        let packets = stats.sent_packets.saturating_sub(sent);
        // A receiver sends next to nothing and cannot tell.
        let loss = (packets > 20).then(|| stats.lost_packets.saturating_sub(lost) as f64 / packets as f64);
        let bound = match (loss, stats.limit) {
            (None, _) => Bound::Unknown,
            (_, Limit::Path) => Bound::Path,
            (_, Limit::Peer) => Bound::Peer,
            (_, Limit::Source) => Bound::Disk,
            (_, Limit::User) => Bound::Limit,
        };
        Progress {
            done,
            total,
            phase,
            since: now.since(begun),
            rate,
            rtt: stats.rtt,
            loss,
            bound,
        }
    }
}

/// Says which clock the slots go by.
pub(super) fn tell_clock(front: &mut dyn Front, clock: &WallClock) {
    let source = match clock.source() {
        Source::Ntp { answers, .. } => ClockSource::Ntp { servers: answers },
        Source::System => ClockSource::System,
    };
    front.event(Event::Clock {
        source,
        offset_ms: clock.offset_nanos() / 1_000_000,
    });
}

/// Says what the NAT is, and what that means if no server answered.
pub(super) fn tell_network(
    front: &mut dyn Front,
    report: &StunReport,
    nat: NatClass,
    outlet: Option<&Outlet>,
) {
    front.event(Event::Network(nat));
    match outlet.and_then(Warning::of_outlet) {
        Some(warning) => front.event(Event::Warning(warning)),
        None if report.answered == 0 => front.event(Event::Warning(Warning::NoOutsideAddress)),
        None => {}
    }
}

/// Says what becomes of `--external-port`.
pub(super) fn tell_forward(front: &mut dyn Front, port: Option<u16>, forwarded: Option<SocketAddr>) {
    match (port, forwarded) {
        (_, Some(at)) => front.event(Event::Note(Note::Forwarded { at })),
        (Some(port), None) => front.event(Event::Warning(Warning::UselessExternalPort { port })),
        (None, None) => {}
    }
}
