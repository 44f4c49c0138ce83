//! The life of a generation, as one task: it starts, serves, restarts on request, drains, ends.
//!
//! The order of the steps here is what the promises rest on; the conversation itself is [`crate::handoff`]'s, the
//! accept loops follow the [`Phase`].

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    Restarted,
    metrics::LineMetrics,
    shared::{End, RestartRequest, Shared},
};
use crate::{
    HandoffError, Refusal, RestartError, StartCommand,
    chain::Chain,
    handoff::{Commit, Manifest, RestartResult, Step, Succession, Successor, Verdict},
    phase::Phase,
};

/// How this generation restarts and drains.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) start_command: StartCommand,
    pub(super) ready_timeout: Duration,
    pub(super) drain_timeout: Duration,
}

/// See the module.
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) metrics: LineMetrics,
}

/// Those who ask for a restart.
pub(super) type Requests = mpsc::Receiver<RestartRequest>;

/// Why serving ended, or did not begin.
enum Over {
    /// A drain was requested. `last`: nobody else has the sockets.
    Asked { last: bool },
    /// A successor serves.
    HandedOver,
}

/// An accept loop stops as soon as it is polled; one that takes longer than this is not.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A generation that takes so long to be ready tells what it waits for.
const WHAT_FOR: Duration = Duration::from_secs(5);

/// Connections that are told to end at the deadline get this long to be dropped by their executor.
const LAST_MOMENT: Duration = Duration::from_secs(1);

impl Life {
    pub(super) async fn run(self, mut requests: Requests, succession: Option<Succession>) {
        let started = self.start(succession);
        let over = match self.refusing(&mut requests, Refusal::NotServing, started).await {
            Ok(Some(over)) => over,
            Ok(None) => self.serve(&mut requests).await,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "this process may not serve; its predecessor does");
                self.shared.phase.send_replace(Phase::Draining);
                self.shared.end(End::Handoff(Arc::new(error)));
                return;
            }
        };
        let draining = drain(&self.shared, &self.settings, &self.metrics, &over);
        self.refusing(&mut requests, Refusal::NotServing, draining).await;
    }

    /// From the start to serving. `None`: it serves.
    async fn start(&self, succession: Option<Succession>) -> Result<Option<Over>, HandoffError> {
        match succession {
            Some(succession) => self.succeed(succession).await,
            None => tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => Ok(Some(Over::Asked { last: true })),
                () = self.ready() => {
                    self.enter_serving();
                    Ok(None)
                }
            },
        }
    }

    /// Takes the predecessor's place, when both are ready for it.
    async fn succeed(&self, mut succession: Succession) -> Result<Option<Over>, HandoffError> {
        let mut alone = false;
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => {
                    return Ok(Some(Over::Asked { last: alone }));
                }
                verdict = succession.verdict(), if !alone => match verdict? {
                    // It had handed over its sockets, so we can go on without it.
                    Verdict::Died => alone = true,
                    Verdict::Abort(reason) => return Err(HandoffError::Aborted { reason }),
                    Verdict::Commit(_) => {
                        let reason = "it committed to a successor that was not ready".to_owned();
                        return Err(HandoffError::Protocol { step: Step::Commit, reason });
                    }
                },
                () = self.ready() => break,
            }
        }
        let (claim, served) = self.shared.with_roster(|roster| (roster.claim(), roster.served()));
        tracing::debug!(?claim, "ready");
        let verdict = if alone {
            Verdict::Died
        } else {
            succession.ready(claim).await?;
            let (step, limit) = (Step::Commit, self.settings.ready_timeout);
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => {
                    return Ok(Some(Over::Asked { last: false }));
                }
                verdict = timeout(limit, succession.verdict()) => {
                    verdict.map_err(|_| HandoffError::TimedOut { step, limit })??
                }
            }
        };
        let predecessor = succession.predecessor();
        match verdict {
            Verdict::Abort(reason) => return Err(HandoffError::Aborted { reason }),
            Verdict::Died => {
                tracing::warn!(
                    predecessor,
                    "the predecessor died during the handoff; this generation serves alone"
                );
                self.enter_serving();
            }
            Verdict::Commit(Commit { took_seconds }) => {
                self.enter_serving();
                let took = Duration::try_from_secs_f64(took_seconds).unwrap_or_default();
                self.metrics.committed(took);
                self.metrics.restarted(RestartResult::Succeeded);
                // The predecessor does not wait for ever for them.
                self.shared.accept_loops(|accepting| accepting >= served).await;
                succession.settled().await;
            }
        }
        Ok(None)
    }

    /// Waits until all listeners are served, and says which are not if that takes long.
    async fn ready(&self) {
        if timeout(WHAT_FOR, self.shared.ready()).await.is_err() {
            let unserved = self.shared.with_roster(|roster| roster.unserved().join(", "));
            tracing::warn!(
                unserved,
                "not ready: every listener must be served at the same time, and nobody may hold the generation"
            );
            self.shared.ready().await;
        }
    }

    fn enter_serving(&self) {
        self.shared.publish_pid_file();
        self.shared.phase.send_replace(Phase::Serving);
        tracing::info!(generation = self.shared.number, pid = std::process::id(), "serving");
    }

    /// Serves, and restarts when asked to, until serving is over.
    async fn serve(&self, requests: &mut Requests) -> Over {
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => return Over::Asked { last: true },
                Some(request) = requests.recv() => {
                    let restarting = restart(&self.shared, &self.settings);
                    let outcome = self.refusing(requests, Refusal::AlreadyRestarting, restarting).await;
                    self.tell(&outcome);
                    let succeeded = outcome.is_ok();
                    // Whoever asked may have gone; the log and the metric have it, too.
                    _ = request.send(outcome);
                    if succeeded {
                        return Over::HandedOver;
                    }
                }
            }
        }
    }

    fn tell(&self, outcome: &Result<Restarted, RestartError>) {
        match outcome {
            Ok(Restarted { pid, generation, took }) => {
                tracing::info!(successor = pid, generation, ?took, result = "succeeded", "restart succeeded");
            }
            Err(error) => {
                let result = error.result();
                self.metrics.restarted(result);
                tracing::error!(result = result.as_str(), reason = %Chain(error), "restart failed");
            }
        }
    }

    /// Does the work, and meanwhile refuses whoever asks for a restart.
    async fn refusing<T>(
        &self,
        requests: &mut Requests,
        refusal: Refusal,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(request) = requests.recv() => {
                    let outcome = Err(RestartError::Refused(refusal));
                    self.tell(&outcome);
                    // Whoever asked may have gone.
                    _ = request.send(outcome);
                }
            }
        }
    }
}

/// One restart, from the request to a successor that serves.
///
/// A drain that is requested meanwhile cancels it, up to the commit.
async fn restart(shared: &Shared, settings: &Settings) -> Result<Restarted, RestartError> {
    let requested = Instant::now();
    tracing::info!(command = %settings.start_command, "restart requested");
    // Not cancelled by a drain: what is started must be known, to be ended. It takes no longer than exec(2).
    let mut successor = Successor::start(&settings.start_command, settings.ready_timeout).await?;
    let inventory = shared.with_roster(|roster| {
        // A listener that came now would be in no manifest.
        roster.freeze(true);
        roster.inventory()
    });
    let descriptors = inventory.descriptors();
    let manifest = Manifest { protocol: 0, generation: shared.number, listeners: inventory.entries.clone() };
    let until_commit = async {
        let claim = successor.hand_over(manifest, &descriptors).await?;
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
            let error = successor.abandon(error).await;
            serve_again(shared);
            return Err(error);
        }
    };

    let took = requested.elapsed();
    if let Err(error) = successor.commit(took).await {
        let error = successor.abandon(error).await;
        // The successor may have written its own pid.
        shared.publish_pid_file();
        serve_again(shared);
        tracing::warn!(generation = shared.number, "rolled back: this generation accepts again");
        return Err(RestartError::RolledBack(Box::new(error)));
    }
    let pid = successor.pid();
    successor.let_go();
    let unclaimed = inventory.unclaimed(&claim);
    unlink(move || unclaimed.unlink()).await;
    Ok(Restarted { pid, generation: shared.number + 1, took })
}

/// Two generations must not accept at once: ours stops, and is seen to have stopped, before the other is told.
async fn stand_by(shared: &Shared) -> Result<(), RestartError> {
    shared.phase.send_replace(Phase::Standby);
    let (step, limit) = (Step::Commit, STOP_LIMIT);
    timeout(limit, shared.accept_loops(|accepting| accepting == 0)).await.map_err(|_| {
        let reason =
            format!("this generation's listeners have not stopped within {limit:?}: is `serve` polled?");
        RestartError::Rejected { step, reason }
    })
}

/// Serves again after a restart that came to nothing.
fn serve_again(shared: &Shared) {
    shared.with_roster(|roster| roster.freeze(false));
    shared.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Serving) != Phase::Serving);
}

/// From the end of accepting to the end of the last connection, or to the deadline.
async fn drain(shared: &Shared, settings: &Settings, metrics: &LineMetrics, over: &Over) {
    let begun = Instant::now();
    if matches!(over, Over::Asked { last: true }) {
        shared.set_last();
    }
    metrics.drain_begun();
    shared.with_roster(|roster| roster.freeze(true));
    // Announced before the listeners stop, so that no connection starts something new in between.
    shared.tracker.announce_drain();
    shared.phase.send_replace(Phase::Draining);
    let (connections, deadline) = (shared.open.connections(), settings.drain_timeout);
    tracing::info!(generation = shared.number, connections, ?deadline, "draining");

    let forced = match timeout(settings.drain_timeout, shared.connections_over()).await {
        Ok(()) => 0,
        Err(_) => {
            let forced = shared.force_connections();
            if timeout(LAST_MOMENT, shared.connections_over()).await.is_err() {
                tracing::warn!(connections = shared.open.connections(), "connections do not end");
            }
            forced
        }
    };
    // Whoever asks how the drain goes is answered up to here; an answer on its way may still finish.
    shared.drained.cancel();
    if timeout(LAST_MOMENT, shared.attending.over()).await.is_err() {
        shared.attending.force();
    }
    shared.remove_pid_file();
    let took = begun.elapsed();
    metrics.drained(took);
    tracing::info!(generation = shared.number, ?took, forced, "drained");
    shared.end(End::Drained { forced });
}

/// Removes Unix paths, which may wait for a lock.
async fn unlink(work: impl FnOnce() + Send + 'static) {
    // It does not panic; what could not be removed is in the log.
    _ = tokio::task::spawn_blocking(work).await;
}
