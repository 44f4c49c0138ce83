//! Streams that misbehave in one particular way.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{Connection, LocalAddress, Peer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes everything that is written with `poll_write_vectored`, and panics where a wrapper fell back to `poll_write`.
pub(crate) struct VectoredOnly;

impl AsyncRead for VectoredOnly {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for VectoredOnly {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("the vectored path was not taken");
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for VectoredOnly {
    fn peer(&self) -> Peer {
        Peer::Unknown
    }

    fn local(&self) -> LocalAddress {
        LocalAddress::Unknown
    }
}

/// Never ready; calls its function whenever it is asked, just before it says so.
pub(crate) struct Meanwhile<F>(pub(crate) F);

impl<F: FnMut() + Unpin> AsyncRead for Meanwhile<F> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        (self.0)();
        Poll::Pending
    }
}

impl<F: FnMut() + Unpin> AsyncWrite for Meanwhile<F> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        (self.0)();
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.0)();
        Poll::Pending
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.0)();
        Poll::Pending
    }
}

impl<F: FnMut() + Unpin + Send + 'static> Connection for Meanwhile<F> {
    fn peer(&self) -> Peer {
        Peer::Unknown
    }

    fn local(&self) -> LocalAddress {
        LocalAddress::Unknown
    }
}
