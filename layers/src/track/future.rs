//! The life of one tracked connection.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{TrackError, entry::Entry};
use crate::error::BoxError;

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
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // In the order in which they are dropped: the socket is closed before the connection counts as closed.
        Open { #[pin] inner: F, entry: Watched },
        // What the inner future held is gone, also where this one is kept for a while.
        Over,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, entry: Arc<Entry>) -> Self {
        Self { state: State::Open { inner, entry: Watched(entry) } }
    }
}

/// The entry, as long as the future waits for what becomes of it.
///
/// A stream that was moved elsewhere keeps the entry; it must not keep the waker in it too, which holds the memory of a
/// task that is over.
struct Watched(Arc<Entry>);

impl Deref for Watched {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.future.take();
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
        let StateProj::Open { inner, entry } = state.as_mut().project() else {
            panic!("the future of a tracked connection was polled after it had resolved");
        };
        let result = if let Some(reason) = entry.ended() {
            Err(TrackError::Ended(reason).into())
        } else if let Poll::Ready(result) = inner.poll(cx) {
            result.map_err(Into::into)
        } else {
            // Registered first, then looked again: see `Entry::ended`.
            entry.future.register(cx.waker());
            match entry.ended() {
                Some(reason) => Err(TrackError::Ended(reason).into()),
                None => return Poll::Pending,
            }
        };
        state.set(State::Over);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ResponseFuture");
        match &self.state {
            State::Open { entry, .. } => debug.field("id", &entry.id),
            State::Over => debug.field("resolved", &true),
        };
        debug.finish_non_exhaustive()
    }
}
