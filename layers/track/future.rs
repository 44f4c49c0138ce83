//! The life of one tracked connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{TrackError, entry::Entry};
use crate::{BoxError, CloseReason};

pin_project! {
    /// The future of [`Track`](super::Track): the inner service's, until somebody ends the connection.
    ///
    /// Then the inner future is dropped, and this one resolves to [`TrackError::Ended`]. Dropping
    /// it ends the connection too, except for a stream that was moved elsewhere.
    ///
    /// # Panics
    ///
    /// When it is polled after it has resolved.
    pub struct ResponseFuture<F> {
        // `None` once it has resolved, so that what the inner future held is gone by then. Declared before
        // the entry: the socket is closed before the connection counts as closed.
        #[pin]
        inner: Option<F>,
        entry: Arc<Entry>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, entry: Arc<Entry>) -> Self {
        Self { inner: Some(inner), entry }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            panic!("the future of a tracked connection was polled after it had resolved");
        };
        let ended = |reason: CloseReason| Err(TrackError::Ended(reason).into());
        let result = if let Some(reason) = this.entry.ended() {
            ended(reason)
        } else if let Poll::Ready(result) = inner.poll(cx) {
            result.map_err(Into::into)
        } else {
            // Registered first, then looked again: see `Entry::ended`.
            this.entry.future.register(cx.waker());
            match this.entry.ended() {
                Some(reason) => ended(reason),
                None => return Poll::Pending,
            }
        };
        this.inner.set(None);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("id", &self.entry.id)
            .field("resolved", &self.inner.is_none())
            .finish_non_exhaustive()
    }
}
