//! How often what does not authenticate may cost us work or an answer.

use std::time::Duration;

use crate::protocol::time::Time;

/// So many at once, and then one in each interval.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    interval: Duration,
    burst: u32,
    /// When all that was taken has been made up for.
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

    /// Takes one, if there is one left.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let even = self.even.max(now) + self.interval;
        let left = even.since(now) <= self.interval * self.burst;
        if left {
            self.even = even;
        }
        left
    }
}

/// One budget for the addresses that were pasted and one for all others, so that others cannot use up theirs.
#[derive(Clone, Copy)]
pub(super) struct Budgets {
    told: Budget,
    other: Budget,
}

impl Budgets {
    pub(super) const fn new(told: Budget, other: Budget) -> Self {
        Budgets { told, other }
    }

    /// Takes one for an address, which was `told` by the peer or was not.
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
