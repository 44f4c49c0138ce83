//! The probation of a successor: it serves, and its predecessor still could.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use portcullis_layers::BoxError;
use tokio::time::{sleep, timeout};

use super::{life::Over, shared::Shared};
use crate::{
    HandoffError,
    chain::Chain,
    handoff::{Step, Succession, Verdict},
    phase::Phase,
};

/// How long a successor is on probation, unless set otherwise.
pub(crate) const PROBATION: Duration = Duration::from_secs(5);

/// An accept loop stops as soon as it is polled, and the predecessor accepts again at once; one that takes longer is stuck.
const TURN_LIMIT: Duration = Duration::from_secs(5);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send + Sync>;

/// What the application itself wants to see before it has settled.
#[derive(Clone)]
pub(super) struct HealthCheck {
    limit: Duration,
    check: Check,
}

impl HealthCheck {
    pub(super) fn new<F, R, E>(limit: Duration, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let check: Check = Arc::new(move || {
            let checked = check();
            Box::pin(async move { checked.await.map_err(Into::into) })
        });
        Self { limit, check }
    }

    /// Says what is wrong, if something is.
    async fn verdict(self) -> Result<(), String> {
        let Self { limit, check } = self;
        // In a task of its own, so that a panic is a verdict, too.
        let mut checking = tokio::spawn(async move { check().await });
        match timeout(limit, &mut checking).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Chain(&*error).to_string()),
            Ok(Err(_)) => Err("the health check panicked".to_owned()),
            Err(_) => {
                checking.abort();
                Err(format!("the health check was not done within {limit:?}"))
            }
        }
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck").field("limit", &self.limit).finish_non_exhaustive()
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

/// Serves on probation. `None`: it has settled, and serves on.
pub(super) async fn on_probation(shared: &Shared, trial: Trial, mut succession: Succession) -> Option<Over> {
    let predecessor = succession.predecessor();
    let unfit = tokio::select! {
        biased;
        // Who tells this one to end means the service: the predecessor must not go on with it.
        () = shared.drain_requested.cancelled() => {
            succession.settled().await;
            return Some(Over::Asked { last: true });
        }
        verdict = succession.verdict() => match verdict {
            Ok(Verdict::Gone) => {
                tracing::info!(predecessor, "the predecessor is gone; this generation has settled");
                return None;
            }
            Ok(Verdict::Abort(reason)) => HandoffError::Aborted { reason },
            Ok(Verdict::Commit(_)) => {
                let reason = "it committed twice".to_owned();
                HandoffError::Protocol { step: Step::Probation, reason }
            }
            Err(error) => error,
        },
        verdict = trial.verdict() => match verdict {
            Ok(()) => {
                succession.settled().await;
                return None;
            }
            Err(reason) => return step_back(shared, succession, reason).await,
        }
    };
    stop_accepting(shared).await;
    Some(Over::Unfit(unfit))
}

/// Gives the sockets back to the predecessor, if it is there to take them.
async fn step_back(shared: &Shared, mut succession: Succession, reason: String) -> Option<Over> {
    tracing::error!(
        generation = shared.number,
        reason,
        "not fit to serve; the predecessor is asked to go on"
    );
    stop_accepting(shared).await;
    succession.sick(reason.clone()).await;
    if let Ok(Ok(Verdict::Abort(_))) = timeout(TURN_LIMIT, succession.verdict()).await {
        return Some(Over::Unfit(HandoffError::Sick { reason }));
    }
    tracing::error!(
        generation = shared.number,
        "the predecessor does not go on; better an unfit generation than none: this one serves"
    );
    shared.phase.send_replace(Phase::Serving);
    None
}

async fn stop_accepting(shared: &Shared) {
    shared.phase.send_replace(Phase::Standby);
    if timeout(TURN_LIMIT, shared.accept_loops(|accepting| accepting == 0)).await.is_err() {
        tracing::warn!(generation = shared.number, "the listeners have not stopped: is `serve` polled?");
    }
}
