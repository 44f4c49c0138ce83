//! A descriptor that another generation handed down: checked before it is believed (FAULTS R11).

use std::{
    fmt,
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{DescriptorError, DescriptorProblem, Inode, ListeningSocket, PassedBy, UnixPath};

/// What one generation tells the next of a listening socket, beside the descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketDescription {
    /// `"tcp"` or `"unix"`.
    pub(crate) kind: String,
    /// `address:port`, or the path.
    pub(crate) address: String,
    /// The file at a Unix path that is ours. Descriptors do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<Inode>,
}

impl fmt::Display for SocketDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} socket that listens on {}", self.kind, self.address)
    }
}

impl ListeningSocket {
    /// Takes a descriptor that was announced as `announced`, after checking that it is that: a
    /// stream socket of that kind, listening, and bound to that address. Sets close-on-exec and
    /// non-blocking.
    ///
    /// On an error the descriptor is closed, and nothing about the socket was changed.
    pub(crate) fn inherited(
        name: &str,
        fd: OwnedFd,
        announced: &SocketDescription,
    ) -> Result<Self, DescriptorError> {
        Self::as_announced(fd, announced).map_err(|problem| DescriptorError {
            name: name.to_owned(),
            passed_by: PassedBy::Predecessor { announced: announced.to_string() },
            problem,
        })
    }

    fn as_announced(fd: OwnedFd, announced: &SocketDescription) -> Result<Self, DescriptorProblem> {
        if ![Self::TCP, Self::UNIX].contains(&announced.kind.as_str()) {
            return Err(DescriptorProblem::UnknownKind);
        }
        let checked = Checked::new(fd)?;
        if checked.kind != announced.kind {
            return Err(DescriptorProblem::WrongType { found: checked.in_words() });
        }
        // As text, which is how it was announced: it names scopes, and paths have no other form.
        if checked.address != announced.address {
            let (found, wanted) = (checked.address, announced.address.clone());
            return Err(DescriptorProblem::WrongAddress { found, wanted });
        }
        checked.into_listening(|path| UnixPath::inherited(path, announced.inode))
    }

    /// Takes a descriptor that nobody described: whatever it listens on, if that is TCP or a Unix
    /// path. Sets close-on-exec and non-blocking. `path` says whose the path of a Unix socket
    /// is.
    ///
    /// On an error the descriptor is closed, and nothing about the socket was changed.
    #[cfg(feature = "systemd")]
    pub(crate) fn found(
        fd: OwnedFd,
        path: impl FnOnce(PathBuf) -> UnixPath,
    ) -> Result<Self, DescriptorProblem> {
        Checked::new(fd)?.into_listening(path)
    }
}

/// A stream socket that listens.
struct Checked {
    socket: Socket,
    kind: &'static str,
    /// In the form of [`SocketDescription::address`].
    address: String,
    path: Option<PathBuf>,
}

impl Checked {
    fn new(fd: OwnedFd) -> Result<Self, DescriptorProblem> {
        let failed = |call| move |source| DescriptorProblem::System { call, source };
        let file = std::fs::File::from(fd);
        let file_type = file.metadata().map_err(failed("fstat"))?.file_type();
        if !file_type.is_socket() {
            return Err(DescriptorProblem::WrongType { found: super::unix::describe(file_type).to_owned() });
        }
        let socket = Socket::from(OwnedFd::from(file));
        let domain = socket.domain().map_err(failed("getsockopt(SO_DOMAIN)"))?;
        let r#type = socket.r#type().map_err(failed("getsockopt(SO_TYPE)"))?;
        let protocol = socket.protocol().map_err(failed("getsockopt(SO_PROTOCOL)"))?;
        let kind = match domain {
            Domain::IPV4 | Domain::IPV6 if matches!(protocol, Some(Protocol::TCP | Protocol::MPTCP)) => {
                Some(ListeningSocket::TCP)
            }
            Domain::UNIX => Some(ListeningSocket::UNIX),
            _ => None,
        };
        let Some(kind) = kind.filter(|_| r#type == Type::STREAM) else {
            return Err(DescriptorProblem::WrongType { found: kind_of_socket(domain, r#type, protocol) });
        };
        if !socket.is_listener().map_err(failed("getsockopt(SO_ACCEPTCONN)"))? {
            return Err(DescriptorProblem::NotListening);
        }
        let bound = socket.local_addr().map_err(failed("getsockname"))?;
        let path = bound.as_pathname().map(PathBuf::from);
        Ok(Self { socket, kind, address: display(&bound), path })
    }

    fn in_words(&self) -> String {
        let domain = self.socket.domain().unwrap_or(Domain::UNIX);
        kind_of_socket(domain, Type::STREAM, None)
    }

    fn into_listening(
        self,
        whose: impl FnOnce(PathBuf) -> UnixPath,
    ) -> Result<ListeningSocket, DescriptorProblem> {
        let failed = |call| move |source| DescriptorProblem::System { call, source };
        let path = match (self.kind, self.path) {
            (ListeningSocket::UNIX, None) => {
                return Err(DescriptorProblem::WrongType {
                    found: format!("a Unix stream socket on {}", self.address),
                });
            }
            (_, path) => path,
        };
        self.socket.set_cloexec(true).map_err(failed("fcntl(F_SETFD)"))?;
        self.socket.set_nonblocking(true).map_err(failed("fcntl(F_SETFL)"))?;
        Ok(match path {
            Some(path) => ListeningSocket::Unix(self.socket.into(), whose(path)),
            None => ListeningSocket::Tcp(self.socket.into()),
        })
    }
}

/// What a socket is, in words.
fn kind_of_socket(domain: Domain, r#type: Type, protocol: Option<Protocol>) -> String {
    let family = match domain {
        Domain::IPV4 => "an IPv4".to_owned(),
        Domain::IPV6 => "an IPv6".to_owned(),
        Domain::UNIX => "a Unix".to_owned(),
        Domain::VSOCK => "a vsock".to_owned(),
        other => format!("a {other:?}"),
    };
    let r#type = match r#type {
        Type::STREAM => "stream".to_owned(),
        Type::DGRAM => "datagram".to_owned(),
        Type::SEQPACKET => "seqpacket".to_owned(),
        other => format!("{other:?}"),
    };
    match protocol {
        None | Some(Protocol::TCP | Protocol::UDP) => format!("{family} {type} socket"),
        Some(protocol) => format!("{family} {type} socket of {protocol:?}"),
    }
}

/// The address in the form of [`SocketDescription::address`].
fn display(address: &SockAddr) -> String {
    if let Some(address) = address.as_socket() {
        address.to_string()
    } else if let Some(path) = address.as_pathname() {
        path.display().to_string()
    } else if let Some(name) = address.as_abstract_namespace() {
        format!("the abstract name `@{}`", name.escape_ascii())
    } else {
        "no address".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            fd::AsFd,
            unix::net::{UnixDatagram, UnixListener, UnixStream},
        },
    };

    use rustix::io::{FdFlags, fcntl_getfd};

    use super::*;
    use crate::bind::ListenAddr;

    fn announced(kind: &str, address: &(impl ToString + ?Sized)) -> SocketDescription {
        SocketDescription { kind: kind.to_owned(), address: address.to_string(), inode: None }
    }

    /// The error, after checking that it names the listener and what was announced.
    #[track_caller]
    fn refused(fd: impl Into<OwnedFd>, announced: &SocketDescription) -> DescriptorError {
        let error = ListeningSocket::inherited("echo", fd.into(), announced).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`echo`") && text.contains(&announced.to_string()), "{text}");
        error
    }

    #[test]
    fn a_socket_survives_being_handed_down() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("echo");
        for uri in
            ["tcp://127.0.0.1:0".to_owned(), "tcp://[::]:0".to_owned(), format!("unix://{}", path.display())]
        {
            let bind: ListenAddr = uri.parse().unwrap();
            let ours = bind.bind().unwrap();
            let description = ours.describe();
            let handed = ours.as_fd().try_clone_to_owned().unwrap();

            let theirs = ListeningSocket::inherited("echo", handed, &description).unwrap();
            assert_eq!(theirs.describe(), description);
            assert_eq!(theirs.local_address(), ours.local_address());
            assert_eq!(theirs.kind(), bind.kind());
            assert!(bind.matches(&theirs.local_address()));
        }
    }

    #[test]
    fn an_inherited_socket_is_made_non_blocking_and_close_on_exec() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let description = announced("tcp", &listener.local_addr().unwrap());
        let socket = Socket::from(listener);
        socket.set_cloexec(false).unwrap();

        let inherited = ListeningSocket::inherited("echo", socket.into(), &description).unwrap();
        let socket = Socket::from(inherited.as_fd().try_clone_to_owned().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert!(fcntl_getfd(&inherited).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn what_is_no_stream_socket_of_the_kind_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let tcp = announced("tcp", "127.0.0.1:80");
        let unix = announced("unix", "/run/echo");
        let file = File::create(directory.path().join("file")).unwrap();
        let (pipe, _writer) = std::io::pipe().unwrap();
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        for (error, found) in [
            (refused(file, &tcp), "a regular file"),
            (refused(File::open(directory.path()).unwrap(), &tcp), "a directory"),
            (refused(File::open("/dev/null").unwrap(), &unix), "a device"),
            (refused(pipe, &unix), "a named pipe"),
            (refused(UdpSocket::bind("127.0.0.1:0").unwrap(), &tcp), "an IPv4 datagram socket"),
            (refused(UnixDatagram::unbound().unwrap(), &unix), "a Unix datagram socket"),
            (refused(listener(), &unix), "an IPv4 stream socket"),
            (refused(UnixListener::bind(directory.path().join("a")).unwrap(), &tcp), "a Unix stream socket"),
        ] {
            assert!(matches!(error.problem, DescriptorProblem::WrongType { .. }), "{error:?}");
            assert!(error.to_string().contains(found), "{error}");
        }
        let error = ListeningSocket::inherited("echo", listener().into(), &announced("quic", "[::]:1"));
        assert!(matches!(error.unwrap_err().problem, DescriptorProblem::UnknownKind));
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = TcpStream::connect(address).unwrap();
        let description = announced("tcp", &connected.local_addr().unwrap());
        assert!(matches!(refused(connected, &description).problem, DescriptorProblem::NotListening));

        let (a, _b) = UnixStream::pair().unwrap();
        assert!(matches!(
            refused(a, &announced("unix", "/run/echo")).problem,
            DescriptorProblem::NotListening
        ));
    }

    #[test]
    fn a_socket_bound_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = refused(listener, &announced("tcp", "0.0.0.0:80"));
        assert!(
            matches!(&error.problem, DescriptorProblem::WrongAddress { found, .. } if *found == address),
            "{error:?}"
        );

        let listener = UnixListener::bind(directory.path().join("a")).unwrap();
        let error = refused(listener, &announced("unix", &directory.path().join("b").display()));
        assert!(matches!(error.problem, DescriptorProblem::WrongAddress { .. }), "{error:?}");
    }

    #[test]
    fn a_description_of_a_newer_version_is_read() {
        let json = r#"{"kind":"tcp","address":"[::]:80","zone":"blue"}"#;
        assert_eq!(serde_json::from_str::<SocketDescription>(json).unwrap(), announced("tcp", "[::]:80"));
    }
}
