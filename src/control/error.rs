//! What can go wrong between a client and the server that it asks.

use std::{io, path::PathBuf, time::Duration};

/// Why a server did not do what it was asked for over its control path, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody serves the path: there is nothing, or what a dead server left.
    #[error("no server answers at `{}`: is it running, and is this its control path?", .path.display())]
    NobodyThere {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The path cannot be connected to.
    #[error("cannot connect to `{}`", .path.display())]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another user listens there.
    #[error(
        "`{}` is served by user {uid}, who is neither root nor the user of this process; \
         it is not believed: run as that user", .path.display()
    )]
    OtherUser {
        /// The path.
        path: PathBuf,
        /// Who listens.
        uid: u32,
    },
    /// The server does not want to hear this process, or not this request.
    #[error("the server at `{}` refused: {reason}", .path.display())]
    TurnedAway {
        /// The path.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The restart did not happen; the server that was asked serves as before.
    #[error("the restart at `{}` failed ({result}): {reason}", .path.display())]
    RestartFailed {
        /// The path.
        path: PathBuf,
        /// The word of the metric `restarts_total`.
        result: String,
        /// What the server said.
        reason: String,
    },
    /// The server ended the connection without an answer.
    #[error("the server at `{}` ended before it had answered: its log says why", .path.display())]
    NoAnswer {
        /// The path.
        path: PathBuf,
    },
    /// The server said nothing for too long.
    #[error("the server at `{}` did not answer within {limit:?}: it starts, hangs or is stopped", .path.display())]
    TimedOut {
        /// The path.
        path: PathBuf,
        /// The time it had.
        limit: Duration,
    },
    /// What listens there is no server of this library, or one of another version.
    #[error("the server at `{}` was not understood: {reason}", .path.display())]
    NotUnderstood {
        /// The path.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The connection failed.
    #[error("the connection to `{}` failed", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
