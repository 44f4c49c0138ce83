//! One series: a few words that the layers increment and other processes read.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{CounterFn, GaugeFn, HistogramFn};

use super::{
    histogram::{Histogram, Sum},
    totals::Value,
};
use crate::sys::SharedMemory;

/// The kind of a series, and the meaning of its words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// One word: the count.
    Counter,
    /// One word: the bits of the value.
    Gauge,
    /// Has these bounds. A word for each bucket, then the sum in microseconds.
    Histogram(Arc<[f64]>),
}

impl Kind {
    pub(super) fn words(&self) -> usize {
        match self {
            Self::Counter | Self::Gauge => 1,
            // One bucket is unbounded.
            Self::Histogram(bounds) => bounds.len() + 2,
        }
    }

    pub(super) fn bounds(&self) -> &[f64] {
        match self {
            Self::Counter | Self::Gauge => &[],
            Self::Histogram(bounds) => bounds,
        }
    }

    /// The value of these words. `None` if they do not match the kind.
    pub(super) fn value(&self, words: &[u64]) -> Option<Value> {
        match (self, words) {
            (Self::Counter, [count]) => Some(Value::Counter(*count)),
            (Self::Gauge, [bits]) => Some(Value::Gauge(f64::from_bits(*bits))),
            (Self::Histogram(bounds), [buckets @ .., micros]) => {
                Histogram::new(bounds.clone(), buckets.into(), Sum { micros: *micros }).map(Value::Histogram)
            }
            _ => None,
        }
    }
}

/// Words in a page that other processes read.
#[derive(Debug)]
pub(super) struct SharedCells {
    pub(super) memory: Arc<SharedMemory>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Deref for SharedCells {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.memory.words()[self.start..self.end]
    }
}

/// A series of this process. Its words are in a page, or on the heap until there is one.
#[derive(Debug)]
pub(super) struct Series {
    kind: Kind,
    heap: Box<[AtomicU64]>,
    shared: OnceLock<SharedCells>,
}

impl Series {
    pub(super) fn on_heap(kind: Kind) -> Self {
        let heap = (0..kind.words()).map(|_| AtomicU64::new(0)).collect();
        Self { kind, heap, shared: OnceLock::new() }
    }

    pub(super) fn in_page(kind: Kind, cells: SharedCells) -> Self {
        Self { kind, heap: Box::default(), shared: cells.into() }
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Moves the counts from the heap into a page, and counts there from now on.
    pub(super) fn share(&self, cells: SharedCells) {
        if self.shared.set(cells).is_err() {
            return;
        }
        for (index, word) in self.heap.iter().enumerate() {
            self.add_word(index, word.swap(0, Relaxed));
        }
    }

    pub(super) fn value(&self) -> Option<Value> {
        // An update that was under way when the series moved may have reached the heap after that.
        let word = |index: usize| {
            let value = self.words()[index].load(Relaxed);
            let late = self.shared.get().and_then(|_| self.heap.get(index)).map(|word| word.load(Relaxed));
            late.map_or(value, |late| self.sum(value, late))
        };
        self.kind.value(&(0..self.kind.words()).map(word).collect::<Vec<_>>())
    }

    /// Adds the value of another series of the same kind.
    pub(super) fn add(&self, value: &Value) {
        match (&self.kind, value) {
            (Kind::Counter, Value::Counter(count)) => self.add_word(0, *count),
            (Kind::Histogram(bounds), Value::Histogram(histogram)) => {
                histogram.buckets_within(bounds).for_each(|(bucket, count)| self.add_word(bucket, count));
                self.add_word(bounds.len() + 1, histogram.sum().micros);
            }
            _ => {}
        }
    }

    fn words(&self) -> &[AtomicU64] {
        self.shared.get().map_or(&self.heap, |cells| cells)
    }

    fn add_word(&self, index: usize, addend: u64) {
        let word = &self.words()[index];
        if matches!(self.kind, Kind::Gauge) {
            // The closure always returns `Some`.
            _ = word.fetch_update(Relaxed, Relaxed, |value| Some(self.sum(value, addend)));
        } else {
            word.fetch_add(addend, Relaxed);
        }
    }

    fn sum(&self, a: u64, b: u64) -> u64 {
        if matches!(self.kind, Kind::Gauge) {
            (f64::from_bits(a) + f64::from_bits(b)).to_bits()
        } else {
            a.wrapping_add(b)
        }
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add_word(0, value);
    }

    fn absolute(&self, value: u64) {
        self.words()[0].fetch_max(value, Relaxed);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.add_word(0, value.to_bits());
    }

    fn decrement(&self, value: f64) {
        self.add_word(0, (-value).to_bits());
    }

    fn set(&self, value: f64) {
        self.words()[0].store(value.to_bits(), Relaxed);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        let bounds = self.kind.bounds();
        self.add_word(bounds.partition_point(|bound| *bound < value), 1);
        self.add_word(bounds.len() + 1, Sum::of_seconds(value).micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let series = Series::on_heap(Kind::Histogram([1.0, 5.0].into()));
        for value in [0.5, 1.0, 1.5, 7.0] {
            series.record(value);
        }
        let Some(Value::Histogram(histogram)) = series.value() else { panic!("it is a histogram") };
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1.0, 2), (5.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(histogram.sum().to_string(), "10");
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let series = Series::on_heap(Kind::Gauge);
        GaugeFn::increment(&series, 3.0);
        series.decrement(1.0);
        assert_eq!(series.value(), Some(Value::Gauge(2.0)));
        series.set(0.5);
        assert_eq!(series.value(), Some(Value::Gauge(0.5)));
    }
}
