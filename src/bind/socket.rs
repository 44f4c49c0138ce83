//! The listening socket, whichever way it came to this process.

use std::{
    ffi::c_int,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener,
    },
};

use portcullis_layers::LocalAddress;

use super::{SocketDescription, UnixPath};

/// A socket that listens: non-blocking, and close-on-exec.
///
/// Dropping it closes this process' descriptor and nothing else. It is never shut down, for that would end it
/// for every generation that holds it, and its path is unlinked only by
/// [`unlink_if_ours`](Self::unlink_if_ours).
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

impl ListeningSocket {
    pub(crate) const TCP: &str = "tcp";
    pub(crate) const UNIX: &str = "unix";

    /// `"tcp"` or `"unix"`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => Self::TCP,
            Self::Unix(..) => Self::UNIX,
        }
    }

    /// The address it is bound to, with the port that the kernel chose.
    pub(crate) fn local_address(&self) -> LocalAddress {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or(LocalAddress::Unknown, LocalAddress::Ip),
            Self::Unix(_, path) => LocalAddress::Unix(Some(path.as_path().to_owned())),
        }
    }

    /// What another generation needs to know in order to check the descriptor.
    pub(crate) fn describe(&self) -> SocketDescription {
        let (address, inode) = match self {
            Self::Tcp(_) => (self.local_address().to_string(), None),
            // Made from text, and therefore shown without loss.
            Self::Unix(_, path) => (path.as_path().display().to_string(), path.inode()),
        };
        SocketDescription { kind: self.kind().to_owned(), address, inode }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// As listen(2) wants it. The kernel clamps what is more than `net.core.somaxconn`.
pub(super) fn backlog(connections: u32) -> c_int {
    c_int::try_from(connections).unwrap_or(c_int::MAX)
}
