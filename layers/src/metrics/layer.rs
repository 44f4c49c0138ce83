//! The layer and how it is configured.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{Metrics, series::Series};

/// What the names of the series begin with, unless told otherwise.
pub const DEFAULT_PREFIX: &str = "portcullis";

/// Counts connections, and hands them on as [`Metered<C>`](super::Metered).
///
/// See [the module](super) for what is counted and where to place it. Cloning is cheap; clones, and the
/// services made by them, count into the same series. So do layers of the same prefix and listener name.
#[derive(Clone)]
pub struct MetricsLayer {
    listener: Arc<str>,
    series: Arc<Series>,
}

impl MetricsLayer {
    /// Registers the series of the listener with this name, with the prefix `portcullis`.
    ///
    /// **The recorder has to be installed before**: what is registered with none goes nowhere, for good. The name becomes
    /// the label `listener`; take it from the configuration, never from a peer.
    #[must_use]
    pub fn new(listener: impl Into<Arc<str>>) -> Self {
        Self::builder(listener).build()
    }

    /// Configures the layer; nothing is registered before [`MetricsBuilder::build`].
    pub fn builder(listener: impl Into<Arc<str>>) -> MetricsBuilder {
        MetricsBuilder { listener: listener.into(), prefix: DEFAULT_PREFIX.to_owned() }
    }
}

/// Configures a [`MetricsLayer`].
///
/// ```
/// use portcullis_layers::metrics::MetricsLayer;
///
/// // `mail_connections_accepted_total{listener="submission"}`, and so on.
/// let layer = MetricsLayer::builder("submission").prefix("mail").build();
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is registered before `build`"]
pub struct MetricsBuilder {
    listener: Arc<str>,
    prefix: String,
}

impl MetricsBuilder {
    /// What the names begin with, before an underscore; `portcullis` by default. With an empty one they have no prefix.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Registers the series with the recorder that is installed; see [`MetricsLayer::new`].
    #[must_use]
    pub fn build(self) -> MetricsLayer {
        let series = Series::register(self.prefix, Arc::clone(&self.listener));
        MetricsLayer { listener: self.listener, series: Arc::new(series) }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Metrics::with_series(inner, Arc::clone(&self.series))
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("listener", &self.listener).finish_non_exhaustive()
    }
}
