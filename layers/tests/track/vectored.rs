//! A stream that insists on vectored writes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{Connection, ConnectionEvent, Drain, LocalAddress, Peer, TlsInfo};
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

    fn tls(&self) -> Option<&TlsInfo> {
        None
    }

    fn drain(&self) -> Drain {
        Drain::never()
    }

    fn on_event(&self, _: &ConnectionEvent<'_>) {}
}
