//! The life of one tracked connection.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{TrackError, entry::Entry};
use crate::{close_signal::Waiter, error::BoxError};

pin_project! {
    /// The future of [`Track`](super::Track): the inner service's, until the connection is closed from outside.
    ///
    /// Then the inner future is dropped, and this one resolves to [`TrackError::Closed`]. Dropping
    /// it closes the connection too, except for a stream that was moved elsewhere.
    ///
    /// # Panics
    ///
    /// When it is polled after it has resolved.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // In the order in which they are dropped: the socket is closed before the connection counts as closed.
        Open { #[pin] inner: F, watched: Watched },
        // What the inner future held is gone, also where this one is kept for a while.
        Over,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, entry: Arc<Entry>) -> Self {
        Self { state: State::Open { inner, watched: Watched { entry, waiter: Waiter::new() } } }
    }
}

/// The entry, as long as the future waits for what becomes of it.
///
/// A stream that was moved elsewhere keeps the entry; it must not keep the waker in it too, which holds the memory of a
/// task that has finished.
struct Watched {
    entry: Arc<Entry>,
    waiter: Waiter,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.entry.close.forget(&mut self.waiter);
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let StateProj::Open { inner, watched } = state.as_mut().project() else {
            panic!("the future of a tracked connection was polled after it had resolved");
        };
        let Watched { entry, waiter } = watched;
        let result = if let Some(reason) = entry.close.fired() {
            Err(TrackError::Closed(reason).into())
        } else if let Poll::Ready(result) = inner.poll(cx) {
            result.map_err(Into::into)
        } else {
            let reason = ready!(entry.close.poll(waiter, cx));
            Err(TrackError::Closed(reason).into())
        };
        state.set(State::Over);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ResponseFuture");
        match &self.state {
            State::Open { watched, .. } => debug.field("id", &watched.entry.id),
            State::Over => debug.field("resolved", &true),
        };
        debug.finish_non_exhaustive()
    }
}
