//! What can be wrong with an address.

use std::{borrow::Cow, convert::Infallible, io, net::SocketAddr, path::PathBuf};

use super::{
    address,
    problem::{HostProblem, PathProblem, PermissionProblem, PortProblem},
};

/// A [`ListenAddr`](super::ListenAddr) is one already.
impl From<Infallible> for BindError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Why a [`ListenAddr`](super::ListenAddr) could not be read from a URI, or not be bound.
///
/// The message names the URI and what was wrong. The error of the system, where there was one, is
/// the [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The URI has no scheme, or one that is not known.
    #[error("`{}` has no scheme or one that is not known", .uri.escape_debug())]
    #[non_exhaustive]
    Scheme {
        /// The URI.
        uri: String,
    },
    /// The host of the URI cannot be one.
    #[error("`{}` has a wrong host: {problem}", .uri.escape_debug())]
    #[non_exhaustive]
    Host {
        /// The URI.
        uri: String,
        /// What is wrong.
        problem: HostProblem,
    },
    /// The port of the URI is missing, or cannot be one.
    #[error("`{}` {problem}", .uri.escape_debug())]
    #[non_exhaustive]
    Port {
        /// The URI.
        uri: String,
        /// What is wrong.
        problem: PortProblem,
    },
    /// The path of the URI cannot be that of a socket.
    #[error("`{}` {problem}", .uri.escape_debug())]
    #[non_exhaustive]
    Path {
        /// The URI.
        uri: String,
        /// What is wrong.
        problem: PathProblem,
    },
    /// The mode has bits that permissions do not have.
    #[error("cannot bind `{uri}`: {mode:#o} is not a mode")]
    #[non_exhaustive]
    Mode {
        /// The URI.
        uri: String,
        /// The mode.
        mode: u32,
    },
    /// The host name could not be resolved.
    #[error("cannot bind `{uri}`: the host name cannot be resolved")]
    #[non_exhaustive]
    Resolve {
        /// The URI.
        uri: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Something else is bound to that address (`EADDRINUSE`).
    #[error("cannot bind `{uri}`: {address} is in use")]
    #[non_exhaustive]
    InUse {
        /// The URI.
        uri: String,
        /// The address, which may be one of several that a name has.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// No interface has that address (`EADDRNOTAVAIL`), or the system lacks its family
    /// (`EAFNOSUPPORT`).
    #[error("cannot bind `{uri}`: this machine does not have {address}")]
    #[non_exhaustive]
    NotAvailable {
        /// The URI.
        uri: String,
        /// The address, which may be one of several that a name has.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// It is not permitted.
    #[error("cannot bind `{uri}`: not permitted")]
    #[non_exhaustive]
    Permission {
        /// The URI.
        uri: String,
        /// Which permission is missing.
        problem: PermissionProblem,
        /// The error of the system.
        source: io::Error,
    },
    /// The directory of the path does not exist.
    #[error("cannot bind `{uri}`: there is no directory `{}`", .directory.display())]
    #[non_exhaustive]
    NoDirectory {
        /// The URI.
        uri: String,
        /// The directory.
        directory: PathBuf,
    },
    /// A server answers at the path.
    #[error("cannot bind `{uri}`: a server listens there")]
    #[non_exhaustive]
    LiveServer {
        /// The URI.
        uri: String,
    },
    /// The path exists and is not a socket; it was not touched.
    #[error("cannot bind `{uri}`: the path is {found}, not a socket")]
    #[non_exhaustive]
    NotASocket {
        /// The URI.
        uri: String,
        /// What it is: `a regular file`, `a directory`, `a symbolic link`, ...
        found: &'static str,
    },
    /// The system refused for another reason.
    #[error("cannot bind `{uri}`: cannot {doing}")]
    #[non_exhaustive]
    Io {
        /// The URI.
        uri: String,
        /// What was being done.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl BindError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Scheme { uri } => return Some(address::with_scheme(uri)),
            Self::Host { problem, .. } => return Some(problem.hint()),
            Self::Path { problem, .. } => return Some(problem.hint()),
            Self::Permission { problem, .. } => return Some(problem.hint()),
            Self::Port { .. } => "write `tcp://host:port`, the port from 0 to 65535 (0: the kernel chooses)",
            Self::Mode { .. } => "use bits within 0o777",
            Self::Resolve { .. } => "correct it, or write an IP address",
            Self::InUse { .. } => "stop what listens there (`ss -ltnp` shows it), or choose another port",
            Self::NotAvailable { .. } => "use one that it has, or `0.0.0.0` or `[::]` for all of them",
            Self::NoDirectory { .. } => "make it, or choose another path",
            Self::LiveServer { .. } => "stop it, or choose another path",
            Self::NotASocket { .. } => "remove it, or choose another path",
            Self::Io { .. } => return None,
        }))
    }
}
