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
            // Taken when the handshake is complete.
            service: Option<S>,
        },
        Service {
            #[pin]
            future: F,
        },
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
            let future = match state.as_mut().project() {
                StateProj::Handshake { handshake, service } => {
                    let stream = ready!(handshake.poll(cx))?;
                    service.take().expect("a handshake completes once").call(stream)
                }
                StateProj::Service { future } => return future.poll(cx).map_err(Into::into),
            };
            state.set(State::Service { future });
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
        };
        f.debug_struct("TlsFuture").field("state", &state).finish_non_exhaustive()
    }
}
