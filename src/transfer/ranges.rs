//! Sets of 32-bit numbers kept as runs: blocks of a content, entries of a list.

use std::collections::BTreeMap;

/// A range of numbers, `start..end`; never empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// First number in it.
    pub start: u32,
    /// First number after it.
    pub end: u32,
}

/// A set of 32-bit numbers. Its size grows with the number of runs, not of members.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct RunSet {
    runs: BTreeMap<u32, u32>,
    count: u32,
}

impl RunSet {
    /// Adds `start..end`; returns how many of its numbers are new.
    pub(crate) fn insert(&mut self, start: u32, end: u32) -> u32 {
        if start >= end {
            return 0;
        }
        let (mut low, mut high, mut absorbed) = (start, end, 0);
        while let Some((&s, &e)) = self.runs.range(..=high).next_back() {
            if e < low {
                break;
            }
            absorbed += e - s;
            low = low.min(s);
            high = high.max(e);
            self.runs.remove(&s);
        }
        self.runs.insert(low, high);
        let added = (high - low) - absorbed;
        self.count += added;
        added
    }

    /// Adds `value`; true if it is new.
    pub(crate) fn add(&mut self, value: u32) -> bool {
        self.insert(value, value + 1) > 0
    }

    /// Removes and returns the first `count` runs.
    pub(crate) fn take_first(&mut self, count: usize) -> Vec<Run> {
        let first: Vec<Run> = std::iter::from_fn(|| self.runs.pop_first())
            .take(count)
            .map(|(start, end)| Run { start, end })
            .collect();
        self.count -= first.iter().map(|run| run.end - run.start).sum::<u32>();
        first
    }

    /// Removes `value`; true if it was a member.
    pub(crate) fn remove(&mut self, value: u32) -> bool {
        let Some((&start, &end)) = self.runs.range(..=value).next_back() else {
            return false;
        };
        if value >= end {
            return false;
        }
        self.runs.remove(&start);
        if start < value {
            self.runs.insert(start, value);
        }
        if value + 1 < end {
            self.runs.insert(value + 1, end);
        }
        self.count -= 1;
        true
    }

    /// Removes all members from `end` on.
    pub(crate) fn truncate(&mut self, end: u32) {
        self.remove_run(Run {
            start: end,
            end: u32::MAX,
        });
    }

    /// Removes all numbers of `run`.
    pub(crate) fn remove_run(&mut self, run: Run) {
        while let Some((&start, &end)) = self.runs.range(..run.end).next_back() {
            if end <= run.start {
                break;
            }
            self.runs.remove(&start);
            self.count -= end.min(run.end) - start.max(run.start);
            if end > run.end {
                self.runs.insert(run.end, end);
            }
            if start < run.start {
                self.runs.insert(start, run.start);
            }
        }
    }

    /// Whether `value` is a member.
    pub(crate) fn contains(&self, value: u32) -> bool {
        self.runs
            .range(..=value)
            .next_back()
            .is_some_and(|(_, &end)| value < end)
    }

    /// The smallest number from `from` on that is not a member.
    pub(crate) fn first_gap(&self, from: u32) -> u32 {
        match self.runs.range(..=from).next_back() {
            Some((_, &end)) if end > from => end,
            _ => from,
        }
    }

    /// The smallest member from `from` on.
    pub(crate) fn first_member(&self, from: u32) -> Option<u32> {
        if self.contains(from) {
            Some(from)
        } else {
            self.runs.range(from..).next().map(|(&start, _)| start)
        }
    }

    /// The number of members.
    pub(crate) const fn len(&self) -> u32 {
        self.count
    }

    /// Whether the set has no members.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of runs.
    pub(crate) fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The members, ascending.
    pub(crate) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().flat_map(|run| run.start..run.end)
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter().map(|(&start, &end)| Run { start, end })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_set_behaves_as_a_set(ops in proptest::collection::vec((0u32..120, 0u32..12, 0u8..8), 0..60)) {
            let (mut set, mut model) = (RunSet::default(), BTreeSet::new());
            for (start, len, op) in ops {
                match op {
                    0 => prop_assert_eq!(set.remove(start), model.remove(&start)),
                    _ => {
                        let before = model.len();
                        model.extend(start..start + len);
                        prop_assert_eq!(set.insert(start, start + len) as usize, model.len() - before);
                    }
                }
                prop_assert_eq!(set.len() as usize, model.len());
                prop_assert_eq!(set.iter().flat_map(|r| r.start..r.end).collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.contains(start), model.contains(&start));
                prop_assert_eq!(set.first_gap(start), (start..).find(|v| !model.contains(v)).unwrap());
                prop_assert_eq!(set.first_member(start), model.range(start..).next().copied());
            }
        }
    }

    #[test]
    fn the_first_runs_are_taken_out_and_the_others_stay() {
        let mut set = RunSet::default();
        for start in [0, 10, 20] {
            set.insert(start, start + 3);
        }
        let starts: Vec<u32> = set.take_first(2).iter().map(|run| run.start).collect();
        assert_eq!(
            (starts, set.len(), set.first_member(0)),
            (vec![0, 10], 3, Some(20))
        );
        assert_eq!((set.take_first(9).len(), set.len()), (1, 0));
    }
}
