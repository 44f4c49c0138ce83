//! The recorder behind the `metrics` facade, and the text that Prometheus scrapes.

use std::{fmt, sync::Arc, time::Duration};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::{
    runtime::{Handle, TryCurrentError},
    time::{self, MissedTickBehavior},
};

use super::process;
use crate::metrics::{DEFAULT_BOUNDS, NamedBounds, Recorder, Registry};

/// How often the samples of histograms are sorted into their buckets. Until then each is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// Collects what the `metrics` facade counts in this process, and renders it for Prometheus.
///
/// Beside what portcullis and the application count, the text holds `portcullis_build_info` and the
/// usual `process_*` series. Histograms have the bounds that are documented with their metrics;
/// those of the application have Prometheus' default bounds unless [`ExporterBuilder::bounds`]
/// gives others. Names are rendered as they were given: no suffix is added.
///
/// # Totals go on over restarts
///
/// Counters and histograms **of this library** go on over restarts: what [`Admin`](super::Admin)
/// shows of a [`Generation`](crate::Generation) is counted by this process and all before it, and
/// never falls at a restart. Every generation that has an `Admin` counts them in shared memory that
/// it hands over with the sockets; a killed process loses nothing. What the **application** counts
/// begins anew in each process, as does what another recorder counts, and so does everything when
/// all generations have ended. [`render`](Self::render) leaves out the generations that still
/// drain.
///
/// Without shared memory (`memfd_create` is forbidden, memory is short, `RLIMIT_FSIZE` is below 64
/// MiB) totals begin anew in the next generation, and one warning names the system call that
/// failed. A restart does not depend on it.
///
/// Handles of metrics that were registered before the installation go nowhere: install it first,
/// before a [`MetricsLayer`](portcullis_layers::metrics::MetricsLayer) is built. Clones render the
/// same metrics.
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
    /// The library's own series.
    registry: Arc<Registry>,
    /// All others.
    handle: PrometheusHandle,
}

impl Exporter {
    /// Installs an exporter with the default settings as the recorder of this process, and starts
    /// its upkeep as a task of the current runtime.
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
    ///
    /// With thousands of series it takes a while: call it from a blocking thread.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_with(|| self.registry.render())
    }

    /// Everything that this process counts, with another text in place of the library's own series.
    pub(super) fn render_with(&self, own: impl FnOnce() -> String) -> String {
        // Before the other generations are read: one that exits in between is still counted as
        // draining, but a page on which no generation drains shows none.
        let others = self.handle.render();
        let mut text = own();
        text.push_str(&others);
        process::render(&mut text);
        text
    }

    pub(super) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Sorts samples into their buckets for ever. A recorder that is built by hand has nobody who
    /// does, and the samples of a process that is never scraped would fill its memory.
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
    bounds: NamedBounds,
}

impl ExporterBuilder {
    /// The upper bounds of the buckets of the histogram called `name`, in ascending order and in
    /// the unit of the histogram; a bucket for all that is larger is added. Replaces bounds that
    /// were given before.
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

    pub(super) fn build(self) -> Result<(Recorder<PrometheusRecorder>, Exporter), ExporterError> {
        let mut builder = PrometheusBuilder::new()
            // Without bounds, a histogram would be a summary, and summaries cannot be added up.
            .set_buckets(&DEFAULT_BOUNDS)
            .map_err(|_| ExporterError::bounds("every other histogram", &DEFAULT_BOUNDS))?;
        for (name, bounds) in &self.bounds {
            let refused = || ExporterError::bounds(name, bounds);
            if !bounds.is_sorted_by(|a, b| a < b) || !bounds.iter().all(|bound| bound.is_finite()) {
                return Err(refused());
            }
            let matcher = Matcher::Full(name.clone());
            builder = builder.set_buckets_for_metric(matcher, bounds).map_err(|_| refused())?;
        }
        let others = builder.build_recorder();
        let exporter = Exporter { registry: Registry::new(self.bounds), handle: others.handle() };
        Ok((Recorder::new(exporter.registry.clone(), others), exporter))
    }
}

/// Why an [`Exporter`] could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// There can be one recorder in a process: install the exporter once, and before any other
    /// recorder.
    #[error("a metrics recorder is installed already")]
    AlreadyInstalled,

    /// There is no runtime for the upkeep task: install the exporter from within one.
    #[error("the exporter needs a tokio runtime for its upkeep")]
    NoRuntime(#[source] TryCurrentError),

    /// The bounds of a histogram make no buckets: they must be ascending numbers, at least one.
    #[error("the bounds of the histogram `{name}` are not ascending numbers: {bounds:?}")]
    #[non_exhaustive]
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

/// Registers what is known of the program from the start. The layers and the generation describe
/// their own series.
pub(super) fn introduce() {
    describe_gauge!("portcullis_build_info", "Always 1; the version of portcullis is in the label.");
    gauge!("portcullis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
