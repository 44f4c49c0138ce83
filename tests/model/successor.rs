//! The successor: `Life::succeed` in `src/generation/life.rs`, `src/generation/probation.rs`, and `handoff::Succession` for what it
//! says.

use super::{
    Handoff, Mistake, State, Step, Turn,
    channel::{Down, Up},
    process::Term,
};

/// Where the successor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Successor {
    /// It is about to say hello (`Succession::over`).
    Starting,
    AwaitManifest,
    /// It has the sockets and gets ready.
    Initialising,
    /// It gets ready, and its predecessor is dead.
    InitialisingAlone,
    /// It could serve.
    AwaitCommit,
    /// It is told to serve, or nobody else is left to do it.
    Committed,
    /// It accepts, and is about to say so.
    Accepting,
    /// `on_probation`
    Probation,
    /// It found itself sick and has stopped accepting; it is about to say so (`step_back`).
    Sick,
    /// It has said that it is sick, and waits for the predecessor to go on, or to be gone.
    SteppedBack,
    /// It has said `settled`. Not before the end of the channel is it sure that the predecessor agrees
    /// (`Settled::called_off`).
    Settled,
    /// It serves and has no predecessor any more.
    Alone,
    /// It does not serve, and will not.
    Left(Why),
}

/// Why a successor does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Aborted,
    /// The predecessor said nothing for too long. It may hang, and whether it lives is not known.
    GaveUp,
    Sick,
    Told,
    /// One of the mistakes.
    Mistaken,
}

use Successor::{
    Accepting, Alone, AwaitCommit, AwaitManifest, Committed, Initialising, InitialisingAlone, Left,
    Probation, Settled, Sick, Starting, SteppedBack,
};

/// What it would do now by itself.
pub(super) fn turn(handoff: Handoff, state: &State) -> Turn {
    let nothing = Turn::default();
    match state.successor.phase {
        AwaitManifest | AwaitCommit => Turn { reads: true, has_limit: true, ..nothing },
        Initialising | Probation => Turn { reads: true, acts: true, ..nothing },
        Starting | InitialisingAlone | Committed | Accepting | Sick => Turn { acts: true, ..nothing },
        SteppedBack => {
            Turn { reads: true, has_limit: handoff.errs(Mistake::ServesSickAfterAWhile), ..nothing }
        }
        Settled => Turn { reads: !handoff.errs(Mistake::StopsReadingAtSettled), ..nothing },
        Alone | Left(_) => nothing,
    }
}

pub(crate) fn step(handoff: Handoff, state: &mut State, step: Step) {
    match step {
        Step::Read => read(handoff, state),
        Step::Act => act(handoff, state),
        Step::TimeOut if state.successor.phase == SteppedBack => serve_alone(state),
        Step::TimeOut if state.down.is_readable() => leave(state, Why::Mistaken),
        Step::TimeOut => leave(state, Why::GaveUp),
        Step::Obey => obey(handoff, state),
        Step::Die => state.successor.die(),
        Step::Accept => unreachable!("the same for both"),
    }
}

fn read(handoff: Handoff, state: &mut State) {
    let said = state.down.read();
    let phase = state.successor.phase;
    match (phase, said) {
        (SteppedBack, Some(Down::Abort)) => leave(state, Why::Sick),
        (_, Some(Down::Abort)) => leave(state, Why::Aborted),
        (AwaitManifest, Some(Down::Manifest)) => {
            state.successor.holds = true;
            state.successor.phase = Initialising;
        }
        (AwaitCommit, Some(Down::Commit)) => state.successor.phase = Committed,
        (AwaitManifest | Initialising | AwaitCommit, None) if handoff.errs(Mistake::DoesNotPromoteItself) => {
            leave(state, Why::Mistaken);
        }
        // Before the manifest: it becomes the first of a line, and binds by itself.
        (AwaitManifest | Initialising, None) => state.successor.phase = InitialisingAlone,
        (AwaitCommit, None) => state.successor.phase = Committed,
        (Probation | Settled, None) => state.successor.phase = Alone,
        // Better an unfit generation than none.
        (SteppedBack, None) => serve_alone(state),
        (phase, said) => unreachable!("{phase:?} is told {said:?}"),
    }
}

fn act(handoff: Handoff, state: &mut State) {
    state.successor.phase = match state.successor.phase {
        Starting => {
            state.up.send(Up::Hello);
            AwaitManifest
        }
        Initialising => {
            state.up.send(Up::Ready);
            state.successor.accepting = handoff.errs(Mistake::DoesNotWaitForCommit);
            AwaitCommit
        }
        InitialisingAlone => Committed,
        // `enter_serving`
        Committed => {
            state.successor.holds = true;
            state.successor.accepting = true;
            Accepting
        }
        Accepting => {
            state.up.send(Up::Serving);
            Probation
        }
        Probation => {
            state.up.send(Up::Settled);
            Settled
        }
        Sick => {
            state.up.send(Up::Sick);
            SteppedBack
        }
        phase => unreachable!("{phase:?} has nothing to do"),
    };
}

/// Nobody else is left to do it.
fn serve_alone(state: &mut State) {
    state.successor.accepting = true;
    state.successor.phase = Alone;
}

/// It never accepts again. It closes the channel once it has stopped.
fn leave(state: &mut State, why: Why) {
    state.successor.let_go();
    state.successor.phase = Left(why);
    state.up.close_writer();
    state.down.close_reader();
}

pub(crate) fn fall_sick(handoff: Handoff, state: &mut State) {
    if handoff.errs(Mistake::SaysSickFirst) {
        state.up.send(Up::Sick);
    } else {
        state.successor.accepting = false;
    }
    state.successor.phase = Sick;
}

fn obey(handoff: Handoff, state: &mut State) {
    state.successor.term = Term::Heard;
    match state.successor.phase {
        // The predecessor serves on.
        Starting | AwaitManifest | Initialising | AwaitCommit => {}
        Committed | Accepting | Probation | Settled => {
            // It is the service that is told to stop, unless the predecessor has taken it back by now.
            state.stopped |= !state.down.holds(&Down::Abort);
            if !handoff.errs(Mistake::LeavesProbationSilently) {
                state.up.send(Up::Settled);
            }
            state.serve_the_queue();
        }
        InitialisingAlone | Alone => state.serve_the_queue(),
        // The service is not its own any more.
        Sick | SteppedBack => {}
        Left(_) => return,
    }
    leave(state, Why::Told);
}
