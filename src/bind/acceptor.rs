//! Accepting from a socket of either kind.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
};

use portcullis_layers::{Connection, LocalAddress, Peer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::{ListeningSocket, SocketDescription, UnixPath};

/// An accepted stream and its peer.
pub(crate) type AcceptedStream = (Either<TcpStream, UnixStream>, Peer);

/// A listening socket, registered with the runtime.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: Socket,
    description: SocketDescription,
    local: LocalAddress,
    /// The service manager stores the socket, so the path of a Unix socket is kept.
    kept: bool,
    /// A successor serves, and does not use this socket.
    unclaimed: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

impl Acceptor {
    /// Registers the socket with the current runtime. `kept`: the service manager stores it when
    /// this process exits.
    pub(crate) fn new(socket: ListeningSocket, kept: bool) -> io::Result<Self> {
        let description = socket.describe();
        let local = socket.local_address();
        let socket = match socket {
            ListeningSocket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            ListeningSocket::Unix(listener, path) => Socket::Unix(UnixListener::from_std(listener)?, path),
        };
        Ok(Self { socket, description, local, kept, unclaimed: AtomicBool::new(false) })
    }

    pub(crate) const fn local_address(&self) -> &LocalAddress {
        &self.local
    }

    /// The local address of every connection, unless the socket is bound to a wildcard.
    pub(crate) fn specific_address(&self) -> Option<SocketAddr> {
        match &self.local {
            LocalAddress::Ip(address) if !address.ip().is_unspecified() => Some(*address),
            _ => None,
        }
    }

    /// `tcp` or `unix`.
    pub(crate) fn kind(&self) -> &str {
        &self.description.kind
    }

    /// What the next generation needs to know of the socket.
    pub(crate) fn describe(&self) -> SocketDescription {
        self.description.clone()
    }

    /// Marks the socket as unused by the successor: it is closed with this generation.
    pub(crate) fn set_unclaimed(&self) {
        self.unclaimed.store(true, Ordering::Release);
    }

    /// See [`set_unclaimed`](Self::set_unclaimed).
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.unclaimed.load(Ordering::Acquire)
    }

    /// Whether the service manager stores the socket; the path of a Unix socket is then kept at the
    /// end.
    pub(crate) const fn is_kept(&self) -> bool {
        self.kept
    }

    /// Removes the path of a Unix socket if it still leads to this socket. Blocks for at most 5 s
    /// while another process holds a lock on its directory.
    pub(crate) fn unlink(&self) {
        if let Socket::Unix(listener, path) = &self.socket
            && let Err(error) = path.unlink_if_ours(listener.as_fd())
        {
            log!(warn, path = %path.as_path().display(), %error, "cannot remove the path of the socket");
        }
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedStream>> {
        Poll::Ready(match &self.socket {
            Socket::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, peer)| (Either::Left(stream), peer.into()))
            }
            Socket::Unix(listener, _) => ready!(listener.poll_accept(cx)).map(|(stream, _)| unix(stream)),
        })
    }

    /// Accepts a connection from the queue without waiting; `None` if the queue is empty.
    ///
    /// It calls accept(2) directly, because the runtime may not have been notified yet.
    pub(crate) fn accept_queued(&self) -> io::Result<Option<AcceptedStream>> {
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
                (Either::Left(stream), peer)
            }
            Socket::Unix(..) => unix(UnixStream::from_std(socket.into())?),
        }))
    }
}

fn unix(stream: UnixStream) -> AcceptedStream {
    let peer = stream.peer();
    (Either::Right(stream), peer)
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener, _) => listener.as_fd(),
        }
    }
}
