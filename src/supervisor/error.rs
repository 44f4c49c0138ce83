//! Why there is no supervisor.

use std::io;

/// Why a [`Supervisor`](super::Supervisor) could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The server could not be executed, the first time.
    #[error("cannot start `{command}`: {source}; check that the program is there and can be executed")]
    #[non_exhaustive]
    Start {
        /// What was to be started.
        command: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The system refused something that a supervisor needs.
    #[error("cannot {what}, which a supervisor needs: {source}")]
    #[non_exhaustive]
    System {
        /// What it refused.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl SupervisorError {
    pub(super) const fn system(what: &'static str, source: io::Error) -> Self {
        Self::System { what, source }
    }
}
