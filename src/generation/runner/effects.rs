//! Performs the [`Effect`]s of the machine, and the actions on entering a state.

use std::{sync::Arc, time::Duration};

use portcullis_layers::ErrorChain;
use tokio::time::{sleep, timeout};

use super::{LAST_MOMENT, Runner, requests::answer};
use crate::{
    bind::InheritedUse,
    generation::{
        drain::{self, drain},
        restart::unlink,
        shared::Shared,
    },
    handoff::{Claim, HandoffError, RestartError, RestartResult, Succession},
    lifecycle::{Effect, Exit, Phase, State},
};

/// The delay before writing the pid file is retried.
const PUBLISH_AGAIN: Duration = Duration::from_secs(5);

impl Runner {
    /// Runs before the phase is published: a listener that observes the phase relies on the rest.
    pub(super) fn enter_draining(&mut self, last: bool, effects: &[Effect]) {
        self.metrics().drain_begun();
        if last {
            self.shared.lifecycle.set_last();
            // A drain was requested on probation.
            self.count_success();
            self.report_own();
        }
        let handed_over = effects.iter().any(|effect| matches!(effect, Effect::Release { .. }));
        if let Some(restart) = self.restart.as_ref().filter(|_| handed_over) {
            let unclaimed = restart.unclaimed(&self.shared);
            // These sockets were not accepted from since the commit, and no other process uses
            // them.
            unclaimed.iter().for_each(|listener| listener.set_unclaimed());
            // It may wait for a lock. Failures are logged.
            tokio::task::spawn_blocking(move || unlink(&unclaimed));
        }
        self.shared.registry.freeze(true);
        // Before the listeners stop, so that no connection starts new work in between.
        self.shared.lifecycle.tracker().start_drain();
    }

    /// The actions on entering a state, after its effects.
    pub(super) async fn entered(&mut self, state: State) {
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
                "this generation is unhealthy; it asks its predecessor to accept again"
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

    pub(super) async fn perform(&mut self, effect: Effect) {
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
                self.shared.hand_on_pid_file();
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

    pub(super) fn send(&mut self, send: impl FnOnce(&mut Succession) -> Result<(), HandoffError>) {
        if let Some(Err(error)) = self.predecessor.as_mut().map(send) {
            // The next read finds out what that means.
            log!(warn, error = %ErrorChain(&error), "cannot send to the predecessor");
        }
    }

    /// Returns how the inherited sockets are used, and closes those that no listener uses.
    pub(super) fn claim(&mut self) -> Claim {
        self.claimed = true;
        let InheritedUse { used, bound, unwanted } = self.shared.registry.resolve_inherited();
        let claim = Claim { used, bound, unwanted };
        // Register the metrics before the switch, not during it.
        self.metrics();
        log!(debug, ?claim, "ready");
        claim
    }

    /// This generation serves, and no other one can take over.
    pub(super) fn confirmed(&mut self) {
        if !self.claimed {
            self.claim();
        }
        if self.predecessor.take().is_some() {
            log!(debug, "the channel to the predecessor is closed");
        }
        self.shared.metrics.settled();
        self.failure = None;
        self.report_own();
        if !self.machine.drain_requested() {
            self.settled();
        }
    }

    /// This generation serves for good. Notifies the observer once.
    pub(super) fn settled(&mut self) {
        self.count_success();
        if !std::mem::replace(&mut self.has_settled, true) {
            let Shared { registry, observer, number, .. } = &*self.shared;
            observer.serves(*number, &registry.listeners(), &registry.forgotten());
        }
    }

    /// Counts the restart that started this generation.
    pub(super) fn count_success(&mut self) {
        if let Some(took) = self.took.filter(|_| !self.counted) {
            self.counted = true;
            self.metrics().committed(took);
            self.metrics().restarted(RestartResult::Succeeded);
            log!(info, generation = self.shared.number, "settled");
        }
    }

    /// Writes the pid file as soon as this process accepts, and logs that. A blocked file system
    /// delays nothing else.
    pub(super) fn publish_pid_file(&mut self) {
        self.shared.own_pid_file();
        let shared = self.shared.clone();
        // A generation that is rolled back has served before.
        let rolled_back = self.restart.is_some();
        self.publishing = Some(tokio::spawn(async move {
            let mut phase = shared.lifecycle.phases();
            tokio::select! {
                () = shared.all_accept() => {}
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

    pub(super) async fn exit(&mut self) {
        if let Some(predecessor) = self.predecessor.as_mut().filter(|predecessor| predecessor.has_queued()) {
            _ = timeout(LAST_MOMENT, predecessor.flush()).await;
        }
        self.predecessor = None;
        self.refuse_remembered();
        self.shared.lifecycle.set_exit(match self.failure.take() {
            Some(error) => {
                // A generation that has served has logged why it stopped.
                if !self.drained {
                    log!(error, error = %ErrorChain(&error), "this process does not serve; its predecessor does");
                }
                Exit::Failed(Arc::new(error))
            }
            None => Exit::Drained { forced: self.forced },
        });
    }
}

/// Writes the pid file, and waits for a limited time. Returns whether it was written, or may still
/// be.
pub(super) async fn publish_pid_file(shared: Arc<Shared>) -> bool {
    let published = tokio::task::spawn_blocking(move || shared.publish_pid_file());
    !matches!(timeout(LAST_MOMENT, published).await, Ok(Ok(false)))
}

/// Retries while this generation serves: the file names a process that has exited or will exit.
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
