//! The waits of a generation, and the [`Event`] of each.

use std::{future::pending, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{BoxFuture, Runner};
use crate::{
    generation::{
        restart::{Done, Restart, not_stopped},
        shared::Shared,
    },
    handoff::{Committed, HandoffError, Probation, RestartError, Step, Succession, Verdict},
    lifecycle::{Event, State},
    sys::Deadline,
};

/// A generation that is not ready after this time logs what it waits for.
const READY_REPORT: Duration = Duration::from_secs(5);

impl Runner {
    /// Reads a message of the predecessor, if one is in the socket.
    pub(super) fn unread(&mut self) -> Option<Event> {
        let verdict = self.listens().then(|| self.predecessor.as_mut()?.try_verdict()).flatten()?;
        Some(self.heard(verdict))
    }

    /// Whether messages of the predecessor matter in this state.
    pub(super) const fn listens(&self) -> bool {
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

    pub(super) fn heard(&mut self, verdict: Result<Verdict, HandoffError>) -> Event {
        match verdict {
            Ok(Verdict::Commit(commit)) if self.machine.state() == State::AwaitingCommit => {
                self.took = Duration::try_from_secs_f64(commit.took_seconds).ok();
                Event::Committed
            }
            Ok(Verdict::Commit(_)) => {
                let reason = "it sent `commit` before this process was ready".to_owned();
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
                // Even if this generation never serves: the pid file names a process that has
                // exited.
                self.shared.own_pid_file();
                Event::PredecessorGone
            }
            Err(error) => {
                self.failure = Some(error);
                Event::PredecessorFailed
            }
        }
    }

    pub(super) fn report_gone(&self) {
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
                "the predecessor has ended; this generation serves although it is unhealthy"
            ),
            _ => log!(debug, predecessor, "the predecessor has closed the channel"),
        }
    }

    pub(super) async fn wait(&mut self) -> Event {
        let (state, listens) = (self.machine.state(), self.listens());
        let drain_requested = self.machine.drain_requested();
        let shared = self.shared.clone();
        let Self { predecessor, restart, requests, trial, deadline, drain, publishing, .. } = self;
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
            () = loops(&shared, state, publishing) => match state {
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
            () = expired(deadline) => Event::TimedOut,
            forced = optional(drain) => {
                (self.drain, self.drained) = (None, true);
                self.forced = forced;
                Event::Drained
            }
        }
    }

    pub(super) fn done(&mut self, done: Done) -> Event {
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
            Done::Committed(Ok(Committed::Sick(reason))) | Done::Proved(Ok(Probation::Sick(reason))) => {
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

    /// Why the limit of the state counts as a failure.
    pub(super) fn timed_out(&mut self) {
        match self.machine.state() {
            State::AwaitingCommit => {
                let limit = self.settings.ready_timeout;
                self.failure = Some(HandoffError::TimedOut { step: Step::Commit, limit });
            }
            State::TakingOver => {
                "the listeners do not accept; `serve` may not be polled".clone_into(&mut self.unhealthy);
            }
            State::Stopping => {
                if let Some(restart) = &mut self.restart {
                    restart.error = Some(not_stopped());
                }
            }
            _ => {}
        }
    }
}

async fn verdict(predecessor: &mut Option<Succession>, listens: bool) -> Result<Verdict, HandoffError> {
    match predecessor {
        Some(predecessor) if listens => predecessor.verdict().await,
        // Queued messages are still sent.
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

/// Waits until all listeners are served; logs those that are not, if that takes long.
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

/// Waits until the accept loops are in the condition that the state waits for.
async fn loops(shared: &Shared, state: State, publishing: &mut Option<JoinHandle<()>>) {
    match state {
        State::TakingOver => shared.all_accept().await,
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
