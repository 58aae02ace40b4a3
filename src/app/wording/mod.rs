//! What people read of a run: counters, clock and network in words.

pub(crate) mod files;

use super::event::{Bound, ClockSource, Event, Front, Phase, Progress};
use crate::protocol::connection::{Limit, Stats};
use crate::protocol::time::Time;
use crate::rendezvous::address::NatClass;
use crate::rendezvous::clock::{ClockSource as Source, WallClock};
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::stun::StunReport;
use std::net::SocketAddr;
use std::time::Duration;

/// Details for those who ask for them.
pub(super) fn describe(stats: &Stats) -> String {
    format!(
        "{:?}, limited by {:?}: {:.1} Mbit/s paced, {} KiB in flight of {}, RTT {:.1} ms (least {:.1}), \
         {} sent, {} lost, {} repeated, {} forged, {} replayed, MTU {}",
        stats.stage,
        stats.limit,
        stats.pacing_rate as f64 * 8e-6,
        stats.in_flight >> 10,
        stats.window >> 10,
        stats.rtt.as_secs_f64() * 1e3,
        stats.min_rtt.as_secs_f64() * 1e3,
        stats.sent_packets,
        stats.lost_packets,
        stats.repeated_packets,
        stats.forgeries,
        stats.replays,
        stats.mtu
    )
}

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
    front.event(Event::Network(nat.to_string()));
    let outlet = outlet.filter(|outlet| **outlet != Outlet::Open);
    match (report.answered, outlet) {
        (_, Some(outlet)) => front.event(Event::Warning(format!("{outlet}: {}", outlet.remedy()))),
        (0, None) => front.event(Event::Warning(
            "no STUN server answered, so your address outside this network is not known: only a peer on the same \
             network, or with IPv6, can reach you"
                .into(),
        )),
        (_, None) => {}
    }
}

/// Says what becomes of `--external-port`.
pub(super) fn tell_forward(front: &mut dyn Front, port: Option<u16>, forwarded: Option<SocketAddr>) {
    match (port, forwarded) {
        (_, Some(at)) => front.event(Event::Note(format!("the peer is told to come in at {at}"))),
        (Some(port), None) => front.event(Event::Warning(format!(
            "--external-port {port} is of no use without an outside address, which no STUN server told"
        ))),
        (None, None) => {}
    }
}
