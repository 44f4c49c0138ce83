//! Addresses written as URIs, and the listening sockets made from them.
//!
//! [`ListenAddr`] is what a user writes: `tcp://host:port` or `unix://path`, and a few options of
//! the socket. `ListeningSocket` is what comes of it: bound, listening, non-blocking and
//! close-on-exec, whether this process bound it or a predecessor handed it down. An `Acceptor` is
//! that socket, registered with tokio. The `ListenerRegistry` knows all listeners of the process,
//! and the sockets that were passed to it.

mod acceptor;
mod activated;
mod address;
mod descriptor;
mod error;
mod inherit;
mod problem;
mod registry;
mod socket;
mod tcp;
mod unix;

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    str::FromStr,
};

use portcullis_layers::LocalAddress;

use self::address::Address;
pub(crate) use self::{
    acceptor::{AcceptedStream, Acceptor},
    activated::ActivatedSocket,
    inherit::SocketDescription,
    registry::{CONTROL, InheritedUse, ListenerRegistry, NameError, RegisteredListener, ReservedName},
    socket::ListeningSocket,
    unix::{Inode, UnixPath},
};
pub use self::{
    descriptor::{DescriptorError, DescriptorProblem, PassedBy},
    error::BindError,
    problem::{HostProblem, PathProblem, PermissionProblem, PortProblem},
};

/// An address to listen on, and the options of the socket.
///
/// Written as a URI:
///
/// - `tcp://192.0.2.1:80`, `tcp://[2001:db8::1]:80`: an address. Port 0 lets the kernel choose one.
///   `tcp://[::]:80` is dual-stack: it takes IPv4 as well, unless [`only_v6`](ListenAddr::only_v6)
///   is set.
/// - `tcp://example.org:80`: a name, resolved when it is bound; the first of its addresses that can
///   be bound is.
/// - `unix:///run/echo.sock`: a path, taken literally (no percent-decoding). A relative path is
///   made absolute when it is parsed, so that a later change of directory does not matter. At most
///   107 bytes (unix(7)).
///
/// On a Unix path, a socket that nobody listens on any more is taken over. A path where a server
/// answers, or which is anything but a socket, is refused and left alone.
///
/// ```
/// use portcullis::ListenAddr;
///
/// let public: ListenAddr = "tcp://[::]:443".parse()?;
/// let local = "unix:///run/echo.sock".parse::<ListenAddr>()?.mode(0o660);
/// assert_eq!(public.to_string(), "tcp://[::]:443");
/// assert_eq!(local.kind(), "unix");
///
/// let error = "0.0.0.0:80".parse::<ListenAddr>().unwrap_err();
/// assert_eq!(error.hint().as_deref(), Some("write `tcp://0.0.0.0:80`"));
/// # Ok::<(), portcullis::BindError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    address: Address,
    backlog: u32,
    mode: Option<u32>,
    only_v6: bool,
    nodelay: bool,
}

impl ListenAddr {
    fn new(address: Address) -> Self {
        Self { address, backlog: 4096, mode: None, only_v6: false, nodelay: true }
    }

    /// Any port of a host, with the default options.
    pub(crate) fn any_port(host: std::net::IpAddr) -> Self {
        Self::new(Address::Ip((host, 0).into()))
    }

    /// A Unix path, with the default options.
    #[cfg(feature = "control")]
    pub(crate) fn unix(path: &Path) -> Result<Self, BindError> {
        let uri = format!("unix://{}", path.display());
        if path.to_str().is_none() {
            return Err(BindError::Path { uri, problem: PathProblem::NotUtf8 });
        }
        uri.parse()
    }

    /// How many connections may wait to be accepted. Default: 4096.
    ///
    /// The kernel clamps it to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// The permissions of a Unix path, as for chmod(1): `0o660` lets the group connect. Default:
    /// `0o777` without the bits of the umask.
    ///
    /// The path has them from the moment it exists; at no time does it have more. Binding fails if
    /// bits outside `0o777` are set. No effect on TCP.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether an IPv6 socket refuses IPv4 (`IPV6_V6ONLY`, ipv6(7)). Default: false, whatever the
    /// system's default is. No effect on IPv4 and Unix.
    #[must_use]
    pub fn only_v6(mut self, only_v6: bool) -> Self {
        self.only_v6 = only_v6;
        self
    }

    /// Whether small writes leave at once (`TCP_NODELAY`, tcp(7)). Default: true. No effect on
    /// Unix.
    ///
    /// It is set on the listening socket, and Linux hands it on to the accepted ones.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// `"tcp"` or `"unix"`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.address {
            Address::Ip(_) | Address::Name { .. } => ListeningSocket::TCP,
            Address::Unix(_) => ListeningSocket::UNIX,
        }
    }

    /// The Unix path, always absolute; `None` for TCP.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) => Some(path),
            Address::Ip(_) | Address::Name { .. } => None,
        }
    }

    /// Whether the kernel chooses the port.
    pub(crate) fn has_port_0(&self) -> bool {
        match self.address {
            Address::Ip(address) => address.port() == 0,
            Address::Name { port, .. } => port == 0,
            Address::Unix(_) => false,
        }
    }

    /// Binds and listens.
    ///
    /// Blocks: a name is resolved, and on a Unix path this waits (5 seconds at most) for another
    /// process that is binding in the same directory. To tell a stale path from a live server
    /// it connects to it once.
    pub(crate) fn bind(&self) -> Result<ListeningSocket, BindError> {
        match &self.address {
            Address::Ip(address) => tcp::bind(self, *address),
            Address::Name { host, port } => tcp::bind_name(self, host, *port),
            Address::Unix(path) => unix::bind(self, path),
        }
    }

    /// Whether a socket bound to `address` is what this URI asks for.
    ///
    /// Port 0 asks for any port of that host, a name for any of its addresses (resolving it blocks;
    /// a name that cannot be resolved matches nothing). An unspecified address asks for itself:
    /// `0.0.0.0` and `127.0.0.1` are different, and so are `0.0.0.0` and `[::]`. The options
    /// are not compared.
    #[must_use]
    pub fn matches(&self, address: &LocalAddress) -> bool {
        match (&self.address, address) {
            (Address::Ip(wanted), LocalAddress::Ip(bound)) => tcp::matches(*wanted, *bound),
            (Address::Name { host, port }, LocalAddress::Ip(bound)) => (host.as_str(), *port)
                .to_socket_addrs()
                .is_ok_and(|mut wanted| wanted.any(|wanted| tcp::matches(wanted, *bound))),
            (Address::Unix(wanted), LocalAddress::Unix(Some(bound))) => wanted == bound,
            _ => false,
        }
    }
}

/// The URI, in the form that parses to the same address.
impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Parses the URI; the options have their defaults.
impl FromStr for ListenAddr {
    type Err = BindError;

    fn from_str(uri: &str) -> Result<Self, BindError> {
        Address::parse(uri).map(Self::new)
    }
}

/// The TCP address, with the default options.
impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self::new(Address::Ip(address))
    }
}

/// A clone.
impl From<&ListenAddr> for ListenAddr {
    fn from(address: &ListenAddr) -> Self {
        address.clone()
    }
}

impl TryFrom<&str> for ListenAddr {
    type Error = BindError;

    fn try_from(uri: &str) -> Result<Self, BindError> {
        uri.parse()
    }
}

impl TryFrom<String> for ListenAddr {
    type Error = BindError;

    fn try_from(uri: String) -> Result<Self, BindError> {
        uri.parse()
    }
}

impl TryFrom<&String> for ListenAddr {
    type Error = BindError;

    fn try_from(uri: &String) -> Result<Self, BindError> {
        uri.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(uri: &str) -> ListenAddr {
        uri.parse().unwrap()
    }

    fn ip(address: &str) -> LocalAddress {
        LocalAddress::Ip(address.parse().unwrap())
    }

    #[test]
    fn a_uri_matches_the_sockets_it_asks_for_and_no_other() {
        assert!(bind("tcp://127.0.0.1:80").matches(&ip("127.0.0.1:80")));
        assert!(bind("tcp://127.0.0.1:0").matches(&ip("127.0.0.1:4711")));
        assert!(bind("tcp://[::]:80").matches(&ip("[::]:80")));
        assert!(bind("tcp://localhost:80").matches(&ip("127.0.0.1:80")));
        assert!(bind("unix:///run/echo").matches(&LocalAddress::Unix(Some("/run/echo".into()))));

        assert!(!bind("tcp://127.0.0.1:80").matches(&ip("127.0.0.1:81")));
        assert!(!bind("tcp://127.0.0.1:80").matches(&ip("127.0.0.2:80")));
        assert!(!bind("tcp://127.0.0.1:0").matches(&ip("0.0.0.0:80")));
        assert!(!bind("tcp://0.0.0.0:80").matches(&ip("127.0.0.1:80")));
        assert!(!bind("tcp://0.0.0.0:80").matches(&ip("[::]:80")));
        assert!(!bind("tcp://localhost:80").matches(&ip("192.0.2.1:80")));
        assert!(!bind("tcp://127.0.0.1:80").matches(&LocalAddress::Unix(Some("/run/echo".into()))));
        assert!(!bind("unix:///run/echo").matches(&LocalAddress::Unix(Some("/run/other".into()))));
        assert!(!bind("unix:///run/echo").matches(&LocalAddress::Unix(None)));
        assert!(!bind("unix:///run/echo").matches(&ip("127.0.0.1:80")));
    }
}
