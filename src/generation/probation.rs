//! The probation of a successor: it serves, and its predecessor still could.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    life::Over,
    question::{NoAnswer, Question},
    shared::Shared,
};
use crate::{
    handoff::{HandoffError, Step, Succession, Verdict},
    lifecycle::Phase,
};

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
    async fn verdict(self) -> Result<(), String> {
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
            sleep(self.probation).await;
            Ok(())
        })
        .map(|((), ())| ())
    }
}

/// Serves on probation, and settles.
///
/// # Errors
///
/// What serving has ended with.
pub(super) async fn on_probation(
    shared: &Shared,
    trial: Trial,
    mut succession: Succession,
) -> Result<Settled, Over> {
    let predecessor = succession.predecessor();
    fault_point!(Probation);
    tokio::select! {
        biased;
        // Who tells this one to end means the service: the predecessor must not go on with it.
        () = shared.drain_requested.cancelled() => {
            succession.settled().await;
            Err(Over::Asked { last: true })
        }
        verdict = succession.verdict() => {
            obey(shared, verdict).await?;
            tracing::info!(predecessor, "the predecessor has let go; this generation has settled");
            Ok(Settled::default())
        }
        verdict = trial.verdict() => match verdict {
            Ok(()) => {
                fault_point!(Passed);
                succession.settled().await;
                fault_point!(Settled);
                Ok(Settled(Some(succession)))
            }
            Err(reason) => step_back(shared, succession, reason).await,
        }
    }
}

/// A generation that has settled, if its predecessor agrees.
///
/// The predecessor may call the restart off at the very moment at which the successor settles. It decides: the successor
/// has heard the last of it when it is gone.
#[derive(Debug, Default)]
pub(super) struct Settled(Option<Succession>);

impl Settled {
    /// Waits for the last word of the predecessor; for ever once it was heard. Cancel safe.
    pub(super) async fn last_word(&mut self) -> Result<Verdict, HandoffError> {
        match &mut self.0 {
            Some(succession) => {
                let verdict = succession.verdict().await;
                self.0 = None;
                verdict
            }
            None => std::future::pending().await,
        }
    }
}

/// What the predecessor's word means to a generation that serves: nothing, if it is gone.
pub(super) async fn obey(shared: &Shared, verdict: Result<Verdict, HandoffError>) -> Result<(), Over> {
    let error = match verdict {
        Ok(Verdict::Gone) => {
            shared.metrics.settled();
            return Ok(());
        }
        Ok(Verdict::Abort(reason)) => HandoffError::Aborted { reason },
        Ok(Verdict::Commit(_)) => {
            let reason = "it committed twice".to_owned();
            HandoffError::Protocol { step: Step::Probation, reason }
        }
        Err(error) => error,
    };
    _ = shared.stand_by().await;
    Err(Over::Unfit(error))
}

/// Gives the sockets back to the predecessor, if it is there to take them.
async fn step_back(shared: &Shared, mut succession: Succession, reason: String) -> Result<Settled, Over> {
    tracing::error!(
        generation = shared.number,
        reason,
        "not fit to serve; the predecessor is asked to go on"
    );
    _ = shared.stand_by().await;
    fault_point!(Sick);
    succession.sick(reason.clone()).await;
    fault_point!(SteppedBack);
    // Without a limit: a predecessor that hangs accepts when it wakes, and then there must not be two.
    let verdict = tokio::select! {
        biased;
        () = shared.drain_requested.cancelled() => return Err(Over::Asked { last: false }),
        verdict = succession.verdict() => verdict,
    };
    if let Ok(Verdict::Gone) = verdict {
        tracing::error!(
            generation = shared.number,
            "the predecessor is gone; better an unfit generation than none: this one serves"
        );
        // The predecessor may have written its own pid.
        shared.publish_pid_file();
        shared.phase.send_replace(Phase::Serving);
        shared.metrics.settled();
        return Ok(Settled::default());
    }
    Err(Over::Unfit(HandoffError::Sick { reason }))
}
