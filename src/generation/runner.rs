//! The task of a generation: it waits for events, asks the [`Machine`] what follows, and does that.
//!
//! Nothing is decided here. Three rules hold for every wait:
//!
//! - What lies in the socket of the predecessor is read before anything else counts: a message that
//!   was sent must not lose against a timer or a signal.
//! - Effects are performed without waiting. What takes time is a future that is polled with all
//!   other events, or a task of its own.
//! - The phase is published before effects are performed, and log lines come last. A log line that
//!   panics does not end the task ([`crate::log`]).

use std::{
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use portcullis_layers::ErrorChain;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Restarted,
    drain::{self, drain},
    metrics::LineMetrics,
    restart::{Candidate, Done, Outcome, Restart, RestartRequest, not_stopped, unlink},
    settings::Settings,
    shared::Shared,
};
use crate::{
    bind::InheritedUse,
    handoff::{
        Claim, Committed, HandoffError, Probation, Refusal, RestartError, RestartResult, Step, Succession,
        Verdict,
    },
    lifecycle::{Effect, Event, Exit, Machine, Phase, State},
    sys::Deadline,
};

/// Requests for a restart.
pub(super) type Requests = mpsc::Receiver<RestartRequest>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// From the commit until the accept loops of the successor accept, nothing does: that must not last.
/// The accept loops stop as soon as they are polled.
const SWITCH_LIMIT: Duration = Duration::from_secs(5);

/// A predecessor has this long to confirm `settled` before a restart goes on without it.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// A generation that takes so long to be ready logs what it waits for.
const READY_REPORT: Duration = Duration::from_secs(5);

/// What could not be sent before has this long to leave the process at its end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A pid file that cannot be written is tried again after this time.
const PUBLISH_AGAIN: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    settings: Settings,
    requests: Requests,
    machine: Machine,
    /// The conversation with the predecessor, as long as it can say anything.
    predecessor: Option<Succession>,
    /// The probation and the health check.
    trial: Option<BoxFuture<Result<(), String>>>,
    /// The restart that is under way.
    restart: Option<Restart>,
    /// A request that has just come.
    asked: Option<RestartRequest>,
    /// Those who wait for the restart that is remembered.
    remembered: Vec<Outcome>,
    /// Those who wait for the restart that this generation is the successor of.
    awaiting_own: Vec<Outcome>,
    /// How the last restart of this generation ended.
    last_restart: Option<Result<Restarted, RestartError>>,
    /// An event that has to wait for what lies in the socket.
    waiting: Option<Event>,
    /// The limit of the state.
    deadline: Option<Deadline>,
    drain: Option<BoxFuture<usize>>,
    drained: bool,
    /// Connections that were closed at the deadline of the drain.
    forced: usize,
    /// Why this generation does not serve, or not any more.
    failure: Option<HandoffError>,
    /// Why it is unhealthy.
    unhealthy: String,
    /// From the request to the commit that this process obeys.
    took: Option<Duration>,
    counted: bool,
    /// How many listeners were served when it was ready.
    served: usize,
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
            served: 0,
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

    /// What decides has panicked. Its channels are closed only when this generation does not accept
    /// any more, and nothing is sent: a successor, or a predecessor that stands by, then goes on
    /// alone, as after a death.
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
        drop(self);
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

    /// The next thing that happens.
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
        // The others are found again: they are conditions.
        if matches!(event, Event::RestartRequested | Event::Healthy | Event::Unhealthy) {
            self.waiting = Some(event);
        }
        message
    }

    /// What the predecessor has sent, if that lies in the socket.
    fn unread(&mut self) -> Option<Event> {
        let verdict = self.listens().then(|| self.predecessor.as_mut()?.try_verdict()).flatten()?;
        Some(self.heard(verdict))
    }

    /// Whether the predecessor can say anything that matters.
    const fn listens(&self) -> bool {
        matches!(
            self.machine.state(),
            State::Initializing
                | State::AwaitingCommit
                | State::TakingOver
                | State::Probation
                | State::Settled
                | State::SteppingBack
                | State::SteppedBack
        )
    }

    fn heard(&mut self, verdict: Result<Verdict, HandoffError>) -> Event {
        match verdict {
            Ok(Verdict::Commit(commit)) if self.machine.state() == State::AwaitingCommit => {
                self.took = Duration::try_from_secs_f64(commit.took_seconds).ok();
                Event::Committed
            }
            Ok(Verdict::Commit(_)) => {
                let reason = "it sent `commit` to a successor that was not ready for it".to_owned();
                self.failure = Some(HandoffError::Protocol { step: Step::Commit, reason });
                Event::PredecessorFailed
            }
            Ok(Verdict::Abort(reason)) => {
                self.failure = Some(if self.machine.state() == State::SteppedBack {
                    HandoffError::Sick { reason: self.unhealthy.clone() }
                } else {
                    HandoffError::Aborted { reason }
                });
                Event::Aborted
            }
            Ok(Verdict::Restart) => Event::RestartPassedOn,
            Ok(Verdict::Gone) => {
                self.report_gone();
                self.predecessor = None;
                // Also if this generation never serves: the file names a process that has exited.
                self.shared.own_pid_file();
                Event::PredecessorGone
            }
            Err(error) => {
                self.failure = Some(error);
                Event::PredecessorFailed
            }
        }
    }

    fn report_gone(&self) {
        let (generation, state) = (self.shared.number, self.machine.state());
        let predecessor = self.predecessor.as_ref().map_or(0, Succession::predecessor);
        match state {
            State::Initializing | State::AwaitingCommit | State::TakingOver => log!(
                warn,
                predecessor,
                "the predecessor died during the handoff; this generation serves alone"
            ),
            State::SteppingBack | State::SteppedBack => log!(
                error,
                generation,
                "the predecessor is gone; better an unfit generation than none: this one serves"
            ),
            _ => log!(debug, predecessor, "the predecessor has let go"),
        }
    }

    async fn wait(&mut self) -> Event {
        let (state, listens) = (self.machine.state(), self.listens());
        let drain_requested = self.machine.drain_requested();
        let shared = self.shared.clone();
        let Self { predecessor, restart, requests, trial, deadline, drain, served, publishing, .. } = self;
        tokio::select! {
            biased;
            verdict = verdict(predecessor, listens) => self.heard(verdict),
            done = wait(restart) => self.done(done),
            () = shared.lifecycle.drain_requested(), if !drain_requested => Event::DrainRequested,
            Some(request) = requests.recv() => {
                self.asked = Some(request);
                Event::RestartRequested
            }
            () = ready(&shared, state) => Event::Ready,
            () = loops(&shared, state, *served, publishing) => match state {
                State::TakingOver => Event::LoopsAccept,
                _ => Event::LoopsStopped,
            },
            verdict = optional(trial), if state == State::Probation => {
                self.trial = None;
                match verdict {
                    Ok(()) => Event::Healthy,
                    Err(reason) => {
                        self.unhealthy = reason;
                        Event::Unhealthy
                    }
                }
            }
            () = expired(deadline) => self.timed_out(),
            forced = optional(drain) => {
                (self.drain, self.drained) = (None, true);
                self.forced = forced;
                Event::Drained
            }
        }
    }

    fn done(&mut self, done: Done) -> Event {
        let Some(restart) = &mut self.restart else { return Event::SuccessorGone };
        match done {
            Done::Prepared(Ok(states)) => {
                restart.prepared(states);
                Event::Prepared
            }
            Done::Prepared(Err(error)) => {
                restart.error = Some(error);
                Event::PrepareFailed
            }
            Done::Ready(Ok(claim)) => {
                restart.claimed(claim);
                Event::SuccessorReady
            }
            Done::Committed(Ok(Committed::OnProbation(probation))) => {
                restart.serves(probation);
                Event::SuccessorServing
            }
            Done::Committed(Ok(Committed::Settled)) | Done::Proved(Ok(Probation::Passed)) => {
                Event::SuccessorSettled
            }
            Done::Proved(Ok(Probation::Sick(reason))) => {
                restart.error = Some(RestartError::Sick { reason });
                Event::SuccessorSick
            }
            Done::Ready(Err(error)) | Done::Committed(Err(error)) | Done::Proved(Err(error)) => {
                restart.error = Some(error);
                Event::SuccessorFailed
            }
            Done::CalledOff => Event::SuccessorGone,
        }
    }

    fn timed_out(&mut self) -> Event {
        match self.machine.state() {
            State::AwaitingCommit => {
                let limit = self.settings.ready_timeout;
                self.failure = Some(HandoffError::TimedOut { step: Step::Commit, limit });
            }
            State::TakingOver => {
                "the listeners do not accept: is `serve` polled?".clone_into(&mut self.unhealthy);
            }
            State::Stopping => {
                if let Some(restart) = &mut self.restart {
                    restart.error = Some(not_stopped());
                }
            }
            _ => {}
        }
        Event::TimedOut
    }

    /// Lets the machine decide, and does what it says.
    async fn on(&mut self, event: Event) {
        let before = self.machine.state();
        if event == Event::RestartRequested && (self.refuses_arrival() || self.joins()) {
            return;
        }
        pass_points(before, event).await;
        let effects = self.machine.on(event);
        let state = self.machine.state();
        if before == State::Starting && effects.contains(&Effect::PublishPidFile) {
            // Nothing waits for a first generation to accept, and the file is there when it does.
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
    }

    /// The limit of the state, if it has one that is kept here.
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

    /// Before the phase says so: a listener that sees the phase must find the rest.
    fn enter_draining(&mut self, last: bool, effects: &[Effect]) {
        self.metrics().drain_begun();
        if last {
            self.shared.lifecycle.set_last();
            // It was told to finish in its probation.
            self.count_success();
            self.report_own();
        }
        let handed_over = effects.iter().any(|effect| matches!(effect, Effect::Release { .. }));
        if let Some(restart) = self.restart.as_ref().filter(|_| handed_over) {
            let unclaimed = restart.unclaimed(&self.shared);
            // Nothing has accepted there since the commit, and nothing else will.
            unclaimed.iter().for_each(|listener| listener.set_unclaimed());
            // It may wait for a lock. What could not be removed is in the log.
            tokio::task::spawn_blocking(move || unlink(&unclaimed));
        }
        self.shared.registry.freeze(true);
        // Before the listeners stop, so that no connection starts something new in between.
        self.shared.lifecycle.tracker().start_drain();
    }

    /// What follows from being in a state, after its effects.
    async fn entered(&mut self, state: State) {
        match state {
            State::TakingOver => self.shared.observer.on_probation(self.shared.number),
            State::Probation => {
                fault_point!(Probation);
                self.trial = Some(Box::pin(self.settings.trial.clone().verdict()));
            }
            State::SteppingBack => log!(
                error,
                generation = self.shared.number,
                reason = self.unhealthy,
                "not fit to serve; the predecessor is asked to go on"
            ),
            State::Draining { last } => {
                fault_point!(Draining);
                let (shared, limit) = (self.shared.clone(), self.settings.drain_timeout);
                drain::report_begin(&shared, limit, last);
                self.refuse_remembered();
                let metrics = self.metrics().clone();
                self.drain = Some(Box::pin(async move { drain(&shared, limit, &metrics, last).await }));
            }
            _ => {}
        }
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SendReady => {
                fault_point!(Initialised);
                let claim = self.claim();
                self.send(|predecessor| predecessor.claim(claim));
                fault_point!(Claimed);
                self.send(Succession::ready);
                fault_point!(Waiting);
            }
            Effect::SendServing => {
                let lasts = self.settings.trial.lasts();
                self.send(|predecessor| predecessor.serving(lasts));
            }
            Effect::SendSettled => {
                self.send(Succession::settled);
                if self.machine.state() == State::Settled {
                    self.settled();
                }
                fault_point!(Settled);
            }
            Effect::SendSick => {
                let reason = self.unhealthy.clone();
                self.send(|predecessor| predecessor.sick(reason));
                fault_point!(SteppedBack);
            }
            Effect::ClosePredecessor => self.predecessor = None,
            Effect::Confirmed => self.confirmed(),
            Effect::Prepare => self.prepare(),
            Effect::StartSuccessor => {
                if let Some(restart) = &mut self.restart {
                    restart.start(&self.shared, &self.settings);
                }
            }
            Effect::SendCommit => {
                fault_point!(Committing);
                if let Some(restart) = &mut self.restart {
                    restart.commit(self.shared.number);
                }
            }
            Effect::CallOff => {
                let cancelled = self.machine.drain_requested();
                if let Some(restart) = &mut self.restart {
                    restart.call_off(cancelled);
                }
            }
            Effect::Dismiss => {
                let reason = self.restart.as_ref().and_then(|restart| restart.error.as_ref());
                let reason = reason.map_or_else(String::new, ToString::to_string);
                if let Some(restart) = &mut self.restart {
                    restart.dismiss(reason);
                }
            }
            Effect::Release { pass_on } => {
                if let Some(restart) = &mut self.restart {
                    restart.release(pass_on);
                }
                if pass_on {
                    answer(std::mem::take(&mut self.remembered), &Err(RestartError::PassedOn));
                }
            }
            Effect::ReportSuccess => self.report_success(),
            Effect::ReportFailure => self.report_failure(),
            Effect::Refuse => self.refuse(),
            Effect::Remember => self.remember(),
            Effect::PublishPidFile => self.publish_pid_file(),
            Effect::Exit => self.exit().await,
        }
    }

    fn send(&mut self, send: impl FnOnce(&mut Succession) -> Result<(), HandoffError>) {
        if let Some(Err(error)) = self.predecessor.as_mut().map(send) {
            // What it means is found by reading.
            log!(warn, error = %ErrorChain(&error), "the predecessor cannot be reached");
        }
    }

    /// What has become of the inherited sockets. Those that no listener asked for are closed.
    fn claim(&mut self) -> Claim {
        self.claimed = true;
        let InheritedUse { used, bound, unwanted } = self.shared.registry.resolve_inherited();
        let claim = Claim { used, bound, unwanted };
        self.served = self.shared.registry.served();
        // Metrics before the switch, and not within it.
        self.metrics();
        log!(debug, ?claim, "ready");
        claim
    }

    /// This generation serves, and no other one could.
    fn confirmed(&mut self) {
        if !self.claimed {
            self.claim();
        }
        if self.predecessor.take().is_some() {
            log!(debug, "the conversation with the predecessor is over");
        }
        self.shared.metrics.settled();
        self.failure = None;
        self.report_own();
        if !self.machine.drain_requested() {
            self.settled();
        }
    }

    /// This generation stays. Told once.
    fn settled(&mut self) {
        self.count_success();
        if !std::mem::replace(&mut self.has_settled, true) {
            let Shared { registry, observer, number, .. } = &*self.shared;
            observer.serves(*number, &registry.listeners(), &registry.forgotten());
        }
    }

    /// Counts the restart that made this generation serve.
    fn count_success(&mut self) {
        if let Some(took) = self.took.filter(|_| !self.counted) {
            self.counted = true;
            self.metrics().committed(took);
            self.metrics().restarted(RestartResult::Succeeded);
            log!(info, generation = self.shared.number, "settled");
        }
    }

    /// The restart that made this generation, as its predecessor reports it.
    fn own_restart(&self) -> Restarted {
        let (pid, generation) = (std::process::id(), self.shared.number);
        Restarted { pid, generation, took: self.took.unwrap_or_default() }
    }

    /// Reports the success of the restart that made this generation.
    fn report_own(&mut self) {
        self.confirmed = true;
        answer(std::mem::take(&mut self.awaiting_own), &Ok(self.own_restart()));
    }

    fn prepare(&mut self) {
        let (candidate, outcomes) = match self.asked.take() {
            Some(RestartRequest { candidate, outcome, .. }) => (candidate, vec![outcome]),
            // It was remembered, or passed on by the predecessor.
            None => (Candidate::Start, std::mem::take(&mut self.remembered)),
        };
        self.shared.observer.restarting(self.shared.number);
        self.restart = Some(Restart::prepare(&self.shared, &self.settings, candidate, outcomes));
    }

    fn report_success(&mut self) {
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

    fn report_failure(&mut self) {
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
            // What is reported is true by then: the pid file names this process again.
            if let Some(publishing) = publishing {
                _ = publishing.await;
            }
            count(&metrics, &error);
            answer(outcomes, &Err(error));
        });
    }

    fn refuse(&mut self) {
        let Some(RestartRequest { candidate, outcome, .. }) = self.asked.take() else { return };
        self.refuse_candidate(candidate, outcome, Refusal::NotServing);
    }

    /// A process that has connected does not wait for the end of another restart. Refuses one that
    /// comes during such.
    fn refuses_arrival(&mut self) -> bool {
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
    fn joins(&mut self) -> bool {
        use State::{Draining, Exited, Withdrawing};
        let number = self.shared.number;
        let passed_on = |request: &mut RestartRequest| request.passed_on_to.is_some_and(|to| to <= number);
        let Some(request) = self.asked.take_if(passed_on) else { return false };
        if request.passed_on_to < Some(number) {
            // That restart made this generation, or one before it.
            match self.machine.state() {
                _ if self.confirmed => answer(vec![request.outcome], &Ok(self.own_restart())),
                Withdrawing | Draining { .. } | Exited => {
                    self.asked = Some(request);
                    return false;
                }
                _ => self.awaiting_own.push(request.outcome),
            }
        } else if let Some(restart) = &mut self.restart {
            restart.join(request.outcome);
        } else if let Some(outcome) = &self.last_restart {
            answer(vec![request.outcome], outcome);
        } else {
            // None has begun: this request and the one that was passed on are one.
            self.asked = Some(request);
            return false;
        }
        true
    }

    fn refuse_candidate(&self, candidate: Candidate, outcome: Outcome, refusal: Refusal) {
        let error = RestartError::Refused(refusal);
        self.count_refused(&error);
        // It may take a moment.
        tokio::spawn(candidate.turn_away(error.to_string()));
        _ = outcome.send(Err(error));
    }

    fn remember(&mut self) {
        let Some(RestartRequest { outcome, .. }) = self.asked.take() else { return };
        self.shared.observer.restart_remembered();
        self.remembered.push(outcome);
        log!(info, generation = self.shared.number, "a restart is requested, and follows the one under way");
    }

    fn refuse_remembered(&mut self) {
        let refused = RestartError::Refused(Refusal::NotServing);
        answer(std::mem::take(&mut self.awaiting_own), &Err(refused));
        for outcome in std::mem::take(&mut self.remembered) {
            let error = RestartError::Refused(Refusal::NotServing);
            self.count_refused(&error);
            _ = outcome.send(Err(error));
        }
    }

    /// Makes the pid file name this process as soon as it accepts, and logs that it does. A blocked
    /// file system holds up nothing else.
    fn publish_pid_file(&mut self) {
        self.shared.own_pid_file();
        let (shared, served) = (self.shared.clone(), self.served);
        // A generation that is rolled back has served before.
        let rolled_back = self.restart.is_some();
        self.publishing = Some(tokio::spawn(async move {
            let mut phase = shared.lifecycle.phases();
            tokio::select! {
                () = shared.lifecycle.accept_loops(|accepting| accepting >= served) => {}
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            }
            let published = publish_pid_file(shared.clone()).await;
            let (generation, pid) = (shared.number, std::process::id());
            if *phase.borrow() != Phase::Serving {
                return;
            }
            if !published {
                tokio::spawn(publish_pid_file_later(shared));
            }
            if rolled_back {
                log!(warn, generation, pid, "rolled back: this generation accepts again");
            } else {
                log!(info, generation, pid, "serving");
            }
        }));
    }

    async fn exit(&mut self) {
        if let Some(predecessor) = self.predecessor.as_mut().filter(|predecessor| predecessor.has_queued()) {
            _ = timeout(LAST_MOMENT, predecessor.flush()).await;
        }
        self.predecessor = None;
        self.refuse_remembered();
        self.shared.lifecycle.set_exit(match self.failure.take() {
            Some(error) => {
                // One that has served has logged why it stopped.
                if !self.drained {
                    log!(error, error = %ErrorChain(&error), "this process may not serve; its predecessor does");
                }
                Exit::Failed(Arc::new(error))
            }
            None => Exit::Drained { forced: self.forced },
        });
    }

    fn metrics(&self) -> &LineMetrics {
        self.metrics.get_or_init(|| {
            let Shared { metrics_prefix, number, metrics, .. } = &*self.shared;
            let metrics = LineMetrics::register(metrics_prefix, *number, metrics);
            metrics.refused(self.refused_early.load(Ordering::Relaxed));
            metrics
        })
    }

    /// Counts and logs a restart that is refused.
    fn count_refused(&self, error: &RestartError) {
        match self.metrics.get() {
            Some(metrics) => count(metrics, error),
            None => {
                // It still starts: a recorder that is installed later must not miss the handles.
                self.refused_early.fetch_add(1, Ordering::Relaxed);
                log!(warn, result = error.result().as_str(), error = %ErrorChain(error), "restart failed");
            }
        }
    }
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

/// Points at which tests order faults, before anything is done about an event.
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

/// Makes the pid file name this process, and does not wait for long. Returns whether that is done, or
/// may still be.
async fn publish_pid_file(shared: Arc<Shared>) -> bool {
    let published = tokio::task::spawn_blocking(move || shared.publish_pid_file());
    !matches!(timeout(LAST_MOMENT, published).await, Ok(Ok(false)))
}

/// Tries again while this generation serves: the file names a process that has exited, or will.
async fn publish_pid_file_later(shared: Arc<Shared>) {
    let mut phase = shared.lifecycle.phases();
    loop {
        tokio::select! {
            () = sleep(PUBLISH_AGAIN) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        }
        if publish_pid_file(shared.clone()).await {
            return;
        }
    }
}

/// Reports to all that wait; some may wait no more.
fn answer(outcomes: Vec<Outcome>, outcome: &Result<Restarted, RestartError>) {
    for waiting in outcomes {
        _ = waiting.send(outcome.clone());
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

async fn verdict(predecessor: &mut Option<Succession>, listens: bool) -> Result<Verdict, HandoffError> {
    match predecessor {
        Some(predecessor) if listens => predecessor.verdict().await,
        // What it is sent still leaves this process.
        Some(predecessor) => {
            predecessor.flush().await;
            pending().await
        }
        None => pending().await,
    }
}

async fn wait(restart: &mut Option<Restart>) -> Done {
    match restart {
        Some(restart) => restart.wait().await,
        None => pending().await,
    }
}

async fn optional<T>(future: &mut Option<BoxFuture<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn expired(deadline: &mut Option<Deadline>) {
    match deadline {
        Some(deadline) => deadline.expired().await,
        None => pending().await,
    }
}

/// Waits until all listeners are served, and logs which are not if that takes long.
async fn ready(shared: &Shared, state: State) {
    if !matches!(state, State::Starting | State::Initializing | State::InitializingAlone) {
        return pending().await;
    }
    if timeout(READY_REPORT, shared.registry.ready()).await.is_err() {
        let unserved = shared.registry.unserved().join(", ");
        log!(warn, unserved, "not ready: a listener is not served, or a guard delays readiness");
        shared.registry.ready().await;
    }
}

/// Waits until the accept loops do what the state waits for.
async fn loops(shared: &Shared, state: State, served: usize, publishing: &mut Option<JoinHandle<()>>) {
    match state {
        State::TakingOver => shared.lifecycle.accept_loops(|accepting| accepting >= served).await,
        State::Stopping => shared.lifecycle.accept_loops(|accepting| accepting == 0).await,
        State::SteppingBack | State::Withdrawing => {
            shared.lifecycle.accept_loops(|accepting| accepting == 0).await;
            // The predecessor writes the pid file next: it must not be overwritten.
            if let Some(publishing) = publishing {
                _ = publishing.await;
            }
            *publishing = None;
        }
        _ => pending().await,
    }
}

#[cfg(all(test, feature = "control"))]
mod tests;
