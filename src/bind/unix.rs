//! Binding a Unix path, and taking it away again: FAULTS R18.
//!
//! A socket's path outlives the process that made it, so that a path that exists may be stale.
//! Looking, unlinking and binding are three steps; two processes that start at the same time would
//! unlink each other's socket between them. All of it, to the call of listen, is therefore done
//! under a lock on the directory (flock(2)), which leaves no file behind and goes away with the
//! process. Only those who take the lock are kept out: a program that unlinks without it can still
//! do harm. And whoever may read the directory may lock it; if somebody keeps the lock we go on
//! without it, for that must not stop a server from starting.

use std::{
    fs::{self, File, FileType, OpenOptions, Permissions},
    io,
    os::{
        fd::BorrowedFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, fchmod, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{BindError, ListenAddr, ListeningSocket, PermissionProblem};

/// Far longer than another starter needs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// flock(2) has no timeout, and nothing tells when a lock is free.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// The path that a Unix socket is bound to, and the file that the binding made there.
#[derive(Clone, Debug)]
pub(crate) struct UnixPath {
    path: PathBuf,
    /// `None` if nothing at the path is ours to remove.
    inode: Option<Inode>,
}

impl UnixPath {
    /// For a socket that the predecessor handed down, and what it told of the path. Where it told
    /// nothing, the path is not ours.
    pub(super) const fn inherited(path: PathBuf, inode: Option<Inode>) -> Self {
        Self { path, inode }
    }

    /// For a socket whose path somebody else made and will remove.
    #[cfg(feature = "systemd")]
    pub(crate) const fn of_another(path: PathBuf) -> Self {
        Self { path, inode: None }
    }

    /// For a socket that comes back, bound by an earlier line of ours. What is at the path now is
    /// taken for ours if it is a socket, which is wrong if somebody has replaced ours by a
    /// socket of theirs; the descriptor cannot tell, for fstat(2) on it gives an inode of
    /// sockfs and not the path's.
    #[cfg(feature = "systemd")]
    pub(crate) fn come_back(path: PathBuf) -> Self {
        let metadata = fs::symlink_metadata(&path).ok().filter(|metadata| metadata.file_type().is_socket());
        Self { inode: metadata.as_ref().map(Inode::of), path }
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }

    pub(super) fn inode(&self) -> Option<Inode> {
        self.inode
    }

    /// Unlinks the path if it still is the file that the binding made. `true` if it was unlinked.
    ///
    /// The socket must still be open, hence the parameter: it keeps the inode from being freed. An
    /// inode number that is free is soon used again, and then somebody else's socket would look
    /// like ours.
    pub(crate) fn unlink_if_ours(&self, _socket: BorrowedFd<'_>) -> io::Result<bool> {
        let Some(ours) = self.inode else { return Ok(false) };
        let _lock = match lock(parent(&self.path), LOCK_TIMEOUT) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if Inode::of(&metadata) == ours => fs::remove_file(&self.path).map(|()| true),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn bind(bind: &ListenAddr, path: &Path) -> Result<ListeningSocket, BindError> {
    let uri = || bind.to_string();
    if let Some(mode) = bind.mode.filter(|mode| mode & !0o777 != 0) {
        return Err(BindError::Mode { uri: uri(), mode });
    }
    let directory = parent(path);
    let failed = |doing: &'static str| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                let problem = PermissionProblem::Directory(directory.to_owned());
                BindError::Permission { uri: uri(), problem, source }
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                BindError::NoDirectory { uri: uri(), directory: directory.to_owned() }
            }
            _ => BindError::Io { uri: uri(), doing, source },
        }
    };
    // Held to the end: a socket that is bound and does not listen yet looks stale to another starter.
    let _lock = lock(directory, LOCK_TIMEOUT).map_err(failed("lock its directory"))?;
    clear(bind, path)?;

    let socket = bound(path, bind.mode).map_err(|(doing, error)| failed(doing)(error))?;
    let listen = || {
        let mut metadata = fs::symlink_metadata(path)?;
        if let Some(mode) = bind.mode.filter(|mode| metadata.mode() & 0o777 != *mode) {
            // What the umask took away.
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            metadata = fs::symlink_metadata(path)?;
        }
        socket.listen(super::socket::backlog(bind.backlog))?;
        Ok(Inode::of(&metadata))
    };
    match listen() {
        Ok(inode) => {
            Ok(ListeningSocket::Unix(socket.into(), UnixPath { path: path.to_owned(), inode: Some(inode) }))
        }
        Err(error) => {
            // The lock is held, so it still is ours. The first error is the one worth reporting.
            let _ = fs::remove_file(path);
            Err(failed("set its mode and listen")(error))
        }
    }
}

/// A socket bound to the path, which has no more than the mode's permissions from its first moment.
fn bound(path: &Path, mode: Option<u32>) -> Result<Socket, (&'static str, io::Error)> {
    // socket2 sets close-on-exec in the same call.
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
        .map_err(|error| ("make a socket", error))?;
    if let Some(mode) = mode {
        // Linux gives the path the mode of the unbound socket, without the bits of the umask.
        fchmod(&socket, Mode::from_raw_mode(mode)).map_err(|errno| ("set its mode", errno.into()))?;
    }
    let address = SockAddr::unix(path).map_err(|error| ("use the path", error))?;
    socket.bind(&address).map_err(|error| ("bind", error))?;
    Ok(socket)
}

/// Makes sure that nothing is at the path: removes a stale socket, refuses anything else.
fn clear(bind: &ListenAddr, path: &Path) -> Result<(), BindError> {
    let uri = || bind.to_string();
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Io { uri: uri(), doing: "look at the path", source }),
    };
    if !file_type.is_socket() {
        return Err(BindError::NotASocket { uri: uri(), found: describe(file_type) });
    }
    match connect(path) {
        // Nobody listens, or it vanished meanwhile.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Somebody listens; the queue may be full (EAGAIN), or they speak datagrams (EPROTOTYPE).
        Ok(()) => return Err(BindError::LiveServer { uri: uri() }),
        Err(error)
            if error.kind() == io::ErrorKind::WouldBlock
                || Errno::from_io_error(&error) == Some(Errno::PROTOTYPE) =>
        {
            return Err(BindError::LiveServer { uri: uri() });
        }
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            let problem = PermissionProblem::Connect;
            return Err(BindError::Permission { uri: uri(), problem, source });
        }
        Err(source) => {
            return Err(BindError::Io {
                uri: uri(),
                doing: "find out whether somebody listens there",
                source,
            });
        }
    }
    match fs::remove_file(path) {
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            let problem = PermissionProblem::Remove(path.to_owned());
            Err(BindError::Permission { uri: uri(), problem, source })
        }
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BindError::Io { uri: uri(), doing: "remove the stale socket", source })
        }
        _ => Ok(()),
    }
}

/// Connects and hangs up. Without blocking: a server whose queue is full would keep us waiting.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)
}

pub(super) fn describe(file_type: FileType) -> &'static str {
    if file_type.is_symlink() {
        "a symbolic link"
    } else if file_type.is_dir() {
        "a directory"
    } else if file_type.is_file() {
        "a regular file"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else {
        "a device"
    }
}

/// The directory of an absolute path to a file.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Locks the directory until the file is dropped. `None`, and a warning, if somebody keeps the
/// lock.
fn lock(directory: &Path, timeout: Duration) -> io::Result<Option<File>> {
    let flags = OFlags::DIRECTORY.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(directory)?;
    let deadline = Instant::now() + timeout;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(Errno::WOULDBLOCK) => {
                log!(
                    warn,
                    directory = %directory.display(),
                    "somebody keeps this directory locked (lslocks shows it); going on without the lock"
                );
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
