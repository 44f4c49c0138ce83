//! A stream that insists on vectored writes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use portcullis_layers::delegate_connection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Takes everything that is written with `poll_write_vectored`, and panics where a wrapper fell
/// back to `poll_write`.
pub(crate) struct VectoredOnly {
    io: DuplexStream,
}

impl VectoredOnly {
    pub(crate) fn new() -> Self {
        Self { io: tokio::io::duplex(1).0 }
    }
}

impl AsyncRead for VectoredOnly {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for VectoredOnly {
    delegate_connection!(io: poll_flush, poll_shutdown);

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
}

delegate_connection!(impl[] Connection for VectoredOnly => io);
