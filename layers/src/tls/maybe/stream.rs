//! The stream.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    address::{LocalAddress, Peer},
    connection::{Connection, ConnectionEvent},
    drain::Drain,
    tls::TlsStream,
    tls_info::TlsInfo,
};

/// A connection with TLS or without; [`Connection::tls`] says which.
#[derive(Debug)]
pub struct MaybeTlsStream<C> {
    kind: Kind<C>,
}

#[derive(Debug)]
enum Kind<C> {
    Tls(TlsStream<C>),
    Plain(C),
}

/// Runs the same expression on either stream.
macro_rules! either {
    ($kind:expr, $stream:ident => $result:expr) => {
        match $kind {
            Kind::Tls($stream) => $result,
            Kind::Plain($stream) => $result,
        }
    };
}

impl<C> MaybeTlsStream<C> {
    pub(super) const fn over_tls(stream: TlsStream<C>) -> Self {
        Self { kind: Kind::Tls(stream) }
    }

    pub(super) const fn plain(stream: C) -> Self {
        Self { kind: Kind::Plain(stream) }
    }

    /// The stream below TLS, or the plain one.
    #[must_use]
    pub fn get_ref(&self) -> &C {
        match &self.kind {
            Kind::Tls(stream) => stream.get_ref(),
            Kind::Plain(stream) => stream,
        }
    }

    /// The stream below TLS, or the plain one. With TLS, reading from it or writing to it breaks the session.
    pub fn get_mut(&mut self) -> &mut C {
        match &mut self.kind {
            Kind::Tls(stream) => stream.get_mut(),
            Kind::Plain(stream) => stream,
        }
    }

    /// Gives back the stream below. **With TLS, the session is lost**: see [`TlsStream::into_inner`].
    #[must_use]
    pub fn into_inner(self) -> C {
        match self.kind {
            Kind::Tls(stream) => stream.into_inner(),
            Kind::Plain(stream) => stream,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncRead for MaybeTlsStream<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut self.kind, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> AsyncWrite for MaybeTlsStream<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut self.kind, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.kind, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.kind, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.kind, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        either!(&self.kind, stream => stream.is_write_vectored())
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Connection> Connection for MaybeTlsStream<C> {
    fn peer(&self) -> Peer {
        self.get_ref().peer()
    }

    fn local(&self) -> LocalAddress {
        self.get_ref().local()
    }

    /// `None` where it is plain; what the plain stream says of itself, if it has TLS of its own.
    fn tls(&self) -> Option<&TlsInfo> {
        either!(&self.kind, stream => Connection::tls(stream))
    }

    fn drain(&self) -> Drain {
        self.get_ref().drain()
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        self.get_ref().on_event(event);
    }
}
