//! The predecessor: `restart` in `src/generation/restart.rs`, and `handoff::Successor` for what it says.
//!
//! It obeys a TERM at any moment here. The library does so between two steps; that is a TERM that came later.

use super::{
    Handoff, Mistake, State, Step, Turn,
    channel::{Down, Up},
    process::{Condition, Term},
};

/// Where the predecessor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Predecessor {
    /// It serves, and waits for the hello (`Successor::hand_over`).
    AwaitHello,
    /// It serves, and waits until the successor could.
    AwaitReady,
    /// Its accept loops are told to stop (`Phase::Standby`).
    Stopping,
    /// They have stopped.
    Stopped,
    /// It has committed and stands by, until the successor says that it serves (`Successor::commit`).
    AwaitServing,
    /// It stands by for the probation (`Successor::probation`).
    AwaitSettled,
    /// The handoff has failed. It has said `abort`, if that could be read; next it kills.
    CallingOff,
    /// It has killed, or said `abort` to a stranger, and waits until the successor is gone.
    AwaitEnd,
    /// The successor is sick and has stopped: it accepts again, and is about to say so.
    Dismissing,
    /// The handoff has failed, and it serves as before.
    ServesAgain,
    /// It has closed its copies of the sockets: the successor has settled, or somebody told it to stop.
    Drains,
}

use Predecessor::{
    AwaitEnd, AwaitHello, AwaitReady, AwaitServing, AwaitSettled, CallingOff, Dismissing, Drains,
    ServesAgain, Stopped, Stopping,
};

/// What it would do now by itself.
pub(super) fn turn(handoff: Handoff, state: &State) -> Turn {
    let nothing = Turn::default();
    match state.predecessor.phase {
        AwaitHello | AwaitReady | AwaitServing | AwaitSettled => {
            Turn { reads: true, has_limit: true, ..nothing }
        }
        // The accept loops may not stop in time.
        Stopping => Turn { acts: true, has_limit: true, ..nothing },
        Stopped | CallingOff | Dismissing => Turn { acts: true, ..nothing },
        // It does not wait for ever for a process that does not die (`Process::kill`).
        AwaitEnd if handoff.can_kill() => {
            Turn { acts: state.successor.condition == Condition::Dead, has_limit: true, ..nothing }
        }
        // A stranger's end of the channel is all there is to see of it.
        AwaitEnd => Turn { reads: true, has_limit: true, ..nothing },
        ServesAgain | Drains => nothing,
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
        // It has stopped accepting, and drains by itself when it hears that we go on.
        (AwaitServing | AwaitSettled, Some(Up::Sick)) => {
            // `roll_back`
            state.predecessor.accepting = true;
            state.predecessor.phase = Dismissing;
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
        // `dismiss`
        Dismissing => {
            state.down.send(Down::Abort);
            be_done_with_it(state);
        }
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
        CallingOff | AwaitEnd | Dismissing | Drains => {}
    }
}
