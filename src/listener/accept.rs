//! Accepting from a socket of either kind.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
};

use portcullis_layers::{Connection, Drain, LocalAddress, Peer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::Accepted;
use crate::bind::{ListeningSocket, SocketDescription, UnixPath};

/// A listening socket, registered with the runtime.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: Socket,
    description: SocketDescription,
    local: LocalAddress,
    /// The local address of every connection, unless the socket is bound to a wildcard.
    specific: Option<SocketAddr>,
    drain: Drain,
    /// A successor serves, and does not go on with this one.
    unclaimed: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

impl Acceptor {
    /// Registers the socket with the current runtime.
    pub(crate) fn new(socket: ListeningSocket, drain: Drain) -> io::Result<Self> {
        let description = socket.describe();
        let local = socket.local_address();
        let specific = match &local {
            LocalAddress::Ip(address) if !address.ip().is_unspecified() => Some(*address),
            _ => None,
        };
        let socket = match socket {
            ListeningSocket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            ListeningSocket::Unix(listener, path) => Socket::Unix(UnixListener::from_std(listener)?, path),
        };
        Ok(Self { socket, description, local, specific, drain, unclaimed: AtomicBool::new(false) })
    }

    pub(crate) const fn local_address(&self) -> &LocalAddress {
        &self.local
    }

    /// `tcp` or `unix`.
    pub(crate) fn kind(&self) -> &str {
        &self.description.kind
    }

    /// What the next generation needs to know of the socket.
    pub(crate) fn describe(&self) -> SocketDescription {
        self.description.clone()
    }

    /// Says that the successor does not go on with this socket: it ends with this generation.
    pub(crate) fn set_unclaimed(&self) {
        self.unclaimed.store(true, Ordering::Release);
    }

    /// See [`set_unclaimed`](Self::set_unclaimed).
    pub(super) fn is_unclaimed(&self) -> bool {
        self.unclaimed.load(Ordering::Acquire)
    }

    /// Removes the path of a Unix socket, if it still is ours. Blocks for as long as somebody holds a lock on its
    /// directory, at most 5 s.
    pub(crate) fn unlink(&self) {
        if let Socket::Unix(listener, path) = &self.socket
            && let Err(error) = path.unlink_if_ours(listener.as_fd())
        {
            tracing::warn!(path = %path.as_path().display(), %error, "cannot remove the path of the socket");
        }
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(match &self.socket {
            Socket::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, peer)| self.tcp(stream, peer))
            }
            Socket::Unix(listener, _) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| self.unix(stream))
            }
        })
    }

    /// Accepts what waits in the queue, without waiting for more: `None` when it is empty.
    ///
    /// It asks the kernel and not the runtime, which may not have heard yet that something came.
    pub(super) fn accept_queued(&self) -> io::Result<Option<Accepted>> {
        let (socket, address) = match SockRef::from(self).accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        Ok(Some(match &self.socket {
            Socket::Tcp(_) => {
                let stream = TcpStream::from_std(socket.into())?;
                let peer = address.as_socket().map_or_else(|| stream.peer(), Peer::from);
                Accepted::new(Either::Left(stream), peer, self.specific, self.drain.clone())
            }
            Socket::Unix(..) => self.unix(UnixStream::from_std(socket.into())?),
        }))
    }

    fn tcp(&self, stream: TcpStream, peer: SocketAddr) -> Accepted {
        Accepted::new(Either::Left(stream), peer.into(), self.specific, self.drain.clone())
    }

    fn unix(&self, stream: UnixStream) -> Accepted {
        let peer = stream.peer();
        Accepted::new(Either::Right(stream), peer, None, self.drain.clone())
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener, _) => listener.as_fd(),
        }
    }
}
