//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Metered, ResponseFuture, life::Life, series::Series};
use crate::{connection::Connection, error::BoxError};

/// Calls the inner service with a [`Metered`] stream. Made by [`MetricsLayer`](super::MetricsLayer).
///
/// Errors of the inner service are passed on as they are.
#[derive(Clone)]
pub struct Metrics<S> {
    inner: S,
    series: Arc<Series>,
}

impl<S> Metrics<S> {
    /// Counts the connections of this service, with `listener` as the label; registers the series
    /// like [`MetricsLayer::new`](super::MetricsLayer::new).
    #[must_use]
    pub fn new(inner: S, listener: impl Into<Arc<str>>) -> Self {
        super::MetricsLayer::new(listener).layer(inner)
    }

    pub(super) const fn with_series(inner: S, series: Arc<Series>) -> Self {
        Self { inner, series }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes the service, and returns the inner one.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<C, S> Service<C> for Metrics<S>
where
    C: Connection,
    S: Service<Metered<C>, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        let life = Arc::new(Life::begin(Arc::clone(&self.series)));
        if let Some(tls) = connection.tls() {
            // This layer is above TLS: the handshake was complete before the connection came here.
            self.series.handshake(tls, None);
        }
        let drain = connection.drain();
        let stream = Metered::new(connection, Arc::clone(&life));
        ResponseFuture::new(self.inner.call(stream), drain, life)
    }
}

impl<S: fmt::Debug> fmt::Debug for Metrics<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("inner", &self.inner).finish_non_exhaustive()
    }
}
