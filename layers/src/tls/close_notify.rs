//! Sends close_notify when a session is dropped.

use std::{
    future::{Future, poll_fn},
    ops::{Deref, DerefMut},
    pin::{Pin, pin},
    task::{Context, Waker},
    thread,
};

use tokio::{io::AsyncWrite, task::coop::unconstrained};
use tokio_rustls::server::TlsStream;

use super::observed_io::ObservedIo;
use crate::connection::{Connection, ConnectionEvent};

/// A session that sends close_notify when it is dropped, unless it has done so before (RFC 8446,
/// 6.1): a peer that gets none must assume that something was cut off on the way.
///
/// It is bounded by what the stream below takes at once: nobody can wait in a `drop`. What the
/// session still had to send goes first, so that a close_notify never comes where something is
/// missing before it.
pub(super) struct CloseNotifyOnDrop<C> {
    /// `None` when it was taken out.
    session: Option<TlsStream<ObservedIo<C>>>,
    // Only where a connection is known to be one can something be written to it.
    send: fn(&mut TlsStream<ObservedIo<C>>),
}

impl<C> CloseNotifyOnDrop<C> {
    /// Gives back the session, of which nothing is said.
    pub(super) fn into_session(mut self) -> TlsStream<ObservedIo<C>> {
        self.session.take().expect(PRESENT)
    }
}

impl<C: Connection> CloseNotifyOnDrop<C> {
    pub(super) fn new(session: TlsStream<ObservedIo<C>>) -> Self {
        Self { session: Some(session), send }
    }
}

fn send<C: Connection>(session: &mut TlsStream<ObservedIo<C>>) {
    session.get_mut().1.send_close_notify();
    if !session.get_ref().1.wants_write() {
        return;
    }
    session.get_ref().0.get_ref().on_event(&ConnectionEvent::Closing);
    // Without tokio's budget, which a service that was busy until now has used up.
    let flush = unconstrained(poll_fn(|cx| Pin::new(&mut *session).poll_flush(cx)));
    // How it went does not matter: the stream below is closed next.
    let _ = pin!(flush).poll(&mut Context::from_waker(Waker::noop()));
}

impl<C> Drop for CloseNotifyOnDrop<C> {
    fn drop(&mut self) {
        // A service that panicked has not said all that it meant to say.
        if let Some(session) = &mut self.session
            && !thread::panicking()
        {
            (self.send)(session);
        }
    }
}

const PRESENT: &str = "a session that was taken out is not used";

impl<C> Deref for CloseNotifyOnDrop<C> {
    type Target = TlsStream<ObservedIo<C>>;

    fn deref(&self) -> &Self::Target {
        self.session.as_ref().expect(PRESENT)
    }
}

impl<C> DerefMut for CloseNotifyOnDrop<C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.session.as_mut().expect(PRESENT)
    }
}
