//! The life of a generation, as one task: it starts, serves, restarts on request, drains, ends.
//!
//! The order of the steps here, in `restart` and in `drain` is what the promises rest on; the conversation itself is
//! [`crate::handoff`]'s, the accept loops follow the [`Phase`].

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use super::{
    Restarted,
    drain::drain,
    metrics::LineMetrics,
    probation::{Settled, Trial, obey, on_probation},
    restart::{RestartRequest, restart},
    roster::Roster,
    shared::{End, Shared},
};
use portcullis_layers::ErrorChain;

use crate::{
    handoff::{Commit, HandoffError, Refusal, RestartError, RestartResult, Step, Succession, Verdict},
    lifecycle::Phase,
    sys::StartCommand,
};

/// How this generation restarts and drains.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) start_command: StartCommand,
    pub(super) ready_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) trial: Trial,
    /// How many older generations may drain when a restart begins.
    pub(super) draining_limit: usize,
}

/// See the module.
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    /// Registered when they are first needed, which is when this generation serves: by then the program has installed its
    /// recorder.
    pub(super) metrics: OnceLock<LineMetrics>,
    /// Restarts that were refused before there were metrics to count them.
    pub(super) refused_early: AtomicU64,
}

/// Those who ask for a restart.
pub(super) type Requests = mpsc::Receiver<RestartRequest>;

/// Why serving ended, or did not begin.
pub(super) enum Over {
    /// A drain was requested. `last`: nobody else has the sockets.
    Asked { last: bool },
    /// A successor serves.
    Succeeded,
    /// This generation served, and is not fit to; its predecessor serves again.
    Unfit(HandoffError),
}

/// How a start went well.
enum Started {
    /// It serves.
    Alone,
    /// It serves, and its predecessor stands by.
    OnProbation(Succession, Commit),
    /// It was told to drain before it served.
    Over(Over),
}

/// A generation that takes so long to be ready tells what it waits for.
const WHAT_FOR: Duration = Duration::from_secs(5);

impl Life {
    pub(super) async fn run(self, mut requests: Requests, succession: Option<Succession>) {
        let over = match self.settle(&mut requests, succession).await {
            Ok(Ok(settled)) => self.serve(&mut requests, settled).await,
            Ok(Err(over)) => over,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "this process may not serve; its predecessor does");
                self.shared.phase.send_replace(Phase::Draining);
                self.shared.end(End::Handoff(Arc::new(error)));
                return;
            }
        };
        let last = matches!(over, Over::Asked { last: true });
        let draining = drain(&self.shared, &self.settings, self.metrics(), last);
        let forced = self.refusing(&mut requests, Refusal::NotServing, draining).await;
        self.shared.end(match over {
            Over::Unfit(error) => End::Handoff(Arc::new(error)),
            Over::Asked { .. } | Over::Succeeded => End::Drained { forced },
        });
    }

    /// From the start to serving for good, or to what came of it instead.
    async fn settle(
        &self,
        requests: &mut Requests,
        succession: Option<Succession>,
    ) -> Result<Result<Settled, Over>, HandoffError> {
        let starting = self.start(succession);
        let (succession, Commit { took_seconds }) =
            match self.refusing(requests, Refusal::NotServing, starting).await? {
                Started::OnProbation(succession, commit) => (succession, commit),
                Started::Alone => {
                    self.shared.metrics.settled();
                    self.tell_of_serving();
                    return Ok(Ok(Settled::default()));
                }
                Started::Over(over) => return Ok(Err(over)),
            };
        let proving = on_probation(&self.shared, self.settings.trial.clone(), succession);
        let proved = self.refusing(requests, Refusal::OnProbation, proving).await;
        if !matches!(proved, Err(Over::Unfit(_))) {
            self.metrics().committed(Duration::try_from_secs_f64(took_seconds).unwrap_or_default());
            self.metrics().restarted(RestartResult::Succeeded);
            tracing::info!(generation = self.shared.number, "settled");
        }
        if proved.is_ok() {
            self.tell_of_serving();
        }
        Ok(proved)
    }

    /// From the start to serving.
    async fn start(&self, succession: Option<Succession>) -> Result<Started, HandoffError> {
        match succession {
            Some(succession) => self.succeed(succession).await,
            None => tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => Ok(Started::Over(Over::Asked { last: true })),
                () = self.ready() => {
                    // What the service manager passed and nobody asked for is closed.
                    _ = self.shared.with_roster(Roster::claim);
                    self.enter_serving();
                    Ok(Started::Alone)
                }
            },
        }
    }

    /// Takes the predecessor's place, when both are ready for it.
    async fn succeed(&self, mut succession: Succession) -> Result<Started, HandoffError> {
        fault_point!(Initialising);
        let mut alone = false;
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => {
                    return Ok(Started::Over(Over::Asked { last: alone }));
                }
                verdict = succession.verdict(), if !alone => match verdict? {
                    // It had handed over its sockets, so we can go on without it.
                    Verdict::Gone => alone = true,
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
            Verdict::Gone
        } else {
            succession.ready(claim).await?;
            fault_point!(Waiting);
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => {
                    return Ok(Started::Over(Over::Asked { last: false }));
                }
                verdict = succession.verdict_within(self.settings.ready_timeout) => verdict?,
            }
        };
        match verdict {
            Verdict::Abort(reason) => Err(HandoffError::Aborted { reason }),
            Verdict::Gone => {
                let predecessor = succession.predecessor();
                fault_point!(Alone);
                tracing::warn!(
                    predecessor,
                    "the predecessor died during the handoff; this generation serves alone"
                );
                self.enter_serving();
                Ok(Started::Alone)
            }
            Verdict::Commit(commit) => {
                fault_point!(Told);
                self.enter_serving();
                self.shared.notifier.on_probation(self.shared.number);
                // The predecessor does not wait for ever for them.
                self.shared.accept_loops(|accepting| accepting >= served).await;
                fault_point!(Accepting);
                succession.serving(self.settings.trial.lasts()).await?;
                Ok(Started::OnProbation(succession, commit))
            }
        }
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

    fn metrics(&self) -> &LineMetrics {
        self.metrics.get_or_init(|| {
            let Shared { metrics_prefix, number, metrics, .. } = &*self.shared;
            let metrics = LineMetrics::register(metrics_prefix, *number, metrics);
            metrics.refused(self.refused_early.load(Ordering::Relaxed));
            metrics
        })
    }

    fn enter_serving(&self) {
        self.metrics();
        self.shared.publish_pid_file();
        self.shared.phase.send_replace(Phase::Serving);
        tracing::info!(generation = self.shared.number, pid = std::process::id(), "serving");
    }

    /// Tells the service manager that this generation serves, and is not on probation.
    fn tell_of_serving(&self) {
        let (sockets, gone) = self.shared.with_roster(|roster| (roster.acceptors(), roster.gone()));
        self.shared.notifier.serves(self.shared.number, sockets, &gone);
    }

    /// Serves, and restarts when asked to, until serving is over.
    async fn serve(&self, requests: &mut Requests, mut settled: Settled) -> Over {
        loop {
            tokio::select! {
                biased;
                () = self.shared.drain_requested.cancelled() => return Over::Asked { last: true },
                // Obeyed here and not within what is waited for: a request that comes meanwhile must not interrupt it.
                word = settled.last_word() => if let Err(over) = obey(&self.shared, word).await {
                    return over;
                },
                Some(request) = requests.recv() => {
                    self.shared.notifier.restarting(self.shared.number);
                    let restarting = restart(&self.shared, &self.settings, request.candidate);
                    let outcome = self.refusing(requests, Refusal::AlreadyRestarting, restarting).await;
                    self.tell(&outcome);
                    if let Err(error) = &outcome {
                        self.shared.notifier.restart_failed(self.shared.number, error);
                    }
                    let succeeded = outcome.is_ok();
                    // Whoever asked may have gone; the log and the metric have it, too.
                    _ = request.outcome.send(outcome);
                    if succeeded {
                        self.shared.notifier.succeeded();
                        return Over::Succeeded;
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
                match self.metrics.get() {
                    Some(metrics) => metrics.restarted(result),
                    // It still starts: a recorder that is installed later must not miss the handles.
                    None => _ = self.refused_early.fetch_add(1, Ordering::Relaxed),
                }
                // That another one was asked for is nobody's fault.
                if matches!(error, RestartError::Refused(_)) {
                    tracing::warn!(result = result.as_str(), reason = %ErrorChain(error), "restart failed");
                } else {
                    tracing::error!(result = result.as_str(), reason = %ErrorChain(error), "restart failed");
                }
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
                    let RestartRequest { candidate, outcome } = request;
                    let refused = Err(RestartError::Refused(refusal));
                    self.tell(&refused);
                    if refusal != Refusal::NotServing {
                        self.shared.notifier.restart_under_way();
                    }
                    // Whoever asked may have gone.
                    _ = outcome.send(refused);
                    // It may take a moment, and the work goes on meanwhile.
                    tokio::spawn(candidate.turn_away(RestartError::Refused(refusal).to_string()));
                }
            }
        }
    }
}
