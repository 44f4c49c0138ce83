//! Who is at the two ends of a connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

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
    pub const fn canonical(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(canonical(address)),
            other => other,
        }
    }

    /// The IP address and port, where the peer has one.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) | Self::Unknown => None,
        }
    }
}

/// The zone of an address that is not mapped is kept: it says on which interface the peer is.
const fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
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

/// The canonical address and port, `unix:` and the path, `unix`, or `unknown`.
impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => canonical(*address).fmt(f),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Ip(address.parse().unwrap())
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address_and_no_other_changes() {
        assert_eq!(peer("[::ffff:192.0.2.7]:80").canonical(), peer("192.0.2.7:80"));
        for other in ["192.0.2.7:80", "[2001:db8::1]:80", "[fe80::1%7]:80", "[::1]:80", "[::192.0.2.7]:80"] {
            assert_eq!(peer(other).canonical(), peer(other));
        }
    }

    #[test]
    fn both_ends_are_shown_canonically_and_with_their_zone() {
        assert_eq!(peer("[::ffff:192.0.2.7]:80").to_string(), "192.0.2.7:80");
        assert_eq!(peer("[fe80::1%7]:80").to_string(), "[fe80::1%7]:80");
        let local = LocalAddress::Ip("[::ffff:192.0.2.7]:80".parse().unwrap());
        assert_eq!(local.to_string(), "192.0.2.7:80");
        let unix = Peer::Unix(UnixPeer { uid: 7, gid: 8, pid: Some(9) });
        assert_eq!(unix.to_string(), "unix:uid=7,gid=8,pid=9");
    }
}
