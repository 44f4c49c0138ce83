//! A histogram of a page, and how two of them are added.

use super::amount::Amount;

/// What the lines `_bucket`, `_sum` and `_count` of one series say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// In ascending order; the last one is unbounded.
    pub(super) buckets: Vec<Bucket>,
    pub(super) sum: Amount,
    pub(super) count: u64,
}

/// How many observations were at most so large.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) bound: f64,
    /// The bound as it is written.
    pub(super) le: String,
    pub(super) count: u64,
}

impl Histogram {
    /// Whether the buckets are in order and end with the unbounded one, and none counts less than the one before.
    pub(super) fn is_whole(&self) -> bool {
        self.buckets.last().is_some_and(|last| last.bound == f64::INFINITY && last.count == self.count)
            && self.buckets.is_sorted_by(|a, b| a.bound < b.bound && a.count <= b.count)
    }

    /// Adds another one of the same series. Keeps its own bounds.
    ///
    /// Where the other one, of another version of the program, has not the same bounds, its observations are counted in
    /// the next larger bucket that is sure to hold them: buckets stay cumulative, and the total is exact.
    pub(super) fn add(&mut self, other: &Self) {
        for bucket in &mut self.buckets {
            let below = other.buckets.partition_point(|theirs| theirs.bound <= bucket.bound);
            let count = below.checked_sub(1).map_or(0, |last| other.buckets[last].count);
            bucket.count = bucket.count.saturating_add(count);
        }
        self.sum = self.sum.add(other.sum);
        self.count = self.count.saturating_add(other.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(f64, u64)]) -> Histogram {
        let buckets: Vec<_> = buckets
            .iter()
            .map(|(bound, count)| Bucket { bound: *bound, le: bound.to_string(), count: *count })
            .collect();
        let count = buckets.last().map_or(0, |last| last.count);
        Histogram { buckets, sum: "1.5".parse().unwrap(), count }
    }

    #[test]
    fn equal_bounds_add_up_bucket_by_bucket() {
        let mut one = histogram(&[(1., 1), (5., 2), (f64::INFINITY, 2)]);
        one.add(&histogram(&[(1., 10), (5., 10), (f64::INFINITY, 30)]));
        assert_eq!(one.buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [11, 12, 32]);
        assert_eq!((one.count, one.sum), (32, "3".parse().unwrap()));
    }

    #[test]
    fn other_bounds_lose_no_observation_and_stay_cumulative() {
        let mut one = histogram(&[(1., 1), (5., 2), (f64::INFINITY, 2)]);
        one.add(&histogram(&[(0.5, 10), (2., 20), (9., 30), (f64::INFINITY, 40)]));
        assert_eq!(one.buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [11, 22, 42]);
        assert!(one.is_whole());
    }

    #[test]
    fn a_histogram_without_order_or_end_is_not_whole() {
        assert!(histogram(&[(1., 1), (f64::INFINITY, 2)]).is_whole());
        for broken in [
            &[][..],
            &[(1., 1)],
            &[(5., 1), (1., 2), (f64::INFINITY, 2)],
            &[(1., 3), (f64::INFINITY, 2)],
            &[(f64::NAN, 1), (f64::INFINITY, 2)],
        ] {
            assert!(!histogram(broken).is_whole(), "{broken:?}");
        }
    }
}
