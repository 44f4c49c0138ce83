//! One restart in the predecessor: the waits between its steps.
//!
//! Which step follows which is decided by the [`Machine`](crate::lifecycle::Machine). Each wait is a
//! future of its own, so that a drain can end any of them.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{Restarted, settings::Settings, shared::Shared};
use crate::{
    bind::{Acceptor, RegisteredListener},
    handoff::{
        Arrival, Claim, Committed, HandoffPayload, ListenerEntry, Probation, Refusal, RestartError,
        SealedState, Step, Successor,
    },
    metrics::HandoffMetrics,
};

/// A request for a restart, whose caller waits for its outcome.
#[derive(Debug)]
pub(crate) struct RestartRequest {
    pub(crate) candidate: Candidate,
    pub(crate) outcome: Outcome,
    /// The generation that the request was passed on to, if an earlier one received it first.
    pub(crate) passed_on_to: Option<u64>,
}

/// Sends the outcome of a restart to its caller. An error means that the caller no longer waits.
pub(super) type Outcome = oneshot::Sender<Result<Restarted, RestartError>>;

/// The process that becomes the successor.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// A process that is still to be started.
    Start,
    /// A process that was started separately, and has connected to the control path.
    #[cfg_attr(not(feature = "control"), allow(dead_code))]
    Arrived(Box<Arrival>),
}

impl Candidate {
    /// Sends `abort`, if the process has connected.
    pub(super) async fn turn_away(self, reason: String) {
        if let Self::Arrived(arrival) = self {
            arrival.turn_away(reason).await;
        }
    }
}

/// The pid file of this process has this long to be written before a restart goes on.
const PUBLISH_LIMIT: Duration = Duration::from_secs(1);

/// The states of the application that are handed over, by name.
type States = Vec<(String, SealedState)>;

/// A wait of this restart; resolves to its result.
type Wait = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) enum Done {
    Prepared(Result<States, RestartError>),
    Ready(Result<Claim, RestartError>),
    Committed(Result<Committed, RestartError>),
    Proved(Result<Probation, RestartError>),
    CalledOff,
}

/// A restart that is under way.
pub(super) struct Restart {
    outcomes: Vec<Outcome>,
    candidate: Option<Candidate>,
    requested: Instant,
    states: States,
    /// Locked by the wait that communicates with it.
    successor: Option<Arc<Mutex<Successor>>>,
    wait: Option<Wait>,
    metrics: Option<HandoffMetrics>,
    claim: Claim,
    /// Set after the commit.
    pub(super) restarted: Option<Restarted>,
    /// The length of the probation, from `serving`.
    probation: Duration,
    /// The error, if the restart fails.
    pub(super) error: Option<RestartError>,
}

impl Restart {
    /// Collects the states for a successor.
    pub(super) fn prepare(
        shared: &Arc<Shared>,
        settings: &Settings,
        candidate: Candidate,
        outcomes: Vec<Outcome>,
        publishing: Option<JoinHandle<()>>,
    ) -> Self {
        let (shared, limit) = (shared.clone(), settings.draining_limit);
        let preparing = async move {
            fault_point!(Asked);
            if shared.metrics.draining_count() >= limit {
                return Done::Prepared(Err(RestartError::Refused(Refusal::TooManyDraining { limit })));
            }
            if let Some(publishing) = publishing {
                // What this process writes late must not replace what the successor writes.
                _ = timeout(PUBLISH_LIMIT, publishing).await;
            }
            Done::Prepared(shared.state.collect().await)
        };
        Self {
            outcomes,
            candidate: Some(candidate),
            requested: Instant::now(),
            states: Vec::new(),
            successor: None,
            wait: Some(Box::pin(preparing)),
            metrics: None,
            claim: Claim::default(),
            restarted: None,
            probation: Duration::ZERO,
            error: None,
        }
    }

    /// Adds a caller that waits for the outcome.
    pub(super) fn join(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Waits for the end of the wait that is under way; for ever if there is none. Cancel safe.
    pub(super) async fn wait(&mut self) -> Done {
        match &mut self.wait {
            Some(wait) => {
                let done = wait.await;
                self.wait = None;
                if matches!(done, Done::CalledOff | Done::Proved(Ok(Probation::Sick(_)))) {
                    // A rollback. This generation counts what the successor has counted before it
                    // accepts again: a scrape that it answers then must not show smaller totals.
                    self.metrics = None;
                }
                done
            }
            None => std::future::pending().await,
        }
    }

    /// Stores the collected states.
    pub(super) fn prepared(&mut self, states: States) {
        self.states = states;
    }

    /// Starts the successor and gives it the sockets.
    pub(super) fn start(&mut self, shared: &Arc<Shared>, settings: &Settings) {
        let metrics = shared.metrics.begin_handoff(shared.number);
        let (generations, page) = (metrics.generations().to_vec(), metrics.page().cloned());
        self.metrics = Some(metrics);
        // A listener that is created now would be missing in the manifest.
        shared.registry.freeze(true);
        let listeners = shared.registry.listeners().into_iter().map(listener_entry).collect();
        let (generation, state) = (shared.number, std::mem::take(&mut self.states));
        let payload: HandoffPayload<Arc<Acceptor>> =
            HandoffPayload { generation, listeners, state, generations, page };
        let limit = settings.ready_timeout;
        let successor = match self.candidate.take() {
            Some(Candidate::Arrived(arrival)) => {
                log!(info, successor = arrival.peer.pid, "takeover requested");
                Ok(Successor::arrived(*arrival, limit))
            }
            Some(Candidate::Start) | None => {
                log!(info, command = %settings.start_command, "restart requested");
                Successor::start(&settings.start_command, limit)
            }
        };
        let successor = match successor {
            Ok(successor) => Arc::new(Mutex::new(successor)),
            Err(error) => {
                self.wait = Some(Box::pin(async move { Done::Ready(Err(error)) }));
                return;
            }
        };
        self.successor = Some(successor.clone());
        self.wait =
            Some(Box::pin(
                async move { Done::Ready(successor.lock_owned().await.hand_over(&payload).await) },
            ));
    }

    /// The successor is ready, and uses these listeners.
    pub(super) fn claimed(&mut self, claim: Claim) {
        self.claim = claim;
    }

    /// Sends `commit` to the successor.
    pub(super) fn commit(&mut self, number: u64) {
        let took = self.requested.elapsed();
        let Some(successor) = self.successor.clone() else { return };
        // No other task communicates with it now.
        if let Ok(mut successor) = successor.try_lock() {
            successor.commit(took);
            let (pid, generation) = (successor.pid(), number + 1);
            if let (Some(process), Some(metrics)) = (successor.handle(), &mut self.metrics) {
                metrics.successor_serves(generation, pid, process.clone());
            }
            self.restarted = Some(Restarted { pid, generation, took });
        }
        self.wait =
            Some(Box::pin(async move { Done::Committed(successor.lock_owned().await.serving().await) }));
    }

    /// The successor accepts; its probation has this length.
    pub(super) fn serves(&mut self, probation: Duration) {
        self.probation = probation;
        let Some(successor) = self.successor.clone() else { return };
        if let Some(Restarted { pid, generation, took }) = self.restarted {
            log!(info, successor = pid, generation, ?took, ?probation, "handed over; standing by");
        }
        self.wait = Some(Box::pin(async move {
            fault_point!(StandingBy);
            Done::Proved(successor.lock_owned().await.probation(probation).await)
        }));
    }

    /// Sends `abort` to the successor. `cancelled`: a drain was requested.
    pub(super) fn call_off(&mut self, cancelled: bool) {
        if cancelled && self.error.is_none() {
            self.error = Some(RestartError::Cancelled);
        }
        let reason = self.error.as_ref().map_or_else(String::new, ToString::to_string);
        // Ends a wait that communicates with it.
        self.wait = None;
        let successor = self.take_successor();
        self.wait = Some(Box::pin(async move {
            if let Some(successor) = successor {
                successor.abandon(reason).await;
            }
            Done::CalledOff
        }));
    }

    /// Confirms to a successor that has stopped accepting that this generation accepts.
    pub(super) fn dismiss(&mut self, reason: String) {
        if let Some(successor) = self.take_successor() {
            successor.dismiss(reason);
        }
    }

    /// Closes the channel to the successor. `pass_on`: sends `restart` first.
    pub(super) fn release(&mut self, pass_on: bool) {
        self.wait = None;
        if let Some(metrics) = self.metrics.take() {
            metrics.settled();
        }
        if let Some(successor) = self.take_successor() {
            if pass_on {
                successor.pass_on_restart();
            } else {
                successor.let_go();
            }
        }
    }

    /// The listeners that the successor does not use.
    pub(super) fn unclaimed(&self, shared: &Shared) -> Vec<Arc<Acceptor>> {
        shared.registry.unclaimed(&self.claim.used)
    }

    /// Reports the outcome. If the successor has not settled, its metrics are added to those of
    /// this generation.
    pub(super) fn end(self) -> (Vec<Outcome>, Option<Candidate>, Option<RestartError>) {
        let Self { outcomes, candidate, restarted, error, .. } = self;
        let error = error.map(|error| match (&error, restarted) {
            (RestartError::Cancelled | RestartError::RolledBack(_), _) | (_, None) => error,
            // After the commit it is a rollback.
            (_, Some(_)) => RestartError::RolledBack(Box::new(error)),
        });
        (outcomes, candidate, error)
    }

    fn take_successor(&mut self) -> Option<Successor> {
        self.wait = None;
        // The wait that held the other reference has been dropped.
        self.successor.take().and_then(Arc::into_inner).map(Mutex::into_inner)
    }
}

fn listener_entry(listener: RegisteredListener) -> (ListenerEntry, Arc<Acceptor>) {
    let RegisteredListener { name, uri, acceptor } = listener;
    (ListenerEntry { name: name.to_string(), socket: acceptor.describe(), uri }, acceptor)
}

/// The error if the accept loops of this generation have not stopped in time.
pub(super) fn not_stopped() -> RestartError {
    let reason =
        "the listeners of the predecessor did not stop in time; `serve` may not be polled".to_owned();
    RestartError::Rejected { step: Step::Commit, reason }
}

/// Removes the paths of Unix sockets. Blocks.
pub(super) fn unlink(listeners: &[Arc<Acceptor>]) {
    listeners.iter().for_each(|listener| listener.unlink());
}

#[cfg(all(test, feature = "control"))]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::handoff::{Channel, Peer};

    /// A restart whose successor was told to serve, and the successor's end of the channel.
    fn committed() -> (Restart, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Channel::without_descriptors(ours).unwrap();
        let hello = r#"{"protocol":1,"oldest_protocol":1,"pid":0,"nonce":"","version":""}"#;
        let hello = serde_json::from_str(hello).unwrap();
        let arrival = Arrival { channel, hello, peer: Peer { pid: 0, handle: None } };
        let restart = Restart {
            outcomes: Vec::new(),
            candidate: None,
            requested: Instant::now(),
            states: Vec::new(),
            successor: Some(Arc::new(Mutex::new(Successor::arrived(arrival, Duration::from_secs(60))))),
            wait: None,
            metrics: None,
            claim: Claim::default(),
            restarted: None,
            probation: Duration::ZERO,
            error: None,
        };
        (restart, theirs)
    }

    /// What was sent, when the process exits before the runtime runs anything else.
    fn sent(mut successor: UnixStream) -> String {
        successor.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        successor.read_to_end(&mut bytes).expect("the channel is closed");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_restart_is_passed_on_before_anything_else_runs() {
        let (mut restart, successor) = committed();
        restart.release(true);
        assert!(sent(successor).ends_with(r#"{"type":"restart"}"#));
    }

    #[tokio::test]
    async fn a_sick_successor_is_dismissed_before_anything_else_runs() {
        let (mut restart, successor) = committed();
        restart.dismiss("sick".to_owned());
        assert!(sent(successor).ends_with(r#"{"type":"abort","reason":"sick"}"#));
    }

    #[tokio::test]
    async fn dropping_a_restart_sends_nothing() {
        let (restart, successor) = committed();
        drop(restart);
        assert_eq!(sent(successor), "");
    }

    /// It could not accept, and has stopped trying.
    #[tokio::test]
    async fn a_successor_may_be_sick_before_it_serves() {
        let (mut restart, mut successor) = committed();
        restart.commit(1);
        let message = br#"{"type":"sick","reason":"no"}"#;
        successor.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
        successor.write_all(message).unwrap();
        let done = restart.wait().await;
        assert!(matches!(done, Done::Committed(Ok(Committed::Sick(reason))) if reason == "no"));
    }
}
