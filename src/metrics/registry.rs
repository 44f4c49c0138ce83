//! The library's series of this process.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::SharedString;
use portcullis_layers::ErrorChain;

use super::{
    bounds::{NamedBounds, bounds},
    labels::Labels,
    page::{MetricsPage, PageError, PageWriter},
    series::{Kind, Series},
    totals::{Totals, Value},
};

/// See the module. Its lock is taken when a series is registered or all are read; counting takes
/// none.
#[derive(Debug)]
pub(crate) struct Registry {
    bounds: NamedBounds,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    /// By name of the family.
    series: BTreeMap<String, BTreeMap<Labels, Arc<Series>>>,
    help: HashMap<String, SharedString>,
    /// Where series are put from now on; else on the heap.
    page: Option<PageWriter>,
}

impl Registry {
    /// `bounds`: of histograms that shall not have those of the library.
    pub(crate) fn new(bounds: NamedBounds) -> Arc<Self> {
        Arc::new(Self { bounds, all: Mutex::default() })
    }

    pub(super) fn describe(&self, name: &str, help: SharedString) {
        self.all().help.insert(name.to_owned(), help);
    }

    /// The series with this name and these labels; a new one if there is none yet.
    pub(super) fn counter(&self, name: &str, labels: Labels) -> Arc<Series> {
        self.all().series(name, labels, || Kind::Counter)
    }

    /// As [`counter`](Self::counter).
    pub(super) fn gauge(&self, name: &str, labels: Labels) -> Arc<Series> {
        self.all().series(name, labels, || Kind::Gauge)
    }

    /// As [`counter`](Self::counter).
    pub(super) fn histogram(&self, name: &str, labels: Labels) -> Arc<Series> {
        self.all().series(name, labels, || Kind::Histogram(bounds(name, &self.bounds)))
    }

    /// Counts in this page from now on. What was counted before is moved there.
    ///
    /// # Errors
    ///
    /// If the page cannot be used; then everything is counted as before.
    pub(super) fn share(&self, page: MetricsPage) -> Result<(), PageError> {
        let mut all = self.all();
        let mut writer = PageWriter::new(page)?;
        for (name, family) in &all.series {
            for (labels, series) in family {
                match writer.append(series.kind(), name, labels) {
                    Ok(cells) => series.share(cells),
                    Err(error) => {
                        // What the page has stays there.
                        report(&error);
                        return Ok(());
                    }
                }
            }
        }
        all.page = Some(writer);
        Ok(())
    }

    /// Adds what a generation has counted that has ended.
    pub(super) fn add(&self, totals: &Totals) {
        let mut all = self.all();
        for (name, labels, value) in totals.counted() {
            let kind = || match &value {
                Value::Counter(_) => Kind::Counter,
                Value::Gauge(_) => Kind::Gauge,
                Value::Histogram(histogram) => Kind::Histogram(histogram.bounds().clone()),
            };
            all.series(name, labels.clone(), kind).add(&value);
        }
    }

    /// What every series shows now.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let all = self.all();
        for (name, family) in &all.series {
            for (labels, series) in family {
                if let Some(value) = series.value() {
                    totals.add_value(name, labels, &value);
                }
            }
            if let Some(help) = all.help.get(name) {
                totals.describe(name, help);
            }
        }
        totals
    }

    /// What every series shows now, in Prometheus' text format 0.0.4.
    pub(crate) fn render(&self) -> String {
        self.totals().to_string()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // A panic leaves each field valid.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the lock, which a restart must not need.
    #[cfg(test)]
    pub(super) fn locked(&self) -> impl Sized + '_ {
        self.all()
    }
}

impl All {
    fn series(&mut self, name: &str, labels: Labels, kind: impl FnOnce() -> Kind) -> Arc<Series> {
        if let Some(series) = self.series.get(name).and_then(|family| family.get(&labels)) {
            return series.clone();
        }
        let kind = kind();
        let same = |other: &Arc<Series>| mem::discriminant(other.kind()) == mem::discriminant(&kind);
        if !self.series.get(name).and_then(|family| family.values().next()).is_none_or(same) {
            // A family is of one kind. What another version of the program calls so is not shown.
            return Arc::new(Series::on_heap(kind));
        }
        let series = match self.page.as_mut().map(|page| page.append(&kind, name, &labels)) {
            Some(Ok(cells)) => Series::in_page(kind, cells),
            Some(Err(error)) => {
                // What the page has stays there.
                self.page = None;
                report(&error);
                Series::on_heap(kind)
            }
            None => Series::on_heap(kind),
        };
        let series = Arc::new(series);
        self.series.entry(name.to_owned()).or_default().insert(labels, series.clone());
        series
    }
}

/// Logs why series are counted where no other generation reads them.
pub(super) fn report(error: &PageError) {
    tracing::warn!(error = %ErrorChain(error), "cannot share metrics; totals start at 0 in the next generation");
}

#[cfg(test)]
mod tests {
    use metrics::{CounterFn, HistogramFn};

    use super::*;

    #[test]
    fn a_family_that_is_something_else_elsewhere_stays_what_it_is_here() {
        let registry = Registry::new(Vec::new());
        registry.histogram("x_seconds", Labels::default()).record(1.0);
        let before = registry.render();
        let mut other = Totals::default();
        for labels in [Labels::default(), Labels::default().with("listener", "echo")] {
            other.add_value("x_seconds", &labels, &Value::Counter(7));
        }
        registry.add(&other);
        assert_eq!(registry.render(), before);
    }

    #[test]
    fn bounds_are_those_that_were_given_last() {
        let given = |bound| ("mail_drain_duration_seconds".to_owned(), vec![bound]);
        let registry = Registry::new(vec![given(3.0), given(4.0)]);
        registry.histogram("mail_drain_duration_seconds", Labels::default());
        registry.histogram("drain_duration_seconds", Labels::default());
        registry.histogram("request_seconds", Labels::default());
        let text = registry.render();
        let bounds = |name: &str| text.matches(&format!("\n{name}_bucket{{le=")).count();
        assert!(text.contains("mail_drain_duration_seconds_bucket{le=\"4\"} 0\n"), "{text}");
        assert_eq!(bounds("mail_drain_duration_seconds"), 2);
        assert_eq!((bounds("drain_duration_seconds"), bounds("request_seconds")), (13, 12), "{text}");
    }

    #[test]
    fn what_is_counted_while_there_is_no_page_is_on_the_page() {
        let registry = Registry::new(Vec::new());
        let early = registry.counter("a_total", Labels::default());
        early.increment(3);
        let page = MetricsPage::create().unwrap();
        registry.share(page.clone()).unwrap();
        early.increment(4);
        registry.counter("b_total", Labels::default()).increment(5);
        assert_eq!(page.read().unwrap(), registry.totals());
        assert!(registry.render().contains("a_total 7\n"));
    }
}
