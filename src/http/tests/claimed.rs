use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{Connection, Drain, LocalAddress, Notice, Peer, TlsInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that claims a peer, and drains when the test says so.
#[derive(Debug)]
pub(crate) struct Claimed<C> {
    inner: C,
    peer: Peer,
    drain: Drain,
}

impl<C> Claimed<C> {
    pub(crate) fn new(inner: C, peer: Peer, drain: impl Into<Drain>) -> Self {
        Self { inner, peer, drain: drain.into() }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> Connection for Claimed<C> {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn local(&self) -> LocalAddress {
        self.inner.local()
    }

    fn tls(&self) -> Option<&TlsInfo> {
        self.inner.tls()
    }

    fn drain(&self) -> Drain {
        self.drain.clone()
    }

    fn notice(&self, notice: &Notice<'_>) {
        self.inner.notice(notice);
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Claimed<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: AsyncWrite + Unpin> AsyncWrite for Claimed<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
