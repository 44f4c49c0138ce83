//! The lifecycle of a generation: one state, one transition function.
//!
//! The function has no side effects. Its input is an [`Event`], its output a list of [`Effect`]s;
//! the phase that the accept loops follow is derived from the state. The task of a generation
//! ([`crate::generation`]) waits for events and performs the effects. The model in the tests runs
//! two of these machines against each other, in every order of events.
//!
//! ```text
//! first generation   Starting ─────────────────────────────▶ Serving
//! successor          Initializing ▶ AwaitingCommit ▶ TakingOver ▶ Probation ▶ Settled ▶ Serving
//! predecessor        Serving ▶ Preparing ▶ AwaitingReady ▶ Stopping ▶ AwaitingServing ▶ Standby ▶ Draining
//! ```

use super::Phase;

/// The state of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// A first generation that is not ready.
    Starting,
    /// A successor that is not ready; its predecessor serves.
    Initializing,
    /// A successor that is not ready, and whose predecessor has ended: no process accepts.
    InitializingAlone,
    /// A successor that is ready and waits for the commit.
    AwaitingCommit,
    /// The commit was received: the accept loops start.
    TakingOver,
    /// It serves on probation; the predecessor is in `Standby`.
    Probation,
    /// It is unhealthy: the accept loops stop.
    SteppingBack,
    /// It has sent `sick` and waits for the predecessor to accept again.
    SteppedBack,
    /// It serves and has sent `settled`; the predecessor has not confirmed it.
    Settled,
    /// It serves, and no other generation can take over.
    Serving,
    /// It serves, and collects the states for a successor.
    Preparing,
    /// It serves; a successor starts and initializes.
    AwaitingReady,
    /// The successor is ready: the accept loops stop.
    Stopping,
    /// It has sent `commit` and waits for `serving`.
    AwaitingServing,
    /// It keeps the sockets during the successor's probation.
    Standby,
    /// The restart has failed: `abort` is sent to the successor, which is killed and waited for.
    CallingOff {
        /// This generation has not stopped accepting.
        accepts: bool,
        /// `commit` had been sent to the successor.
        committed: bool,
    },
    /// The predecessor has sent `abort` after `commit`: the accept loops stop.
    Withdrawing,
    /// It accepts no more and finishes its connections.
    Draining {
        /// No other generation has the sockets.
        last: bool,
    },
    /// It has finished.
    Exited,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// Every listener is served, and nothing delays readiness.
    Ready,
    /// All accept loops accept.
    LoopsAccept,
    /// No accept loop accepts.
    LoopsStopped,
    /// A drain was requested, by a signal or by the program.
    DrainRequested,
    /// A restart was requested.
    RestartRequested,
    /// The limit of the state has expired.
    TimedOut,

    /// `commit`: the predecessor has stopped accepting.
    Committed,
    /// `abort`: the predecessor has cancelled the restart.
    Aborted,
    /// The predecessor has closed the channel: it has ended, or has confirmed `settled`.
    PredecessorGone,
    /// The predecessor has violated the protocol.
    PredecessorFailed,
    /// `restart`: the predecessor has released the sockets, and has passed a restart on.
    RestartPassedOn,
    /// The probation has ended, and the health check has succeeded.
    Healthy,
    /// The health check has failed.
    Unhealthy,

    /// The states for a successor are collected.
    Prepared,
    /// Collecting the states has failed.
    PrepareFailed,
    /// `ready`: the successor can serve.
    SuccessorReady,
    /// `serving`: the successor accepts, and its probation starts.
    SuccessorServing,
    /// `settled`: the successor has passed its probation.
    SuccessorSettled,
    /// `sick`: the successor is unhealthy and has stopped accepting.
    SuccessorSick,
    /// The successor has ended, hangs, or has violated the protocol.
    SuccessorFailed,
    /// A successor that was sent `abort` has ended, or the limit for that has expired.
    SuccessorGone,

    /// The connections are finished, or were closed at the deadline.
    Drained,
}

impl Event {
    /// Whether it is a message of the predecessor, or the end of its channel.
    pub(crate) const fn is_from_predecessor(self) -> bool {
        matches!(
            self,
            Self::Committed
                | Self::Aborted
                | Self::PredecessorGone
                | Self::PredecessorFailed
                | Self::RestartPassedOn
        )
    }
}

/// What the task has to do, in the given order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// Send `claim` and `ready` to the predecessor.
    SendReady,
    /// Send `serving` to the predecessor.
    SendServing,
    /// Send `settled` to the predecessor.
    SendSettled,
    /// Send `sick` to the predecessor.
    SendSick,
    /// Close the channel to the predecessor.
    ClosePredecessor,
    /// The handoff has ended: the predecessor is not needed or has ended.
    Confirmed,

    /// Collect the states for a successor.
    Prepare,
    /// Start the successor and give it the sockets.
    StartSuccessor,
    /// Send `commit` to the successor.
    SendCommit,
    /// Send `abort` to the successor, kill it, wait until it has exited.
    CallOff,
    /// Confirm by `abort`, to a successor that has stopped accepting, that this generation accepts.
    Dismiss,
    /// Close the channel to the successor, which serves.
    Release {
        /// Send `restart` first: a restart was requested meanwhile.
        pass_on: bool,
    },
    /// The restart has succeeded: report it to its callers.
    ReportSuccess,
    /// The restart has failed: report it to its callers.
    ReportFailure,
    /// Refuse the restart that was just requested.
    Refuse,
    /// Keep the restart that was just requested pending.
    Remember,
    /// Write the pid file as soon as this process accepts.
    PublishPidFile,
    /// Exit: the machine has reached its final state.
    Exit,
}

/// The state of a generation, and its pending requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    state: State,
    drain_requested: bool,
    restart_remembered: bool,
}

impl Machine {
    pub(crate) const fn first() -> Self {
        Self::new(State::Starting)
    }

    /// Creates the machine of a successor.
    pub(crate) const fn successor() -> Self {
        Self::new(State::Initializing)
    }

    pub(crate) const fn new(state: State) -> Self {
        Self { state, drain_requested: false, restart_remembered: false }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn drain_requested(&self) -> bool {
        self.drain_requested
    }

    pub(crate) const fn restart_remembered(&self) -> bool {
        self.restart_remembered
    }

    /// The phase that the accept loops follow.
    pub(crate) const fn phase(&self) -> Phase {
        use State::{
            AwaitingCommit, AwaitingReady, AwaitingServing, CallingOff, Draining, Exited, Initializing,
            InitializingAlone, Preparing, Probation, Serving, Settled, Standby, Starting, SteppedBack,
            SteppingBack, Stopping, TakingOver, Withdrawing,
        };
        match self.state {
            Starting | Initializing | InitializingAlone | AwaitingCommit => Phase::Starting,
            TakingOver
            | Probation
            | Settled
            | Serving
            | Preparing
            | AwaitingReady
            | CallingOff { accepts: true, .. } => Phase::Serving,
            Stopping
            | AwaitingServing
            | Standby
            | CallingOff { accepts: false, .. }
            | SteppingBack
            | SteppedBack
            | Withdrawing => Phase::Standby,
            Draining { .. } | Exited => Phase::Draining,
        }
    }

    /// The transition function: sets the next state and returns the effects. An event without a
    /// meaning in the current state changes nothing.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::DrainRequested => self.on_drain(&mut effects),
            Event::RestartRequested => self.on_restart(&mut effects),
            Event::Prepared
            | Event::PrepareFailed
            | Event::SuccessorReady
            | Event::SuccessorServing
            | Event::SuccessorSettled
            | Event::SuccessorSick
            | Event::SuccessorFailed
            | Event::SuccessorGone => self.on_successor(event, &mut effects),
            _ => self.on_own(event, &mut effects),
        }
        effects
    }

    /// Transitions that concern this process and its predecessor.
    fn on_own(&mut self, event: Event, effects: &mut Vec<Effect>) {
        use State::{
            AwaitingCommit, AwaitingReady, AwaitingServing, Draining, Exited, Initializing,
            InitializingAlone, Probation, Serving, Settled, Standby, Starting, SteppedBack, SteppingBack,
            Stopping, TakingOver, Withdrawing,
        };
        match (self.state, event) {
            (Starting | InitializingAlone, Event::Ready) => {
                effects.push(Effect::PublishPidFile);
                self.confirm(effects);
            }
            (Initializing, Event::Ready) => {
                effects.push(Effect::SendReady);
                self.state = AwaitingCommit;
            }
            (Initializing, Event::PredecessorGone) => self.state = InitializingAlone,
            (AwaitingCommit, Event::PredecessorGone) => {
                effects.push(Effect::PublishPidFile);
                self.confirm(effects);
            }
            (AwaitingCommit, Event::Committed) => {
                effects.push(Effect::PublishPidFile);
                self.state = TakingOver;
            }
            // It has never accepted. Its exit closes the channel.
            (
                Initializing | AwaitingCommit,
                Event::Committed | Event::Aborted | Event::PredecessorFailed | Event::TimedOut,
            ) => {
                effects.push(Effect::Exit);
                self.state = Exited;
            }

            (TakingOver, Event::LoopsAccept) => {
                effects.push(Effect::SendServing);
                self.state = Probation;
            }
            (Probation, Event::Healthy) => {
                effects.push(Effect::SendSettled);
                self.state = Settled;
            }
            (TakingOver, Event::TimedOut | Event::Unhealthy) | (Probation, Event::Unhealthy) => {
                self.state = SteppingBack;
            }
            (TakingOver | Probation | Settled, Event::PredecessorGone) => self.confirm(effects),
            // The predecessor decides. It waits for the end of the channel if it cannot kill this
            // process, so the channel stays open until no loop accepts.
            (
                TakingOver | Probation | Settled,
                Event::Aborted | Event::PredecessorFailed | Event::Committed,
            )
            | (SteppingBack, Event::Aborted | Event::PredecessorFailed | Event::Committed) => {
                self.state = Withdrawing;
            }
            // A predecessor that passes a restart on has let go, whether or not this process has
            // settled: it cannot take the sockets back.
            (TakingOver | Probation | Settled, Event::RestartPassedOn) => {
                self.restart_remembered = true;
                self.confirm(effects);
            }
            // The predecessor did not confirm `settled` in time; the pending restart starts without
            // it.
            (Settled, Event::TimedOut) if self.restart_remembered => self.confirm(effects),

            (SteppingBack, Event::LoopsStopped | Event::TimedOut) => {
                effects.push(Effect::SendSick);
                if self.drain_requested {
                    self.drain(false);
                } else {
                    self.state = SteppedBack;
                }
            }
            // An unhealthy generation serves rather than none.
            (SteppingBack | SteppedBack, Event::PredecessorGone | Event::RestartPassedOn) => {
                self.restart_remembered |= event == Event::RestartPassedOn;
                if self.drain_requested {
                    self.drain(true);
                } else {
                    effects.push(Effect::PublishPidFile);
                    self.confirm(effects);
                }
            }
            (SteppedBack, Event::Aborted | Event::PredecessorFailed | Event::Committed) => self.drain(false),
            (Withdrawing, Event::LoopsStopped | Event::TimedOut) => {
                effects.push(Effect::ClosePredecessor);
                self.drain(false);
            }

            (Stopping, Event::LoopsStopped) => {
                effects.push(Effect::SendCommit);
                self.state = AwaitingServing;
            }
            (AwaitingReady | Stopping | AwaitingServing | Standby, Event::TimedOut) => {
                self.call_off(effects);
            }

            (Draining { .. }, Event::Drained) => {
                effects.push(Effect::Exit);
                self.state = Exited;
            }
            _ => {}
        }
        debug_assert!(self.state != Serving || !self.restart_remembered, "a request is lost");
    }

    /// Transitions that concern a successor of this process.
    fn on_successor(&mut self, event: Event, effects: &mut Vec<Effect>) {
        use State::{AwaitingReady, AwaitingServing, CallingOff, Preparing, Standby, Stopping};
        match (self.state, event) {
            (Preparing, Event::Prepared) => {
                effects.push(Effect::StartSuccessor);
                self.state = AwaitingReady;
            }
            (Preparing, Event::PrepareFailed) => {
                effects.push(Effect::ReportFailure);
                self.serve_again(effects);
            }
            (AwaitingReady, Event::SuccessorReady) => self.state = Stopping,
            (AwaitingServing, Event::SuccessorServing) => self.state = Standby,
            // Also before it has sent `serving`: a drain was requested.
            (AwaitingServing | Standby, Event::SuccessorSettled) => self.hand_over(effects),
            (AwaitingServing | Standby, Event::SuccessorSick) => {
                effects.extend([Effect::Dismiss, Effect::PublishPidFile, Effect::ReportFailure]);
                self.serve_again(effects);
            }
            (CallingOff { committed, .. }, Event::SuccessorGone) => {
                if committed && !self.drain_requested {
                    effects.push(Effect::PublishPidFile);
                }
                effects.push(Effect::ReportFailure);
                self.serve_again(effects);
            }
            (AwaitingReady | Stopping | AwaitingServing | Standby, _) => self.call_off(effects),
            _ => {}
        }
    }

    fn on_drain(&mut self, effects: &mut Vec<Effect>) {
        use State::{
            AwaitingCommit, AwaitingReady, AwaitingServing, CallingOff, Draining, Exited, Initializing,
            InitializingAlone, Preparing, Probation, Serving, Settled, Standby, Starting, SteppedBack,
            SteppingBack, Stopping, TakingOver, Withdrawing,
        };
        self.drain_requested = true;
        match self.state {
            Starting | InitializingAlone | Serving | Settled => self.drain(true),
            // The predecessor continues to serve.
            Initializing | AwaitingCommit | SteppedBack => self.drain(false),
            // The drain concerns the service: the predecessor must not accept again.
            TakingOver | Probation => {
                effects.push(Effect::SendSettled);
                self.drain(true);
            }
            Preparing => {
                effects.push(Effect::ReportFailure);
                self.drain(true);
            }
            AwaitingReady | Stopping => self.call_off(effects),
            // The successor serves, so this generation is not needed.
            AwaitingServing | Standby => self.hand_over(effects),
            // It drains when the loops have stopped or the successor has exited, or drains already.
            SteppingBack | Withdrawing | CallingOff { .. } | Draining { .. } | Exited => {}
        }
    }

    fn on_restart(&mut self, effects: &mut Vec<Effect>) {
        use State::{
            AwaitingCommit, Draining, Exited, Initializing, InitializingAlone, Serving, Starting, Withdrawing,
        };
        match self.state {
            Serving => {
                effects.push(Effect::Prepare);
                self.state = State::Preparing;
            }
            Starting
            | Initializing
            | InitializingAlone
            | AwaitingCommit
            | Withdrawing
            | Draining { .. }
            | Exited => effects.push(Effect::Refuse),
            _ if self.drain_requested => effects.push(Effect::Refuse),
            _ => {
                effects.push(Effect::Remember);
                self.restart_remembered = true;
            }
        }
    }

    /// Cancels the restart: the successor must not serve.
    fn call_off(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::CallOff);
        let accepts = self.state == State::AwaitingReady;
        let committed = matches!(self.state, State::AwaitingServing | State::Standby);
        self.state = State::CallingOff { accepts, committed };
    }

    /// The successor keeps the sockets.
    fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        let pass_on = std::mem::take(&mut self.restart_remembered);
        effects.extend([Effect::Release { pass_on }, Effect::ReportSuccess]);
        self.drain(false);
    }

    /// This generation serves, and no other one can take over.
    fn confirm(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Confirmed);
        self.serve_again(effects);
    }

    /// Serves, unless a drain or a restart was requested meanwhile.
    fn serve_again(&mut self, effects: &mut Vec<Effect>) {
        if self.drain_requested {
            self.drain(true);
        } else if std::mem::take(&mut self.restart_remembered) {
            effects.push(Effect::Prepare);
            self.state = State::Preparing;
        } else {
            self.state = State::Serving;
        }
    }

    const fn drain(&mut self, last: bool) {
        self.restart_remembered = false;
        self.state = State::Draining { last };
    }
}
