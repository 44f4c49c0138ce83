//! A stream that is broken.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{Connection, ConnectionEvent, Drain, LocalAddress, Peer, TlsInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads fail with this error; writes take nothing.
pub(crate) struct Failing(pub(crate) fn() -> io::Error);

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err((self.0)()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Failing {
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
