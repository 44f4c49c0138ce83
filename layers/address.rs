//! Who is at the two ends of a connection.

use std::{fmt, net::SocketAddr, path::PathBuf};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A peer with an IP address, as the socket names it: on a dual-stack socket an IPv4 client
    /// appears as an IPv4-mapped IPv6 address. [`Peer::canonical`] undoes the mapping.
    Ip(SocketAddr),
    /// A process at the other end of a Unix socket, with the credentials the kernel vouches for.
    Unix(UnixPeer),
    /// Nobody can say: an in-memory stream, or a socket whose peer was gone before it was asked for.
    Unknown,
}

/// The credentials of a Unix peer at the time it connected (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnixPeer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, where the kernel tells it. The process may be gone by now.
    pub pid: Option<i32>,
}

impl Peer {
    /// The peer with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291, 2.5.5.2) replaced by its
    /// IPv4 address.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            other => other,
        }
    }

    /// The IP address and port, where the peer has one.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) | Self::Unknown => None,
        }
    }
}

/// The canonical address and port, `unix:uid=0,gid=0,pid=1`, or `unknown`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.canonical() {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(UnixPeer { uid, gid, pid }) => {
                write!(f, "unix:uid={uid},gid={gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, ",pid={pid}"))
            }
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<tokio::net::unix::UCred> for Peer {
    fn from(credentials: tokio::net::unix::UCred) -> Self {
        Self::Unix(UnixPeer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
    }
}

/// Our own end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalAddress {
    /// The IP address and port that the peer connected to.
    Ip(SocketAddr),
    /// The path of the Unix socket; `None` for an unnamed or abstract one.
    Unix(Option<PathBuf>),
    /// Nobody can say: an in-memory stream, or a socket that is no longer connected.
    Unknown,
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl From<SocketAddr> for LocalAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<&tokio::net::unix::SocketAddr> for LocalAddress {
    fn from(address: &tokio::net::unix::SocketAddr) -> Self {
        Self::Unix(address.as_pathname().map(Into::into))
    }
}
