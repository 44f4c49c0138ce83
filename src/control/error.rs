//! What can go wrong between a client and the server that it asks.

use std::{io, path::PathBuf, time::Duration};

use crate::handoff::RestartResult;

/// Why a server did not do what it was asked for over its control path, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No server listens on the path: there is nothing, or what a dead server left.
    #[error("no server answers at `{}`", .path.display())]
    #[non_exhaustive]
    NoServer {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The path cannot be connected to.
    #[error("cannot connect to `{}`", .path.display())]
    #[non_exhaustive]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server is neither root's nor that of the user of this process.
    #[error("the server at `{}` is not trusted: it is served by user {uid}", .path.display())]
    #[non_exhaustive]
    OtherUser {
        /// The path.
        path: PathBuf,
        /// The user of the process that listens.
        uid: u32,
    },
    /// The server rejected this process, or its request.
    #[error("the server at `{}` refused: {reason}", .path.display())]
    #[non_exhaustive]
    Rejected {
        /// The path.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The restart did not happen; the server that was asked serves as before.
    #[error("the restart at `{}` failed ({result}): {reason}", .path.display())]
    #[non_exhaustive]
    RestartFailed {
        /// The path.
        path: PathBuf,
        /// What came of it, as the metric `restarts_total` counts it.
        result: RestartResult,
        /// What the server said.
        reason: String,
    },
    /// Each generation that was asked handed over to another one before it answered.
    #[error("the server at `{}` handed over {times} times and gave no answer", .path.display())]
    #[non_exhaustive]
    MovedTooOften {
        /// The path.
        path: PathBuf,
        /// How many generations were asked.
        times: usize,
    },
    /// The server ended the connection without an answer.
    #[error("the server at `{}` closed the connection without an answer", .path.display())]
    #[non_exhaustive]
    NoAnswer {
        /// The path.
        path: PathBuf,
    },
    /// The server said nothing for too long.
    #[error("the server at `{}` did not answer within {limit:?}", .path.display())]
    #[non_exhaustive]
    TimedOut {
        /// The path.
        path: PathBuf,
        /// The time it had.
        limit: Duration,
    },
    /// What listens there is no server of this library, or one of another version.
    #[error("the server at `{}` was not understood: {reason}", .path.display())]
    #[non_exhaustive]
    NotUnderstood {
        /// The path.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The connection failed.
    #[error("the connection to `{}` failed", .path.display())]
    #[non_exhaustive]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// What the operator can do about it.
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
