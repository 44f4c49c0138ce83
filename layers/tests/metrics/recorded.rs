//! A recorder for one test.

use std::{cell::RefCell, collections::BTreeMap};

use metrics::{SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use portcullis_layers::metrics::MetricsLayer;

/// What the layers that were built with it have counted.
pub(crate) struct Recorded {
    recorder: DebuggingRecorder,
    layer: MetricsLayer,
    // A snapshot takes away what it shows.
    seen: RefCell<BTreeMap<String, Series>>,
}

#[derive(Clone, Default)]
pub(crate) struct Series {
    /// A total, a gauge's value, or how many samples a histogram has.
    pub(crate) value: f64,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: Option<SharedString>,
}

impl Recorded {
    /// With a layer for the listener `echo`.
    pub(crate) fn new() -> Self {
        let recorder = DebuggingRecorder::new();
        let layer = metrics::with_local_recorder(&recorder, || MetricsLayer::new("echo"));
        Self { recorder, layer, seen: RefCell::default() }
    }

    pub(crate) fn layer(&self) -> MetricsLayer {
        self.layer.clone()
    }

    /// Builds another layer for the same recorder.
    pub(crate) fn build(&self, build: impl FnOnce() -> MetricsLayer) -> MetricsLayer {
        metrics::with_local_recorder(&self.recorder, build)
    }

    /// All series, as `name{label=value,...}`.
    pub(crate) fn all(&self) -> BTreeMap<String, Series> {
        let mut seen = self.seen.borrow_mut();
        for (key, unit, help, value) in self.recorder.snapshotter().snapshot().into_vec() {
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
            let series = seen.entry(name).or_default();
            (series.unit, series.help) = (unit, help);
            series.value += match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(samples) => samples.len() as f64,
            };
        }
        seen.clone()
    }

    /// One series of the listener `echo`, without its prefix: `name` or `name,label=value`.
    pub(crate) fn get(&self, series: &str) -> f64 {
        let (name, labels) = series
            .split_once(',')
            .map_or((series, String::new()), |(name, labels)| (name, format!(",{labels}")));
        let name = format!("portcullis_{name}{{listener=echo{labels}}}");
        self.all().get(&name).unwrap_or_else(|| panic!("no series {name}")).value
    }

    /// The sum over all labels, for the listener `echo`.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let prefix = format!("portcullis_{name}{{listener=echo");
        self.all().iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, series)| series.value).sum()
    }

    /// That nothing is in flight, and every connection is accounted for.
    #[track_caller]
    pub(crate) fn assert_at_rest(&self) {
        assert_eq!(self.get("connections_active"), 0.0);
        assert_eq!(self.get("connections_handshaking"), 0.0);
        assert_eq!(
            self.get("connections_accepted_total"),
            self.sum("connections_rejected_total")
                + self.sum("tls_handshake_failures_total")
                + self.sum("connections_closed_total"),
        );
        assert_eq!(self.sum("connections_closed_total"), self.get("connection_duration_seconds"));
    }
}
