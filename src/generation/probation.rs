//! The probation of a successor: it serves, and its predecessor still could.

use std::time::Duration;

use super::question::{NoAnswer, Question};
use crate::sys::Deadline;

/// How long a successor is on probation, unless set otherwise.
pub(crate) const PROBATION: Duration = Duration::from_secs(5);

/// What the application itself wants to see before it has settled.
#[derive(Clone, Debug)]
pub(super) struct HealthCheck {
    pub(super) limit: Duration,
    pub(super) check: Question<()>,
}

impl HealthCheck {
    /// Says what is wrong, if something is.
    async fn verdict(self) -> Result<(), String> {
        let Self { limit, check } = self;
        check.ask(limit).await.map_err(|no_answer| match no_answer {
            NoAnswer::Failed(reason) => reason,
            NoAnswer::Panicked => "the health check panicked".to_owned(),
            NoAnswer::TimedOut => format!("the health check was not done within {limit:?}"),
        })
    }
}

/// How a successor proves itself.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) probation: Duration,
    pub(super) health_check: Option<HealthCheck>,
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
            Deadline::new(self.probation).expired().await;
            Ok(())
        })
        .map(|((), ())| ())
    }
}
