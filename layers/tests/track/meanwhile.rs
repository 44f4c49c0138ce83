//! A stream during whose polls something else happens.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::{Connection, ConnectionEvent, Drain, LocalAddress, Peer, TlsInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

    fn tls(&self) -> Option<&TlsInfo> {
        None
    }

    fn drain(&self) -> Drain {
        Drain::never()
    }

    fn on_event(&self, _: &ConnectionEvent<'_>) {}
}
