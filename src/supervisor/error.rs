//! Why there is no supervisor.

use std::io;

/// Why a [`Supervisor`](super::Supervisor) could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The server could not be executed, the first time.
    #[error("cannot start `{command}`")]
    #[non_exhaustive]
    Start {
        /// What was to be started.
        command: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The system refused something that a supervisor needs.
    #[error("the supervisor cannot {what}")]
    #[non_exhaustive]
    System {
        /// What it refused.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl SupervisorError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. } => Some("check that the program exists and can be executed"),
            Self::System { .. } => None,
        }
    }

    pub(super) const fn system(what: &'static str, source: io::Error) -> Self {
        Self::System { what, source }
    }
}
