//! The handshake of one connection, under one deadline.

use std::{
    error::Error,
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tokio_rustls::rustls::{self, AlertDescription};

use super::{
    HandshakeCause, HandshakeError, HandshakeFailure, TlsLayer, TlsStream,
    active_config::ActiveConfig,
    error::{Seen, is_unknown_name},
    handshake_limits::InProgress,
    lingering_close::LingeringClose,
    loaded_config::LoadedConfig,
    negotiation::Negotiation,
    observed_io::ObservedIo,
};
use crate::{
    connection::{Connection, ConnectionEvent},
    error::BoxError,
    outcome::CloseReason,
};

/// How long a client that was sent an alert has to close its side, within the deadline of the
/// handshake. One round trip is enough.
const LINGER: Duration = Duration::from_secs(1);

pin_project! {
    pub(super) struct Handshake<C> {
        stage: Stage<C>,
        active: Arc<ActiveConfig>,
        started: Instant,
        timeout: Duration,
        #[pin]
        deadline: Sleep,
        // Counted until it is over, whichever way.
        in_progress: InProgress,
    }
}

enum Stage<C> {
    /// In a box while it lasts, so that the future is not as large as a session for the
    /// connection's whole life.
    Negotiation(Box<Negotiation<C>>),
    /// It has failed, and the client is being told.
    LingeringClose(LingeringClose<C>, HandshakeError),
    Over,
}

impl<C: Connection> Handshake<C> {
    pub(super) fn new(layer: &TlsLayer, connection: C, in_progress: InProgress) -> Self {
        connection.on_event(&ConnectionEvent::HandshakeStarted);
        let started = Instant::now();
        let timeout = layer.timeout();
        let active = layer.active().clone();
        let negotiation = Negotiation::new(active.clone(), ObservedIo::new(connection));
        Self {
            stage: Stage::Negotiation(Box::new(negotiation)),
            active,
            started,
            timeout,
            deadline: tokio::time::sleep(timeout),
            in_progress,
        }
    }
}

impl<C> Handshake<C> {
    /// Whether it has failed, and all that is left is to tell the client.
    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::LingeringClose(..))
    }
}

impl<C: Connection> Future for Handshake<C> {
    /// The stream, and the configuration that its client was verified by.
    type Output = Result<(TlsStream<C>, Arc<LoadedConfig>), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Negotiation(negotiation) => match Pin::new(&mut **negotiation).poll(cx) {
                    Poll::Ready(Ok((stream, loaded))) => {
                        *this.stage = Stage::Over;
                        let Some(stream) = TlsStream::new(stream) else {
                            // What nobody can name must not be served.
                            let error = rustls::Error::General("nothing was agreed".to_owned());
                            return Poll::Ready(Err(BoxError::from(error)));
                        };
                        let verified_by = match verify_again(&stream, this.active, &loaded) {
                            Ok(verified_by) => verified_by,
                            Err(error) => {
                                // Nothing that rustls would send tells a client now that it was
                                // refused; that nothing comes tells it more than close_notify,
                                // which would say that all is well.
                                drop(stream.into_inner());
                                return Poll::Ready(Err(error.into()));
                            }
                        };
                        let (tls, took) = (stream.info(), this.started.elapsed());
                        stream.get_ref().on_event(&ConnectionEvent::HandshakeCompleted { tls, took });
                        return Poll::Ready(Ok((stream, verified_by)));
                    }
                    Poll::Ready(Err((error, io))) => {
                        let seen = negotiation.take_seen();
                        *this.stage = Stage::Over;
                        if is_ending(&error) {
                            return Poll::Ready(Err(error.into()));
                        }
                        let error = HandshakeError::new(error, &io, seen);
                        let Some(closing) = lingering_close(&error, io) else {
                            return Poll::Ready(Err(error.into()));
                        };
                        *this.stage = Stage::LingeringClose(closing, error);
                        let last = this.deadline.deadline().min(Instant::now() + LINGER);
                        this.deadline.as_mut().reset(last);
                    }
                    Poll::Pending => {
                        ready!(this.deadline.as_mut().poll(cx));
                        let seen = negotiation.take_seen();
                        *this.stage = Stage::Over;
                        let cause = HandshakeCause::Timeout { after: *this.timeout };
                        let error = HandshakeError::of(cause, seen);
                        return Poll::Ready(Err(error.into()));
                    }
                },
                Stage::LingeringClose(closing, _) => {
                    if closing.poll(cx).is_pending() {
                        ready!(this.deadline.as_mut().poll(cx));
                    }
                    let Stage::LingeringClose(_, error) = mem::replace(this.stage, Stage::Over) else {
                        continue;
                    };
                    return Poll::Ready(Err(error.into()));
                }
                Stage::Over => panic!("a TLS handshake was polled after its end"),
            }
        }
    }
}

/// Verifies again: a reload since the handshake began may have changed which clients are allowed.
fn verify_again<C>(
    stream: &TlsStream<C>,
    active: &ActiveConfig,
    loaded: &Arc<LoadedConfig>,
) -> Result<Arc<LoadedConfig>, HandshakeError> {
    let tls = stream.info();
    let failed = |source, refused| {
        let cause = HandshakeCause::Tls { failure: HandshakeFailure::of_session(&source), source };
        HandshakeError::of(cause, Seen { server_name: tls.server_name.as_deref().map(Box::from), refused })
    };
    if loaded.alpn_required && tls.alpn.is_none() {
        return Err(failed(rustls::Error::NoApplicationProtocol, None));
    }
    let current = active.current();
    if current.trust != loaded.trust {
        let chain = stream.client_certificates().unwrap_or_default();
        current.verify_client(chain).map_err(|error| failed(error, chain.first().cloned()))?;
    }
    Ok(current)
}

/// Whether a layer below has ended the connection for a reason of its own, which is then not the
/// handshake's failure.
fn is_ending(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<CloseReason>)
}

/// How to close the connection of a client that is sent an alert.
fn lingering_close<C: Connection>(error: &HandshakeError, io: ObservedIo<C>) -> Option<LingeringClose<C>> {
    let HandshakeCause::Tls { source, .. } = error.cause() else { return None };
    if matches!(source, rustls::Error::AlertReceived(_)) {
        return None;
    }
    if io.answered() {
        return Some(LingeringClose::new(io.into_inner()));
    }
    // rustls refuses a handshake message that is too long, and some ways to cut messages into
    // records, without a word, and knows nothing of what this layer refuses. As nothing was sent
    // yet, nothing is encrypted yet.
    let alert = match source {
        error if is_unknown_name(error) => AlertDescription::UnrecognisedName,
        rustls::Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        rustls::Error::InvalidMessage(_) => AlertDescription::DecodeError,
        rustls::Error::PeerMisbehaved(_) => AlertDescription::UnexpectedMessage,
        _ => AlertDescription::InternalError,
    };
    Some(LingeringClose::with_alert(io.into_inner(), alert))
}
