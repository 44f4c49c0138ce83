//! The future of one connection under an allowlist.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::AllowlistError;
use crate::{address::Peer, error::BoxError};

pin_project! {
    /// The life of one connection under [`Allowlist`](super::Allowlist).
    ///
    /// For an allowed peer it is the future of the service above, and dropping it drops that. For a denied
    /// one the connection is closed already; the future resolves at once to [`AllowlistError::Denied`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        verdict: Verdict<F>,
    }
}

pin_project! {
    #[project = VerdictProjection]
    #[derive(Debug)]
    enum Verdict<F> {
        Allowed { #[pin] future: F },
        Denied { peer: Peer },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn allowed(future: F) -> Self {
        Self { verdict: Verdict::Allowed { future } }
    }

    pub(super) const fn denied(peer: Peer) -> Self {
        Self { verdict: Verdict::Denied { peer } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().verdict.project() {
            VerdictProjection::Allowed { future } => Poll::Ready(ready!(future.poll(cx)).map_err(Into::into)),
            VerdictProjection::Denied { peer } => {
                Poll::Ready(Err(AllowlistError::Denied { peer: *peer }.into()))
            }
        }
    }
}
