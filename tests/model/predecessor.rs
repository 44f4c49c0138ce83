//! The predecessor: `generation::restart`, and `handoff::predecessor` for what it says.

use super::{
    Candidate, Handoff, Mistake, State, Step,
    channel::{Down, Up},
    process::{Condition, Term},
};

/// Where the predecessor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Predecessor {
    /// It serves, and waits for the hello.
    AwaitHello,
    /// It serves, and waits until the successor could.
    AwaitReady,
    /// Its accept loops are told to stop (`Phase::Standby`).
    Stopping,
    /// They have stopped.
    Stopped,
    /// It has committed and stands by, until the successor says that it serves.
    AwaitServing,
    /// It stands by for the probation.
    AwaitSettled,
    /// The handoff has failed. It has said `abort`, if that could be read; next it kills.
    CallingOff,
    /// It has killed, or said `abort` to a stranger, and waits until the successor is gone.
    AwaitEnd,
    /// The handoff has failed, and it serves as before.
    ServesAgain,
    /// It has closed its copies of the sockets: the successor has settled, or somebody told it to stop.
    Drains,
}

use Predecessor::{
    AwaitEnd, AwaitHello, AwaitReady, AwaitServing, AwaitSettled, CallingOff, Drains, ServesAgain, Stopped,
    Stopping,
};

impl Predecessor {
    pub(crate) fn reads(self, handoff: Handoff) -> bool {
        match self {
            AwaitHello | AwaitReady | AwaitServing | AwaitSettled => true,
            // A stranger's end is all there is to see of it.
            AwaitEnd => handoff.candidate == Candidate::Stranger,
            _ => false,
        }
    }

    pub(crate) fn acts(self, handoff: Handoff, state: &State) -> bool {
        match self {
            Stopping | Stopped | CallingOff => true,
            // Reaped (waitpid(2)), or a pidfd that says so.
            AwaitEnd => handoff.can_kill() && state.successor.condition == Condition::Dead,
            _ => false,
        }
    }

    pub(crate) fn has_limit(self) -> bool {
        // It does not wait for ever for a process that does not die.
        matches!(self, AwaitHello | AwaitReady | Stopping | AwaitServing | AwaitSettled | AwaitEnd)
    }
}

pub(crate) fn step(handoff: Handoff, state: &mut State, step: Step) {
    match step {
        Step::Read => read(handoff, state),
        Step::Act => act(handoff, state),
        Step::TimeOut if state.predecessor.phase == AwaitEnd => {
            state.gave_it_up = true;
            be_done_with_it(state);
        }
        Step::TimeOut => call_off(handoff, state),
        Step::Obey => obey(handoff, state),
        Step::Accept | Step::Die => unreachable!("not the predecessor's own"),
    }
}

fn read(handoff: Handoff, state: &mut State) {
    let said = state.up.read();
    match (state.predecessor.phase, said) {
        (AwaitHello, Some(Up::Hello)) => {
            if !handoff.hands_over_early() {
                state.down.send(Down::Manifest);
            }
            state.predecessor.phase = AwaitReady;
        }
        (AwaitReady, Some(Up::Ready)) => {
            state.predecessor.phase =
                if handoff.errs(Mistake::CommitsBeforeItStops) { Stopped } else { Stopping };
        }
        (AwaitServing, Some(Up::Serving)) => state.predecessor.phase = AwaitSettled,
        // Also before it has said `serving`: it was told to stop.
        (AwaitServing, Some(Up::Settled)) if !handoff.errs(Mistake::InsistsOnServing) => hand_over(state),
        (AwaitSettled, Some(Up::Settled)) => hand_over(state),
        // It has stopped accepting, and drains by itself when it hears that we go on (`dismiss`).
        (AwaitServing | AwaitSettled, Some(Up::Sick)) => {
            state.down.send(Down::Abort);
            be_done_with_it(state);
        }
        (AwaitEnd, None) => be_done_with_it(state),
        // What it said before it had read the abort.
        (AwaitEnd, Some(_)) => {}
        // It ended (`RestartError::Crashed`), or talks nonsense (`Rejected`).
        _ => call_off(handoff, state),
    }
}

fn act(handoff: Handoff, state: &mut State) {
    match state.predecessor.phase {
        // `stand_by`
        Stopping => {
            state.predecessor.accepting = false;
            state.predecessor.phase = Stopped;
        }
        // `commit`
        Stopped => {
            state.down.send(Down::Commit);
            state.predecessor.phase = AwaitServing;
            if handoff.errs(Mistake::CommitsBeforeItStops) {
                state.predecessor.phase = Stopping;
            }
            if handoff.errs(Mistake::ClosesAtCommit) {
                state.predecessor.holds = false;
            }
        }
        // `abandon`
        CallingOff => {
            if handoff.errs(Mistake::AcceptsBeforeTheKill) && !state.predecessor.accepting {
                state.predecessor.accepting = true;
                return;
            }
            if handoff.can_kill() && state.successor.lives() {
                state.successor.condition = Condition::Killed;
            }
            state.predecessor.phase = AwaitEnd;
            if handoff.errs(Mistake::DoesNotWaitForAStranger) {
                be_done_with_it(state);
            }
        }
        AwaitEnd => be_done_with_it(state),
        phase => unreachable!("{phase:?} has nothing to do"),
    }
}

/// The successor must not serve; `abandon`.
fn call_off(handoff: Handoff, state: &mut State) {
    let before_commit = matches!(state.predecessor.phase, AwaitHello | AwaitReady | Stopping | Stopped);
    state.called_off |= before_commit;
    if handoff.errs(Mistake::ClosesInsteadOfAbort) {
        state.down.close_writer();
    } else {
        state.down.send(Down::Abort);
    }
    state.predecessor.phase = CallingOff;
}

/// The successor is gone, or has stopped by itself; `serve_again`, unless somebody wants it to stop.
fn be_done_with_it(state: &mut State) {
    if state.predecessor.was_told_to_stop() {
        state.serve_the_queue();
        state.predecessor.let_go();
        state.down.close_writer();
        state.predecessor.phase = Drains;
    } else {
        // The channel to a stranger stays open until it has read the abort: else it would think that we died.
        state.predecessor.accepting = true;
        state.predecessor.phase = ServesAgain;
    }
}

/// The sockets are the successor's alone.
fn hand_over(state: &mut State) {
    state.predecessor.let_go();
    state.down.close_writer();
    state.predecessor.phase = Drains;
}

fn obey(handoff: Handoff, state: &mut State) {
    state.predecessor.term = Term::Heard;
    match state.predecessor.phase {
        AwaitHello | AwaitReady | Stopping | Stopped => call_off(handoff, state),
        // It gives up its standby; the successor goes on.
        AwaitServing | AwaitSettled => hand_over(state),
        ServesAgain => be_done_with_it(state),
        // It drains when the successor is gone, or does so already.
        CallingOff | AwaitEnd | Drains => {}
    }
}
