//! Sorted ranges of addresses of one family.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Disjoint ranges of addresses in ascending order, as numbers.
///
/// Ranges that overlap or touch are one, so equal sets of addresses are equal values.
///
/// A lookup costs what it fetches from memory. So starts and ends lie apart, because it searches the starts and reads one
/// end; and the search begins among the signposts, which are few enough to stay in the caches, and ends in one block of
/// neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ranges<N> {
    starts: Box<[N]>,
    ends: Box<[N]>,
    /// Every [`BLOCK`]th of the starts, from the first.
    signposts: Box<[N]>,
}

/// Starts from one signpost to the next.
const BLOCK: usize = 64;

/// The number that an address is.
pub(super) trait Number: Copy + Ord {
    type Address: From<Self>;

    /// The number after this one, if there is one.
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    type Address = Ipv4Addr;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    type Address = Ipv6Addr;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<N: Number> Ranges<N> {
    /// From the first and last number of each range, in any order.
    pub(super) fn new(mut ranges: Vec<(N, N)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|(start, end), (_, reach)| {
            // No number after `reach`: nothing can start beyond it.
            let apart = reach.next().is_some_and(|next| *start > next);
            if !apart {
                *reach = (*reach).max(*end);
            }
            !apart
        });
        let (starts, ends): (Vec<N>, Vec<N>) = ranges.into_iter().unzip();
        let signposts = starts.iter().copied().step_by(BLOCK).collect();
        Self { starts: starts.into(), ends: ends.into(), signposts }
    }

    pub(super) fn contains(&self, number: N) -> bool {
        // Only the last range that starts at or before the number can hold it.
        let passed = self.signposts.partition_point(|start| *start <= number);
        let Some(block) = passed.checked_sub(1) else { return false };
        let first = block * BLOCK;
        let block = &self.starts[first..self.starts.len().min(first + BLOCK)];
        // The signpost itself is one of them.
        let candidate = first + block.partition_point(|start| *start <= number) - 1;
        number <= self.ends[candidate]
    }

    pub(super) const fn len(&self) -> usize {
        self.starts.len()
    }

    /// The first and last address of each range.
    pub(super) fn iter(&self) -> impl Iterator<Item = (N::Address, N::Address)> {
        self.starts.iter().zip(&self.ends).map(|(start, end)| ((*start).into(), (*end).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
        Ranges::new(ranges.to_vec()).iter().map(|(start, end)| (start.into(), end.into())).collect()
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        assert_eq!(merged(&[(5, 9), (1, 3)]), [(1, 3), (5, 9)]);
        assert_eq!(merged(&[(4, 9), (1, 3)]), [(1, 9)]);
        assert_eq!(merged(&[(1, 9), (2, 3), (9, 12), (9, 9)]), [(1, 12)]);
    }

    #[test]
    fn the_highest_number_ends_the_search_for_touching_ranges() {
        assert_eq!(merged(&[(7, u32::MAX), (u32::MAX, u32::MAX), (0, 5)]), [(0, 5), (7, u32::MAX)]);
    }

    #[test]
    fn each_range_is_found_on_either_side_of_a_signpost() {
        for count in [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let range = |number: usize| u32::try_from(10 + number * 10).unwrap();
            let ranges = Ranges::new((0..count).map(|number| (range(number), range(number) + 4)).collect());
            for number in 0..count {
                let start = range(number);
                assert!(ranges.contains(start) && ranges.contains(start + 4), "{number} of {count}");
                assert!(!ranges.contains(start - 1) && !ranges.contains(start + 5), "{number} of {count}");
            }
        }
    }

    #[test]
    fn both_ends_of_a_range_belong_to_it() {
        let ranges = Ranges::new(vec![(0, 1), (10, 20), (u32::MAX, u32::MAX)]);
        let held = |number| ranges.contains(number);
        assert!([0, 1, 10, 15, 20, u32::MAX].into_iter().all(held));
        assert!(![2, 9, 21, u32::MAX - 1].into_iter().any(held));
    }
}
