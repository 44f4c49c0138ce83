//! The probation of a successor: it serves, and its predecessor still could.

use std::time::Duration;

use tokio::time::sleep;

use super::callback::{Callback, CallbackError};

/// What the application itself wants to see before it has settled.
#[derive(Clone, Debug)]
pub(crate) struct HealthCheck {
    pub(crate) limit: Duration,
    pub(crate) check: Callback<()>,
}

impl HealthCheck {
    /// Says what is wrong, if something is.
    async fn verdict(self) -> Result<(), String> {
        let Self { limit, check } = self;
        check.run(limit).await.map_err(|error| match error {
            CallbackError::Failed(reason) => reason,
            CallbackError::Panicked => "the health check panicked".to_owned(),
            CallbackError::TimedOut => format!("the health check was not done within {limit:?}"),
        })
    }
}

/// How a successor proves itself.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) probation: Duration,
    pub(crate) health_check: Option<HealthCheck>,
}

impl Trial {
    /// The longest that it may take.
    pub(super) fn lasts(&self) -> Duration {
        self.health_check.as_ref().map_or(self.probation, |check| self.probation.max(check.limit))
    }

    /// Waits for the end of the probation and of the health check.
    pub(super) async fn verdict(self) -> Result<(), String> {
        let healthy = async {
            #[cfg(feature = "__faults")]
            crate::faults::health()?;
            match self.health_check {
                Some(check) => check.verdict().await,
                None => Ok(()),
            }
        };
        // Sick is sick at once; healthy is healthy at the end.
        tokio::try_join!(healthy, async {
            // Also the time in which the process was stopped: nothing waits for the other side here,
            // and the predecessor shall not stand by for longer than it was told.
            sleep(self.probation).await;
            Ok(())
        })
        .map(|((), ())| ())
    }
}
