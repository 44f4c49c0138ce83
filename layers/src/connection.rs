//! The trait [`Connection`]: a stream that knows who is at its other end.
//!
//! It is what the layers ask of the stream they are given and what they give to the service above. The
//! wrappers that a layer puts around a stream live in that layer's folder.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{TcpStream, UnixStream},
};
use tokio_util::either::Either;

use crate::{
    address::{LocalAddress, Peer},
    drain::Drain,
    outcome::CloseReason,
    tls_info::TlsInfo,
};

/// A stream of bytes that knows its two ends, its TLS session if it has one, and when to drain.
///
/// Implemented for tokio's sockets, for [`Either`], for every wrapper of this crate (which forward to the
/// stream below them and add what they know), and for [`DuplexStream`], so that a service can be tested
/// in memory.
///
/// # Implementing it for a wrapper
///
/// [`delegate_connection!`](crate::delegate_connection) writes the methods that forward to the wrapped stream. No method of
/// this trait has a default, because a default would be wrong for a wrapper.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Connection`",
    label = "the layers of portcullis carry streams that implement `Connection`",
    note = "give the stack a `TcpStream`, a `UnixStream`, `Either` of two connections, or what a layer below makes of them; \
            implement `Connection` for a stream of your own by forwarding to the stream it wraps"
)]
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The other end.
    fn peer(&self) -> Peer;

    /// Our own end.
    fn local(&self) -> LocalAddress;

    /// What the TLS handshake negotiated, or `None` if the bytes read from this stream are not
    /// protected by TLS.
    fn tls(&self) -> Option<&TlsInfo>;

    /// The signal to complete requests in flight and start no new ones. [`Drain::never`] for a bare
    /// socket.
    fn drain(&self) -> Drain;

    /// Called when an inner layer has learned something about this connection.
    ///
    /// This is how a layer close to the socket (tracking, metrics) learns about a handshake that happens in a layer
    /// further in. A wrapper passes the event on to the stream it wraps; a socket ignores it.
    fn on_event(&self, event: &ConnectionEvent<'_>);
}

/// What an inner layer reports to the streams it wraps; see [`Connection::on_event`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// A TLS handshake began. If it fails, the connection's future ends with a
    /// [`HandshakeError`](crate::tls::HandshakeError).
    HandshakeStarted,
    /// The TLS handshake is complete.
    HandshakeCompleted {
        /// What was agreed.
        tls: &'a TlsInfo,
        /// From the call of the TLS layer to the end of the handshake.
        took: Duration,
    },
    /// The peer has said that it is done sending, in a way that the stream below does not see (TLS's close_notify).
    /// May come more than once.
    PeerDone,
    /// A wrapper has ended the connection, or has found that it has ended, in a way that the streams below do not
    /// see: from now on it fails, for this reason. May come more than once; the first reason stands.
    Ended(CloseReason),
    /// A wrapper is being dropped, and says its last words (TLS's close_notify) before: a wrapper that has ended the connection
    /// lets them through, and how they fare is no reason of any kind. Nothing is read or written after.
    Closing,
}

impl Connection for TcpStream {
    fn peer(&self) -> Peer {
        self.peer_addr().map_or(Peer::Unknown, Peer::from)
    }

    fn local(&self) -> LocalAddress {
        self.local_addr().map_or(LocalAddress::Unknown, LocalAddress::from)
    }

    fn tls(&self) -> Option<&TlsInfo> {
        None
    }

    fn drain(&self) -> Drain {
        Drain::never()
    }

    fn on_event(&self, _: &ConnectionEvent<'_>) {}
}

impl Connection for UnixStream {
    fn peer(&self) -> Peer {
        self.peer_cred().map_or(Peer::Unknown, Peer::from)
    }

    fn local(&self) -> LocalAddress {
        self.local_addr().map_or(LocalAddress::Unknown, |address| LocalAddress::from(&address))
    }

    fn tls(&self) -> Option<&TlsInfo> {
        None
    }

    fn drain(&self) -> Drain {
        Drain::never()
    }

    fn on_event(&self, _: &ConnectionEvent<'_>) {}
}

/// In memory there are no addresses: both ends are unknown, and an allowlist refuses it.
impl Connection for DuplexStream {
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

/// For streams whose type is chosen at run time: `Box<dyn Connection>`.
impl<C: Connection + ?Sized> Connection for Box<C> {
    fn peer(&self) -> Peer {
        (**self).peer()
    }

    fn local(&self) -> LocalAddress {
        (**self).local()
    }

    fn tls(&self) -> Option<&TlsInfo> {
        (**self).tls()
    }

    fn drain(&self) -> Drain {
        (**self).drain()
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        (**self).on_event(event);
    }
}

impl<A: Connection, B: Connection> Connection for Either<A, B> {
    fn peer(&self) -> Peer {
        match self {
            Self::Left(a) => a.peer(),
            Self::Right(b) => b.peer(),
        }
    }

    fn local(&self) -> LocalAddress {
        match self {
            Self::Left(a) => a.local(),
            Self::Right(b) => b.local(),
        }
    }

    fn tls(&self) -> Option<&TlsInfo> {
        match self {
            Self::Left(a) => a.tls(),
            Self::Right(b) => b.tls(),
        }
    }

    fn drain(&self) -> Drain {
        match self {
            Self::Left(a) => a.drain(),
            Self::Right(b) => b.drain(),
        }
    }

    fn on_event(&self, event: &ConnectionEvent<'_>) {
        match self {
            Self::Left(a) => a.on_event(event),
            Self::Right(b) => b.on_event(event),
        }
    }
}
