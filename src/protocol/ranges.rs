//! A set of integers held as disjoint ranges: packets received, bytes acknowledged, bytes to send again.
//!
//! Made for sequences that mostly grow at the end: extending the last range and removing the first are O(1).
//! A change in the middle costs a search and moves the ranges behind it.

use std::collections::VecDeque;
use std::ops::Range;

/// Disjoint half-open ranges in ascending order, with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: VecDeque<Range<u64>>,
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The number of integers.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<&Range<u64>> {
        self.ranges.front()
    }

    /// The highest range.
    pub(crate) fn last(&self) -> Option<&Range<u64>> {
        self.ranges.back()
    }

    /// Index of the first range that ends at or after `at`.
    fn touching(&self, at: u64) -> usize {
        match self.ranges.back() {
            Some(last) if at > last.end => self.ranges.len(),
            Some(last) if at >= last.start => self.ranges.len() - 1,
            _ => self.ranges.partition_point(|r| r.end < at),
        }
    }

    /// Adds a range. Returns how many integers are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.start >= range.end {
            return 0;
        }
        let i = self.touching(range.start);
        let Some(slot) = self.ranges.get_mut(i).filter(|r| r.start <= range.end) else {
            let new = range.end - range.start;
            self.ranges.insert(i, range);
            return new;
        };
        let mut new = slot.start.saturating_sub(range.start);
        slot.start = slot.start.min(range.start);
        if range.end <= slot.end {
            return new;
        }
        // The new range reaches further: it absorbs the ranges behind it.
        let mut end = slot.end;
        let mut swallowed = 0;
        while let Some(next) = self
            .ranges
            .get(i + 1 + swallowed)
            .filter(|r| r.start <= range.end)
        {
            new += next.start - end;
            end = next.end;
            swallowed += 1;
        }
        new += range.end.saturating_sub(end);
        self.ranges[i].end = end.max(range.end);
        self.ranges.drain(i + 1..i + 1 + swallowed);
        new
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let mut i = self.ranges.partition_point(|r| r.end <= range.start);
        while let Some(slot) = self.ranges.get_mut(i).filter(|r| r.start < range.end) {
            let (start, end) = (slot.start, slot.end);
            match (start < range.start, end > range.end) {
                (true, true) => {
                    slot.end = range.start;
                    self.ranges.insert(i + 1, range.end..end);
                    return;
                }
                (true, false) => {
                    slot.end = range.start;
                    i += 1;
                }
                (false, true) => {
                    slot.start = range.end;
                    return;
                }
                (false, false) => {
                    self.ranges.remove(i);
                }
            }
        }
    }

    /// Removes up to `most` integers from the low end, as one range.
    pub(crate) fn pop_front(&mut self, most: u64) -> Option<Range<u64>> {
        let first = self.ranges.front_mut()?;
        let taken = first.start..first.end.min(first.start.saturating_add(most));
        first.start = taken.end;
        if first.start >= first.end {
            self.ranges.pop_front();
        }
        Some(taken)
    }

    /// Whether all of `range` is in the set.
    pub fn contains(&self, range: &Range<u64>) -> bool {
        range.start >= range.end || self.containing(range.start).is_some_and(|r| r.end >= range.end)
    }

    /// The range that contains `at`.
    pub(crate) fn containing(&self, at: u64) -> Option<&Range<u64>> {
        self.ranges.get(self.touching(at + 1)).filter(|r| r.contains(&at))
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The parts of `range` that are not in the set, in ascending order.
    pub(crate) fn missing(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = range.start;
        let mut i = self.ranges.partition_point(|r| r.end <= range.start);
        std::iter::from_fn(move || {
            while at < range.end {
                match self.ranges.get(i) {
                    Some(r) if r.start <= at => {
                        at = at.max(r.end);
                        i += 1;
                    }
                    next => {
                        let gap = at..next.map_or(range.end, |r| r.start.min(range.end));
                        at = gap.end;
                        return Some(gap);
                    }
                }
            }
            None
        })
    }

    /// Removes everything below `floor`.
    pub(crate) fn forget_below(&mut self, floor: u64) {
        while let Some(first) = self.ranges.front_mut() {
            if first.end <= floor {
                self.ranges.pop_front();
            } else {
                first.start = first.start.max(floor);
                return;
            }
        }
    }

    /// Removes the lowest ranges until at most `most` remain. Returns the lowest integer that is still known.
    pub(crate) fn forget_oldest(&mut self, most: usize) {
        while self.ranges.len() > most {
            self.ranges.pop_front();
        }
    }
}

impl Extend<Range<u64>> for RangeSet {
    fn extend<T: IntoIterator<Item = Range<u64>>>(&mut self, ranges: T) {
        for range in ranges {
            self.insert(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(set: &RangeSet) -> BTreeSet<u64> {
        set.iter().flat_map(|r| r.clone()).collect()
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_integers(ops in proptest::collection::vec((0u8..4, 0u64..60, 0u64..12), 0..80)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (op, start, len) in ops {
                let range = start..start + len;
                match op {
                    0 | 1 => {
                        let new = set.insert(range.clone());
                        prop_assert_eq!(new, range.clone().filter(|i| model.insert(*i)).count() as u64);
                    }
                    2 => {
                        set.remove(range.clone());
                        model.retain(|i| !range.contains(i));
                    }
                    _ => {
                        if let Some(taken) = set.pop_front(len.max(1)) {
                            prop_assert_eq!(model.first(), Some(&taken.start));
                            model.retain(|i| !taken.contains(i));
                        }
                    }
                }
                prop_assert_eq!(&members(&set), &model);
                prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start));
                let asked = start..start + 20;
                let missing: BTreeSet<u64> = set.missing(asked.clone()).flatten().collect();
                prop_assert_eq!(missing, asked.clone().filter(|i| !model.contains(i)).collect::<BTreeSet<_>>());
                prop_assert_eq!(set.contains(&range), range.clone().all(|i| model.contains(&i)));
            }
        }
    }
}
