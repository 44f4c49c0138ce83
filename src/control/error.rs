//! The errors of a client of the control path.

use std::{io, path::PathBuf, time::Duration};

use crate::handoff::RestartResult;

/// Why a request to the control path of a server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No server listens on the path: it does not exist, or its server has exited.
    #[error("no server answers at `{}`", .path.display())]
    #[non_exhaustive]
    NoServer {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// connect(2) to the path failed.
    #[error("cannot connect to `{}`", .path.display())]
    #[non_exhaustive]
    Connect {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The server runs neither as root nor as the user of this process.
    #[error("the server at `{}` is not trusted: it is served by user {uid}", .path.display())]
    #[non_exhaustive]
    OtherUser {
        /// The path.
        path: PathBuf,
        /// The user id of the server.
        uid: u32,
    },
    /// The server rejected this process, or its request.
    #[error("the server at `{}` refused: {reason}", .path.display())]
    #[non_exhaustive]
    Rejected {
        /// The path.
        path: PathBuf,
        /// The reason that the server sent.
        reason: String,
    },
    /// The restart failed; the server serves as before.
    #[error("the restart at `{}` failed ({result}): {reason}", .path.display())]
    #[non_exhaustive]
    RestartFailed {
        /// The path.
        path: PathBuf,
        /// The result, as in the metric `restarts_total`.
        result: RestartResult,
        /// The reason that the server sent.
        reason: String,
    },
    /// Each generation that received the request handed over before it answered.
    #[error("the server at `{}` handed over {times} times without an answer", .path.display())]
    #[non_exhaustive]
    MovedTooOften {
        /// The path.
        path: PathBuf,
        /// The number of generations that received the request.
        times: usize,
    },
    /// The server closed the connection without an answer.
    #[error("the server at `{}` closed the connection without an answer", .path.display())]
    #[non_exhaustive]
    NoAnswer {
        /// The path.
        path: PathBuf,
    },
    /// The server did not answer in time.
    #[error("the server at `{}` did not answer within {limit:?}", .path.display())]
    #[non_exhaustive]
    TimedOut {
        /// The path.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The peer is not a server of this library, or one of another version.
    #[error("protocol error of the server at `{}`: {reason}", .path.display())]
    #[non_exhaustive]
    NotUnderstood {
        /// The path.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The connection failed.
    #[error("the connection to `{}` failed", .path.display())]
    #[non_exhaustive]
    Io {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// What the operator can do about the error.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoServer { .. } => "check that the server runs and that this is its control path",
            Self::Connect { .. } => "check that this user may connect to the path",
            Self::OtherUser { .. } => "run this as the user of the server",
            Self::RestartFailed { .. } | Self::NoAnswer { .. } | Self::MovedTooOften { .. } => {
                "see the log of the server"
            }
            Self::NotUnderstood { .. } => "check that both are the same version of portcullis",
            Self::TimedOut { .. } => "check whether the server is still starting, or stopped",
            _ => return None,
        })
    }
}
