//! A stream during whose polls something else happens.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::delegate_connection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Never ready; calls its function whenever it is asked, just before it says so.
pub(crate) struct Meanwhile<F> {
    function: F,
    io: DuplexStream,
}

impl<F> Meanwhile<F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, io: tokio::io::duplex(1).0 }
    }
}

impl<F: FnMut() + Unpin> AsyncRead for Meanwhile<F> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        (self.function)();
        Poll::Pending
    }
}

impl<F: FnMut() + Unpin> AsyncWrite for Meanwhile<F> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        (self.function)();
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.function)();
        Poll::Pending
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.function)();
        Poll::Pending
    }
}

delegate_connection!(impl[F: FnMut() + Unpin + Send + 'static] Connection for Meanwhile<F> => io);
