//! The life of one metered connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::life::Life;
use crate::{BoxError, CloseReason, Drain, Ending};

pin_project! {
    /// The future of [`Metrics`](super::Metrics): the inner service's, whose outcome is counted.
    ///
    /// Dropped before it has resolved, it is counted by what can be known:
    /// `service` if the inner future panicked, `drain_forced` if the connection's drain has begun, `killed` otherwise.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        // Still set when this is dropped: the inner future did not come back, it panicked.
        in_poll: bool,
        drain: Drain,
        life: Arc<Life>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.life.is_over() {
                this.life.over(Ending::Closed(if *this.in_poll {
                    CloseReason::Service
                } else if this.drain.has_begun() {
                    CloseReason::DrainForced
                } else {
                    CloseReason::Killed
                }));
            }
        }
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, drain: Drain, life: Arc<Life>) -> Self {
        Self { inner, in_poll: false, drain, life }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        *this.in_poll = true;
        let polled = this.inner.poll(cx);
        *this.in_poll = false;
        let result = ready!(polled).map_err(Into::into);
        this.life.over(match &result {
            Ok(()) => Ending::of(Ok(())),
            Err(error) => Ending::of(Err(&**error)),
        });
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("resolved", &self.life.is_over()).finish_non_exhaustive()
    }
}
