//! The service.

use std::{
    mem,
    task::{Context, Poll},
};

use tokio_util::either::Either;
use tower_service::Service;

use super::{MaybeTlsStream, ResponseFuture, above::Above};
use crate::{
    connection::Connection,
    error::BoxError,
    tls::{self, TlsLayer},
};

/// The service of a [`MaybeTlsLayer`](super::MaybeTlsLayer).
///
/// With TLS it is [`Tls`](crate::tls::Tls), with all that is said there; without, it calls the inner service
/// at once.
#[derive(Clone, Debug)]
pub struct MaybeTls<S> {
    inner: S,
    tls: Option<TlsLayer>,
}

impl<S> MaybeTls<S> {
    /// Wraps `inner`, with the configuration of `tls`; without one, connections are plain.
    #[must_use]
    pub const fn new(inner: S, tls: Option<TlsLayer>) -> Self {
        Self { inner, tls }
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

impl<C, S> Service<C> for MaybeTls<S>
where
    C: Connection,
    S: Service<MaybeTlsStream<C>, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ResponseFuture<C, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        match &self.tls {
            Some(layer) => {
                // The clone is not ready; the one that is goes with the connection.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::tls(tls::ResponseFuture::new(layer, connection, Above::new(ready)))
            }
            None => ResponseFuture::plain(self.inner.call(Either::Right(connection))),
        }
    }
}
