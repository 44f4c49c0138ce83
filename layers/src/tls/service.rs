//! The service.

use std::{
    mem,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{ResponseFuture, TlsLayer, TlsStream};
use crate::{connection::Connection, error::BoxError};

/// The service of a [`TlsLayer`]: a TLS handshake, then the inner service with the [`TlsStream`].
///
/// # Readiness
///
/// `poll_ready` is the inner service's, and what it promised is held during the handshake: a
/// [`concurrency_limit`](https://docs.rs/tower/latest/tower/limit/) under TLS counts a connection
/// from the start of its handshake. A limit in either place bounds connections, including those in
/// their handshake: silent clients can occupy every slot of it until the deadline of their
/// handshake.
///
/// The inner service is cloned for each connection. tower's `rate_limit` cannot be: it goes around
/// TLS, or behind a [`buffer`](https://docs.rs/tower/latest/tower/buffer/).
///
/// # Errors
///
/// [`RejectReason::LimitTotal`](crate::RejectReason) or `LimitPeer` if too many handshakes are in
/// progress ([`HandshakeLimits`](super::HandshakeLimits)),
/// [`HandshakeError`](super::HandshakeError) if the handshake fails; the inner service is then not
/// called. [`Revoked`](super::Revoked), whose source is
/// [`CloseReason::Revoked`](crate::CloseReason), if the client is no longer allowed. An `io::Error`
/// that carries a [`CloseReason`](crate::CloseReason) (an outer layer has closed the connection) is
/// returned unchanged. After the handshake, the error of the inner service.
///
/// # Cancellation
///
/// Dropping the future ends the connection, in the handshake or after it.
///
/// # Panics
///
/// `call` panics outside of a tokio runtime with its timer enabled.
#[derive(Clone, Debug)]
pub struct Tls<S> {
    inner: S,
    layer: TlsLayer,
}

impl<S> Tls<S> {
    /// Wraps `inner`, with the configuration of `layer`.
    #[must_use]
    pub const fn new(inner: S, layer: TlsLayer) -> Self {
        Self { inner, layer }
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

// Here and not beside `TlsLayer`, which the service and its future import.
impl<S> Layer<S> for TlsLayer {
    type Service = Tls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Tls::new(inner, self.clone())
    }
}

impl<C, S> Service<C> for Tls<S>
where
    C: Connection,
    S: Service<TlsStream<C>, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ResponseFuture<C, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        // The clone is not ready; the one that is goes with the connection.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        ResponseFuture::new(&self.layer, connection, ready)
    }
}
