//! A layer that wraps the stream: what a `Connection` of your own looks like.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use portcullis::layers::{Connection, Peer, delegate_connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{Layer, Service};

/// Counts what each connection reads and writes, and says so in the log when its stream is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountLayer;

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count { inner }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Count<S> {
    inner: S,
}

// It changes the type of the stream and nothing else, so it needs no future of its own.
impl<C, S> Service<C> for Count<S>
where
    C: Connection,
    S: Service<Counted<C>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, connection: C) -> S::Future {
        self.inner.call(Counted::new(connection))
    }
}

/// The stream with its numbers.
#[derive(Debug)]
pub(crate) struct Counted<C> {
    inner: C,
    numbers: Numbers,
}

/// A field of its own, and not a `Drop` of [`Counted`]: that could not be taken apart any more. It goes where the
/// stream goes, also to another task.
#[derive(Debug)]
struct Numbers {
    peer: Peer,
    read: u64,
    written: u64,
}

impl Drop for Numbers {
    fn drop(&mut self) {
        tracing::info!(peer = %self.peer, read = self.read, written = self.written, "closed");
    }
}

impl<C: Connection> Counted<C> {
    fn new(inner: C) -> Self {
        let numbers = Numbers { peer: inner.peer(), read: 0, written: 0 };
        Self { inner, numbers }
    }
}

delegate_connection!(impl[C: Connection] Connection for Counted<C> => inner);

impl<C: Connection> AsyncRead for Counted<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.numbers.read += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

// `poll_write_vectored` as well: whoever writes several buffers at once calls it instead of `poll_write`.
impl<C: Connection> AsyncWrite for Counted<C> {
    delegate_connection!(inner: is_write_vectored, poll_flush, poll_shutdown);

    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.numbers.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        this.numbers.written += written as u64;
        Poll::Ready(Ok(written))
    }
}
