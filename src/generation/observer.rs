//! What a service manager is notified of.

use std::{fmt, time::Duration};

use crate::{bind::RegisteredListener, handoff::RestartError};

/// Receives the events that a service manager is notified of. Implemented outside of the core.
///
/// The methods neither wait nor fail, so a restart does not depend on them.
pub(crate) trait Observer: fmt::Debug + Send + Sync {
    /// Whether the exit of the last generation ends the older ones that still drain.
    fn ends_with_last(&self) -> bool {
        false
    }

    /// Whether the service manager keeps the socket of this listener when this process exits; then the
    /// path of a Unix socket stays.
    fn keeps(&self, _listener: &str) -> bool {
        false
    }

    /// This generation accepts, but may still be rolled back.
    fn on_probation(&self, _generation: u64) {}

    /// This generation serves for good, with these listeners. The names in `forgotten` have no
    /// listener any more.
    fn serves(&self, _generation: u64, _listeners: &[RegisteredListener], _forgotten: &[String]) {}

    /// A restart begins.
    fn restarting(&self, _generation: u64) {}

    /// A restart was requested while another one is under way.
    fn restart_remembered(&self) {}

    /// A restart has failed, and this generation serves as before.
    fn restart_failed(&self, _generation: u64, _error: &RestartError) {}

    /// A successor serves instead of this generation.
    fn succeeded(&self) {}

    /// The last generation drains, for at most this time.
    fn stopping(&self, _generation: u64, _limit: Duration) {}
}

/// Without a service manager: ignores all events.
impl Observer for () {}
