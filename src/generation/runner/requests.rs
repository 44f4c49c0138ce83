//! Requests for a restart: which one runs, which one waits, and their answers.

use std::sync::atomic::Ordering;

use portcullis_layers::ErrorChain;
use tokio::time::timeout;

use super::{Runner, SWITCH_LIMIT};
use crate::{
    generation::{
        Restarted,
        metrics::LineMetrics,
        restart::{Candidate, Outcome, Restart, RestartRequest},
    },
    handoff::{Refusal, RestartError},
    lifecycle::State,
};

impl Runner {
    /// The restart that started this generation, as its predecessor reports it.
    pub(super) fn own_restart(&self) -> Restarted {
        let (pid, generation) = (std::process::id(), self.shared.number);
        Restarted { pid, generation, took: self.took.unwrap_or_default() }
    }

    /// Reports the success of the restart that started this generation.
    pub(super) fn report_own(&mut self) {
        self.confirmed = true;
        answer(std::mem::take(&mut self.awaiting_own), &Ok(self.own_restart()));
    }

    pub(super) fn prepare(&mut self) {
        let (candidate, outcomes) = match self.asked.take() {
            Some(RestartRequest { candidate, outcome, .. }) => (candidate, vec![outcome]),
            // It was pending, or passed on by the predecessor.
            None => (Candidate::Start, std::mem::take(&mut self.remembered)),
        };
        self.shared.observer.restarting(self.shared.number);
        self.restart =
            Some(Restart::prepare(&self.shared, &self.settings, candidate, outcomes, self.publishing.take()));
    }

    pub(super) fn report_success(&mut self) {
        let Some(restart) = self.restart.take() else { return };
        let restarted = restart.restarted;
        self.shared.observer.succeeded();
        let (outcomes, _, _) = restart.end();
        let Some(restarted) = restarted else { return };
        self.last_restart = Some(Ok(restarted));
        let Restarted { pid, generation, took } = restarted;
        answer(outcomes, &Ok(restarted));
        log!(info, successor = pid, generation, ?took, result = "succeeded", "restart succeeded");
    }

    pub(super) fn report_failure(&mut self) {
        let Some(mut restart) = self.restart.take() else { return };
        if self.machine.drain_requested() && restart.restarted.is_none() {
            restart.error = Some(RestartError::Cancelled);
        }
        if !matches!(self.machine.state(), State::Draining { .. }) {
            self.shared.registry.freeze(false);
        }
        let (outcomes, candidate, error) = restart.end();
        let error = error.unwrap_or(RestartError::Cancelled);
        self.last_restart = Some(Err(error.clone()));
        if let Some(candidate) = candidate {
            // It may take a moment.
            tokio::spawn(candidate.turn_away(error.to_string()));
        }
        self.shared.observer.restart_failed(self.shared.number, &error);
        let (metrics, publishing) = (self.metrics().clone(), self.publishing.take());
        tokio::spawn(async move {
            // Report only when the pid file names this process again.
            if let Some(publishing) = publishing {
                _ = timeout(SWITCH_LIMIT, publishing).await;
            }
            count(&metrics, &error);
            answer(outcomes, &Err(error));
        });
    }

    pub(super) fn refuse(&mut self) {
        let Some(RestartRequest { candidate, outcome, .. }) = self.asked.take() else { return };
        self.refuse_candidate(candidate, outcome, Refusal::NotServing);
    }

    /// Refuses a takeover during another restart: a takeover never becomes pending.
    pub(super) fn refuses_arrival(&mut self) -> bool {
        use State::{Probation, Serving, Settled, SteppedBack, SteppingBack, TakingOver};
        let refusal = match self.machine.state() {
            Serving => return false,
            TakingOver | Probation | Settled | SteppingBack | SteppedBack => Refusal::OnProbation,
            _ if self.restart.is_some() => Refusal::AlreadyRestarting,
            _ => Refusal::NotServing,
        };
        match self.asked.take() {
            Some(RestartRequest { candidate: candidate @ Candidate::Arrived(_), outcome, .. }) => {
                self.refuse_candidate(candidate, outcome, refusal);
                true
            }
            other => {
                self.asked = other;
                false
            }
        }
    }

    /// A request that was passed on to this generation, or to an earlier one, gets the outcome of the
    /// restart that ran for it. It must not start another one, which would be passed on in turn.
    pub(super) fn joins(&mut self) -> bool {
        use State::{Draining, Exited, Withdrawing};
        let number = self.shared.number;
        let passed_on = |request: &mut RestartRequest| request.passed_on_to.is_some_and(|to| to <= number);
        let Some(request) = self.asked.take_if(passed_on) else { return false };
        if request.passed_on_to < Some(number) {
            // That restart started this generation, or an earlier one.
            match self.machine.state() {
                _ if self.confirmed => answer(vec![request.outcome], &Ok(self.own_restart())),
                Withdrawing | Draining { .. } | Exited => {
                    self.asked = Some(request);
                    return false;
                }
                _ => push(&mut self.awaiting_own, request.outcome),
            }
        } else if let Some(restart) = &mut self.restart {
            restart.join(request.outcome);
        } else if let Some(outcome) = &self.last_restart {
            answer(vec![request.outcome], outcome);
        } else {
            // None has started: this is the request that the predecessor could not pass on.
            self.asked = Some(request);
            return false;
        }
        true
    }

    pub(super) fn refuse_candidate(&self, candidate: Candidate, outcome: Outcome, refusal: Refusal) {
        let error = RestartError::Refused(refusal);
        self.count_refused(&error);
        // It may take a moment.
        tokio::spawn(candidate.turn_away(error.to_string()));
        _ = outcome.send(Err(error));
    }

    pub(super) fn remember(&mut self) {
        let Some(RestartRequest { outcome, .. }) = self.asked.take() else { return };
        self.shared.observer.restart_remembered();
        push(&mut self.remembered, outcome);
        log!(info, generation = self.shared.number, "a restart is requested, and follows the one under way");
    }

    pub(super) fn refuse_remembered(&mut self) {
        let refused = RestartError::Refused(Refusal::NotServing);
        answer(std::mem::take(&mut self.awaiting_own), &Err(refused));
        for outcome in std::mem::take(&mut self.remembered) {
            let error = RestartError::Refused(Refusal::NotServing);
            self.count_refused(&error);
            _ = outcome.send(Err(error));
        }
    }

    /// Counts and logs a restart that is refused.
    pub(super) fn count_refused(&self, error: &RestartError) {
        match self.metrics.get() {
            Some(metrics) => count(metrics, error),
            None => {
                // The generation still starts: the handles must be registered with the recorder
                // that is installed later.
                self.refused_early.fetch_add(1, Ordering::Relaxed);
                log!(warn, result = error.result().as_str(), error = %ErrorChain(error), "restart failed");
            }
        }
    }
}

/// Adds one that waits. Those that have gone are not kept: a probation may be long.
fn push(waiting: &mut Vec<Outcome>, outcome: Outcome) {
    waiting.retain(|outcome| !outcome.is_closed());
    waiting.push(outcome);
}

/// Counts and logs a restart that has failed.
fn count(metrics: &LineMetrics, error: &RestartError) {
    let result = error.result();
    metrics.restarted(result);
    if matches!(error, RestartError::Refused(_)) {
        log!(warn, result = result.as_str(), error = %ErrorChain(error), "restart failed");
    } else {
        log!(error, result = result.as_str(), error = %ErrorChain(error), "restart failed");
    }
}

/// Reports to all callers; some may no longer wait.
pub(super) fn answer(outcomes: Vec<Outcome>, outcome: &Result<Restarted, RestartError>) {
    for waiting in outcomes {
        _ = waiting.send(outcome.clone());
    }
}
