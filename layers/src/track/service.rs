//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{ResponseFuture, Tracked, Tracker};
use crate::{connection::Connection, error::BoxError};

/// Calls the inner service with a [`Tracked`] stream. Made by [`TrackLayer`](super::TrackLayer).
///
/// The connection is entered into the list in `call`, before the inner service is called: whoever accepted
/// it and called the service can rely on [`Tracker::wait_idle`] from then on.
#[derive(Clone, Debug)]
pub struct Track<S> {
    inner: S,
    tracker: Tracker,
    listener: Option<Arc<str>>,
}

impl<S> Track<S> {
    /// Tracks the connections of this service; `listener` is the name of their listener.
    #[must_use]
    pub const fn new(inner: S, tracker: Tracker, listener: Option<Arc<str>>) -> Self {
        Self { inner, tracker, listener }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes the service, and returns the inner one.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<C, S> Service<C> for Track<S>
where
    C: Connection,
    S: Service<Tracked<C>, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        let entry = self.tracker.opened(self.listener.clone(), connection.peer());
        // Above TLS the handshake is over, and nobody will tell of it.
        if let Some(tls) = connection.tls() {
            entry.secured(tls);
        }
        let stream = Tracked::new(connection, Arc::clone(&entry));
        ResponseFuture::new(self.inner.call(stream), entry)
    }
}
