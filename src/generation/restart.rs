//! One restart, as the predecessor goes through it.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::{Restarted, life::Settings, shared::Shared};
use crate::{
    handoff::{Arrival, Committed, Estate, Probation, Refusal, RestartError, SealedState, Step, Successor},
    lifecycle::Phase,
    listener::Acceptor,
    metrics::HandoffMetrics,
};

/// Somebody asks for a restart and waits for its outcome.
#[derive(Debug)]
pub(crate) struct RestartRequest {
    pub(crate) candidate: Candidate,
    pub(crate) outcome: oneshot::Sender<Result<Restarted, RestartError>>,
}

/// Who shall be the successor.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// A process that is still to be started.
    Start,
    /// One that somebody else has started.
    Arrived(Box<Arrival>),
}

/// From the request to a successor that has settled.
///
/// A drain that is requested meanwhile cancels it, up to the commit.
pub(super) async fn restart(
    shared: &Shared,
    settings: &Settings,
    candidate: Candidate,
) -> Result<Restarted, RestartError> {
    let requested = Instant::now();
    fault_point!(Asked);
    let (mut successor, estate, mut metrics) = begin(shared, settings, candidate).await?;
    let until_commit = async {
        let claim = successor.hand_over(&estate).await?;
        fault_point!(Ready);
        stand_by(shared).await?;
        Ok(claim)
    };
    let claimed = tokio::select! {
        biased;
        () = shared.drain_requested.cancelled() => Err(RestartError::Cancelled),
        claimed = until_commit => claimed,
    };
    let claim = match claimed {
        Ok(claim) => claim,
        Err(error) => {
            // It must be dead before we accept again.
            successor.abandon(&error).await;
            serve_again(shared);
            return Err(error);
        }
    };

    let took = requested.elapsed();
    match successor.handle() {
        Some(process) => metrics.successor_serves(shared.number + 1, successor.pid(), process.clone()),
        None => tracing::warn!("what the successor counts will be lost if it is rolled back"),
    }
    let restarted = Restarted { pid: successor.pid(), generation: shared.number + 1, took };
    match prove(shared, &mut successor, restarted).await {
        Ok(Probation::Passed) => {
            fault_point!(Over);
            metrics.settled();
            successor.let_go();
        }
        Ok(Probation::Sick(reason)) => {
            fault_point!(RollingBack);
            // It has stopped accepting, and serves the connections that it has.
            roll_back(shared, metrics);
            successor.dismiss(reason.clone()).await;
            return Err(RestartError::RolledBack(Box::new(RestartError::Sick { reason })));
        }
        Err(error) => {
            fault_point!(RollingBack);
            successor.abandon(&error).await;
            roll_back(shared, metrics);
            return Err(RestartError::RolledBack(Box::new(error)));
        }
    }
    let listeners = shared.with_roster(|roster| roster.unclaimed(&claim));
    // Nobody has accepted there since the commit, and nobody else will.
    listeners.iter().for_each(|listener| listener.set_unclaimed());
    // It may wait for a lock. It does not panic; what could not be removed is in the log.
    _ = tokio::task::spawn_blocking(move || unlink(&listeners)).await;
    Ok(restarted)
}

/// What is needed before a successor is told of anything; nothing has changed if it cannot be had.
async fn begin(
    shared: &Shared,
    settings: &Settings,
    candidate: Candidate,
) -> Result<(Successor, Estate<Arc<Acceptor>>, HandoffMetrics), RestartError> {
    let (state, metrics) = match prepare(shared, settings).await {
        Ok(prepared) => prepared,
        Err(error) => {
            candidate.turn_away(error.to_string()).await;
            return Err(error);
        }
    };
    let successor = match candidate {
        Candidate::Start => {
            tracing::info!(command = %settings.start_command, "restart requested");
            Successor::start(&settings.start_command, settings.ready_timeout)?
        }
        Candidate::Arrived(arrival) => {
            tracing::info!(successor = arrival.peer.pid, "takeover requested");
            Successor::arrived(*arrival, settings.ready_timeout)
        }
    };
    let listeners = shared.with_roster(|roster| {
        // A listener that came now would be in no manifest.
        roster.freeze(true);
        roster.inventory()
    });
    let (generations, page) = (metrics.generations().to_vec(), metrics.page().cloned());
    Ok((successor, Estate { generation: shared.number, listeners, state, generations, page }, metrics))
}

/// What is handed over beside the sockets, if anything is to be.
async fn prepare(
    shared: &Shared,
    settings: &Settings,
) -> Result<(Vec<(String, SealedState)>, HandoffMetrics), RestartError> {
    let limit = settings.draining_limit;
    if shared.metrics.draining_count() >= limit {
        return Err(RestartError::Refused(Refusal::TooManyDraining { limit }));
    }
    let state = tokio::select! {
        biased;
        () = shared.drain_requested.cancelled() => return Err(RestartError::Cancelled),
        collected = shared.state.collect() => collected?,
    };
    Ok((state, shared.metrics.begin_handoff(shared.number)))
}

impl Candidate {
    /// Tells it, if it is there, that it must not serve.
    pub(super) async fn turn_away(self, reason: String) {
        if let Self::Arrived(arrival) = self {
            arrival.turn_away(reason).await;
        }
    }
}

/// Two generations must not accept at once: ours stops, and is seen to have stopped, before the other is told.
async fn stand_by(shared: &Shared) -> Result<(), RestartError> {
    if shared.stand_by().await {
        return Ok(());
    }
    let reason = "this generation's listeners have not stopped in time: is `serve` polled?".to_owned();
    Err(RestartError::Rejected { step: Step::Commit, reason })
}

/// From the commit to the end of the probation.
async fn prove(
    shared: &Shared,
    successor: &mut Successor,
    Restarted { pid, generation, took }: Restarted,
) -> Result<Probation, RestartError> {
    let probation = match successor.commit(took).await? {
        Committed::OnProbation(probation) => probation,
        Committed::Settled => return Ok(Probation::Passed),
    };
    tracing::info!(successor = pid, generation, ?took, ?probation, "handed over; standing by");
    fault_point!(StandingBy);
    tokio::select! {
        biased;
        // Told to end: there is a generation that serves, so this one is not needed.
        () = shared.drain_requested.cancelled() => Ok(Probation::Passed),
        proved = successor.probation(probation) => proved,
    }
}

/// Accepts again, after the commit.
fn roll_back(shared: &Shared, metrics: HandoffMetrics) {
    // What the successor has counted is ours.
    drop(metrics);
    // The successor has written its own pid.
    shared.publish_pid_file();
    serve_again(shared);
    tracing::warn!(generation = shared.number, "rolled back: this generation accepts again");
}

/// Serves again after a restart that came to nothing.
fn serve_again(shared: &Shared) {
    shared.with_roster(|roster| roster.freeze(false));
    shared.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Serving) != Phase::Serving);
}

/// Removes the paths of Unix sockets. Blocks.
pub(super) fn unlink(listeners: &[Arc<Acceptor>]) {
    listeners.iter().for_each(|listener| listener.unlink());
}
