//! Finds the server that listens on a control path.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ControlError, credentials};
use crate::{
    bind::{BindError, ListenAddr, ListeningSocket},
    handoff::{HandoffError, Inheritance, Succession},
};

/// Why a process with a control path cannot start, neither as the first generation nor as a
/// successor. It must exit; a server that listens there continues to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// It is unknown whether a server listens there.
    #[error("cannot find out whether a server listens on the control path")]
    Ask(#[from] ControlError),
    /// The server that listens there does not hand over.
    #[error("cannot take over from the server at `{}`", .path.display())]
    #[non_exhaustive]
    Handoff {
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: HandoffError,
    },
    /// No server listens there, and the path cannot be bound.
    #[error("cannot bind the control path")]
    Bind(#[from] BindError),
}

/// What a new process finds at its control path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A server that hands over.
    Server(Succession, Box<Inheritance>),
    /// No server. The path is bound now.
    Nobody(ListeningSocket),
}

/// How long to wait while the queue of the socket is full.
const QUEUE_LIMIT: Duration = Duration::from_secs(5);

/// How often another process may bind or unbind the path between two attempts.
const LOOKS: usize = 8;

/// The mode of the control path: only its owner may connect. The server checks the credentials as
/// well.
pub(crate) fn bind_to(path: &Path) -> Result<ListenAddr, BindError> {
    ListenAddr::unix(path).map(|bind| bind.mode(0o600))
}

/// Takes over from the server at the control path, or binds the path if no server listens there.
///
/// Of two processes that start at the same time, one binds the path, and the other one takes over
/// from it when it serves.
pub(crate) async fn find(bind: &ListenAddr, limit: Duration) -> Result<Found, TakeoverError> {
    let path = bind.path().unwrap_or(Path::new(""));
    let mut looks = 1;
    loop {
        if let Some((succession, inheritance)) = take_over(path, limit).await? {
            return Ok(Found::Server(succession, Box::new(inheritance)));
        }
        let bind = bind.clone();
        // It does not panic, and nobody aborts it.
        match tokio::task::spawn_blocking(move || bind.bind()).await {
            Ok(Err(BindError::LiveServer { .. })) if looks < LOOKS => looks += 1,
            Ok(bound) => return Ok(Found::Nobody(bound?)),
            Err(error) => {
                let source = io::Error::other(error);
                return Err(ControlError::Io { path: path.to_owned(), source }.into());
            }
        }
    }
}

/// `None` if no server listens there, or if the server closes the connection before it has handed
/// anything over.
async fn take_over(path: &Path, limit: Duration) -> Result<Option<(Succession, Inheritance)>, TakeoverError> {
    let stream = match connect(path, credentials::trusted).await {
        Ok(stream) => stream,
        Err(ControlError::NoServer { .. }) => return Ok(None),
        // A server may listen there, so the path must not be bound.
        Err(error) => return Err(error.into()),
    };
    match Succession::over(stream, String::new(), limit).await {
        Ok(taken) => Ok(Some(taken)),
        Err(HandoffError::PredecessorGone) => Ok(None),
        Err(source) => Err(TakeoverError::Handoff { path: path.to_owned(), source }),
    }
}

/// Connects to the server. A client that runs as root may connect to the server of another user,
/// because a request carries no risk; it must not take over its sockets.
pub(super) async fn connect_as_client(path: &Path) -> Result<UnixStream, ControlError> {
    connect(path, |user| credentials::trusted(user) || geteuid().is_root()).await
}

async fn connect(path: &Path, trusted: fn(u32) -> bool) -> Result<UnixStream, ControlError> {
    let path = path.to_owned();
    let connecting = tokio::task::spawn_blocking(move || connect_blocking(path, trusted));
    // It does not panic, and nobody aborts it.
    connecting.await.unwrap_or_else(|error| {
        Err(ControlError::Io { path: PathBuf::new(), source: io::Error::other(error) })
    })
}

/// Blocks while the queue of the socket is full: the kernel has no other notification for that.
fn connect_blocking(path: PathBuf, trusted: fn(u32) -> bool) -> Result<UnixStream, ControlError> {
    let connecting = || -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // It limits connect(2), too (unix(7)).
        socket.set_write_timeout(Some(QUEUE_LIMIT))?;
        socket.connect(&SockAddr::unix(&path)?)?;
        socket.set_write_timeout(None)?;
        Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
    };
    let stream = match connecting() {
        Ok(stream) => stream,
        Err(source) => {
            return Err(match source.kind() {
                // connect(2) reports a file that is no socket like a socket without a listener;
                // bind(2) distinguishes them.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ControlError::NoServer { path, source }
                }
                io::ErrorKind::WouldBlock => ControlError::TimedOut { path, limit: QUEUE_LIMIT },
                _ => ControlError::Connect { path, source },
            });
        }
    };
    match credentials::user_of(&stream) {
        Ok(user) if trusted(user) => Ok(stream),
        Ok(uid) => Err(ControlError::OtherUser { path, uid }),
        Err(source) => Err(ControlError::Connect { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        (directory, path)
    }

    async fn looked(path: &Path) -> Result<Found, TakeoverError> {
        find(&bind_to(path).unwrap(), Duration::from_millis(200)).await
    }

    #[tokio::test]
    async fn where_nobody_is_it_is_bound() {
        let (_directory, path) = path();
        assert!(matches!(looked(&path).await, Ok(Found::Nobody(_))), "nothing");
        assert!(path.exists());
        assert!(matches!(looked(&path).await, Ok(Found::Nobody(_))), "what a dead server left");
    }

    #[tokio::test]
    async fn where_somebody_may_be_it_is_not() {
        let (_directory, path) = path();
        let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(matches!(looked(&path).await, Err(TakeoverError::Ask(ControlError::Connect { .. }))));
        drop(datagrams);
        std::fs::remove_file(&path).unwrap();

        let _silent = UnixListener::bind(&path).unwrap();
        let Err(TakeoverError::Handoff { source, .. }) = looked(&path).await else { panic!("not refused") };
        assert!(matches!(source, HandoffError::TimedOut { .. }), "{source:?}");
    }

    #[tokio::test]
    async fn another_users_server_is_not_believed() {
        let (_directory, path) = path();
        let _listener = UnixListener::bind(&path).unwrap();
        let untrusted = connect(&path, |_| false).await.unwrap_err();
        assert!(matches!(untrusted, ControlError::OtherUser { uid, .. } if uid == geteuid().as_raw()));
    }
}
