//! The recorder behind the `metrics` facade, and the text that Prometheus scrapes.

use std::{fmt, time::Duration};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use portcullis_layers::metrics::{CONNECTION_DURATION_BUCKETS, HANDSHAKE_DURATION_BUCKETS};
use tokio::{
    runtime::{Handle, TryCurrentError},
    time::{self, MissedTickBehavior},
};

use super::process;

/// How often the samples of histograms are sorted into their buckets. Until then each is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// The bounds of our own histograms, by what their names end with: the prefix is configurable.
const BOUNDS: [(&str, &[f64]); 4] = [
    ("connection_duration_seconds", CONNECTION_DURATION_BUCKETS),
    ("tls_handshake_duration_seconds", HANDSHAKE_DURATION_BUCKETS),
    // From a program that is ready at once to one that warms its caches for the longest deadline.
    ("restart_duration_seconds", &[0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30., 60., 120., 300.]),
    // From no connection at all, past the default deadline of 30 seconds, to downloads that take an hour.
    ("drain_duration_seconds", &[0.1, 0.5, 1., 2.5, 5., 10., 20., 30., 60., 300., 900., 3600.]),
];

/// The bounds of a histogram that nobody gave any: those of Prometheus' client libraries, which suit the
/// seconds of a request. Without bounds it would be a summary, and summaries cannot be added up.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.];

/// Collects what the `metrics` facade counts in this process, and renders it for Prometheus.
///
/// Beside what portcullis and the application count, the text holds `portcullis_build_info` and the usual `process_*`
/// series. Histograms have the bounds that are documented with their metrics; those of the application have
/// Prometheus' default bounds unless [`ExporterBuilder::bounds`] gives others. Names are rendered as they were given:
/// no suffix is added.
///
/// # Totals go on over restarts
///
/// What [`Admin`](super::Admin) shows of a [`Generation`](crate::Generation) is counted by its whole line of processes:
/// counters and histograms are those of this process and of all before it, and never fall at a restart. They are
/// handed on with the sockets, by every generation that has an `Admin`. What another recorder counts begins anew in each
/// process, and so does everything when no process of the line is left. [`render`](Self::render) is this process alone.
///
/// Handles of metrics that were registered before the installation go nowhere: install it first, before a
/// [`MetricsLayer`](portcullis_layers::metrics::MetricsLayer) is built. Clones render the same metrics.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::admin::ExporterError> {
/// use portcullis::admin::Exporter;
///
/// let exporter = Exporter::install()?;
/// metrics::counter!("greetings_total").increment(1);
/// assert!(exporter.render().contains("\ngreetings_total 1\n"));
///
/// // There is one for each process.
/// assert!(matches!(Exporter::install(), Err(portcullis::admin::ExporterError::AlreadyInstalled)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl Exporter {
    /// Installs an exporter with the default settings as the recorder of this process, and starts its upkeep as a
    /// task of the current runtime.
    ///
    /// # Errors
    ///
    /// If a recorder is installed already, or if this is called outside a tokio runtime.
    pub fn install() -> Result<Self, ExporterError> {
        Self::builder().install()
    }

    /// An exporter with settings of your own.
    pub fn builder() -> ExporterBuilder {
        ExporterBuilder { bounds: Vec::new() }
    }

    /// Everything that this process counts, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.counted();
        process::render(&mut text);
        text
    }

    /// Everything but the `process_*` series.
    pub(super) fn counted(&self) -> String {
        self.handle.render()
    }

    /// Sorts samples into their buckets for ever. A recorder that is built by hand has nobody who does, and
    /// the samples of a process that is never scraped would fill its memory.
    async fn upkeep(self) {
        let mut ticks = time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Settings of an [`Exporter`]; made by [`Exporter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `install` is called"]
pub struct ExporterBuilder {
    bounds: Vec<(String, Vec<f64>)>,
}

impl ExporterBuilder {
    /// The upper bounds of the buckets of the histogram called `name`, in ascending order and in the unit of the
    /// histogram; a bucket for all that is larger is added. Replaces bounds that were given before.
    pub fn bounds(mut self, name: impl Into<String>, bounds: impl Into<Vec<f64>>) -> Self {
        self.bounds.push((name.into(), bounds.into()));
        self
    }

    /// As [`Exporter::install`].
    ///
    /// # Errors
    ///
    /// As [`Exporter::install`], and if bounds that were given are empty or not in ascending order.
    pub fn install(self) -> Result<Exporter, ExporterError> {
        let runtime = Handle::try_current().map_err(ExporterError::NoRuntime)?;
        let (recorder, exporter) = self.build()?;
        metrics::set_global_recorder(recorder).map_err(|_| ExporterError::AlreadyInstalled)?;
        introduce();
        runtime.spawn(exporter.clone().upkeep());
        Ok(exporter)
    }

    pub(super) fn build(self) -> Result<(PrometheusRecorder, Exporter), ExporterError> {
        let ours = BOUNDS.map(|(suffix, bounds)| (Matcher::Suffix(suffix.to_owned()), bounds.to_vec()));
        let yours = self.bounds.into_iter().map(|(name, bounds)| (Matcher::Full(name), bounds));

        let mut builder = PrometheusBuilder::new()
            .set_buckets(&DEFAULT_BOUNDS)
            .map_err(|_| ExporterError::bounds("every other histogram", &DEFAULT_BOUNDS))?;
        for (matcher, bounds) in ours.into_iter().chain(yours) {
            let (Matcher::Full(name) | Matcher::Prefix(name) | Matcher::Suffix(name)) = &matcher;
            let refused = ExporterError::bounds(name, &bounds);
            if !bounds.is_sorted_by(|a, b| a < b) {
                return Err(refused);
            }
            builder = builder.set_buckets_for_metric(matcher, &bounds).map_err(|_| refused)?;
        }
        let recorder = builder.build_recorder();
        let exporter = Exporter { handle: recorder.handle() };
        Ok((recorder, exporter))
    }
}

/// Why an [`Exporter`] could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// There can be one recorder in a process.
    #[error(
        "a metrics recorder is installed already: install the exporter once, and before any other recorder"
    )]
    AlreadyInstalled,

    /// There is no runtime for the upkeep task.
    #[error("the exporter needs a tokio runtime for its upkeep: install it from within one")]
    NoRuntime(#[source] TryCurrentError),

    /// The bounds of a histogram make no buckets.
    #[error(
        "the bounds of the histogram `{name}` must be ascending numbers, at least one; they are {bounds:?}"
    )]
    Bounds {
        /// The name of the histogram.
        name: String,
        /// What was given.
        bounds: Vec<f64>,
    },
}

impl ExporterError {
    fn bounds(name: &str, bounds: &[f64]) -> Self {
        Self::Bounds { name: name.to_owned(), bounds: bounds.to_vec() }
    }
}

/// Registers what is known of the program from the start. The layers and the generation describe their own series.
pub(super) fn introduce() {
    describe_gauge!("portcullis_build_info", "Always 1; the version of portcullis is in the label.");
    gauge!("portcullis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
