//! How series are registered: described, named with the prefix, labelled with the listener, counters at zero.

use std::{marker::PhantomData, sync::Arc};

use metrics::{Counter, Gauge, Histogram, Unit};

use super::label::Label;

/// One counter for each value of a label, found by index.
pub(super) struct Family<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Family<L> {
    fn new(counter: impl FnMut(&L) -> Counter) -> Self {
        Self { counters: L::ALL.iter().map(counter).collect(), label: PhantomData }
    }

    pub(super) fn count(&self, value: L) {
        self.add(value, 1);
    }

    pub(super) fn add(&self, value: L, count: u64) {
        self.counters[value.index()].increment(count);
    }
}

/// Registers with the recorder that is installed.
pub(super) struct Registrar {
    pub(super) prefix: String,
    pub(super) listener: Arc<str>,
}

impl Registrar {
    pub(super) fn counter(&self, name: &str, help: &'static str) -> Counter {
        let name = self.name(name);
        metrics::describe_counter!(name.clone(), Unit::Count, help);
        self.zero(name, &[])
    }

    /// A counter for each value of the label called `key`.
    pub(super) fn family<L: Label>(
        &self,
        name: &str,
        unit: Unit,
        help: &'static str,
        key: &'static str,
    ) -> Family<L> {
        let name = self.name(name);
        metrics::describe_counter!(name.clone(), unit, help);
        Family::new(|value: &L| self.zero(name.clone(), &[(key, value.word())]))
    }

    /// A counter for each pair of values of two labels.
    pub(super) fn families<K: Label, L: Label>(
        &self,
        name: &str,
        help: &'static str,
        [outer, inner]: [&'static str; 2],
    ) -> Box<[Family<L>]> {
        let name = self.name(name);
        metrics::describe_counter!(name.clone(), Unit::Count, help);
        let family =
            |k: &K| Family::new(|l: &L| self.zero(name.clone(), &[(outer, k.word()), (inner, l.word())]));
        K::ALL.iter().map(family).collect()
    }

    pub(super) fn gauge(&self, name: &str, help: &'static str) -> Gauge {
        let name = self.name(name);
        metrics::describe_gauge!(name.clone(), Unit::Count, help);
        let gauge = metrics::gauge!(name, self.labels(&[]));
        // Not set to zero: another stack may be counting on the same listener's gauge.
        gauge.increment(0.0);
        gauge
    }

    pub(super) fn histogram(&self, name: &str, help: &'static str) -> Histogram {
        let name = self.name(name);
        metrics::describe_histogram!(name.clone(), Unit::Seconds, help);
        metrics::histogram!(name, self.labels(&[]))
    }

    /// A histogram for each value of the label called `key`.
    pub(super) fn histograms<L: Label>(
        &self,
        name: &str,
        help: &'static str,
        key: &'static str,
    ) -> Box<[Histogram]> {
        let name = self.name(name);
        metrics::describe_histogram!(name.clone(), Unit::Seconds, help);
        let histogram = |value: &L| metrics::histogram!(name.clone(), self.labels(&[(key, value.word())]));
        L::ALL.iter().map(histogram).collect()
    }

    fn zero(&self, name: String, labels: &[(&'static str, &'static str)]) -> Counter {
        let counter = metrics::counter!(name, self.labels(labels));
        counter.increment(0);
        counter
    }

    fn labels(&self, more: &[(&'static str, &'static str)]) -> Vec<metrics::Label> {
        let listener = metrics::Label::new("listener", Arc::clone(&self.listener));
        let more = more.iter().map(|(key, value)| metrics::Label::from_static_parts(key, value));
        std::iter::once(listener).chain(more).collect()
    }

    fn name(&self, series: &str) -> String {
        series_name(&self.prefix, series)
    }
}

/// The name of a series: its prefix, an underscore, and the rest; without the underscore where the prefix is empty.
///
/// For series of your own beside those of the [`MetricsLayer`](super::MetricsLayer).
///
/// ```
/// use portcullis_layers::metrics::{DEFAULT_PREFIX, series_name};
///
/// assert_eq!(series_name(DEFAULT_PREFIX, "logins_total"), "portcullis_logins_total");
/// assert_eq!(series_name("", "logins_total"), "logins_total");
/// ```
#[must_use]
pub fn series_name(prefix: &str, series: &str) -> String {
    if prefix.is_empty() { series.to_owned() } else { format!("{prefix}_{series}") }
}
