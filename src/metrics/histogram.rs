//! A snapshot of a histogram, and the sum of two of them.

use std::{fmt, sync::Arc};

/// The number of observations in each bucket, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// The upper bounds of the buckets, in ascending order. One more bucket is unbounded.
    bounds: Arc<[f64]>,
    /// Not cumulative; one more than there are bounds.
    buckets: Vec<u64>,
    sum: Sum,
}

/// The sum of durations, as a whole number of microseconds.
///
/// It is not a floating-point number, because generations are added in varying order: rounding
/// could decrease the last digit, and Prometheus takes a counter that decreases for a reset.
/// Nanoseconds would overflow 64 bits after three weeks with 10,000 open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) micros: u64,
}

impl Sum {
    pub(super) fn of_seconds(seconds: f64) -> Self {
        // Saturates; NaN counts as 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self { micros: (seconds * 1e6).round() as u64 }
    }
}

/// In seconds, as `f64` is displayed: without zeros at the end.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        if micros == 0 {
            return write!(f, "{seconds}");
        }
        let decimals = format!("{micros:06}");
        write!(f, "{seconds}.{}", decimals.trim_end_matches('0'))
    }
}

impl Histogram {
    /// `None` if the bounds are not in order, or there is not one more bucket than bounds.
    pub(super) fn new(bounds: Arc<[f64]>, buckets: Vec<u64>, sum: Sum) -> Option<Self> {
        let ascending = bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b);
        (ascending && buckets.len() == bounds.len() + 1).then_some(Self { bounds, buckets, sum })
    }

    pub(super) const fn bounds(&self) -> &Arc<[f64]> {
        &self.bounds
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |count, bucket| count.saturating_add(*bucket))
    }

    /// The buckets as Prometheus has them: how many observations were at most so large. Infinity is
    /// the last bound.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.buckets).scan(0_u64, |count, (bound, bucket)| {
            *count = count.saturating_add(*bucket);
            Some((bound, *count))
        })
    }

    /// Adds another one of the same series. Keeps its own bounds.
    pub(super) fn add(&mut self, other: &Self) {
        for (place, count) in other.buckets_within(&self.bounds) {
            self.buckets[place] = self.buckets[place].saturating_add(count);
        }
        self.sum.micros = self.sum.micros.saturating_add(other.sum.micros);
    }

    /// Its observations as buckets with these bounds: indices and counts.
    ///
    /// If the bounds differ (another version of the program), observations are counted in the next
    /// larger bucket that certainly contains them: the total is exact.
    pub(super) fn buckets_within(&self, bounds: &[f64]) -> impl Iterator<Item = (usize, u64)> {
        let places = self.bounds.iter().map(|bound| bounds.partition_point(|other| other < bound));
        places.chain([bounds.len()]).zip(self.buckets.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(bounds: &[f64], buckets: &[u64]) -> Histogram {
        Histogram::new(bounds.into(), buckets.into(), Sum { micros: 1_500_000 }).unwrap()
    }

    fn counts(histogram: &Histogram) -> Vec<u64> {
        histogram.cumulative().map(|(_, count)| count).collect()
    }

    #[test]
    fn equal_bounds_add_up_bucket_by_bucket() {
        let mut one = histogram(&[1., 5.], &[1, 1, 0]);
        one.add(&histogram(&[1., 5.], &[10, 0, 20]));
        assert_eq!(counts(&one), [11, 12, 32]);
        assert_eq!((one.count(), one.sum().to_string().as_str()), (32, "3"));
    }

    #[test]
    fn other_bounds_lose_no_observation() {
        let mut one = histogram(&[1., 5.], &[1, 1, 0]);
        one.add(&histogram(&[0.5, 2., 9.], &[10, 10, 10, 10]));
        assert_eq!(counts(&one), [11, 22, 42]);
    }

    #[test]
    fn bounds_without_order_or_buckets_are_refused() {
        for (bounds, buckets) in [
            (&[5., 1.][..], 3),
            (&[1., 1.], 3),
            (&[f64::NAN], 2),
            (&[f64::INFINITY], 2),
            (&[1.], 1),
            (&[], 0),
        ] {
            assert_eq!(Histogram::new(bounds.into(), vec![0; buckets], Sum::default()), None, "{bounds:?}");
        }
    }

    #[test]
    fn a_sum_is_shown_in_seconds() {
        for (seconds, shown) in [
            (0., "0"),
            (0.3, "0.3"),
            (12.000_001, "12.000001"),
            (43200., "43200"),
            (-1., "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(Sum::of_seconds(seconds).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn the_order_of_adding_says_nothing(
            counts in proptest::collection::vec((0..u64::MAX / 8, 0..u64::MAX / 8), 3)
        ) {
            let of = |(count, micros): (u64, u64)| {
                Histogram::new([1.].into(), vec![count, 1], Sum { micros }).unwrap()
            };
            let added = |order: [usize; 3]| {
                let mut sum = histogram(&[1.], &[0, 0]);
                order.iter().for_each(|index| sum.add(&of(counts[*index])));
                sum
            };
            let mut grouped = of(counts[1]);
            grouped.add(&of(counts[2]));
            let mut all = histogram(&[1.], &[0, 0]);
            all.add(&grouped);
            all.add(&of(counts[0]));
            prop_assert_eq!(added([0, 1, 2]), added([2, 0, 1]));
            prop_assert_eq!(added([0, 1, 2]), all);
        }
    }
}
