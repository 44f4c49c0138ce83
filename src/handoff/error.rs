//! How a restart can fail, told to whoever asked for it.

use std::{fmt, io, process::ExitStatus, sync::Arc, time::Duration};

use super::channel::ChannelError;

/// A step of the handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The successor starts and says hello.
    Hello,
    /// The sockets are handed over.
    Manifest,
    /// The successor initialises until it can serve.
    Ready,
    /// The successor takes over accepting.
    Commit,
    /// The successor serves, and proves itself.
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

/// Why a restart was not begun.
///
/// A restart that is requested during another one, or on probation, is not refused: it follows that
/// one. A process that has connected to the control path to take over does not wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A process wants to take over while a restart is under way.
    AlreadyRestarting,
    /// This generation does not serve: it still starts, or already drains.
    NotServing,
    /// A process wants to take over while this generation could still be replaced by its predecessor.
    OnProbation,
    /// So many older generations still drain as may.
    #[non_exhaustive]
    TooManyDraining {
        /// How many may.
        limit: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRestarting => f.write_str("a restart is already under way; ask again when it is over"),
            Self::NotServing => {
                f.write_str("this generation does not serve: it still starts, or already drains")
            }
            Self::OnProbation => f.write_str(
                "this generation is on probation, and its predecessor stands by; ask again when it has settled",
            ),
            Self::TooManyDraining { limit: 0 } => {
                f.write_str("no restart is allowed: the limit of generations that drain is 0")
            }
            Self::TooManyDraining { limit } => write!(
                f,
                "{limit} older generations still drain, which is the limit; ask again when one of them is gone"
            ),
        }
    }
}

/// Why a restart did not happen. The generation that was asked serves as before, except after
/// [`Cancelled`](RestartError::Cancelled), when it drains because it was told to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It was not begun.
    #[error("restart refused: {0}")]
    Refused(Refusal),
    /// What is handed on to a successor by the application could not be had; the restart was not begun.
    #[error("restart refused: the state {name:?} cannot be handed on: {reason}")]
    #[non_exhaustive]
    State {
        /// The name of the state.
        name: String,
        /// What was wrong.
        reason: String,
    },
    /// The successor could not be started.
    #[error("cannot start the successor with `{command}`: check the start command")]
    #[non_exhaustive]
    Spawn {
        /// The start command.
        command: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The successor ended, or closed the handoff socket, before it served.
    #[error("the successor ended before step `{step}` was done ({}): its log says why", ended(.status))]
    #[non_exhaustive]
    Crashed {
        /// The step it did not get through.
        step: Step,
        /// How it ended, where it did so by itself.
        status: Option<ExitStatus>,
    },
    /// The successor took too long. It is killed, where this process can reach it.
    #[error("the successor did not get through step `{step}` within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The step it did not get through.
        step: Step,
        /// The time it had.
        limit: Duration,
    },
    /// The two did not understand each other. The successor is killed, where this process can reach it.
    #[error("the successor was turned away in step `{step}`: {reason}")]
    #[non_exhaustive]
    Rejected {
        /// The step it did not get through.
        step: Step,
        /// What was wrong.
        reason: String,
    },
    /// The successor found itself unfit to serve, in its probation.
    #[error("the successor is sick: {reason}")]
    #[non_exhaustive]
    Sick {
        /// What it said.
        reason: String,
    },
    /// The successor failed after it had been told to serve; this generation accepts again.
    #[error("the successor failed after the commit and this generation accepts again")]
    RolledBack(#[source] Box<RestartError>),
    /// This generation handed over to another successor meanwhile, and the request with it: that
    /// generation restarts. The outcome is in its log and metrics, and is reported to the clients of
    /// its control path.
    #[error("the restart was passed on to the next generation")]
    PassedOn,
    /// This generation was told to drain while the restart was under way.
    #[error("the restart was cancelled: this generation drains")]
    Cancelled,
}

fn ended(status: &Option<ExitStatus>) -> String {
    status.map_or_else(|| "it closed the handoff socket".to_owned(), |status| status.to_string())
}

/// How a restart ended: the label of the metric `restarts_total` and the word of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestartResult {
    /// The successor serves.
    Succeeded,
    /// It was not begun.
    Refused,
    /// The successor could not be executed.
    SpawnFailed,
    /// The successor exited, or closed the handoff socket, before it served.
    Crashed,
    /// The successor took too long.
    TimedOut,
    /// The two processes did not understand each other.
    Rejected,
    /// The successor failed in its probation.
    RolledBack,
    /// The generation was told to drain meanwhile.
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

    /// The word for it.
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

/// Why a process that was started as a successor cannot be one, or not any more. It must exit; its predecessor, if it
/// lives, serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoffError {
    /// The predecessor said nothing for too long.
    #[error("the predecessor did not get through step `{step}` within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The step it did not get through.
        step: Step,
        /// The time it had.
        limit: Duration,
    },
    /// The predecessor called the restart off.
    #[error("the predecessor called the restart off: {reason}")]
    #[non_exhaustive]
    Aborted {
        /// What it said.
        reason: String,
    },
    /// This process found itself unfit to serve, in its probation; its predecessor serves again.
    #[error("this generation is not fit to serve, and its predecessor serves again: {reason}")]
    #[non_exhaustive]
    Sick {
        /// What its health check said.
        reason: String,
    },
    /// The predecessor ended before it had handed over its sockets.
    #[error("the predecessor ended before it had handed over its sockets")]
    PredecessorGone,
    /// The two do not understand each other.
    #[error("the predecessor was not understood in step `{step}`: {reason}")]
    #[non_exhaustive]
    Protocol {
        /// The step that failed.
        step: Step,
        /// What was wrong.
        reason: String,
    },
    /// A descriptor that was handed down is not the listening socket that the manifest calls it.
    #[error("a descriptor that was handed down is not what the predecessor says")]
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
