//! [`Generation`]: the handle of one process in a sequence of processes that serve the same
//! sockets.
//!
//! `runner` is the task that waits for events and performs the effects of the state machine in
//! [`crate::lifecycle`], with `restart`, `probation` and `drain`. `shared` is the state that the
//! task and the handle share, `state` is the application's state that is handed over, and
//! `observer` is the trait that a service manager integration implements. The protocol is in
//! [`crate::handoff`].

mod callback;
#[cfg(feature = "tls")]
mod claims;
mod drain;
mod metrics;
mod observer;
mod probation;
mod restart;
mod runner;
mod settings;
mod shared;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use portcullis_layers::track::Tracker;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use callback::Callback;
#[cfg(feature = "tls")]
pub(crate) use claims::Claim;
pub(crate) use observer::Observer;
pub(crate) use probation::{HealthCheck, Trial};
pub(crate) use runner::Runner;
pub(crate) use settings::{DRAIN_TIMEOUT, DRAINING_LIMIT, PROBATION, READY_TIMEOUT, Settings};
pub use state::StateError;
pub(crate) use state::{STATE_LIMIT, STATE_TIMEOUT};

use crate::{
    bind::{ActivatedSocket, ListenerRegistry},
    handoff::{HandoffError, Inheritance, Refusal, RestartError, Succession},
    lifecycle::{Lifecycle, Phase},
    metrics::GenerationMetrics,
    pid_file::PidFile,
};
use restart::{Candidate, RestartRequest};
use shared::Shared;
use state::State;

/// This process as one generation of a service: the first process that serves its sockets, or the
/// successor of another one.
///
/// It is a handle; clones refer to the same generation.
#[derive(Clone, Debug)]
pub struct Generation {
    shared: Arc<Shared>,
}

/// A restart that succeeded: the successor serves, this generation drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarted {
    /// The successor's process id.
    pub pid: u32,
    /// The number of its generation.
    pub generation: u64,
    /// The time from the request to the commit.
    pub took: Duration,
}

/// What a generation starts with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The conversation with the predecessor, and what it has handed over.
    pub(crate) predecessor: Option<(Succession, Inheritance)>,
    /// What the service manager passed to a first generation.
    pub(crate) activated: Vec<ActivatedSocket>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) observer: Arc<dyn Observer>,
    /// Whether the signals of an operator are obeyed.
    #[cfg(feature = "tls")]
    pub(crate) obeys_signals: bool,
    pub(crate) metrics_prefix: String,
    pub(crate) state_limit: usize,
    pub(crate) state_timeout: Duration,
    pub(crate) settings: Settings,
}

impl Generation {
    /// The generation, and the task that decides for it, which is to be spawned.
    pub(crate) fn new(parts: Parts) -> (Self, Runner) {
        let Parts { predecessor, activated, settings, .. } = parts;
        let (succession, inherited) = predecessor.unzip();
        let inherited = inherited.unwrap_or_default();
        let metrics = GenerationMetrics::new();
        if succession.is_some() {
            metrics.inherit(&inherited.generations, inherited.page);
        }
        let sockets = inherited.listeners.into_iter().map(|(entry, socket)| (entry.name, socket));
        let (restarts, requests) = mpsc::channel(16);
        let shared = Arc::new(Shared {
            number: succession.as_ref().map_or(1, |succession| succession.predecessor() + 1),
            #[cfg(feature = "control")]
            started: std::time::Instant::now(),
            metrics_prefix: parts.metrics_prefix.into(),
            #[cfg(feature = "tls")]
            obeys_signals: parts.obeys_signals,
            lifecycle: Arc::new(Lifecycle::new()),
            registry: Arc::new(ListenerRegistry::new(sockets, activated)),
            restarts,
            state: State::new(parts.state_limit, parts.state_timeout, inherited.state),
            metrics,
            observer: parts.observer,
            #[cfg(feature = "tls")]
            claims: claims::Claims::default(),
            pid_file: Mutex::new(parts.pid_file),
            owns_pid_file: AtomicBool::new(false),
            published_pid_file: AtomicBool::new(false),
        });
        (Self { shared: shared.clone() }, Runner::new(shared, settings, requests, succession))
    }

    /// The number of this generation; the first one is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// The registry of this generation's connections, for a [`TrackLayer`](portcullis_layers::track::TrackLayer).
    /// Its drain signal is fired when this generation drains.
    #[must_use]
    pub fn tracker(&self) -> Tracker {
        self.shared.lifecycle.tracker().clone()
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.lifecycle.phase()
    }

    /// Watches the phase.
    #[must_use]
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.shared.lifecycle.phases()
    }

    /// Delays readiness until the guard is dropped.
    ///
    /// Without a guard, this generation is ready as soon as all its listeners are served. Hold a
    /// guard while other work must be done first, such as warming a cache or adding another
    /// listener. Until then, the predecessor serves.
    pub fn delay_readiness(&self) -> ReadinessGuard {
        self.shared.registry.delay();
        ReadinessGuard { registry: self.shared.registry.clone() }
    }

    /// Registers a state that is handed over to the next generation under `name`. At each restart,
    /// `offer` is called before the successor is started, and returns the bytes. It replaces an
    /// earlier offer of the same name.
    ///
    /// Changes after that call are not included. The bytes are passed in memory, never in the
    /// environment or in a file. If `offer` fails, takes longer than
    /// [`state_timeout`](crate::GenerationBuilder::state_timeout) or returns more bytes than
    /// [`state_limit`](crate::GenerationBuilder::state_limit), the restart fails and this
    /// generation continues to serve.
    ///
    /// ```
    /// # async fn example(generation: portcullis::Generation) -> Result<(), Box<dyn std::error::Error>> {
    /// let visits = generation.take_state("visits")?.unwrap_or_default();
    /// generation.offer_state("visits", move || {
    ///     let visits = visits.clone();
    ///     async { Ok::<_, std::io::Error>(visits) }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn offer_state<F, R, E>(&self, name: impl Into<String>, offer: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Into<portcullis_layers::BoxError>,
    {
        self.shared.state.offer(name.into(), offer);
    }

    /// Takes the state that the predecessor has handed over under `name`. Returns `None` if there
    /// is none, or if it was taken before.
    ///
    /// The predecessor may have been another version of the program.
    ///
    /// # Errors
    ///
    /// If it has more bytes than [`state_limit`](crate::GenerationBuilder::state_limit), or cannot be read.
    pub fn take_state(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.shared.state.take(name)
    }

    /// Starts a successor, hands the sockets over to it, and waits for the outcome. `USR1` does the
    /// same.
    ///
    /// On `Ok` the successor has passed its probation, or a drain was requested meanwhile, and this
    /// generation drains. A request during a restart, or during the probation of this generation,
    /// is pending until that has ended. All pending requests are then served by one restart.
    ///
    /// # Errors
    ///
    /// This generation serves as before, unless a drain was requested meanwhile, or the error is
    /// [`RestartError::PassedOn`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not cancel the restart.
    pub async fn restart(&self) -> Result<Restarted, RestartError> {
        self.request_restart(None).await
    }

    /// As [`restart`](Self::restart). A request that an earlier generation received and passed on
    /// gets the outcome of a restart that this generation has run since, and starts one only if
    /// there was none.
    pub(crate) async fn request_restart(&self, passed_on_to: Option<u64>) -> Result<Restarted, RestartError> {
        let (outcome, answer) = oneshot::channel();
        let request = RestartRequest { candidate: Candidate::Start, outcome, passed_on_to };
        let refused = RestartError::Refused(Refusal::NotServing);
        if self.shared.restarts.send(request).await.is_err() {
            return Err(refused);
        }
        answer.await.unwrap_or(Err(refused))
    }

    /// Requests a drain: stops accepting and finishes the open connections. `TERM` does the same. Returns
    /// at once; [`serve`](crate::GracefulListener::serve) returns when the drain is done. A second call
    /// changes nothing.
    pub fn drain(&self) {
        self.shared.lifecycle.request_drain();
    }
}

/// Delays the readiness of a generation until it is dropped; see [`Generation::delay_readiness`].
#[must_use = "dropping it lets the generation be ready"]
pub struct ReadinessGuard {
    registry: Arc<ListenerRegistry>,
}

impl Drop for ReadinessGuard {
    fn drop(&mut self) {
        self.registry.end_delay();
    }
}

impl fmt::Debug for ReadinessGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessGuard").finish_non_exhaustive()
    }
}

/// The interface for the modules on higher floors.
impl Generation {
    pub(crate) fn lifecycle(&self) -> &Arc<Lifecycle<HandoffError>> {
        &self.shared.lifecycle
    }

    pub(crate) fn registry(&self) -> &Arc<ListenerRegistry> {
        &self.shared.registry
    }

    /// Whether the service manager keeps the socket of this listener when this process exits.
    pub(crate) fn keeps_socket(&self, listener: &str) -> bool {
        self.shared.observer.keeps(listener)
    }

    /// What the names of metrics begin with.
    pub(crate) fn metrics_prefix(&self) -> &Arc<str> {
        &self.shared.metrics_prefix
    }

    /// For an exit at once: removes the Unix paths and the pid file that a drain would remove at its
    /// end. Waits for at most a second.
    pub(crate) async fn remove_paths(&self) {
        self.shared.remove_paths().await;
    }

    /// Whether the signals of an operator are obeyed.
    #[cfg(feature = "tls")]
    pub(crate) fn obeys_signals(&self) -> bool {
        self.shared.obeys_signals
    }

    /// Takes a name until the claim is dropped; `None` while another claim has it.
    #[cfg(feature = "tls")]
    pub(crate) fn claim(&self, name: impl Into<String>) -> Option<Claim> {
        self.shared.claims.claim(name.into())
    }

    /// When it started.
    #[cfg(feature = "control")]
    pub(crate) fn started(&self) -> std::time::Instant {
        self.shared.started
    }

    /// What is counted, and the older generations.
    #[cfg(feature = "control")]
    pub(crate) fn metrics(&self) -> &Arc<GenerationMetrics> {
        &self.shared.metrics
    }

    /// Hands the sockets to a process that was started otherwise and has connected, or refuses it. The
    /// outcome is sent to that process, and is logged and counted.
    #[cfg(feature = "control")]
    pub(crate) async fn take_over(&self, arrival: crate::handoff::Arrival) {
        let candidate = Candidate::Arrived(Box::new(arrival));
        let request = RestartRequest { candidate, outcome: oneshot::channel().0, passed_on_to: None };
        // An error means that this generation has exited, and with it the connection.
        _ = self.shared.restarts.send(request).await;
    }
}
