//! The inner service, as TLS calls it.

use std::task::{Context, Poll};

use tokio_util::either::Either;
use tower_service::Service;

use super::MaybeTlsStream;
use crate::tls::TlsStream;

/// A service for [`MaybeTlsStream`] as one for [`TlsStream`].
#[derive(Clone, Debug)]
pub(super) struct Above<S>(S);

impl<S> Above<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<C, S: Service<MaybeTlsStream<C>>> Service<TlsStream<C>> for Above<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, stream: TlsStream<C>) -> Self::Future {
        self.0.call(Either::Left(stream))
    }
}
