//! The task of a generation: it waits for events, passes them to the [`Machine`], and performs its
//! effects.
//!
//! The waits are in `events`, the effects in `effects`, and the answers to requests for a restart
//! in `requests`. The machine makes the decisions; only which restart a request joins is decided in
//! `requests`. The task follows three rules:
//!
//! - It reads the socket of the predecessor before it handles any other event: a message that was
//!   sent takes precedence over a timer and a signal.
//! - Performing an effect never waits. An operation that takes time is a future, which is polled
//!   together with all other events, or a task of its own.
//! - It publishes the phase first, performs the effects second, and writes log lines last. A log
//!   line that panics does not end the task ([`crate::log`]).

mod effects;
mod events;
mod requests;
#[cfg(all(test, feature = "control"))]
mod tests;

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use self::effects::publish_pid_file;
use super::{
    Restarted,
    metrics::LineMetrics,
    restart::{Outcome, Restart, RestartRequest},
    settings::Settings,
    shared::Shared,
};
use crate::{
    handoff::{HandoffError, RestartError, Succession},
    lifecycle::{Effect, Event, Exit, Machine, Phase, State},
    sys::Deadline,
};

/// Requests for a restart.
pub(super) type Requests = mpsc::Receiver<RestartRequest>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The limit for the accept loops to start or to stop. No process accepts meanwhile, so it is
/// short. The loops stop as soon as they are polled.
const SWITCH_LIMIT: Duration = Duration::from_secs(5);

/// The limit for a predecessor to confirm `settled`, before a pending restart starts without it.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// The limit for sending the queued messages at exit.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    settings: Settings,
    requests: Requests,
    machine: Machine,
    /// The channel to the predecessor, as long as its messages matter.
    predecessor: Option<Succession>,
    /// The probation and the health check.
    trial: Option<BoxFuture<Result<(), String>>>,
    /// The restart that is under way.
    restart: Option<Restart>,
    /// A request that has just arrived.
    asked: Option<RestartRequest>,
    /// The callers of the pending restart.
    remembered: Vec<Outcome>,
    /// The callers of the restart that started this generation.
    awaiting_own: Vec<Outcome>,
    /// The outcome of the last restart of this generation.
    last_restart: Option<Result<Restarted, RestartError>>,
    /// An event that is handled after the messages in the socket.
    waiting: Option<Event>,
    /// The limit of the state.
    deadline: Option<Deadline>,
    drain: Option<BoxFuture<usize>>,
    drained: bool,
    /// Connections that were closed at the deadline of the drain.
    forced: usize,
    /// Why this generation does not serve, or no longer serves.
    failure: Option<HandoffError>,
    /// Why it is unhealthy.
    unhealthy: String,
    /// The time from the request to the commit that this process received.
    took: Option<Duration>,
    counted: bool,
    /// The task that publishes the pid file.
    publishing: Option<JoinHandle<()>>,
    claimed: bool,
    has_settled: bool,
    /// No predecessor can take the sockets back.
    confirmed: bool,
    /// Registered when they are first needed: by then the program has installed its recorder.
    metrics: OnceLock<LineMetrics>,
    /// Restarts that were refused before there were metrics to count them.
    refused_early: AtomicU64,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: Settings,
        requests: Requests,
        predecessor: Option<Succession>,
    ) -> Self {
        let machine = if predecessor.is_some() { Machine::successor() } else { Machine::first() };
        Self {
            shared,
            settings,
            requests,
            machine,
            predecessor,
            trial: None,
            restart: None,
            asked: None,
            remembered: Vec::new(),
            awaiting_own: Vec::new(),
            last_restart: None,
            waiting: None,
            deadline: None,
            drain: None,
            drained: false,
            forced: 0,
            failure: None,
            unhealthy: String::new(),
            took: None,
            counted: false,
            publishing: None,
            claimed: false,
            has_settled: false,
            confirmed: false,
            metrics: OnceLock::new(),
            refused_early: AtomicU64::new(0),
        }
    }

    /// Runs until this generation has ended.
    pub(crate) async fn run(mut self) {
        if catch_panic(self.drive()).await.is_none() {
            self.stop_after_a_panic().await;
        }
    }

    async fn drive(&mut self) {
        if self.predecessor.is_some() {
            fault_point!(Initialising);
        }
        while self.machine.state() != State::Exited {
            let event = self.next_event().await;
            self.on(event).await;
        }
    }

    /// Stops this generation after the task has panicked. It sends nothing, and closes its channels
    /// only when it no longer accepts. A successor, or a predecessor on standby, then serves alone,
    /// as after a crash.
    async fn stop_after_a_panic(self) {
        let lifecycle = self.shared.lifecycle.clone();
        lifecycle.request_drain();
        lifecycle.tracker().start_drain();
        // Before the switch, and before another generation writes it.
        if self.is_named_in_pid_file() {
            let shared = self.shared.clone();
            let removing = tokio::task::spawn_blocking(move || shared.remove_pid_file_after_a_panic());
            _ = timeout(LAST_MOMENT, removing).await;
        }
        lifecycle.set_phase(Phase::Draining);
        _ = timeout(SWITCH_LIMIT, lifecycle.accept_loops(|accepting| accepting == 0)).await;
        let limit = self.settings.drain_timeout;
        drop(self);
        // Open connections may finish: the program exits when `serve` returns.
        if timeout(limit, lifecycle.connections_finished()).await.is_err() {
            lifecycle.force_connections();
        }
        lifecycle.set_exit(Exit::Panicked);
    }

    /// Whether no other generation writes the pid file as long as this one does not close a channel.
    const fn is_named_in_pid_file(&self) -> bool {
        matches!(
            self.machine.state(),
            State::Settled
                | State::Serving
                | State::Preparing
                | State::AwaitingReady
                | State::Stopping
                | State::CallingOff { committed: false, .. }
                | State::Draining { last: true }
        )
    }

    /// Waits for the next event.
    async fn next_event(&mut self) -> Event {
        if let Some(event) = self.unread() {
            return event;
        }
        if let Some(event) = self.waiting.take() {
            return event;
        }
        let event = self.wait().await;
        if event.is_from_predecessor() {
            return event;
        }
        let Some(message) = self.unread() else { return event };
        // The other events are conditions, and are found again.
        if matches!(event, Event::RestartRequested | Event::Healthy | Event::Unhealthy) {
            self.waiting = Some(event);
        }
        message
    }

    /// Passes an event to the machine, and performs its effects.
    async fn on(&mut self, event: Event) {
        let before = self.machine.state();
        // A request is the subject of its own event only: it may still wait for the one that is first.
        let asked = if event == Event::RestartRequested { None } else { self.asked.take() };
        if event == Event::RestartRequested && (self.refuses_arrival() || self.joins()) {
            return;
        }
        if event == Event::TimedOut {
            self.timed_out();
        }
        pass_points(before, event).await;
        let effects = self.machine.on(event);
        let state = self.machine.state();
        if before == State::Starting && effects.contains(&Effect::PublishPidFile) {
            // No other process waits for a first generation to accept, so the pid file exists when
            // it does.
            publish_pid_file(self.shared.clone()).await;
        }
        if state != before {
            self.deadline = self.limit().map(Deadline::new);
            if let State::Draining { last } = state {
                self.enter_draining(last, &effects);
            }
            let phase = self.machine.phase();
            self.shared.lifecycle.set_phase(phase);
        } else if state == State::Settled && self.deadline.is_none() {
            self.deadline = self.limit().map(Deadline::new);
        }
        for effect in effects {
            self.perform(effect).await;
        }
        if state != before {
            self.entered(state).await;
        }
        self.asked = asked;
    }

    /// The limit of the state, if this task enforces one.
    fn limit(&self) -> Option<Duration> {
        match self.machine.state() {
            State::AwaitingCommit => Some(self.settings.ready_timeout),
            State::TakingOver | State::Stopping | State::SteppingBack | State::Withdrawing => {
                Some(SWITCH_LIMIT)
            }
            State::Settled if self.machine.restart_remembered() => Some(CONFIRM_LIMIT),
            _ => None,
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
}

/// The points at which tests inject faults, before an event is handled.
async fn pass_points(state: State, event: Event) {
    match (state, event) {
        (State::AwaitingReady, Event::SuccessorReady) => {
            fault_point!(Ready);
        }
        (State::AwaitingServing | State::Standby, Event::SuccessorSettled) => {
            fault_point!(Over);
        }
        (State::AwaitingServing | State::Standby, Event::SuccessorSick) => {
            fault_point!(RollingBack);
        }
        (State::CallingOff { committed: true, .. }, Event::SuccessorGone) => {
            fault_point!(RollingBack);
        }
        (State::AwaitingCommit, Event::Committed) => {
            fault_point!(Told);
        }
        (State::AwaitingCommit, Event::PredecessorGone) | (State::InitializingAlone, Event::Ready) => {
            fault_point!(Alone);
        }
        (State::TakingOver, Event::LoopsAccept) => {
            fault_point!(Accepting);
        }
        (State::Probation, Event::Healthy) => {
            fault_point!(Passed);
        }
        (State::SteppingBack, Event::LoopsStopped) => {
            fault_point!(Sick);
        }
        _ => {}
    }
}

/// Polls the future to its end; `None` if it panics.
async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
