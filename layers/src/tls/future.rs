//! The life of one connection under TLS.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    TlsLayer, TlsStream, active_config::ActiveConfig, handshake::Handshake, loaded_config::LoadedConfig,
    revocable::Revocable,
};
use crate::{
    connection::Connection,
    error::BoxError,
    outcome::{CloseReason, Outcome, RejectReason},
};

pin_project! {
    /// The future of [`Tls`](super::Tls): the handshake, then the inner service's future.
    ///
    /// # Panics
    ///
    /// When it is polled after it has resolved.
    pub struct ResponseFuture<C, S>
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
        // Too many are in progress.
        Rejected {
            reason: RejectReason,
        },
        Handshake {
            #[pin]
            handshake: Handshake<C>,
            // Taken when the handshake is complete, or has failed: its slot is not for a client
            // that is being told why.
            service: Option<S>,
            // What tells whether the client is let in no more, where that is to end the connection.
            revoking: Option<Arc<ActiveConfig>>,
        },
        Service {
            #[pin]
            future: F,
            // Only for a client with a certificate, and if asked for.
            revocable: Option<Revocable>,
        },
        // What either held is gone, also where this one is kept for a while.
        Over,
    }
}

impl<C, S> ResponseFuture<C, S>
where
    C: Connection,
    S: Service<TlsStream<C>>,
{
    /// `service` must be ready.
    pub(super) fn new(layer: &TlsLayer, connection: C, service: S) -> Self {
        let in_progress = match layer.handshakes().begin(connection.peer()) {
            Ok(in_progress) => in_progress,
            Err(reason) => return Self { state: State::Rejected { reason } },
        };
        let handshake = Handshake::new(layer, connection, in_progress);
        let revoking = layer.ends_revoked().then(|| layer.active().clone());
        Self { state: State::Handshake { handshake, service: Some(service), revoking } }
    }
}

impl<C, S> Future for ResponseFuture<C, S>
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
                StateProj::Rejected { reason } => Err(BoxError::from(*reason)),
                StateProj::Handshake { mut handshake, service, revoking } => {
                    match handshake.as_mut().poll(cx) {
                        Poll::Ready(Ok((mut stream, verified_by))) => {
                            let revocable = revoking
                                .as_ref()
                                .and_then(|active| revocable(&mut stream, active, &verified_by));
                            let future = service.take().expect("a handshake completes once").call(stream);
                            state.set(State::Service { future, revocable });
                            continue;
                        }
                        Poll::Ready(Err(error)) => Err(error),
                        Poll::Pending => {
                            if handshake.has_failed() {
                                *service = None;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                StateProj::Service { future, revocable } => {
                    let mut revocable = revocable.as_mut();
                    if let Some(revoked) = revocable.as_deref_mut().and_then(Revocable::revoked) {
                        Err(revoked)
                    } else if let Poll::Ready(result) = future.poll(cx) {
                        result.map_err(|error| attribute(error.into(), revocable))
                    } else if let Some(revoked) = revocable.and_then(|revocable| revocable.poll_revoked(cx)) {
                        Err(revoked)
                    } else {
                        return Poll::Pending;
                    }
                }
                StateProj::Over => panic!("the future of a TLS connection was polled after it had resolved"),
            };
            state.set(State::Over);
            return Poll::Ready(result);
        }
    }
}

/// A service that failed because its stream did does not know whose that was.
fn attribute(error: BoxError, revocable: Option<&mut Revocable>) -> BoxError {
    match Outcome::of(Err(&*error)) {
        Outcome::Closed(CloseReason::Revoked) => revocable.and_then(Revocable::revoked).unwrap_or(error),
        _ => error,
    }
}

/// Lets this stream end when its client is revoked, if it has a certificate; and returns the same
/// for the future.
fn revocable<C>(
    stream: &mut TlsStream<C>,
    active: &Arc<ActiveConfig>,
    verified_by: &LoadedConfig,
) -> Option<Revocable> {
    let chain = stream.client_certificates()?.to_vec();
    let revocable = Revocable::new(active.clone(), verified_by, chain);
    stream.end_with(&revocable);
    Some(revocable)
}

impl<C, S> fmt::Debug for ResponseFuture<C, S>
where
    S: Service<TlsStream<C>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Rejected { .. } => "rejected",
            State::Handshake { .. } => "handshake",
            State::Service { .. } => "service",
            State::Over => "over",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
