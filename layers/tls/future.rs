//! The life of one connection under TLS.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::Service;

use super::{TlsLayer, TlsStream, handshake::Handshake};
use crate::{BoxError, Connection};

pin_project! {
    /// The future of [`Tls`](super::Tls): the handshake, then the inner service's future.
    ///
    /// # Panics
    ///
    /// When it is polled after it has resolved.
    pub struct TlsFuture<C, S>
    where
        S: Service<TlsStream<C>>,
    {
        #[pin]
        state: State<C, S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<C, S, F> {
        Handshake {
            #[pin]
            handshake: Handshake<C>,
            // Taken when the handshake is complete, or has failed: its slot is not for a client that is being told why.
            service: Option<S>,
        },
        Service {
            #[pin]
            future: F,
        },
        // What either held is gone, also where this one is kept for a while.
        Over,
    }
}

impl<C, S> TlsFuture<C, S>
where
    C: Connection,
    S: Service<TlsStream<C>>,
{
    /// `service` must be ready.
    pub(super) fn new(layer: &TlsLayer, connection: C, service: S) -> Self {
        let handshake = Handshake::new(layer, connection);
        Self { state: State::Handshake { handshake, service: Some(service) } }
    }
}

impl<C, S> Future for TlsFuture<C, S>
where
    C: Connection,
    S: Service<TlsStream<C>, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let result = match state.as_mut().project() {
                StateProj::Handshake { mut handshake, service } => match handshake.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => {
                        let future = service.take().expect("a handshake completes once").call(stream);
                        state.set(State::Service { future });
                        continue;
                    }
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Pending => {
                        if handshake.has_failed() {
                            *service = None;
                        }
                        return Poll::Pending;
                    }
                },
                StateProj::Service { future } => ready!(future.poll(cx)).map_err(Into::into),
                StateProj::Over => panic!("the future of a TLS connection was polled after it had resolved"),
            };
            state.set(State::Over);
            return Poll::Ready(result);
        }
    }
}

impl<C, S> fmt::Debug for TlsFuture<C, S>
where
    S: Service<TlsStream<C>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Handshake { .. } => "handshake",
            State::Service { .. } => "service",
            State::Over => "over",
        };
        f.debug_struct("TlsFuture").field("state", &state).finish_non_exhaustive()
    }
}
