//! The life of one connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{MaybeTlsStream, above::Above};
use crate::{connection::Connection, error::BoxError, tls};

pin_project! {
    /// The future of [`MaybeTls`](super::MaybeTls).
    pub struct ResponseFuture<C, S>
    where
        S: Service<MaybeTlsStream<C>>,
    {
        #[pin]
        kind: Kind<tls::ResponseFuture<C, Above<S>>, S::Future>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<T, P> {
        Tls { #[pin] future: T },
        Plain { #[pin] future: P },
    }
}

impl<C, S> ResponseFuture<C, S>
where
    S: Service<MaybeTlsStream<C>>,
{
    pub(super) const fn tls(future: tls::ResponseFuture<C, Above<S>>) -> Self {
        Self { kind: Kind::Tls { future } }
    }

    pub(super) const fn plain(future: S::Future) -> Self {
        Self { kind: Kind::Plain { future } }
    }
}

impl<C, S> Future for ResponseFuture<C, S>
where
    C: Connection,
    S: Service<MaybeTlsStream<C>, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Tls { future } => future.poll(cx),
            KindProj::Plain { future } => future.poll(cx).map_err(Into::into),
        }
    }
}

impl<C, S> fmt::Debug for ResponseFuture<C, S>
where
    S: Service<MaybeTlsStream<C>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tls { future } => future.fmt(f),
            Kind::Plain { .. } => f.debug_struct("ResponseFuture").finish_non_exhaustive(),
        }
    }
}
