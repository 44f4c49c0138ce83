//! The errors of a restart and of a handoff.

use std::{fmt, io, process::ExitStatus, sync::Arc, time::Duration};

use super::channel::ChannelError;

/// A step of the handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The successor starts and sends `hello`.
    Hello,
    /// The predecessor sends the manifest and the descriptors.
    Manifest,
    /// The successor initialises and becomes ready.
    Ready,
    /// The successor starts to accept.
    Commit,
    /// The successor serves on probation.
    Probation,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Manifest => "manifest",
            Self::Ready => "ready",
            Self::Commit => "commit",
            Self::Probation => "probation",
        })
    }
}

/// Why a restart was refused.
///
/// A restart that is requested during another one, or on probation, is not refused: it starts
/// afterwards. A takeover over the control path is refused in both cases. A refused request can be
/// repeated later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A takeover was requested while a restart is under way.
    AlreadyRestarting,
    /// This generation does not serve: it still starts, or already drains.
    NotServing,
    /// A takeover was requested while this generation is on probation.
    OnProbation,
    /// The number of older generations that still drain has reached the limit.
    #[non_exhaustive]
    TooManyDraining {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRestarting => f.write_str("a restart is already under way"),
            Self::NotServing => {
                f.write_str("this generation does not serve: it still starts or already drains")
            }
            Self::OnProbation => f.write_str("this generation is still on probation"),
            Self::TooManyDraining { limit: 0 } => {
                f.write_str("no restart is allowed: the limit of generations that drain is 0")
            }
            Self::TooManyDraining { limit } => {
                write!(f, "{limit} older generations still drain, which is the limit")
            }
        }
    }
}

/// Why a restart failed. The generation serves as before, except after
/// [`Cancelled`](RestartError::Cancelled), when it drains.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// The restart was not started.
    #[error("restart refused: {0}")]
    Refused(Refusal),
    /// A state of the application could not be collected; the restart was not started.
    #[error("restart refused: the state {name:?} cannot be handed on: {reason}")]
    #[non_exhaustive]
    State {
        /// The name of the state.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The successor could not be started.
    #[error("cannot start the successor with `{command}`")]
    #[non_exhaustive]
    Spawn {
        /// The start command.
        command: String,
        /// The error of the operating system.
        #[source]
        source: Arc<io::Error>,
    },
    /// The successor exited, or closed the handoff socket, before it served. Its log contains the
    /// reason.
    #[error("the successor ended in step `{step}` ({})", ended(.status))]
    #[non_exhaustive]
    Crashed {
        /// The step that was not completed.
        step: Step,
        /// Its exit status, if it exited by itself.
        status: Option<ExitStatus>,
    },
    /// The successor took too long. It is killed, if this process can send it a signal.
    #[error("the successor did not complete step `{step}` within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The step that was not completed.
        step: Step,
        /// The limit of the step.
        limit: Duration,
    },
    /// The successor violated the protocol, or speaks no common version of it. It is killed, if
    /// this process can send it a signal.
    #[error("the successor was rejected in step `{step}`: {reason}")]
    #[non_exhaustive]
    Rejected {
        /// The step that was not completed.
        step: Step,
        /// The reason.
        reason: String,
    },
    /// The successor reported on probation that it is unhealthy.
    #[error("the successor is unhealthy: {reason}")]
    #[non_exhaustive]
    Sick {
        /// The reason that it sent.
        reason: String,
    },
    /// The successor failed after the commit; this generation accepts again.
    #[error("the successor failed after the commit, and this generation accepts again")]
    RolledBack(#[source] Box<RestartError>),
    /// This generation handed over to another successor before it could run the restart, and passed
    /// the request on: the next generation restarts. That generation logs and counts the outcome,
    /// and reports it to the clients of its control path.
    #[error("the restart was passed on to the next generation")]
    PassedOn,
    /// A drain of this generation was requested during the restart.
    #[error("the restart was cancelled: this generation drains")]
    Cancelled,
}

fn ended(status: &Option<ExitStatus>) -> String {
    status.map_or_else(|| "it closed the handoff socket".to_owned(), |status| status.to_string())
}

/// How a restart ended: the value of the label `result` of the metric `restarts_total`, and of the
/// log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestartResult {
    /// The successor serves.
    Succeeded,
    /// The restart was not started.
    Refused,
    /// The successor could not be executed.
    SpawnFailed,
    /// The successor exited, or closed the handoff socket, before it served.
    Crashed,
    /// The successor took too long.
    TimedOut,
    /// The successor violated the protocol, or speaks no common version of it.
    Rejected,
    /// The successor failed in its probation.
    RolledBack,
    /// A drain was requested during the restart.
    Cancelled,
}

impl RestartResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Refused,
        Self::SpawnFailed,
        Self::Crashed,
        Self::TimedOut,
        Self::Rejected,
        Self::RolledBack,
        Self::Cancelled,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
            Self::SpawnFailed => "spawn_failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RestartResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RestartError {
    pub(crate) const fn result(&self) -> RestartResult {
        match self {
            // `PassedOn` is neither counted nor reported: the generation that runs it does both.
            Self::Refused(_) | Self::State { .. } | Self::PassedOn => RestartResult::Refused,
            Self::Spawn { .. } => RestartResult::SpawnFailed,
            Self::Crashed { .. } => RestartResult::Crashed,
            Self::TimedOut { .. } => RestartResult::TimedOut,
            Self::Rejected { .. } => RestartResult::Rejected,
            // Only ever the reason of a rollback.
            Self::Sick { .. } => RestartResult::RolledBack,
            Self::RolledBack(_) => RestartResult::RolledBack,
            Self::Cancelled => RestartResult::Cancelled,
        }
    }
}

/// Why a process that was started as a successor does not serve, or no longer serves. It must exit;
/// its predecessor, if it is alive, continues to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoffError {
    /// The predecessor took too long.
    #[error("the predecessor did not complete step `{step}` within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The step that was not completed.
        step: Step,
        /// The limit of the step.
        limit: Duration,
    },
    /// The predecessor cancelled the restart.
    #[error("the predecessor cancelled the restart: {reason}")]
    #[non_exhaustive]
    Aborted {
        /// The reason that it sent.
        reason: String,
    },
    /// This process was unhealthy on probation; its predecessor serves again.
    #[error("this generation is unhealthy, and its predecessor serves again: {reason}")]
    #[non_exhaustive]
    Sick {
        /// The error of the health check, or another reason.
        reason: String,
    },
    /// The predecessor ended before it handed over its sockets.
    #[error("the predecessor ended before it handed over its sockets")]
    PredecessorGone,
    /// The predecessor violated the protocol, or speaks no common version of it.
    #[error("protocol error of the predecessor in step `{step}`: {reason}")]
    #[non_exhaustive]
    Protocol {
        /// The step that failed.
        step: Step,
        /// The reason.
        reason: String,
    },
    /// An inherited descriptor is not the listening socket that the manifest describes.
    #[error("an inherited descriptor does not match the manifest")]
    Descriptor(#[from] crate::bind::DescriptorError),
    /// The handoff socket failed.
    #[error("the handoff socket failed")]
    Io(#[source] io::Error),
}

impl HandoffError {
    pub(super) fn channel(step: Step, error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::PredecessorGone,
            ChannelError::Io(error) => Self::Io(error),
            ChannelError::Garbled(_) | ChannelError::DescriptorsLost => {
                Self::Protocol { step, reason: error.to_string() }
            }
        }
    }
}
