//! The probation of a successor: it serves, and its predecessor can still take over again.

use std::time::Duration;

use tokio::time::sleep;

use super::callback::{Callback, CallbackError};

/// The application's own check during the probation.
#[derive(Clone, Debug)]
pub(crate) struct HealthCheck {
    pub(crate) limit: Duration,
    pub(crate) check: Callback<()>,
}

impl HealthCheck {
    /// Runs the check; the error is the reason.
    async fn verdict(self) -> Result<(), String> {
        let Self { limit, check } = self;
        check.run(limit).await.map_err(|error| match error {
            CallbackError::Failed(reason) => reason,
            CallbackError::Panicked => "the health check panicked".to_owned(),
            CallbackError::TimedOut => format!("the health check was not done within {limit:?}"),
        })
    }
}

/// The probation and the health check.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) probation: Duration,
    pub(crate) health_check: Option<HealthCheck>,
}

impl Trial {
    /// The maximum duration.
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
        // A failure ends the probation immediately, success only at its end.
        tokio::try_join!(healthy, async {
            // Counts time in which the process was stopped, too: this is no limit for the other
            // side, and the predecessor must not stand by for longer than announced.
            sleep(self.probation).await;
            Ok(())
        })
        .map(|((), ())| ())
    }
}
