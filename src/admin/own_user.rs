//! Whom the kernel vouches for on a Unix socket: our own user and root.

use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use portcullis_layers::{BoxError, Connection, Peer, RejectReason};
use rustix::process::geteuid;
use tower::Service;

use crate::control::is_trusted_by;

/// Turns Unix peers away that are neither root nor run as the user of this process. Who has an IP
/// address is judged by the allowlist around this, and comes through.
#[derive(Clone, Debug)]
pub(super) struct OwnUser<S> {
    inner: S,
    user: u32,
}

impl<S> OwnUser<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, user: geteuid().as_raw() }
    }

    fn admits(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(_) => true,
            Peer::Unix(peer) => is_trusted_by(self.user, peer.uid),
            // Also what a later version may add: nobody has vouched for it.
            _ => false,
        }
    }
}

/// A Unix peer that is neither root nor our own user.
#[derive(Debug, thiserror::Error)]
#[error("{peer} may not ask: it must be root or the user of this process")]
pub(super) struct OtherUser {
    peer: Peer,
    source: RejectReason,
}

impl<C, S> Service<C> for OwnUser<S>
where
    C: Connection,
    S: Service<C, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        let peer = connection.peer();
        if self.admits(peer) {
            ResponseFuture::Admitted { serving: self.inner.call(connection) }
        } else {
            ResponseFuture::Refused { peer }
        }
    }
}

pin_project! {
    #[project = ResponseFutureProjection]
    pub(super) enum ResponseFuture<F> {
        Admitted { #[pin] serving: F },
        Refused { peer: Peer },
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseFutureProjection::Admitted { serving } => serving.poll(cx).map_err(Into::into),
            ResponseFutureProjection::Refused { peer } => {
                Poll::Ready(Err(OtherUser { peer: *peer, source: RejectReason::Address }.into()))
            }
        }
    }
}
