//! The service.

use std::{
    mem,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{MaybeTlsFuture, MaybeTlsStream};
use crate::{
    connection::Connection,
    error::BoxError,
    tls::{TlsFuture, TlsLayer, TlsStream},
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
    pub(super) const fn new(inner: S, tls: Option<TlsLayer>) -> Self {
        Self { inner, tls }
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
    type Future = MaybeTlsFuture<C, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        match &self.tls {
            Some(layer) => {
                // The clone is not ready; the one that is goes with the connection.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                MaybeTlsFuture::tls(TlsFuture::new(layer, connection, Above(ready)))
            }
            None => MaybeTlsFuture::plain(self.inner.call(MaybeTlsStream::plain(connection))),
        }
    }
}

/// A service for [`MaybeTlsStream`] as one for [`TlsStream`].
#[derive(Clone, Debug)]
pub(super) struct Above<S>(S);

impl<C, S: Service<MaybeTlsStream<C>>> Service<TlsStream<C>> for Above<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, stream: TlsStream<C>) -> Self::Future {
        self.0.call(MaybeTlsStream::over_tls(stream))
    }
}
