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
use crate::{
    drain::Drain,
    error::BoxError,
    outcome::{CloseReason, Outcome},
};

pin_project! {
    /// The future of [`Metrics`](super::Metrics): the inner service's, whose outcome is counted.
    ///
    /// Dropped before it has resolved, it is counted by what can be known:
    /// `service` if the inner future panicked, `drain_forced` if the connection's drain has begun, `killed` otherwise.
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
        // In the order in which they are dropped: the socket is closed before the connection is counted as closed.
        Open { #[pin] inner: F, witness: Witness },
        // What the inner future held is gone, also where this one is kept for a while.
        Over,
    }
}

/// Says why the future is over, if it is dropped and nobody else has said so.
struct Witness {
    life: Arc<Life>,
    drain: Drain,
    // Still set when this is dropped: the inner future did not come back, it panicked.
    in_poll: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.life.over_unless_said(|| {
            Outcome::Closed(if self.in_poll {
                CloseReason::Service
            } else if self.drain.is_signaled() {
                CloseReason::DrainForced
            } else {
                CloseReason::Killed
            })
        });
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, drain: Drain, life: Arc<Life>) -> Self {
        Self { state: State::Open { inner, witness: Witness { life, drain, in_poll: false } } }
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
        let StateProj::Open { inner, witness } = state.as_mut().project() else {
            panic!("the future of a metered connection was polled after it had resolved");
        };
        witness.in_poll = true;
        let polled = inner.poll(cx);
        witness.in_poll = false;
        let result = ready!(polled).map_err(Into::into);
        witness.life.resolved(match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(&**error),
        });
        state.set(State::Over);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resolved = matches!(self.state, State::Over);
        f.debug_struct("ResponseFuture").field("resolved", &resolved).finish_non_exhaustive()
    }
}
