//! The stream that a listener passes to the stack.

use std::net::SocketAddr;

use portcullis_layers::{Connection, Drain, LocalAddress, Peer, delegate_connection};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

/// A connection as [`GracefulListener`](crate::GracefulListener) accepts it, over TCP or a Unix socket.
///
/// It stores the address of the peer, which accept(2) returns, and the drain signal of this
/// generation.
#[derive(Debug)]
pub struct Accepted {
    stream: Either<TcpStream, UnixStream>,
    peer: Peer,
    /// The local address, unless the listener is bound to a wildcard address.
    local: Option<SocketAddr>,
    drain: Drain,
}

impl Accepted {
    pub(crate) const fn new(
        stream: Either<TcpStream, UnixStream>,
        peer: Peer,
        local: Option<SocketAddr>,
        drain: Drain,
    ) -> Self {
        Self { stream, peer, local, drain }
    }

    /// Returns the bare stream.
    #[must_use]
    pub fn into_inner(self) -> Either<TcpStream, UnixStream> {
        self.stream
    }

    /// The stream.
    #[must_use]
    pub const fn get_ref(&self) -> &Either<TcpStream, UnixStream> {
        &self.stream
    }

    /// The stream.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut Either<TcpStream, UnixStream> {
        &mut self.stream
    }
}

impl Connection for Accepted {
    delegate_connection!(stream: tls, on_event);

    fn peer(&self) -> Peer {
        self.peer
    }

    fn local(&self) -> LocalAddress {
        self.local.map_or_else(|| self.stream.local(), LocalAddress::Ip)
    }

    fn drain(&self) -> Drain {
        self.drain.clone()
    }
}

delegate_connection!(impl[] AsyncRead, AsyncWrite for Accepted => stream);

/// The streams that a stack can take: [`Accepted`], or the bare stream of one kind of socket.
pub(crate) trait Transport: Connection {
    /// The required kind of listener, if it does not take both.
    const KIND: Option<&'static str>;

    fn from_accepted(accepted: Accepted) -> Option<Self>
    where
        Self: Sized;
}

impl Transport for Accepted {
    const KIND: Option<&'static str> = None;

    fn from_accepted(accepted: Accepted) -> Option<Self> {
        Some(accepted)
    }
}

impl Transport for TcpStream {
    const KIND: Option<&'static str> = Some("tcp");

    fn from_accepted(accepted: Accepted) -> Option<Self> {
        match accepted.stream {
            Either::Left(stream) => Some(stream),
            Either::Right(_) => None,
        }
    }
}

impl Transport for UnixStream {
    const KIND: Option<&'static str> = Some("unix");

    fn from_accepted(accepted: Accepted) -> Option<Self> {
        match accepted.stream {
            Either::Left(_) => None,
            Either::Right(stream) => Some(stream),
        }
    }
}
