//! What can be wrong with the parts of an address, and with the permissions to bind it.

use std::{borrow::Cow, fmt, path::PathBuf};

use super::address::LONGEST_PATH;

/// What is wrong with the host of a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostProblem {
    /// There is none. The port is that of the URI.
    #[non_exhaustive]
    Missing {
        /// The port of the URI.
        port: u16,
    },
    /// It looks like an IPv4 address and is none.
    NotIpv4,
    /// It is an IPv6 address without brackets.
    NoBrackets,
    /// The bracket is not closed.
    OpenBracket,
    /// The text in the brackets is not an IPv6 address.
    NotIpv6,
    /// A host name cannot contain this character.
    Character(char),
}

/// What is wrong with the port of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortProblem {
    /// There is none.
    Missing,
    /// It is not a decimal number.
    NotANumber,
    /// It is larger than 65535.
    OutOfRange,
}

/// What is wrong with the path of a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathProblem {
    /// There is none.
    Missing,
    /// It contains a NUL byte.
    NulByte,
    /// It is not UTF-8.
    NotUtf8,
    /// It begins with `@`, which asks for an abstract socket. Such a socket has no permissions.
    Abstract,
    /// It names a directory.
    Directory,
    /// It is relative, and the working directory is gone or its name is not UTF-8.
    Relative,
    /// It does not fit into a socket address (unix(7)).
    #[non_exhaustive]
    TooLong {
        /// The absolute path.
        path: PathBuf,
    },
}

/// Which permission is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermissionProblem {
    /// The port is below 1024 and needs `CAP_NET_BIND_SERVICE` (capabilities(7)).
    PrivilegedPort,
    /// The directory of a Unix path needs read, write and search permission.
    Directory(PathBuf),
    /// There is a socket at the path that this user may not connect to.
    Connect,
    /// There is a stale socket at this path that this user may not remove.
    Remove(PathBuf),
}

impl HostProblem {
    pub(super) fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Missing { port } => format!(
                "write `tcp://0.0.0.0:{port}` for every IPv4 address, `tcp://[::]:{port}` for IPv6 too"
            )
            .into(),
            Self::NotIpv4 => "write four decimal numbers from 0 to 255, without leading zeros".into(),
            Self::NoBrackets | Self::OpenBracket => "write `tcp://[address]:port`".into(),
            Self::NotIpv6 => {
                "write it as in `tcp://[2001:db8::1]:80`; a scope is a number, as in `[fe80::1%2]`".into()
            }
            Self::Character(_) => "write an address or a name in ASCII".into(),
        }
    }
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { .. } => f.write_str("there is none"),
            Self::NotIpv4 => f.write_str("it is not an IPv4 address"),
            Self::NoBrackets => f.write_str("an IPv6 address stands in brackets"),
            Self::OpenBracket => f.write_str("the bracket is not closed"),
            Self::NotIpv6 => f.write_str("what is in the brackets is not an IPv6 address"),
            Self::Character(odd) => write!(f, "a host name cannot contain `{}`", odd.escape_debug()),
        }
    }
}

impl fmt::Display for PortProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "has no port",
            Self::NotANumber => "has a port that is not a number",
            Self::OutOfRange => "has a port out of range",
        })
    }
}

impl PathProblem {
    pub(super) fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Missing => "write `unix:///path`".into(),
            Self::NulByte => "remove the NUL byte".into(),
            Self::NotUtf8 => "choose one in UTF-8".into(),
            Self::Abstract => "give a path; if the file has this name, give its absolute path".into(),
            Self::Directory => "name a file in it".into(),
            Self::Relative => "write an absolute path".into(),
            Self::TooLong { .. } => {
                format!("a socket's path has at most {LONGEST_PATH} bytes: choose a shorter one").into()
            }
        }
    }
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("has no path"),
            Self::NulByte => f.write_str("has a path with a NUL byte"),
            Self::NotUtf8 => f.write_str("has a path that is not UTF-8"),
            Self::Abstract => f.write_str("asks for an abstract socket, which has no permissions"),
            Self::Directory => f.write_str("names a directory"),
            Self::Relative => {
                f.write_str("is relative to a directory that is gone or whose name is not UTF-8")
            }
            Self::TooLong { path } => {
                write!(f, "has a path of {} bytes ({})", path.as_os_str().len(), path.display())
            }
        }
    }
}

impl PermissionProblem {
    pub(super) fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::PrivilegedPort => {
                "a port below 1024 needs CAP_NET_BIND_SERVICE: grant it, or choose a higher port".into()
            }
            Self::Directory(path) => {
                format!("this user needs read, write and search permission on `{}`", path.display()).into()
            }
            Self::Connect => "a socket is there that this user may not connect to: remove it if no \
                              process listens on it, or choose another path"
                .into(),
            Self::Remove(path) => {
                format!("a stale socket is there that this user may not remove: `rm {}`", path.display())
                    .into()
            }
        }
    }
}
