//! What the handoff promises, whatever happens.

use stateright::Property;

use super::{
    Candidate, Client, Handoff, Side, World,
    channel::Down,
    process::{Condition, Term},
};
use crate::lifecycle::machine::State;

/// All promises, and the ends that the model must be able to reach at all.
pub(super) fn all() -> Vec<Property<Handoff>> {
    vec![
        Property::always("never two accept", never_two_accept),
        Property::always("never two accept in the end", never_two_accept_in_the_end),
        Property::always("whoever can accept does", whoever_can_accept_does),
        Property::always("a successor that was called off never accepts", called_off_never_accepts),
        Property::always("a commit that was taken back is not obeyed", taken_back_is_not_obeyed),
        Property::always("after a rollback the predecessor alone accepts", rollback_restores),
        Property::always("what is told to stop stays stopped", stopped_stays_stopped),
        Property::always("a first TERM is obeyed", term_is_obeyed),
        Property::always("no queue is lost", no_queue_is_lost),
        Property::always("no request for a restart is lost", no_request_is_lost),
        Property::sometimes("the successor serves alone", |_, world: &World| {
            world.successor.state() == Some(State::Serving) && drains(world.predecessor.state())
        }),
        Property::sometimes("a successor survives its predecessor's death", |_, world: &World| {
            world.successor.accepts() && world.predecessor.condition == Condition::Dead
        }),
        Property::sometimes("a successor is rolled back", |_, world: &World| {
            world.predecessor.state() == Some(State::Serving) && !world.called_off
        }),
        Property::sometimes("a request is passed on", |_, world: &World| {
            world.successor.state() == Some(State::Preparing) && drains(world.predecessor.state())
        }),
    ]
}

fn drains(state: Option<State>) -> bool {
    matches!(state, Some(State::Draining { .. } | State::Exited))
}

/// But for a stranger that hangs past its limits: no signal reaches it, and whether it ever goes on
/// cannot be known. Then to serve at all is worth more than not to serve twice.
fn never_two_accept(handoff: &Handoff, world: &World) -> bool {
    let late = world.down.holds(&Down::Abort) || world.successor.state() == Some(State::Withdrawing);
    let unreached = handoff.candidate == Candidate::Stranger && world.gave_it_up && late;
    !(world.predecessor.accepts() && world.successor.accepts()) || unreached
}

fn never_two_accept_in_the_end(handoff: &Handoff, world: &World) -> bool {
    let both = world.predecessor.accepts() && world.successor.accepts();
    // A successor that has waited for a confirmation in vain does not read any more.
    let moved_on = handoff.candidate == Candidate::Stranger && world.gave_it_up;
    !(both && world.is_at_rest(*handoff)) || (moved_on && world.requested.is_some())
}

/// Whether it may accept, as far as it has learnt.
fn can_accept(world: &World) -> [bool; 2] {
    let World { predecessor, successor, .. } = world;
    let ended = successor.left
        || match successor.state() {
            Some(State::Exited | State::Draining { .. } | State::Withdrawing) => true,
            // It is for the predecessor to go on, unless it is seen to be gone.
            Some(State::SteppedBack | State::SteppingBack) => !world.down.is_readable(),
            _ => false,
        };
    let resigned = ended && !successor.mistaken;
    [
        // Without its copies of the sockets it is the predecessor of a process that has them.
        !drains(predecessor.state()) && !predecessor.was_told_to_finish(),
        !resigned && !successor.was_told_to_finish() && !world.down.holds(&Down::Abort),
    ]
}

fn whoever_can_accept_does(handoff: &Handoff, world: &World) -> bool {
    let [predecessor, successor] = can_accept(world);
    let one_can = (predecessor && world.predecessor.runs()) || (successor && world.successor.runs());
    let one_does = world.predecessor.accepts() || world.successor.accepts();
    let served = world.client != Client::Waits;
    !(one_can && world.is_at_rest(*handoff)) || (one_does && served)
}

fn called_off_never_accepts(_: &Handoff, world: &World) -> bool {
    !(world.called_off && world.successor.accepts())
}

fn taken_back_is_not_obeyed(_: &Handoff, world: &World) -> bool {
    !(world.took_commit_back && world.successor.accepts())
}

fn rollback_restores(handoff: &Handoff, world: &World) -> bool {
    let serves = matches!(world.predecessor.state(), Some(State::Serving | State::Preparing));
    let rolled_back = world.predecessor.runs() && serves && world.is_at_rest(*handoff);
    !rolled_back || world.predecessor.accepts()
}

/// A process that obeys a TERM while the service is its own ends the service.
fn stopped_stays_stopped(_: &Handoff, world: &World) -> bool {
    let told = |told: bool, accepts: bool| !(told && accepts);
    let World { predecessor, successor, .. } = world;
    let serves_again = matches!(predecessor.state(), Some(State::Serving | State::Preparing));
    told(world.stopped, predecessor.accepts() || successor.accepts())
        && told(
            predecessor.was_told_to_finish() && world.called_off,
            successor.accepts() || (serves_again && predecessor.accepts()),
        )
}

fn term_is_obeyed(handoff: &Handoff, world: &World) -> bool {
    let ignored = [&world.predecessor, &world.successor].into_iter().any(|process| {
        process.runs()
            && process.term != Term::No
            && process
                .machine
                .is_some_and(|machine| process.term == Term::Sent || !drains(Some(machine.state())))
    });
    !(ignored && world.is_at_rest(*handoff))
}

/// As long as a process lives that could accept, the sockets are open.
///
/// But for a predecessor that dies before it has handed anything to a process that it did not start.
fn no_queue_is_lost(handoff: &Handoff, world: &World) -> bool {
    let [predecessor, successor] = can_accept(world);
    let one = (predecessor && world.predecessor.lives()) || (successor && world.successor.lives());
    let never_handed_over =
        handoff.candidate != Candidate::Child && (world.successor.machine.is_none() || world.successor.binds);
    world.client != Client::Lost || !one || never_handed_over
}

/// Where every process goes on, a restart that was remembered runs in the end, unless the process
/// that would run it is told to finish. A successor that is called off answers those who asked it:
/// they have to ask its predecessor.
fn no_request_is_lost(handoff: &Handoff, world: &World) -> bool {
    let undisturbed =
        [&world.predecessor, &world.successor].into_iter().all(|process| process.runs() && !process.has_hung);
    let serves = |state| matches!(state, Some(State::Serving | State::Settled));
    let forgotten = match world.requested {
        None => false,
        Some(Side::Predecessor) => serves(world.predecessor.state()) || serves(world.successor.state()),
        Some(Side::Successor) => serves(world.successor.state()),
    };
    !(undisturbed && forgotten && world.is_at_rest(*handoff))
}
