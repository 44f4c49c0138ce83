//! Where a generation stands in its life.

use std::fmt;

/// Where this generation stands. It only moves forward, but for a rollback, which leads from
/// [`Standby`](Phase::Standby) back to [`Serving`](Phase::Serving).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It initialises, or waits for the predecessor's commit; it does not accept.
    Starting,
    /// It accepts connections.
    Serving,
    /// It does not accept, but could: it has committed to a successor, or finds itself unfit and waits for its predecessor to go on.
    Standby,
    /// It accepts no more and waits for its connections to end.
    Draining,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Standby, Self::Draining];

    /// The word for it in logs and in the admin's answers.
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
