//! The words for counters, clock, network and missing files.

pub(crate) mod files;
pub(crate) mod os_errors;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use super::event::{Bound, Event, Front, Phase, Progress};
use super::told::{Note, Warning};
use crate::protocol::connection::{Limit, Stats};
use crate::protocol::time::Time;
use crate::rendezvous::address::NatClass;
use crate::rendezvous::clock::WallClock;
use crate::rendezvous::outlet::Outlet;
use crate::rendezvous::stun::StunReport;
use crate::transfer::source::Absence;

/// The shortest time over which a rate is measured.
const SHORT: Duration = Duration::from_secs(1);

/// The longest such time. A peer that still sends has shorter pauses between its packets.
const LONG: Duration = Duration::from_secs(5);

/// Bytes that make a rate precise: at this many, a few packets more or less change it by a tenth.
const ENOUGH: u64 = 16 << 10;

/// Computes rate and loss from counters: over the last second, or over up to five seconds while little
/// arrives.
#[derive(Default)]
pub(super) struct Pace {
    marks: std::collections::VecDeque<(Time, u64, u64, u64)>,
    /// What the transfer is doing, and since when.
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
        let serves = |&(then, before, ..): &(Time, u64, u64, u64)| {
            let enough = done.saturating_sub(before) >= ENOUGH;
            now.since(then) >= if enough { SHORT } else { LONG }
        };
        while self.marks.len() > 2 && serves(&self.marks[1]) {
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
        // A receiver sends almost nothing, so it cannot measure loss.
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

/// Tells which clock determines the slots.
pub(super) fn tell_clock(front: &mut dyn Front, clock: &WallClock) {
    front.event(Event::Clock {
        source: clock.source(),
        offset_ms: clock.offset_nanos() / 1_000_000,
    });
}

/// Tells what the NAT is, and what it means if no server answered.
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

/// Tells whether `--external-port` has an effect.
pub(super) fn tell_forward(front: &mut dyn Front, port: Option<u16>, forwarded: Option<SocketAddr>) {
    match (port, forwarded) {
        (_, Some(at)) => front.event(Event::Note(Note::Forwarded { at })),
        (Some(port), None) => front.event(Event::Warning(Warning::UselessExternalPort { port })),
        (None, None) => {}
    }
}

/// Why something is not sent after all.
pub(crate) fn absence(why: Absence) -> Cow<'static, str> {
    Cow::Borrowed(match why {
        Absence::Unreadable => "you have no permission to read it",
        Absence::Gone => "it has gone since it was listed",
        Absence::Changed => "it changed while it was being sent",
        Absence::Replaced => "something else has taken its place since it was listed",
        Absence::Refused(error) => return Cow::Owned(os_errors::explain(&error.into()).0),
        Absence::Waits => "it gives no data now, and nobody knows when it will",
        Absence::Endless => "it does not say how much is in it, and that is a lot",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::congestion::Stage;

    fn idle() -> Stats {
        Stats {
            rtt: Duration::ZERO,
            min_rtt: Duration::ZERO,
            in_flight: 0,
            window: 0,
            pacing_rate: 0,
            bandwidth: 0,
            stage: Stage::Steady,
            sent_packets: 0,
            lost_packets: 0,
            repeated_packets: 0,
            received_packets: 0,
            forgeries: 0,
            replays: 0,
            arrived_bytes: 0,
            mtu: 1200,
            limit: Limit::Path,
        }
    }

    /// The rates that are shown while `bytes` arrive every `every`, in packets. They are computed four times
    /// a second for a minute.
    fn rates(bytes: u64, every: Duration) -> Vec<u64> {
        let (mut pace, mut told) = (Pace::default(), Vec::new());
        for tick in 1..240u32 {
            let passed = Duration::from_millis(250) * tick;
            let done = (passed.as_nanos() / every.as_nanos()) as u64 * bytes;
            let now = Time::from_nanos(1) + passed;
            let progress = pace.progress(now, done, None, Phase::Moving, &idle());
            told.push(progress.rate);
        }
        // The first seconds have too little data.
        told.split_off(24)
    }

    #[test]
    fn the_rate_is_right_within_a_tenth_from_10_kilobytes_a_second_on() {
        for rate in [10_000, 100_000, 1_000_000, 100_000_000] {
            let every = Duration::from_secs_f64(1200.0 / rate as f64);
            for told in rates(1200, every) {
                assert!(told.abs_diff(rate) <= rate / 10, "{told} for {rate}");
            }
        }
    }

    #[test]
    fn the_rate_of_what_stands_still_is_zero_within_seconds() {
        let mut pace = Pace::default();
        let mut rate = 0;
        for tick in 0..80u32 {
            let now = Time::from_nanos(1) + Duration::from_millis(250) * tick;
            let done = u64::from(tick.min(40)) * 250_000;
            rate = pace.progress(now, done, None, Phase::Moving, &idle()).rate;
        }
        assert_eq!(rate, 0);
    }
}
