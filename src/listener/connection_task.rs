//! The task of one connection: it ends with the service, or at the deadline of a drain, and logs
//! the reason.

#[cfg(feature = "tls")]
use std::{error::Error, io};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
#[cfg(feature = "tls")]
use portcullis_layers::tls::HandshakeError;
use portcullis_layers::{
    BoxError, CloseReason, Closed, ErrorChain, HandshakeFailure, Outcome, Peer, RejectReason,
};
use tokio_util::task::task_tracker::TaskTrackerToken;
#[cfg(feature = "tls")]
use tracing::field;

pin_project! {
    /// The future of one connection, which an [`Executor`](super::Executor) runs. `F` is the future of the
    /// service.
    ///
    /// It resolves when the connection has finished. Dropping it closes the connection.
    pub struct ConnectionTask<F> {
        #[pin]
        life: F,
        #[pin]
        forced: Closed,
        listener: Arc<str>,
        peer: Peer,
        stage: Stage,
        // The last field, so that the connection is closed before it is no longer counted.
        open: TaskTrackerToken,
    }

    impl<F> PinnedDrop for ConnectionTask<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // The executor drops a future that has panicked: the last poll has not returned.
            if *this.stage == Stage::Polling {
                log!(error, listener = &**this.listener, peer = %this.peer, reason = %CloseReason::Service, "service panicked");
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Polling,
    Over,
}

impl<F> ConnectionTask<F> {
    pub(super) fn new(
        life: F,
        listener: Arc<str>,
        peer: Peer,
        forced: Closed,
        open: TaskTrackerToken,
    ) -> Self {
        Self { life, forced, listener, peer, stage: Stage::Waiting, open }
    }
}

impl<F, E> Future for ConnectionTask<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        *this.stage = Stage::Polling;
        let polled = this.life.poll(cx);
        *this.stage = Stage::Waiting;
        if let Poll::Ready(result) = polled {
            *this.stage = Stage::Over;
            tell(this.listener, *this.peer, result.map_err(Into::into));
            return Poll::Ready(());
        }
        let reason = ready!(this.forced.poll(cx));
        *this.stage = Stage::Over;
        log!(info, listener = &**this.listener, peer = %this.peer, %reason, "connection ended");
        Poll::Ready(())
    }
}

/// The failed handshake among the sources of an error.
#[cfg(feature = "tls")]
fn failed_handshake<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a HandshakeError> {
    if let Some(failed) = error.downcast_ref() {
        return Some(failed);
    }
    // `io::Error::source` skips the error that it carries.
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let within = carried.and_then(|carried| failed_handshake(carried));
    within.or_else(|| failed_handshake(error.source()?))
}

/// Logs the end of a connection, at a higher level the more likely the server is the cause.
fn tell(listener: &str, peer: Peer, result: Result<(), BoxError>) {
    let ending = Outcome::of(result.as_ref().map(drop).map_err(|error| &**error as _));
    let Err(error) = result else {
        log!(debug, listener, %peer, reason = %ending, "connection ended");
        return;
    };
    let error = ErrorChain(&*error);
    match ending {
        Outcome::Closed(CloseReason::Service) => {
            log!(warn, listener, %peer, reason = %ending, %error, "service failed");
        }
        Outcome::Closed(CloseReason::Revoked) => {
            log!(info, listener, %peer, reason = %ending, %error, "connection ended");
        }
        Outcome::Closed(CloseReason::DrainForced) => {
            log!(info, listener, %peer, reason = %ending, "connection ended");
        }
        // A health probe, which connects and closes, is not reported.
        Outcome::HandshakeFailed(HandshakeFailure::EofEmpty) | Outcome::Closed(_) => {
            log!(debug, listener, %peer, reason = %ending, %error, "connection ended");
        }
        #[cfg(feature = "tls")]
        Outcome::HandshakeFailed(_) => {
            let failed = failed_handshake(error.0);
            let server_name = failed.and_then(HandshakeError::server_name);
            let client = failed.and_then(HandshakeError::client).map(field::display);
            log!(info, listener, %peer, server_name, client, reason = %ending, %error, "handshake failed");
        }
        Outcome::Rejected(RejectReason::Address) => {
            log!(info, listener, %peer, reason = %ending, "connection rejected");
        }
        _ => log!(debug, listener, %peer, reason = %ending, %error, "connection ended"),
    }
}
