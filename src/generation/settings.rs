//! How a generation restarts and drains.

use std::time::Duration;

use super::probation::Trial;
use crate::sys::StartCommand;

/// Default limit of each step of a handoff.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Default limit of a drain.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Default length of the probation.
pub(crate) const PROBATION: Duration = Duration::from_secs(5);

/// Default number of older generations that may drain when a restart begins.
pub(crate) const DRAINING_LIMIT: usize = 8;

/// See [`GenerationBuilder`](crate::GenerationBuilder), which documents each of them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) start_command: StartCommand,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) trial: Trial,
    pub(crate) draining_limit: usize,
}
