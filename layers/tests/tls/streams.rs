//! Streams that misbehave, or that insist.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use portcullis_layers::delegate_connection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection from which nothing can be read.
pub(crate) struct Failing {
    io: TcpStream,
    error: fn() -> io::Error,
}

impl Failing {
    pub(crate) const fn new(io: TcpStream, error: fn() -> io::Error) -> Self {
        Self { io, error }
    }
}

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err((self.error)()))
    }
}

delegate_connection!(impl[] AsyncWrite for Failing => io);

delegate_connection!(impl[] Connection for Failing => io);

/// A connection from which every byte is read by itself.
pub(crate) struct ByteByByte {
    io: TcpStream,
}

impl ByteByByte {
    pub(crate) const fn new(io: TcpStream) -> Self {
        Self { io }
    }
}

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut one))?;
        buf.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

delegate_connection!(impl[] AsyncWrite for ByteByByte => io);

delegate_connection!(impl[] Connection for ByteByByte => io);

/// A connection that must be written to with several buffers at once.
pub(crate) struct VectoredOnly {
    io: TcpStream,
}

impl VectoredOnly {
    pub(crate) const fn new(io: TcpStream) -> Self {
        Self { io }
    }
}

delegate_connection!(impl[] AsyncRead for VectoredOnly => io);

impl AsyncWrite for VectoredOnly {
    delegate_connection!(io: poll_write_vectored, poll_flush, poll_shutdown);

    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("poll_write was called where poll_write_vectored should have been");
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

delegate_connection!(impl[] Connection for VectoredOnly => io);
