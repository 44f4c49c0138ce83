//! A stream that is broken.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::delegate_connection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Reads fail with this error; writes take nothing.
pub(crate) struct Failing {
    error: fn() -> io::Error,
    io: DuplexStream,
}

impl Failing {
    pub(crate) fn new(error: fn() -> io::Error) -> Self {
        Self { error, io: tokio::io::duplex(1).0 }
    }
}

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err((self.error)()))
    }
}

impl AsyncWrite for Failing {
    delegate_connection!(io: poll_flush, poll_shutdown);

    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }
}

delegate_connection!(impl[] Connection for Failing => io);
