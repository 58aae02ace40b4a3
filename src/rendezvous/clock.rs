//! One clock for two computers: Unix time from NTP answers, and the slots that both derive from it.

use std::fmt;

use super::address::Timekeeping;
use crate::protocol::Role;
use crate::protocol::time::Time;

const SLOT_NANOS: u64 = 10_000_000_000;

/// An answer with a longer round trip is too imprecise.
const MAX_RTT_NANOS: i64 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NtpSample {
    /// How far the server's clock is ahead of the system's, in nanoseconds.
    pub offset_nanos: i64,
    /// The round-trip time, in nanoseconds; negative in a broken answer.
    pub rtt_nanos: i64,
}

/// The source of the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClockSource {
    /// The median of NTP answers.
    Ntp {
        /// How many servers gave a plausible answer.
        servers: usize,
    },
    /// The system's clock, because no NTP server gave a usable answer.
    System,
}

/// The number of a slot, counted from 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SlotIndex(u64);

impl SlotIndex {
    /// The slot that contains the Unix time `unix_nanos`.
    pub(crate) const fn containing(unix_nanos: u64) -> Self {
        SlotIndex(unix_nanos / SLOT_NANOS)
    }

    pub(crate) const fn next(self) -> Self {
        SlotIndex(self.0 + 1)
    }

    /// Which of `n` port pairs this slot uses.
    pub(crate) const fn pair(self, n: usize) -> usize {
        (self.0 % n as u64) as usize
    }

    /// The role that leads in this slot.
    pub(super) const fn leader(self) -> Role {
        if self.0.is_multiple_of(2) {
            Role::Sender
        } else {
            Role::Receiver
        }
    }

    /// When it begins, in Unix nanoseconds.
    const fn start_unix_nanos(self) -> u64 {
        self.0 * SLOT_NANOS
    }

    /// The lower 32 bits, which last for 1,300 years.
    pub(crate) const fn low_bits(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

/// Converts between the run's time and Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallClock {
    unix_at_zero: i128,
    offset_nanos: i64,
    source: ClockSource,
}

impl WallClock {
    /// Takes the median of the usable samples (0 <= round trip < 1 s), or the system clock if there is none.
    /// `system_unix_nanos` is the system's clock at `now`.
    pub(crate) fn from_samples(samples: &[NtpSample], system_unix_nanos: u64, now: Time) -> Self {
        let mut offsets: Vec<i64> = samples
            .iter()
            .filter(|s| (0..MAX_RTT_NANOS).contains(&s.rtt_nanos))
            .map(|s| s.offset_nanos)
            .collect();
        offsets.sort_unstable();
        let (offset_nanos, source) = match offsets.get(offsets.len() / 2) {
            None => (0, ClockSource::System),
            Some(&upper) => {
                let lower = offsets[(offsets.len() - 1) / 2];
                let median = lower.midpoint(upper);
                let servers = offsets.len();
                (median, ClockSource::Ntp { servers })
            }
        };
        let unix_at_zero =
            i128::from(system_unix_nanos) + i128::from(offset_nanos) - i128::from(now.as_nanos());
        WallClock {
            unix_at_zero,
            offset_nanos,
            source,
        }
    }

    /// The system's clock without a correction.
    pub fn system(system_unix_nanos: u64, now: Time) -> Self {
        WallClock::from_samples(&[], system_unix_nanos, now)
    }

    /// The clock with new samples, after the system's clock or the run's clock has jumped. Without an answer,
    /// the offset to the system's clock stays the same.
    pub(crate) fn renewed(&self, samples: &[NtpSample], system_unix_nanos: u64, now: Time) -> Self {
        let new = WallClock::from_samples(samples, system_unix_nanos, now);
        if new.source != ClockSource::System {
            return new;
        }
        WallClock {
            unix_at_zero: new.unix_at_zero + i128::from(self.offset_nanos),
            ..*self
        }
    }

    /// What an address tells about this clock.
    pub(crate) const fn timekeeping(&self) -> Timekeeping {
        match self.source {
            ClockSource::Ntp { .. } => Timekeeping::Told,
            ClockSource::System => Timekeeping::Untold,
        }
    }

    pub(crate) const fn source(&self) -> ClockSource {
        self.source
    }

    /// How far this clock is ahead of the system's, in nanoseconds.
    pub(crate) const fn offset_nanos(&self) -> i64 {
        self.offset_nanos
    }

    /// The Unix time at `time`, in nanoseconds.
    pub(crate) fn unix_nanos(&self, time: Time) -> u64 {
        u64::try_from(self.unix_at_zero + i128::from(time.as_nanos())).unwrap_or(0)
    }

    /// The run's time at the Unix time `unix_nanos`; zero if that was before the run.
    pub(crate) fn time(&self, unix_nanos: u64) -> Time {
        Time::from_nanos(u64::try_from(i128::from(unix_nanos) - self.unix_at_zero).unwrap_or(0))
    }

    /// The slot that contains `time`.
    pub(crate) fn slot(&self, time: Time) -> SlotIndex {
        SlotIndex::containing(self.unix_nanos(time))
    }

    /// When `slot` begins.
    pub(crate) fn slot_start(&self, slot: SlotIndex) -> Time {
        self.time(slot.start_unix_nanos())
    }
}

impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.offset_nanos / 1_000_000;
        match self.source {
            ClockSource::Ntp { servers } => {
                write!(
                    f,
                    "{servers} NTP answers, system clock corrected by {millis:+} ms"
                )
            }
            ClockSource::System => write!(f, "the system's (no NTP server answered)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn samples(pairs: &[(i64, i64)]) -> Vec<NtpSample> {
        pairs
            .iter()
            .map(|&(o, r)| NtpSample {
                offset_nanos: o * MS,
                rtt_nanos: r * MS,
            })
            .collect()
    }

    #[test]
    fn a_liar_a_negative_and_a_slow_answer_do_not_move_the_clock() {
        let four_years = 126_000_000_000;
        let clock = WallClock::from_samples(
            &samples(&[
                (10, 20),
                (12, 30),
                (four_years, 5),
                (-9000, -1),
                (9000, 1000),
                (11, 8),
            ]),
            1_000_000_000_000,
            Time::from_nanos(5),
        );
        assert_eq!(clock.offset_nanos(), 11 * MS + MS / 2);
        assert_eq!(clock.unix_nanos(Time::from_nanos(5)), 1_000_011_500_000);
    }

    #[test]
    fn without_an_answer_it_is_the_systems_clock_and_says_so() {
        let clock = WallClock::from_samples(&samples(&[(5, -3)]), 77, Time::from_nanos(7));
        assert_eq!(clock.source(), ClockSource::System);
        assert_eq!(clock.unix_nanos(Time::from_nanos(9)), 79);
    }

    #[test]
    fn after_a_jump_the_time_is_that_of_new_answers_or_as_far_from_the_systems_as_before() {
        let clock = WallClock::from_samples(&samples(&[(40, 1)]), 1_000_000_000, Time::ZERO);
        // The machine slept for a hundred seconds. The run's clock stood still meanwhile.
        let (system, now) = (101_000_000_000, Time::from_nanos(1));
        let renewed = clock.renewed(&samples(&[(-7, 1)]), system, now);
        assert_eq!(renewed.unix_nanos(now), system - 7_000_000);
        let carried = clock.renewed(&[], system, now);
        assert_eq!(carried.unix_nanos(now), system + 40_000_000);
        assert_eq!(carried.source(), clock.source());
    }

    #[test]
    fn slots_begin_on_the_tens_of_unix_seconds() {
        let clock = WallClock::system(1_795_236_107_500_000_000, Time::from_nanos(1_000));
        let next = clock.slot(Time::from_nanos(1_000)).next();
        assert_eq!(next.start_unix_nanos(), 1_795_236_110_000_000_000);
        assert_eq!(clock.slot_start(next), Time::from_nanos(2_500_001_000));
    }
}
