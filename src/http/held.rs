//! The stream as hyper holds it, and the other end of that hold.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use super::preface::Preface;

/// A stream that is tied to the future of its connection, wherever the stream goes.
///
/// hyper gives an upgraded stream (a WebSocket) away, to a task of the application's, and is done. The
/// connection is not: its future must stay pending while the stream lives, and must end the stream when it is
/// dropped. A pair of channels that never carry a message says both. Dropping the stream drops the senders,
/// which [`Hold::released`] waits for. Dropping the [`Hold`] closes the receivers, which fails each read and
/// write from then on. There is one channel for each direction, because the two halves of a split stream wait in
/// different tasks, and a channel wakes only one.
#[derive(Debug)]
pub(super) struct Held<C> {
    // Dropped before the senders: who waits for the release finds the stream closed.
    inner: C,
    replay: Preface,
    reading: oneshot::Sender<Infallible>,
    writing: oneshot::Sender<Infallible>,
}

/// Kept by the connection's future: the stream works as long as this lives.
#[derive(Debug)]
pub(super) struct Hold {
    reading: oneshot::Receiver<Infallible>,
    // Only its being dropped matters.
    _writing: oneshot::Receiver<Infallible>,
}

impl Hold {
    /// Waits until the stream is dropped.
    pub(super) async fn released(self) {
        // The sender never sends: what comes is its end.
        let _ = self.reading.await;
    }
}

impl<C> Held<C> {
    /// Holds `inner`, of which `replay` has been read already and is read again.
    pub(super) fn new(inner: C, replay: Preface) -> (Self, Hold) {
        let (reading, reading_hold) = oneshot::channel();
        let (writing, writing_hold) = oneshot::channel();
        let hold = Hold { reading: reading_hold, _writing: writing_hold };
        (Self { inner, replay, reading, writing }, hold)
    }
}

/// `polled`, unless the connection's future is gone. Asks again when it goes, if `polled` has to wait.
fn unless_ended<T>(
    hold: &mut oneshot::Sender<Infallible>,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    // Asked first: a stream that is always ready ends as well. It is one atomic load.
    if hold.is_closed() {
        return Poll::Ready(Err(ended()));
    }
    match poll(cx) {
        Poll::Pending => hold.poll_closed(cx).map(|()| Err(ended())),
        ready => ready,
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection that this stream belongs to was ended")
}

#[deny(clippy::missing_trait_methods)]
impl<C: AsyncRead + Unpin> Read for Held<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.replay.replay(&mut buf) {
            return Poll::Ready(Ok(()));
        }
        let mut inner = TokioIo::new(&mut this.inner);
        unless_ended(&mut this.reading, cx, |cx| Pin::new(&mut inner).poll_read(cx, buf))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: AsyncWrite + Unpin> Write for Held<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        unless_ended(&mut this.writing, cx, |cx| Pin::new(&mut this.inner).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        unless_ended(&mut this.writing, cx, |cx| Pin::new(&mut this.inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        unless_ended(&mut this.writing, cx, |cx| Pin::new(&mut this.inner).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        unless_ended(&mut this.writing, cx, |cx| Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))
    }
}
