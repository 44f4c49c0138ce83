//! What the handoff promises, whatever happens.

use stateright::Property;

use super::{
    Candidate, Client, Handoff, Predecessor, State, Successor, channel::Down, process::Condition,
    successor::Why,
};

/// All promises, and the ends that the model must be able to reach at all.
pub(crate) fn all() -> Vec<Property<Handoff>> {
    vec![
        Property::always("never two accept", never_two_accept),
        Property::always("never two accept in the end", never_two_accept_in_the_end),
        Property::always("whoever can accept does", whoever_can_accept_does),
        Property::always("a successor that was called off never accepts", called_off_never_accepts),
        Property::always("after a rollback the predecessor alone accepts", rollback_restores),
        Property::always("what is told to stop stays stopped", stopped_stays_stopped),
        Property::always("no queue is lost", no_queue_is_lost),
        Property::sometimes("the successor serves alone", |_, state: &State| {
            state.successor.phase == Successor::Alone && state.predecessor.phase == Predecessor::Drains
        }),
        Property::sometimes("a successor survives its predecessor's death", |_, state: &State| {
            state.successor.accepts() && state.predecessor.condition == Condition::Dead
        }),
        Property::sometimes("a successor is rolled back", |_, state: &State| {
            state.predecessor.phase == Predecessor::ServesAgain && !state.called_off
        }),
    ]
}

/// But for a stranger that has not read the `abort` in all the time that it was given: no signal reaches it, and nobody
/// can know whether it ever goes on. Then serving at all is worth more than not serving twice.
fn never_two_accept(handoff: &Handoff, state: &State) -> bool {
    let unreached =
        handoff.candidate == Candidate::Stranger && state.gave_it_up && state.down.holds(&Down::Abort);
    !(state.predecessor.accepts() && state.successor.accepts()) || unreached
}

fn never_two_accept_in_the_end(handoff: &Handoff, state: &State) -> bool {
    let both = state.predecessor.accepts() && state.successor.accepts();
    !(both && state.is_at_rest(*handoff))
}

/// Whether it may accept, as far as anybody told it.
fn can_accept(state: &State) -> [bool; 2] {
    let State { predecessor, successor, .. } = state;
    let resigned = match successor.phase {
        Successor::Left(why) => matches!(why, Why::Aborted | Why::GaveUp | Why::Sick),
        // It is for the predecessor to go on, unless it is seen to be gone.
        Successor::SteppedBack => !state.down.is_readable(),
        _ => false,
    };
    [
        // Without its copies of the sockets it is a predecessor of somebody who has them.
        predecessor.phase != Predecessor::Drains && !predecessor.was_told_to_stop(),
        !resigned && !successor.was_told_to_stop() && !state.down.holds(&Down::Abort),
    ]
}

fn whoever_can_accept_does(handoff: &Handoff, state: &State) -> bool {
    let [predecessor, successor] = can_accept(state);
    let somebody_can = (predecessor && state.predecessor.runs()) || (successor && state.successor.runs());
    let somebody_does = state.predecessor.accepts() || state.successor.accepts();
    let served = state.client != Client::Waits;
    !(somebody_can && state.is_at_rest(*handoff)) || (somebody_does && served)
}

fn called_off_never_accepts(_: &Handoff, state: &State) -> bool {
    !(state.called_off && state.successor.accepts())
}

fn rollback_restores(handoff: &Handoff, state: &State) -> bool {
    let rolled_back = state.predecessor.runs() && state.predecessor.phase == Predecessor::ServesAgain;
    !rolled_back || (state.predecessor.accepts() && never_two_accept(handoff, state))
}

/// Whoever hears a TERM while the service is its own ends the service.
fn stopped_stays_stopped(_: &Handoff, state: &State) -> bool {
    let told = |told: bool, accepts: bool| !(told && accepts);
    let State { predecessor, successor, .. } = state;
    told(state.stopped, predecessor.accepts() || successor.accepts())
        && told(
            predecessor.was_told_to_stop() && state.called_off,
            successor.accepts() || (predecessor.phase == Predecessor::ServesAgain && predecessor.accepts()),
        )
}

/// As long as somebody lives who could accept, the sockets are open.
///
/// But for a predecessor that dies before it has handed anything to a process that it did not start.
fn no_queue_is_lost(handoff: &Handoff, state: &State) -> bool {
    let [predecessor, successor] = can_accept(state);
    let somebody = (predecessor && state.predecessor.lives()) || (successor && state.successor.lives());
    let never_handed_over =
        handoff.candidate != Candidate::Child && state.predecessor.phase == Predecessor::AwaitHello;
    state.client != Client::Lost || !somebody || never_handed_over
}
