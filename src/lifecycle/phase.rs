//! The phases of a generation.

use std::fmt;

/// The phase of a generation. Phases only advance, except in a rollback, which leads from
/// [`Standby`](Phase::Standby) back to [`Serving`](Phase::Serving).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It initialises, or waits for the predecessor's commit; it does not accept.
    Starting,
    /// It accepts connections.
    Serving,
    /// It does not accept, but still has the sockets: it has sent `commit` to a successor, or it is
    /// unhealthy and waits for its predecessor to accept.
    Standby,
    /// It no longer accepts, and waits for its connections to finish.
    Draining,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Standby, Self::Draining];

    /// The name of the phase in logs and in the answers of the admin listener.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Standby => "standby",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
