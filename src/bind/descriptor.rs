//! The errors of a descriptor that another process passed.

use std::{error::Error, fmt, io};

/// Why a descriptor that another process passed cannot be a listener.
///
/// The descriptor is closed; no option of the socket was changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct DescriptorError {
    /// The name of the listener, or of the descriptor.
    pub name: String,
    /// The process that passed the descriptor.
    pub passed_by: PassedBy,
    /// The problem.
    pub problem: DescriptorProblem,
}

/// The process that passed a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedBy {
    /// The predecessor, in a handoff.
    #[non_exhaustive]
    Predecessor {
        /// The kind and address in its manifest.
        announced: String,
    },
    /// The service manager (socket activation, `sd_listen_fds(3)`).
    ServiceManager,
}

/// The problem with a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum DescriptorProblem {
    /// The kind in the manifest is unknown: the predecessor is newer.
    UnknownKind,
    /// The descriptor is not a TCP socket or a stream socket on a Unix path, or not of the kind in
    /// the manifest.
    #[non_exhaustive]
    WrongType {
        /// A description of the descriptor.
        found: String,
    },
    /// The socket does not listen.
    NotListening,
    /// The socket listens on another address.
    #[non_exhaustive]
    WrongAddress {
        /// The address it is bound to.
        found: String,
        /// The address of the listener.
        wanted: String,
    },
    /// A system call failed.
    #[non_exhaustive]
    System {
        /// The name of the call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl DescriptorError {
    /// What the operator can do about the error.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match (&self.passed_by, &self.problem) {
            (PassedBy::ServiceManager, DescriptorProblem::WrongType { .. }) => {
                "correct `ListenStream=` in the .socket unit"
            }
            (PassedBy::ServiceManager, DescriptorProblem::NotListening) => {
                "set `Accept=no` in the .socket unit"
            }
            (PassedBy::ServiceManager, DescriptorProblem::WrongAddress { .. }) => {
                "make the addresses of the .socket unit and of the configuration agree"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, passed_by, problem } = self;
        match passed_by {
            PassedBy::Predecessor { announced } => {
                write!(f, "the predecessor passed `{name}` as {announced}, but {problem}")
            }
            PassedBy::ServiceManager => write!(f, "the service manager passed `{name}`, but {problem}"),
        }
    }
}

impl fmt::Display for DescriptorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => f.write_str("this kind is unknown"),
            Self::WrongType { found } => write!(f, "it is {found}"),
            Self::NotListening => f.write_str("it does not listen"),
            Self::WrongAddress { found, wanted } => write!(f, "it listens on {found}, not on {wanted}"),
            Self::System { call, .. } => write!(f, "{call} failed"),
        }
    }
}

impl Error for DescriptorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            DescriptorProblem::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
