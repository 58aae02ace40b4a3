//! Limits how often a datagram that does not authenticate may cost work or an answer.

use std::time::Duration;

use crate::protocol::time::Time;

/// Allows a number at once, and then one in each interval.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    interval: Duration,
    burst: u32,
    /// When the full number will be available again.
    even: Time,
}

impl Budget {
    pub(super) const fn new(interval: Duration, burst: u32) -> Self {
        Budget {
            interval,
            burst,
            even: Time::ZERO,
        }
    }

    /// Takes one, if one is left. Returns whether it was.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let even = self.even.max(now) + self.interval;
        let left = even.since(now) <= self.interval * self.burst;
        if left {
            self.even = even;
        }
        left
    }
}

/// A budget for the pasted addresses and one for all others, so that others cannot use up the first.
#[derive(Clone, Copy)]
pub(super) struct Budgets {
    told: Budget,
    other: Budget,
}

impl Budgets {
    pub(super) const fn new(told: Budget, other: Budget) -> Self {
        Budgets { told, other }
    }

    /// Takes one for an address. `told`: whether the peer's address named it.
    pub(super) fn take(&mut self, now: Time, told: bool) -> bool {
        if told {
            self.told.take(now)
        } else {
            self.other.take(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_an_interval() {
        let mut budget = Budget::new(Duration::from_millis(10), 5);
        let start = Time::ZERO + Duration::from_secs(1);
        let taken = |budget: &mut Budget, from: u64, to: u64| {
            (from..to)
                .map(|us| start + Duration::from_micros(us))
                .filter(|at| budget.take(*at))
                .count()
        };
        assert_eq!(taken(&mut budget, 0, 9_000), 5);
        assert_eq!(taken(&mut budget, 9_000, 1_009_000), 100);
    }

    #[test]
    fn others_leave_what_is_kept_for_the_told_address() {
        let budget = |burst| Budget::new(Duration::from_secs(1), burst);
        let mut budgets = Budgets::new(budget(3), budget(2));
        let now = Time::ZERO;
        assert_eq!((0..1000).filter(|_| budgets.take(now, false)).count(), 2);
        assert_eq!((0..1000).filter(|_| budgets.take(now, true)).count(), 3);
    }
}
